"""``baseline accept``: two looks, the ledger, the wallets, a comparison; refused while anything is unsettled."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from actors.clock import NS_PER_S
from actors.messages.control import OperatorAnswer, RequestVerb
from actors.messages.health import BreakerName, BreakerSignal
from actors.messages.market import Side
from actors.messages.orders import OrderState
from actors.messages.reconcile import AdoptVenue, LedgerFacts, ReadLedger, VenueAdopted
from actors.messages.venue import QueryKind, VenueBalance, VenueOrder
from actors.reconciler import acceptance
from actors.reconciler.compare import Egress, Found, Identity, VenueView
from actors.reconciler.kinds import DifferenceKind
from tests.actors.harness import ActorHarness
from tests.actors.reconciler.facts import NOW, OLD, balances, facts, fill, ledger_order, venue_order
from tests.actors.reconciler.test_actor import answer_of, answer_round, asked, looks, make, restarted

ME = Identity("td", "a", 3)
NONE = Egress(frozenset(), {})
D = Decimal


def view(*orders: VenueOrder, **more: object) -> VenueView:
    base = VenueView(orders, orders, (), balances(USD="1000"), OLD - 300 * NS_PER_S, NOW)
    return replace(base, **more)  # type: ignore[arg-type]


def objections(ledger: LedgerFacts, seen: VenueView, egress: Egress = NONE, *found: Found) -> str:
    return "; ".join(acceptance.objections(ledger, seen, egress, found, ME, late_ns=125 * NS_PER_S))


@pytest.mark.parametrize("state", [OrderState.INTENT, OrderState.SUBMITTING, OrderState.UNKNOWN])
def test_an_order_of_unknown_fate_refuses(state: OrderState) -> None:
    assert "td-a-3-e-1 is" in objections(facts(orders=(ledger_order(state=state),)), view())


def test_an_open_order_of_another_instance_refuses_and_an_ended_one_becomes_history() -> None:
    assert "another instance" in objections(facts(), view(venue_order("td-b-1-e-1")))
    ended = view(venue_order("td-b-1-e-1", "FILLED"))
    assert objections(facts(), ended) == ""
    seen = Found(DifferenceKind.FOREIGN_HOST, "td-b-1-e-1", "a", "b")
    made = acceptance.adoption(facts(), ended, NONE, (seen,), ME)
    assert (made.orders, made.keys) == ((), ("foreign_host:td-b-1-e-1",))


def test_an_order_that_is_listed_nowhere_refuses() -> None:
    gone = Found(DifferenceKind.MISSING_AT_VENUE, "td-a-3-p-2", "OPEN", "not listed")
    assert "does not mean cancelled" in objections(facts(), view(), NONE, gone)


def test_an_order_without_a_size_and_a_request_that_may_still_arrive_refuse() -> None:
    assert "without size" in objections(facts(), view(venue_order("td-a-3-e-101", base_size=None)))
    left = Egress(frozenset({"td-a-3-e-200"}), {"td-a-3-e-200": NOW - 100 * NS_PER_S})
    assert "may still arrive" in objections(facts(), view(), left)
    long_ago = Egress(frozenset({"td-a-3-e-200"}), {"td-a-3-e-200": NOW - 126 * NS_PER_S})
    assert objections(facts(), view(), long_ago) == ""


def test_what_is_adopted_is_ours_and_shown_and_the_head_covers_all_that_was_ever_sent() -> None:
    ours = (
        venue_order("td-a-3-e-101"),
        venue_order("td-a-9-p-102", side="SELL"),  # of an epoch that a restored folder has forgotten
        venue_order("td-a-3-e-103", "CANCELLED"),
        venue_order("td-a-3-e-104", "FILLED", filled_size=D("0.1")),
    )
    others = (venue_order("by-hand"), venue_order("zz-a-9-e-900"), venue_order("td-b-1-e-901", "FILLED"))
    seen = view(*ours, *others, fills=(fill("f1", "td-a-3-e-104"), fill("f2", "by-hand"), fill("f3", "td-a-3-e-1")))
    ledger = facts(orders=(ledger_order(),), fills=("f3",))
    left = Egress(frozenset({"td-a-3-e-300"}), {"td-a-3-e-300": OLD})
    made = acceptance.adoption(ledger, seen, left, (), ME)
    assert {one.client_order_id for one in made.orders} == {
        f"td-a-{n}" for n in ("3-e-101", "9-p-102", "3-e-103", "3-e-104")
    }
    assert [one.entry_id for one in made.fills] == ["f1"]
    assert (made.highest_n, made.highest_epoch) == (300, 9)


# --- the mailbox -----------------------------------------------------------------------------------------


@pytest.fixture
def room(tmp_path: Path) -> ActorHarness:
    room = make(tmp_path)
    answer_round(room)
    room.take("admin")
    return room


LOST = (venue_order("td-a-2-e-7", "FILLED", filled_size=D("0.1")), venue_order("td-a-2-p-8", side="SELL"))
HELD = (VenueBalance("USD", D(4000), D(0)), VenueBalance("BTC", D(0), D("0.1")))
TRADE = (fill("f7", "td-a-2-e-7", commission=D(0)),)


def adopted(room: ActorHarness, **change: object) -> AdoptVenue:
    """The tracker's part."""
    command = room.take("tracker", AdoptVenue)[-1]
    assert isinstance(command, AdoptVenue)
    done = VenueAdopted(command.request_id, "", ("td-a-2-e-7", "td-a-2-p-8"), (), (), 9)
    room.deliver(replace(done, **change), "tracker")  # type: ignore[arg-type]
    return command


