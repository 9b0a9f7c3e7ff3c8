"""An operator accepts what the venue shows: nothing is invented, nothing twice, and what came in is protected."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages.base import Stamp
from actors.messages.health import BreakerName, BreakerSignal
from actors.messages.market import Side
from actors.messages.orders import OrderKind, OrderState, Protection
from actors.messages.reconcile import AdoptVenue, LedgerFacts, ReadLedger, VenueAdopted, VenueEvidence
from actors.messages.venue import VenueBalance, VenueFill, VenueOrder
from actors.orders.adopting import AdoptionError, adopt, effect, record_of
from actors.orders.booking import Booked, Identity
from actors.orders.ledger import Ledger
from tests.actors.orders.desk import Desk

D = Decimal
TYPES = {
    "limit_ioc": ("LIMIT", "IMMEDIATE_OR_CANCEL"),
    "limit_gtd": ("LIMIT", "GOOD_UNTIL_DATE_TIME"),
    "limit_gtc": ("LIMIT", "GOOD_UNTIL_CANCELLED"),
    "stop_limit_gtc": ("STOP_LIMIT", "GOOD_UNTIL_CANCELLED"),
    "bracket_gtc": ("BRACKET", "GOOD_UNTIL_CANCELLED"),
}


def shown(order: VenueOrder) -> VenueOrder:
    """With the venue's own words for the kind."""
    kind, force = TYPES[order.order_type]
    return replace(order, order_type=kind, time_in_force=force)


def accept(desk: Desk, *, balances: tuple[VenueBalance, ...] | None = None, **changes: object) -> VenueAdopted:
    """Everything that the venue shows, as the reconciler would say it."""
    coins = tuple(VenueBalance(base, held, D(0)) for base, held in desk.venue.coins.items())
    command = AdoptVenue(
        request_id="op-1",
        operator="anna",
        reason="drill",
        orders=tuple(shown(one) for one in desk.venue.orders.values()),
        fills=tuple(desk.venue.fills),
        balances=balances if balances is not None else (*coins, VenueBalance("USD", D(1000), D(0))),
        highest_n=7,
        stamp=Stamp("reconciler", 1),
    )
    desk.harness.deliver(replace(command, **changes), "reconciler")  # type: ignore[arg-type]
    answer = desk.harness.take("reconciler", VenueAdopted)[-1]
    assert isinstance(answer, VenueAdopted)
    return answer


def ledger_facts(desk: Desk) -> LedgerFacts:
    desk.harness.deliver(ReadLedger("r", 0, Stamp("reconciler", 1)), "reconciler")
    found = desk.harness.take("reconciler", LedgerFacts)[-1]
    assert isinstance(found, LedgerFacts)
    return found


def forget(desk: Desk, folder: Path) -> None:
    """The ledger is lost with everything in it; the venue and its orders are still there."""
    for file in desk.settings.store_dir.glob("ledger*"):
        file.unlink()
    desk.restart(new_daemon=True)
    desk.settle()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_lost_ledger_is_rebuilt_from_the_venues_orders_and_fills(desk: Desk, tmp_path: Path) -> None:
    desk.buy("1")
    before = desk.tracker.ledger.book("BTC-USD")
    (stop,) = desk.venue.open()
    forget(desk, tmp_path)
    assert desk.position() is None
    answer = accept(desk)
    assert (answer.refusal, len(answer.adopted), answer.written_off) == ("", 2, ())
    assert desk.tracker.ledger.book("BTC-USD") == before
    desk.pass_time(3)
    position = desk.position()
    assert position is not None
    assert position.protection is Protection.PROTECTED
    assert [one.order_id for one in desk.venue.open()] == [stop.order_id]  # what rested protects; nothing was doubled
    assert answer.head >= 7
    again = accept(desk)
    assert (again.adopted, again.booked, again.head) == ((), (), answer.head)
    assert desk.tracker.ledger.book("BTC-USD") == before


def test_books_that_were_behind_the_venue_are_armed_again_once_they_are_its_own(desk: Desk, tmp_path: Path) -> None:
    desk.buy("1")
    (stop,) = desk.venue.open()
    desk.venue.end(stop.order_id, "CANCELLED")
    forget(desk, tmp_path)
    desk.harness.deliver(VenueEvidence(tuple(shown(one) for one in desk.venue.orders.values())))
    assert desk.tracker.behind == {"BTC-USD"}
    accept(desk)
    assert desk.tracker.behind == set()
    desk.pass_time(3)
    assert len(desk.venue.open()) == 1
    desk.restart()
    desk.settle()
    assert desk.tracker.behind == set()  # the cancelled order is in the ledger, too


