"""The outer ring: last resort at the venue, zombies reaped, unclean starts counted, systemd told."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from tests.drills.daemon import Daemon, SimulatorApart, Venue, against, config_folder, descendants, wait_for
from tests.drills.test_kill_switch import HELD, MANY, open_orders

TREE_DIED = 77


def test_when_the_root_dies_the_entries_are_cancelled_and_protection_stays(
    daemon: Callable[..., Daemon], simulator: Callable[..., SimulatorApart], tmp_path: Path
) -> None:
    bids = tuple(f"X{n:02d}-USD" for n in range(1, 6))
    symbols = ",".join((*HELD[:2], *bids))
    venue_process = simulator("--symbols", symbols, "--frozen")
    venue = Venue(venue_process.control_url)
    config = config_folder(
        tmp_path / "config", **{**MANY, "strategist": {**MANY["strategist"], "params": {"held": ",".join(HELD[:2])}}}
    )
    one = daemon(*against(venue_process), "--symbols", symbols, config=config)
    one.wait_run()
    one.wait_status(
        lambda s: len(s["positions"]) == 2 and all(p["protection"] == "PROTECTED" for p in s["positions"]),
        "2 protected positions",
        90,
    )
    wait_for(lambda: len(open_orders(venue, "BUY")) >= 3, "resting entries", 60)
    stops = {order["order_id"] for order in open_orders(venue, "SELL")}
    os.kill(root_of(one), signal.SIGKILL)
    assert one.process is not None
    assert one.process.wait(30) == TREE_DIED, one.tail()
    wait_for(lambda: not open_orders(venue, "BUY"), "the entries to be cancelled", 5)
    assert {order["order_id"] for order in open_orders(venue, "SELL")} == stops


def test_no_zombie_stays_below_the_daemon(daemon: Callable[..., Daemon]) -> None:
    one = daemon()
    one.wait_run()
    for name in ("strategist", "risk", "trading"):
        pid = one.actor(name)["pid"]
        os.kill(pid, signal.SIGKILL)
        one.wait_status(
            lambda s, name=name, pid=pid: any(a["name"] == name and a["pid"] not in (0, pid) for a in s["actors"]),
            f"{name} to be back",
        )
    assert one.process is not None
    top = one.process.pid
    wait_for(lambda: not [pid for pid in descendants(top) if is_zombie(pid)], "all zombies to be reaped", 10)


def test_three_unclean_starts_begin_halted_until_an_operator_resumes(daemon: Callable[..., Daemon]) -> None:
    one = daemon()
    for _ in range(3):
        one.wait_ready()
        one.kill()
        one.start()
    status = one.wait_status(lambda s: s["ready"] and s["trading_state"] == "HALTED", "HALTED", 40)
    assert "did not end in order" in " ".join(status["reasons"])
    assert one.run("resume", "--reason", "drill: looked into it").returncode == 0
    one.wait_run()


def test_systemd_hears_ready_and_earned_pings_and_stopping(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        receiver.settimeout(20)
        one = daemon(environment={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000000"})
        assert receiver.recv(1000).startswith(b"READY=1")
        assert receiver.recv(1000) == b"WATCHDOG=1"
        os.kill(root_of(one), signal.SIGSTOP)  # no sign of life, so no ping is earned
        drain_until_silent(receiver)
        assert one.process is not None
        assert one.process.wait(30) == 76, one.tail()


def drain_until_silent(receiver: socket.socket) -> None:
    """Pings end: the last one is older than the ping interval, and only STOPPING follows."""
    receiver.settimeout(20)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if receiver.recv(1000).startswith(b"STOPPING=1"):
            return
    raise AssertionError("pings went on though the root was stopped")


def root_of(daemon: Daemon) -> int:
    """The root is the parent of the supervisors."""
    pid = daemon.actor("trading")["pid"]
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return False
