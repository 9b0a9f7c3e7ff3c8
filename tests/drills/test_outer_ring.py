"""The outer ring: last resort at the venue, zombies reaped, unclean starts counted, systemd told."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from config.paths import run_dir
from tests.drills.daemon import (
    Daemon,
    Json,
    SimulatorApart,
    Venue,
    against,
    assert_books_agree,
    config_folder,
    is_gone,
    wait_for,
)
from tests.drills.test_kill_switch import HELD, MANY, open_orders

TREE_DIED = 77


def two_held_some_bids(
    daemon: Callable[..., Daemon], simulator: Callable[..., SimulatorApart], tmp_path: Path, **config: Json
) -> tuple[Daemon, Venue]:
    """A daemon with two protected positions and entries resting in five frozen markets."""
    symbols = ",".join((*HELD[:2], *(f"X{n:02d}-USD" for n in range(1, 6))))
    venue_process = simulator("--symbols", symbols, "--frozen")
    strategist = {**MANY["strategist"], "params": {"held": ",".join(HELD[:2])}}
    folder = config_folder(tmp_path / "config", **{**MANY, "strategist": strategist, **config})
    one = daemon(*against(venue_process), "--symbols", symbols, config=folder)
    one.wait_run()
    one.wait_status(
        lambda s: len(s["positions"]) == 2 and all(p["protection"] == "PROTECTED" for p in s["positions"]),
        "2 protected positions",
        90,
    )
    venue = Venue(venue_process.control_url)
    wait_for(lambda: len(open_orders(venue, "BUY")) >= 3, "resting entries", 60)
    return one, venue


def test_a_dead_root_costs_the_entries_alone_a_new_tree_takes_over_until_none_is_left(
    daemon: Callable[..., Daemon], simulator: Callable[..., SimulatorApart], tmp_path: Path
) -> None:
    one, venue = two_held_some_bids(daemon, simulator, tmp_path, supervision={"unclean_starts": 2})
    stops = {order["order_id"] for order in open_orders(venue, "SELL")}
    entries = {order["order_id"] for order in open_orders(venue, "BUY")}
    tree, first = one.tree_pids(), one.epoch()
    os.kill(one.root_pid(), signal.SIGKILL)
    wait_for(lambda: all(is_gone(pid) for pid in tree), "the tree to be gone", 1.0, 0.01)
    status = one.wait_status(lambda s: s["epoch"] > first and s["ready"], "a new tree")
    assert (status["tree"]["restarts"], status["tree"]["restarts_left"]) == (1, 1)
    assert "signal 9" in status["tree"]["last_reason"]
    assert not entries & {order["order_id"] for order in open_orders(venue, "BUY")}, "cancelled before the new tree"
    assert {order["order_id"] for order in open_orders(venue, "SELL")} == stops, "protection stayed"
    one.wait_run()
    held = one.wait_status(lambda s: len(s["positions"]) == 2, "both positions taken up")
    assert all(position["protection"] == "PROTECTED" for position in held["positions"])
    assert one.run("halt", "--reason", "drill: compare").returncode == 0
    assert_books_agree(one, venue)
    assert one.run("resume", "--reason", "drill: go on").returncode == 0
    lines = {line["event"]: line for line in one.log_lines() if line.get("actor") == "run"}
    assert lines["last_resort"]["cancelled"] >= 3 and lines["last_resort"]["proven"]
    assert lines["tree_restarting"]["left"] == 1
    (record,) = (one.data / "crash").glob("*-root-1.json")
    died = json.loads(record.read_text())
    assert died["extra"]["recorded_by"] == "run" and "children_count" in died["extra"]["last_beat"]["progress"]
    wait_for(lambda: "started anew" in one.log.read_text(), "the page", 5)

    second = one.epoch()
    os.kill(one.root_pid(), signal.SIGSTOP)
    status = one.wait_status(lambda s: s["epoch"] > second and s["ready"], "a third tree after a hang")
    assert status["tree"]["restarts_left"] == 0 and "root silent" in status["tree"]["last_reason"]
    wait_for(lambda: open_orders(venue, "BUY"), "entries that rest again", 60)
    (one.data / "health").unlink()
    (one.data / "health").mkdir()  # a folder that refuses to let go of it, as a read-only disk does
    os.kill(one.admin_pid(), signal.SIGSEGV)
    assert one.process is not None
    assert one.process.wait(40) == TREE_DIED, one.tail()
    (one.data / "health").rmdir()
    assert not open_orders(venue, "BUY")
    assert {order["order_id"] for order in open_orders(venue, "SELL")} == stops

    one.start()
    status = one.wait_status(lambda s: s["ready"] and s["trading_state"] == "HALTED", "HALTED", 40)
    assert "2 starts" in " ".join(status["reasons"]), "each tree that died since the resume was an unclean start"


def test_signals_are_heeded_while_no_tree_lives(
    daemon: Callable[..., Daemon], simulator: Callable[..., SimulatorApart], tmp_path: Path
) -> None:
    one, venue = two_held_some_bids(daemon, simulator, tmp_path)
    stops = {order["order_id"] for order in open_orders(venue, "SELL")}
    assert one.process is not None
    first = one.epoch()
    venue.fault("slow", delay_s=1.5, count=1000, match={"path": "/orders/historical/batch"})
    os.kill(one.root_pid(), signal.SIGKILL)
    wait_for(lambda: "tree_ended" in one.log.read_text(), "run.py to see the death", 5)
    os.kill(one.process.pid, signal.SIGUSR1)
    wait_for((one.data / "KILL").exists, "the latch", 1.0, 0.01)
    assert "last_resort" not in {line["event"] for line in one.log_lines()}, "it latched during the last resort"
    assert not one.is_live(), "HEALTHCHECK says that no tree lives"
    venue.clear_faults()
    one.wait_status(lambda s: s["epoch"] > first and s["trading_state"] == "KILLED", "a new tree that is killed")

    venue.fault("slow", delay_s=1.0, count=1000, match={"path": "/orders/historical/batch"})
    os.kill(one.root_pid(), signal.SIGKILL)
    wait_for(lambda: one.log.read_text().count("tree_ended") == 2, "run.py to see the second death", 5)
    os.kill(one.process.pid, signal.SIGTERM)
    assert one.process.wait(30) == 0, one.tail()
    assert one.log.read_text().count("tree_restarting") == 1, "no tree was started after SIGTERM"
    assert not open_orders(venue, "BUY")
    assert {order["order_id"] for order in open_orders(venue, "SELL")} == stops
    starts = json.loads((one.data / "demo" / "starts.json").read_text())
    assert [start["clean"] for start in starts] == [False, False], "both trees died, whatever ended the process"


def test_a_tree_whose_sockets_were_removed_is_replaced_before_anybody_misses_it(daemon: Callable[..., Daemon]) -> None:
    """As a host's clean-up after a logout does: open links go on, but no operator and no new part finds a socket."""
    one = daemon()
    first = one.epoch()
    shutil.rmtree(run_dir(one.data))
    status = one.wait_status(lambda s: s["epoch"] > first and s["ready"], "a new tree", 30)
    assert "was removed" in status["tree"]["last_reason"]
    assert one.run("kill", "--reason", "drill").returncode == 0
    assert one.terminate() == 0
    assert not run_dir(one.data).exists()


