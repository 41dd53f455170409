"""Which encoder is chosen, with which pixels and tags, and what is refused."""

from __future__ import annotations

import pickle
from fractions import Fraction
from typing import Any

import av
import pytest

from streamsr.config import EncodeConfig
from streamsr.errors import ConfigError
from streamsr.frames import ColorTags, HdrMetadata, PixelLayout
from streamsr.media import encoders
from streamsr.media.containers import SUFFIXES
from streamsr.media.encoder_layouts import choose_layout, layouts_of
from streamsr.media.encoders import CODECS_IN, HARDWARE, SOFTWARE, choose_encoder, encoder_works
from tests.media_encode.rig import BT709, encode, even_pts, info_for, settings_for

HLG = ColorTags(9, 9, 18, False, 1)


@pytest.fixture(autouse=True)
def _no_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    hardware = {name for names in HARDWARE.values() for name in names}
    monkeypatch.setattr(encoders, "encoder_works", lambda name, *_: name not in hardware)


@pytest.mark.parametrize(
    ("layout", "color", "suffix", "codec", "pix_fmt"),
    [
        (PixelLayout(), BT709, ".mp4", "h264", "yuv420p"),
        (PixelLayout("422"), BT709, ".mkv", "h264", "yuv422p"),
        (PixelLayout("420", 10), BT709, ".mp4", "hevc", "yuv420p10le"),
        (PixelLayout("444", 12), BT709, ".mkv", "hevc", "yuv444p12le"),
        (PixelLayout("444", 16), BT709, ".mkv", "hevc", "yuv444p12le"),
        (PixelLayout(), HLG, ".mov", "hevc", "yuv420p"),
        (PixelLayout("444", 8, is_rgb=True), BT709, ".mp4", "h264", "yuv420p"),
        (PixelLayout("420"), BT709, ".WEBM", "vp9", "yuv420p"),
        (PixelLayout("444"), BT709, ".webm", "vp9", "yuv444p"),
        (PixelLayout("420"), BT709, ".ts", "h264", "yuv420p"),
    ],
)
def test_auto(layout: PixelLayout, color: ColorTags, suffix: str, codec: str, pix_fmt: str) -> None:
    settings = settings_for(suffix, info_for(layout, color=color))
    assert (settings.codec, settings.encoder) == (codec, SOFTWARE[codec])
    assert (settings.layout.pix_fmt, settings.pix_fmt) == (pix_fmt, pix_fmt)
    assert codec in settings.description
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_webm_of_deep_pictures_is_av1_where_vp9_is_8_bit() -> None:
    settings = settings_for(".webm", info_for(PixelLayout("420", 10)))
    can = any(layout.depth > 8 for layout in layouts_of("libvpx-vp9"))
    assert (settings.codec, settings.layout.depth) == ("vp9" if can else "av1", 10)


@pytest.mark.parametrize(
    ("encoder", "source", "nearest"),
    [
        ("libx264", "420,12", "yuv420p10le"),
        ("libsvtav1", "444,12", "yuv420p10le"),
        ("prores_ks", "420,8", "yuv422p10le"),
        ("prores_ks", "444,12", "yuv444p10le"),
        ("ffv1", "422,12", "yuv422p12le"),
        ("ffv1", "420,9", "yuv420p10le"),
    ],
)
def test_nearest_layout(encoder: str, source: str, nearest: str) -> None:
    subsampling, depth = source.split(",")
    layout = PixelLayout(subsampling, int(depth))  # type: ignore[arg-type]
    assert choose_layout("auto", layout, encoder).pix_fmt == nearest


@pytest.mark.parametrize(
    ("encoder", "nearest"),
    [("ffv1", "gbrp"), ("prores_ks", "yuv444p10le"), ("libx265", "yuv420p"), ("libvpx-vp9", "yuv420p")],
)
def test_rgb_becomes_what_players_show(encoder: str, nearest: str) -> None:
    assert choose_layout("auto", PixelLayout("444", 8, is_rgb=True), encoder).pix_fmt == nearest


def test_colour_of_rgb_sources() -> None:
    rgb = info_for(PixelLayout("444", 8, is_rgb=True), color=ColorTags(0, 1, 13, True, 1))
    assert settings_for(".mp4", rgb).color == ColorTags(1, 1, 13, False, 1)
    assert settings_for(".mkv", rgb, codec="ffv1").color.matrix == 0
    assert settings_for(".mkv", rgb, codec="ffv1").color.full_range


