"""A long run of `streamsr restream` that writes down what grows: python -m tests.live.soak --minutes 60 --out soak.md

160x90 with sound from a real RTSP server, upscaled by the embedded network, goes to another RTSP server, an HLS folder
and a recording that begins a new file every five minutes. Every ten minutes the source is killed and comes back. Each
minute memory, threads, descriptors and shared memory of all processes, latency and losses become a row of a table; the
sound's place beside its pictures is measured in the recordings at the end. Linux; it needs .ci/install-live.sh."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.live import servers
from tests.live.restreaming import Restream

CLIP_S = 4
SETTLE_S, ROW_S, RESTART_S = 30.0, 60.0, 600.0
OPTIONS = ("--model", "lite", "--to", "640x360", "--device", "cpu", "--rotate", "300", "--listen", "none")
COLUMNS = (
    "min | processes | memory MiB | of it shared MiB | threads | descriptors | fps in | fps out | p50 ms | p99 ms"
    " | dropped | reconnects | encoder restarts | load"
)
GROWTH = 0.05
"""Of the last quarter over the second one: more is called growth."""


@dataclass(frozen=True)
class Row:
    """One moment. Memory is what the processes have made themselves, shared memory counted once; programs and
    libraries, which others may share, are not in it. `load`: of the machine, as uptime says it."""

    minute: float
    processes: int
    memory_mib: float
    shared_mib: float
    threads: int
    descriptors: int
    fps_in: float
    fps_out: float
    p50_ms: float
    p99_ms: float
    dropped: int
    reconnects: int
    encoder_restarts: int
    load: float

    def __str__(self) -> str:
        return (
            f"| {self.minute:.0f} | {self.processes} | {self.memory_mib:.1f} | {self.shared_mib:.1f} | {self.threads}"
            f" | {self.descriptors} | {self.fps_in:.1f} | {self.fps_out:.1f} | {self.p50_ms:.1f} | {self.p99_ms:.1f}"
            f" | {self.dropped} | {self.reconnects} | {self.encoder_restarts}"
            f" | {self.load:.1f} |"
        )


def measure(program: Restream, minute: float) -> Row:
    processes = [each for each in program.processes() if each.status() != psutil.STATUS_ZOMBIE]
    memory = [_proportional(each.pid) for each in processes]
    stream = program.stream()
    counters = stream["counters"]
    total = stream["latency"].get("total", {"p50_ms": 0.0, "p99_ms": 0.0})
    return Row(
        minute,
        len(processes),
        sum(all_ for all_, _ in memory) / 1024,
        sum(shared for _, shared in memory) / 1024,
        sum(each.num_threads() for each in processes),
        sum(each.num_fds() for each in processes),
        stream["fps_in"],
        stream["fps_out"],
        total["p50_ms"],
        total["p99_ms"],
        sum(counters[name] for name in ("dropped_newest", "dropped_stale", "dropped_ingest")),
        counters["reconnects"],
        counters["encoder_restarts"],
        os.getloadavg()[0],
    )


def _proportional(pid: int) -> tuple[int, int]:
    """KiB of memory that one process answers for, and how much of it is shared memory."""
    values = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        values[name] = int(value.split()[0])
    return values["Pss_Anon"] + values["Pss_Shmem"], values["Pss_Shmem"]


def verdict(rows: list[Row]) -> list[str]:
    """Lines that say what the last quarter of the run has more of than the second."""
    quarter = len(rows) // 4
    lines = []
    for name in ("processes", "memory_mib", "shared_mib", "threads", "descriptors", "p50_ms", "p99_ms"):
        begin, end = (
            statistics.median(getattr(row, name) for row in part)
            for part in (rows[quarter : 2 * quarter] or rows, rows[-quarter:] or rows)
        )
        grown = (end - begin) / begin if begin else 0.0
        lines.append(f"- {name}: {begin:.1f} -> {end:.1f}, {grown:+.1%}{' GROWS' if grown > GROWTH else ''}")
    return lines


def run(minutes: float, out: Path, folder: Path) -> None:
    rows: list[Row] = []
    clip = servers.clip_with_audio(folder, seconds=CLIP_S, width=160, height=90)
    with (
        out.open("w") as table,
        servers.rtsp_server(clip) as source,
        servers.rtsp_server() as sink,
        Restream(
            folder, *OPTIONS, source.url(), sink.url("/pub"), f"hls:{folder}/hls", f"record:{folder}/rec/out.mkv"
        ) as program,
    ):

        def write(line: str) -> None:
            table.write(line + "\n")
            table.flush()

        program.wait_live()
        program.wait_targets()
        time.sleep(SETTLE_S)
        write(f"| {COLUMNS} |\n|{'---|' * (COLUMNS.count('|') + 1)}")
        began = time.monotonic()
        restart_s = RESTART_S
        while (passed_s := time.monotonic() - began) <= minutes * 60:
            rows.append(measure(program, passed_s / 60))
            write(str(rows[-1]))
            # Right after a row: the next one shows how it runs again, not how it comes back.
            if passed_s >= restart_s:
                restart_s += RESTART_S
                source.restart()
            time.sleep(max(0.0, began + len(rows) * ROW_S - time.monotonic()))
        program.stop()
        write("\nThe last quarter beside the second:\n\n" + "\n".join(verdict(rows)))
        files = sorted((folder / "rec").glob("*.mkv"))
        write(f"\nSound after its picture, in the recordings ({len(files)} files):\n")
        for file in files:
            errors = servers.shown_in(file).sync_errors(CLIP_S)
            if errors:
                write(
                    f"- {file.name}: {1000 * min(errors):+.0f} to {1000 * max(errors):+.0f} ms at {len(errors)} tones"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--out", type=Path, default=Path("soak.md"))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="streamsr-soak-") as folder:
        run(chosen.minutes, chosen.out, Path(folder))
    sys.stdout.write(chosen.out.read_text())


if __name__ == "__main__":
    main()
