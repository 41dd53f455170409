"""The windows of a plan, one after the other, are the film: same pixels, same times, nothing twice, nothing lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from streamsr.config import SourceConfig
from streamsr.frames import Window
from streamsr.media.damage import Damage
from streamsr.media.index import index_frames
from streamsr.media.source import open_source
from streamsr.media.window import pictures_from_key
from tests.media import make_clip
from tests.media_source.windows import INTERLACED, Film, assert_windows_are_the_whole, make_film, seen

OPEN = "open-gop=1:bframes=3:keyint=20:min-keyint=5:b-pyramid=normal:ref=4"
VFR = np.cumsum(np.random.default_rng(2).integers(1, 90, 75)).tolist()
VPX = {"auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good", "cpu-used": "5", "b": "100k", "g": "20"}
FILMS = {
    "open.mp4": Film(codec="libx264", params=OPEN),
    "open.mkv": Film(codec="libx264", params=OPEN),
    "open.ts": Film(codec="libx264", params=OPEN),
    "open.avi": Film(codec="libx264", params=OPEN),
    "open.flv": Film(codec="libx264", params=OPEN),
    "raw.h264": Film(codec="libx264", params=OPEN),
    "closed.mp4": Film(codec="libx264", params="bframes=3:keyint=20:min-keyint=5"),
    "refresh.ts": Film(codec="libx264", params="intra-refresh=1:keyint=20:bframes=0"),
    "refresh.mp4": Film(codec="libx264", params="intra-refresh=1:keyint=20:bframes=0"),
    "interlaced.ts": Film(codec="libx264", params="tff=1:bframes=2:keyint=20:open-gop=1", flags=INTERLACED),
    "deep.mkv": Film(codec="libx264", params=OPEN, pix_fmt="yuv422p10le"),
    "full-chroma.mkv": Film(codec="libx264", params=OPEN, pix_fmt="yuv444p"),
    "fragments.mp4": Film(codec="libx264", params=OPEN, container_options={"movflags": "frag_keyframe+empty_moov"}),
    "cut-start.mp4": Film(codec="libx264", params=OPEN, start=-5),
    "late-start.mp4": Film(codec="libx264", params=OPEN, start=50),
    "uneven.mp4": Film(codec="libx264", params=OPEN, pts=VFR),
    "uneven.mkv": Film(codec="libx264", params=OPEN, pts=VFR),
    "cra.mp4": Film(codec="libx265", params="open-gop=1:bframes=4:keyint=20:min-keyint=5"),
    "cra.ts": Film(codec="libx265", params="open-gop=1:bframes=4:keyint=20:min-keyint=5"),
    "radl.mkv": Film(codec="libx265", params="open-gop=0:radl=2:bframes=4:b-adapt=0:keyint=20:min-keyint=5"),
    "mpeg2.ts": Film(codec="mpeg2video", b_frames=2, gop=12),
    "mpeg2.mkv": Film(codec="mpeg2video", b_frames=2, gop=12, flags=INTERLACED),
    "mpeg2.mpg": Film(codec="mpeg2video", b_frames=2, gop=12),
    "mpeg4.mp4": Film(codec="mpeg4", b_frames=2, gop=12),
    "mpeg4.avi": Film(codec="mpeg4", b_frames=2, gop=12),
    "vp8.webm": Film(codec="libvpx", options=VPX),
    "vp9.webm": Film(codec="libvpx-vp9", options=VPX),
    "vp9.ivf": Film(codec="libvpx-vp9", options=VPX),
    "av1.mkv": Film(codec="libsvtav1", options={"preset": "12", "svtav1-params": "keyint=20:lp=1"}),
    "ffv1.mkv": Film(codec="ffv1", gop=12, options={"level": "3", "context": "1"}),
    "prores.mov": Film(codec="prores_ks", pix_fmt="yuv422p10le", frames=30, flags=INTERLACED),
}
FROM_THE_START = {"raw.h264", "refresh.ts", "refresh.mp4", "full-chroma.mkv"}


@pytest.mark.parametrize("name", FILMS)
def test_windows_are_the_whole(tmp_path: Path, name: str) -> None:
    film = make_film(tmp_path / name, FILMS[name])
    plan = assert_windows_are_the_whole(film, 0.5)
    assert len(plan.chunks) >= 2
    seeks = [chunk.window.seek_pts is not None for chunk in plan.chunks]
    assert any(seeks) == (name not in FROM_THE_START)


@pytest.mark.parametrize("name", ["open.mp4", "interlaced.ts", "cra.ts", "raw.h264", "vp8.webm"])
@pytest.mark.parametrize("cfg", [SourceConfig(start_s=0.7, duration_s=1.7), SourceConfig(deinterlace=True)])
def test_ranges_and_deinterlacing(tmp_path: Path, name: str, cfg: SourceConfig) -> None:
    film = make_film(tmp_path / name, FILMS[name])
    cuts = sorted(index_frames(film, cfg).pts.tolist())[7::13]
    assert len(assert_windows_are_the_whole(film, 0.4, cfg).chunks) >= 3
    assert len(assert_windows_are_the_whole(film, 0.4, cfg, cuts).chunks) >= 3


def test_interlace_that_comes_and_goes(tmp_path: Path) -> None:
    """Progressive pictures pass a deinterlacer that an earlier window began: nothing may depend on where it began."""
    kinds = ["", "tff", "", "tff"]
    joined = tmp_path / "joined.ts"
    with joined.open("wb") as file:
        for number, kind in enumerate(kinds):
            changes: dict[str, Any] = {"frames": 12, "interlaced": kind, "first_number": 12 * number, "gop": 6}
            start_s = 12 * number
            part = make_clip(tmp_path / f"{number}.ts", **changes, pts=range(start_s, start_s + 12))
            file.write(part.read_bytes())
    plan = assert_windows_are_the_whole(joined, 0.25)
    assert sum(chunk.window.seek_pts is not None for chunk in plan.chunks) >= 3


def test_the_size_changes(tmp_path: Path) -> None:
    joined = tmp_path / "joined.ts"
    sizes = [(64, 48), (96, 64), (64, 48)]
    with joined.open("wb") as file:
        for number, size in enumerate(sizes):
            times = range(20 * number, 20 * number + 20)
            file.write(make_clip(tmp_path / f"{number}.ts", frames=20, size=size, gop=10, pts=times).read_bytes())
    plan = assert_windows_are_the_whole(joined, 0.4, SourceConfig(deinterlace=True))
    assert any(chunk.window.seek_pts is not None for chunk in plan.chunks)


def test_joined_files_whose_clock_restarts(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.ts", FILMS["open.ts"])
    joined = tmp_path / "joined.ts"
    joined.write_bytes(film.read_bytes() * 2)
    plan = assert_windows_are_the_whole(joined, 0.5)
    assert len(plan.chunks) > 4
    assert plan.notes == ("some pictures have the time of others: every chunk is decoded from the beginning",)


@pytest.mark.parametrize("name", ["mpeg2.ts", "open.ts"])
def test_damage_is_counted_once(tmp_path: Path, name: str) -> None:
    film = make_film(tmp_path / name, FILMS[name])
    content = bytearray(film.read_bytes())
    for at in range(len(content) // 4, len(content), len(content) // 6):
        content[at : at + 300] = bytes(range(100)) * 3
    film.write_bytes(bytes(content))
    with open_source(film, SourceConfig()) as source:
        whole = [frame.stamp for frame in source.frames()]
        assert source.damage.bad_packets
    windows = windowed_damage(film)
    assert [(pts, duration) for pts, duration in windows[0]] == [(stamp.pts, stamp.duration) for stamp in whole]
    assert windows[1] == source.damage.bad_packets


def windowed_damage(film: Path) -> tuple[list[tuple[int, int]], int]:
    """(pts, duration) of all windows' pictures, and the damaged packets of all. What a decoder makes of lost blocks
    is not the same twice, so pixels are not compared."""
    from streamsr.chunks.plan import plan_chunks

    stamps, damaged = [], 0
    for chunk in plan_chunks(index_frames(film, SourceConfig()), 0.5).chunks:
        pictures, _, damage = seen(film, SourceConfig(), chunk.window)
        stamps += [picture[:2] for picture in pictures]
        damaged += damage.bad_packets
    return stamps, damaged


def test_a_file_cut_off(tmp_path: Path) -> None:
    film = make_film(tmp_path / "open.ts", FILMS["open.ts"])
    film.write_bytes(film.read_bytes()[: film.stat().st_size * 3 // 5])
    assert len(assert_windows_are_the_whole(film, 0.4).chunks) >= 3


def test_an_edit_list_that_begins_in_the_middle(tmp_path: Path) -> None:
    """Pictures before the edit are decoded and never shown."""
    film = make_film(tmp_path / "whole.mp4", FILMS["open.mp4"])
    cut = tmp_path / "cut.mp4"
    with av.open(str(film)) as source, av.open(str(cut), "w") as output:
        template = source.streams.video[0]
        stream = output.add_stream_from_template(template)
        for packet in source.demux(template):
            if packet.dts is not None and packet.pts is not None:
                shift = 7 * (packet.duration or 0)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = stream
                output.mux(packet)
    plan = assert_windows_are_the_whole(cut, 0.4)
    assert sum(chunk.frames for chunk in plan.chunks) == 68


def test_a_window_without_pictures_is_empty(tmp_path: Path) -> None:
    film = make_film(tmp_path / "open.mp4", FILMS["open.mp4"])
    pictures, info, _ = seen(film, SourceConfig(), Window(10**9, None, None))
    assert pictures == []
    assert info == seen(film, SourceConfig())[1]


class Landing:
    """A container whose first seeks land `late` ticks behind what was asked for."""

    def __init__(self, container: Any, late: int, times: int) -> None:
        self._container, self._late, self._times = container, late, times
        self.seeks = 0

    def seek(self, target: int, **options: Any) -> None:
        self.seeks += 1
        self._container.seek(target + (self._late if self.seeks <= self._times else 0), **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)


@pytest.mark.parametrize(("times", "found"), [(0, True), (1, True), (3, False)])
def test_a_seek_that_lands_late_is_taken_back(tmp_path: Path, times: int, found: bool) -> None:
    film = make_film(tmp_path / "open.mp4", FILMS["closed.mp4"])
    index = index_frames(film, SourceConfig())
    key = int(index.pts[index.is_safe][1])
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        landing = Landing(container, late=10**7, times=times)
        pictures = pictures_from_key(landing, stream, key, Damage())
        assert (pictures is not None) == found
        assert landing.seeks == min(times + 1, 3)
        if pictures is not None:
            assert next(pictures).pts == key


@pytest.mark.parametrize("name", ["raw.h264", "open.mkv"])
def test_a_key_that_is_not_there_means_decoding_from_the_start(tmp_path: Path, name: str) -> None:
    film = make_film(tmp_path / name, FILMS[name])
    whole = seen(film, SourceConfig())[0]
    with open_source(film, SourceConfig()) as source:
        shift = round(source.origin / source.info.time_base)
    start = whole[40][0] + shift
    assert seen(film, SourceConfig(), Window(start, None, start - 1))[0] == whole[40:]


ODD = {
    "odd/fate-242_4.mkv": 0.5,
    "odd/fate-cfhd_odd.mov": 0.1,
    "odd/fate-displaymatrix.mov": 0.4,
    "odd/fate-empty_edit_5s.mp4": 2.0,
    "odd/fate-interlaced_crop.mp4": 0.7,
    "odd/fate-mov_neg_first_pts_discard.mov": 0.2,
    "odd/fate-mpeg2_field_encoding.ts": 0.3,
    "odd/fate-packed_bframes.avi": 0.2,
    "odd/fate-sample-in-issue-505.mp4": 0.7,
    "odd/fate-vp80-00-comprehensive-014.ivf": 0.4,
    "odd/fate-vp8_video_with_alpha.webm": 1.0,
    "odd/fate-vp90-2-05-resize.ivf": 0.1,
    "odd/mb-edts.mp4": 1.0,
    "broken/fate-1242-small.mkv": 0.2,
    "broken/fate-brokensps.flv": 0.5,
    "broken/fate-wwwq_cut.mp4": 0.5,
    "broken/mb-no-initial-keyframe.ts": 0.2,
    "broken/videotest.mp4": 0.5,
    "clips/bbb-800x640-sar64_45-h264.mp4": 1.0,
    "clips/fate-sintel-signbias.ivf": 0.1,
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files(media_dir: Path, name: str) -> None:
    assert_windows_are_the_whole(media_dir / name, ODD[name])


def test_old_444_is_decoded_by_one_thread(media_dir: Path, tmp_path: Path) -> None:
    """Several threads show broken blocks, other ones each time."""
    path = Path(shutil.copy(media_dir / "odd/fate-empty_edit_5s.mp4", tmp_path))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        expected = [picture.to_ndarray() for picture in container.decode(stream)]
    with open_source(path, SourceConfig()) as source:
        for frame, picture in zip(source.frames(), expected, strict=True):
            assert all((a == b).all() for a, b in zip(frame.planes, picture, strict=True))
