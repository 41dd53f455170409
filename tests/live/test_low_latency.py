"""Settings for live pictures: what goes in comes out at once, and key frames are regular."""

from __future__ import annotations

import io
import queue
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from streamsr.errors import ConfigError
from streamsr.frames import ColorTags, PixelLayout
from streamsr.live_config import LiveEncodeConfig
from streamsr.live_frames import OUT_TIME_BASE
from streamsr.media.encode_worker import PictureEncoder
from streamsr.media.encoders import EncoderSettings
from streamsr.media.low_latency import _at_once, _rate_control, low_latency
from streamsr.runtime.slots import SlotRing
from tests.media import draw_planes

BT709 = ColorTags(1, 1, 1, False, 1)
SIZE = (160, 96)
RATE = Fraction(24)


def settings_for(**config: Any) -> EncoderSettings:
    return low_latency(LiveEncodeConfig(**config), *SIZE, BT709, RATE)


class Bench:
    """The worker's encoder in this process: what it says after each picture."""

    def __init__(self, settings: EncoderSettings, slots: SlotRing) -> None:
        self._settings, self._slots = settings, slots
        self._said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._encoder = PictureEncoder(settings, slots, self._said)

    def feed(self, number: int) -> list[Any]:
        slot = self._slots.slot(number % self._slots.count)
        drawn = draw_planes(number, self._settings.layout, self._settings.width, self._settings.height)
        places = self._settings.layout.planes_of(slot.memory, self._settings.width, self._settings.height)
        for place, plane in zip(places, drawn, strict=True):
            place[:] = plane
        self._encoder._feed(self._encoder._frame(slot.index, number * 3750, is_key=False))
        said = []
        while not self._said.empty():
            said.append(self._said.get())
        return said


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_one_packet_at_once_for_each_picture(codec: str, threads: int) -> None:
    """And the slot is free by the time the next picture has gone in."""
    encoder = {"h264": "libx264", "hevc": "libx265"}[codec]
    settings = replace(settings_for(codec=codec, encoder=encoder, gop_s=0.5), threads=threads)
    if codec == "h264":
        sliced = dict(settings.options)["x264-params"].replace("sliced-threads=0", f"sliced-threads={int(threads > 1)}")
        settings = replace(settings, options=tuple((dict(settings.options) | {"x264-params": sliced}).items()))
    with SlotRing(4, settings.layout.num_bytes(*SIZE)) as slots:
        bench = Bench(settings, slots)
        held, keys = set(), []
        for number in range(26):
            held.add(number % 4)
            said = bench.feed(number)
            packets = [message for message in said if message[0] == "packet"]
            assert [message[2] for message in packets] == [number * 3750]
            assert packets[0][3] == packets[0][2], "dts is pts"
            keys += [number] if packets[0][4] else []
            held -= {message[1] for message in said if message[0] == "free"}
            assert len(held) <= 1, "the encoder keeps at most the picture that it was given last"
        assert keys == [0, 12, 24]


def test_bit_rate_is_kept() -> None:
    """Noise, which without a limit would take many times as much."""
    settings = low_latency(LiveEncodeConfig(encoder="libx264", bitrate="400k"), 320, 180, BT709, RATE)
    noise = np.random.default_rng(0).integers(16, 235, (4, settings.layout.num_bytes(320, 180)), np.uint8)
    with SlotRing(4, settings.layout.num_bytes(320, 180)) as slots:
        said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        encoder = PictureEncoder(settings, slots, said)
        num_bytes = 0
        for number in range(96):
            slots.slot(number % 4).memory[: noise.shape[1]] = noise[number % 4].tobytes()
            encoder._feed(encoder._frame(number % 4, number * 3750, is_key=False))
            while not said.empty():
                message = said.get()
                num_bytes += len(message[1]) if message[0] == "packet" else 0
    assert num_bytes * 8 / 4 < 1.5 * 400_000


def test_what_is_decided() -> None:
    settings = low_latency(
        LiveEncodeConfig(encoder="libx264", gop_s=3, preset="fast"), 64, 48, ColorTags(0, 1, 13, True, 2), None
    )
    assert settings.layout == PixelLayout("420", 8)
    assert settings.color == ColorTags(1, 1, 13, False, 1), "RGB becomes BT.709 of limited range"
    assert (settings.rate, settings.gop, settings.time_base) == (Fraction(25), 75, OUT_TIME_BASE)
    assert settings.global_header
    options = dict(settings.options)
    assert (options["preset"], options["tune"], options["bf"]) == ("fast", "zerolatency", "0")
    assert int(options["bufsize"]) == int(options["maxrate"]), "a second of buffer"
    full = low_latency(LiveEncodeConfig(), 64, 48, ColorTags(5, 1, 1, True, 2), Fraction(1000))
    assert (full.color.full_range, full.color.matrix, full.rate) == (False, 5, Fraction(240))


def test_webrtc_gets_the_baseline_profile() -> None:
    settings = low_latency(LiveEncodeConfig(encoder="libx264"), *SIZE, BT709, RATE, baseline=True)
    with SlotRing(4, settings.layout.num_bytes(*SIZE)) as slots:
        template = next(message[1] for message in Bench(settings, slots).feed(0) if message[0] == "template")
    with av.open(io.BytesIO(template)) as container:
        extradata = container.streams.video[0].codec_context.extradata
    assert extradata is not None
    at = extradata.index(b"\x00\x00\x01\x67") + 4
    assert extradata[at] == 66, "profile_idc of constrained baseline"
    with pytest.raises(ConfigError, match="do not take hevc"):
        low_latency(LiveEncodeConfig(codec="hevc"), *SIZE, BT709, RATE, baseline=True)


@pytest.mark.parametrize(
    ("config", "size", "words"),
    [
        ({"encoder": "libx265"}, SIZE, "makes hevc, not h264"),
        ({"encoder": "nonesuch"}, SIZE, "no encoder"),
        ({"preset": "hasty", "encoder": "libx264"}, SIZE, "no preset"),
        ({}, (63, 48), "even sides"),
    ],
)
def test_what_cannot_be(config: dict[str, Any], size: tuple[int, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        low_latency(LiveEncodeConfig(**config), *size, BT709, RATE)


@pytest.mark.parametrize("encoder", ["h264_nvenc", "hevc_nvenc", "h264_qsv", "hevc_qsv", "h264_amf", "hevc_amf"])
def test_options_of_hardware_encoders_exist(encoder: str) -> None:
    """They cannot be opened everywhere, but they say what they know."""
    known = {option.name for option in av.CodecContext.create(encoder, "w").supported_options.private} | {"b"}
    for is_named in (True, False):
        options = _at_once(encoder, 2) | _rate_control(encoder, 1_000_000, is_named=is_named)
        assert set(options) <= known
