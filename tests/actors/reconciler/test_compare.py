"""Ledger against venue: each kind of difference is found, and nothing is found where nothing is wrong."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from actors.clock import NS_PER_S
from actors.messages.market import Side
from actors.messages.orders import OrderState, Role
from actors.messages.reconcile import LedgerFacts, LedgerOrder
from actors.messages.venue import VenueBalance, VenueFill, VenueOrder
from actors.reconciler.compare import Comparison, Egress, Found, Identity, VenueView, compare
from actors.reconciler.grace import Grace
from actors.reconciler.holds import compare_holds
from actors.reconciler.kinds import DifferenceKind
from tests.actors.reconciler.facts import NOW, OLD, balances, facts, fill, ledger_order, position, venue_order

ME = Identity("td", "a", 3)
KIND = DifferenceKind


def run(
    ledger: LedgerFacts,
    *,
    open_: tuple[VenueOrder, ...] = (),
    recent: tuple[VenueOrder, ...] = (),
    fills: tuple[VenueFill, ...] = (),
    held: tuple[VenueBalance, ...] = (),
    egress: Egress | None = None,
) -> Comparison:
    names = [order.client_order_id for order in ledger.orders]
    left = egress or Egress(frozenset(names), dict.fromkeys(names, OLD))
    view = VenueView(open_, recent, fills, held, OLD - 300 * NS_PER_S, NOW)
    return compare(ledger, view, left, ME, settle_ns=5 * NS_PER_S, tolerance=Decimal("0.01"))


def kinds(compared: Comparison) -> list[DifferenceKind]:
    return [found.kind for found in compared.found]


def test_ledger_and_venue_that_agree_differ_in_nothing() -> None:
    ledger = facts(
        orders=(ledger_order(), ledger_order("td-a-3-p-2", OrderState.FILLED, filled_size=Decimal("0.1"))),
        fills=("f1",),
        positions=(position(),),
    )
    recent = (venue_order(), venue_order("td-a-3-p-2", "FILLED", filled_size=Decimal("0.1")), venue_order("by-hand"))
    compared = run(
        ledger, open_=(venue_order(),), recent=recent, fills=(fill(order="td-a-3-p-2"),), held=balances(BTC="0.1")
    )
    assert kinds(compared) == []
    assert (compared.compared_orders, compared.compared_fills) == (2, 1)


def test_an_open_order_that_is_not_listed_is_missing_not_cancelled() -> None:
    compared = run(facts(orders=(ledger_order(),)))
    assert kinds(compared) == [KIND.MISSING_AT_VENUE]
    assert compared.evidence.orders == ()


def test_an_order_that_an_operator_vouched_for_is_no_difference_until_the_venue_shows_it_otherwise() -> None:
    vouched = ledger_order(state=OrderState.FILLED, order_id=None, filled_size=Decimal(1), vouched=True)
    assert kinds(run(facts(orders=(vouched,)))) == []
    assert kinds(run(facts(orders=(replace(vouched, vouched=False),)))) == [KIND.MISSING_AT_VENUE]
    assert kinds(run(facts(orders=(vouched,)), recent=(venue_order(status="CANCELLED"),))) == [KIND.STATE]


def test_an_order_in_motion_is_not_judged() -> None:
    assert kinds(run(facts(orders=(ledger_order(changed_utc_ns=NOW - NS_PER_S),)))) == []


@pytest.mark.parametrize("state", [OrderState.SUBMITTING, OrderState.UNKNOWN])
def test_an_order_of_unknown_fate_that_is_listed_becomes_evidence(state: OrderState) -> None:
    compared = run(facts(orders=(ledger_order(state=state, order_id=None),)), recent=(venue_order(),))
    assert [order.client_order_id for order in compared.evidence.orders] == ["td-a-3-e-1"]


@pytest.mark.parametrize(
    ("state", "status", "differs"),
    [
        (OrderState.OPEN, "CANCELLED", True),
        (OrderState.OPEN, "PENDING", False),
        (OrderState.PENDING_CANCEL, "CANCEL_QUEUED", False),
        (OrderState.CANCELLED, "OPEN", True),
        (OrderState.CANCELLED, "FILLED", True),
        (OrderState.EXPIRED, "CANCELLED", False),
        (OrderState.REJECTED, "FAILED", False),
        (OrderState.REJECTED, "OPEN", True),
    ],
)
def test_states_that_cannot_both_be_right_are_told_with_the_venues_order(
    state: OrderState, status: str, differs: bool
) -> None:
    compared = run(facts(orders=(ledger_order(state=state),)), recent=(venue_order(status=status),))
    assert (KIND.STATE in kinds(compared)) == differs
    assert bool(compared.evidence.orders) == differs


def test_a_fill_the_ledger_lacks_is_evidence() -> None:
    shown = venue_order(filled_size=Decimal("0.1"))
    compared = run(facts(orders=(ledger_order(),)), recent=(shown,), fills=(fill(), fill("f2", "by-hand")))
    assert kinds(compared) == [KIND.FILLED_SIZE, KIND.MISSING_FILL]
    assert [one.entry_id for one in compared.evidence.fills] == ["f1"]


def test_a_recorded_fill_the_venue_does_not_list_is_a_phantom() -> None:
    assert kinds(run(facts(fills=("f9",)))) == [KIND.PHANTOM_FILL]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("td-b-1-e-1", KIND.FOREIGN_HOST),
        ("td-a-4-e-1", KIND.FOREIGN_HOST),
        ("td-a-3-e-101", KIND.BEYOND_HEAD),
        ("td-a-2-e-50", KIND.NOT_IN_LEDGER),
    ],
)
def test_orders_of_our_family_that_are_not_in_the_ledger_are_named_for_what_they_are(
    name: str, kind: DifferenceKind
) -> None:
    assert kinds(run(facts(), open_=(venue_order(name),))) == [kind]


@pytest.mark.parametrize("name", ["by-hand", "zz-a-9-e-1", "", "td-a-3-q-1"])
def test_orders_of_others_are_left_alone(name: str) -> None:
    assert kinds(run(facts(), open_=(venue_order(name),))) == []


def test_ended_orders_of_a_former_instance_are_history() -> None:
    old = venue_order("td-b-1-e-1", "FILLED", created_utc_ns=NOW - 7200 * NS_PER_S)
    assert kinds(run(facts(), recent=(old,))) == []


def test_less_than_the_positions_is_short_and_more_is_not_ours() -> None:
    held = facts(positions=(position("0.1"), position("0.2", "BTC-USDC")))
    assert kinds(run(held, held=balances(BTC="0.29"))) == [KIND.BALANCE_SHORT]
    assert kinds(run(held)) == [KIND.BALANCE_SHORT]
    assert kinds(run(held, held=balances(BTC="5"))) == []
    assert kinds(run(held, held=balances(BTC="0.2999999"))) == []  # 0.006 USD


def test_a_request_that_left_without_an_intent_is_found() -> None:
    left = Egress(frozenset({"td-a-3-e-200"}), {"td-a-3-e-200": OLD})
    assert kinds(run(facts(), egress=left)) == [KIND.EGRESS_WITHOUT_INTENT]
    fresh = Egress(frozenset({"td-a-3-e-200"}), {"td-a-3-e-200": NOW})
    assert kinds(run(facts(), egress=fresh)) == []
    ended_long_ago = Egress(frozenset({"td-a-3-e-20"}), {"td-a-3-e-20": OLD})
    assert kinds(run(facts(), egress=ended_long_ago)) == []


def test_an_order_the_venue_took_without_an_egress_record_is_found() -> None:
    none = Egress(frozenset(), {})
    assert kinds(run(facts(orders=(ledger_order(),)), open_=(venue_order(),), egress=none)) == [
        KIND.SENT_WITHOUT_EGRESS
    ]
    older = ledger_order("td-a-2-e-1")
    assert kinds(run(facts(orders=(older,)), open_=(venue_order("td-a-2-e-1"),), egress=none)) == []


def found_of(*names: str) -> list[object]:
    return list(run(facts(orders=tuple(ledger_order(name) for name in names))).found)


def test_a_difference_counts_only_when_it_lasts() -> None:
    grace = Grace(5 * NS_PER_S)
    first = grace.judge(found_of("td-a-3-e-1"), 0)  # type: ignore[arg-type]
    assert (len(first.pending), first.counting) == (1, ())
    second = grace.judge(found_of("td-a-3-e-1", "td-a-3-e-2"), 6 * NS_PER_S)  # type: ignore[arg-type]
    assert [one.key for one in second.counting] == ["td-a-3-e-1"]
    assert [one.key for one in second.pending] == ["td-a-3-e-2"]
    grace.judge([], 7 * NS_PER_S)
    assert grace.judge(found_of("td-a-3-e-1"), 30 * NS_PER_S).counting == ()  # type: ignore[arg-type]


def test_a_second_host_counts_at_once() -> None:
    found = run(facts(), open_=(venue_order("td-b-1-e-1"),)).found
    assert len(Grace(5 * NS_PER_S).judge(found, 0).counting) == 1


def test_an_order_placed_while_the_venue_was_read_is_no_difference() -> None:
    """The ledger read first has head 100; the venue shows 101; the ledger read after it knows 101."""
    first = facts(head=100)
    listed = venue_order("td-a-3-e-101")
    view = VenueView((listed,), (listed,), (), (), OLD - 300 * NS_PER_S, NOW)
    sent = Egress(frozenset({"td-a-3-e-101"}), {"td-a-3-e-101": OLD})
    after = facts("r1:ledger-after", head=101, orders=(ledger_order("td-a-3-e-101"),))

    def judged(later: LedgerFacts | None) -> list[DifferenceKind]:
        return kinds(compare(first, view, sent, ME, settle_ns=5 * NS_PER_S, tolerance=Decimal("0.01"), after=later))

    assert KIND.BEYOND_HEAD in judged(None)
    assert judged(after) == []


def test_what_the_ledger_has_not_heard_to_be_sold_yet_is_not_short() -> None:
    sold = fill("f9", side="SELL", size=Decimal("0.1"))
    held = facts(orders=(ledger_order(changed_utc_ns=NOW),), positions=(position("0.1"),))
    assert kinds(run(held, fills=(sold,), held=balances(BTC="0"))) == [KIND.MISSING_FILL]
    half = replace(sold, size=Decimal("0.05"))
    assert kinds(run(held, fills=(half,), held=balances(BTC="0"))) == [KIND.MISSING_FILL, KIND.BALANCE_SHORT]


def holding(*orders: LedgerOrder, shown: tuple[VenueOrder, ...], held: tuple[VenueBalance, ...]) -> list[Found]:
    view = VenueView(shown, shown, (), held, OLD - 300 * NS_PER_S, NOW)
    return list(compare_holds(facts(orders=orders), view, settle_ns=5 * NS_PER_S))


STOP = ledger_order("td-a-3-p-1", side=Side.SELL, role=Role.PROTECTION)
ENTRY = ledger_order("td-a-3-e-2")  # 0.1 at 60000
AT_VENUE = (venue_order("td-a-3-p-1", side="SELL"), venue_order("td-a-3-e-2"))


def test_less_on_hold_than_our_resting_orders_need_is_found() -> None:
    enough = (VenueBalance("BTC", Decimal(0), Decimal("0.1")), VenueBalance("USD", Decimal(0), Decimal("6054")))
    assert holding(STOP, ENTRY, shown=AT_VENUE, held=enough) == []
    short = (VenueBalance("BTC", Decimal(5), Decimal("0.0999")), VenueBalance("USD", Decimal(9000), Decimal(5999)))
    assert [(one.kind, one.key) for one in holding(STOP, ENTRY, shown=AT_VENUE, held=short)] == [
        (KIND.HOLD_SHORT, "BTC for td-a-3-p-1"),
        (KIND.HOLD_SHORT, "USD for td-a-3-e-2"),
    ]
    assert [one.venue for one in holding(STOP, shown=AT_VENUE, held=())] == ["no account"]


def test_a_hold_is_judged_by_orders_that_rest_in_both_books_alone() -> None:
    moving = replace(STOP, changed_utc_ns=NOW - NS_PER_S)
    assert holding(moving, shown=AT_VENUE, held=()) == []
    assert holding(replace(STOP, state=OrderState.PENDING_CANCEL), shown=AT_VENUE, held=()) == []
    assert holding(STOP, shown=(venue_order("td-a-3-p-1", "FILLED", side="SELL"),), held=()) == []
    half = (venue_order("td-a-3-p-1", side="SELL", filled_size=Decimal("0.05")),)
    assert holding(STOP, shown=half, held=()) == []
    part = replace(STOP, filled_size=Decimal("0.05"), state=OrderState.PARTIALLY_FILLED)
    assert holding(part, shown=half, held=(VenueBalance("BTC", Decimal(0), Decimal("0.05")),)) == []
