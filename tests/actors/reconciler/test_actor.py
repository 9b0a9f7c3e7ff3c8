"""The reconciler's mailbox: complete or not, once at a time, soon again after a difference."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from actors.messages.control import OperatorAnswer, OperatorRequest, RequestVerb
from actors.messages.health import Alert, BreakerName, BreakerSignal
from actors.messages.market import Side
from actors.messages.orders import OrderState
from actors.messages.reconcile import LedgerFacts, ReadLedger, ReconcileNow, ReconcileReport, VenueEvidence
from actors.messages.venue import QueryKind, VenueAnswer, VenueBalance, VenueQuery
from actors.reconciler.actor import ReconcilerActor
from actors.reconciler.store import MoneyStoreError
from tests.actors.harness import ActorHarness, test_settings
from tests.actors.reconciler.facts import NOW, balances, facts, fill, ledger_order, position, venue_order

PEERS = ("tracker", "gateway", "watchdog", "admin", "metrics", "alerts", "risk")


@pytest.fixture
def room(tmp_path: Path) -> ActorHarness:
    return make(tmp_path)


def make(data_dir: Path, mode: str = "demo") -> ActorHarness:
    settings = test_settings(data_dir).model_copy(update={"mode": mode})
    harness = ActorHarness(ReconcilerActor, settings=settings, peers=PEERS, name="reconciler", epoch=3).start()
    harness.advance(0.0)
    return harness


def answer_round(
    room: ActorHarness,
    ledger: LedgerFacts | None = None,
    failing: QueryKind | None = None,
    head: int = 0,
    **found: object,
) -> ReconcileReport | None:
    """Play tracker and gateway for the round under way."""
    asks = room.take("tracker", ReadLedger)
    assert len(asks) == 1
    ask = asks[0]
    assert isinstance(ask, ReadLedger)
    room.deliver(_with_id(ledger or facts(head=head), ask.request_id), "tracker")
    for query in room.take("gateway", VenueQuery):
        assert isinstance(query, VenueQuery)
        room.deliver(answer_to(room, query, ok=query.kind is not failing, **found), "gateway")
    room.run_workers()
    for again in room.take("tracker", ReadLedger):
        assert isinstance(again, ReadLedger)
        room.deliver(_with_id(ledger or facts(head=head), again.request_id), "tracker")
    reports = room.take("watchdog", ReconcileReport)
    return reports[-1] if reports else None  # type: ignore[return-value]


def _with_id(ledger: LedgerFacts, request_id: str) -> LedgerFacts:
    return replace(ledger, request_id=request_id)


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


@pytest.mark.parametrize("who", ["tracker", "gateway"])
def test_a_round_whose_answers_died_with_a_part_is_begun_again_at_once(room: ActorHarness, who: str) -> None:
    ask = room.take("tracker", ReadLedger)[0]
    assert isinstance(ask, ReadLedger)
    room.deliver(facts(ask.request_id), "tracker")
    room.take("gateway")
    room.restart_peer(who)
    room.restart_peer("metrics")
    room.advance(0.1)
    (report,) = room.take("watchdog", ReconcileReport)
    assert isinstance(report, ReconcileReport)
    assert (report.complete, "restarted" in report.error) == (False, True)
    report = answer_round(room)
    assert report is not None
    assert (report.complete, report.ok) == (True, True)


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
    ledger = facts(head=0, orders=(ledger_order(),))
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
    answer_round(room, facts(head=0, orders=(ledger_order("td-a-2-e-1"),)), orders=shown)
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


def looks(room: ActorHarness, number: int, **found: object) -> ReconcileReport:
    """The last of ``number`` rounds that begin by themselves."""
    report = None
    for _ in range(number):
        for _ in range(160):
            room.advance(0.1)
            if any(isinstance(one, ReadLedger) for one in room.sent["tracker"]):
                break
        report = answer_round(room, **found)  # type: ignore[arg-type]
    assert report is not None
    return report


def restarted(room: ActorHarness) -> ActorHarness:
    """kill -9 and a new incarnation over the same folder."""
    actor = room.actor
    assert isinstance(actor, ReconcilerActor)
    if actor.store is not None:
        actor.store.close()
    return make(room.settings.data_dir)


def asked(room: ActorHarness, verb: RequestVerb, request_id: str = "op-1", **arguments: str) -> None:
    room.deliver(OperatorRequest(request_id, verb, "", tuple(arguments.items()), "drill", "anna"))


def answer_of(room: ActorHarness) -> OperatorAnswer:
    (last,) = [one for one in room.take("admin", OperatorAnswer) if isinstance(one, OperatorAnswer) and one.done]
    return last


def test_a_balance_that_changes_without_a_fill_is_a_flow_until_an_operator_accepts_it(room: ActorHarness) -> None:
    answer_round(room)
    room.advance(15.1)
    first = answer_round(room, balances=balances(USD="400"))
    assert first is not None
    assert (first.ok, first.flows, first.doubt) == (True, (), ("USD",))
    second = looks(room, 1, balances=balances(USD="400"))
    assert [(one.flow_id, one.amount) for one in second.flows] == [("flow-1", Decimal(-600))]
    assert (second.ok, second.doubt) == (True, ())  # nothing differs; what stops entries is the flow
    assert not [s for s in room.take("watchdog", BreakerSignal) if s.tripped]  # type: ignore[attr-defined]
    assert "-600 USD" in room.take("alerts", Alert)[-1].text  # type: ignore[attr-defined]
    assert looks(room, 2, balances=balances(USD="400")).flows == second.flows
    room = restarted(room)
    assert "-600 USD" in room.take("alerts", Alert)[-1].text  # type: ignore[attr-defined]
    report = answer_round(room, balances=balances(USD="400"))
    assert report is not None
    assert report.flows == second.flows
    room.take("admin")
    for number, names in enumerate(("", "flow-2", "flow-1 flow-2")):
        asked(room, RequestVerb.FLOWS_ACCEPT, f"op-{number + 10}", flows=names)
        refused = answer_of(room)
        assert (refused.ok, "nothing was accepted" in refused.text) == (False, True)
        assert "-600 USD" in refused.details[0][1]
    asked(room, RequestVerb.FLOWS_ACCEPT, flows="flow-1")
    told = [one for one in room.sent["risk"] if isinstance(one, ReconcileReport)]
    assert told[-1].flows == ()
    answer = answer_of(room)
    assert (answer.ok, [text for _, text in answer.details]) == (
        True,
        ["flow-1: -600 USD (400 held, 1000 expected), no fill explains it"],
    )
    assert restarted(room).sent["alerts"] == []


def test_a_flow_is_told_only_once_it_is_kept(room: ActorHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_round(room)
    looks(room, 1, balances=balances(USD="400"))

    def full(*_: object) -> None:
        raise MoneyStoreError("money.db: cannot be written: disk full")

    with monkeypatch.context() as broken:
        broken.setattr("actors.reconciler.store.MoneyStore.keep", full)
        report = looks(room, 1, balances=balances(USD="400"))
        assert (report.complete, report.flows, report.doubt) == (False, (), ("USD",))
    report = looks(room, 1, balances=balances(USD="400"))
    assert [one.amount for one in report.flows] == [Decimal(-600)]


def test_a_balance_that_changed_while_the_reconciler_was_dead_is_noticed(room: ActorHarness) -> None:
    answer_round(room)
    second = restarted(room)
    answer_round(second, balances=balances(USD="1"))
    assert [one.amount for one in looks(second, 1, balances=balances(USD="1")).flows] == [Decimal(-999)]


@pytest.mark.parametrize("answer", [balances(USD="0", BTC="0"), ()])
def test_zeros_out_of_nowhere_halt_and_nothing_is_concluded_from_them(
    room: ActorHarness, answer: tuple[VenueBalance, ...]
) -> None:
    answer_round(room)
    ledger = facts(orders=(ledger_order("td-a-2-p-1", side=Side.SELL),), positions=(position(),))
    shown = (venue_order("td-a-2-p-1", side="SELL"),)
    room.advance(15.1)
    first = answer_round(room, ledger, orders=shown, balances=answer)
    assert first is not None
    assert [(one.kind, one.beyond_tolerance) for one in first.differences] == [("zero_balances", False)]
    assert first.doubt == ("zero_balances *",)  # entries stop at the first look
    room.advance(5.6)
    second = answer_round(room, ledger, orders=shown, balances=answer)
    assert second is not None
    assert [(one.kind, one.beyond_tolerance) for one in second.differences] == [("zero_balances", True)]
    (signal,) = [s for s in room.take("watchdog", BreakerSignal) if s.tripped]  # type: ignore[attr-defined]
    assert "every account shows zero; 1000 USD" in signal.reason  # type: ignore[attr-defined]
    assert room.take("tracker", VenueEvidence) == []
    after = looks(room, 1)
    assert (after.ok, after.flows, after.differences) == (True, (), ())


def test_zeros_right_after_an_accepted_deposit_halt_too(room: ActorHarness) -> None:
    answer_round(room)
    looks(room, 2, balances=balances(USD="5000"))
    asked(room, RequestVerb.FLOWS_ACCEPT, flows="flow-1")
    for _ in range(2):
        report = looks(room, 1, balances=balances(USD="0"))
    assert [(one.kind, one.ledger) for one in report.differences] == [("zero_balances", "5000 USD")]
    assert report.flows == ()


def test_a_lost_baseline_halts_and_is_not_made_up(room: ActorHarness) -> None:
    answer_round(room)
    again = restarted(room)
    again = restarted(again)
    (room.settings.store_dir / "money.db").unlink()
    bare = restarted(again)
    report = answer_round(bare, balances=balances(USD="1"), head=7)
    assert report is not None
    assert (report.ok, [one.kind for one in report.differences]) == (False, ["baseline_lost"])


def test_a_store_that_cannot_be_used_is_no_comparison_and_is_paged(room: ActorHarness) -> None:
    answer_round(room)
    path = room.settings.store_dir / "money.db"
    actor = room.actor
    assert isinstance(actor, ReconcilerActor)
    assert actor.store is not None
    actor.store.close()
    path.write_bytes(b"garbage" * 2000)
    again = make(room.settings.data_dir)
    report = again.take("watchdog", ReconcileReport)[-1]
    assert isinstance(report, ReconcileReport)
    assert (report.complete, report.flows, "money.db" in report.error) == (False, None, True)
    assert again.take("alerts", Alert)


def test_a_new_risk_manager_hears_of_flows_at_once(room: ActorHarness) -> None:
    answer_round(room)
    report = looks(room, 2, balances=balances(USD="400"))
    room.take("risk")
    room.restart_peer("risk")
    assert room.take("risk") == [report]
    assert not [one for one in room.sent["watchdog"] if one is report]


# --- run.py reconcile ------------------------------------------------------------------------------------


def test_an_operator_hears_that_ledger_and_venue_agree(room: ActorHarness) -> None:
    answer_round(room)
    asked(room, RequestVerb.RECONCILE)
    asked(room, RequestVerb.RECONCILE)  # repeated by the admin until it is answered
    answer_round(room)
    answer = answer_of(room)
    assert (answer.ok, answer.text) == (True, "ledger and venue agree")
    assert dict(answer.details) == {"result": "agree", "orders compared": "0", "fills compared": "0"}
    asked(room, RequestVerb.RECONCILE)
    assert answer_of(room) == answer  # the answer was lost
    assert room.take("tracker", ReadLedger) == []


def test_product_rules_and_fee_tier_are_part_of_it(room: ActorHarness) -> None:
    answer_round(room)
    room.advance(15.1)
    answer_round(room)
    asked(room, RequestVerb.RECONCILE)
    ask = room.take("tracker", ReadLedger)[0]
    assert isinstance(ask, ReadLedger)
    room.deliver(facts(ask.request_id))
    kinds = {one.kind for one in room.take("gateway", VenueQuery)}  # type: ignore[attr-defined]
    assert {QueryKind.PRODUCTS, QueryKind.FEES} <= kinds


def test_a_difference_is_told_in_words_after_a_second_look(room: ActorHarness) -> None:
    answer_round(room)
    asked(room, RequestVerb.RECONCILE)
    ledger = facts(orders=(ledger_order(),))
    answer_round(room, ledger)
    progress = room.take("admin", OperatorAnswer)
    assert [one.done for one in progress] == [False]  # type: ignore[attr-defined]
    room.advance(5.6)
    answer_round(room, ledger)
    answer = answer_of(room)
    assert (answer.ok, answer.text) == (False, "ledger and venue differ in 2 points")
    assert dict(answer.details)["missing_at_venue td-a-3-e-1"] == (
        "the ledger holds it, the venue lists it nowhere (which does not mean cancelled): ledger OPEN, venue not listed"
    )


def test_a_comparison_that_could_not_be_made_says_why(room: ActorHarness) -> None:
    answer_round(room)
    asked(room, RequestVerb.RECONCILE)
    answer_round(room, failing=QueryKind.FILLS_SINCE)
    answer = answer_of(room)
    assert (answer.ok, answer.text) == (False, "incomplete: fills_since: HTTP 500")


def test_without_a_tracker_the_operator_is_told_at_once(room: ActorHarness) -> None:
    answer_round(room)
    room.remove_peer("tracker")
    asked(room, RequestVerb.RECONCILE)
    assert answer_of(room).text == "incomplete: no tracker"


def test_a_round_under_way_does_not_answer_a_later_question(room: ActorHarness) -> None:
    asked(room, RequestVerb.RECONCILE)
    answer_round(room)
    assert room.take("admin", OperatorAnswer) == []
    room.advance(0.01)
    answer_round(room)
    assert answer_of(room).ok


def test_dry_run_and_unknown_verbs_are_answered(tmp_path: Path, room: ActorHarness) -> None:
    dry = make(tmp_path / "dry", "dry_run")
    asked(dry, RequestVerb.RECONCILE)
    assert not answer_of(dry).ok
    asked(room, RequestVerb.RESOLVE)
    assert answer_of(room).text == "resolve is not known to reconciler"


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
