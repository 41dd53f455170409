"""What becomes of sound, subtitles, covers, fonts, chapters and tags."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from streamsr.media.audio import AudioTranscoder
from streamsr.media.containers import MATROSKA, MP4, WEBM, container_of
from streamsr.media.resample import Resampler
from tests.media import AudioTrack, SubtitleTrack, make_clip
from tests.media_sink.feed import complaints, feed_of, payloads, probe, times


def rich_clip(path: Path) -> Path:
    return make_clip(
        path,
        frames=24,
        b_frames=2,
        audio=[
            AudioTrack(language="eng", title="Main", disposition=Disposition.default),
            AudioTrack(codec="libopus", language="deu", title="Commentary", disposition=Disposition.comment),
        ],
        subtitles=[SubtitleTrack(language="fra", title="Forced", disposition=Disposition.forced)],
        chapters=[(0.0, 0.5, "first"), (0.5, 1.0, "second")],
        attachments=[("font.ttf", "font/ttf", b"not really a font" * 50)],
        cover=True,
        metadata={"title": "A film", "artist": "us"},
        language="jpn",
    )


def level_of(path: Path, hz: float) -> tuple[float, float]:
    """(level of the tone in the first channel, time of its first loud sample) of the first audio track."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        first, parts = None, []
        for frame in container.decode(stream):
            assert frame.pts is not None
            assert frame.time_base is not None
            first = frame.pts * frame.time_base if first is None else first
            samples = frame.to_ndarray()
            samples = samples if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels).T
            scale = float(2 ** (8 * samples.dtype.itemsize - 1) - 1) if samples.dtype.kind == "i" else 1.0
            parts.append(samples[0] / scale)
        signal = np.concatenate(parts)
        rate = stream.codec_context.sample_rate
    assert first is not None
    loud = int(np.argmax(np.abs(signal) > 0.1))
    middle = signal[rate // 4 : rate // 4 + rate // 2]
    turn = np.exp(-2j * np.pi * hz * np.arange(len(middle)) / rate)
    return 2 * abs(float(np.abs(np.mean(middle * turn)))), float(first) + loud / rate


def test_everything_is_kept_in_matroska(tmp_path: Path) -> None:
    feed = feed_of(rich_clip(tmp_path / "a.mkv"))
    sink = feed.into(tmp_path / "b.mkv")
    found = probe(tmp_path / "b.mkv")
    kinds = [stream["codec_type"] for stream in found["streams"]]
    assert kinds[:4] == ["video", "audio", "audio", "subtitle"]
    assert sorted(kinds[4:]) == ["attachment", "video"]
    assert {fate.fate for fate in sink.streams} == {"copied"}
    assert sink.notices == []
    tags = [stream.get("tags", {}) for stream in found["streams"]]
    assert [tag.get("language") for tag in tags[:4]] == ["jpn", "eng", "deu", "fra"]
    assert [tag.get("title") for tag in tags[1:4]] == ["Main", "Commentary", "Forced"]
    assert found["streams"][2]["disposition"]["comment"] == 1
    assert found["streams"][3]["disposition"]["forced"] == 1
    assert sum(stream["disposition"]["attached_pic"] for stream in found["streams"]) == 1
    assert [chapter["tags"]["title"] for chapter in found["chapters"]] == ["first", "second"]
    assert found["format"]["tags"]["title"] == "A film"
    for track in (0, 1):
        assert payloads(tmp_path / "a.mkv", track=track) == payloads(tmp_path / "b.mkv", track=track)
    with av.open(str(tmp_path / "b.mkv")) as written:
        assert written.streams.attachments[0].data == b"not really a font" * 50
    assert complaints(tmp_path / "b.mkv") == ""


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_matroska_into_mp4(tmp_path: Path, suffix: str) -> None:
    feed = feed_of(rich_clip(tmp_path / "a.mkv"))
    target = tmp_path / f"b{suffix}"
    sink = feed.into(target)
    found = probe(target)
    fates = {fate.kind + fate.codec: fate for fate in sink.streams}
    assert fates["subtitlesubrip"].fate == "transcoded"
    assert fates["attachmentfont.ttf"].fate == "dropped"
    assert "font.ttf" in " ".join(sink.notices)
    assert fates["audioopus"].fate == ("copied" if suffix == ".mp4" else "transcoded")
    kinds = [stream["codec_name"] for stream in found["streams"] if "codec_name" in stream]
    assert kinds[1] == "aac"
    assert kinds[2] == ("opus" if suffix == ".mp4" else "aac")
    assert "mov_text" in kinds
    assert any(stream["disposition"]["attached_pic"] for stream in found["streams"]) == (suffix == ".mp4")
    assert payloads(tmp_path / "a.mkv") == payloads(target)
    assert [chapter["tags"]["title"] for chapter in found["chapters"]] == ["first", "second"]
    with av.open(str(target)) as written:
        texts = [bytes(packet)[2:] for packet in written.demux(written.streams.subtitles[0]) if packet.size > 2]
    assert [text.decode() for text in texts] == ["one", "two"]
    assert complaints(target) == ""


def test_mp4_into_matroska_keeps_text(tmp_path: Path) -> None:
    clip = make_clip(
        tmp_path / "a.mp4", frames=24, cover=True, audio=[AudioTrack()], subtitles=[SubtitleTrack(codec="mov_text")]
    )
    sink = feed_of(clip).into(tmp_path / "b.mkv")
    assert {fate.fate for fate in sink.streams if fate.kind != "subtitle"} == {"copied"}
    with av.open(str(tmp_path / "b.mkv")) as written:
        stream = written.streams.subtitles[0]
        assert stream.codec_context.name in ("srt", "subrip")
        assert [bytes(packet) for packet in written.demux(stream) if packet.size] == [b"one", b"two"]
        assert written.streams.video[1].disposition & Disposition.attached_pic


@pytest.mark.parametrize(
    ("codec", "source", "suffix", "expected"),
    [
        ("aac", ".mkv", ".webm", "opus"),
        ("flac", ".mkv", ".webm", "opus"),
        ("libopus", ".mkv", ".mov", "aac"),
        ("pcm_s16le", ".mov", ".mp4", "aac"),
        ("pcm_s16le", ".mov", ".ts", "aac"),
        ("pcm_alaw", ".mov", ".mkv", "flac"),
    ],
)
def test_transcoded_sound_is_the_same_sound(
    tmp_path: Path, codec: str, source: str, suffix: str, expected: str
) -> None:
    """Tone, level and onset: at a rate that Opus does not know, 0.2 s late."""
    rate = 48000 if codec == "libopus" else 44100
    track = AudioTrack(codec=codec, sample_rate=rate, frequency_hz=1000, start_s=0.2, language="eng")
    video = "libvpx-vp9" if suffix == ".webm" else "libx264"
    clip = make_clip(tmp_path / f"a{source}", frames=36, codec=video, audio=[track])
    target = tmp_path / f"b{suffix}"
    sink = feed_of(clip).into(target)
    (fate,) = sink.streams
    assert (fate.fate, fate.language) == ("transcoded", "eng")
    assert probe(target)["streams"][1]["codec_name"] == expected
    wanted, onset = level_of(clip, 1000)
    level, begins = level_of(target, 1000)
    shift = sink.verdict.shift_s if sink.verdict else 0.0
    assert level == pytest.approx(wanted, rel=0.05)
    assert begins - shift == pytest.approx(onset, abs=0.003)
    assert complaints(target) == ""


@pytest.mark.parametrize(
    ("mode", "fates"), [("transcode", ["transcoded"]), ("none", ["dropped"]), ("copy", ["copied"])]
)
def test_audio_modes(tmp_path: Path, mode: str, fates: list[str]) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=12, audio=[AudioTrack(layout="5.1")])
    sink = feed_of(clip).into(tmp_path / "b.mp4", audio=mode)
    assert [fate.fate for fate in sink.streams] == fates
    audio = [stream for stream in probe(tmp_path / "b.mp4")["streams"] if stream["codec_type"] == "audio"]
    assert [stream["channels"] for stream in audio] == ([] if mode == "none" else [6])


