from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.feed.sequence import SequenceCheck, SequenceVerdict

IN_ORDER, GAP = SequenceVerdict.IN_ORDER, SequenceVerdict.GAP
DUPLICATE, LATE = SequenceVerdict.DUPLICATE, SequenceVerdict.LATE


def test_a_jump_is_a_gap_and_says_how_many_are_lost() -> None:
    check = SequenceCheck()
    assert [check.note(n) for n in (0, 1, 5, 6)] == [IN_ORDER, IN_ORDER, GAP, IN_ORDER]
    assert (check.gaps, check.lost) == (1, 3)


def test_the_same_number_is_a_duplicate_and_a_lower_one_late() -> None:
    check = SequenceCheck()
    assert [check.note(n) for n in (0, 1, 1, 0, 2)] == [IN_ORDER, IN_ORDER, DUPLICATE, LATE, IN_ORDER]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=40))
def test_in_order_means_exactly_the_successor_of_the_highest_so_far(numbers: list[int]) -> None:
    check = SequenceCheck()
    highest: int | None = None
    for number in numbers:
        verdict = check.note(number)
        if highest is None or number == highest + 1:
            assert verdict is IN_ORDER
        elif number > highest:
            assert verdict is GAP
        else:
            assert verdict is (DUPLICATE if number == highest else LATE)
        highest = number if highest is None else max(highest, number)
