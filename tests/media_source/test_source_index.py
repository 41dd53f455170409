"""The index says where decoding may begin, and why it may not."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from streamsr.config import SourceConfig
from streamsr.errors import SourceError
from streamsr.frames import FrameIndex
from streamsr.media.index import index_frames
from streamsr.media.keyframes import shows_nothing, units_of
from tests.media_source.windows import Film, make_film, seen

CFG = SourceConfig()


def index_of(path: Path, film: Film) -> FrameIndex:
    return index_frames(make_film(path, film), CFG)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
@pytest.mark.parametrize(
    "film",
    [
        Film(codec="libx264", params="open-gop=1:bframes=3:keyint=15:scenecut=0"),
        Film(codec="libx264", params="bframes=3:keyint=15:scenecut=0"),
        Film(codec="libx265", params="open-gop=1:bframes=3:keyint=15:scenecut=0"),
        Film(codec="mpeg2video", b_frames=2, gop=15, options={"sc_threshold": "1000000000"}),
    ],
    ids=["h264-open", "h264", "hevc-open", "mpeg2"],
)
def test_every_key_frame_is_safe(tmp_path: Path, name: str, film: Film) -> None:
    index = index_of(tmp_path / name, film)
    assert index.trouble == ""
    assert len(index.pts) == film.frames
    assert index.is_safe.sum() == index.is_key.sum() >= 5
    assert (index.num_bytes > 0).all()
    assert index.pts.dtype == index.num_bytes.dtype == np.int64


def test_the_index_is_what_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    index = index_of(path, Film(codec="libx264", params="bframes=3:keyint=15"))
    assert sorted(index.pts.tolist()) == [picture[0] for picture in seen(path, CFG)[0]]
    assert index.pts.tolist() != sorted(index.pts.tolist()), "decode order"


@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
def test_intra_refresh_is_safe_at_its_first_picture_only(tmp_path: Path, name: str) -> None:
    index = index_of(tmp_path / name, Film(codec="libx264", params="intra-refresh=1:keyint=15:bframes=0"))
    assert index.is_key.sum() > 3
    assert np.flatnonzero(index.is_safe).tolist() == [0]


def test_key_frames_without_their_parameters_are_not_safe(tmp_path: Path) -> None:
    """In a raw stream cut up anew into TS packets, only the first key frame may bring them."""
    source = make_film(tmp_path / "a.mkv", Film(codec="libx264", params="bframes=0:keyint=15:scenecut=0"))
    cut = tmp_path / "b.ts"
    with av.open(str(source)) as container, av.open(str(cut), "w") as output:
        template = container.streams.video[0]
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = template.width, template.height, "yuv420p"
        extradata = bytes(template.codec_context.extradata or b"")
        sps_bytes = int.from_bytes(extradata[6:8], "big")
        pps_at = 8 + sps_bytes + 1
        pps_bytes = int.from_bytes(extradata[pps_at : pps_at + 2], "big")
        parameters = [extradata[8 : 8 + sps_bytes], extradata[pps_at + 2 : pps_at + 2 + pps_bytes]]
        for number, packet in enumerate(container.demux(template)):
            if packet.size:
                units = [unit for unit in units_of(bytes(packet), 4) if unit[0] & 31 in (1, 5)]
                sent = b"".join(b"\0\0\0\1" + unit for unit in ([] if number else parameters) + units)
                bare = av.Packet(b"\0\0\0\1\x09\xf0" + sent)
                bare.pts, bare.dts, bare.time_base, bare.stream = packet.pts, packet.dts, packet.time_base, stream
                bare.is_keyframe = packet.is_keyframe
                output.mux(bare)
    index = index_frames(cut, CFG)
    assert index.is_key.sum() == 5
    assert np.flatnonzero(index.is_safe).tolist() == [0]


def test_hidden_pictures_are_left_out(media_dir: Path) -> None:
    path = media_dir / "clips/fate-sintel-signbias.ivf"
    with av.open(str(path)) as container:
        packets = sum(bool(packet.size) for packet in container.demux(container.streams.video[0]))
    assert packets > len(index_frames(path, CFG).pts) == 9


@pytest.mark.parametrize(
    ("codec", "data", "hidden"),
    [
        ("vp8", b"\x10\0\0", False),
        ("vp8", b"\x00\0\0", True),
        ("vp9", b"\x82\x49\x83\x42\0", False),  # key frame, shown
        ("vp9", b"\x80\x49\x83\x42\0", True),
        ("vp9", b"\x84\0\0", True),
        ("vp9", b"\x86\0\0", False),
        ("vp9", b"\x88\0", False),  # shows a frame that exists
        ("vp9", b"\xb0\x80\0", True),  # profile 3 has one bit more
        ("vp9", b"\x84\0\xc0", False),  # several frames in one packet
        ("h264", b"\0", False),
    ],
)
def test_which_packets_show_nothing(codec: str, data: bytes, hidden: bool) -> None:
    assert shows_nothing(codec, data) == hidden


def test_pictures_that_are_edited_out_are_left_out(tmp_path: Path) -> None:
    film = Film(codec="libx264", params="open-gop=1:bframes=3:keyint=20", start=-5)
    path = tmp_path / "a.mp4"
    assert len(index_of(path, film).pts) == len(seen(path, CFG)[0]) == 70


@pytest.mark.parametrize(
    ("name", "film", "trouble"),
    [
        ("a.h264", Film(codec="libx264"), "a raw stream has no times"),
        ("a.mkv", Film(codec="libx264", pix_fmt="yuv444p"), "H.264 in 4:4:4 is decoded right only from the first"),
        ("a.avi", Film(codec="cinepak", pix_fmt="rgb24", frames=5), "nothing is known of the key frames of cinepak"),
    ],
)
def test_trouble(tmp_path: Path, name: str, film: Film, trouble: str) -> None:
    index = index_of(tmp_path / name, film)
    assert index.trouble.startswith(trouble)
    assert not index.is_safe.any()
    assert len(np.unique(index.pts)) == film.frames


def test_dali_begins_with_the_first_picture(tmp_path: Path) -> None:
    path = make_film(tmp_path / "a.mp4", Film(codec="libx264", params="keyint=15"))
    index = index_frames(path, SourceConfig(decoder="dali"))
    assert index.trouble.startswith("DALI decodes from the first picture on")
    assert not index.is_safe.any()


def test_a_clock_that_runs_backwards(tmp_path: Path) -> None:
    """Two recordings in one file: the second clock starts between the times of the first."""
    parts = [
        make_film(
            tmp_path / f"{start}.ts", Film(codec="libx264", params="bframes=0", pts=range(start, start + 3000, 40))
        )
        for start in (0, 1515)
    ]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    index = index_frames(joined, CFG)
    assert index.trouble == "its clock runs backwards"
    assert len(np.unique(index.pts)) == 150
    assert (np.diff(index.pts) == 3600).all()


def test_packed_pictures(media_dir: Path) -> None:
    assert index_frames(media_dir / "odd/fate-packed_bframes.avi", CFG).trouble == "some packets hold two pictures"


def test_pictures_before_the_first_key_frame_do_not_count(media_dir: Path) -> None:
    index = index_frames(media_dir / "broken/mb-no-initial-keyframe.ts", CFG)
    assert len(index.pts) == 15
    assert index.is_key[0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", "the file is empty"),
        ("text.mkv", b"this is no video at all" * 20, "not a media file that FFmpeg can read"),
    ],
)
def test_files_that_are_none(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        index_frames(tmp_path / name, CFG)
    with pytest.raises(SourceError, match="No such file"):
        index_frames(tmp_path / "absent.mp4", CFG)
