"""Parts from real encoders, joined: the same file as from one encoder, whatever the codec."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamsr.config import OutputConfig
from streamsr.errors import SinkError
from streamsr.frames import ColorTags, Packet, PixelLayout
from streamsr.media.encode import Encoder
from streamsr.media.encoders import EncoderSettings
from streamsr.media.join import joined
from streamsr.media.part_file import PartReader
from streamsr.media.parts import PartFacts, check_part, template_of, write_part
from streamsr.media.sink import open_sink
from streamsr.runtime.crew import Crew
from streamsr.runtime.slots import SlotRing
from tests.media import draw_planes, make_clip, read_number
from tests.media_encode.rig import BT709, decoded, info_for, numbered, probe, settings_for, with_options
from tests.media_encode.test_encode_hdr import HDR, PQ

DEEP = PixelLayout("420", 10)
FULL = ColorTags(5, 5, 1, True, 1)
WIDE = Fraction(64, 45)
CASES = [
    ("h264", ".mkv", PixelLayout(), BT709, WIDE),
    ("h264", ".ts", PixelLayout(), BT709, Fraction(1)),
    ("h264", ".mov", PixelLayout("422", 10), FULL, WIDE),
    ("hevc", ".mp4", PixelLayout(), BT709, WIDE),
    ("hevc", ".mkv", DEEP, PQ, WIDE),
    ("av1", ".mp4", PixelLayout(), BT709, WIDE),
    ("av1", ".mp4", DEEP, PQ, WIDE),
    ("vp9", ".mp4", PixelLayout("444"), FULL, WIDE),
    ("prores", ".mov", PixelLayout("422", 10), BT709, WIDE),
    ("ffv1", ".mkv", PixelLayout("422", 10), FULL, Fraction(1)),
]
# Uneven times, and more than one group of pictures in the first part.
TIMES = [
    512 * number + (7 if number % 3 else 0) + (90_001 if number > 20 else 0) + (1 if number == 15 else 0)
    for number in range(30)
]
CUTS = (0, 13, 14, 30)
"""Parts of 13 pictures, one, and 16."""
SAME = (
    *("codec_name", "profile", "codec_tag_string", "width", "height", "pix_fmt", "level", "sample_aspect_ratio"),
    *("color_range", "color_space", "color_transfer", "color_primaries", "chroma_location"),
    *("has_b_frames", "nb_read_frames", "extradata_size", "time_base"),
)
"""What ffprobe says of both films alike."""


@dataclass
class Made:
    path: Path
    facts: PartFacts
    packets: list[Packet]
    template: bytes


def make_part(path: Path, settings: EncoderSettings, times: Sequence[int], first: int = 0) -> Made:
    """Pictures `first`, `first` + 1, ... from a real encoder's process, in a part and as they came."""
    packets: list[Packet] = []

    def noted(source: Iterator[Packet]) -> Iterator[Packet]:
        for packet in source:
            packets.append(packet)
            yield packet

    def draw(number: int) -> tuple[np.ndarray, ...]:
        return draw_planes(first + number, settings.layout, settings.width, settings.height)

    with SlotRing(3, settings.layout.num_bytes(settings.width, settings.height)) as ring, Crew(20.0) as crew:
        encoder = Encoder(settings, crew, ring, 20.0)
        source = noted(encoder.encode(numbered(settings, ring, crew, times, draw)))
        facts = write_part(path, source, encoder.stream_template)
        template = encoder.stream_template()
    return Made(path, facts, packets, template)


def film(target: Path, source: Path, packets: Iterator[Packet], template: Callable[[], bytes]) -> Path:
    with open_sink(target, str(source), info_for(), OutputConfig(), origin=Fraction(0)) as sink:
        sink.write(packets, template)
    return target


def options_for(codec: str) -> dict[str, Any]:
    """Fast, with pictures out of order where the codec can."""
    return {"preset": "veryfast"} if codec in ("h264", "hevc") else {}


