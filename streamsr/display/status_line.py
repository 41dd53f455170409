"""How a live stream reads on one line, and a log of such lines that says when."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TextIO

from streamsr.display.lines import Plain
from streamsr.display.words import printable

DROPS = ("dropped_newest", "dropped_stale", "dropped_ingest")


class Stage(Protocol):
    """One stage's latency."""

    @property
    def p50_ms(self) -> float: ...
    @property
    def p99_ms(self) -> float: ...


class Target(Protocol):
    @property
    def state(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def error(self) -> str: ...


class Status(Protocol):
    """What the line is made of; streamsr.live.stats.StreamStatus has it."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def error(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def size_in(self) -> str: ...
    @property
    def size_out(self) -> str: ...
    @property
    def uptime_s(self) -> float: ...
    @property
    def fps_in(self) -> float: ...
    @property
    def fps_out(self) -> float: ...
    @property
    def av_offset_ms(self) -> float | None: ...
    @property
    def latency(self) -> Mapping[str, Stage]: ...
    @property
    def counters(self) -> Mapping[str, int]: ...
    @property
    def targets(self) -> Sequence[Target]: ...


def status_line(status: Status) -> str:
    """As "front: live 3:07, 640x360 -> 2560x1440 lite, 25.0 -> 25.0 fps, latency 62/95 ms, dropped 3, 2/2 targets".

    Latency is the median and the 99th percentile from packet in to packet out."""
    words = [f"{status.name}: {status.state} {_age(status.uptime_s)}"]
    if status.error:
        words.append(status.error)
    if status.size_out:
        words.append(f"{status.size_in} -> {status.size_out} {status.model}".rstrip())
        words.append(f"{status.fps_in:.1f} -> {status.fps_out:.1f} fps")
    total = status.latency.get("total")
    if total is not None:
        words.append(f"latency {total.p50_ms:.0f}/{total.p99_ms:.0f} ms")
    if status.av_offset_ms is not None:
        words.append(f"A/V {status.av_offset_ms:+.0f} ms")
    words += [f"{told} {number}" for told, number in _counts(status.counters).items() if number]
    if status.targets:
        up = sum(target.state == "live" for target in status.targets)
        words.append(f"{up}/{len(status.targets)} targets")
        words += [f"{each.name} {each.state}: {each.error}" for each in status.targets if _is_down(each)]
    return printable(", ".join(words))


class DatedLines(Plain):
    """Notices with the local time before each, for logs that nobody else dates. `clock` gives seconds since 1970."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.time) -> None:
        super().__init__(stream)
        self._wall_clock = clock

    def notice(self, text: str) -> None:
        super().notice(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(self._wall_clock()))} {text}")


def _is_down(target: Target) -> bool:
    return target.state in ("away", "failed") and bool(target.error)


def _counts(counters: Mapping[str, int]) -> dict[str, int]:
    """What should be zero, by its words."""
    return {
        "dropped": sum(counters.get(name, 0) for name in DROPS),
        "failed pictures": counters.get("upscale_failures", 0),
        "reconnects": counters.get("reconnects", 0),
        "encoder restarts": counters.get("encoder_restarts", 0),
    }


def _age(seconds: float) -> str:
    """As "0:07", "1:02:33" or "12 d 1:02:33"."""
    days, rest = divmod(int(seconds), 86_400)
    hours, rest = divmod(rest, 3600)
    clock = f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours or days else f"{rest // 60}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock
