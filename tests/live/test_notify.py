"""What a service manager hears."""

from __future__ import annotations

import configparser
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import run_stream
from streamsr.errors import ConfigError
from streamsr.live.notify import Notifier

ROOT = Path(run_stream.__file__).parent


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket that listens as systemd does, and its address as it would stand in the environment."""
    is_abstract = request.param == "abstract"
    name = f"streamsr-test-{os.getpid()}-{tmp_path.name}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.settimeout(5)
        ear.bind(f"\0{name}" if is_abstract else name)
        yield ear, f"@{name}" if is_abstract else name


def test_each_word_is_one_datagram(manager: tuple[socket.socket, str]) -> None:
    ear, address = manager
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address})
    assert notifier.watchdog_interval_s is None
    notifier.ready()
    notifier.watchdog()
    notifier.status("front: live\nyard: öde")
    notifier.stopping()
    heard = [ear.recv(4096).decode() for _ in range(3)]
    assert heard == ["READY=1", "STATUS=front: live yard: öde", "STOPPING=1"]


def test_signs_of_life_come_a_few_times_in_an_interval(tmp_path: Path) -> None:
    now = [1000.0]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        notifier = Notifier(str(tmp_path / "notify"), 4.0, clock=lambda: now[0])
        heard: list[float] = []
        for step in range(48):
            now[0] = 1000.0 + step / 4
            notifier.watchdog()
            with contextlib.suppress(TimeoutError):
                ear.settimeout(0.01)
                heard.append(now[0] if ear.recv(100) == b"WATCHDOG=1" else 0.0)
    assert heard == [1000.0 + second for second in range(12)]


def test_the_environment_says_whether_a_watchdog_waits() -> None:
    base = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "30000000"}
    assert Notifier.from_environment(base).watchdog_interval_s == 30
    assert Notifier.from_environment(base | {"WATCHDOG_PID": str(os.getpid())}).watchdog_interval_s == 30
    assert Notifier.from_environment(base | {"WATCHDOG_PID": "1"}).watchdog_interval_s is None
    assert Notifier.from_environment(base | {"WATCHDOG_USEC": "soon"}).watchdog_interval_s is None
    assert Notifier.from_environment({"WATCHDOG_USEC": "30000000"}).watchdog_interval_s is None


@pytest.mark.parametrize("address", [None, "/nowhere/notify", "@streamsr-nobody-listens", "vsock:2:1234"])
def test_nobody_who_listens_is_no_failure(address: str | None) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1"} if address else {})
    notifier.ready()
    notifier.watchdog()
    notifier.status("x")
    notifier.stopping()


def test_a_manager_that_does_not_read_stops_nothing(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        notifier = Notifier(str(tmp_path / "notify"))
        for _ in range(2000):
            notifier.status("x" * 200)


def test_the_example_unit_asks_for_what_we_say() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.read(ROOT / "docs" / "streamsr-restream.service")
    service = unit["Service"]
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert min(int(service["TimeoutStopSec"]), int(service["WatchdogSec"])) > 5
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert service["RestartPreventExitStatus"] == str(ConfigError.exit_code)
    words = service["ExecStart"].split()[1:]
    assert isinstance(run_stream.cli.commands[words[0]].make_context(words[0], words[1:]), click.Context)
