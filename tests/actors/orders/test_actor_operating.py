"""Operators' verbs at the tracker: each is done once, proven, and survives the tracker's death in its middle."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from actors.messages.base import Stamp
from actors.messages.control import CancelProof, OperatorAnswer, OperatorCommand, OperatorRequest, OperatorVerb
from actors.messages.control import RequestVerb as Verb
from actors.messages.health import Alert, BreakerSignal, TradingState
from actors.messages.orders import OrderKind, OrderState, OutcomeKind, Protection, SubmitOrder, SubmitOutcome
from actors.messages.reconcile import LedgerFacts, ReadLedger, VenueEvidence
from tests.actors.orders.desk import Desk
from tests.actors.orders.venue import rules

EVERY_STATE = list(TradingState)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def request(verb: Verb, target: str = "BTC-USD", key: str = "op-1-1-1", **arguments: str) -> OperatorRequest:
    return OperatorRequest(key, verb, target, tuple(arguments.items()), "bank statement", "anna")


def ask(desk: Desk, verb: Verb, target: str = "BTC-USD", key: str = "op-1-1-1", **arguments: str) -> OperatorAnswer:
    """Say it once and return the newest answer."""
    desk.harness.deliver(request(verb, target, key, **arguments))
    return newest(desk)


def newest(desk: Desk) -> OperatorAnswer:
    found = [one for one in desk.harness.sent["admin"] if isinstance(one, OperatorAnswer)]
    return found[-1]


def final(desk: Desk, seconds: float = 15.0) -> OperatorAnswer:
    """The answer that ends the request, while time passes and the admin repeats itself."""
    for _ in range(round(seconds * 4)):
        desk.pass_time(0.25)
        if newest(desk).done:
            return newest(desk)
    raise AssertionError(f"not done after {seconds} s: {newest(desk)}")


def breakers(desk: Desk) -> list[tuple[str, bool]]:
    return [(str(one.breaker), one.tripped) for one in desk.harness.sent["watchdog"] if isinstance(one, BreakerSignal)]


# --- resolve -------------------------------------------------------------------------------------------


def unknown(desk: Desk, seconds: float = 150.0, *, arrives: bool = False, **changes: object) -> str:
    """An entry whose create was never answered, at a venue that answers no query either."""
    desk.venue.mute = {"submit" if arrives else "lost", "query"}
    desk.approve("2", **changes)
    desk.pass_time(seconds, 1.0)
    assert desk.snapshot().unknown_symbols == ("BTC-USD",)
    return next(one.id for one in desk.tracker.ledger.working() if one.state is OrderState.UNKNOWN)


def test_an_order_resolved_as_absent_frees_its_symbol_and_stays_so_over_a_restart(desk: Desk) -> None:
    name = unknown(desk, 310.0)
    assert ("unknown_age", True) in breakers(desk)
    answer = ask(desk, Verb.RESOLVE, name, **{"as": "absent"})
    assert (answer.done, answer.ok) == (True, True)
    assert desk.snapshot().unknown_symbols == ()
    assert ("unknown_age", False) in breakers(desk)
    desk.restart()
    assert desk.states() == ["entry REJECTED"]
    assert desk.tracker.ledger.order(name).reason == "resolved_absent"  # type: ignore[union-attr]
    desk.venue.mute = set()
    desk.pass_time(1)
    desk.buy("1")
    assert desk.position() is not None


def test_the_operators_word_is_kept_with_name_and_evidence(desk: Desk) -> None:
    name = unknown(desk)
    ask(desk, Verb.RESOLVE, name, **{"as": "absent"})
    event = desk.tracker.ledger.last_event("operator_answer", "op-1-1-1")
    assert event is not None
    assert (event["verb"], event["target"], event["operator"], event["reason"], event["ok"]) == (
        "resolve", name, "anna", "bank statement", True,
    )  # fmt: skip


def test_while_a_request_may_still_arrive_nobody_can_call_it_absent(desk: Desk) -> None:
    name = unknown(desk, 30.0)
    answer = ask(desk, Verb.RESOLVE, name, **{"as": "absent"})
    assert (answer.done, answer.ok) == (True, False)
    assert "may still arrive" in answer.text
    assert desk.snapshot().unknown_symbols == ("BTC-USD",)


def test_a_repeated_resolve_is_answered_again_and_booked_once_also_over_a_restart(desk: Desk) -> None:
    name = unknown(desk)
    first = ask(desk, Verb.RESOLVE, name, **{"as": "filled"})
    desk.restart()
    assert ask(desk, Verb.RESOLVE, name, **{"as": "filled"}) == first
    assert desk.tracker.ledger.book("BTC-USD").quantity == Decimal(2)


def test_a_known_order_and_one_that_is_not_there_are_refused_with_the_unknown_ones_named(desk: Desk) -> None:
    desk.buy("1")
    name = unknown(desk, 10.0, limit_price=Decimal(99))
    told = ask(desk, Verb.RESOLVE, "td-a-1-e-1", **{"as": "absent"})
    assert not told.ok and "td-a-1-e-1 is FILLED" in told.text and name in told.text
    told = ask(desk, Verb.RESOLVE, "td-a-1-e-999", **{"as": "absent"})
    assert not told.ok and "no order td-a-1-e-999" in told.text and name in told.text
    assert "absent or as filled" in ask(desk, Verb.RESOLVE, name, **{"as": "lost"}).text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"size": "3"}, "was for 2"),
        ({"size": "0"}, "was for 2"),
        ({"size": "0.000000001"}, "grid"),
        ({"price": "101"}, "100.00 or less"),
        ({"price": "-1"}, "cannot be"),
        ({"fee": "-1"}, "cannot be"),
        ({"fee": "NaN"}, "not a number"),
        ({"price": "much"}, "not a number"),
    ],
)
def test_a_claim_that_cannot_be_true_is_refused(desk: Desk, arguments: dict[str, str], complaint: str) -> None:
    name = unknown(desk, 10.0)
    answer = ask(desk, Verb.RESOLVE, name, **{"as": "filled", **arguments})
    assert not answer.ok and complaint in answer.text
    assert desk.snapshot().unknown_symbols == ("BTC-USD",)
    assert desk.position() is None


def test_an_order_resolved_as_filled_is_booked_at_its_limit_and_protected(desk: Desk) -> None:
    name = unknown(desk, arrives=True)
    (order,) = desk.venue.orders.values()
    answer = ask(desk, Verb.RESOLVE, name, **{"as": "filled"})
    assert answer.ok
    assert dict(answer.details)["price"].startswith("100.00 (its limit")
    assert desk.tracker.ledger.book("BTC-USD").quantity == Decimal(2)
    desk.venue.mute = set()
    desk.venue.orders.pop(order.order_id)  # it is shown nowhere any more
    desk.venue.fills.clear()
    desk.pass_time(3)
    assert desk.position().protection is Protection.PROTECTED  # type: ignore[union-attr]
    desk.restart()
    desk.pass_time(3)
    assert desk.tracker.ledger.book("BTC-USD").quantity == Decimal(2)


def test_the_reconciler_is_not_told_of_a_vouched_fill_as_one_of_the_venues(desk: Desk) -> None:
    name = unknown(desk, 10.0)
    ask(desk, Verb.RESOLVE, name, **{"as": "filled"})
    desk.harness.deliver(ReadLedger("r-1", 0, Stamp("reconciler", 1)))
    (facts,) = [one for one in desk.harness.sent["reconciler"] if isinstance(one, LedgerFacts)]
    assert facts.fills == ()
    assert [one.client_order_id for one in facts.orders if one.vouched] == [name]


def test_a_part_that_was_filled_leaves_the_order_over_and_the_part_owned(desk: Desk) -> None:
    name = unknown(desk, 10.0)
    assert ask(desk, Verb.RESOLVE, name, **{"as": "filled", "size": "0.5", "price": "98", "fee": "1"}).ok
    assert desk.states()[0] == "entry CANCELLED"
    book = desk.tracker.ledger.book("BTC-USD")
    assert (book.quantity, book.cost) == (Decimal("0.5"), Decimal(50))
    desk.restart()
    assert desk.states()[0] == "entry CANCELLED"


def test_an_order_resolved_absent_that_the_venue_shows_after_all_is_booked_protected_and_paged(desk: Desk) -> None:
    name = unknown(desk, arrives=True)
    ask(desk, Verb.RESOLVE, name, **{"as": "absent"})
    desk.venue.mute = set()
    desk.harness.deliver(VenueEvidence(tuple(desk.venue.orders.values())))
    desk.pass_time(2)
    assert desk.position().protection is Protection.PROTECTED  # type: ignore[union-attr]
    assert desk.tracker.ledger.book("BTC-USD").quantity == Decimal(2)
    assert f"anomaly:absent_yet_seen:{name}" in [one.key for one in desk.sent("alerts", Alert)]  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", ["2", "0.5"])
def test_the_venues_own_fills_replace_a_vouched_one_and_are_never_added_to_it(desk: Desk, size: str) -> None:
    name = unknown(desk, arrives=True)
    assert ask(desk, Verb.RESOLVE, name, **{"as": "filled", "size": size, "price": "90"}).ok
    desk.venue.mute = set()
    for _ in range(2):
        desk.harness.deliver(VenueEvidence(tuple(desk.venue.orders.values()), tuple(desk.venue.fills)))
    desk.pass_time(2)
    book = desk.tracker.ledger.book("BTC-USD")
    assert (book.quantity, book.cost) == (Decimal(2), Decimal("201.8"))
    assert desk.states()[0] == "entry FILLED"
    assert f"anomaly:resolved_yet_seen:{name}" in [one.key for one in desk.sent("alerts", Alert)]  # type: ignore[attr-defined]
    assert desk.position().protection is Protection.PROTECTED  # type: ignore[union-attr]
    desk.restart()  # the books are checked against the fills
    assert not desk.tracker.unusable
    assert desk.tracker.ledger.book("BTC-USD").quantity == Decimal(2)


def test_a_vouched_fill_that_the_venue_denies_is_withdrawn(desk: Desk) -> None:
    desk.venue.ioc_fills = False
    name = unknown(desk, arrives=True)
    assert ask(desk, Verb.RESOLVE, name, **{"as": "filled"}).ok
    desk.venue.mute = set()
    desk.harness.deliver(VenueEvidence(tuple(desk.venue.orders.values())))
    desk.pass_time(3)
    assert desk.tracker.ledger.book("BTC-USD").quantity == Decimal(0)
    assert desk.states()[0] == "entry CANCELLED"
    assert ("reconcile", True) in breakers(desk)
    desk.restart()
    assert not desk.tracker.unusable


def test_a_late_answer_of_the_gateway_replaces_the_operators_word(desk: Desk) -> None:
    desk.approve("2")
    (command,) = [one for one in desk.harness.take("gateway") if isinstance(one, SubmitOrder)]
    desk.venue.mute = {"query"}
    desk.pass_time(10, 1.0)
    name = command.intent.client_order_id
    assert ask(desk, Verb.RESOLVE, name, **{"as": "filled"}).ok
    desk.harness.deliver(SubmitOutcome(name, OutcomeKind.REFUSED, None, "NO", 1, 1, 1, 1))
    assert desk.tracker.ledger.book("BTC-USD").quantity == Decimal(0)
    assert desk.states()[0] == "entry REJECTED"
    assert ("reconcile", True) in breakers(desk)


def test_an_unknown_exit_resolved_as_filled_ends_the_position(desk: Desk) -> None:
    desk.buy("1")
    desk.pass_time(1)
    desk.harness.deliver(desk.exit_approval())
    desk.venue.answer_one(desk.harness, desk.harness.take("gateway")[0])  # the bracket's cancel
    for _ in range(20):
        commands = desk.harness.take("gateway")
        sell = [one for one in commands if isinstance(one, SubmitOrder)]
        if sell:
            break
        for one in commands:
            desk.venue.answer_one(desk.harness, one)
        desk.harness.advance(0.25)
        desk.lease()
        desk.quote("BTC-USD")
    desk.venue.mute = {"query"}
    desk.pass_time(20, 1.0)
    name = sell[0].intent.client_order_id
    over = ask(desk, Verb.RESOLVE, name, **{"as": "filled", "size": "1", "price": "98"})
    assert not over.ok and "99.00 or more" in over.text
    assert ask(desk, Verb.RESOLVE, name, **{"as": "filled"}).ok
    assert desk.tracker.ledger.book("BTC-USD").quantity == Decimal(0)
    assert desk.position() is None


# --- protect -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", EVERY_STATE)
def test_protect_arms_what_is_missing_in_every_state_and_proves_it_from_a_listing(
    desk: Desk, state: TradingState
) -> None:
    desk.buy("1")
    (bracket,) = desk.venue.open()
    desk.lease(state)
    desk.pass_time(1)
    desk.venue.end(bracket.order_id, "CANCELLED")
    ask(desk, Verb.PROTECT)
    answer = final(desk)
    (placed,) = desk.venue.open()
    assert answer.ok
    assert dict(answer.details) == {
        "protection": "PROTECTED", "quantity": "1", "covered": "1", "stop_price": "95.00", "target_price": "110.00",
        "orders": placed.order_id,
    }  # fmt: skip


def test_protect_does_not_wait_for_the_back_off_after_refusals(desk: Desk) -> None:
    desk.venue.refuse = {OrderKind.BRACKET_GTC: "NO", OrderKind.STOP_LIMIT_GTC: "NO"}
    desk.buy("1")
    desk.pass_time(25)
    assert desk.position().protection is Protection.NAKED  # type: ignore[union-attr]
    desk.venue.refuse = {}
    ask(desk, Verb.PROTECT)
    answer = final(desk, 2.0)
    assert answer.ok and dict(answer.details)["protection"] == "PROTECTED"


def test_protect_says_naked_and_why_when_the_venue_takes_nothing(desk: Desk) -> None:
    desk.venue.refuse = {OrderKind.BRACKET_GTC: "CLOSED", OrderKind.STOP_LIMIT_GTC: "CLOSED"}
    desk.buy("1")
    ask(desk, Verb.PROTECT)
    answer = final(desk, 25.0)
    assert (answer.ok, dict(answer.details)["protection"]) == (False, "NAKED")
    assert "last refused: CLOSED" in answer.text


def test_protect_claims_nothing_while_the_venue_cannot_be_read(desk: Desk) -> None:
    desk.buy("1")
    desk.venue.mute = {"query"}
    ask(desk, Verb.PROTECT)
    answer = final(desk, 25.0)
    assert not answer.ok and "not proven" in answer.text


def test_protect_arms_its_symbol_after_all_protection_was_cancelled_and_so_does_a_restart(desk: Desk) -> None:
    desk.buy("1")
    desk.lease(TradingState.KILLED)
    desk.harness.deliver(OperatorCommand("k-1", OperatorVerb.KILL, "test", "anna", cancel_all=True))
    desk.pass_time(8)
    assert desk.venue.open() == []
    ask(desk, Verb.PROTECT)
    assert final(desk).ok
    desk.restart()
    desk.pass_time(5)
    assert len(desk.venue.open()) == 1
    assert desk.position().protection is Protection.PROTECTED  # type: ignore[union-attr]


def test_protect_of_nothing_and_of_dust_says_so(desk: Desk) -> None:
    ask(desk, Verb.PROTECT)
    assert dict(final(desk).details)["protection"] == "FLAT"
    desk.buy("1")
    desk.venue.rules["BTC-USD"] = rules("BTC-USD", quote_min_size=Decimal(1000))
    ask(desk, Verb.PROTECT, key="op-1-1-2")
    desk.venue.end(desk.venue.open()[0].order_id, "CANCELLED")
    desk.pass_time(1)
    ask(desk, Verb.PROTECT, key="op-1-1-3")
    assert dict(final(desk).details)["protection"] == "DUST"
    assert "known are: BTC-USD" in ask(desk, Verb.PROTECT, "DOGE-USD", "op-1-1-4").text


# --- flatten -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", EVERY_STATE)
def test_flatten_sells_in_every_state_with_proof_and_leaves_the_rest_alone(desk: Desk, state: TradingState) -> None:
    desk.buy("1")
    desk.buy("3", symbol="ETH-USD", limit_price=Decimal(10), plan_stop=Decimal(9), plan_target=Decimal(12))
    desk.pass_time(1)
    manual = replace(desk.venue.open("BTC-USD")[0], order_id="m-1", client_order_id="by-hand", base_size=Decimal(0))
    desk.venue.orders["m-1"] = manual
    desk.lease(state)
    desk.pass_time(1)
    ask(desk, Verb.FLATTEN)
    answer = final(desk)
    assert answer.ok
    assert dict(answer.details)["sold"] == "1"
    assert ("halt or reduce" in answer.text) is (state is TradingState.RUN)
    assert [one.order_id for one in desk.venue.open("BTC-USD")] == ["m-1"]
    assert desk.venue.held("ETH") == Decimal(3)
    assert [run.request_id for run in desk.tracker.stop_runs() if run.request_id != "latch"] == []


def test_flatten_cancels_the_entry_first_and_lets_none_in_until_it_is_done(desk: Desk) -> None:
    desk.buy("1")
    desk.approve("2", kind=OrderKind.LIMIT_GTD, end_after_s=60.0)
    desk.settle()
    desk.pass_time(1)
    ask(desk, Verb.FLATTEN)
    desk.approve("1")
    assert [one.code for one in desk.harness.take("risk") if hasattr(one, "code")] == ["stopping"]
    assert final(desk).ok
    assert desk.venue.open() == []
    assert dict(newest(desk).details)["cancelled"] == "1"
    desk.buy("1")
    assert desk.position().protection is Protection.PROTECTED  # type: ignore[union-attr]


def test_flatten_of_no_position_says_so_and_a_repeated_one_sells_nothing_more(desk: Desk) -> None:
    assert "no position" in ask(desk, Verb.FLATTEN).text
    desk.buy("1")
    assert "no position" in ask(desk, Verb.FLATTEN).text, "the same request hears the same answer"
    ask(desk, Verb.FLATTEN, key="op-1-1-2")
    sold = final(desk)
    desk.buy("1")
    assert ask(desk, Verb.FLATTEN, key="op-1-1-2") == sold
    desk.pass_time(5)
    assert desk.tracker.ledger.book("BTC-USD").quantity == Decimal(1)


@pytest.mark.parametrize("deaths", [1, 2, 3, 5, 8])
def test_flatten_goes_on_after_the_tracker_died_in_its_middle(desk: Desk, deaths: int) -> None:
    """Killed after each of the first messages to the gateway, asked again or not."""
    desk.buy("1")
    desk.pass_time(1)
    desk.harness.deliver(request(Verb.FLATTEN))
    for _ in range(deaths):
        for message in desk.harness.take("gateway")[:1]:
            desk.venue.answer_one(desk.harness, message)
        desk.restart()
    desk.pass_time(20)
    assert desk.venue.coins["BTC"] == Decimal(0)
    assert desk.venue.open() == []
    assert ask(desk, Verb.FLATTEN).ok
    assert desk.tracker.stop_runs() == []


def test_flatten_keeps_the_stop_while_the_products_mode_takes_no_sale(desk: Desk) -> None:
    desk.buy("1")
    desk.venue.rules["BTC-USD"] = rules("BTC-USD", cancel_only=True)
    desk.tracker.ask_rules()
    desk.pass_time(1)
    ask(desk, Verb.FLATTEN)
    desk.pass_time(5)
    assert not newest(desk).done and "product's mode" in newest(desk).text
    assert len(desk.venue.open()) == 1
    desk.venue.rules["BTC-USD"] = rules("BTC-USD")
    assert final(desk).ok
    assert desk.venue.coins["BTC"] == Decimal(0)


# --- halt, reduce --------------------------------------------------------------------------------------


def command(verb: OperatorVerb) -> OperatorCommand:
    return OperatorCommand("h-1", verb, "test", "anna")


def proofs(desk: Desk) -> list[CancelProof]:
    return [one for one in desk.harness.sent["admin"] if isinstance(one, CancelProof)]


@pytest.mark.parametrize(
    ("verb", "state"),
    [(OperatorVerb.HALT, TradingState.HALTED), (OperatorVerb.REDUCE, TradingState.REDUCE_ONLY)],
)
@pytest.mark.parametrize("lease_first", [True, False])
def test_halt_and_reduce_prove_that_entries_are_gone(
    desk: Desk, verb: OperatorVerb, state: TradingState, lease_first: bool
) -> None:
    desk.buy("1")
    desk.approve("2", kind=OrderKind.LIMIT_GTD, end_after_s=60.0)
    desk.settle()
    if lease_first:
        desk.lease(state)
    desk.harness.deliver(command(verb))
    desk.lease(state)
    desk.settle()
    assert not proofs(desk)[-1].complete
    desk.pass_time(5)
    last = proofs(desk)[-1]
    assert (last.complete, last.cancelled, last.unproven) == (True, 1, 0)
    assert [(one.protection) for one in last.positions] == ["PROTECTED"]
    assert [order.side for order in desk.venue.open()] == ["SELL"]


def test_reduce_waits_for_entries_alone_and_lets_an_exit_go_on(desk: Desk) -> None:
    desk.buy("1")
    desk.pass_time(1)
    desk.lease(TradingState.REDUCE_ONLY)
    desk.harness.deliver(command(OperatorVerb.REDUCE))
    desk.harness.deliver(desk.exit_approval())
    assert [one for one in desk.harness.take("risk") if hasattr(one, "code")] == []
    desk.pass_time(6)
    assert proofs(desk)[-1].complete
    assert desk.position() is None


def test_an_operators_run_ends_a_reduce_and_reduce_ends_a_halt(desk: Desk) -> None:
    desk.lease(TradingState.HALTED)
    desk.harness.deliver(command(OperatorVerb.HALT))
    desk.pass_time(6)
    desk.lease(TradingState.REDUCE_ONLY)
    desk.pass_time(6)
    assert desk.tracker.stop_runs() == []
    desk.harness.deliver(replace(command(OperatorVerb.REDUCE), request_id="h-2"))
    desk.pass_time(6)
    assert [run.request_id for run in desk.tracker.stop_runs()] == ["h-2"]
    desk.lease(TradingState.RUN)
    desk.pass_time(6)
    assert desk.tracker.stop_runs() == []
