"""A disk that is full, or read-only, under the running daemon: HALTED with a clear word, nothing invented.

Protection stays at the venue, cancels and kill go on without a disk, and what could not be booked is booked when the
disk is back. Judged by the venue's truth.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.drills.daemon import RUN, Json, assert_books_agree, wait_for
from tests.drills.small_disks import FailingDisk, SmallDisk
from tests.drills.test_ledger_faults import Trade

FULL = "disk is full"


@pytest.fixture
def trade(tmp_path: Path) -> Iterator[Callable[[], Trade]]:
    """Starts the daemon; its data folder is what is mounted there by then."""
    made: list[Trade] = []

    def make() -> Trade:
        made.append(Trade(tmp_path))
        made[-1].established()
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "daemon" / "data"


@pytest.fixture
def small(data: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(data)
    yield disk
    disk.close()


@pytest.fixture
def failing(data: Path, tmp_path: Path) -> Iterator[FailingDisk]:
    disk = FailingDisk(data, tmp_path / "disk.image")
    yield disk
    disk.close()


def take(trade: Trade, bid: Json) -> str:
    """The market comes down to a resting entry and fills it at the venue; its symbol."""
    symbol = str(bid["product_id"])
    (limit,) = bid["order_configuration"].values()
    trade.venue.price(symbol, Decimal(limit["limit_price"]) * Decimal("0.999"))
    wait_for(lambda: status_of(trade, bid) == "FILLED", f"the entry of {symbol} to be filled")
    return symbol


def status_of(trade: Trade, order: Json) -> str:
    return next(o["status"] for o in trade.venue.truth()["orders"] if o["order_id"] == order["order_id"])


def protection_of(status: Json, symbol: str) -> str:
    return next((str(p["protection"]) for p in status["positions"] if p["symbol"] == symbol), "")


def resumed(trade: Trade) -> None:
    """An operator resumes; entries rest again."""
    assert trade.daemon.run("resume", "--reason", "drill: the disk is back").returncode == 0
    trade.daemon.wait_run()
    wait_for(lambda: len(trade.bids()) >= 2, "resting entries", 60)


def refused_start(trade: Trade, why: str) -> None:
    """A start is refused with 2 (commands/exits.py), naming the folder and what is wrong with it."""
    done = trade.daemon.run("start", "--mode", "demo", *trade.daemon.arguments, timeout_s=60)
    assert done.returncode == 2, done.stderr
    assert str(trade.daemon.data) in done.stderr and why in done.stderr


def said_by_kill(trade: Trade, words: str) -> str:
    """The line of ``run.py kill`` with these words; it would wait for a proof that no disk can keep."""
    command = [*RUN, "kill", "--data-dir", str(trade.daemon.data), "--reason", "drill"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as killing:
        assert killing.stderr is not None
        line = next((line for line in killing.stderr if words in line), "")
        trade.daemon.wait_status(lambda s: s["trading_state"] == "KILLED", "KILLED")
        killing.terminate()
    return line


def come_back(trade: Trade, *names: str) -> None:
    """kill -9 of each; its successor starts although nothing can be written."""
    for name in names:
        old = trade.daemon.actor(name)["pid"]
        os.kill(old, signal.SIGKILL)
        trade.daemon.wait_status(
            lambda s, name=name, old=old: any(
                a["name"] == name and a["pid"] not in (None, old) and a["state"] == "running" for a in s["actors"]
            ),
            f"{name} to be back",
        )


def test_a_full_disk_halts_keeps_protection_lets_cancels_through_and_loses_no_fill(
    small: SmallDisk, trade: Callable[[], Trade]
) -> None:
    one = trade()
    stops = one.stops()

    # An entry fills at the venue and cannot be booked.
    bid = one.bids()[0]
    small.fill()
    symbol = take(one, bid)
    status = one.halted("ledger_write", FULL)
    assert protection_of(status, symbol) == "", "what is not on the disk is not in the books"
    wait_for(lambda: not one.bids(), "no entry to rest")
    assert one.stops() == stops, "no protection without an intent on the disk, none taken away"
    come_back(one, "gateway", "watchdog", "tracker")
    names = one.names()
    one.halted(FULL)
    assert (one.names(), one.stops()) == (names, stops)

    small.free()
    one.daemon.wait_status(lambda s: protection_of(s, symbol) == "PROTECTED", "the fill to be booked and protected")
    assert (one.daemon.status() or {})["trading_state"] == "HALTED", "an operator decides"
    assert one.stops() > stops
    assert_books_agree(one.daemon, one.venue)

    # A kill on a full disk.
    resumed(one)
    stops = one.stops()
    small.fill()
    assert one.daemon.process is not None
    one.daemon.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: not one.bids(), "no entry to rest")
    assert one.stops() == stops
    one.halted(state="KILLED")
    one.daemon.kill()
    refused_start(one, "No space left")

    small.free()
    one.daemon.start(wait=False)
    one.halted("killed", state="KILLED")
    assert one.stops() == stops
    assert one.daemon.run("release", "--reason", "drill").returncode == 0
    resumed(one)
    assert_books_agree(one.daemon, one.venue)
    one.daemon.terminate()

    small.read_only()
    stops, names = one.stops(), one.names()
    refused_start(one, "Read-only file system")
    assert (one.names(), one.stops()) == (names, stops)


def test_a_disk_that_turns_read_only_under_the_daemon_halts_it_and_kill_and_protection_go_on(
    failing: FailingDisk, trade: Callable[[], Trade]
) -> None:
    one = trade()
    stops = one.stops()
    bid = one.bids()[0]
    one.venue.fault("status", status=503, count=1000, match={"path": "batch_cancel"})  # the entry rests until it fills
    failing.fail()
    one.halted("cannot be written", "Read-only file system")  # the watchdog's own look: nothing was to be written yet
    take(one, bid)
    one.venue.clear_faults()
    status = one.halted("ledger_write", "Read-only file system", str(one.store))
    wait_for(lambda: not one.bids(), "no entry to rest")
    assert one.stops() == stops
    names = one.names()
    assert str(one.daemon.data) in said_by_kill(one, "NOT latched")
    one.halted(state="KILLED")
    come_back(one, *(actor["name"] for actor in status["actors"]))
    # The outer ring gives up a tree that shows no sign of life for 5 s: this one lives on, without any file.
    lived = status["uptime_s"]
    later = one.daemon.wait_status(lambda s: s["uptime_s"] > lived + 8, "a tree that lives on")
    assert later["epoch"] == status["epoch"]
    one.halted()
    assert (one.names(), one.stops()) == (names, stops)
    one.daemon.kill()
    refused_start(one, "Read-only file system")

    failing.repair()
    one.daemon.start()
    one.daemon.wait_status(
        lambda s: len(s["positions"]) == 3 and all(p["protection"] == "PROTECTED" for p in s["positions"]),
        "all three positions to be booked and protected",
    )
    assert_books_agree(one.daemon, one.venue)
