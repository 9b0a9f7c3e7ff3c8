"""Reconciler and tracker, both real, at one venue in memory: what an operator accepts is in the books of both."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from actors.messages.books import PortfolioSnapshot
from actors.messages.control import OperatorAnswer, OperatorRequest, RequestVerb
from actors.messages.orders import Protection
from actors.messages.reconcile import ReconcileReport
from actors.messages.venue import FeeTier, QueryKind, VenueAnswer, VenueBalance, VenueQuery
from actors.reconciler.actor import ReconcilerActor
from actors.reconciler.compare import Egress
from tests.actors.harness import ActorHarness
from tests.actors.orders.desk import Desk
from tests.actors.orders.test_adopting import shown
from tests.actors.reconciler.test_actor import PEERS

D = Decimal


class Books:
    """A tracker's desk with a reconciler beside it; ``usd``: what the venue's wallet holds."""

    def __init__(self, folder: Path) -> None:
        self.desk = Desk(folder)
        self.usd = D(10_000)
        self.requests = 0
        self.begin()

    def begin(self) -> None:
        """A reconciler's process."""
        self.room = ActorHarness(
            ReconcilerActor,
            settings=self.desk.settings,
            peers=PEERS,
            name="reconciler",
            epoch=self.desk.epoch,
            clock=self.desk.clock,
        ).start()
        self.pass_time(6)

    def forget(self) -> None:
        """Ledger and wallets' books are lost; a new start of the daemon."""
        actor = self.room.actor
        assert isinstance(actor, ReconcilerActor)
        assert actor.store is not None
        actor.store.close()
        for name in ("ledger", "money"):
            for file in self.desk.settings.store_dir.glob(f"{name}*"):
                file.unlink()
        self.desk.restart(new_daemon=True)
        self.desk.settle()
        self.begin()

    def buy(self) -> None:
        self.desk.buy("1")
        self.usd -= D("100.9")

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds * 2)):
            self.desk.lease()
            self.desk.quote("BTC-USD")
            self.room.advance(0.5)
            self.desk.harness.advance(0)
            self._carry()

    def _carry(self) -> None:
        for _ in range(100):
            self.desk.settle()
            to_tracker, to_gateway = self.room.take("tracker"), self.room.take("gateway")
            heard = [m for m in self.desk.harness.take("reconciler") if not isinstance(m, PortfolioSnapshot)]
            for message in to_tracker:
                self.desk.harness.deliver(message, "reconciler")
            for query in to_gateway:
                assert isinstance(query, VenueQuery)
                self.room.deliver(self._answer(query), "gateway")
            for message in heard:
                self.room.deliver(message, "tracker")
            if not (self.room.run_workers() or to_tracker or to_gateway or heard):
                return
        raise AssertionError("reconciler and tracker do not come to rest")

    def _answer(self, query: VenueQuery) -> VenueAnswer:
        if query.kind is QueryKind.FEES:
            rates = {"fees": FeeTier("entry", D("0.005"), D("0.009"))}
            return replace(self.desk.venue.query(replace(query, kind=QueryKind.PRODUCTS)), kind=query.kind, **rates)  # type: ignore[arg-type]
        answer = self.desk.venue.query(query)
        answer = replace(answer, orders=tuple(shown(one) for one in answer.orders))
        if query.kind is QueryKind.BALANCES:
            answer = replace(answer, balances=(*answer.balances, VenueBalance("USD", self.usd, D(0))))
        return answer

    def ask(self, verb: RequestVerb) -> OperatorAnswer:
        self.requests += 1
        self.room.take("admin")
        self.room.deliver(OperatorRequest(f"op-{self.requests}", verb, "", (), "drill", "anna"), "admin")
        self.pass_time(16)
        said = [one for one in self.room.take("admin", OperatorAnswer) if isinstance(one, OperatorAnswer) and one.done]
        assert len(said) == 1
        return said[0]

    @property
    def report(self) -> ReconcileReport:
        return [one for one in self.room.sent["watchdog"] if isinstance(one, ReconcileReport)][-1]


@pytest.fixture
def books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Books:
    # What the gateway would have written before each request.
    left: dict[str, int] = {}
    submit = Desk.settle

    def settle(desk: Desk) -> None:
        submit(desk)
        for order in desk.venue.orders.values():
            left.setdefault(order.client_order_id, desk.clock.utc_ns())

    monkeypatch.setattr(Desk, "settle", settle)
    monkeypatch.setattr("actors.reconciler.rounds._read_egress", lambda _: Egress(frozenset(left), dict(left)))
    return Books(tmp_path)


def test_a_lost_ledger_is_taken_from_the_venue_and_a_second_comparison_changes_nothing(books: Books) -> None:
    books.buy()
    books.pass_time(20)
    assert books.report.ok, books.report
    whole = books.desk.tracker.ledger.book("BTC-USD")
    books.forget()
    assert {"beyond_head", "missing_fill"} <= {one.kind for one in books.report.differences}
    answer = books.ask(RequestVerb.BASELINE_ACCEPT)
    assert answer.ok, answer
    assert books.desk.tracker.ledger.book("BTC-USD") == whole
    position = books.desk.position()
    assert position is not None
    assert position.protection is Protection.PROTECTED
    assert books.ask(RequestVerb.RECONCILE).ok
    events = books.desk.tracker.ledger.newest_event
    assert books.ask(RequestVerb.RECONCILE).ok
    assert books.desk.tracker.ledger.newest_event == events


def test_a_reversed_fill_differs_until_it_is_accepted_and_then_nothing_is_left(books: Books) -> None:
    books.buy()
    books.pass_time(10)
    first = books.desk.venue.fills[0]
    taken_back = replace(
        first, entry_id="f-98", trade_type="REVERSAL", commission=D(0), trade_utc_ns=books.desk.clock.utc_ns()
    )
    books.desk.venue.fills.append(taken_back)
    books.desk.venue.end(books.desk.venue.open()[0].order_id, "CANCELLED")
    books.desk.venue.coins["BTC"], books.usd = D(0), books.usd + D(100)
    books.pass_time(25)
    assert "unbooked" in {one.kind for one in books.report.differences if one.beyond_tolerance}
    assert books.report.flows == ()  # the venue's own fills explain its wallets
    answer = books.ask(RequestVerb.BASELINE_ACCEPT)
    assert answer.ok, answer
    book = books.desk.tracker.ledger.book("BTC-USD")
    assert (book.quantity, book.realized) == (D(0), D("-0.9"))
    assert books.ask(RequestVerb.RECONCILE).ok
