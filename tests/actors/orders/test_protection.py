"""The judgement of a position: what covers it, what does not, and what follows."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from actors.messages.market import Quote, Side
from actors.messages.orders import OrderIntent, OrderKind, OutcomeKind, Protection, Role
from actors.orders import protection
from actors.orders.machine import OrderFacts
from actors.orders.protection import Cancel, Exit, Levels, Place, Situation
from actors.orders.records import OrderRecord
from tests.actors.orders.venue import rules

LEVELS = Levels(Decimal(95), Decimal("93.1"), Decimal(110))


def order(size: str = "1", kind: OrderKind = OrderKind.BRACKET_GTC, n: int = 1, **facts: object) -> OrderRecord:
    intent = OrderIntent(
        f"td-a-1-p-{n}", "BTC-USD", Side.SELL, Role.PROTECTION, kind, Decimal(size), Decimal(110), Decimal(95),
        None, "", 0,
    )  # fmt: skip
    known = OrderFacts(Decimal(size), True, OutcomeKind.DONE, order_id=f"v-{n}", venue_status="OPEN")
    return OrderRecord(intent, n, 1, replace(known, **facts), 0)  # type: ignore[arg-type]


def situation(quantity: str, *orders: OrderRecord, **more: object) -> Situation:
    made = Situation(Decimal(quantity), orders, rules("BTC-USD"), LEVELS)
    return replace(made, **more)  # type: ignore[arg-type]


def test_a_whole_resting_bracket_protects() -> None:
    found = protection.judge(situation("1", order()))
    assert (found.status, found.actions) == (Protection.PROTECTED, ())


@pytest.mark.parametrize(
    "lame",
    [
        order(venue_status=None),
        order(cancel_requested=True),
        order(venue_status="PENDING"),
        order(venue_status="CANCEL_QUEUED"),
        order(filled=Decimal("0.4")),
        order(venue_filled=Decimal("0.4")),
        order(venue_status=None, outcome=OutcomeKind.UNKNOWN),
    ],
    ids=["unseen", "cancelling", "pending", "cancel_queued", "target_filled", "target_filled_unbooked", "unknown"],
)
def test_an_order_that_only_looks_like_protection_leaves_the_position_naked(lame: OrderRecord) -> None:
    assert protection.judge(situation("0.6" if lame.facts.filled else "1", lame)).status is Protection.NAKED


@pytest.mark.parametrize("facts", [{"venue_status": None, "outcome": OutcomeKind.UNKNOWN, "order_id": None},
                                   {"cancel_requested": True}, {"venue_status": "PENDING"}])  # fmt: skip
def test_whatever_may_still_sell_is_never_doubled(facts: dict[str, object]) -> None:
    found = protection.judge(situation("1", order(**facts)))
    assert not any(isinstance(action, Place) for action in found.actions)


def test_the_new_part_of_a_grown_position_gets_an_order_of_its_own() -> None:
    found = protection.judge(situation("1.5", order()))
    assert found.actions == (Place(OrderKind.BRACKET_GTC, Decimal("0.5"), Decimal(110), Decimal(95)),)


UNSEEN = {"venue_status": None, "outcome": OutcomeKind.UNKNOWN, "order_id": None}
CRASH = Quote("BTC-USD", Decimal(94), Decimal("94.01"), Decimal(1), Decimal(1), 0, 0)


@pytest.mark.parametrize("lost", [order(**UNSEEN), order(venue_status=None), order()], ids=["unknown", "new", "gone"])
def test_a_crash_is_sold_past_an_order_that_went_astray_and_nothing_is_placed_beside_it(lost: OrderRecord) -> None:
    name = frozenset({lost.id})
    calm = protection.judge(situation("1", lost, missing=name, astray=name))
    assert (calm.status, calm.actions, calm.why) == (Protection.NAKED, (), "on_its_way")
    crash = protection.judge(situation("1", lost, missing=name, astray=name, quote=CRASH))
    assert (crash.actions, crash.astray) == ((Exit("stop"),), (lost.id,))


def test_an_order_of_a_moment_ago_is_waited_for_in_a_crash_too() -> None:
    young, old = order(n=1, size="0.5", **UNSEEN), order(n=2, size="0.5", **UNSEEN)
    found = protection.judge(situation("1", young, old, quote=CRASH, astray=frozenset({old.id})))
    assert found.actions == ()


def test_of_too_many_sells_the_one_that_had_vanished_goes_first() -> None:
    back, stand_in = order(n=1, vanished=1, returned=1), order(n=2)
    assert protection.judge(situation("1", back, stand_in)).actions == (Cancel(back.id, "excess"),)
    cancelling = order(n=1, vanished=1, returned=1, cancel_requested=True)
    found = protection.judge(situation("1", cancelling, stand_in))
    assert (found.status, found.actions) == (Protection.PROTECTED, ()), "one cancel is enough"


def test_more_open_sells_than_coins_are_cut_back_newest_first() -> None:
    found = protection.judge(situation("1", order(n=1), order("0.5", n=2)))
    assert found.actions == (Cancel("td-a-1-p-2", "excess"),)


def test_a_triggered_stop_covers_for_its_grace_and_is_then_sold() -> None:
    fired = order(triggered=True)
    assert protection.judge(situation("1", fired)).actions == ()
    late = protection.judge(situation("1", fired, overdue=frozenset({fired.id})))
    assert (late.status, late.actions) == (Protection.NAKED, (Exit("stop"),))


def test_what_is_below_the_minimum_is_dust() -> None:
    found = protection.judge(situation("0.01"))
    assert (found.status, found.actions) == (Protection.DUST, ())


def test_without_rules_nothing_is_placed_and_nothing_is_called_protected() -> None:
    found = protection.judge(situation("1", rules=None))
    assert (found.status, found.actions) == (Protection.NAKED, ())


def test_orders_of_a_position_that_is_gone_are_cancelled() -> None:
    assert protection.judge(situation("0", order())).actions == (Cancel("td-a-1-p-1", "flat"),)


def test_a_market_below_the_stop_is_sold_instead_of_stopped() -> None:
    quote = Quote("BTC-USD", Decimal(94), Decimal(95), Decimal(1), Decimal(1), 0, 0)
    assert protection.judge(situation("1", quote=quote)).actions == (Exit("stop"),)