def test_no_number_that_the_venue_knows_is_given_out_again(desk: Desk) -> None:
    accept(desk, highest_n=41)
    desk.buy("1")
    names = [one.client_order_id for one in desk.venue.orders.values()]
    assert names == ["td-a-1-e-42", "td-a-1-p-43"]
    desk.restart()
    assert desk.tracker.ledger.head == 43


def test_an_adopted_entry_without_protection_is_protected_at_the_default_stop(desk: Desk, tmp_path: Path) -> None:
    desk.buy("1")
    (stop,) = desk.venue.open()
    desk.venue.end(stop.order_id, "CANCELLED")
    forget(desk, tmp_path)
    accept(desk)
    desk.pass_time(3)
    (placed,) = desk.venue.open()
    assert (placed.base_size, placed.stop_price) == (D(1), D("98.88"))  # 2 % below 100.90, the cost with its fee


def test_what_is_on_its_way_refuses_and_changes_nothing(desk: Desk) -> None:
    desk.venue.mute = {"lost"}
    desk.approve("1")
    desk.settle()
    head = desk.tracker.ledger.head
    assert "td-a-1-e-1" in accept(desk).refusal
    assert desk.tracker.ledger.head == head


def test_an_order_that_cannot_be_read_refuses_all_of_it(desk: Desk, tmp_path: Path) -> None:
    desk.buy("1")
    forget(desk, tmp_path)
    (entry, stop) = [shown(one) for one in desk.venue.orders.values()]
    for wrong in (replace(stop, base_size=None), replace(stop, order_type="TWAP")):
        assert stop.client_order_id in accept(desk, orders=(entry, wrong)).refusal
    assert (ledger_facts(desk).orders, ledger_facts(desk).head) == ((), 0)


def test_coins_that_the_venue_no_longer_holds_are_written_off_as_a_loss(desk: Desk) -> None:
    desk.buy("1")
    desk.venue.coins["BTC"] = D("0.75")
    answer = accept(desk)
    assert answer.written_off == ("0.25 BTC-USD: 0.75 BTC held",)
    book = desk.tracker.ledger.book("BTC-USD")
    assert (book.quantity, book.realized) == (D("0.75"), -D("100.9") / 4)
    assert ledger_facts(desk).fills == ("f-1",)  # the venue lists no such trade, so it is not held against it
    assert accept(desk).written_off == ()
    desk.restart()
    assert not desk.tracker.unusable
    assert desk.tracker.ledger.book("BTC-USD").quantity == D("0.75")


@pytest.mark.parametrize(
    "answer",
    [(), (VenueBalance("BTC", D(0), D(0)), VenueBalance("USD", D(0), D(0))), (VenueBalance("USD", D(1000), D(0)),)],
)
def test_no_position_is_written_off_on_an_answer_without_money(desk: Desk, answer: tuple[VenueBalance, ...]) -> None:
    desk.buy("1")
    assert "no position is written off" in accept(desk, balances=answer).refusal
    assert desk.tracker.ledger.book("BTC-USD").quantity == D(1)


def test_a_reversal_is_kept_until_it_is_accepted_and_then_booked_once(desk: Desk) -> None:
    desk.buy("1")
    reversal = replace(desk.venue.fills[0], entry_id="f-98", trade_type="REVERSAL", commission=D(0))
    desk.harness.deliver(VenueEvidence((), (reversal,)))
    assert ledger_facts(desk).unbooked == ("REVERSAL f-98",)
    assert desk.tracker.ledger.book("BTC-USD").quantity == D(1)
    desk.venue.coins["BTC"] = D(0)
    first = accept(desk, fills=(*desk.venue.fills, reversal))
    assert first.booked == ("REVERSAL f-98 of td-a-1-e-1: SELL 1 BTC-USD at 100.00",)
    book = desk.tracker.ledger.book("BTC-USD")
    assert (book.quantity, book.realized) == (D(0), D("-0.9"))  # the fee of the trade stays paid
    assert ledger_facts(desk).unbooked == ()
    assert accept(desk, fills=(reversal,)).booked == ()
    desk.restart()
    assert not desk.tracker.unusable
    record = desk.tracker.ledger.order("td-a-1-e-1")
    assert record is not None
    assert (record.state, record.facts.filled) == (
        OrderState.FILLED,
        D(1),
    )  # it was filled; that it was reversed is later


