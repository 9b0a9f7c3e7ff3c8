"""The risk manager's mailbox: remembered before approved, restored before the first approval."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from actors.clock import NS_PER_S
from actors.messages.books import RiskReport, RoundTripClosed
from actors.messages.health import Alert, BreakerName, BreakerSignal, TradingState
from actors.messages.market import ProductsRead, Side
from actors.messages.orders import Approval, Refusal
from actors.messages.venue import FeeTier, QueryKind, VenueAnswer, VenueQuery
from tests.actors.risk.desk import Desk
from tests.actors.risk.factories import D, exit_proposal, flow, lease, pnl, position, rules, snapshot


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.tick(5)
    yield made
    made.close()


def code(answer: object) -> str:
    assert isinstance(answer, Refusal), answer
    return answer.code


def test_a_proposal_is_approved_once_everything_was_read(desk: Desk) -> None:
    answer = desk.propose()
    assert isinstance(answer, Approval)
    assert answer.expires_boot_ns == desk.clock.boot_ns() + 2 * NS_PER_S
    assert answer.stamp.name == "risk"
    assert answer.reservation == answer.spec.base_size * answer.spec.limit_price * D("1.009")


def test_an_approval_is_on_disk_before_it_is_sent(desk: Desk) -> None:
    seen: list[int] = []
    path = desk.harness.settings.store_dir / "risk.db"
    record = desk.harness.record

    def look(target: str, message: object) -> None:
        if isinstance(message, Approval):
            other = sqlite3.connect(path)
            seen.append(other.execute("SELECT count(*) FROM approvals").fetchone()[0])
            other.close()
        record(target, message)

    desk.harness.record = look  # type: ignore[method-assign]
    assert isinstance(desk.propose(), Approval)
    assert seen == [1]


def test_proposals_of_one_batch_count_against_each_other(tmp_path: Path) -> None:
    desk = Desk(tmp_path, max_total_pct=8)
    desk.tick(5)
    assert isinstance(desk.propose(symbol="BTC-USD"), Approval)
    assert code(desk.propose(symbol="ETH-USD")) == "total_limit"
    assert code(desk.propose(symbol="BTC-USD")) == "open_entry"
    desk.close()


def test_a_reservation_is_freed_by_proof_alone(desk: Desk) -> None:
    first = desk.propose()
    assert isinstance(first, Approval)
    desk.harness.advance(3)
    desk.harness.deliver(lease(at=desk.clock.boot_ns()))
    assert desk.actor.books.reserved() == first.reservation, "expiry alone proves nothing"
    early = replace(desk.snapshot(), at_boot_ns=first.expires_boot_ns)
    desk.harness.deliver(early)
    assert desk.actor.books.reserved() == first.reservation, "a snapshot from before the expiry proves nothing"
    desk.harness.deliver(desk.snapshot(ready=False))
    assert desk.actor.books.reserved() == first.reservation, "a tracker that is not ready proves nothing"
    desk.harness.deliver(desk.snapshot(ready=True))
    assert desk.actor.books.reserved() == 0


def test_a_handled_or_refused_approval_frees_its_reservation_at_once(desk: Desk) -> None:
    first = desk.propose()
    assert isinstance(first, Approval)
    desk.harness.deliver(desk.snapshot(handled_proposals=(first.proposal_id,)))
    assert desk.actor.books.reserved() == 0
    second = desk.propose()
    assert isinstance(second, Approval)
    desk.harness.deliver(Refusal(second.proposal_id, "c", "BTC-USD", "expired", "", "tracker"))
    assert desk.actor.books.reserved() == 0


def test_a_new_process_waits_for_the_snapshot_and_keeps_reservations(desk: Desk) -> None:
    first = desk.propose()
    assert isinstance(first, Approval)
    desk.restart()
    assert code(desk.propose(symbol="ETH-USD")) in {"no_lease", "no_snapshot"}
    assert desk.actor.books.reserved() == first.reservation
    desk.tick(1)
    assert code(desk.propose()) == "open_entry"
    desk.tick(5)
    assert isinstance(desk.propose(), Approval)


def test_the_same_proposal_is_never_approved_twice_even_over_a_restart(desk: Desk) -> None:
    assert isinstance(desk.propose(proposal_id="twin"), Approval)
    desk.restart()
    desk.tick(5)
    assert code(desk.propose(proposal_id="twin")) == "duplicate"


def close_at(desk: Desk, symbol: str, realized: str) -> None:
    closed = RoundTripClosed(symbol, D(realized), "stop", desk.clock.utc_ns(), "c")
    desk.harness.deliver(closed)
    desk.harness.deliver(closed)  # a message that comes twice counts once


def test_cooldowns_and_the_losing_streak_outlive_the_process(tmp_path: Path) -> None:
    desk = Desk(tmp_path, cooldown_symbol_s=20, losing_streak=2, cooldown_streak_s=100)
    desk.tick(5)
    close_at(desk, "BTC-USD", "-1")
    assert code(desk.propose()) == "cooldown"
    desk.restart()
    desk.tick(5)
    assert code(desk.propose()) == "cooldown"
    assert isinstance(desk.propose(symbol="ETH-USD"), Approval), "one loss is no streak"
    desk.tick(21)
    close_at(desk, "ETH-USD", "-1")
    desk.restart()
    desk.tick(5)
    assert code(desk.propose()) == "losing_streak"
    desk.tick(90)
    assert code(desk.propose()) == "losing_streak"
    desk.tick(10)
    assert isinstance(desk.propose(), Approval)
    desk.close()


def test_a_win_ends_a_streak(tmp_path: Path) -> None:
    desk = Desk(tmp_path, losing_streak=2)
    desk.tick(5)
    for realized in ("-1", "1", "-1"):
        desk.tick(1)
        close_at(desk, "BTC-USD", realized)
    assert isinstance(desk.propose(), Approval)
    desk.close()


def test_a_position_that_closed_while_nobody_told_counts_as_a_loss(tmp_path: Path) -> None:
    desk = Desk(tmp_path, losing_streak=1)
    desk.tick(5)
    assert isinstance(desk.propose(), Approval)
    desk.book["positions"] = (position(),)
    desk.tick(5)
    desk.restart()
    desk.book["positions"] = ()
    desk.tick(4)
    desk.tick(3)
    assert code(desk.propose(symbol="ETH-USD")) == "losing_streak"
    desk.close()


def test_a_close_that_is_told_is_not_counted_again(tmp_path: Path) -> None:
    desk = Desk(tmp_path, losing_streak=2)
    desk.tick(1)
    desk.book["positions"] = (position(),)
    desk.tick(5)
    late = desk.snapshot()
    desk.harness.advance(0.1)
    close_at(desk, "BTC-USD", "-1")
    desk.harness.deliver(late)  # made before the close, heard after it
    desk.book["positions"] = ()
    desk.tick(10)
    assert desk.actor.locks.streak == 1
    desk.close()


def test_the_rate_outlives_the_process(tmp_path: Path) -> None:
    desk = Desk(tmp_path, max_orders_per_minute=2)
    desk.tick(5)
    assert isinstance(desk.propose(), Approval)
    desk.tick(3)
    assert isinstance(desk.propose(), Approval)
    desk.restart()
    desk.tick(5)
    assert code(desk.propose()) == "rate"
    desk.tick(60)
    assert isinstance(desk.propose(), Approval)
    desk.close()


def test_a_repeated_buy_trips_its_breaker_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path, repeat_limit=2)
    desk.tick(5)
    for _ in range(2):
        assert isinstance(desk.propose(), Approval)
        desk.tick(3)
    assert code(desk.propose()) == "repeated"
    assert code(desk.propose()) == "repeated"
    signals = desk.harness.take("watchdog", BreakerSignal)
    assert [(s.breaker, s.scope, s.tripped) for s in signals if isinstance(s, BreakerSignal)] == [
        (BreakerName.REPEATED_EXECUTION, "BTC-USD", True)
    ]
    desk.close()


def test_a_loss_latches_over_restarts_until_the_watchdog_was_released(desk: Desk) -> None:
    desk.book["pnl"] = pnl("-50", "-50", "-50")
    desk.harness.take("watchdog")
    desk.tick(1)
    assert code(desk.propose()) == "daily_loss"
    signals = [s for s in desk.harness.take("watchdog") if isinstance(s, BreakerSignal)]
    assert {(s.breaker, s.scope, s.tripped) for s in signals} == {(BreakerName.DAILY_LOSS, "*", True)}
    assert [a.severity.value for a in desk.harness.take("alerts") if isinstance(a, Alert)] == ["page"]
    desk.book["pnl"] = pnl("0", "0", "0")
    desk.restart()
    desk.tick(5)
    assert code(desk.propose()) == "daily_loss", "the loss is made up for, the latch holds"
    desk.state, desk.reasons = TradingState.REDUCE_ONLY, ("daily_loss: loss of the day",)
    desk.tick(1)
    desk.harness.take("watchdog")
    desk.tick(2)
    assert desk.harness.take("watchdog", BreakerSignal) == [], "a breaker that is named is not signalled again"
    desk.state, desk.reasons = TradingState.HALTED, ("starting",)
    desk.tick(1)
    desk.state, desk.reasons = TradingState.RUN, ()
    desk.tick(1)
    assert isinstance(desk.propose(), Approval)


def test_a_new_watchdog_that_says_run_does_not_end_a_latch_it_never_named(desk: Desk) -> None:
    desk.book["pnl"] = pnl("-50", "-50", "-50")
    desk.tick(1)
    desk.tick(30)
    assert code(desk.propose()) == "daily_loss"


def test_after_a_resume_only_new_losses_count(desk: Desk) -> None:
    desk.book["pnl"] = pnl("-60", "-60", "-60")
    desk.tick(1)
    desk.state, desk.reasons = TradingState.REDUCE_ONLY, ("daily_loss: x",)
    desk.tick(1)
    desk.state, desk.reasons = TradingState.RUN, ()
    desk.tick(1)
    assert isinstance(desk.propose(), Approval)
    desk.book["pnl"] = pnl("-110", "-110", "-110")
    desk.tick(1)
    assert code(desk.propose(symbol="ETH-USD")) in {"daily_loss", "weekly_loss"}


def test_the_high_water_outlives_the_process(tmp_path: Path) -> None:
    desk = Desk(tmp_path, daily_loss_pct=90, weekly_loss_pct=90)
    desk.tick(5)
    desk.book["pnl"] = pnl("200")
    desk.tick(10)
    desk.restart()
    desk.book["pnl"] = pnl("60")
    desk.tick(5)
    desk.book["pnl"] = pnl("50")
    desk.tick(1)
    assert code(desk.propose()) == "drawdown"
    desk.close()


def test_a_day_that_began_while_the_daemon_was_down_begins_with_the_last_figure(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.clock.advance(86_400)  # a Monday
    desk.tick(5)
    desk.book["pnl"] = pnl("-20", "-20", "-20")
    desk.tick(10)
    desk.clock.advance(86_400)
    desk.restart()
    desk.book["pnl"] = pnl("-60", "-40", "-60")
    desk.tick(5)
    report = [r for r in desk.harness.take("admin") if isinstance(r, RiskReport)][-1]
    assert report.loss_day == D(40)
    assert report.loss_week == D(60)
    desk.close()


def test_damaged_state_stops_entries_pages_and_lets_exits_through(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.tick(5)
    path = desk.harness.settings.store_dir / "risk.db"
    desk.close()
    for name in ("risk.db-wal", "risk.db-shm"):
        (path.parent / name).unlink(missing_ok=True)
    path.write_bytes(b"this is no database" * 100)
    desk.actor.store = None
    desk.restart()
    desk.book["positions"] = (position(),)
    desk.tick(5)
    assert code(desk.propose(symbol="ETH-USD")) == "state_store"
    assert any(a.severity.value == "page" for a in desk.harness.take("alerts") if isinstance(a, Alert))
    desk.harness.deliver(exit_proposal(decided_boot_ns=desk.clock.boot_ns()))
    assert isinstance(desk.last(), Approval)
    path.unlink()  # an operator moves it away
    desk.tick(6)
    assert code(desk.propose(symbol="ETH-USD")) == "losing_streak", "what was locked is unknown: wait"
    desk.close()


def test_a_second_risk_manager_over_the_same_store_approves_nothing(desk: Desk) -> None:
    first = desk.actor
    desk.harness.actor.store, kept = None, first.store
    desk.restart()
    desk.tick(5)
    assert code(desk.propose()) == "state_store"
    assert kept is not None
    kept.close()
    desk.tick(6)
    assert isinstance(desk.propose(), Approval)


def test_a_store_that_cannot_be_written_refuses_the_entry_and_recovers(desk: Desk) -> None:
    assert desk.actor.store is not None
    desk.actor.store._db.close()
    assert code(desk.propose()) == "state_store"
    assert desk.actor.books.reserved() == 0
    assert code(desk.propose()) == "state_store"
    desk.tick(6)
    assert isinstance(desk.propose(), Approval)


def test_a_lost_store_beside_a_ledger_with_history_locks_until_an_operator_accepts_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path, cooldown_streak_s=50)
    desk.book["pnl"] = pnl("-3")
    desk.tick(5)
    assert code(desk.propose()) in {"losing_streak", "drawdown"}
    desk.tick(50)
    assert code(desk.propose()) == "drawdown"  # the high water is lost: how far below it we are, nobody knows
    desk.state, desk.reasons = TradingState.REDUCE_ONLY, ("drawdown: x",)
    desk.tick(1)
    desk.state, desk.reasons = TradingState.RUN, ()
    desk.tick(1)
    assert isinstance(desk.propose(), Approval)
    desk.close()


def test_a_balance_changes_a_limit_only_when_two_reads_agree(desk: Desk) -> None:
    desk.usd = "0"  # a glitch of one read
    desk.harness.advance(11)
    queries = [q for q in desk.harness.take("gateway") if isinstance(q, VenueQuery)]
    desk.harness.deliver(desk.answer_to(next(q for q in queries if q.kind is QueryKind.BALANCES)))
    desk.inputs()
    assert isinstance(desk.propose(), Approval)
    desk.tick(6)
    assert code(desk.propose()) == "balance"


def test_failed_reads_leave_the_old_values_ageing_until_they_are_unavailable(desk: Desk) -> None:
    def fail() -> None:
        for query in desk.harness.take("gateway", VenueQuery):
            assert isinstance(query, VenueQuery)
            desk.harness.deliver(desk.answer_to(query, ok=False, error="503", balances=(), fees=None, rules=()))

    for _ in range(100):
        desk.harness.advance(1)
        fail()
    desk.inputs()
    assert isinstance(desk.propose(), Approval)
    for _ in range(60):
        desk.harness.advance(1)
        fail()
    desk.inputs()
    assert code(desk.propose()) == "balance_unavailable"


def test_impossible_answers_are_not_believed(desk: Desk) -> None:
    desk.harness.advance(700)
    for query in desk.harness.take("gateway", VenueQuery):
        assert isinstance(query, VenueQuery)
        wrong = desk.answer_to(query, fees=FeeTier("x", D(0), D(-1)), rules=(rules(price_increment=D(0)),))
        desk.harness.deliver(wrong)
    desk.inputs()
    assert code(desk.propose()) == "rules_unavailable"


def test_an_answer_to_an_older_question_is_dropped(desk: Desk) -> None:
    cheap = FeeTier("x", D(0), D(0))
    stale = VenueAnswer("risk-1-fees-1", QueryKind.FEES, True, "", 1, 1, 0, 1, fees=cheap)
    desk.harness.deliver(stale)
    desk.harness.advance(601)
    (asked,) = (q for q in desk.harness.take("gateway", VenueQuery) if q.kind is QueryKind.FEES)  # type: ignore[attr-defined]
    desk.harness.deliver(stale)
    assert desk.actor.reads.fees is not None
    assert desk.actor.reads.fees.value.taker_rate == D("0.009")
    assert isinstance(asked, VenueQuery)
    assert desk.actor.reads.fees.value.taker_rate == D("0.009")


def test_inputs_of_other_epochs_and_older_snapshots_change_nothing(desk: Desk) -> None:
    held = desk.actor.snapshot
    desk.harness.deliver(snapshot(epoch=7, sequence=10**9))
    desk.harness.deliver(snapshot(sequence=1, tracker_incarnation=1))
    assert desk.actor.snapshot is held
    kept = desk.actor.lease
    desk.harness.deliver(lease(TradingState.RUN, at=desk.clock.boot_ns() + 1, epoch=7))
    desk.harness.deliver(lease(TradingState.RUN, at=desk.clock.boot_ns() - NS_PER_S))
    assert desk.actor.lease is kept


def test_the_report_names_what_is_missing_and_never_invents_a_zero(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.harness.advance(1.5)
    report = [r for r in desk.harness.take("admin") if isinstance(r, RiskReport)][-1]
    assert report.total_exposure is None
    assert report.equity is None
    assert {"lease", "snapshot", "fees", "rules BTC-USD", "balance USD"} <= set(report.unavailable)
    desk.book["positions"] = (position(cost="90"),)
    desk.tick(5)
    report = [r for r in desk.harness.take("metrics") if isinstance(r, RiskReport)][-1]
    assert report.unavailable == ()
    assert report.unrealized == D(5)
    assert report.equity == D(1005)
    assert report.total_exposure == D(50)
    desk.close()


def test_a_proposal_without_a_tracker_reserves_nothing(desk: Desk) -> None:
    desk.harness.remove_peer("tracker")
    assert code(desk.propose()) == "no_snapshot"
    assert desk.actor.books.reserved() == 0


def test_an_exit_is_counted_but_never_refused_for_the_rate(tmp_path: Path) -> None:
    desk = Desk(tmp_path, max_orders_per_minute=1)
    desk.tick(1)
    desk.book["positions"] = (position(),)
    desk.tick(5)
    for n in range(3):
        now = desk.clock.boot_ns()
        desk.harness.deliver(exit_proposal("0.1", proposal_id=f"x{n}", decided_boot_ns=now))
        answer = desk.last()
        assert isinstance(answer, Approval)
        assert answer.spec.side is Side.SELL
    assert code(desk.propose(symbol="ETH-USD")) == "rate"
    desk.close()


def test_an_unexplained_outflow_is_a_loss_until_it_is_accepted(desk: Desk) -> None:
    desk.flows = (flow("-60"),)
    desk.tick(1)
    assert code(desk.propose()) == "unexplained_flow"
    signals = [one for one in desk.harness.take("watchdog", BreakerSignal) if isinstance(one, BreakerSignal)]
    assert {one.breaker for one in signals} == {BreakerName.DAILY_LOSS}
    report = desk.harness.take("admin", RiskReport)[-1]
    assert isinstance(report, RiskReport)
    assert (report.unexplained, report.equity, report.loss_day) == (D(60), D(940), D(60))
    desk.restart()  # what was latched is on disk; how much is missing, the reconciler says again
    desk.tick(0, told=False)
    assert code(desk.propose()) in ("no_lease", "flows_unknown")
    desk.tick(1)
    desk.flows = ()
    desk.tick(1)
    report = desk.harness.take("admin", RiskReport)[-1]
    assert isinstance(report, RiskReport)
    assert (report.unexplained, report.equity) == (D(0), D(1000))
    assert code(desk.propose()) == "daily_loss"  # the latch waits for an operator


def test_a_deposit_that_nobody_explained_raises_no_limit(desk: Desk) -> None:
    desk.usd = "60000"
    desk.flows = (flow("55000"),)
    desk.tick(30)
    assert code(desk.propose()) == "unexplained_flow"
    assert desk.harness.take("watchdog", BreakerSignal) == []
    report = desk.harness.take("admin", RiskReport)[-1]
    assert isinstance(report, RiskReport)
    assert (report.equity, report.high_water) == (D(1000), D(1000))


def test_an_unexplained_flow_does_not_stop_an_exit(desk: Desk) -> None:
    desk.flows, desk.doubt = (flow("-60"),), ("USD",)
    desk.book["positions"] = (position(),)
    desk.tick(1)
    desk.harness.take("strategist")
    desk.harness.deliver(exit_proposal(decided_boot_ns=desk.clock.boot_ns()))
    assert isinstance(desk.last(), Approval)


def test_a_changed_fee_tier_counts_from_the_next_reading_and_an_unreadable_one_stops_entries(tmp_path: Path) -> None:
    desk = Desk(tmp_path, fee_refresh_s=5, fee_max_age_s=20, repeat_limit=100)
    desk.tick(5)
    first = desk.propose()
    assert isinstance(first, Approval)
    assert first.reservation == first.spec.base_size * first.spec.limit_price * D("1.009")
    plain, told = desk.answer_to, {"fees": FeeTier("vip", D("0.001"), D("0.002"))}

    def answer(query: VenueQuery, **_: object) -> VenueAnswer:
        return plain(query, **told) if query.kind is QueryKind.FEES else plain(query)

    desk.answer_to = answer  # type: ignore[method-assign]
    desk.book["handled_proposals"] = ("n-1",)
    desk.tick(6)
    second = desk.propose()
    assert isinstance(second, Approval)
    assert second.reservation == second.spec.base_size * second.spec.limit_price * D("1.002")
    desk.book["handled_proposals"] = ("n-1", "n-2")
    for wrong in ({"ok": False, "error": "HTTP 500"}, {"fees": FeeTier("broken", D(0), D(3))}):
        told = wrong  # type: ignore[assignment]
        desk.tick(15)
    assert code(desk.propose()) == "fees_unavailable"
    desk.close()


def test_entries_go_by_the_product_modes_that_the_watchdog_read_last(desk: Desk) -> None:
    def told(read_s_ago: float = 0.0, **mode: object) -> None:
        desk.harness.deliver(ProductsRead((rules(**mode),), desk.clock.boot_ns() - round(read_s_ago * NS_PER_S)))

    told(auction_mode=True)
    assert code(desk.propose()) == "product_mode"
    told(read_s_ago=1.0)
    assert code(desk.propose()) == "product_mode", "an older reading is no news"
    told()
    assert isinstance(desk.propose(), Approval)


def test_product_rules_are_asked_for_only_while_the_watchdog_tells_none(desk: Desk) -> None:
    def asked() -> int:
        queries = desk.harness.take("gateway", VenueQuery)
        return sum(query.kind is QueryKind.PRODUCTS for query in queries)  # type: ignore[attr-defined]

    for _ in range(20):
        desk.harness.deliver(ProductsRead((rules(), rules("ETH-USD")), desk.clock.boot_ns()))
        desk.harness.advance(10)
    assert asked() == 0
    desk.harness.advance(61)
    assert asked() > 0


def test_impossible_rules_that_the_watchdog_read_are_not_believed(desk: Desk) -> None:
    desk.harness.deliver(ProductsRead((rules(price_increment=D(0), auction_mode=True),), desk.clock.boot_ns()))
    assert isinstance(desk.propose(), Approval)
