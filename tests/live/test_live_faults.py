"""`streamsr restream`, the whole program, between real servers: its source dies, hangs, returns; its processes die.

What came out is judged by a recording of it: its pictures bear numbers and its sound has tones, tests/live/clips.py.
Every program is stopped by SIGTERM at the end, which must leave no process within five seconds (`Restream.stop`)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from streamsr.models.srvgg import SRVGG
from tests.live import servers
from tests.live.restreaming import SMALL, Restream, assert_whole, recording_in

STALL = ("--stall", "2s", "--set", "ingest.open_timeout_s=2")


def test_source_killed_and_restarted(sound_clip: Path, tmp_path: Path) -> None:
    with (
        servers.rtsp_server(sound_clip) as source,
        servers.rtsp_server() as sink,
        Restream(tmp_path, *SMALL, source.url(), sink.url("/pub"), f"record:{tmp_path}/rec/out.mkv") as program,
    ):
        program.wait_live()
        program.wait_targets()
        sink.wait_for("published /pub")
        source.kill()
        program.wait(lambda stream: stream["state"] == "away", "away")
        program.wait(lambda stream: stream["counters"]["pictures_held"] > 5, "last picture shown again")
        assert program.count("audio_silence") > 0
        source.restart()
        program.wait_live(more=48)
        assert program.count("reconnects") >= 1
        assert all(target["reconnects"] == 0 for target in program.stream()["targets"])
        assert "unpublished" not in sink.log
        program.stop()
        assert_whole(recording_in(tmp_path / "rec"))


def test_source_hangs_while_it_is_read_and_while_it_is_opened(sound_clip: Path, tmp_path: Path) -> None:
    with (
        servers.rtsp_server(sound_clip) as source,
        Restream(tmp_path, *SMALL, *STALL, source.url(), f"record:{tmp_path}/rec/out.mkv") as program,
    ):
        program.wait_live()
        source.stall()
        # The kernel still takes connections for the server: the next try hangs inside open.
        program.wait(lambda stream: stream["state"] == "away", "away", 10)
        program.wait(lambda _: program.log.count("source away") >= 2, "a second try that fails", 15)
        source.resume()
        program.wait_live(more=30)
        program.stop()
        assert_whole(recording_in(tmp_path / "rec"))


def test_source_that_never_says_anything_is_an_error(tmp_path: Path) -> None:
    with (
        servers.mute_server() as port,
        Restream(
            tmp_path, *SMALL, "--set", "ingest.open_timeout_s=1.5", f"rtsp://ann:geheim42@127.0.0.1:{port}/x",
            f"record:{tmp_path}/rec/out.mkv",
        ) as program,
    ):  # fmt: skip
        program.ended(3, 25)
        assert "geheim42" not in program.log + program.status_text()
        assert not list(tmp_path.rglob("*.mkv"))


def test_source_returns_with_another_size(sound_clip: Path, tmp_path: Path) -> None:
    other = servers.clip_with_audio(tmp_path, seconds=4, width=128, height=72, rate=24)
    with (
        servers.rtsp_server(sound_clip) as source,
        Restream(tmp_path, *SMALL, source.url(), f"record:{tmp_path}/rec/out.mkv") as program,
    ):
        program.wait_live()
        source.kill()
        source.serve(other)
        program.wait_live(more=48)
        assert program.stream()["size_in"] == "128x72"
        program.stop()
        shown = assert_whole(recording_in(tmp_path / "rec"))
        assert shown.sizes == {(320, 180)}


def test_any_process_killed_is_replaced(sound_clip: Path, tmp_path: Path) -> None:
    with (
        servers.rtsp_server(sound_clip) as source,
        servers.rtsp_server() as sink,
        Restream(tmp_path, *SMALL, source.url(), sink.url("/pub"), f"record:{tmp_path}/rec/out.mkv") as program,
    ):
        program.wait_live()
        program.wait_targets()
        ingest, publisher = program.child_at_port(source.port), program.child_at_port(sink.port)
        recorder = program.child_that_writes(tmp_path / "rec")
        (encoder,) = set(program.children()) - {ingest, publisher, recorder}
        publisher.kill()
        program.wait(lambda stream: stream["targets"][0]["reconnects"] >= 1, "publisher replaced")
        program.wait_targets()
        encoder.kill()
        program.wait(lambda stream: stream["counters"]["encoder_restarts"] == 1, "encoder replaced")
        program.wait_live(more=24)
        ingest.kill()
        program.wait(lambda stream: stream["counters"]["reconnects"] >= 1, "ingest replaced")
        program.wait_live(more=48)
        program.wait_targets()
        assert program.stream()["targets"][1]["reconnects"] == 0
        program.stop()
        assert_whole(recording_in(tmp_path / "rec"))


def test_stops_in_time_when_source_and_target_hang(sound_clip: Path, tmp_path: Path) -> None:
    with (
        servers.rtsp_server(sound_clip) as source,
        servers.rtsp_server() as sink,
        Restream(tmp_path, *SMALL, source.url(), sink.url("/pub"), f"record:{tmp_path}/rec/out.mkv") as program,
    ):
        program.wait_live(more=30)
        program.wait_targets()
        source.stall()
        sink.stall()
        program.wait(lambda stream: stream["counters"]["pictures_held"] > 3, "nothing comes")
        program.stop()
        assert_whole(recording_in(tmp_path / "rec"))


def test_stops_in_time_in_the_middle_of_a_picture_that_takes_long(sound_clip: Path, tmp_path: Path) -> None:
    network = SRVGG(3, 3, features=64, convs=16, scale=4)
    state = {name: (0.01 * value).contiguous() for name, value in network.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "slow.safetensors")
    large = servers.clip_with_audio(tmp_path, seconds=4, width=1920, height=1080, rate=24)
    options = ("--model", str(tmp_path / "slow.safetensors"), "--device", "cpu", *SMALL[2:], "--loop")
    with Restream(tmp_path, *options, str(large), f"record:{tmp_path}/rec/out.mkv") as program:
        program.wait_live(more=1)  # and the next picture has been begun
        program.wait_targets()
        program.stop()
        assert servers.shown_in(recording_in(tmp_path / "rec")).pictures


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_twenty_reconnects_lose_no_sync_and_no_process(sound_clip: Path, tmp_path: Path) -> None:
    with (
        servers.rtsp_server(sound_clip) as source,
        Restream(tmp_path, *SMALL, source.url(), f"record:{tmp_path}/rec/out.mkv") as program,
    ):
        program.wait_live()
        program.wait_targets()
        before = _held_by(program)
        for number in range(1, 21):
            source.restart()
            program.wait(partial(_reconnected, number), f"reconnect {number}")
            program.wait_live(more=5)
        program.wait_live(more=48)
        assert program.count("reconnects") == 20
        after = _held_by(program)
        assert after == pytest.approx(before, abs=4)
        program.stop()
        assert_whole(recording_in(tmp_path / "rec"))


def _held_by(program: Restream) -> list[int]:
    """Numbers of its processes, of its threads and of its open files."""
    processes = program.processes()
    return [len(processes), sum(each.num_threads() for each in processes), sum(each.num_fds() for each in processes)]


def _reconnected(times: int, stream: dict[str, Any]) -> bool:
    return bool(stream["counters"]["reconnects"] >= times)
