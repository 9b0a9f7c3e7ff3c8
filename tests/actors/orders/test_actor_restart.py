"""Whatever dies at whatever moment: afterwards ledger and venue agree, nothing is doubled, nothing is naked."""

from __future__ import annotations

import random
from decimal import Decimal
from pathlib import Path

import pytest

from actors import egress
from actors.egress import EgressWriter, Verb
from actors.messages.control import OperatorAnswer, OperatorRequest, RequestVerb
from actors.messages.health import TradingState
from actors.messages.orders import OrderKind, OutcomeKind, Protection, SubmitOrder, SubmitOutcome
from actors.orders.exits import Handover
from actors.orders.killing import StopKind
from tests.actors.orders.desk import Desk


def check_truth(desk: Desk, symbol: str = "BTC-USD") -> None:
    """The ledger holds what the venue did."""
    base = symbol.split("-")[0]
    assert desk.tracker.ledger.book(symbol).quantity == desk.venue.coins[base]
    assert desk.venue.held(base) <= desk.venue.coins[base]


def come_to_rest(desk: Desk, least_s: int = 5) -> None:
    """Until nothing is unknown, on its way or naked, at most the time that the proof of absence takes."""
    for second in range(170):
        desk.pass_time(1, 0.5)
        busy = desk.snapshot().unknown_symbols or desk.tracker.handover("BTC-USD") is not None
        position = desk.position()
        naked = position is not None and position.protection is Protection.NAKED
        if second >= least_s and not busy and not naked and desk.snapshot().ready:
            return


def crash_points(arrange: str, folder: Path, restart_daemon: bool, lose: str) -> int:
    """Run the scenario once per message between tracker and gateway, killing the tracker just there."""
    point = 0
    while True:
        desk = Desk(folder / f"{arrange}-{restart_daemon}-{lose}-{point}")
        if arrange != "entry":
            desk.buy("1")
            desk.pass_time(1)
        if arrange == "entry":
            desk.approve()
        elif arrange == "exit":
            desk.harness.deliver(desk.exit_approval())
        else:
            (bracket,) = desk.venue.open()
            desk.venue.bids["BTC-USD"] = Decimal("94.00")
            desk.venue.trigger(bracket.order_id)
            desk.pass_time(2.75)
            desk.harness.advance(0.5)
        handled = _answer_until(desk, point, lose)
        desk.restart(new_daemon=restart_daemon)
        desk.venue.mute = set()
        desk.settle()
        come_to_rest(desk)
        check_truth(desk)
        assert desk.snapshot().ready
        assert desk.venue.history.count("BUY limit_ioc 1") <= 1
        position = desk.position()
        assert position is None or position.protection is Protection.PROTECTED, (point, desk.venue.history)
        if not handled:
            return point
        point += 1


def _answer_until(desk: Desk, point: int, lose: str) -> bool:
    """Handle ``point`` messages; then the next one is lost, or taken and never answered. False: came to rest."""
    handled = 0
    for _ in range(60):
        messages = desk.harness.take("gateway")
        for _ in range(8):
            if not messages:
                desk.lease()
                desk.quote("BTC-USD")
                desk.harness.advance(0.3)
                messages = desk.harness.take("gateway")
        if not messages or handled > 12:
            return False
        for message in messages:
            if handled == point:
                if lose == "answer":
                    desk.venue.mute = {"submit", "query"}
                    desk.venue.answer_one(desk.harness, message)
                return True
            handled += 1
            desk.venue.answer_one(desk.harness, message)
    return False


@pytest.mark.parametrize("restart_daemon", [False, True])
@pytest.mark.parametrize("lose", ["command", "answer"])
@pytest.mark.parametrize("arrange", ["entry", "exit", "stop"])
def test_a_tracker_that_dies_at_any_arrow_ends_protected_or_sold(
    tmp_path: Path, arrange: str, restart_daemon: bool, lose: str
) -> None:
    assert crash_points(arrange, tmp_path, restart_daemon, lose) >= 4


