"""`streamsr restream`, the whole program, between real servers: a target dies, hangs, or has no room left.

What came out is judged by a recording of it: its pictures bear numbers and its sound has tones, tests/live/clips.py.
Every program is stopped by SIGTERM at the end, which must leave no process within five seconds (`Restream.stop`)."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
from pathlib import Path

import av
import pytest

from tests.live import servers
from tests.live.restreaming import HELD_S, SMALL, Restream, assert_whole, recording_in


def test_a_target_that_dies_harms_no_other(sound_clip: Path, tmp_path: Path) -> None:
    with (
        servers.rtsp_server(sound_clip) as source,
        servers.rtsp_server() as bad,
        servers.rtsp_server() as good,
        Restream(
            tmp_path, *SMALL, source.url(), bad.url("/pub"), good.url("/pub"), f"record:{tmp_path}/rec/out.mkv"
        ) as program,
    ):
        program.wait_live()
        program.wait_targets()
        bad.kill()
        program.wait(lambda stream: stream["targets"][0]["state"] != "live", "the bad target is down")
        begin = program.stream()
        program.wait_live(more=24)
        assert program.stream()["targets"][1]["packets"] - begin["targets"][1]["packets"] > 30
        bad.restart()
        program.wait_targets()
        bad.wait_for("published /pub")
        assert len(servers.shown_in(bad.url("/pub_play"), 1.0, timeout=(8, 8)).pictures) > 10
        assert [target["reconnects"] > 0 for target in program.stream()["targets"]] == [True, False, False]
        assert "unpublished" not in good.log
        program.stop()
        assert_whole(recording_in(tmp_path / "rec"))


def test_a_target_that_hangs_harms_no_other(tmp_path: Path) -> None:
    # What the kernel itself takes for the server, megabytes, must be full before anybody can see that it hangs.
    noise = "lavfi:color=gray:s=640x360:r=24,noise=alls=100:allf=t"
    options = (
        "--model",
        "resize",
        "--to",
        "640x360",
        "--set",
        "encode.preset=ultrafast",
        "--bitrate",
        "40M",
        "--set",
        "publish.stall_s=2",
    )
    with (
        servers.rtsp_server() as bad,
        servers.rtsp_server() as good,
        Restream(
            tmp_path, *options, noise, bad.url("/pubv"), good.url("/pubv"), f"record:{tmp_path}/rec/out.mkv"
        ) as program,
    ):
        program.wait_live()
        program.wait_targets()
        bad.stall()
        program.wait(lambda stream: stream["targets"][0]["state"] != "live", "the bad target is down", 20)
        program.wait_live(more=24)
        bad.resume()
        program.wait_targets()
        assert [target["reconnects"] > 0 for target in program.stream()["targets"]] == [True, False, False]
        assert "unpublished" not in good.log
        program.stop()
        with av.open(str(recording_in(tmp_path / "rec"))) as recording:
            times = [float(packet.pts * packet.time_base) for packet in recording.demux() if packet.pts is not None]
        assert max(after - before for before, after in itertools.pairwise(times)) < HELD_S


def test_full_disk_costs_the_recording_only(sound_clip: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    # A small disk of its own, which only the program can see.
    mount = ("unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size=2m none {full} && exec "$@"', "sh")
    servers.needed("unshare", "mount")
    if subprocess.run([*mount, "true"], capture_output=True, timeout=20, check=False).returncode:
        pytest.skip("may not mount a small disk: needs root")
    with (
        servers.rtsp_server(sound_clip) as source,
        servers.rtsp_server() as sink,
        Restream(
            tmp_path, *SMALL, source.url(), f"record:{full}/out.mkv", sink.url("/pub"),
            prefix=mount,
        ) as program,
    ):  # fmt: skip
        program.wait_live()
        program.wait_targets()
        filler = Path(f"/proc/{program.pid}/root{full}/filler")
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        program.wait(lambda stream: stream["targets"][0]["state"] != "live", "the disk is full")
        assert "space" in program.stream()["targets"][0]["error"]
        program.wait_live(more=24)
        assert program.stream()["targets"][1]["state"] == "live"
        filler.unlink()
        program.wait_targets()
        assert "unpublished" not in sink.log
        program.stop()