def test_gaps_become_silence(tmp_path: Path) -> None:
    """Packets missing in the middle of a track must not move what comes after them."""
    clip = make_clip(tmp_path / "a.mkv", frames=48, audio=[AudioTrack(codec="flac", layout="mono")])
    with av.open(str(clip)) as source, av.open(str(tmp_path / "b.mp4"), "w") as output:
        stream = source.streams.audio[0]
        transcoder = AudioTranscoder(stream, output, MP4)
        packets = [packet for packet in source.demux(stream) if packet.size]
        for number, packet in enumerate(packets):
            if not 5 <= number < 9:
                output.mux(transcoder.take(packet))
        output.mux(transcoder.finish())
        lost_from, lost_to = ((packets[number].pts or 0) * packets[number].time_base for number in (5, 9))
    with av.open(str(tmp_path / "b.mp4")) as written:
        signal = np.concatenate([frame.to_ndarray()[0] for frame in written.decode(audio=0)])
    middle = signal[int((lost_from + Fraction(1, 50)) * 48000) : int((lost_to - Fraction(1, 50)) * 48000)]
    assert np.abs(middle).max() < 0.02
    assert np.abs(signal[int((lost_to + Fraction(1, 50)) * 48000) :][:2000]).max() > 0.2
    assert len(signal) / 48000 == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize(("rate", "new_rate"), [(44100, 48000), (96000, 48000), (22050, 44100), (11025, 48000)])
