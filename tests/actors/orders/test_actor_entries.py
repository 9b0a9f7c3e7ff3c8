"""An approval becomes one order, its fill one position, its position one protection."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from actors.messages.health import BreakerName, BreakerSignal, TradingState
from actors.messages.orders import OrderKind, Protection, Refusal, SubmitOrder
from actors.messages.venue import QueryKind, VenueQuery
from tests.actors.harness import ActorHarness
from tests.actors.orders.desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_filled_entry_is_protected_by_one_bracket_of_its_size(desk: Desk) -> None:
    desk.buy("1")
    position = desk.position()
    assert position is not None
    assert (position.quantity, position.protection) == (Decimal(1), Protection.PROTECTED)
    assert position.average_cost == Decimal("100.9")
    assert desk.venue.history == ["BUY limit_ioc 1", "SELL bracket_gtc 1"]
    (bracket,) = desk.venue.open()
    assert (bracket.limit_price, bracket.stop_price) == (Decimal("110.00"), Decimal("95.00"))


def test_an_approval_that_comes_twice_makes_one_order(desk: Desk) -> None:
    approval = desk.approval()
    desk.harness.deliver(approval)
    desk.harness.deliver(approval)
    desk.settle()
    desk.harness.deliver(approval)
    desk.settle()
    assert desk.venue.history.count("BUY limit_ioc 1") == 1


def test_an_approval_that_comes_again_after_a_restart_makes_no_second_order(desk: Desk) -> None:
    approval = desk.approval()
    desk.harness.deliver(approval)
    desk.settle()
    desk.restart()
    desk.settle()
    desk.harness.deliver(approval)
    desk.settle()
    assert desk.venue.history.count("BUY limit_ioc 1") == 1


def test_the_intent_is_on_the_disk_before_it_is_sent(desk: Desk) -> None:
    desk.approve()
    (command,) = [m for m in desk.harness.sent["gateway"] if isinstance(m, SubmitOrder)]
    import sqlite3

    other = sqlite3.connect(desk.settings.store_dir / "ledger.db")
    rows = other.execute("SELECT client_order_id, state FROM orders").fetchall()
    assert rows == [(command.intent.client_order_id, "SUBMITTING")]
    other.close()


@pytest.mark.parametrize("state", [TradingState.REDUCE_ONLY, TradingState.HALTED, TradingState.KILLED])
def test_no_entry_is_sent_in_any_state_but_run(desk: Desk, state: TradingState) -> None:
    desk.lease(state)
    desk.approve()
    (refusal,) = desk.sent("risk", Refusal)
    assert isinstance(refusal, Refusal)
    assert refusal.code == f"state_{state.value.lower()}"
    assert not [m for m in desk.harness.sent["gateway"] if isinstance(m, SubmitOrder)]


def test_a_lease_that_is_too_old_lets_nothing_in(desk: Desk) -> None:
    desk.harness.advance(2.5)
    desk.approve()
    (refusal,) = desk.sent("risk", Refusal)
    assert isinstance(refusal, Refusal)
    assert refusal.code == "state_halted"


def test_an_expired_approval_is_refused(desk: Desk) -> None:
    approval = desk.approval()
    desk.harness.advance(2.0)
    desk.lease()
    desk.harness.deliver(approval)
    assert [one.code for one in desk.sent("strategist", Refusal)] == ["approval_expired"]  # type: ignore[attr-defined]


def test_an_unknown_order_blocks_new_entries_on_its_symbol(desk: Desk) -> None:
    desk.venue.mute = {"submit", "query"}
    desk.approve()
    desk.pass_time(6)
    assert desk.snapshot().unknown_symbols == ("BTC-USD",)
    desk.approve()
    assert [one.code for one in desk.sent("risk", Refusal)] == ["unknown_order"]  # type: ignore[attr-defined]


def test_an_order_booked_but_not_answered_is_found_and_protected(desk: Desk) -> None:
    desk.venue.mute = {"submit"}
    desk.approve()
    desk.settle()
    desk.venue.mute = set()
    desk.pass_time(8)
    position = desk.position()
    assert position is not None and position.protection is Protection.PROTECTED
    assert desk.snapshot().unknown_symbols == ()
    assert desk.venue.history == ["BUY limit_ioc 1", "SELL bracket_gtc 1"]


def test_an_order_that_never_arrived_is_absent_only_after_the_token_has_died(desk: Desk) -> None:
    desk.venue.mute = {"lost"}
    desk.approve()
    desk.pass_time(125, 1.0)
    assert desk.snapshot().unknown_symbols == ("BTC-USD",)
    desk.pass_time(40, 1.0)
    assert desk.snapshot().unknown_symbols == ()
    assert desk.states() == ["entry REJECTED"]


def test_a_position_that_grows_keeps_its_first_bracket_and_gets_another(desk: Desk) -> None:
    desk.approve("2", kind=OrderKind.LIMIT_GTD, end_after_s=10.0)
    desk.settle()
    (entry,) = desk.venue.open()
    desk.venue.fill(entry.order_id, Decimal("0.5"), Decimal(100))
    desk.pass_time(3)
    assert desk.position().protection is Protection.PROTECTED  # type: ignore[union-attr]
    desk.venue.fill(entry.order_id, Decimal("1.5"), Decimal(100))
    desk.pass_time(3)
    assert desk.position().protection is Protection.PROTECTED  # type: ignore[union-attr]
    assert desk.venue.history == ["BUY limit_gtd 2", "SELL bracket_gtc 0.5", "SELL bracket_gtc 1.5"]


def test_what_is_too_small_to_sell_is_dust_and_joins_the_next_entry(desk: Desk) -> None:
    desk.approve("2", kind=OrderKind.LIMIT_GTD, end_after_s=5.0)
    desk.settle()
    (entry,) = desk.venue.open()
    desk.venue.fill(entry.order_id, Decimal("0.005"), Decimal(100))
    desk.pass_time(3)
    desk.venue.end(entry.order_id, "CANCELLED")
    desk.pass_time(3)
    assert desk.position().protection is Protection.DUST  # type: ignore[union-attr]
    desk.buy("1")
    assert desk.position().protection is Protection.PROTECTED  # type: ignore[union-attr]
    assert desk.venue.history[-1] == "SELL bracket_gtc 1.005"


def test_fills_that_the_listing_shows_late_end_the_order_only_when_they_are_booked(desk: Desk) -> None:
    desk.venue.hidden_fills = True
    desk.approve()
    desk.settle()
    assert desk.states() == ["entry OPEN"]
    desk.venue.hidden_fills = False
    desk.pass_time(2)
    assert desk.states() == ["entry FILLED", "protection OPEN"]


def test_a_working_entry_past_its_end_is_cancelled(desk: Desk) -> None:
    desk.approve("1", kind=OrderKind.LIMIT_GTD, end_after_s=5.0)
    desk.settle()
    desk.pass_time(9)
    assert desk.venue.history == ["BUY limit_gtd 1", "cancel BUY 1"]
    assert desk.states() == ["entry CANCELLED"]


def _asked_by_name(desk: Desk, total_s: float) -> list[str]:
    """Orders that were asked for one by one while this time passed, with quotes of both symbols."""
    asked: list[str] = []
    answer_one = desk.venue.answer_one

    def noted(harness: ActorHarness, message: object) -> None:
        if isinstance(message, VenueQuery) and message.kind is QueryKind.ORDER:
            asked.append(message.client_order_id)
        answer_one(harness, message)

    desk.venue.answer_one = noted  # type: ignore[method-assign]
    for _ in range(round(total_s * 4)):
        desk.quote("ETH-USD")
        desk.pass_time(0.25)
    desk.venue.answer_one = answer_one  # type: ignore[method-assign]
    return asked


def test_resting_entries_take_turns_and_cost_one_query_a_second_however_many_they_are(desk: Desk) -> None:
    desk.approve("1", kind=OrderKind.LIMIT_GTD, end_after_s=60.0)
    desk.approve("1", kind=OrderKind.LIMIT_GTD, end_after_s=60.0, symbol="ETH-USD", limit_price=Decimal(10))
    desk.settle()
    asked = _asked_by_name(desk, 20)
    assert len(set(asked)) == 2
    assert len(asked) <= 20
    assert abs(asked.count(asked[0]) - asked.count(asked[1])) <= 1


def test_an_entry_that_the_market_has_not_reached_costs_nothing_and_its_missed_fill_is_found(desk: Desk) -> None:
    desk.approve("1", kind=OrderKind.LIMIT_GTD, end_after_s=60.0, limit_price=Decimal("99.00"))
    desk.settle()
    assert _asked_by_name(desk, 10) == []
    (entry,) = desk.venue.open()
    desk.venue.fill(entry.order_id, Decimal("0.5"), Decimal(99))  # no user event, and the quote is above it still
    desk.pass_time(5)
    assert desk.position().protection is Protection.PROTECTED  # type: ignore[union-attr]


def test_a_sell_is_vouched_for_only_by_what_no_other_sell_may_take(desk: Desk) -> None:
    desk.buy("1")
    desk.buy("0.5")
    desk.approve("0.25")
    for _ in range(6):
        for message in desk.harness.take("gateway"):
            if isinstance(message, SubmitOrder) and message.owned is not None:
                assert message.owned == Decimal("0.25")
                return
            desk.venue.answer_one(desk.harness, message)
    raise AssertionError("no protection was sent for the third entry")


@pytest.mark.parametrize("name", ["ledger.db", "ledger.db-wal"])
def test_a_ledger_deleted_under_the_tracker_stops_entries_and_not_protection(desk: Desk, name: str) -> None:
    desk.buy("1")
    (desk.settings.store_dir / name).unlink()
    (bracket,) = desk.venue.open()
    refused = desk.approval("2")
    desk.harness.deliver(refused)
    assert [m.code for m in desk.harness.sent["strategist"] if isinstance(m, Refusal)] == ["ledger"]
    desk.pass_time(6)
    tripped = [m for m in desk.harness.sent["watchdog"] if isinstance(m, BreakerSignal) and m.tripped]
    assert [signal.breaker for signal in tripped] == [BreakerName.LEDGER_WRITE]
    position = desk.position()
    assert position is not None
    assert position.protection is Protection.PROTECTED
    assert desk.venue.open() == [bracket]