def rounds(room: ActorHarness, number: int, ledger: LedgerFacts, **found: object) -> None:
    for _ in range(number):
        for _ in range(200):
            if any(isinstance(one, ReadLedger) for one in room.sent["tracker"]):
                break
            room.advance(0.1)
        answer_round(room, ledger, **found)  # type: ignore[arg-type]


KNOWN = facts(
    head=9,
    orders=(
        ledger_order("td-a-2-e-7", OrderState.FILLED, filled_size=D("0.1")),
        ledger_order("td-a-2-p-8", side=Side.SELL),
    ),
    fills=("f7",),
)


def test_a_lost_ledger_is_taken_from_the_venue_and_then_both_agree(room: ActorHarness) -> None:
    asked(room, RequestVerb.BASELINE_ACCEPT)
    rounds(room, 1, facts(head=0), orders=LOST, balances=HELD, fills=TRADE)
    assert room.take("tracker", AdoptVenue) == []  # one look is not enough
    rounds(room, 1, facts(head=0), orders=LOST, balances=HELD, fills=TRADE)
    command = adopted(room)
    assert {one.client_order_id for one in command.orders} == {"td-a-2-e-7", "td-a-2-p-8"}
    assert ([one.entry_id for one in command.fills], command.highest_n, command.operator) == (["f7"], 8, "anna")
    rounds(room, 1, KNOWN, orders=LOST, balances=HELD, fills=TRADE)
    answer = answer_of(room)
    assert answer.ok, answer
    details = dict(answer.details)
    assert (details["head of the ledger"], details["balance USD"]) == ("9", "4000")
    report = looks(room, 1, ledger=KNOWN, orders=LOST, balances=HELD, fills=TRADE)
    assert (report.ok, report.differences, report.flows) == (True, (), ())


def test_open_flows_end_and_the_new_balances_outlive_the_process(room: ActorHarness) -> None:
    looks(room, 2, balances=balances(USD="400"))
    asked(room, RequestVerb.BASELINE_ACCEPT)
    rounds(room, 2, facts(head=0), balances=balances(USD="400"))
    adopted(room)
    rounds(room, 1, facts(head=0), balances=balances(USD="400"))
    answer = answer_of(room)
    assert answer.ok
    assert "flow-1: -600 USD" in dict(answer.details)["closed flow-1"]
    again = restarted(room)
    report = answer_round(again, balances=balances(USD="400"))
    assert report is not None
    assert (report.flows, report.doubt) == ((), ())


def test_the_way_out_of_a_lost_baseline(room: ActorHarness) -> None:
    (room.settings.store_dir / "money.db").unlink()
    bare = restarted(room)
    answer_round(bare, head=3)
    asked(bare, RequestVerb.BASELINE_ACCEPT)
    rounds(bare, 2, facts(head=3))
    adopted(bare)
    rounds(bare, 1, facts(head=3))
    assert answer_of(bare).ok