def test_resampling_in_pieces_leaves_no_seams(rate: int, new_rate: int) -> None:
    import torch
    from torchaudio.functional import resample

    signal = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 3 * rate + 17)).astype(np.float32)
    resampler = Resampler(rate, new_rate)
    pieces = [resampler.take(signal[:, at : at + 1024]) for at in range(0, signal.shape[1], 1024)]
    pieces.append(resampler.finish())
    whole = resample(torch.from_numpy(signal), rate, new_rate).numpy()
    joined = np.concatenate([piece for piece in pieces if piece.shape[1]], axis=1)
    assert joined.shape == whole.shape
    np.testing.assert_allclose(joined, whole, atol=1e-5)


def test_a_range_takes_only_its_own(tmp_path: Path) -> None:
    clip = make_clip(
        tmp_path / "a.mkv",
        frames=72,
        gop=12,
        audio=[AudioTrack(codec="libopus")],
        subtitles=[SubtitleTrack(lines=((0.2, 1.4, "across"), (1.5, 1.8, "inside"), (2.5, 2.8, "after")))],
        chapters=[(0.0, 1.2, "before"), (1.2, 3.0, "then")],
    )
    target = tmp_path / "b.mkv"
    feed_of(clip).into(target, origin=Fraction(1), start_s=1.0, duration_s=1.0)
    sound = times(target, 1)
    assert 0 <= sound[0] < Fraction(3, 100)
    assert Fraction(95, 100) < sound[-1] < 1
    with av.open(str(target)) as written:
        texts = [(bytes(p), p.pts, p.duration) for p in written.demux(written.streams.subtitles[0]) if p.size]
        chapters = [
            (entry["start"] * tick, entry["end"] * tick) for entry in written.chapters() if (tick := entry["time_base"])
        ]
    assert texts == [(b"across", 0, 400), (b"inside", 500, 300)]
    assert chapters == [(0, Fraction(1, 5)), (Fraction(1, 5), 1)]


def test_stale_tags_are_left_behind(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", frames=6, metadata={"BPS": "12", "my_tag": "kept", "title": "x"})
    feed_of(clip).into(tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as written:
        tags = {key.lower(): value for key, value in written.metadata.items()}
    assert tags["my_tag"] == "kept"
    assert tags["title"] == "x"
    assert "bps" not in tags


def test_end_with_video(tmp_path: Path) -> None:
    """After a first Ctrl-C the sound ends where the pictures do."""
    from streamsr.config import OutputConfig
    from streamsr.media.sink import open_sink

    feed = feed_of(make_clip(tmp_path / "a.mkv", frames=12, audio=[AudioTrack(seconds=4.0)]))
    with open_sink(tmp_path / "b.mkv", str(feed.path), feed.info, OutputConfig(), origin=Fraction(0)) as sink:
        sink.end_with_video()
        sink.write(feed.moved(Fraction(0)), feed.template)
    assert times(tmp_path / "b.mkv", 1)[-1] < Fraction(55, 100)


def test_containers_by_suffix() -> None:
    assert container_of(Path("a.MKV")) is MATROSKA
    assert container_of(Path("a.webm")) is WEBM
    with pytest.raises(ValueError, match=r"\.mkv"):
        container_of(Path("a.avi"))