def test_a_stop_that_comes_while_the_daemon_starts_is_an_orderly_one(daemon: Callable[..., Daemon]) -> None:
    one = daemon(wait=False)
    assert one.process is not None
    wait_for(lambda: any(line.get("event") == "starting" for line in one.log_lines()), "its first line", step_s=0.002)
    one.process.send_signal(signal.SIGTERM)
    assert one.process.wait(30) == 0, one.tail()
    starts = json.loads((one.data / "demo" / "starts.json").read_text())
    assert [start["clean"] for start in starts] == [True]


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
    wait_for(lambda: not one.zombies(), "all zombies to be reaped", 10)


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
    one.kill()
    one.start()
    one.wait_run()  # the operator knew of those three; one more is not three


def test_systemd_hears_ready_earned_pings_a_restart_and_stopping(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        receiver.settimeout(20)
        one = daemon(environment={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000000"})
        assert receiver.recv(1000).startswith(b"READY=1")
        assert receiver.recv(1000) == b"WATCHDOG=1"
        first = one.epoch()
        os.kill(one.root_pid(), signal.SIGSTOP)  # no sign of life, so no ping is earned
        longer = hear(receiver, b"WATCHDOG_USEC=75000000")
        assert b"restarting" in longer
        assert b"WATCHDOG=1" not in longer
        back = receiver.recv(1000)
        assert back.endswith(b"WATCHDOG=1\nWATCHDOG_USEC=2000000"), "nothing between: no ping without a tree"
        assert one.epoch() > first
        assert receiver.recv(1000) == b"WATCHDOG=1"
        assert one.process is not None
        one.process.send_signal(signal.SIGTERM)
        hear(receiver, b"STOPPING=1")
        assert one.process.wait(40) == 0, one.tail()


def hear(receiver: socket.socket, what: bytes) -> bytes:
    """The first datagram that holds ``what``; pings may come before it."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if what in (text := receiver.recv(1000)):
            return text
    raise AssertionError(f"systemd never heard {what!r}")
