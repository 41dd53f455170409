from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest

from streamsr.frames import PixelLayout
from streamsr.live_frames import AudioFormat, LiveAudio
from tests.live.ingest_events import Events
from tests.live.servers import ServerProcess, free_port, http_server, needed, rtsp_server, v4l2_camera, xvfb
from tests.media import make_clip, read_number


@contextmanager
def ffmpeg(*arguments: str, ready: str = "frame=") -> Iterator[ServerProcess]:
    """Debian's ffmpeg sending something."""
    needed("ffmpeg")
    with ServerProcess(["ffmpeg", "-hide_banner", "-nostdin", "-stats_period", "0.1", *arguments], ready) as process:
        yield process


def looped(clip: Path, *output: str, before: tuple[str, ...] = ()) -> list[str]:
    return ["-re", *before, "-stream_loop", "-1", "-i", str(clip), "-c", "copy", *output]


def decodes(packets: list[LiveAudio]) -> int:
    """Samples that a decoder gets from bare packets and their format alone."""
    form = packets[0].format
    context = av.CodecContext.create(form.codec, "r")
    assert isinstance(context, av.AudioCodecContext)
    context.extradata = form.extradata
    context.sample_rate, context.layout = form.rate, form.layout
    return sum(frame.samples for packet in packets for frame in context.decode(av.Packet(packet.data)))


def steps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]


def test_a_file_is_played_once_at_its_own_pace(sound_clip: Path) -> None:
    with Events(str(sound_clip), may_wait=True) as events:
        events.wait_for_end(30)
    assert events.error is None
    assert [read_number(seen.luma) for seen in events.pictures] == list(range(96))
    assert steps([seen.time_s for seen in events.pictures]) == pytest.approx([1 / 24] * 95, abs=1e-3)
    assert 3.8 <= events.pictures[-1].seen_s - events.pictures[0].seen_s < 8
    (info,) = events.opened
    assert (info.session, info.codec, info.width, info.height, info.rate) == (0, "h264", 160, 90, Fraction(24))
    assert info.layout == PixelLayout("420", 8)
    assert info.audio is not None
    assert info.audio.codec == "aac"
    assert len(events.audio) >= 180
    assert decodes(events.audio) >= 180 * 1024
    assert all(seen.arrived_s <= seen.decoded_s <= seen.seen_s for seen in events.pictures)


def test_a_looped_file_goes_on_in_time(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=10, rate=Fraction(25), size=(64, 48))
    with Events(str(clip), loop=True) as events:
        events.wait(lambda: len(events.pictures) >= 25)
    numbers = [read_number(seen.luma) for seen in events.pictures]
    assert numbers[:25] == [*range(10), *range(10), *range(5)]
    assert steps([seen.time_s for seen in events.pictures]) == pytest.approx([0.04] * (len(numbers) - 1), abs=1e-3)
    assert len(events.opened) == 1
    assert events.away == []


def test_a_filter_graph_with_sound_is_a_source() -> None:
    with Events("lavfi:testsrc2=s=96x64:r=25:d=0.6[out0];sine=r=48000:d=0.6[out1]") as events:
        events.wait_for_end()
    assert len(events.pictures) == 15
    assert events.audio[0].format == AudioFormat("pcm_s16le", 48000, "mono", 1)
    assert sum(len(packet.data) for packet in events.audio) == 2 * 28800


@pytest.mark.parametrize("transport", ["tcp", "udp", "auto"])
def test_rtsp(transport: str, sound_clip: Path) -> None:
    with (
        rtsp_server(sound_clip, user="me", password="p@ss/word") as server,
        Events(server.url("/live"), transport=transport) as events,
    ):
        events.wait(lambda: len(events.pictures) >= 30 and len(events.audio) >= 30)
    (info,) = events.opened
    assert (info.container, info.codec, info.width, info.height) == ("rtsp", "h264", 160, 90)
    assert info.rate == 24
    assert info.audio is not None
    assert (info.audio.codec, info.audio.rate, len(info.audio.extradata) >= 2) == ("aac", 48000, True)
    numbers = [read_number(seen.luma) for seen in events.pictures]
    assert all((later - earlier) % 96 == 1 for earlier, later in pairwise(numbers[:30]))
    assert decodes(events.audio) >= 1024 * (len(events.audio) - 1)
    assert events.counters["corrupt_packets"] == 0


