"""One order whose fate is odd keeps no position naked and unsold, no symbol blocked, and nothing is sold twice."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from actors.messages.control import OperatorAnswer, OperatorRequest, RequestVerb
from actors.messages.health import Alert, BreakerSignal
from actors.messages.market import Side
from actors.messages.orders import OrderKind, OrderState, Protection, Role
from actors.messages.reconcile import LedgerOrder, VenueEvidence
from actors.messages.venue import QueryKind, VenueAnswer, VenueBalance, VenueOrder, VenueQuery
from actors.orders.records import OrderRecord
from tests.actors.orders.desk import Desk

BRACKET, IOC = OrderKind.BRACKET_GTC, OrderKind.LIMIT_IOC


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.buy("1")
    assert made.venue.history == ["BUY limit_ioc 1", "SELL bracket_gtc 1"]
    return made


def vanish(desk: Desk) -> VenueOrder:
    """The only open order is gone from the venue, with its hold and without a word."""
    (order,) = desk.venue.open()
    return desk.venue.orders.pop(order.order_id)


def protective(desk: Desk) -> list[OrderRecord]:
    known = desk.tracker.ledger.orders_since(0)
    return [one for one in known if one.role is Role.PROTECTION and one.intent.kind is not IOC]


def status(desk: Desk) -> str:
    position = desk.position()
    return "FLAT" if position is None else position.protection.value


def keys(desk: Desk) -> list[str]:
    return [one.key for one in desk.sent("alerts", Alert)]  # type: ignore[attr-defined]


def text_of(desk: Desk, key: str) -> str:
    return next(one.text for one in desk.sent("alerts", Alert) if one.key == key)  # type: ignore[attr-defined]


def asked(desk: Desk, verb: RequestVerb, target: str, key: str = "op-1", **arguments: str) -> OperatorAnswer:
    desk.harness.deliver(OperatorRequest(key, verb, target, tuple(arguments.items()), "ann", "the venue's page"))
    desk.settle()
    answers = [one for one in desk.sent("admin", OperatorAnswer) if one.request_id == key]  # type: ignore[attr-defined]
    assert isinstance(answers[-1], OperatorAnswer)
    return answers[-1]


# --- vanished -----------------------------------------------------------------------------------------------


def test_a_stop_that_vanished_is_proven_gone_and_replaced_without_anybody(desk: Desk) -> None:
    vanish(desk)
    desk.pass_time(11)
    assert status(desk) == "NAKED"
    assert "naked:BTC-USD" in keys(desk)
    assert "once that is proven it is protected anew" in text_of(desk, "naked:BTC-USD")
    assert len(desk.venue.history) == 2, "nothing is placed before the proof"
    shown = desk.position()
    assert shown is not None
    assert (shown.stop_price, shown.resting_stops) == (Decimal("95.00"), ()), "planned, and none rests"
    desk.pass_time(9)
    assert desk.venue.history[2:] == ["SELL bracket_gtc 1"]
    assert status(desk) == "PROTECTED"
    shown = desk.position()
    assert shown is not None
    assert shown.resting_stops == (Decimal("95.00"),)
    first, second = protective(desk)
    assert (first.state, first.reason, second.state) == (OrderState.CANCELLED, "vanished", OrderState.OPEN)
    assert first.id in text_of(desk, f"vanished:{first.id}")
    assert desk.tracker.wire.vanishing == {}
    assert first.as_ledger_order().vouched
    desk.restart()
    desk.pass_time(5)
    assert status(desk) == "PROTECTED"
    assert len(desk.venue.open()) == 1


@pytest.mark.parametrize("others", [0, 1], ids=["no_other_coins", "the_owner_has_coins_too"])
def test_a_hold_that_stands_proves_that_it_is_there(desk: Desk, others: int) -> None:
    """With the owner's coins free beside it a second stop would rest, and both of them fire in a crash."""
    desk.venue.coins["BTC"] += others
    (order,) = desk.venue.open()
    desk.venue.hidden.add(order.order_id)  # in no answer, yet its coins are held
    desk.pass_time(60)
    assert len(desk.venue.history) == 2
    assert status(desk) == "NAKED"
    desk.venue.hidden.clear()
    desk.pass_time(5)
    assert status(desk) == "PROTECTED"
    assert desk.tracker.wire.vanishing == {}


