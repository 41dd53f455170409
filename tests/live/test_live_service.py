"""`streamsr restream`, the whole program: too much work, streams that come and go, and what others may see of it.

What came out is judged by a recording of it: its pictures bear numbers and its sound has tones, tests/live/clips.py.
Every program is stopped by SIGTERM at the end, which must leave no process within five seconds (`Restream.stop`)."""

from __future__ import annotations

import contextlib
import urllib.error
import urllib.request
from pathlib import Path

import psutil

from tests.live import servers
from tests.live.restreaming import SMALL, Restream, assert_whole, recording_in

SECRETS = ("ann-7Q", "s3cret-W0rd", "bob-8R", "0ther-S3cret")


def test_overload_drops_pictures_not_time_and_goes_down_the_ladder(tmp_path: Path) -> None:
    # More pictures of this size than any processor makes with a network; plain resizing is no effort.
    source = "lavfi:testsrc2=s=960x540:r=60"
    options = ("--model", "lite", "--to", "480x270", "--set", "encode.preset=ultrafast", "--device", "cpu", "--adapt")
    with Restream(tmp_path, *options, source, f"record:{tmp_path}/rec/out.mkv") as program:
        program.wait_live(more=3)
        program.wait(
            lambda stream: stream["counters"]["dropped_newest"] > 20 and "total" in stream["latency"],
            "drops are counted",
        )
        slow = program.stream()
        program.wait(lambda stream: stream["model"] == "resize", "the ladder goes down", 40)
        program.wait_live(more=60)
        now = program.stream()
        assert slow["counters"]["pictures_out"] < slow["counters"]["pictures_in"] / 2, "no overload"
        upscale_s = slow["latency"]["upscale"]["p99_ms"] / 1000
        # A picture waits for the one before it and for itself, however long the overload lasts.
        assert slow["latency"]["total"]["p50_ms"] / 1000 < 0.5 + 2.5 * upscale_s
        assert slow["latency"]["wait"]["p99_ms"] / 1000 < 0.5 + upscale_s
        assert now["counters"]["ladder_moves"] >= 1
        assert now["fps_out"] > 2 * slow["fps_out"]
        program.stop()
        assert recording_in(tmp_path / "rec").stat().st_size > 0


def test_streams_come_and_go_and_one_that_fails_harms_no_other(sound_clip: Path, tmp_path: Path) -> None:
    config = tmp_path / "cameras.toml"

    def write(**sources: str) -> None:
        lines = ['[defaults.upscale]\nmodel = "resize"\nto = "320x180"\n[defaults.encode]\npreset = "ultrafast"']
        for name, source in sources.items():
            target = f"record:{tmp_path}/{name}/out.mkv"
            lines.append(f'[[stream]]\nname = "{name}"\nsource = "{source}"\ntargets = ["{target}"]')
        config.write_text("\n".join(lines))

    with servers.rtsp_server(sound_clip) as one, servers.rtsp_server(sound_clip) as two:
        write(good=one.url(), bad=one.url("/nothing"))
        with Restream(tmp_path, "--config", str(config)) as program:
            program.wait(lambda stream: stream["state"] == "failed", "bad failed", name="bad")
            program.wait_live("good")
            assert "404" in program.stream("bad")["error"] or "not found" in program.stream("bad")["error"].lower()
            write(good=one.url(), bad=two.url(), third=two.url())
            program.hang_up()
            program.wait_live("third")
            program.wait_live("bad")
            two.kill()
            program.wait(lambda stream: stream["state"] == "away", "third away", name="third")
            write(good=one.url())
            program.hang_up()
            servers.until(lambda: set(program.streams()) == {"good"}, "two streams are removed")
            config.write_text(config.read_text().replace('"resize"', '"nonsuch"'))
            program.hang_up()
            program.wait_for("the streams stay as they are")
            program.wait_live("good", more=24)
            program.stop()
        shown = assert_whole(recording_in(tmp_path / "good"))
        assert shown.pictures[-1][0] > 5, "it went on through all of it"
        for name in ("bad", "third"):
            assert servers.shown_in(recording_in(tmp_path / name)).pictures


def test_credentials_appear_nowhere(sound_clip: Path, tmp_path: Path) -> None:
    port = servers.free_port()
    with (
        servers.rtsp_server(sound_clip, user=SECRETS[0], password=SECRETS[1]) as source,
        servers.rtsp_server(user=SECRETS[2], password=SECRETS[3]) as sink,
        Restream(
            tmp_path, *SMALL, "--debug", "--interval", "0.5", "--status-listen", f"127.0.0.1:{port}", source.url(),
            sink.url("/pub"),
        ) as program,
    ):  # fmt: skip

        def look() -> None:
            """At all that others can read of the program."""
            texts = [program.log, program.status_text()]
            for page in ("status", "metrics", "health"):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5) as answer:
                        texts.append(answer.read().decode())
                except urllib.error.HTTPError as error:  # 503, with the reason
                    texts.append(error.read().decode())
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    texts += [" ".join(process.cmdline()), process.name()]
            found = [(secret, text) for secret in SECRETS for text in texts if secret in text]
            assert not found

        program.wait_live()
        program.wait_targets()
        sink.wait_for("published /pub")
        look()
        source.kill()
        sink.kill()
        program.wait(lambda stream: stream["state"] == "away", "away")
        program.wait(lambda stream: stream["targets"][0]["error"] != "", "an error of the target")
        look()
        program.stop()
        look_at = program.log + program.status_text()
        assert not [secret for secret in SECRETS if secret in look_at]


def test_wrong_password_is_said_without_it(sound_clip: Path, tmp_path: Path) -> None:
    with servers.rtsp_server(sound_clip, user="ann", password="right-one") as source:
        url = source.url(login="ann:wr0ng-one@")
        with Restream(tmp_path, *SMALL, url, f"record:{tmp_path}/rec/out.mkv") as program:
            program.ended(3, 20)
            assert "password" in program.log
            assert "wr0ng-one" not in program.log + program.status_text()
