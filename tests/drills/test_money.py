"""Money that moves without a fill, an account that shows zeros, a ledger that was lost: on the running daemon, with
every part killed in between, against the venue's own balances.

One daemon lives through it, at a simulator apart whose markets stand still, with one protected position.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from tests.drills.daemon import (
    Daemon,
    Json,
    SimulatorApart,
    Venue,
    against,
    assert_books_agree,
    config_folder,
    wait_for,
)

HOLD = {
    "strategist": {"strategy": "tests.drills.strategies:HoldSomeBidForTheRest", "params": {"held": "BTC-USD"}},
    "reconciler": {"interval_s": 3, "grace_s": 2},
    "instruments": [{"symbol": "BTC-USD"}],
}
START = Decimal(10_000)


class Account:
    """The daemon of this module, its venue, and what came and went on the account."""

    def __init__(self, folder: Path) -> None:
        self.simulator = SimulatorApart(folder / "venue", "--symbols", "BTC-USD", "--frozen")
        self.venue = Venue(self.simulator.control_url)
        config = config_folder(folder / "config", **HOLD)
        self.daemon = Daemon(folder / "daemon", *against(self.simulator), config=config)
        self.came = Decimal(0)
        self.daemon.wait_status(
            lambda s: [p["protection"] for p in s["positions"]] == ["PROTECTED"], "a protected position"
        )

    def move(self, amount: str) -> None:
        """A deposit, or a withdrawal."""
        available = Decimal(self.venue.truth()["balances"]["USD"]["available"]) + Decimal(amount)
        self.venue.call("/control/balance", {"currency": "USD", "available": str(available)})
        self.came += Decimal(amount)

    def flows(self, count: int) -> Json:
        return self.daemon.wait_status(
            lambda s: s["reconcile"] and len(s["reconcile"]["flows"]) == count, f"{count} open flows"
        )

    def state(self, state: str) -> Json:
        return self.daemon.wait_status(lambda s: s["trading_state"] == state, f"the state {state}")

    def said(self, *words: str, code: int = 0) -> str:
        done = self.daemon.run(*words)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def kill(self, *names: str) -> None:
        """SIGKILL them all, and wait for their successors."""
        before = {name: self.daemon.actor(name) for name in names}
        for actor in before.values():
            os.kill(actor["pid"], signal.SIGKILL)
        wait_for(
            lambda: all(self.daemon.actor(name)["incarnation"] > one["incarnation"] for name, one in before.items()),
            f"successors of {', '.join(names)}",
        )

    def events(self) -> int:
        ledger = self.daemon.data / "demo" / "ledger.db"
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT MAX(n) FROM events").fetchone()[0])

    def entries(self) -> int:
        return sum(order["side"] == "BUY" for order in self.venue.truth()["orders"])

    def assert_balances_follow_from_the_books(self) -> None:
        """Wallets at the venue = what was there, what came, and what the ledger says of every fill."""
        ledger, truth = assert_books_agree(self.daemon, self.venue)
        cash, coins = START + self.came, Decimal(0)
        for fill in ledger["fills"]:
            sign = 1 if fill["side"] == "BUY" else -1
            coins += sign * Decimal(fill["size"])
            cash -= sign * Decimal(fill["size"]) * Decimal(fill["price"]) + Decimal(fill["fee"])
        (position,) = ledger["positions"]
        realized, cost = Decimal(position["realized"]), Decimal(position["cost"])
        assert START + self.came + realized - cost == cash
        wallets = {name: Decimal(w["available"]) + Decimal(w["hold"]) for name, w in truth["balances"].items()}
        assert (wallets["USD"], wallets["BTC"]) == (cash, coins)
        assert coins == Decimal(position["quantity"])


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    one = Account(tmp_path_factory.mktemp("money"))
    yield one
    one.daemon.close()
    one.simulator.stop()


def test_a_comparison_on_demand_agrees_and_a_second_one_changes_nothing(account: Account) -> None:
    assert "ledger and venue agree" in account.said("reconcile")
    before = account.events()
    told = account.said("reconcile")
    assert "orders compared: 2" in told
    assert "fills compared: " in told
    assert account.events() == before
    account.assert_balances_follow_from_the_books()


def test_money_that_left_stops_entries_and_is_lost_until_accepted_whoever_dies(account: Account) -> None:
    entries = account.entries()
    account.move("-600")
    account.flows(1)
    status = account.state("REDUCE_ONLY")
    assert "flow-1: -600 USD" in " ".join(status["reasons"])
    account.kill("reconciler", "risk", "tracker")
    account.daemon.wait_status(lambda s: s["pnl"]["unexplained"] == "600", "the loss to be counted again")
    account.flows(1)
    account.state("REDUCE_ONLY")
    # A risk manager that has just come has no price yet, and then no equity either.
    status = account.daemon.wait_status(lambda s: Decimal(s["pnl"]["equity"] or 1000) < 400, "the equity without it")
    assert {b["name"] for b in status["breakers"] if b["is_open"]} >= {"daily_loss", "weekly_loss", "drawdown"}
    account.said("resume", "--reason", "drill: no resume lifts a flow")
    assert "flow-1" in account.said("reconcile", code=1)

    account.daemon.kill()
    account.daemon.start()
    account.flows(1)
    status = account.state("REDUCE_ONLY")
    assert [p["protection"] for p in status["positions"]] == ["PROTECTED"]
    assert account.entries() == entries
    assert "flow-1: -600 USD" in account.said("flows", "accept", "--reason", "drill: the rent")
    account.flows(0)
    account.said("resume", "--reason", "drill: the loss limits")
    account.daemon.wait_run()
    account.daemon.wait_status(lambda s: Decimal(s["pnl"]["equity"] or 0) > 990, "the loss to be none")
    assert "ledger and venue agree" in account.said("reconcile")
    account.assert_balances_follow_from_the_books()


def test_money_that_came_stops_entries_and_is_no_gain(account: Account) -> None:
    before = account.daemon.wait_run()["pnl"]
    account.move("5000")
    account.flows(1)
    status = account.state("REDUCE_ONLY")
    assert (status["pnl"]["equity"], status["pnl"]["high_water"]) == (before["equity"], before["high_water"])
    account.said("flows", "accept", "--reason", "drill: a deposit")
    account.daemon.wait_run()


def test_zeros_right_after_an_accepted_deposit_halt_and_nothing_is_made_of_them(account: Account) -> None:
    orders = account.venue.truth()["orders"]
    account.venue.fault("zero_balances")
    status = account.state("HALTED")
    assert "zero_balances: every account shows zero" in " ".join(status["reasons"])
    assert "zero_balances" in account.said("reconcile", code=1)
    assert status["reconcile"]["flows"] == []
    assert [p["protection"] for p in status["positions"]] == ["PROTECTED"]
    assert "refused" in account.said("baseline", "accept", "--reason", "drill: on zeros", code=1)
    account.venue.clear_faults()
    assert "ledger and venue agree" in account.said("reconcile")
    account.said("resume", "--reason", "drill: the balances are back")
    account.daemon.wait_run()
    assert account.venue.truth()["orders"] == orders
    account.assert_balances_follow_from_the_books()


def test_a_lost_ledger_is_found_and_an_operator_starts_from_what_the_venue_shows(account: Account) -> None:
    books = account.daemon.export()
    assert account.daemon.terminate() == 0
    store = account.daemon.data / "demo"
    for name in ("ledger", "money"):
        for file in store.glob(f"{name}.*"):
            file.unlink()
    account.daemon.start(wait=False)
    account.daemon.wait_status(
        lambda s: (
            s["trading_state"] == "HALTED"
            and s["reconcile"]
            and "beyond_head" in {d["kind"] for d in s["reconcile"]["differences"]}
        ),
        "the lost ledger to be noticed",
    )
    told = account.said("baseline", "accept", "--reason", "drill: the disk was lost")
    assert "accepted; ledger and venue agree" in told
    assert "adopted 2: td-a-" in told
    account.said("resume", "--reason", "drill: the books are back")
    account.daemon.wait_run()
    again = account.daemon.export()
    assert [p["quantity"] for p in again["positions"]] == [p["quantity"] for p in books["positions"]]
    assert again["pnl"] == books["pnl"]
    account.assert_balances_follow_from_the_books()
    # No id is made twice: the next order has a number that the venue has never seen.
    seen = {order["client_order_id"] for order in account.venue.truth()["orders"]}
    account.said("kill", "--flatten", "--reason", "drill: one more order")
    wait_for(lambda: {o["client_order_id"] for o in account.venue.truth()["orders"]} > seen, "one more order")
    assert len({o["client_order_id"] for o in account.venue.truth()["orders"]}) == len(account.venue.truth()["orders"])
