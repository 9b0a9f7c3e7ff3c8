"""What systemd is told, heard on a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands.systemd import Notifier


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        receiver.settimeout(5)
        yield receiver, path


def test_ready_ping_and_stopping_are_sent(systemd: tuple[socket.socket, str]) -> None:
    receiver, path = systemd
    notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000000"})
    assert notifier.ping_interval_s == 1.0
    notifier.ready("RUN")
    notifier.ping()
    notifier.stopping("SIGTERM")
    heard = [receiver.recv(1000).decode() for _ in range(3)]
    assert heard == ["READY=1\nSTATUS=RUN", "WATCHDOG=1", "STOPPING=1\nSTATUS=SIGTERM"]


def test_a_watchdog_meant_for_another_process_is_not_ours(systemd: tuple[socket.socket, str]) -> None:
    _, path = systemd
    environment = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid() + 1)}
    assert Notifier(environment).ping_interval_s is None


def test_without_systemd_nothing_happens() -> None:
    notifier = Notifier({})
    notifier.ready("RUN")
    assert notifier.ping_interval_s is None


def test_a_restart_asks_for_a_longer_limit_and_gives_it_back(systemd: tuple[socket.socket, str]) -> None:
    receiver, path = systemd
    notifier = Notifier({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "10000000"})
    notifier.restarting("restarting: hung", 75.0)
    notifier.restarted("RUN")
    assert receiver.recv(1000) == b"STATUS=restarting: hung\nWATCHDOG_USEC=75000000"
    assert receiver.recv(1000) == b"STATUS=RUN\nWATCHDOG=1\nWATCHDOG_USEC=10000000"
    Notifier({"NOTIFY_SOCKET": path}).restarting("restarting: hung", 75.0)
    assert receiver.recv(1000) == b"STATUS=restarting: hung", "no watchdog was asked for"
