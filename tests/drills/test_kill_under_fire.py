"""A kill does its work while the feed is saturated, bystanders are dead, and its own workers die in the middle."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.drills.daemon import (
    RUN,
    Daemon,
    SimulatorApart,
    Venue,
    against,
    assert_books_agree,
    clean_environment,
    config_folder,
    wait_for,
)
from tests.drills.test_kill_switch import ENDED, HELD, MANY, open_orders

BIDS = tuple(f"X{n:02d}-USD" for n in range(1, 5))
ESSENTIAL = ("tracker", "gateway", "watchdog", "admin")


@contextlib.contextmanager
def bystanders_down(one: Daemon) -> Iterator[None]:
    """Every actor but those that carry out a kill is stopped, and so is whatever replaces it."""
    over = threading.Event()

    def hold() -> None:
        while not over.is_set():
            for actor in (one.status() or {"actors": []})["actors"]:
                if actor["pid"] and actor["kind"] != "supervisor" and actor["name"] not in ESSENTIAL:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(actor["pid"], signal.SIGSTOP)
            over.wait(0.05)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def begin(one: Daemon, *arguments: str) -> subprocess.Popen[str]:
    command = [*RUN, "kill", "--data-dir", str(one.data), "--reason", "drill", "--json", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean_environment()
    )


def proven(command: subprocess.Popen[str], one: Daemon) -> None:
    told, _ = command.communicate(timeout=120)
    assert command.returncode == 0, told + one.tail()


def trading(one: Daemon, venue: Venue) -> set[str]:
    """RUN again, two protected positions, entries resting; the stops' order ids."""
    if (one.status() or {})["trading_state"] == "KILLED":
        assert one.run("release", "--reason", "drill").returncode == 0
        assert one.run("resume", "--reason", "drill").returncode == 0
    one.wait_run()
    one.wait_status(
        lambda s: len(s["positions"]) == 2 and all(p["protection"] == "PROTECTED" for p in s["positions"]),
        "2 protected positions",
        90,
    )
    wait_for(lambda: len(open_orders(venue, "BUY")) >= 3, "resting entries", 60)
    return {order["order_id"] for order in open_orders(venue, "SELL")}


def only_stops(venue: Venue, stops: set[str]) -> None:
    assert open_orders(venue, "BUY") == []
    assert {order["order_id"] for order in open_orders(venue, "SELL")} == stops


def cancel_under_way(venue: Venue, begun: int) -> None:
    wait_for(lambda: cancels(venue) > begun, "a cancel at the venue", 20, 0.01)


def cancels(venue: Venue) -> int:
    return sum("batch_cancel" in row["path"] for row in venue.requests())


def slow_cancels(venue: Venue) -> None:
    """The next cancel is booked at once and answered late: whoever dies meanwhile dies in the middle of it."""
    venue.fault("slow", delay_s=2, when="after", count=1, match={"path": "batch_cancel"})


def test_a_kill_is_proven_whoever_is_dead_or_dies_in_the_middle_of_it(
    daemon: Callable[..., Daemon], simulator: Callable[..., SimulatorApart], tmp_path: Path
) -> None:
    symbols = ",".join((*HELD[:2], *BIDS))
    venue_process = simulator("--symbols", symbols, "--frozen", "--ws-symbol-rate", "200")
    venue = Venue(venue_process.control_url)
    strategist = {**MANY["strategist"], "params": {"held": ",".join(HELD[:2])}}
    config = config_folder(tmp_path / "config", **{**MANY, "strategist": strategist})
    one = daemon(*against(venue_process), "--symbols", symbols, config=config)

    stops = trading(one, venue)
    with bystanders_down(one):
        proven(begin(one), one)
        only_stops(venue, stops)

    for victim in ("tracker", "gateway"):
        stops = trading(one, venue)
        begun = cancels(venue)
        slow_cancels(venue)
        killing = begin(one)
        cancel_under_way(venue, begun)
        os.kill(one.actor(victim)["pid"], signal.SIGKILL)
        proven(killing, one)
        only_stops(venue, stops)
        assert_books_agree(one, venue)

    stops = trading(one, venue)
    begun = cancels(venue)
    slow_cancels(venue)
    killing = begin(one)
    cancel_under_way(venue, begun)
    one.kill()
    assert killing.wait(30) != 0  # nobody was left to prove it, and nothing else is said
    one.start()
    one.wait_status(lambda s: s["trading_state"] == "KILLED", "KILLED after the restart")
    both = [begin(one), begin(one)]
    for command in both:
        proven(command, one)
    only_stops(venue, stops)
    assert_books_agree(one, venue)

    selling = begin(one, "--flatten")
    time.sleep(0.5)
    os.kill(one.actor("tracker")["pid"], signal.SIGKILL)
    proven(selling, one)
    assert not [order for order in venue.truth()["orders"] if order["status"] not in ENDED]
    one.wait_status(lambda s: not s["positions"], "to be flat", 30)
    assert_books_agree(one, venue)


def test_without_its_ledger_a_kill_is_proven_by_the_venue_alone_and_claims_no_positions(
    daemon: Callable[..., Daemon], simulator: Callable[..., SimulatorApart], tmp_path: Path
) -> None:
    symbols = ",".join((*HELD[:2], *BIDS))
    venue_process = simulator("--symbols", symbols, "--frozen")
    venue = Venue(venue_process.control_url)
    strategist = {**MANY["strategist"], "params": {"held": ",".join(HELD[:2])}}
    config = config_folder(tmp_path / "config", **{**MANY, "strategist": strategist})
    one = daemon(*against(venue_process), "--symbols", symbols, config=config)
    stops = trading(one, venue)
    one.kill()
    (one.data / "demo" / "ledger.db").unlink()
    one.start(wait=False)
    wait_for(one.status, "the admin to answer", 40)
    killed = one.run("kill", "--reason", "drill")
    assert killed.returncode == 0, killed.stdout + killed.stderr + one.tail()
    assert "positions are not known" in killed.stdout
    only_stops(venue, stops)
    assert one.terminate() == 0, one.tail()
    only_stops(venue, stops)