def test_a_venue_that_shows_no_order_and_old_accounts_proves_nothing(desk: Desk) -> None:
    """The filled entry is missing from its listings as well, so they are not the venue's orders."""
    desk.venue.stale = [VenueBalance("BTC", Decimal(2), Decimal(0))]
    desk.venue.coins["BTC"] += 1
    desk.venue.hidden |= set(desk.venue.orders)
    desk.pass_time(60)
    assert len(desk.venue.history) == 2
    desk.venue.hidden.clear()
    desk.pass_time(5)
    assert status(desk) == "PROTECTED"


def test_an_order_that_came_after_the_account_was_asked_for_explains_no_hold(desk: Desk) -> None:
    desk.venue.coins["BTC"] += 1
    (order,) = desk.venue.open()
    desk.venue.ioc_fills = False
    desk.approve("1", kind=OrderKind.LIMIT_GTD, end_after_s=60.0, limit_price=Decimal("97.00"))
    desk.settle()
    entry = desk.venue.open()[-1]
    desk.venue.hidden.add(order.order_id)
    answers: list[VenueAnswer] = []
    for _ in range(120):  # until the account is asked for; its answer is kept back
        desk.lease()
        desk.quote("BTC-USD")
        desk.harness.advance(0.25)
        for message in desk.harness.take("gateway"):
            if isinstance(message, VenueQuery) and message.kind is QueryKind.BALANCES:
                answers.append(desk.venue.query(message))
            else:
                desk.venue.answer_one(desk.harness, message)
        if answers:
            break
    assert answers
    desk.venue.fill(entry.order_id, Decimal(1), Decimal("97.00"))
    desk.harness.deliver(VenueEvidence((), tuple(desk.venue.fills)))
    desk.settle()  # its stop is shown meanwhile
    assert [one.state for one in protective(desk)] == [OrderState.OPEN, OrderState.OPEN]
    desk.harness.deliver(answers[0])
    desk.settle()
    assert protective(desk)[0].state is OrderState.OPEN


def test_what_the_owners_order_holds_does_not_keep_a_stop_from_being_proven_gone(desk: Desk) -> None:
    old = vanish(desk)
    desk.venue.coins["BTC"] += 2
    owners = replace(old, order_id="v-owner", client_order_id="by hand", order_type="limit_gtc", trigger_status="")
    desk.venue.orders["v-owner"] = replace(owners, stop_price=None)
    desk.venue.hidden.add("v-owner")
    desk.pass_time(40)
    assert len(desk.venue.history) == 2, "coins on hold that nobody explains may be the stop's own"
    desk.venue.hidden.clear()
    desk.pass_time(15)
    assert desk.venue.history[2:] == ["SELL bracket_gtc 1"]
    assert status(desk) == "PROTECTED"


def test_a_failed_question_proves_nothing(desk: Desk) -> None:
    vanish(desk)
    desk.pass_time(4)
    desk.venue.mute = {"query"}
    desk.pass_time(60)
    assert len(desk.venue.history) == 2
    desk.venue.mute = set()
    desk.pass_time(30)
    assert desk.venue.history[2:] == ["SELL bracket_gtc 1"]


def test_a_tracker_that_dies_in_the_middle_of_the_proof_begins_it_anew(desk: Desk) -> None:
    vanish(desk)
    desk.pass_time(11)
    assert desk.tracker.wire.vanishing
    desk.restart()
    desk.settle()
    assert status(desk) == "NAKED", "what the venue did not show at the start protects nothing"
    desk.pass_time(9)
    assert len(desk.venue.history) == 2
    desk.pass_time(11)
    assert desk.venue.history[2:] == ["SELL bracket_gtc 1"]
    assert status(desk) == "PROTECTED"


