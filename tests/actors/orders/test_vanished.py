"""What proves that an order is gone, whatever is answered when: never too little, and always enough in the end."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from actors.clock import NS_PER_S
from actors.messages.market import Side
from actors.messages.orders import OutcomeKind
from actors.orders import vanished
from actors.orders.vanished import Evidence, Vanishing
from tests.actors.orders.factories import order
from tests.actors.orders.venue import seconds

GAP_S = 10.0
SEARCH = Vanishing("td-a-1-p-1", since_boot_ns=seconds(100))
ONE = Decimal(1)
Answers = list[tuple[Evidence, float]]
answers = st.lists(st.tuples(st.sampled_from(Evidence), st.floats(90, 130).map(lambda at: round(at, 1))), max_size=40)


def told(given_answers: Answers, search: Vanishing = SEARCH) -> Vanishing:
    for what, at_s in given_answers:
        search = search.with_clear(what, seconds(at_s), GAP_S)
    return search


@given(answers)
def test_nothing_is_proven_without_every_kind_of_evidence_after_the_gap(found: Answers) -> None:
    settled = told(found).settled_at(GAP_S)
    counted = [(what, seconds(at_s)) for what, at_s in found if at_s >= 100]
    listings = [at for what, at in counted if what is Evidence.LISTING]
    late = {what for what, at in counted if listings and at >= min(listings) + seconds(GAP_S)}
    assert (settled is not None) == (late == set(Evidence))
    if settled is not None:
        assert settled == max(at for _, at in counted)
        assert max(listings) - min(listings) >= seconds(GAP_S)


@given(answers, st.data())
def test_the_order_in_which_answers_come_does_not_matter(found: Answers, data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(found))
    one, other = told(found), told(shuffled)
    assert (one.settled_at(GAP_S), one.first_listing, one.clear) == (
        other.settled_at(GAP_S), other.first_listing, other.clear,
    )  # fmt: skip


@given(answers, st.floats(90, 140), st.integers(0, 3), st.integers(0, 3))
def test_the_account_is_read_last_and_has_to_show_what_is_uncovered(
    found: Answers, asked_s: float, available: int, needed: int
) -> None:
    search, asked = told(found), seconds(asked_s)
    settled = search.settled_at(GAP_S)
    expected = settled is not None and asked >= settled and available >= needed
    assert search.proven(GAP_S, asked, Decimal(available), Decimal(needed)) is expected


def test_a_venue_that_answers_is_asked_little_and_proves_soon() -> None:
    search, at_s, looks = SEARCH, 102.0, []
    while search.settled_at(GAP_S) is None:
        looks.append(at_s)
        second = search.second_look(seconds(at_s), GAP_S)
        search = search.queried(seconds(at_s))
        search = told([(what, at_s) for what in (Evidence if second else (Evidence.LISTING,))], search)
        at_s = search.next_boot_ns / NS_PER_S
    assert looks == [102.0, 112.0]


def test_a_venue_that_does_not_answer_is_asked_ever_more_slowly() -> None:
    search, waits = SEARCH, []
    for _ in range(6):
        search = search.queried(0)
        waits.append(search.next_boot_ns / NS_PER_S)
    assert waits == [2, 4, 8, 10, 10, 10]


def test_the_gap_is_never_shorter_than_the_visibility_delay_or_ten_seconds() -> None:
    assert (vanished.gap_s(2.0), vanished.gap_s(30.0)) == (10.0, 30.0)


def test_what_is_uncovered_is_all_that_no_order_the_venue_may_know_can_hold() -> None:
    sells = [replace(order(n, "1"), intent=replace(order(n, "1").intent, side=Side.SELL)) for n in (1, 2)]
    lost = frozenset({sells[0].id})
    assert vanished.uncovered(Decimal(3), sells, lost) == 2
    assert vanished.uncovered(Decimal(2), sells, lost) == 1
    assert vanished.uncovered(Decimal("0.5"), sells, lost) == 0
    unknown = replace(sells[1], facts=replace(sells[1].facts, outcome=OutcomeKind.UNKNOWN))
    assert vanished.uncovered(Decimal(2), [sells[0], unknown], lost) == 1, "one of unknown fate may hold coins"
    assert vanished.uncovered(Decimal(2), [order(3, "9")], frozenset()) == 2, "a BUY holds none"


def test_an_entry_may_rest_until_its_own_end() -> None:
    entry = order(1)
    resting = replace(entry, intent=replace(entry.intent, end_utc_ns=seconds(50)))
    assert vanished.may_rest(resting, seconds(51), seconds(2))
    assert not vanished.may_rest(resting, seconds(53), seconds(2))
    assert not vanished.may_rest(entry, 0, seconds(2)), "an IOC rests never"
