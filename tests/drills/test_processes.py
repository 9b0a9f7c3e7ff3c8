"""Every process is killed and stopped in turn: subtrees die at once, never two gateways, everybody comes back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.drills.daemon import (
    Daemon,
    Json,
    assert_books_agree,
    config_folder,
    descendants,
    is_gone,
    is_simulator,
    wait_for,
)

WORKERS = (
    "metrics", "alerts", "admin", "crash_reporter", "watchdog", "tracker", "gateway", "risk", "reconciler",
    "feed", "guard.BTC-USD", "strategist",
)  # fmt: skip


def wait_gone(pids: set[int], seconds: float) -> None:
    wait_for(lambda: all(is_gone(pid) for pid in pids), "the processes below to be gone", seconds, 0.01)


def back(daemon: Daemon, name: str, pid: int, seconds: float = 20.0) -> None:
    daemon.wait_status(
        lambda s: any(a["name"] == name and a["pid"] != pid and a["state"] == "running" for a in s["actors"]),
        f"{name} to be replaced",
        seconds,
    )


def test_each_actor_is_replaced_after_sigkill_and_trading_goes_on(daemon: Callable[..., Daemon]) -> None:
    one = daemon()
    one.wait_run()
    for name in WORKERS:
        pid = one.actor(name)["pid"]
        os.kill(pid, signal.SIGKILL)
        back(one, name, pid)
        assert len(one.gateways()) <= 1
    one.wait_run()
    assert list((one.data / "crash").glob("*.json")) or list((one.data / "crash").glob("**/*.json"))


def test_each_supervisor_is_replaced_with_its_subtree_after_sigkill_segfault_and_hang(
    daemon: Callable[..., Daemon],
) -> None:
    one = daemon()
    one.wait_run()
    for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP):
        for name in ("operations", "trading", "market", "decisions"):
            pid = one.actor(name)["pid"]
            below = descendants(pid)
            assert below
            os.kill(pid, number)
            if number != signal.SIGSTOP:
                wait_for(
                    lambda below=below: all(is_gone(child) for child in below), "the subtree to be gone", 1.0, 0.01
                )
            back(one, name, pid)
            wait_for(lambda below=below: all(is_gone(child) for child in below), "the old subtree to be gone", 5)
            assert len(one.gateways()) <= 1
        one.wait_run(120)
    assert len(one.gateways()) == 1
    wait_for(lambda: not one.zombies(), "all zombies to be reaped", 10)
    assert one.status()["tree"]["restarts"] == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV], ids=["SIGKILL", "SIGSEGV"])
def test_when_run_py_dies_everything_is_gone_within_a_second(
    daemon: Callable[..., Daemon], number: signal.Signals
) -> None:
    one = daemon()
    one.wait_run()
    assert one.process is not None
    everything, tree = one.pids(), one.tree_pids()
    os.kill(one.process.pid, number)
    wait_for(lambda: all(is_gone(pid) for pid in tree), "the tree to be gone", 1.0, 0.01)
    assert one.process.wait(20) == -number, one.tail()
    wait_for(lambda: all(is_gone(pid) for pid in everything), "the simulator to be gone too", 10)


def test_root_and_admin_are_killed_fault_and_hang_and_each_time_a_new_tree_comes_up(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    often = {"root_restarts": 6, "root_backoff_first_s": 0.1, "unclean_starts": 7}
    one = daemon(config=config_folder(tmp_path / "config", supervision=often))
    one.wait_run()
    assert one.process is not None
    top, venue = one.process.pid, [pid for pid in one.pids() if is_simulator(pid)]
    epoch = one.epoch()
    for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP):
        for who in ("root", "admin"):
            old = one.tree_pids()
            os.kill(one.root_pid() if who == "root" else one.admin_pid(), number)
            if number != signal.SIGSTOP:
                wait_for(lambda old=old: all(is_gone(pid) for pid in old), "the tree to be gone", 1.0, 0.01)
            epoch = one.wait_status(lambda s, was=epoch: s["epoch"] > was and s["ready"], "a later epoch")["epoch"]
            assert all(is_gone(pid) for pid in old), f"{who} got {number}"
            assert len(one.gateways()) == 1
            assert not one.zombies()
    one.wait_run()
    assert one.process.pid == top and one.process.poll() is None
    assert [pid for pid in one.pids() if is_simulator(pid)] == venue, "the embedded simulator stayed up"
    assert one.status()["tree"]["restarts_left"] == 0
    assert one.is_live()


def test_a_stopped_run_py_is_seen_from_outside_and_goes_on_where_it_was(daemon: Callable[..., Daemon]) -> None:
    one = daemon()
    one.wait_run()
    assert one.process is not None
    old, first = one.tree_pids(), one.epoch()
    os.kill(one.process.pid, signal.SIGSTOP)
    try:
        wait_for(lambda: not one.is_live(), "HEALTHCHECK to say that nobody watches over the tree", 15)
        assert one.status()["trading_state"] == "RUN", "the tree trades on: its own watchdog holds the lease"
        os.kill(one.root_pid(), signal.SIGKILL)
        os.kill(one.process.pid, signal.SIGUSR1)
        wait_for(lambda: all(is_gone(pid) for pid in old), "the tree to die with its root all the same", 1.0, 0.01)
    finally:
        os.kill(one.process.pid, signal.SIGCONT)
    one.wait_status(lambda s: s["epoch"] > first and s["trading_state"] == "KILLED", "a new tree that heeds the signal")
    wait_for(one.is_live, "HEALTHCHECK to say alive", 10)
    assert_books_agree(one, one.venue)


def test_a_late_guard_stops_its_symbol_a_late_tracker_all_entries_and_both_heal(daemon: Callable[..., Daemon]) -> None:
    one = daemon("--symbols", "BTC-USD,ETH-USD")
    one.wait_run()

    def latency(status: Json, scope: str) -> Json:
        rows = (row for row in status["breakers"] if (row["name"], row["scope"]) == ("actor_latency", scope))
        return next(rows, {"trips": 0, "is_open": False})

    for name, scope, left in (("guard.ETH-USD", "ETH-USD", "RUN"), ("tracker", "*", "REDUCE_ONLY")):
        pid = one.actor(name)["pid"]
        os.kill(pid, signal.SIGSTOP)
        late = one.wait_status(lambda s, scope=scope: latency(s, scope)["is_open"], f"{name} to trip actor_latency")
        assert late["trading_state"] == left
        back(one, name, pid)
        assert is_gone(pid)
        one.wait_status(
            lambda s, scope=scope: s["trading_state"] == "RUN" and not latency(s, scope)["is_open"],
            "the breaker to heal",
        )


def test_a_stall_of_the_whole_tree_kills_nobody_and_no_stale_order_leaves(daemon: Callable[..., Daemon]) -> None:
    one = daemon()
    one.wait_run()
    status = one.wait_status(lambda s: set(WORKERS) <= {a["name"] for a in s["actors"]}, "everybody in the status")
    before = {actor["name"]: actor["pid"] for actor in status["actors"]}
    assert one.process is not None
    tree = [pid for pid in one.pids() if not is_simulator(pid)]
    venue = one.venue
    for pid in tree:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(5)  # the stall is the drill
    sent_before = posts(venue.requests())
    for pid in tree:
        os.kill(pid, signal.SIGCONT)
    time.sleep(0.3)  # a stale order would leave at once
    early = posts(venue.requests()) - sent_before
    after = one.wait_run()
    assert {actor["name"]: actor["pid"] for actor in after["actors"]} == before
    assert early == 0, "an order decided before the stall left after it"


def posts(requests: list[dict]) -> int:
    return sum(1 for r in requests if r.get("method") == "POST" and str(r.get("path", "")).endswith("/orders"))


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGSEGV], ids=["SIGSTOP", "SIGSEGV"])
def test_each_actor_is_replaced_after_a_hang_and_after_a_segmentation_fault(
    daemon: Callable[..., Daemon], number: signal.Signals
) -> None:
    one = daemon()
    one.wait_run()
    for name in WORKERS:
        pid = one.actor(name)["pid"]
        os.kill(pid, number)
        back(one, name, pid)
        assert is_gone(pid)
        assert len(one.gateways()) <= 1
    one.wait_run(120)