def test_one_that_comes_back_counts_again_is_cancelled_and_can_vanish_anew(desk: Desk) -> None:
    desk.venue.coins["BTC"] += 1  # the owner's: it can rest against them
    old = vanish(desk)
    desk.pass_time(20)
    assert status(desk) == "PROTECTED"
    desk.venue.orders[old.order_id] = old
    desk.pass_time(6)
    first, second = protective(desk)
    assert desk.venue.history[2:] == ["SELL bracket_gtc 1", "cancel SELL 1"]
    assert (first.state, first.facts.vanished, first.facts.returned) == (OrderState.CANCELLED, 1, 1)
    assert second.state is OrderState.OPEN, "what stands in for it is not touched"
    assert status(desk) == "PROTECTED"
    assert f"anomaly:vanished_yet_seen:{first.id}#1" in keys(desk)
    assert [one.breaker for one in desk.sent("watchdog", BreakerSignal)] == ["reconcile"]  # type: ignore[attr-defined]
    assert [one.order_id for one in desk.venue.open()] == [second.facts.order_id]


def test_one_that_comes_back_and_does_not_take_its_cancel_vanishes_again(desk: Desk) -> None:
    desk.venue.coins["BTC"] += 1
    old = vanish(desk)
    desk.pass_time(20)
    desk.venue.mute = {"cancel"}
    desk.venue.orders[old.order_id] = old
    desk.pass_time(6)
    first = protective(desk)[0]
    assert first.state is OrderState.PENDING_CANCEL
    del desk.venue.orders[old.order_id]
    desk.pass_time(25)
    first, second = protective(desk)
    assert (first.state, first.facts.vanished, first.facts.returned) == (OrderState.CANCELLED, 2, 1)
    assert second.state is OrderState.OPEN
    desk.venue.orders[old.order_id] = old
    desk.pass_time(4)
    assert f"anomaly:vanished_yet_seen:{first.id}#2" in keys(desk)


def test_a_stop_that_was_filled_before_it_vanished_is_never_called_gone_while_the_venue_lists_no_fill(
    desk: Desk,
) -> None:
    old = vanish(desk)
    desk.venue.coins["BTC"] = Decimal(0)  # it sold, and nobody tells
    desk.pass_time(40)
    assert len(desk.venue.history) == 2
    desk.venue.orders[old.order_id] = old
    desk.venue.coins["BTC"] = Decimal(1)
    desk.venue.fill(old.order_id, Decimal(1), Decimal("94.80"))
    desk.pass_time(5)
    assert desk.position() is None


def test_a_flatten_goes_on_past_a_stop_that_vanished(desk: Desk) -> None:
    vanish(desk)
    desk.pass_time(5)
    asked(desk, RequestVerb.FLATTEN, "BTC-USD")
    desk.pass_time(3)
    assert desk.position() is None, "an urgent sale waits for no proof"
    assert desk.venue.history[2:] == ["SELL limit_ioc 1"]
    desk.pass_time(30)
    told = asked(desk, RequestVerb.FLATTEN, "BTC-USD")
    assert (told.done, told.ok) == (True, True), told.text
    assert [one.state for one in protective(desk)] == [OrderState.CANCELLED]


def test_a_strategys_exit_loses_patience_with_a_vanished_stop_and_the_proof_protects_again(desk: Desk) -> None:
    vanish(desk)
    desk.harness.deliver(desk.exit_approval())
    desk.pass_time(8)
    assert len(desk.venue.history) == 2
    desk.pass_time(15)
    assert desk.venue.history[2:] == ["SELL bracket_gtc 1"]
    assert status(desk) == "PROTECTED"
    assert "exit:BTC-USD" in keys(desk)


