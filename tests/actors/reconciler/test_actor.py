"""The reconciler's mailbox: complete or not, once at a time, soon again after a difference."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from actors.messages.health import Alert, BreakerName, BreakerSignal
from actors.messages.trading import (
    LedgerFacts,
    OrderState,
    QueryKind,
    ReadLedger,
    ReconcileNow,
    ReconcileReport,
    VenueAnswer,
    VenueEvidence,
    VenueQuery,
)
from actors.reconciler.actor import ReconcilerActor
from tests.actors.harness import ActorHarness, test_settings
from tests.actors.reconciler.facts import NOW, balances, facts, fill, ledger_order, venue_order

PEERS = ("tracker", "gateway", "watchdog", "admin", "metrics", "alerts")


@pytest.fixture
def room(tmp_path: Path) -> ActorHarness:
    return make(tmp_path)


def make(data_dir: Path, mode: str = "demo") -> ActorHarness:
    settings = test_settings(data_dir).model_copy(update={"mode": mode})
    harness = ActorHarness(ReconcilerActor, settings=settings, peers=PEERS, name="reconciler", epoch=3).start()
    harness.advance(0.0)
    return harness


def answer_round(
    room: ActorHarness, ledger: LedgerFacts | None = None, failing: QueryKind | None = None, **found: object
) -> ReconcileReport | None:
    """Play tracker and gateway for the round under way."""
    asks = room.take("tracker", ReadLedger)
    assert len(asks) == 1
    ask = asks[0]
    assert isinstance(ask, ReadLedger)
    room.deliver(facts(ask.request_id) if ledger is None else _with_id(ledger, ask.request_id), "tracker")
    for query in room.take("gateway", VenueQuery):
        assert isinstance(query, VenueQuery)
        room.deliver(answer_to(room, query, ok=query.kind is not failing, **found), "gateway")
    room.run_workers()
    for again in room.take("tracker", ReadLedger):
        assert isinstance(again, ReadLedger)
        room.deliver(facts(again.request_id) if ledger is None else _with_id(ledger, again.request_id), "tracker")
    reports = room.take("watchdog", ReconcileReport)
    return reports[-1] if reports else None  # type: ignore[return-value]


def _with_id(ledger: LedgerFacts, request_id: str) -> LedgerFacts:
    return facts(request_id, orders=ledger.orders, fills=ledger.fills, positions=ledger.positions, ready=ledger.ready)


def answer_to(room: ActorHarness, query: VenueQuery, *, ok: bool = True, **found: object) -> VenueAnswer:
    fields: dict[QueryKind, dict[str, object]] = {
        QueryKind.OPEN_ORDERS: {"orders": found.get("orders", ())},
        QueryKind.ORDERS_SINCE: {"orders": found.get("orders", ())},
        QueryKind.FILLS_SINCE: {"fills": found.get("fills", ())},
        QueryKind.BALANCES: {"balances": found.get("balances", balances(USD="1000"))},
    }
    now, utc = room.clock.boot_ns(), room.clock.utc_ns()
    mine = fields.get(query.kind, {}) if ok else {}
    return VenueAnswer(query.request_id, query.kind, ok, "" if ok else "HTTP 500", now, now, utc, 1, **mine)  # type: ignore[arg-type]


def test_the_first_comparison_runs_at_start_and_is_reported_to_all_who_need_it(room: ActorHarness) -> None:
    report = answer_round(room)
    assert report is not None
    assert (report.complete, report.ok) == (True, True)
    assert isinstance(room.sent["tracker"][-1], ReconcileReport)
    assert isinstance(room.sent["admin"][-1], ReconcileReport)


def test_a_failed_query_is_no_comparison(room: ActorHarness) -> None:
    report = answer_round(room, failing=QueryKind.BALANCES)
    assert report is not None
    assert (report.complete, report.ok, "balances: HTTP 500" in report.error) == (False, False, True)


def test_a_tracker_that_is_not_ready_is_not_compared(room: ActorHarness) -> None:
    ask = room.take("tracker", ReadLedger)[0]
    assert isinstance(ask, ReadLedger)
    room.deliver(facts(ask.request_id, ready=False))
    report = room.take("watchdog", ReconcileReport)[-1]
    assert isinstance(report, ReconcileReport)
    assert not report.complete
    assert room.take("gateway", VenueQuery) == []


def test_answers_that_never_come_end_the_round_at_its_deadline(room: ActorHarness) -> None:
    room.advance(12.1)
    report = room.take("watchdog", ReconcileReport)[-1]
    assert isinstance(report, ReconcileReport)
    assert (report.complete, "ledger" in report.error) == (False, True)
    room.take("tracker", ReadLedger)
    room.advance(3.0)
    assert room.take("tracker", ReadLedger)


def test_a_late_answer_of_an_ended_round_is_not_taken(room: ActorHarness) -> None:
    ask = room.take("tracker", ReadLedger)[0]
    assert isinstance(ask, ReadLedger)
    room.advance(12.1)
    room.deliver(facts(ask.request_id))
    assert room.take("gateway", VenueQuery) == []


def test_listings_reach_back_to_the_oldest_open_order(room: ActorHarness) -> None:
    ask = room.take("tracker", ReadLedger)[0]
    assert isinstance(ask, ReadLedger)
    ancient = NOW - 10 * 86_400 * 10**9
    room.deliver(facts(ask.request_id, orders=(ledger_order(created_utc_ns=ancient),)))
    queries = {query.kind: query for query in room.take("gateway", VenueQuery)}  # type: ignore[attr-defined]
    assert queries[QueryKind.ORDERS_SINCE].since_utc_ns < ancient
    assert ancient < queries[QueryKind.FILLS_SINCE].since_utc_ns < ask.since_utc_ns


def test_a_difference_is_evidence_first_and_a_breaker_when_it_lasts(room: ActorHarness) -> None:
    ledger = facts(orders=(ledger_order(),))
    shown = (venue_order(status="FILLED", filled_size=Decimal("0.1")),)
    trade = (fill(),)
    first = answer_round(room, ledger, orders=shown, fills=trade)
    assert first is not None
    assert (first.complete, first.ok) == (True, False)  # nobody is cleared to trade by a first doubtful look
    evidence = room.take("tracker", VenueEvidence)
    assert isinstance(evidence[0], VenueEvidence)
    assert ([o.order_id for o in evidence[0].orders], [f.entry_id for f in evidence[0].fills]) == (
        ["id-td-a-3-e-1"],
        ["f1"],
    )
    assert not [s for s in room.take("watchdog", BreakerSignal) if s.tripped]  # type: ignore[attr-defined]
    room.advance(5.6)
    second = answer_round(room, ledger, orders=shown, fills=trade)
    assert second is not None
    assert not second.ok
    signals = {s.breaker: s.tripped for s in room.take("watchdog", BreakerSignal)}  # type: ignore[attr-defined]
    assert signals[BreakerName.RECONCILE] is True


def test_a_difference_that_the_tracker_takes_in_ends_there(room: ActorHarness) -> None:
    shown = (venue_order("td-a-2-e-1", "CANCELLED"),)
    answer_round(room, facts(orders=(ledger_order("td-a-2-e-1"),)), orders=shown)
    room.advance(5.6)
    taken = facts(orders=(ledger_order("td-a-2-e-1", OrderState.CANCELLED),))
    report = answer_round(room, taken, orders=shown)
    assert report is not None
    assert report.ok


def test_a_second_host_stops_trading_at_once(room: ActorHarness) -> None:
    report = answer_round(room, orders=(venue_order("td-b-1-e-1"),))
    assert report is not None
    assert [d.kind for d in report.differences if d.beyond_tolerance] == ["foreign_host"]
    assert [s.tripped for s in room.take("watchdog", BreakerSignal) if s.breaker is BreakerName.RECONCILE] == [True]  # type: ignore[attr-defined]
    assert isinstance(room.sent["alerts"][0], Alert)


def test_a_balance_that_changes_without_a_fill_stops_trading_and_is_reported_once(room: ActorHarness) -> None:
    answer_round(room)
    room.advance(15.1)
    first = answer_round(room, balances=balances(USD="400"))
    assert first is not None
    assert first.ok
    room.advance(5.6)
    second = answer_round(room, balances=balances(USD="400"))
    assert second is not None
    assert [d.kind for d in second.differences] == ["balance_change"]
    assert [s.tripped for s in room.take("watchdog", BreakerSignal) if s.breaker is BreakerName.RECONCILE][-1]  # type: ignore[attr-defined]
    room.advance(15.1)
    third = answer_round(room, balances=balances(USD="400"))
    assert third is not None
    assert third.ok


def test_a_balance_that_changed_while_the_reconciler_was_dead_is_noticed(tmp_path: Path) -> None:
    answer_round(make(tmp_path))
    second = make(tmp_path)
    answer_round(second, balances=balances(USD="1"))
    second.advance(5.6)
    report = answer_round(second, balances=balances(USD="1"))
    assert report is not None
    assert [d.kind for d in report.differences] == ["balance_change"]


def test_a_question_during_a_round_is_answered_by_a_new_one(room: ActorHarness) -> None:
    room.deliver(ReconcileNow("now"))
    answer_round(room)
    room.advance(0.01)
    assert answer_round(room) is not None


def test_an_unreadable_egress_log_is_no_comparison(room: ActorHarness) -> None:
    path = room.settings.store_dir / "egress.log"
    path.mkdir(parents=True)
    report = answer_round(room)
    assert report is not None
    assert (report.complete, "egress log" in report.error) == (False, True)


def test_dry_run_has_nothing_to_compare_and_says_so(tmp_path: Path) -> None:
    room = make(tmp_path, "dry_run")
    report = room.take("watchdog", ReconcileReport)[-1]
    assert isinstance(report, ReconcileReport)
    assert (report.complete, report.ok, report.compared_orders) == (True, True, 0)
    assert room.take("tracker", ReadLedger) == []
