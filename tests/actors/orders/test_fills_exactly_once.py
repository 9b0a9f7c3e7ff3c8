"""Fills come over the user channel, the poll and the reconciler, twice, late or not at all: each is booked once.

``docs/orders.md`` says what follows from each kind of fill; the table there and the cases here are the same.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.messages.health import BreakerSignal
from actors.messages.market import UserChannelReset, UserOrderEvent
from actors.messages.orders import OrderKind, Protection, Role
from actors.messages.reconcile import VenueEvidence
from actors.messages.venue import VenueFill, VenueOrder
from actors.orders import positions
from actors.orders.records import FillRecord
from tests.actors.orders.desk import Desk
from tests.actors.orders.test_adopting import accept

WAYS = ("user", "user lost", "reset", "evidence", "evidence twice", "orders only", "wait", "restart", "new daemon")


def user_event(order: VenueOrder) -> UserOrderEvent:
    return UserOrderEvent(
        order.order_id, order.client_order_id, order.product_id, order.side, order.status, order.filled_size,
        Decimal(0), Decimal(0), "", "", order.trigger_status, 0, False,
    )  # fmt: skip


def tell(desk: Desk, way: str) -> None:
    """One of the ways in which the newest truth may reach the tracker, or not."""
    orders, fills = tuple(desk.venue.orders.values()), tuple(desk.venue.fills)
    if way == "user":
        for order in orders:
            desk.harness.deliver(user_event(order))
    elif way == "reset":
        desk.harness.deliver(UserChannelReset(2, "gap", 0))
    elif way.startswith("evidence"):
        for _ in range(2 if way.endswith("twice") else 1):
            desk.harness.deliver(VenueEvidence(orders, fills))
    elif way == "orders only":
        desk.harness.deliver(VenueEvidence(orders, ()))
    elif way == "wait":
        desk.pass_time(4, 1.0)
    elif way in ("restart", "new daemon"):
        desk.restart(new_daemon=way == "new daemon")
    if way != "user lost":
        desk.settle()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    parts=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    ways=st.lists(st.sampled_from(WAYS), min_size=4, max_size=12),
    hidden=st.lists(st.booleans(), min_size=4, max_size=4),
    order=st.randoms(use_true_random=False),
)
def test_any_mixture_of_ways_books_each_fill_once(
    parts: list[int], ways: list[str], hidden: list[bool], order: object
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        size = Decimal(sum(parts)) / 4
        desk.approve(str(size), kind=OrderKind.LIMIT_GTD, end_after_s=50.0)
        desk.settle()
        (entry,) = desk.venue.open()
        told = list(ways)
        for part, hide in zip(parts, hidden, strict=False):
            desk.venue.fill(entry.order_id, Decimal(part) / 4, Decimal("100.00"))
            desk.venue.hidden_fills = hide
            for _ in range(2):
                if told:
                    tell(desk, told.pop())
        for way in told:
            tell(desk, way)
        desk.venue.hidden_fills = False
        desk.pass_time(20, 1.0)
        ledger = desk.tracker.ledger
        assert sorted(ledger.fill_ids_since(0)) == sorted(fill.entry_id for fill in desk.venue.fills)
        own = [as_booked(fill, desk) for fill in desk.venue.fills]
        expected, _ = positions.fold("BTC-USD", own)
        assert replace(ledger.book("BTC-USD"), trip_start=Decimal(0)) == replace(expected, trip_start=Decimal(0))
        assert ledger.book("BTC-USD").quantity == desk.venue.coins["BTC"] == size
        assert desk.venue.held("BTC") == size, "all of it is protected, none of it twice"
        assert breakers(desk) == []
        desk.kill()


def as_booked(fill: VenueFill, desk: Desk) -> FillRecord:
    record = desk.tracker.ledger.order_by_venue_id(fill.order_id)
    assert record is not None
    return FillRecord(
        fill.entry_id, fill.trade_id, fill.order_id, record.id, record.symbol, record.side, fill.price, fill.size,
        fill.commission, fill.trade_utc_ns,
    )  # fmt: skip


def breakers(desk: Desk) -> list[str]:
    return [
        one.breaker.value for one in desk.harness.sent["watchdog"] if isinstance(one, BreakerSignal) and one.tripped
    ]


# --- what follows from a strange one ----------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.buy("1")
    return made


def strange(desk: Desk, **changes: object) -> VenueFill:
    return replace(desk.venue.fills[0], entry_id="f-strange", **changes)  # type: ignore[arg-type]


def take(desk: Desk, fill: VenueFill) -> tuple[Decimal, bool, list[str]]:
    """Position, whether the fill was kept, breakers."""
    desk.harness.deliver(VenueEvidence((), (fill,)))
    ledger = desk.tracker.ledger
    return ledger.book("BTC-USD").quantity, ledger.has_fill("f-strange"), breakers(desk)


def test_an_overfill_is_booked_and_halts(desk: Desk) -> None:
    assert take(desk, strange(desk, size=Decimal("0.25"))) == (Decimal("1.25"), True, ["reconcile"])


@pytest.mark.parametrize("kind", ["REVERSAL", "CORRECTION", "SYNTHETIC"])
def test_an_adjustment_is_kept_unbooked_and_halts(desk: Desk, kind: str) -> None:
    assert take(desk, strange(desk, trade_type=kind)) == (Decimal(1), True, ["reconcile"])


@pytest.mark.parametrize(
    "changes",
    [{"trade_type": "GIFT"}, {"size_in_quote": True}, {"side": "SELL"}, {"product_id": "ETH-USD"},
     {"size": Decimal(0)}, {"price": Decimal(0)}],
)  # fmt: skip
def test_a_fill_that_contradicts_its_order_is_refused_and_halts(desk: Desk, changes: dict[str, object]) -> None:
    assert take(desk, strange(desk, **changes)) == (Decimal(1), False, ["reconcile"])


def test_a_fill_of_an_order_nobody_knows_is_asked_for_and_left_alone(desk: Desk) -> None:
    assert take(desk, strange(desk, order_id="v-77")) == (Decimal(1), False, [])
    desk.pass_time(5, 1.0)
    assert breakers(desk) == []


def test_a_fill_after_the_cancel_is_booked_protected_and_no_alarm(desk: Desk) -> None:
    desk.approve("2", kind=OrderKind.LIMIT_GTD, end_after_s=50.0)
    desk.settle()
    entry = next(one for one in desk.venue.open() if one.side == "BUY")
    desk.tracker.cancel_orders([one for one in desk.tracker.ledger.working() if one.role is Role.ENTRY], "test")
    desk.settle()
    assert desk.states().count("entry CANCELLED") == 1
    desk.venue.fill(entry.order_id, Decimal("0.5"), Decimal("100.00"))
    desk.venue.end(entry.order_id, "CANCELLED")
    tell(desk, "evidence")
    desk.pass_time(3, 1.0)
    position = desk.position()
    assert position is not None and position.quantity == Decimal("1.5")
    assert position.protection is Protection.PROTECTED
    assert desk.venue.held("BTC") == Decimal("1.5")
    assert breakers(desk) == []


def test_more_sold_than_bought_halts(desk: Desk) -> None:
    (stop,) = desk.venue.open()
    fill = replace(desk.venue.fills[0], entry_id="f-strange", side="SELL", order_id=stop.order_id, size=Decimal(2))
    quantity, _, tripped = take(desk, fill)
    assert quantity == Decimal(-1)
    assert set(tripped) == {"reconcile"}


def test_dust_joins_the_next_entry_with_its_cost(desk: Desk) -> None:
    (stop,) = desk.venue.open()
    desk.venue.fill(stop.order_id, Decimal("0.995"), Decimal("110.00"))
    desk.venue.end(stop.order_id, "CANCELLED")
    desk.pass_time(3, 1.0)
    left = desk.position()
    assert left is not None and (left.protection, left.quantity) == (Protection.DUST, Decimal("0.005"))
    cost = left.average_cost * left.quantity
    desk.buy("1")
    desk.pass_time(2, 1.0)
    merged = desk.position()
    assert merged is not None and merged.quantity == Decimal("1.005")
    paid = Decimal("100.00") * (1 + Decimal("0.009"))
    assert abs(merged.average_cost * merged.quantity - (cost + paid)) < Decimal("1E-15")
    assert desk.venue.held("BTC") == Decimal("1.005"), "the dust is sold with the rest"


# --- an entry that comes again as another -------------------------------------------------------------------

CHANGES: dict[str, st.SearchStrategy[object]] = {
    "size": st.sampled_from([Decimal("0.5"), Decimal("1.00000001"), Decimal(2)]),
    "price": st.sampled_from([Decimal("99.99"), Decimal(1)]),
    "commission": st.sampled_from([Decimal(0), Decimal("0.91"), Decimal("NaN")]),
    "side": st.just("SELL"),
    "product_id": st.just("ETH-USD"),
    "order_id": st.just("v-2"),
    "trade_type": st.sampled_from(["REVERSAL", "CORRECTION"]),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    names=st.lists(st.sampled_from(sorted(CHANGES)), max_size=3, unique=True),
    data=st.data(),
    restarted=st.booleans(),
    times=st.integers(1, 3),
)
def test_an_entry_told_otherwise_changes_no_book_and_halts(
    names: list[str], data: st.DataObject, restarted: bool, times: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        desk.buy("1")
        before = desk.tracker.ledger.book("BTC-USD")
        told = replace(desk.venue.fills[0], **{name: data.draw(CHANGES[name]) for name in names})
        if restarted:
            desk.restart()
        for _ in range(times):
            desk.harness.deliver(VenueEvidence((), (told,)))
        ledger = desk.tracker.ledger
        assert ledger.book("BTC-USD") == before
        assert len(ledger.fills_of_symbol("BTC-USD")) == 1
        assert breakers(desk) == (["reconcile"] if names else [])
        event = ledger.last_event("anomaly", told.entry_id)
        assert (event is not None) is bool(names)
        assert event is None or event["kind"] == "fill_changed"
        desk.kill()


def test_a_changed_fill_that_an_operator_accepted_halts_no_restart_until_it_changes_again(desk: Desk) -> None:
    told = replace(desk.venue.fills[0], commission=Decimal("0.91"))
    desk.harness.deliver(VenueEvidence((), (told,)))
    desk.restart()
    desk.harness.deliver(VenueEvidence((), (told,)))
    assert breakers(desk) == ["reconcile"], "nobody has accepted it yet"
    accept(desk, fills=(told,))
    for _ in range(2):
        desk.restart()
        desk.harness.deliver(VenueEvidence((), (told,)))
        assert breakers(desk) == []
    desk.harness.deliver(VenueEvidence((), (replace(told, commission=Decimal("0.92")),)))
    assert breakers(desk) == ["reconcile"]


@pytest.mark.parametrize("changes", [{"side": "SELL"}, {"commission": Decimal("NaN")}])
def test_an_adjustment_that_is_kept_is_no_other_fill_when_it_is_listed_again(
    desk: Desk, changes: dict[str, object]
) -> None:
    told = replace(desk.venue.fills[0], entry_id="a-1", trade_type="REVERSAL", **changes)  # type: ignore[arg-type]
    desk.harness.deliver(VenueEvidence((), (told,)))
    assert breakers(desk) == ["reconcile"]
    desk.restart()
    desk.harness.deliver(VenueEvidence((), (told,)))
    assert breakers(desk) == [], "an operator has dealt with it"


def test_numbers_written_otherwise_are_the_same_fill(desk: Desk) -> None:
    fill = desk.venue.fills[0]
    same = replace(fill, size=fill.size.quantize(Decimal("0.0001")), price=fill.price.normalize())
    desk.harness.deliver(VenueEvidence((), (same,)))
    assert breakers(desk) == []