def test_the_end_of_the_holding_time_sells_once_the_stop_is_proven_gone(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.buy("1", plan_max_hold_s=10.0)
    vanish(desk)
    desk.pass_time(35)
    assert desk.venue.history[-1] == "SELL limit_ioc 1"
    assert desk.position() is None


def test_an_entry_that_vanished_frees_its_symbol_after_its_own_end(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.venue.ioc_fills = False
    desk.approve("1", kind=OrderKind.LIMIT_GTD, end_after_s=50.0, limit_price=Decimal("90.00"))
    desk.settle()
    desk.pass_time(3)
    vanish(desk)
    desk.pass_time(40)
    (entry,) = desk.tracker.ledger.orders_since(0)
    assert entry.working, "before its end it may rest"
    desk.pass_time(30)
    (entry,) = desk.tracker.ledger.orders_since(0)
    assert (entry.state, entry.reason) == (OrderState.CANCELLED, "vanished")
    assert f"vanished:{entry.id}" in keys(desk)
    desk.venue.ioc_fills = True
    desk.buy("1")
    assert status(desk) == "PROTECTED"


def test_an_order_that_was_taken_and_never_shown_is_proven_gone_too(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.approve()
    while len(desk.venue.history) < 2:
        for message in desk.harness.take("gateway"):
            desk.venue.answer_one(desk.harness, message)
    vanish(desk)
    desk.settle()
    desk.pass_time(25)
    first, second = protective(desk)
    assert (first.state, first.facts.seen, second.state) == (OrderState.CANCELLED, False, OrderState.OPEN)
    assert status(desk) == "PROTECTED"


def test_a_stop_of_a_symbol_that_is_not_configured_any_more_is_proven_gone_and_paged(desk: Desk) -> None:
    desk.settings = desk.settings.model_copy(update={"instruments": desk.settings.instruments[1:]})
    desk.restart()
    vanish(desk)
    desk.pass_time(25)
    assert [one.state for one in protective(desk)] == [OrderState.CANCELLED]
    assert status(desk) == "NAKED"
    assert f"vanished:{protective(desk)[0].id}" in keys(desk)


# --- an operator's word ---------------------------------------------------------------------------------------


def test_an_operators_word_for_a_vanished_stop_is_taken_when_the_venue_agrees(desk: Desk) -> None:
    vanish(desk)
    desk.pass_time(4)
    (stop,) = protective(desk)
    asked(desk, RequestVerb.PROTECT, "BTC-USD", "op-0")
    desk.pass_time(1)
    told = asked(desk, RequestVerb.PROTECT, "BTC-USD", "op-0")
    assert f"the venue does not find {stop.id} any more" in told.text
    told = asked(desk, RequestVerb.RESOLVE, stop.id, **{"as": "absent"})
    assert (told.done, told.ok) == (True, True), told.text
    first, second = protective(desk)
    assert (first.state, first.reason) == (OrderState.CANCELLED, "resolved_absent")
    assert second.state is OrderState.OPEN
    assert asked(desk, RequestVerb.RESOLVE, stop.id, **{"as": "absent"}) == told
    desk.restart()
    assert asked(desk, RequestVerb.RESOLVE, stop.id, **{"as": "absent"}) == told
    assert len(protective(desk)) == 2


def test_an_operators_word_against_what_the_venue_shows_is_refused(desk: Desk) -> None:
    (stop,) = protective(desk)
    assert "its fate is known" in asked(desk, RequestVerb.RESOLVE, stop.id, **{"as": "absent"}).text
    old = vanish(desk)
    desk.pass_time(4)
    desk.venue.orders[old.order_id] = old
    told = asked(desk, RequestVerb.RESOLVE, stop.id, "op-2", **{"as": "absent"})
    assert (told.done, told.ok) == (True, False)
    assert "the venue shows it" in told.text.replace(stop.id, "it")
    assert protective(desk)[0].state is OrderState.OPEN
    del desk.venue.orders[old.order_id]
    desk.pass_time(4)
    assert "--as absent" in asked(desk, RequestVerb.RESOLVE, stop.id, "op-3", **{"as": "filled"}).text


# --- lost on the wire -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [0, 1], ids=["no_other_coins", "the_owner_has_coins_too"])
def test_a_crash_while_a_stop_is_lost_is_sold_before_its_absence_is_proven(tmp_path: Path, others: int) -> None:
    desk = Desk(tmp_path)
    desk.venue.coins["BTC"] += others
    desk.venue.cut[BRACKET] = "before"
    desk.buy("1")
    desk.pass_time(1)
    assert [one.state for one in protective(desk)] == [OrderState.UNKNOWN]
    desk.venue.bids["BTC-USD"] = Decimal("94.00")
    desk.pass_time(6)
    assert desk.position() is None
    assert desk.venue.history == ["BUY limit_ioc 1", "SELL limit_ioc 1"]
    assert desk.venue.coins["BTC"] == others
    (lost,) = protective(desk)
    assert lost.state is OrderState.UNKNOWN
    assert lost.id in text_of(desk, "astray:BTC-USD")
    desk.pass_time(150, 1.0)
    assert [one.state for one in protective(desk)] == [OrderState.REJECTED]
    assert len(desk.venue.history) == 2


def test_above_its_stop_nothing_is_sold_and_nothing_placed_while_a_stop_is_lost(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.venue.cut[BRACKET] = "before"
    desk.buy("1")
    desk.pass_time(60, 1.0)
    assert desk.venue.history == ["BUY limit_ioc 1"]
    assert "nothing is placed before that is known" in text_of(desk, "naked:BTC-USD")
    desk.venue.cut.clear()
    desk.pass_time(90, 1.0)
    assert desk.venue.history[1:] == ["SELL bracket_gtc 1"]


@pytest.mark.parametrize("others", [0, 1], ids=["no_other_coins", "the_owner_has_coins_too"])
@pytest.mark.parametrize("fires", [False, True], ids=["rests", "is_filled"])
def test_a_stop_that_arrived_unseen_is_not_sold_past(tmp_path: Path, others: int, fires: bool) -> None:
    desk = Desk(tmp_path)
    desk.venue.coins["BTC"] += others
    desk.venue.cut[BRACKET] = "after"
    desk.approve("1")
    while len(desk.venue.history) < 2:
        for message in desk.harness.take("gateway"):
            desk.venue.answer_one(desk.harness, message)
    (order,) = desk.venue.open()
    desk.venue.hidden.add(order.order_id)
    desk.settle()
    desk.venue.bids["BTC-USD"] = Decimal("94.00")
    if fires:
        desk.venue.fill(order.order_id, Decimal(1), Decimal("94.50"))
    desk.pass_time(9)
    assert len(desk.venue.history) == 2, "its hold, or its fill, says that it may be there"
    desk.venue.hidden.clear()
    desk.pass_time(15)
    assert desk.position() is None
    assert desk.venue.sold("BTC-USD") == 1
    assert desk.venue.coins["BTC"] == others


def test_a_stop_that_arrives_after_the_sale_is_cancelled_when_it_is_found(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.venue.coins["BTC"] += 1
    desk.venue.cut[BRACKET] = "before"
    desk.buy("1")
    (lost,) = protective(desk)
    desk.venue.bids["BTC-USD"] = Decimal("94.00")
    desk.pass_time(6)
    assert desk.position() is None
    desk.venue.book(lost.intent)  # against the owner's coins
    desk.pass_time(12)
    assert desk.venue.open() == []
    assert desk.venue.history[-1] == "cancel SELL 1"
    assert desk.venue.coins["BTC"] == 1


def test_a_flatten_goes_on_past_a_stop_that_was_lost(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.venue.cut[BRACKET] = "before"
    desk.buy("1")
    desk.pass_time(1)
    asked(desk, RequestVerb.FLATTEN, "BTC-USD")
    desk.pass_time(6)
    assert desk.position() is None
    assert desk.venue.history == ["BUY limit_ioc 1", "SELL limit_ioc 1"]


@pytest.mark.parametrize("others", [0, 1], ids=["no_other_coins", "the_owner_has_coins_too"])
@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_sale_that_is_lost_is_made_again_only_where_it_cannot_be_made_twice(
    desk: Desk, cut: str, others: int
) -> None:
    desk.venue.coins["BTC"] += others
    (bracket,) = desk.venue.open()
    desk.venue.end(bracket.order_id, "CANCELLED")
    desk.venue.cut[IOC] = cut
    desk.venue.bids["BTC-USD"] = Decimal("94.00")
    desk.pass_time(3)
    desk.venue.cut.clear()
    if cut == "after":  # it was filled, and nobody is told but by the fills
        desk.venue.hidden = set(desk.venue.orders) - {bracket.order_id}
    desk.pass_time(8)
    if cut == "before" and others:
        assert desk.venue.sold("BTC-USD") == 0, "arriving late it would sell the owner's coins"
        desk.pass_time(150, 1.0)
    desk.venue.hidden = set()
    desk.pass_time(12)
    assert desk.position() is None
    assert desk.venue.sold("BTC-USD") == 1
    assert desk.venue.coins["BTC"] == others


def test_a_strategys_exit_whose_sale_was_lost_becomes_a_stop_when_the_market_gets_there(desk: Desk) -> None:
    desk.venue.cut[IOC] = "before"
    desk.harness.deliver(desk.exit_approval())
    desk.pass_time(3)
    desk.venue.cut.clear()
    desk.pass_time(8)
    assert desk.venue.history[2:] == ["cancel SELL 1"], "above the stop it waits for the proof"
    desk.venue.bids["BTC-USD"] = Decimal("94.00")
    desk.pass_time(4)
    assert desk.position() is None
    assert desk.venue.history[3:] == ["SELL limit_ioc 1"]
    assert "astray:BTC-USD" in keys(desk)


def test_a_strategys_exit_waits_for_the_fate_of_a_stop(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.venue.cut[BRACKET] = "before"
    desk.buy("1")
    desk.harness.deliver(desk.exit_approval())
    desk.pass_time(10)
    assert desk.venue.history == ["BUY limit_ioc 1"]
    assert Protection.NAKED.value == status(desk)


def test_a_missing_stop_below_its_price_is_sold_before_it_is_proven_gone(desk: Desk) -> None:
    vanish(desk)
    desk.pass_time(2)
    desk.venue.bids["BTC-USD"] = Decimal("94.00")
    desk.pass_time(5)
    assert desk.position() is None
    assert desk.venue.history[2:] == ["SELL limit_ioc 1"]
    sale = next(one for one in desk.tracker.ledger.orders_since(0) if one.intent.kind is IOC and one.side is Side.SELL)
    assert isinstance(sale.as_ledger_order(), LedgerOrder)
    assert (sale.role, sale.reason) == (Role.PROTECTION, "stop")
    desk.pass_time(20)
    assert [one.state for one in protective(desk)] == [OrderState.CANCELLED]


def test_a_venue_that_loses_every_sale_for_minutes_leaves_requests_for_the_one_that_it_takes(desk: Desk) -> None:
    vanish(desk)
    desk.venue.cut[IOC] = "before"
    desk.venue.bids["BTC-USD"] = Decimal("94.00")
    desk.pass_time(300, 0.5)
    hour = desk.settings.gateway.requests_per_hour
    assert desk.venue.asked.total() * 12 < 1.3 * hour
    assert len(desk.tracker.ledger.orders_since(0)) < 20
    desk.venue.cut.clear()
    desk.pass_time(35, 0.5)
    assert desk.position() is None
    assert desk.venue.coins["BTC"] == 0
