"""The state depends on the facts and not on the order, repetition or delay in which they arrive.

Lives of orders are made up at a venue that only moves forward; what it says is told late, twice, shuffled, over
every way in. The books, the state and the filled size have to follow from the life alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages.market import Side
from actors.messages.orders import OrderIntent, OrderKind, OrderState, OutcomeKind, Role, SubmitOutcome
from actors.messages.venue import VenueFill, VenueOrder
from actors.orders import booking, machine, positions
from actors.orders.booking import Booked, Identity
from actors.orders.ledger import Ledger
from actors.orders.machine import IllegalStepError, OrderFacts, require_growth, state_of
from actors.orders.records import FillRecord, OrderRecord
from tests.actors.orders.test_machine import view

SIZE = 4
NAME = "td-a-1-e-1"
US = Identity("td", "a", 1)
FINAL = {
    "FILLED": OrderState.FILLED, "CANCELLED": OrderState.CANCELLED, "EXPIRED": OrderState.EXPIRED,
    "FAILED": OrderState.REJECTED,
}  # fmt: skip


def record() -> OrderRecord:
    intent = OrderIntent(
        NAME, "BTC-USD", Side.BUY, Role.ENTRY, OrderKind.LIMIT_GTD, Decimal(SIZE), Decimal(100), None, None, "c", 1
    )
    return OrderRecord(intent, 1, 1, OrderFacts(Decimal(SIZE), submitted=True), 1)


def shown(status: str, filled: int, trigger: str = "") -> VenueOrder:
    return replace(view(status, filled, trigger), client_order_id=NAME)


def fill(n: int, size: int) -> VenueFill:
    return VenueFill(
        f"f-{n}", f"t-{n}", "v-1", "BTC-USD", "BUY", Decimal(100 + n), Decimal(size), Decimal(n), "FILL", "TAKER",
        False, 1000 + n, 1000 + n,
    )  # fmt: skip


def own_record(one: VenueFill) -> FillRecord:
    return FillRecord(
        one.entry_id, one.trade_id, one.order_id, NAME, "BTC-USD", Side.BUY, one.price, one.size, one.commission,
        one.trade_utc_ns,
    )  # fmt: skip


def outcome(kind: OutcomeKind) -> SubmitOutcome:
    return SubmitOutcome(NAME, kind, "v-1" if kind is OutcomeKind.DONE else None, "", 1, 1, 1, 1)


@dataclass(frozen=True)
class Life:
    """What happened at the venue: the states it could be seen in, oldest first, and its fills."""

    views: tuple[VenueOrder, ...]
    fills: tuple[VenueFill, ...]
    end: OrderState
    cancelled_by_us: bool


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """PENDING or QUEUED, then OPEN, fills one by one, perhaps a cancel on its way, then one end or none yet."""
    sizes = draw(st.lists(st.integers(1, 2), max_size=4).filter(lambda parts: sum(parts) <= SIZE))
    views = [shown(draw(st.sampled_from(["PENDING", "QUEUED"])), 0)]
    filled = 0
    cancel_at = draw(st.none() | st.integers(0, len(sizes)))
    trigger = draw(st.sampled_from(["", "INVALID_ORDER_TYPE"]))
    for place, size in enumerate([0, *sizes]):
        filled += size
        queued = cancel_at is not None and place >= cancel_at
        status = "CANCEL_QUEUED" if queued else draw(st.sampled_from(["OPEN", "OPEN", "EDIT_QUEUED"]))
        views.append(shown(status, filled, trigger))
    full = filled == SIZE
    ends = ["FILLED"] if full else ["CANCELLED", "EXPIRED"] + ([] if filled else ["FAILED"])
    ended = full or draw(st.booleans())
    if ended:
        last = draw(st.sampled_from(ends))
        views.append(shown(last, filled, trigger))
        end = FINAL[last]
    elif cancel_at is not None:
        end = OrderState.PENDING_CANCEL
    else:
        end = OrderState.PARTIALLY_FILLED if filled else OrderState.OPEN
    fills = tuple(fill(n, size) for n, size in enumerate(sizes, 1))
    return Life(tuple(views), fills, end, cancel_at is not None and draw(st.booleans()))


Step = Callable[[Ledger, Booked], None]


def steps_of(life: Life) -> list[Step]:
    """Every fact of the life, each as something that may happen again."""

    def see(one: VenueOrder) -> Step:
        return lambda ledger, booked: booking.take_view(ledger, one, US, 2, booked)

    def book(one: VenueFill) -> Step:
        return lambda ledger, booked: booking.take_fill(ledger, one, 2, booked)

    def hear(kind: OutcomeKind) -> Step:
        def step(ledger: Ledger, booked: Booked) -> None:
            booking.take_outcome(ledger, outcome(kind), 2, booked)

        return step

    def change(how: Callable[[OrderFacts], OrderFacts]) -> Step:
        def step(ledger: Ledger, booked: Booked) -> None:
            known = ledger.order(NAME)
            assert known is not None
            ledger.change_order(known, known.updated(how(known.facts), 2), "test")

        return step

    steps = [see(one) for one in life.views] + [book(one) for one in life.fills]
    steps += [hear(OutcomeKind.UNKNOWN), hear(OutcomeKind.DONE), change(machine.with_loss)]
    return steps + ([change(machine.with_cancel)] if life.cancelled_by_us else [])


def run(steps: Iterable[Step]) -> tuple[Ledger, Booked]:
    """A ledger after the steps, each in its own transaction; fills of no known order are asked for at the end."""
    ledger, booked = Ledger.in_memory(), Booked()
    with ledger.transaction(1, 1, 1, ""):
        assert ledger.next_n() == 1
        ledger.add_order(record())
    for step in steps:
        with ledger.transaction(2, 1, 1, ""):
            step(ledger, booked)
        known = ledger.order(NAME)
        assert known is not None
        assert not known.state.terminal or known.facts.filled >= known.facts.venue_filled, known.facts
        assert known.state is not OrderState.UNKNOWN or known.facts.filled == 0, known.facts
    return ledger, booked


@given(lives(), st.data())
def test_what_is_told_late_twice_or_shuffled_over_every_way_ends_as_the_life_did(
    life: Life, data: st.DataObject
) -> None:
    steps = steps_of(life)
    told = data.draw(st.permutations(steps))
    told += data.draw(st.lists(st.sampled_from(steps), max_size=10))
    # A fill that came before its order was known by its venue id is asked for again: the tracker does (strays).
    told += [lambda ledger, booked, one=one: booking.take_fill(ledger, one, 2, booked) for one in life.fills]  # type: ignore[misc]
    ledger, booked = run(told)
    known = ledger.order(NAME)
    assert known is not None
    assert known.state is life.end or (life.cancelled_by_us and known.state is OrderState.PENDING_CANCEL), known.facts
    assert life.end.terminal <= known.state.terminal
    own = [own_record(one) for one in life.fills]
    expected, _ = positions.fold("BTC-USD", own)
    assert ledger.book("BTC-USD") == expected
    assert known.facts.filled == sum((f.size for f in life.fills), Decimal(0))
    assert booked.anomalies == []
    ledger.close()


@given(st.permutations([OutcomeKind.UNKNOWN, OutcomeKind.NOT_SENT, "lost", "absent"]), st.integers(1, 4))
def test_an_order_that_never_arrived_ends_rejected_by_any_proof(order: list[object], kept: int) -> None:
    facts = record().facts
    for one in order[:kept]:
        if isinstance(one, OutcomeKind):
            facts = machine.with_outcome(facts, one, None)
        else:
            facts = machine.with_loss(facts) if one == "lost" else machine.with_absence(facts)
    proven = {OutcomeKind.NOT_SENT, "absent"} & set(order[:kept])
    assert state_of(facts) is (OrderState.REJECTED if proven else OrderState.UNKNOWN)


@given(lives(), st.lists(st.sampled_from(["vanish", "show"]), max_size=6))
def test_an_order_that_vanishes_and_returns_ends_as_its_life_did_once_it_is_shown(life: Life, told: list[str]) -> None:
    """Gone, it is over with what was filled; shown again, nothing of what was known before is lost."""
    ledger, booked = run(steps_of(life))
    for what in [*told, "show"]:
        known = ledger.order(NAME)
        assert known is not None
        with ledger.transaction(3, 1, 1, ""):
            if what == "show":
                booking.take_view(ledger, life.views[-1], US, 3, booked)
            elif known.working:
                booking.take_vanishing(ledger, known, "vanished", "test", 3)
        after = ledger.order(NAME)
        assert after is not None
        if what == "vanish":
            assert after.state.terminal
            assert not known.working or after.state is OrderState.CANCELLED
        else:
            assert after.state is life.end or (life.cancelled_by_us and after.state is OrderState.PENDING_CANCEL)
        assert after.facts.filled == sum((f.size for f in life.fills), Decimal(0))
    assert {one.kind for one in booked.anomalies} <= {"vanished_yet_seen"}
    ledger.close()


def test_an_order_that_the_venue_never_had_cannot_vanish() -> None:
    for facts in (record().facts, machine.with_loss(record().facts)):
        with pytest.raises(IllegalStepError):
            machine.with_vanishing(facts)


# --- every step from every reachable knowledge ------------------------------------------------------------

STATUS_WORDS = (
    "PENDING", "QUEUED", "OPEN", "EDIT_QUEUED", "CANCEL_QUEUED", "FAILED", "EXPIRED", "CANCELLED", "FILLED",
)  # fmt: skip
S = OrderState
WORKING = frozenset({S.UNKNOWN, S.OPEN, S.PARTIALLY_FILLED, S.PENDING_CANCEL})
ENDS = frozenset({S.FILLED, S.CANCELLED, S.EXPIRED, S.REJECTED})
MAY_BECOME: dict[OrderState, frozenset[OrderState]] = {
    S.INTENT: WORKING | ENDS | {S.SUBMITTING},
    S.SUBMITTING: WORKING | ENDS,
    S.UNKNOWN: WORKING | ENDS,
    S.OPEN: ENDS | {S.PARTIALLY_FILLED, S.PENDING_CANCEL},
    S.PARTIALLY_FILLED: frozenset({S.PENDING_CANCEL, S.FILLED, S.CANCELLED, S.EXPIRED}),
    # A cancel on its way is over, and fills are still to be booked.
    S.PENDING_CANCEL: ENDS | {S.OPEN, S.PARTIALLY_FILLED},
    # An end is left only for what the venue shows afterwards: fills that nobody has booked yet, or an order that
    # was proven absent or refused and is there after all (both alarms). FILLED is for ever.
    S.REJECTED: frozenset({S.OPEN, S.PARTIALLY_FILLED, S.PENDING_CANCEL, S.FILLED, S.CANCELLED, S.EXPIRED}),
    # The same for one that had vanished, which may also turn out to have failed.
    S.CANCELLED: frozenset({S.OPEN, S.PARTIALLY_FILLED, S.PENDING_CANCEL, S.FILLED, S.EXPIRED, S.REJECTED}),
    S.EXPIRED: frozenset({S.OPEN, S.PARTIALLY_FILLED, S.PENDING_CANCEL, S.FILLED, S.CANCELLED}),
    S.FILLED: frozenset(),
}


def every_step(facts: OrderFacts) -> Iterable[OrderFacts]:
    for kind in OutcomeKind:
        yield machine.with_outcome(facts, kind, None)
    for how in (machine.with_loss, machine.with_absence, machine.with_cancel):
        yield how(facts)
    for status, filled in itertools.product(STATUS_WORDS, (0, 1, 2)):
        if status != "FILLED" or filled != 1:
            yield machine.with_view(facts, replace(view(status, filled), base_size=Decimal(2)))
    if facts.filled < 3:
        yield machine.with_fill(facts, Decimal(1))
    if facts.taken and facts.returned < 2:
        yield machine.with_vanishing(facts)
    yield replace(facts, submitted=True)


@pytest.fixture(scope="module")
def steps() -> set[tuple[OrderState, OrderState]]:
    """(state before, state after) of every single step from everything that can be known of an order of size 2."""
    first = OrderFacts(Decimal(2))
    reached, waiting, found = {first}, [first], set()
    while waiting:
        facts = waiting.pop()
        before = state_of(facts)
        for after in every_step(facts):
            require_growth(facts, after)
            found.add((before, state_of(after)))
            if after not in reached:
                reached.add(after)
                waiting.append(after)
    assert len(reached) > 5_000
    return found


def test_no_step_leads_where_no_order_may_go(steps: set[tuple[OrderState, OrderState]]) -> None:
    moved = {(before, after) for before, after in steps if before is not after}
    illegal = {(a, b) for a, b in moved if b not in MAY_BECOME[a]}
    assert illegal == set()


def test_every_state_can_be_reached_and_filled_is_for_ever(steps: set[tuple[OrderState, OrderState]]) -> None:
    assert {after for _, after in steps} == set(OrderState)
    assert {after for before, after in steps if before is S.FILLED} == {S.FILLED}


@pytest.mark.parametrize(
    "change",
    [
        {"filled": Decimal(1)}, {"venue_filled": Decimal(0)}, {"order_id": "v-2"}, {"order_id": None},
        {"outcome": OutcomeKind.UNKNOWN}, {"venue_status": "OPEN"}, {"venue_status": None}, {"size": Decimal(5)},
        {"submitted": False}, {"cancel_requested": False}, {"triggered": False}, {"lost": False}, {"absent": False},
        {"vanished": 1}, {"returned": 0}, {"returned": 3},
    ],
)  # fmt: skip
def test_a_fact_that_was_taken_back_is_refused_by_the_ledger(change: dict[str, object]) -> None:
    known = OrderFacts(
        Decimal(SIZE), True, OutcomeKind.DONE, True, True, "v-1", "CANCELLED", Decimal(2), Decimal(2), True, True,
        vanished=2, returned=1,
    )  # fmt: skip
    before = replace(record(), facts=known)
    ledger = Ledger.in_memory()
    with pytest.raises(IllegalStepError), ledger.transaction(1, 1, 1, ""):
        ledger.change_order(before, replace(before, facts=replace(known, **change)), "test")  # type: ignore[arg-type]
