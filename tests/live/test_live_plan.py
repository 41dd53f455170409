"""What is decided about a live stream at its first opening, and how a device goes down its ladder."""

from __future__ import annotations

import threading
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pipelines import live_adapt
from pipelines.live_adapt import Adapter
from pipelines.live_plan import plan_stream, rungs_of
from streamsr.config import UpscaleConfig
from streamsr.errors import ConfigError
from streamsr.frames import ColorTags, Orientation, PixelLayout
from streamsr.live.address import TargetAddress
from streamsr.live.stats import Counters
from streamsr.live_config import LivePolicyConfig, PublishConfig, StreamConfig
from streamsr.live_frames import AudioFormat, LiveInfo
from streamsr.models.weights import load_network

AAC = AudioFormat("aac", 48_000, "stereo", 2, 1024, bytes.fromhex("1190"))
CAMERA = LiveInfo(0, "rtsp", "h264", 320, 180, PixelLayout(), ColorTags(1, 1, 1, False, 1), Fraction(24), audio=AAC)
HLS = (TargetAddress("hls", "out"),)


def plan(info: LiveInfo = CAMERA, targets: tuple[TargetAddress, ...] = HLS, **settings: Any) -> Any:
    return plan_stream(StreamConfig(**settings), info, "lite", targets, load_network, lambda name: True)


def test_the_networks_own_factor_and_the_sources_sound() -> None:
    found = plan()
    assert (found.width, found.height, found.rungs) == (1280, 720, ("lite",))
    assert found.carrier is not None
    assert (found.carrier.codec, found.carrier.rate) == ("aac", 48_000)
    assert found.settings.gop == 24, "HLS segments of one second begin with key frames"
    assert plan(targets=(TargetAddress("rtsp", "rtsp://127.0.0.1/x"),)).settings.gop == 48


def test_the_output_is_upright_and_of_square_samples() -> None:
    turned = LiveInfo(
        0, "v4l2", "raw", 320, 180, PixelLayout(), CAMERA.color, Fraction(24), Fraction(4, 3), Orientation(90)
    )
    found = plan(turned, upscale=UpscaleConfig(to="1080p"))
    assert (found.width, found.height) == (810, 1920)
    assert found.carrier is None


def test_sound_that_is_not_wanted_is_not_carried() -> None:
    assert plan(publish=PublishConfig(audio="none")).carrier is None


def test_webrtc_gets_the_profile_that_browsers_know() -> None:
    options = dict(plan(targets=(TargetAddress("whip", "http://127.0.0.1/whip"),)).settings.options)
    assert "baseline" in options["profile"]


def test_a_size_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        plan(upscale=UpscaleConfig(to="4k", scale=2))


@pytest.mark.parametrize(
    ("model", "adapt", "here", "rungs"),
    [
        ("x4plus", False, "animevideov3 lite", ("x4plus",)),
        ("x4plus", True, "animevideov3 lite", ("x4plus", "animevideov3", "lite", "resize")),
        ("x4plus", True, "lite", ("x4plus", "lite", "resize")),
        ("lite", True, "animevideov3 lite", ("lite", "resize")),
        ("mine.safetensors", True, "animevideov3 lite", ("mine.safetensors", "animevideov3", "lite", "resize")),
        ("resize", True, "lite", ("resize",)),
    ],
)
def test_the_ladder_holds_what_is_faster_and_at_hand(
    model: str, adapt: bool, here: str, rungs: tuple[str, ...]
) -> None:
    cfg = StreamConfig(policy=LivePolicyConfig(adapt=adapt))
    assert rungs_of(cfg, model, lambda name: name in here.split()) == rungs


def test_overload_goes_down_the_ladder_and_idleness_does_not_go_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(live_adapt, "time", SimpleNamespace(monotonic=lambda: clock.now))
    levels: list[int] = []
    station = SimpleNamespace(busy_s=0.0, set_level=levels.append, ready=threading.Condition())
    mailbox = SimpleNamespace(depth=1)
    stream = SimpleNamespace(name="front", counters=Counters(), num_rungs=2, model="resize", mailbox=mailbox)
    said: list[str] = []
    adapter = Adapter(cast(Any, station), said.append)
    for _ in range(6):
        clock.now += 1.0
        station.busy_s += 1.0
        stream.counters.add("pictures_out", 5)
        stream.counters.add("dropped_newest", 20)
        adapter.observe([cast(Any, stream)])
    assert levels[-1] == 1
    assert mailbox.depth == 1, "what waits does not become faster"
    assert stream.counters["ladder_moves"] == 1
    assert "now resize; overload" in said[0]
    for _ in range(60):  # the source is away: nothing says that there is room
        clock.now += 1.0
        adapter.observe([cast(Any, stream)])
    assert levels[-1] == 1


def test_bursts_get_room_and_no_faster_model(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(live_adapt, "time", SimpleNamespace(monotonic=lambda: clock.now))
    levels: list[int] = []
    station = SimpleNamespace(busy_s=0.0, set_level=levels.append, ready=threading.Condition())
    mailbox = SimpleNamespace(depth=1)
    stream = SimpleNamespace(name="front", counters=Counters(), num_rungs=2, model="lite", mailbox=mailbox)
    adapter = Adapter(cast(Any, station), lambda text: None)
    for _ in range(10):
        clock.now += 1.0
        taken = 12 if mailbox.depth == 1 else 24
        station.busy_s += 0.03 * taken
        stream.counters.add("pictures_out", taken)
        stream.counters.add("dropped_newest", 24 - taken)
        adapter.observe([cast(Any, stream)])
    assert mailbox.depth > 1
    assert stream.counters["dropped_newest"] <= 24, "a second to see it"
    assert stream.counters["ladder_moves"] == 0