def test_a_submitting_order_of_a_dead_daemon_that_left_no_egress_record_was_never_sent(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    EgressWriter(desk.settings.store_dir / "egress.log", egress.boot_id(), 1).close()
    desk.approve()
    desk.harness.take("gateway")
    desk.restart(new_daemon=True)
    assert desk.states() == ["entry REJECTED"]


def test_a_submitting_order_with_an_egress_record_is_unknown_after_a_restart(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    writer = EgressWriter(desk.settings.store_dir / "egress.log", egress.boot_id(), 1)
    desk.approve()
    (command,) = [m for m in desk.harness.take("gateway") if isinstance(m, SubmitOrder)]
    writer.append(Verb.CREATE, command.intent.client_order_id, b"{}", boot_ns=1, utc_ns=1)
    writer.close()
    desk.restart(new_daemon=True)
    assert desk.states() == ["entry UNKNOWN"]
    assert not desk.snapshot().ready


@pytest.mark.parametrize("how", ["deleted", "copied", "younger than the intent"])
def test_an_egress_log_that_is_not_the_one_the_order_left_under_proves_nothing(tmp_path: Path, how: str) -> None:
    desk = Desk(tmp_path)
    path = desk.settings.store_dir / "egress.log"
    if how != "younger than the intent":
        EgressWriter(path, egress.boot_id(), 1).close()
    desk.approve()
    desk.harness.take("gateway")
    if how == "deleted":
        path.unlink()
    elif how == "copied":
        (tmp_path / "copy").write_bytes(path.read_bytes())
        (tmp_path / "copy").replace(path)
    EgressWriter(path, egress.boot_id(), 2).close()
    desk.restart(new_daemon=True)
    assert desk.states() == ["entry UNKNOWN"]


def test_without_an_egress_log_nothing_is_proven(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.approve()
    desk.harness.take("gateway")
    desk.restart(new_daemon=True)
    assert desk.states() == ["entry UNKNOWN"]


def test_a_new_gateway_makes_unanswered_orders_unknown(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.approve()
    desk.harness.take("gateway")
    desk.harness.restart_peer("gateway")
    assert desk.states() == ["entry UNKNOWN"]


def test_the_search_for_an_order_does_not_wait_for_a_gateway_that_has_died_meanwhile(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    EgressWriter(desk.settings.store_dir / "egress.log", egress.boot_id(), 1).append(
        Verb.CREATE, "td-another", b"{}", boot_ns=1, utc_ns=1
    )
    desk.approve()
    desk.harness.take("gateway")
    desk.restart()  # the tracker comes back first, and knows of the old gateway only
    tracker = desk.tracker
    (before,) = tracker.wire.searches.values()
    assert before.last_send_boot_ns > desk.harness.clock.boot_ns()
    (record,) = tracker.ledger.working()
    tracker.note_lost(record, "new_gateway", may_still_send_s=0.0)
    (after,) = tracker.wire.searches.values()
    assert after.last_send_boot_ns == desk.harness.clock.boot_ns()
    assert after.since_boot_ns == before.since_boot_ns
    tracker.note_lost(record, "submit_timeout", may_still_send_s=13.0)
    assert tracker.wire.searches[record.id] == after, "it never gets later again"


def test_a_repeated_outcome_changes_nothing_and_a_late_one_resolves(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.approve()
    (command,) = [m for m in desk.harness.take("gateway") if isinstance(m, SubmitOrder)]
    desk.harness.restart_peer("gateway")
    outcome = SubmitOutcome(command.intent.client_order_id, OutcomeKind.NOT_SENT, None, "new_tracker", None, None, 1, 1)
    desk.harness.deliver(outcome)
    desk.harness.deliver(outcome)
    assert desk.states() == ["entry REJECTED"]
    assert desk.snapshot().unknown_symbols == ()


def test_after_a_restart_nothing_is_armed_before_the_venue_was_read(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.buy("1")
    desk.restart()
    assert not desk.snapshot().ready
    desk.venue.mute = {"query"}
    desk.pass_time(10)
    assert not desk.snapshot().ready
    assert desk.venue.history == ["BUY limit_ioc 1", "SELL bracket_gtc 1"]
    desk.venue.mute = set()
    desk.pass_time(20)
    assert desk.snapshot().ready
    assert desk.venue.history == ["BUY limit_ioc 1", "SELL bracket_gtc 1"]


def test_an_entry_that_filled_while_everything_was_dead_is_protected_first(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.approve("1", kind=OrderKind.LIMIT_GTD, end_after_s=30.0)
    desk.settle()
    (entry,) = desk.venue.open()
    desk.kill()
    desk.venue.fill(entry.order_id, Decimal(1), Decimal(100))
    desk.epoch += 1
    desk.harness = desk._make(2)
    desk.harness.start()
    desk.lease(TradingState.HALTED)
    desk.settle()
    position = desk.position()
    assert position is not None and position.protection is Protection.PROTECTED
    check_truth(desk)


@pytest.mark.parametrize("seed", [*range(5), 214])
def test_random_crashes_and_lost_answers_never_double_lose_or_oversell(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    desk = Desk(tmp_path)
    for _ in range(25):
        desk.lease()
        desk.quote("BTC-USD", str(Decimal(chance.randint(9300, 11200)) / 100))
        act = chance.random()
        if act < 0.3:
            desk.approve("1", plan_stop=Decimal("92.00"), plan_target=Decimal("115.00"))
        elif act < 0.5:
            desk.harness.deliver(desk.exit_approval("1", "90.00"))
        desk.venue.mute = set(chance.sample(["submit", "lost", "query", "cancel"], chance.randint(0, 2)))
        desk.settle()
        if chance.random() < 0.25:
            desk.restart(new_daemon=chance.random() < 0.5)
        for order in desk.venue.open():
            if order.side == "SELL" and chance.random() < 0.15:
                rest = order.base_size - order.filled_size  # type: ignore[operator]
                desk.venue.fill(order.order_id, min(rest, Decimal("0.5")), order.limit_price or Decimal(100))
        desk.harness.advance(chance.random() * 3)
    desk.venue.mute = set()
    come_to_rest(desk, 20)  # a question whose answer was lost is put again after 16 s
    check_truth(desk)
    assert desk.snapshot().unknown_symbols == ()
    position = desk.position()
    assert position is None or position.protection is not Protection.NAKED, f"seed {seed}: {desk.venue.history}"


def test_on_books_that_an_older_ledger_gave_nothing_is_ordered_until_an_operator_trusts_them(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.buy("1")
    desk.pass_time(2)
    path = desk.settings.store_dir / "ledger.db"
    desk.kill()
    older = path.read_bytes()
    desk.restart_only()
    desk.pass_time(2)
    desk.harness.deliver(desk.exit_approval())
    desk.pass_time(10)
    assert desk.venue.coins["BTC"] == 0
    desk.kill()
    for leftover in path.parent.glob("ledger.db-*"):
        leftover.unlink()
    path.write_bytes(older)
    for new_daemon in (True, False):  # it holds over every restart
        desk.epoch += new_daemon
        desk.restart_only()
        before = len(desk.venue.history)
        desk.pass_time(20)
        assert "BTC-USD" in desk.tracker.behind
        assert desk.venue.history[before:] == []
        desk.approve()
        desk.settle()
        assert desk.tracker.ledger.proposal_result(f"p-{desk.proposals}") == "refused:behind_venue"
        desk.kill()
    desk.restart_only()
    assert desk.tracker.rearm("BTC-USD")
    desk.kill()
    desk.restart_only()
    assert desk.tracker.behind == set()


@pytest.mark.parametrize("half_done", ["strategy", "stop", ""])
def test_coins_of_others_are_not_sold_on_books_that_an_older_ledger_gave(tmp_path: Path, half_done: str) -> None:
    """Not by an exit that the older ledger had begun, not by a flatten, not by a kill that flattens."""
    desk = Desk(tmp_path)
    desk.buy("1")
    desk.pass_time(2)
    if half_done:
        desk.venue.mute.add("cancel")
        desk.tracker.start_exit(Handover("BTC-USD", half_done, "c-1"))
        desk.pass_time(1)
    path = desk.settings.store_dir / "ledger.db"
    desk.kill()
    older = path.read_bytes()
    desk.venue.mute.clear()
    desk.restart_only()
    desk.pass_time(3)
    desk.harness.deliver(desk.exit_approval())
    desk.pass_time(10)
    assert desk.venue.coins["BTC"] == 0
    desk.kill()
    for leftover in path.parent.glob("ledger.db-*"):
        leftover.unlink()
    path.write_bytes(older)
    desk.venue.coins["BTC"] = Decimal(3)  # the owner bought some
    desk.epoch += 1
    desk.restart_only()
    desk.pass_time(5)
    desk.harness.deliver(OperatorRequest("flatten-1", RequestVerb.FLATTEN, "BTC-USD", (), "ann", "drill"))
    desk.pass_time(5)
    desk.tracker.begin_stop("kill-1", StopKind.KILL, flatten=True)
    desk.pass_time(5)
    assert "BTC-USD" in desk.tracker.behind
    assert desk.venue.coins["BTC"] == 3
    (answer,) = [one for one in desk.sent("admin", OperatorAnswer) if one.request_id == "flatten-1"]  # type: ignore[attr-defined]
    assert (answer.done, answer.ok) == (True, False)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("mode", "ready"), [("dry_run", True), ("demo", False)])
def test_what_came_after_the_newest_event_is_asked_for_wherever_there_is_somebody_to_ask(
    tmp_path: Path, mode: str, ready: bool
) -> None:
    desk = Desk(tmp_path)
    desk.tracker.write(lambda ledger: ledger.handle_proposal("p", "refused:dry_run"))
    desk.kill()
    desk.settings.store_dir.rename(tmp_path / "kept")
    desk.settings = desk.settings.model_copy(update={"mode": mode})
    (tmp_path / "kept").rename(desk.settings.store_dir)
    desk.restart_only()
    assert desk.tracker.proven is ready
    desk.settle()
    assert desk.tracker.proven
