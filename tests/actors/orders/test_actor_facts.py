"""Strange facts: each has a defined consequence, none becomes data by itself."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from actors.messages.base import Stamp
from actors.messages.delivery import Undelivered
from actors.messages.health import Alert, BreakerName, BreakerSignal, Severity
from actors.messages.market import UserChannelReset, UserOrderEvent
from actors.messages.orders import (
    CancelOrder,
    OrderKind,
    OutcomeKind,
    OutcomeTaken,
    PipelineTiming,
    Protection,
    Refusal,
    SubmitOrder,
    SubmitOutcome,
)
from actors.messages.reconcile import LedgerFacts, ReadLedger, VenueEvidence
from actors.messages.venue import VenueQuery
from config.settings import make_settings
from tests.actors.orders.desk import Desk
from tests.actors.orders.venue import rules


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def breakers(desk: Desk) -> list[tuple[str, str, bool]]:
    signals = [one for one in desk.harness.sent["watchdog"] if isinstance(one, BreakerSignal)]
    return [(one.breaker.value, one.scope, one.tripped) for one in signals]


def test_a_fill_told_by_every_source_is_booked_once(desk: Desk) -> None:
    desk.buy("1")
    for _ in range(3):
        desk.harness.deliver(VenueEvidence(tuple(desk.venue.orders.values()), tuple(desk.venue.fills)))
        desk.pass_time(1)
    assert desk.tracker.ledger.book("BTC-USD").quantity == Decimal(1)
    assert breakers(desk) == []


def test_an_unknown_status_trips_a_breaker_and_changes_nothing(desk: Desk) -> None:
    desk.buy("1")
    (bracket,) = desk.venue.open()
    before = desk.states()
    desk.harness.deliver(VenueEvidence((replace(bracket, status="SUSPENDED"),)))
    assert desk.states() == before
    assert breakers(desk) == [("reconcile", "*", True)]


def test_more_filled_than_ordered_trips_a_breaker_and_is_protected(desk: Desk) -> None:
    desk.buy("1")
    extra = replace(desk.venue.fills[0], entry_id="f-99", size=Decimal("0.5"))
    desk.venue.coins["BTC"] += Decimal("0.5")
    desk.harness.deliver(VenueEvidence((), (extra,)))
    desk.pass_time(2)
    assert breakers(desk) == [("reconcile", "*", True)]
    assert desk.venue.held("BTC") == Decimal("1.5")


def test_a_reversal_is_kept_pages_and_moves_no_position(desk: Desk) -> None:
    desk.buy("1")
    reversal = replace(desk.venue.fills[0], entry_id="f-98", trade_type="REVERSAL")
    for _ in range(2):
        desk.harness.deliver(VenueEvidence((), (reversal,)))
    assert desk.tracker.ledger.book("BTC-USD").quantity == Decimal(1)
    assert desk.tracker.ledger.has_fill("f-98")
    assert breakers(desk) == [("reconcile", "*", True)]
    assert len(desk.sent("alerts", Alert)) == 1


def test_the_fills_of_somebody_elses_orders_are_left_alone(desk: Desk) -> None:
    desk.buy("1")
    manual = replace(desk.venue.open()[0], order_id="m-1", client_order_id="by-hand", status="FILLED")
    desk.venue.orders["m-1"] = manual
    desk.venue.fills.append(replace(desk.venue.fills[0], entry_id="f-m", order_id="m-1", side="SELL"))
    desk.pass_time(5)
    assert desk.tracker.ledger.book("BTC-USD").quantity == Decimal(1)
    assert breakers(desk) == []


def test_an_own_order_that_the_ledger_lacks_means_a_rollback(desk: Desk) -> None:
    desk.buy("1")
    lost = replace(desk.venue.open()[0], order_id="v-9", client_order_id="td-a-1-e-900", side="BUY")
    desk.harness.deliver(VenueEvidence((lost,)))
    assert breakers(desk) == [("reconcile", "*", True)]


def test_a_contradicting_view_is_refused(desk: Desk) -> None:
    desk.buy("1")
    (bracket,) = desk.venue.open()
    desk.harness.deliver(VenueEvidence((replace(bracket, side="BUY", status="CANCELLED"),)))
    assert breakers(desk) == [("reconcile", "*", True)]
    assert desk.states() == ["entry FILLED", "protection OPEN"]


def test_a_user_event_is_a_reason_to_look_and_no_fill(desk: Desk) -> None:
    desk.buy("1")
    (bracket,) = desk.venue.open()
    event = UserOrderEvent(
        bracket.order_id, bracket.client_order_id, "BTC-USD", "SELL", "FILLED", Decimal(1), Decimal(110),
        Decimal(1), "", "", "", 0, False,
    )  # fmt: skip
    desk.harness.deliver(event)
    assert desk.tracker.ledger.book("BTC-USD").quantity == Decimal(1)
    asked = [one for one in desk.harness.sent["gateway"] if isinstance(one, VenueQuery)]
    assert {one.order_id for one in asked} == {bracket.order_id}
    desk.venue.fill(bracket.order_id, Decimal(1), Decimal(110))
    desk.settle()
    assert desk.tracker.ledger.book("BTC-USD").quantity == Decimal(0)


def test_a_reset_of_the_user_channel_reads_the_fills_that_were_missed(desk: Desk) -> None:
    desk.buy("1")
    (bracket,) = desk.venue.open()
    desk.venue.fill(bracket.order_id, Decimal(1), Decimal(110))
    desk.harness.deliver(UserChannelReset(2, "gap", 0))
    desk.settle()
    assert desk.position() is None


def test_a_duplicate_client_id_is_looked_for_and_not_forgotten(desk: Desk) -> None:
    desk.approve()
    (command,) = [one for one in desk.harness.take("gateway") if isinstance(one, SubmitOrder)]
    desk.venue.book(command.intent)
    name = command.intent.client_order_id
    desk.harness.deliver(SubmitOutcome(name, OutcomeKind.REFUSED, None, "DUPLICATE_CLIENT_ORDER_ID", 1, 1, 1, 1))
    desk.settle()
    assert desk.states() == ["entry FILLED", "protection OPEN"]


def test_an_outcome_is_acknowledged_only_when_it_is_on_the_disk(desk: Desk) -> None:
    desk.approve()
    (command,) = [one for one in desk.harness.take("gateway") if isinstance(one, SubmitOrder)]
    desk.tracker.ledger._db.execute("PRAGMA query_only=1")
    outcome = SubmitOutcome(command.intent.client_order_id, OutcomeKind.REFUSED, None, "NO", 1, 1, 1, 1)
    desk.harness.deliver(outcome)
    assert not [one for one in desk.harness.sent["gateway"] if isinstance(one, OutcomeTaken)]
    desk.tracker.ledger._db.execute("PRAGMA query_only=0")
    desk.harness.deliver(outcome)
    assert [one for one in desk.harness.sent["gateway"] if isinstance(one, OutcomeTaken)]
    assert desk.states() == ["entry REJECTED"]


@pytest.mark.parametrize(("reason", "state"), [("refused", "REJECTED"), ("timeout", "UNKNOWN"), ("closed", "UNKNOWN")])
def test_a_command_that_may_be_lost_is_unknown_unless_surely_not_handled(desk: Desk, reason: str, state: str) -> None:
    desk.approve()
    (command,) = [one for one in desk.harness.take("gateway") if isinstance(one, SubmitOrder)]
    desk.harness.deliver(Undelivered("gateway", command, reason))
    assert desk.states() == [f"entry {state}"]


def told_of_unknown(desk: Desk) -> list[Severity]:
    return [one.severity for one in desk.sent("alerts", Alert) if one.key == "unknown:td-a-1-e-1"]  # type: ignore[attr-defined]


def test_a_lost_order_is_paged_takes_entries_from_its_symbol_and_ends_without_an_operator(desk: Desk) -> None:
    desk.venue.mute = {"lost"}
    desk.approve()
    desk.pass_time(58, 1.0)
    assert told_of_unknown(desk) == []
    desk.pass_time(12, 1.0)
    assert told_of_unknown(desk) == [Severity.PAGE]
    desk.venue.mute = set()
    desk.approve()
    assert [one.code for one in desk.sent("risk", Refusal)] == ["unknown_order"]  # type: ignore[attr-defined]
    desk.pass_time(75, 1.0)
    assert desk.states() == ["entry REJECTED"]
    assert told_of_unknown(desk) == [Severity.PAGE, Severity.INFO]
    assert not [one for one in breakers(desk) if one[0] == "unknown_age"], "nobody has to resume"
    desk.buy("1")
    assert desk.position() is not None


def test_an_order_unknown_for_too_long_latches_its_symbol(desk: Desk) -> None:
    desk.venue.mute = {"lost", "query"}
    desk.approve()
    desk.pass_time(295, 1.0)
    assert told_of_unknown(desk) == [Severity.PAGE]
    assert ("unknown_age", "BTC-USD", True) not in breakers(desk)
    desk.pass_time(15, 1.0)
    assert ("unknown_age", "BTC-USD", True) in breakers(desk)
    desk.venue.mute = {"lost"}
    desk.pass_time(140, 1.0)
    assert ("unknown_age", "BTC-USD", False) in breakers(desk)
    assert told_of_unknown(desk) == [Severity.PAGE, Severity.INFO]
    assert BreakerName.UNKNOWN_AGE.value == "unknown_age"


def test_an_order_stays_unknown_and_pages_although_the_daemon_keeps_dying(desk: Desk) -> None:
    desk.venue.mute = {"submit", "query"}
    desk.approve()
    desk.settle()
    for _ in range(4):
        desk.pass_time(14, 1.0)
        assert told_of_unknown(desk) == []
        desk.restart(new_daemon=True)
    assert desk.states() == ["entry UNKNOWN"]
    desk.pass_time(6, 1.0)
    assert told_of_unknown(desk) == [Severity.PAGE]
    for _ in range(3):
        desk.pass_time(75, 1.0)
        assert ("unknown_age", "BTC-USD", True) not in breakers(desk)
        desk.restart(new_daemon=True)
    desk.pass_time(25, 1.0)
    assert ("unknown_age", "BTC-USD", True) in breakers(desk)


def test_the_search_for_an_unknown_asks_ever_more_rarely(desk: Desk) -> None:
    desk.venue.mute = {"submit"}
    desk.approve()
    desk.settle()
    (order,) = desk.venue.orders.values()
    del desk.venue.orders[order.order_id]
    asked = [0]
    for _ in range(3):
        desk.pass_time(30, 1.0)
        asked.append(desk.tracker.wire.searches["td-a-1-e-1"].queries)
    assert [after - before for before, after in pairwise(asked)] == [5, 3, 3]  # waits of 1, 2, 4, 8, 10, 10 s


def test_an_unknown_order_blocks_entries_on_every_product_of_its_base(tmp_path: Path) -> None:
    aliases = [{"symbol": "BTC-USD"}, {"symbol": "BTC-USDC", "data": "BTC-USD"}, {"symbol": "ETH-USD"}]
    desk = Desk(tmp_path)
    instruments = make_settings({"instruments": aliases}, source="test", data_dir=tmp_path).instruments
    desk.settings = desk.settings.model_copy(update={"instruments": instruments})
    desk.venue.rules["BTC-USDC"] = rules("BTC-USDC")
    desk.restart()
    desk.settle()
    desk.venue.mute = {"lost"}
    desk.approve()
    desk.pass_time(15)
    assert desk.snapshot().unknown_symbols == ("BTC-USD",)
    for symbol in ("BTC-USDC", "ETH-USD"):
        desk.harness.deliver(desk.approval(symbol=symbol))
    refused = [one.code for one in desk.sent("strategist", Refusal) if isinstance(one, Refusal)]
    assert refused == ["unknown_order"]
    assert desk.states() == ["entry UNKNOWN", "entry SUBMITTING"]


def test_a_fill_of_an_unlisted_order_keeps_an_unknown_from_being_absent(desk: Desk) -> None:
    desk.venue.mute = {"submit"}
    desk.approve()
    desk.settle()
    (order,) = desk.venue.orders.values()
    del desk.venue.orders[order.order_id]
    desk.pass_time(200, 1.0)
    assert desk.snapshot().unknown_symbols == ("BTC-USD",)


def test_a_cancel_flies_as_soon_as_an_order_has_its_venue_id(desk: Desk) -> None:
    desk.approve("1", kind=OrderKind.LIMIT_GTD, end_after_s=30.0)
    (command,) = [one for one in desk.harness.take("gateway") if isinstance(one, SubmitOrder)]
    desk.tracker.cancel_orders(desk.tracker.ledger.working(), "test")
    assert not [one for one in desk.harness.sent["gateway"] if isinstance(one, CancelOrder)]
    outcome = desk.venue.submit(command)
    desk.harness.deliver(outcome)
    assert [one for one in desk.harness.sent["gateway"] if isinstance(one, CancelOrder)]


def test_the_reconciler_reads_orders_fills_and_head(desk: Desk) -> None:
    desk.buy("1")
    desk.harness.deliver(ReadLedger("r-1", 0, Stamp("reconciler", 1)))
    (facts,) = [one for one in desk.harness.sent["reconciler"] if isinstance(one, LedgerFacts)]
    assert facts.ready and facts.head == 2
    assert facts.fills == ("f-1",)
    assert [(one.client_order_id, one.sent) for one in facts.orders] == [("td-a-1-e-1", True), ("td-a-1-p-2", True)]


def test_the_stations_of_an_order_are_told_once(desk: Desk) -> None:
    desk.buy("1")
    desk.pass_time(3)
    told = [one for one in desk.harness.sent["metrics"] if isinstance(one, PipelineTiming)]
    assert [one.client_order_id for one in told] == ["td-a-1-e-1"]
    assert told[0].first_fill_boot_ns >= told[0].persisted_boot_ns > 0


def test_a_resting_stop_that_the_venue_no_longer_knows_does_not_count_as_protection(desk: Desk) -> None:
    desk.buy("1")
    (bracket,) = desk.venue.open()
    del desk.venue.orders[bracket.order_id]
    desk.pass_time(12)
    position = desk.position()
    assert position is not None and position.protection == "NAKED"
    assert "naked:BTC-USD" in [one.key for one in desk.sent("alerts", Alert)]  # type: ignore[attr-defined]
    desk.venue.orders[bracket.order_id] = bracket
    desk.pass_time(5)
    position = desk.position()
    assert position is not None and position.protection == "PROTECTED"


def test_an_alarm_raised_while_its_receiver_was_dead_is_told_when_it_is_back(desk: Desk) -> None:
    desk.buy("1")
    for name in ("watchdog", "alerts"):
        desk.harness.remove_peer(name)
    desk.harness.deliver(VenueEvidence((replace(desk.venue.open()[0], status="SUSPENDED"),)))
    for name in ("watchdog", "alerts"):
        desk.harness.restart_peer(name)
    desk.pass_time(2)
    assert breakers(desk) == [("reconcile", "*", True)]
    assert len(desk.sent("alerts", Alert)) == 1
    desk.pass_time(40, 1.0)
    assert breakers(desk) == [("reconcile", "*", True)], "said again, it would undo an operator's resume"


def test_a_position_of_a_symbol_that_is_not_configured_any_more_is_paged_and_shown(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.buy("1")
    desk.settings = desk.settings.model_copy(update={"instruments": desk.settings.instruments[1:]})
    desk.restart()
    assert breakers(desk) == [("reconcile", "*", True)]
    desk.pass_time(2)
    (position,) = desk.snapshot().positions
    assert (position.symbol, position.base, position.quantity) == ("BTC-USD", "BTC", Decimal(1))
    assert position.protection is Protection.PROTECTED
    (proof,) = desk.tracker.position_proofs()
    assert (proof.symbol, proof.protection) == ("BTC-USD", "PROTECTED")
    (bracket,) = desk.venue.open()
    desk.venue.end(bracket.order_id, "CANCELLED")
    desk.pass_time(8)
    assert desk.snapshot().positions[0].protection is Protection.NAKED


def test_a_filled_entry_whose_fills_are_not_listed_is_paged_and_protected_when_they_are(desk: Desk) -> None:
    desk.venue.hidden_fills = True
    desk.buy("1")
    desk.pass_time(15)
    assert desk.position() is None
    keys = [one.key for one in desk.sent("alerts", Alert)]  # type: ignore[attr-defined]
    assert keys == ["fills:td-a-1-e-1"]
    desk.venue.hidden_fills = False
    desk.pass_time(3)
    assert desk.venue.history == ["BUY limit_ioc 1", "SELL bracket_gtc 1"]