@pytest.mark.parametrize(("codec", "suffix", "layout", "color", "aspect"), CASES)
def test_joined_parts_are_the_film_of_one_encoder(
    tmp_path: Path, codec: str, suffix: str, layout: PixelLayout, color: ColorTags, aspect: Fraction
) -> None:
    info = info_for(layout, color=color, hdr=HDR if color is PQ else None)
    settings = settings_for(suffix, info, codec=codec, quality=85, sample_aspect=aspect, **options_for(codec))
    settings = replace(settings, gop=9)
    parts = [
        make_part(tmp_path / f"{begin}.part", settings, TIMES[begin:end], begin)
        for begin, end in itertools.pairwise(CUTS)
    ]
    for part, (begin, end) in zip(parts, itertools.pairwise(CUTS), strict=True):
        check_part(part.path, part.facts, decode=True)
        assert (part.facts.frames, part.facts.first_pts) == (end - begin, TIMES[begin])
        assert part.facts.end_pts == TIMES[end - 1] + part.packets[0].duration
        assert template_of(part.path) == part.template
        with PartReader(part.path) as reader:
            kept = list(reader.packets())
        assert kept == [(packet.data, packet.pts, packet.duration, packet.is_keyframe) for packet in part.packets]
    assert len({part.facts.parameters for part in parts}) == 1

    paths = [part.path for part in parts]
    packets = list(joined(paths))
    given = [packet for part in parts for packet in part.packets]
    assert [(p.data, p.pts, p.duration, p.time_base, p.is_keyframe) for p in packets] == [
        (p.data, p.pts, p.duration, p.time_base, p.is_keyframe) for p in given
    ]
    if codec in ("h264", "hevc"):
        assert any(packet.dts < packet.pts for packet in packets), "pictures out of order"

    source = make_clip(tmp_path / "source.mkv", frames=3)
    whole = make_part(tmp_path / "whole.part", settings, TIMES)
    one = film(tmp_path / f"one{suffix}", source, iter(whole.packets), lambda: whole.template)
    many = film(tmp_path / f"many{suffix}", source, joined(paths), lambda: template_of(paths[0]))
    pictures = decoded(many, layout.pix_fmt)
    assert [read_number(planes[0]) for _, planes in pictures] == list(range(30))
    assert [time for time, _ in pictures] == [time for time, _ in decoded(one, layout.pix_fmt)]
    said, expected = probe(many), probe(one)
    assert {key: said.get(key) for key in SAME} == {key: expected.get(key) for key in SAME}
    if color is PQ:
        assert probe(many, frames=True)["side_data_list"] == probe(one, frames=True)["side_data_list"]


@pytest.mark.parametrize("codec", ["h264", "hevc", "ffv1"])
def test_parts_of_workers_with_other_cores_fit_together(tmp_path: Path, codec: str) -> None:
    """x264 and x265 write their number of threads into the headers, as a comment."""
    settings = settings_for(".mkv", codec=codec, size=(256, 192))
    paths = [tmp_path / f"{threads}.part" for threads in (1, 2, 4)]
    for number, path in enumerate(paths):
        times = [512 * (8 * number + index) for index in range(8)]
        make_part(path, replace(settings, threads=(1, 2, 4)[number]), times, 8 * number)
    source = make_clip(tmp_path / "source.mkv", frames=3)
    whole = film(tmp_path / "out.mkv", source, joined(paths), lambda: template_of(paths[0]))
    assert [read_number(planes[0]) for _, planes in decoded(whole, "yuv420p")] == list(range(24))


@pytest.mark.parametrize(
    ("codec", "change", "words"),
    [
        ("h264", {"size": (128, 64)}, "size 96x64 and 128x64"),
        ("h264", {"refs": "5"}, "headers "),
        ("hevc", {"color": FULL}, "pixel format yuv420p and yuvj420p"),
        ("ffv1", {"layout": DEEP}, "pixel format yuv420p and yuv420p10le"),
        ("vp9", {"aspect": WIDE}, "sample aspect 1 and 64/45"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path: Path, codec: str, change: dict[str, Any], words: str) -> None:
    suffix = ".mkv" if codec == "ffv1" else ".mp4"

    def settings(layout: PixelLayout | None = None, color: ColorTags = BT709, **more: Any) -> EncoderSettings:
        info = info_for(layout, color=color)
        made = settings_for(
            suffix, info, codec=codec, size=more.get("size"), sample_aspect=more.get("aspect", Fraction(1))
        )
        return with_options(made, refs=more["refs"]) if "refs" in more else made

    make_part(tmp_path / "chunk-0.part", settings(), [0, 512])
    make_part(tmp_path / "chunk-1.part", settings(**change), [1024, 1536])
    with pytest.raises(SinkError, match=rf"chunk-0.part and chunk-1.part do not fit together: {words}.*--fresh"):
        next(joined([tmp_path / "chunk-0.part", tmp_path / "chunk-1.part"]))