@pytest.mark.parametrize(
    ("config", "suffix", "words"),
    [
        ({"codec": "prores"}, ".mp4", "prores.*Name the output .mov or .mkv"),
        ({"codec": "ffv1"}, ".mp4", "ffv1.*Name the output .mkv"),
        ({"codec": "h264"}, ".webm", "--codec vp9, av1"),
        ({}, ".xyz", "cannot write .xyz.*mp4"),
        ({"encoder": "libx26"}, ".mp4", "Did you mean libx26[45]"),
        ({"encoder": "gif"}, ".mp4", "gif is not one of our codecs"),
        ({"encoder": "h264"}, ".mp4", "no encoder 'h264'.*Did you mean"),
        ({"encoder": "libx265", "codec": "h264"}, ".mp4", "libx265 makes hevc, not h264"),
        ({"encoder": "libvpx-vp9"}, ".mov", "do not hold vp9"),
        ({"preset": "quick"}, ".mp4", "no preset 'quick'.*ultrafast.*placebo"),
        ({"codec": "ffv1", "preset": "fast"}, ".mkv", "has none"),
        ({"codec": "av1", "preset": "14"}, ".mp4", "no preset '14'"),
        ({"pix_fmt": "nv12"}, ".mp4", "nv12.*yuv420p"),
        ({"codec": "h264", "pix_fmt": "yuv420p12le"}, ".mp4", "libx264 does not take yuv420p12le.*yuv420p10le"),
        ({"codec": "prores", "pix_fmt": "yuv420p"}, ".mov", "does not take"),
        ({"codec": "prores", "preset": "4444"}, ".mov", "no preset '4444'"),
    ],
)
def test_refusals(config: dict[str, Any], suffix: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        settings_for(suffix, **config)
    assert "\n" not in str(caught.value)


def test_odd_sides_need_full_chroma() -> None:
    with pytest.raises(ConfigError, match="even sides, not 97x64"):
        settings_for(size=(97, 64))
    assert settings_for(size=(97, 65), pix_fmt="yuv444p").width == 97


def test_x265_is_kept_from_pictures_that_it_crashes_on() -> None:
    with pytest.raises(ConfigError, match=r"libx265 is not safe with pictures as small as 34x18.*--codec h264"):
        settings_for(size=(34, 18), codec="hevc")


def test_names_without_endianness_are_fine() -> None:
    assert settings_for(pix_fmt="yuv422p10").layout == PixelLayout("422", 10)
    assert settings_for(pix_fmt="yuv422p10").codec == "hevc"


def test_sample_aspect_that_a_container_loses_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"64/45 for vp9.*\.mp4"):
        settings_for(".webm", sample_aspect=Fraction(64, 45))
    assert settings_for(".mkv", sample_aspect=Fraction(64, 45)).sample_aspect == Fraction(64, 45)


def test_timing_and_gop() -> None:
    for rate, gop in ((Fraction(24), 120), (Fraction(60), 250), (None, 125), (Fraction(1, 10), 1)):
        settings = settings_for(info=info_for(rate=rate))
        assert (settings.rate, settings.gop) == (rate or 25, gop)


@pytest.mark.parametrize(("suffix", "codec"), [(suffix, codec) for suffix in CODECS_IN for codec in CODECS_IN[suffix]])
def test_the_table_of_containers_is_true(tmp_path: Any, suffix: str, codec: str) -> None:
    """Each pair is accepted, and FFmpeg writes such a header."""
    assert suffix in SUFFIXES
    settings = settings_for(suffix, codec=codec)
    with av.open(str(tmp_path / f"a{suffix}"), "w", format=SUFFIXES[suffix].muxer) as output:
        stream: Any = output.add_stream(settings.encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt = settings.width, settings.height, settings.pix_fmt
        output.start_encoding()


class TestHardware:
    """With drivers that are played by a function."""

    def choose(
        self, monkeypatch: pytest.MonkeyPatch, works: Any, layout: PixelLayout | None = None, **config: Any
    ) -> str:
        monkeypatch.setattr(encoders, "encoder_works", works)
        width, height = config.pop("size", (96, 64))
        info = info_for(layout, hdr=config.pop("hdr", None))
        return choose_encoder(EncodeConfig(**config), info, width, height, Fraction(1), ".mp4").encoder

    def test_it_is_taken_where_it_opens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def works(name: str, *_: Any) -> bool:
            return name.endswith("_nvenc")

        assert self.choose(monkeypatch, works) == "h264_nvenc"
        assert self.choose(monkeypatch, works, codec="av1") == "av1_nvenc"
        assert self.choose(monkeypatch, works, PixelLayout("420", 10)) == "hevc_nvenc"
        assert self.choose(monkeypatch, works, PixelLayout("420", 12)) == "libx265"

    def test_pictures_too_large_for_h264_become_hevc(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def works(name: str, layout: PixelLayout, width: int, height: int) -> bool:
            return name == "hevc_nvenc" or (name == "h264_nvenc" and max(width, height) <= 4096)

        assert self.choose(monkeypatch, works, size=(7680, 4320)) == "hevc_nvenc"
        assert self.choose(monkeypatch, works, size=(7680, 4320), codec="h264") == "libx264"

    def test_hdr10_metadata_needs_an_encoder_that_writes_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hdr = HdrMetadata(max_cll=1000, max_fall=400)
        assert self.choose(monkeypatch, lambda *_: True, PixelLayout("420", 10), hdr=hdr) == "libx265"

    def test_asked_for_but_absent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ConfigError, match=r"h264_nvenc does not open here.*--encoder libx264"):
            self.choose(monkeypatch, lambda *_: False, encoder="h264_nvenc")

    def test_quality_reaches_every_encoder_there_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(encoders, "encoder_works", lambda *_: True)
        for codec, names in HARDWARE.items():
            for name in names:
                if name in av.codecs_available:
                    suffix = ".mov" if codec == "prores" else ".mp4"
                    low = settings_for(suffix, encoder=name, quality=10)
                    assert low.options != settings_for(suffix, encoder=name, quality=90).options
                    known = {option.name for options in _options(name) for option in options}
                    assert {key for key, _ in low.options} <= known


def _options(name: str) -> tuple[Any, Any]:
    found = av.CodecContext.create(name, "w").supported_options
    return found.generic, found.private


def test_probing_says_no_without_the_device_and_yes_to_software() -> None:
    assert encoder_works("libx264", PixelLayout(), 64, 64)
    assert encoder_works("h264_amf", PixelLayout(), 256, 256) in (True, False)


def test_an_encoder_outside_the_catalogue(tmp_path: Any) -> None:
    """FFmpeg's other ProRes encoder: no preset, no quality, but it works when asked for by name."""
    settings = settings_for(".mov", encoder="prores")
    assert (settings.codec, settings.encoder) == ("prores", "prores")
    assert len(encode(tmp_path / "a.mov", settings, even_pts(3)).packets) == 3