def test_mpegts_over_udp_has_bare_aac(sound_clip: Path) -> None:
    port = free_port(socket.SOCK_DGRAM)
    target = f"udp://127.0.0.1:{port}?pkt_size=1316"
    with ffmpeg(*looped(sound_clip, "-f", "mpegts", target)), Events(f"udp://127.0.0.1:{port}") as events:
        events.wait(lambda: len(events.pictures) >= 20 and len(events.audio) >= 20)
    assert events.opened[0].container == "mpegts"
    assert events.opened[0].audio == events.audio[0].format
    assert events.audio[0].format.extradata == bytes.fromhex("1190")
    assert decodes(events.audio) >= 1024 * (len(events.audio) - 1)


def test_sound_that_starts_late_is_announced_and_comes(sound_clip: Path) -> None:
    port = free_port(socket.SOCK_DGRAM)
    arguments = ["-re", "-i", str(sound_clip), "-itsoffset", "2.5", "-i", str(sound_clip), "-map", "0:v", "-map", "1:a"]
    target = f"udp://127.0.0.1:{port}?pkt_size=1316"
    with (
        Events(f"udp://127.0.0.1:{port}", stall_s=30, open_timeout_s=30) as events,
        ffmpeg(*arguments, "-c", "copy", "-f", "mpegts", target),
    ):
        events.wait(lambda: events.audio)
        assert events.opened[0].audio is not None
        assert events.opened[0].audio.codec == "aac"
        assert len(events.pictures) >= 12
        assert events.audio[0].time_s - events.pictures[0].time_s > 1.0
        events.wait(lambda: len(events.audio) >= 5)
        assert decodes(events.audio) >= 1024 * (len(events.audio) - 1)


def test_hls_comes_at_its_own_pace(tmp_path: Path, sound_clip: Path) -> None:
    output = ("-f", "hls", "-hls_time", "0.5", "-hls_list_size", "8", str(tmp_path / "live.m3u8"))
    with http_server(tmp_path) as server, ffmpeg(*looped(sound_clip, *output)) as sender:
        sender.wait_for("Opening")
        while not (tmp_path / "live.m3u8").exists():
            threading.Event().wait(0.05)
        with Events(f"{server.url('live.m3u8')}?token=hunter2") as events:
            events.wait(lambda: len(events.pictures) >= 40)
    assert events.opened[0].container == "hls"
    waits = steps([seen.seen_s for seen in events.pictures])
    assert sum(waits[:39]) > 0.8 * 39 / 24
    assert "hunter2" not in repr(events)


def test_a_file_over_http_has_an_end(tmp_path: Path) -> None:
    make_clip(tmp_path / "a.mp4", frames=10, rate=Fraction(25), size=(64, 48))
    with http_server(tmp_path) as server, Events(server.url("a.mp4"), may_wait=True) as events:
        events.wait_for_end()
    assert events.error is None
    assert [read_number(seen.luma) for seen in events.pictures] == list(range(10))


def test_rtmp(sound_clip: Path) -> None:
    url = f"rtmp://127.0.0.1:{free_port()}/live/key123"
    with (
        ffmpeg(*looped(sound_clip, "-f", "flv", "-listen", "1", url), ready="Input #0"),
        Events(url, retry="20") as events,
    ):
        events.wait(lambda: len(events.pictures) >= 20 and len(events.audio) >= 20)
    assert events.opened[0].container == "flv"
    assert decodes(events.audio) >= 1024 * (len(events.audio) - 1)


def test_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    with xvfb(320, 240) as display:
        monkeypatch.setenv("DISPLAY", display)
        for source in ("screen:", f"screen:{display}.0+10,20"):
            with Events(source, size="200x100", rate=20) as events:
                events.wait(lambda: len(events.pictures) >= 5)
            info = events.opened[0]
            assert (info.width, info.height, info.rate) == (200, 100, Fraction(20))
            assert info.layout == PixelLayout("444", 8, is_rgb=True)
        with Events("screen:+200,20", size="200x100") as events:
            assert "outside" in str(events.refusal())


