"""Every process is killed and stopped in turn: subtrees die at once, never two gateways, everybody comes back."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.drills.daemon import Daemon, config_folder, descendants, is_gone, wait_for

WORKERS = (
    "metrics", "alerts", "admin", "crash_reporter", "watchdog", "tracker", "gateway", "risk", "reconciler",
    "feed", "guard.BTC-USD", "strategist",
)  # fmt: skip


def gateways(daemon: Daemon) -> list[int]:
    found = []
    for pid in daemon.pids():
        try:
            with open(f"/proc/{pid}/comm") as file:
                if file.read().strip() == "gateway":
                    found.append(pid)
        except OSError:
            continue
    return [pid for pid in found if not is_gone(pid)]


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
        assert len(gateways(one)) <= 1
    one.wait_run()
    assert list((one.data / "crash").glob("*.json")) or list((one.data / "crash").glob("**/*.json"))


@pytest.mark.parametrize("name", ["operations", "trading", "market", "decisions"])
def test_a_killed_supervisor_takes_its_subtree_along_within_a_second(daemon: Callable[..., Daemon], name: str) -> None:
    one = daemon()
    one.wait_run()
    pid = one.actor(name)["pid"]
    below = descendants(pid)
    assert below
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: all(is_gone(child) for child in below), "the subtree to be gone", 1.0, 0.01)
    back(one, name, pid)
    one.wait_run()
    assert len(gateways(one)) == 1


@pytest.mark.parametrize("who", ["run.py", "admin", "root"])
def test_when_the_top_dies_everything_is_gone_within_a_second(daemon: Callable[..., Daemon], who: str) -> None:
    one = daemon()
    one.wait_run()
    assert one.process is not None
    everything = one.pids()
    top = one.process.pid
    system_admin = next(pid for pid in descendants(top) if parent_of(pid) == top and not is_simulator(pid))
    root = next(pid for pid in descendants(top) if parent_of(pid) == system_admin)
    os.kill({"run.py": top, "admin": system_admin, "root": root}[who], signal.SIGKILL)
    tree = {pid for pid in everything if not is_simulator(pid) and pid != top}
    wait_for(lambda: all(is_gone(pid) for pid in tree), "the tree to be gone", 1.0, 0.01)
    code = one.process.wait(20)
    assert code == (-signal.SIGKILL if who == "run.py" else 77), one.tail()
    wait_for(lambda: all(is_gone(pid) for pid in everything), "the simulator to be gone too", 10)


@pytest.mark.parametrize("name", ["feed", "risk", "gateway", "tracker", "watchdog", "strategist"])
def test_a_stopped_actor_is_killed_by_its_parent_and_replaced(daemon: Callable[..., Daemon], name: str) -> None:
    one = daemon()
    one.wait_run()
    pid = one.actor(name)["pid"]
    os.kill(pid, signal.SIGSTOP)
    back(one, name, pid)
    assert is_gone(pid)
    one.wait_run()


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


def parent_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def is_simulator(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"-m\x00simulator" in file.read()
    except OSError:
        return False


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
        assert len(gateways(one)) <= 1
    one.wait_run(120)


@pytest.mark.parametrize("name", ["operations", "trading", "market", "decisions"])
def test_a_stopped_supervisor_is_killed_with_its_subtree_and_comes_back(
    daemon: Callable[..., Daemon], name: str
) -> None:
    one = daemon()
    one.wait_run()
    pid = one.actor(name)["pid"]
    below = descendants(pid)
    os.kill(pid, signal.SIGSTOP)
    back(one, name, pid)
    wait_for(lambda: all(is_gone(child) for child in below), "the old subtree to be gone", 5)
    one.wait_run(120)
    assert len(gateways(one)) == 1


@pytest.mark.parametrize("who", ["root", "admin"])
def test_a_stopped_top_is_noticed_and_everything_ended_with_a_distinct_code(
    daemon: Callable[..., Daemon], who: str
) -> None:
    one = daemon()
    one.wait_run()
    assert one.process is not None
    top = one.process.pid
    everything = one.pids()
    admin = next(pid for pid in descendants(top) if parent_of(pid) == top and not is_simulator(pid))
    root = next(pid for pid in descendants(top) if parent_of(pid) == admin)
    os.kill({"root": root, "admin": admin}[who], signal.SIGSTOP)
    if who == "admin":
        # It carries no trading and no heartbeat: it is missed when something above or below it dies.
        os.kill(root, signal.SIGKILL)
        assert one.process.wait(40) in (76, 77), one.tail()
    else:
        assert one.process.wait(40) == 76, one.tail()
    wait_for(lambda: all(is_gone(pid) for pid in everything), "everything to be gone", 10)


def test_a_part_that_keeps_dying_is_given_up_by_its_own_policy(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    config = config_folder(tmp_path / "config", supervision={"max_restarts": 2, "period_s": 60.0})
    one = daemon(config=config)
    one.wait_run()
    kill_until(one, "strategist", lambda: one.actor("strategist")["state"] == "given_up")
    status = one.wait_status(lambda s: s["trading_state"] == "REDUCE_ONLY", "no entries without a strategist")
    assert "strategist" in " ".join(status["reasons"])
    assert one.process is not None
    kill_until(one, "tracker", lambda: one.process is not None and one.process.poll() is not None)
    assert one.process.wait(20) == 75, one.tail()


def kill_until(daemon: Daemon, name: str, condition: Callable[[], bool]) -> None:
    """kill -9 the part whenever it runs, until the condition holds."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if condition():
            return
        status = daemon.status()
        for actor in (status or {"actors": []})["actors"]:
            if actor["name"] == name and actor["state"] == "running":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(actor["pid"], signal.SIGKILL)
        time.sleep(0.1)  # between two looks
    raise AssertionError(f"{name} was killed for 60 s and nothing followed")