def test_an_adjustment_that_comes_with_the_acceptance_is_kept_and_booked_without_an_alarm(desk: Desk) -> None:
    desk.buy("1")
    more = replace(desk.venue.fills[0], entry_id="f-99", trade_type="CORRECTION", size=D("0.5"), commission=D(0))
    desk.venue.coins["BTC"] = D("1.5")
    assert len(accept(desk, fills=(more,)).booked) == 1
    assert desk.tracker.ledger.book("BTC-USD").quantity == D("1.5")
    signals = [one for one in desk.harness.sent["watchdog"] if isinstance(one, BreakerSignal)]
    assert not [one for one in signals if one.breaker is BreakerName.RECONCILE]
    desk.pass_time(2)
    assert sum((one.base_size or D(0) for one in desk.venue.open()), D(0)) == D("1.5")


@pytest.mark.parametrize(
    ("kind", "side", "size", "result"),
    [
        ("REVERSAL", Side.BUY, "1", (Side.SELL, "1")),
        ("REVERSAL", Side.BUY, "-1", (Side.SELL, "1")),
        ("REVERSAL", Side.SELL, "1", (Side.BUY, "1")),
        ("CORRECTION", Side.BUY, "1", (Side.BUY, "1")),
        ("CORRECTION", Side.BUY, "-1", (Side.SELL, "1")),
        ("SYNTHETIC", Side.SELL, "1", (Side.SELL, "1")),
    ],
)
def test_what_an_adjustment_does(kind: str, side: Side, size: str, result: tuple[Side, str]) -> None:
    assert effect(kind, side, D(size)) == (result[0], D(result[1]))


@pytest.mark.parametrize("kind", list(OrderKind))
def test_every_kind_of_order_is_known_again(desk: Desk, kind: OrderKind) -> None:
    desk.buy("1")
    seen = shown(replace(next(iter(desk.venue.orders.values())), order_type=kind.value))
    assert record_of(seen, 9, 0).intent.kind is kind
    with pytest.raises(AdoptionError):
        record_of(replace(seen, client_order_id="by-hand"), 9, 0)


trades = st.lists(
    st.tuples(st.sampled_from((Side.BUY, Side.SELL)), st.integers(1, 5), st.integers(90, 110)), max_size=12
)


@given(trades, st.integers(0, 12))
def test_a_ledger_that_lost_its_end_has_the_same_books_after_an_acceptance(
    plan: list[tuple[Side, int, int]], kept: int
) -> None:
    """Any history of own orders, cut anywhere: adopting what the venue shows leads to the books of the whole."""
    orders, fills, owned = [], [], 0
    for n, (side, size, price) in enumerate(plan, 1):
        size = size if side is Side.BUY else min(size, owned)
        if not size:
            continue
        owned += size if side is Side.BUY else -size
        orders.append(_order(n, side, D(size), D(price)))
        fills.append(_fill(n, side, D(size), D(price)))
    whole, cut = _adopt(Ledger.in_memory(), orders, fills, owned), Ledger.in_memory()
    _adopt(cut, orders[:kept], fills[:kept], 10**6)
    _adopt(cut, orders, fills, owned)
    assert cut.books() == whole.books()
    assert sorted(cut.pnl_days()) == sorted(whole.pnl_days())
    assert cut.head >= max((n for n, _ in enumerate(plan, 1)), default=0)


def _adopt(ledger: Ledger, orders: list[VenueOrder], fills: list[VenueFill], owned: int) -> Ledger:
    balances = (VenueBalance("BTC", D(owned), D(0)), VenueBalance("USD", D(1), D(0)))
    command = AdoptVenue("op-1", "anna", "x", tuple(orders), tuple(fills), balances, 12, Stamp("reconciler", 1))
    with ledger.transaction(1, 1, 1, "") as tx:
        adopt(tx, command, Identity("td", "a", 1), 10**12, Booked())
    return ledger


def _order(n: int, side: Side, size: Decimal, price: Decimal) -> VenueOrder:
    role = "e" if side is Side.BUY else "x"
    return VenueOrder(
        f"v-{n}", f"td-a-1-{role}-{n}", "BTC-USD", side.value, "FILLED", "LIMIT", "IMMEDIATE_OR_CANCEL", "", size,
        price, None, size, price, size * price, D(0), "", "", n, None, "", None,
    )  # fmt: skip


def _fill(n: int, side: Side, size: Decimal, price: Decimal) -> VenueFill:
    fee = size * price * D("0.009")
    return VenueFill(
        f"f-{n:03}", "", f"v-{n}", "BTC-USD", side.value, price, size, fee, "FILL", "TAKER", False, n * 10**9, n * 10**9
    )
