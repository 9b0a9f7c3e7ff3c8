"""The state follows from the facts, whatever order, delay and repetition they come in."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.messages.orders import OrderState, OutcomeKind
from actors.messages.venue import VenueOrder
from actors.orders import machine
from actors.orders.machine import OrderFacts, UnknownVenueStatusError, state_of

SENT = OrderFacts(Decimal(4), submitted=True)


def view(status: str, filled: int = 0, trigger: str = "") -> VenueOrder:
    zero = Decimal(0)
    return VenueOrder(
        "v-1", "td-a-1-e-1", "BTC-USD", "BUY", status, "LIMIT", "", trigger, Decimal(4), Decimal(1), None,
        Decimal(filled), zero, zero, zero, "", "", 0, None, "", None,
    )  # fmt: skip


Fact = tuple[str, object]
LIVES: list[tuple[list[Fact], OrderState]] = [
    (
        [("outcome", OutcomeKind.UNKNOWN), ("outcome", OutcomeKind.DONE), ("view", view("PENDING")),
         ("view", view("OPEN", 1)), ("fill", 1), ("fill", 3), ("view", view("FILLED", 4))],
        OrderState.FILLED,
    ),
    (
        [("lost", None), ("view", view("OPEN", 2)), ("cancel", None), ("view", view("CANCEL_QUEUED", 2)),
         ("fill", 2), ("view", view("CANCELLED", 2))],
        OrderState.CANCELLED,
    ),
    ([("outcome", OutcomeKind.DONE), ("view", view("OPEN")), ("view", view("EXPIRED"))], OrderState.EXPIRED),
    ([("outcome", OutcomeKind.DONE), ("view", view("OPEN")), ("view", view("FAILED"))], OrderState.REJECTED),
    ([("outcome", OutcomeKind.UNKNOWN), ("lost", None), ("outcome", OutcomeKind.NOT_SENT)], OrderState.REJECTED),
    ([("outcome", OutcomeKind.UNKNOWN), ("lost", None), ("absent", None)], OrderState.REJECTED),
    ([("lost", None), ("outcome", OutcomeKind.UNKNOWN)], OrderState.UNKNOWN),
    ([("outcome", OutcomeKind.DONE), ("view", view("OPEN", 3)), ("view", view("CANCELLED", 3)), ("fill", 1)],
     OrderState.PARTIALLY_FILLED),
    ([("absent", None), ("view", view("OPEN", 1)), ("fill", 1)], OrderState.PARTIALLY_FILLED),
]  # fmt: skip


def add(facts: OrderFacts, fact: Fact) -> OrderFacts:
    kind, value = fact
    if kind == "outcome":
        assert isinstance(value, OutcomeKind)
        return machine.with_outcome(facts, value, "v-1" if value is OutcomeKind.DONE else None)
    if kind == "view":
        assert isinstance(value, VenueOrder)
        return machine.with_view(facts, value)
    if kind == "fill":
        assert isinstance(value, int)
        return machine.with_fill(facts, Decimal(value))
    return {"lost": machine.with_loss, "cancel": machine.with_cancel, "absent": machine.with_absence}[kind](facts)


@given(st.sampled_from(LIVES).flatmap(lambda life: st.tuples(st.permutations(life[0]), st.just(life[1]), st.data())))
def test_any_order_and_repetition_of_facts_ends_in_the_same_state(case: tuple[list[Fact], OrderState, object]) -> None:
    facts, expected, data = case
    repeated = [one for one in facts if one[0] != "fill"]  # the ledger books a fill once, by its entry id
    extra = data.draw(st.lists(st.sampled_from(repeated), max_size=6))  # type: ignore[attr-defined]
    state = SENT
    for fact in [*facts, *extra]:
        state = add(state, fact)
    assert state_of(state) is expected


def test_a_terminal_order_waits_for_the_fills_that_the_venue_speaks_of() -> None:
    facts = machine.with_view(SENT, view("CANCELLED", 2))
    assert not state_of(facts).terminal
    assert state_of(machine.with_fill(facts, Decimal(2))) is OrderState.CANCELLED


def test_a_filled_status_without_a_filled_size_waits_for_the_fills() -> None:
    assert not state_of(machine.with_view(SENT, view("FILLED", 0))).terminal


def test_a_late_fill_after_a_cancel_counts_and_the_order_stays_cancelled() -> None:
    facts = machine.with_view(SENT, view("CANCELLED", 0))
    assert state_of(facts) is OrderState.CANCELLED
    late = machine.with_fill(facts, Decimal(1))
    assert (state_of(late), late.filled) == (OrderState.CANCELLED, Decimal(1))


@pytest.mark.parametrize("bad", [view("HALF_OPEN"), view("OPEN", 0, "SPRUNG")])
def test_an_unknown_status_raises_and_changes_nothing(bad: VenueOrder) -> None:
    with pytest.raises(UnknownVenueStatusError):
        machine.with_view(SENT, bad)


def test_an_answer_read_earlier_does_not_reopen_an_order() -> None:
    over = machine.with_view(SENT, view("CANCELLED"))
    assert machine.with_view(over, view("OPEN")) == over


def test_before_anything_is_sent_it_is_an_intent() -> None:
    assert state_of(replace(SENT, submitted=False)) is OrderState.INTENT
    assert state_of(SENT) is OrderState.SUBMITTING