@pytest.mark.parametrize("rest", [{"balances": balances(USD="0")}, {"failing": QueryKind.BALANCES}])
def test_an_answer_without_money_or_none_at_all_is_not_accepted(room: ActorHarness, rest: dict[str, object]) -> None:
    asked(room, RequestVerb.BASELINE_ACCEPT)
    rounds(room, 1, facts(head=0), **rest)
    if "balances" in rest:
        rounds(room, 1, facts(head=0), **rest)
        adopted(room, refusal="every account shows zero")  # an account with positions: the tracker knows
    answer = answer_of(room)
    assert not answer.ok
    assert looks(room, 1).ok  # nothing was changed: what was known still holds


def test_balances_that_move_between_the_looks_are_not_accepted(room: ActorHarness) -> None:
    asked(room, RequestVerb.BASELINE_ACCEPT)
    rounds(room, 1, facts(head=0))
    rounds(room, 1, facts(head=0), balances=balances(USD="999"))
    assert "moved" in answer_of(room).text
    assert room.take("tracker", AdoptVenue) == []


def test_a_tracker_that_is_silent_is_asked_again_and_then_given_up(room: ActorHarness) -> None:
    asked(room, RequestVerb.BASELINE_ACCEPT)
    rounds(room, 2, facts(head=0))
    for _ in range(25):
        room.advance(1.0)
        for _ in room.take("tracker", ReadLedger):
            pass
    assert len(room.take("tracker", AdoptVenue)) > 5
    assert "does not answer" in answer_of(room).text


def test_killed_between_ledger_and_wallets_it_is_done_again_from_the_start(room: ActorHarness) -> None:
    asked(room, RequestVerb.BASELINE_ACCEPT)
    rounds(room, 2, facts(head=0), orders=LOST, balances=HELD, fills=TRADE)
    command = room.take("tracker", AdoptVenue)[-1]
    again = restarted(room)
    again.take("admin")
    asked(again, RequestVerb.BASELINE_ACCEPT)  # the admin repeats it
    rounds(again, 3, KNOWN, orders=LOST, balances=HELD, fills=TRADE)  # one was under way before the question
    repeated = again.take("tracker", AdoptVenue)[-1]
    assert isinstance(repeated, AdoptVenue)
    assert isinstance(command, AdoptVenue)
    assert (repeated.orders, repeated.fills) == ((), ())  # all of it is in the ledger
    again.deliver(VenueAdopted(repeated.request_id, "", head=9), "tracker")
    rounds(again, 1, KNOWN, orders=LOST, balances=HELD, fills=TRADE)
    assert answer_of(again).ok


def test_an_acceptance_that_was_kept_is_only_compared_after_a_restart(room: ActorHarness) -> None:
    asked(room, RequestVerb.BASELINE_ACCEPT)
    rounds(room, 2, facts(head=0))
    adopted(room)
    again = restarted(room)
    again.take("admin")
    asked(again, RequestVerb.BASELINE_ACCEPT)
    rounds(again, 2, facts(head=0))
    assert again.take("tracker", AdoptVenue) == []
    assert answer_of(again).ok


def test_an_epoch_that_the_venue_knows_and_we_do_not_is_passed_at_the_next_start(room: ActorHarness) -> None:
    path = room.settings.store_dir / "epoch"
    path.write_text("3\n")
    later = (venue_order("td-a-9-e-7", "CANCELLED"),)
    asked(room, RequestVerb.BASELINE_ACCEPT)
    rounds(room, 2, facts(head=0), orders=later)
    adopted(room)
    assert path.read_text() == "9\n"
    taken = facts(head=9, orders=(ledger_order("td-a-9-e-7", OrderState.CANCELLED),))
    rounds(room, 1, taken, orders=later)
    assert answer_of(room).ok  # it is in the ledger: it speaks of no second host any more
    room.take("watchdog", BreakerSignal)
    report = looks(room, 1, ledger=taken, orders=later)
    assert report.ok
    tripped = [one for one in room.take("watchdog", BreakerSignal) if isinstance(one, BreakerSignal) and one.tripped]
    assert BreakerName.RECONCILE not in {one.breaker for one in tripped}


def test_one_acceptance_at_a_time_and_progress_is_told(room: ActorHarness) -> None:
    asked(room, RequestVerb.BASELINE_ACCEPT)
    asked(room, RequestVerb.BASELINE_ACCEPT)
    asked(room, RequestVerb.BASELINE_ACCEPT, "op-2")
    assert "another acceptance" in answer_of(room).text
    rounds(room, 1, facts(head=0))
    told = [one for one in room.take("admin", OperatorAnswer) if isinstance(one, OperatorAnswer)]
    assert [one.done for one in told] == [False]