def test_a_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    with v4l2_camera(320, 240, 30) as camera:
        for name, value in camera.env.items():
            monkeypatch.setenv(name, value)
        with Events("camera:0", size="320x240", rate=30, stall_s=1.0, retry="never") as events:
            events.wait(lambda: len(events.pictures) >= 10)
            camera.source.stall()  # a camera that freezes blocks FFmpeg, whatever its timeouts
            assert "no picture for 1 s" in str(events.refusal())
    info = events.opened[0]
    assert (info.codec, info.width, info.height, info.rate) == ("rawvideo", 320, 240, Fraction(30))
    assert info.layout == PixelLayout("422", 8)


def test_the_size_may_change_in_mid_stream(tmp_path: Path) -> None:
    parts = [
        make_clip(tmp_path / f"{number}.ts", frames=12, rate=Fraction(24), size=size, start_s=Fraction(number, 2))
        for number, size in enumerate([(64, 48), (96, 64)])
    ]
    whole = tmp_path / "whole.ts"
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    with Events(str(whole), may_wait=True) as events:
        events.wait_for_end()
    assert len(events.opened) == 1
    assert [seen.luma.shape for seen in events.pictures] == [(48, 64)] * 12 + [(64, 96)] * 12
    assert [(seen.info.width, seen.info.session) for seen in events.pictures[11:13]] == [(64, 0), (96, 0)]
    assert [read_number(seen.luma) for seen in events.pictures] == [*range(12), *range(12)]


def test_interlaced_pictures_are_deinterlaced_one_for_one(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.ts", frames=12, rate=Fraction(25), size=(64, 48), interlaced="tff")
    with Events(str(clip), may_wait=True) as events:
        events.wait_for_end()
    assert [read_number(seen.luma) for seen in events.pictures] == list(range(12))
    assert steps([seen.time_s for seen in events.pictures]) == pytest.approx([0.04] * 11, abs=1e-3)


def test_without_free_slots_pictures_are_left_out_and_counted() -> None:
    with Events("lavfi:testsrc2=s=64x48:r=50", num_slots=2, hold=True, stall_s=1.0) as events:
        events.wait(lambda: events.counters["dropped_ingest"] >= 60)
        assert len(events.pictures) == 2
        assert events.away == []
        events.hold = False
        for picture in events.held:
            picture.slot.release()
        events.wait(lambda: len(events.pictures) >= 10)
    assert events.away == []


def test_a_source_that_may_wait_loses_nothing(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=20, rate=Fraction(50), size=(64, 48))
    with Events(str(clip), num_slots=2, may_wait=True, hold=True, stall_s=0.5) as events:
        for number in range(20):
            events.wait(lambda: len(events.pictures) > number)  # noqa: B023 - called before the next turn
            if number == 1:
                threading.Event().wait(1.5)  # longer than stall_s: waiting for us is not the source's fault
            events.held[number].slot.release()
        events.wait_for_end()
    assert [read_number(seen.luma) for seen in events.pictures] == list(range(20))
    assert events.counters["dropped_ingest"] == 0


def test_pictures_outlive_the_ingest() -> None:
    with Events("lavfi:testsrc2=s=64x48:r=50", hold=True) as events:
        events.wait(lambda: len(events.held) >= 2)
    first, *rest = events.held
    memory = first.slot.memory
    assert len(memory) > 64 * 48
    del memory
    for picture in rest:
        picture.slot.release()
    first.slot.release()
    with pytest.raises(AssertionError, match="released twice"):
        first.slot.release()
    events.ingest.close()


def test_close_and_abort_end_the_events_at_once() -> None:
    for stop in ("close", "abort"):
        with Events("lavfi:testsrc2=s=64x48:r=50") as events:
            events.wait(lambda: events.pictures)
            if stop == "abort":
                events.gate.abort(ValueError("stop"))
            else:
                events.ingest.close()
            events.wait_for_end(5)
        assert events.error is None
