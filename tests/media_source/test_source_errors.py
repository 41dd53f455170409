"""What bad input gets: one line that says what, where and what to do."""

from __future__ import annotations

import os
from pathlib import Path

import av
import pytest

from streamsr.config import SourceConfig
from streamsr.errors import SourceError
from streamsr.media import hardware
from streamsr.media.source import open_source
from tests.media import AudioTrack, make_clip, read_number


def refusal(path: Path, cfg: SourceConfig | None = None) -> str:
    with pytest.raises(SourceError) as caught:
        open_source(path, cfg or SourceConfig())
    assert isinstance(caught.value, OSError)
    assert caught.value.exit_code == 3
    line = str(caught.value)
    assert "\n" not in line
    assert caught.value.remedy
    return line


def test_missing_folder_pipe_and_empty(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "nothing.mp4")
    assert "is a folder" in refusal(tmp_path)
    (tmp_path / "empty.mp4").touch()
    assert "the file is empty" in refusal(tmp_path / "empty.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "is a device or a pipe" in refusal(tmp_path / "pipe.mp4")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=1)
    clip.chmod(0)
    assert "Permission denied" in refusal(clip)


def test_no_media_file(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_bytes(b"this is not a video\n" * 1000)
    assert "not a media file" in refusal(text)
    beheaded = tmp_path / "cut.mp4"  # the index of an MP4 is at its end
    whole = make_clip(tmp_path / "a.mp4", frames=12).read_bytes()
    beheaded.write_bytes(whole[: len(whole) // 2])
    assert "not a media file" in refusal(beheaded)


def test_sound_only(tmp_path: Path) -> None:
    path = tmp_path / "sound.m4a"
    with av.open(str(path), "w", format="mp4") as output:
        from tests.media_tracks import write_audio

        for packet in write_audio(output, AudioTrack(), 0.5):
            output.mux(packet)
    assert "has no video track, only audio" in refusal(path)


def test_unknown_codec(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=3)
    clip.write_bytes(clip.read_bytes().replace(b"avc1", b"zzzz"))
    assert "no decoder for its video codec" in refusal(clip)


def test_damaged_middle_keeps_the_rest(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=40, gop=10, size=(96, 64))
    with av.open(str(clip)) as container:
        positions = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.pos is not None]
    content = bytearray(clip.read_bytes())
    at, size = positions[15]
    content[at : at + size] = b"\xff" * size
    clip.write_bytes(content)
    with open_source(clip, SourceConfig()) as source:
        frames = list(source.frames())
        assert source.damage.bad_packets >= 1
        assert source.damage.first_error
        assert "damaged packet" in source.notices[-1]
    numbers = [read_number(frame.planes[0]) for frame in frames[:10] + frames[-10:]]
    assert numbers == [*range(10), *range(30, 40)]
    assert len(frames) >= 38


def test_damaged_last_picture_does_not_take_others_with_it(tmp_path: Path) -> None:
    """With frame threads, the error comes while the decoder is drained."""
    clip = make_clip(tmp_path / "a.mp4", frames=20, gop=10, size=(96, 64))
    with av.open(str(clip)) as container:
        positions = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.pos is not None]
    content = bytearray(clip.read_bytes())
    for at, size in (positions[17], positions[19]):
        content[at : at + size] = b"\xff" * size
    clip.write_bytes(content)
    with open_source(clip, SourceConfig()) as source:
        times = [round(frame.stamp.time_s * 24) for frame in source.frames()]
    assert times == [*range(17), 18]


def test_cut_off_file_keeps_what_is_there(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.ts", frames=48, gop=12, audio=[AudioTrack()])
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2])
    with open_source(clip, SourceConfig()) as source:
        numbers = [read_number(frame.planes[0]) for frame in source.frames()]
    assert 10 < len(numbers) < 48
    assert numbers[:10] == list(range(10))


def test_nvdec_without_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=3)

    def no_driver() -> object:
        raise av.PermissionError(1, "Could not dynamically load CUDA", "avcodec_open2")

    monkeypatch.setattr(hardware, "_nvdec", no_driver)
    assert "NVDEC does not open: Could not dynamically load CUDA" in refusal(clip, SourceConfig(decoder="nvdec"))
    with open_source(clip, SourceConfig(), device="cuda") as source:
        assert source.notices == ["decoded on the CPU: NVDEC does not open (Could not dynamically load CUDA)"]
        assert len(list(source.frames())) == 3
    with open_source(clip, SourceConfig(decoder="cpu"), device="cuda") as source:
        assert source.notices == []
