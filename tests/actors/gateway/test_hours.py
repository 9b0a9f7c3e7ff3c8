"""The hour's requests outlive the process that made them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.clock import NS_PER_S
from actors.gateway.budget import ENTER, HOUR_S, PROTECT, READ, Budget
from actors.gateway.hours import SLOTS, DamagedHoursError, RequestHours

UTC = 1_790_000_000 * NS_PER_S


def again(path: Path, now_utc_ns: int) -> dict[int, int]:
    hours = RequestHours(path)
    try:
        return hours.read(now_utc_ns)
    finally:
        hours.close()


def test_what_was_noted_is_found_by_a_successor_with_its_age(tmp_path: Path) -> None:
    path = tmp_path / "requests.hours"
    hours = RequestHours(path)
    assert hours.read(UTC) == {}
    for second in (0, 0, 5, 5, 5):
        hours.note(UTC + second * NS_PER_S)
    assert again(path, UTC + 10 * NS_PER_S) == {10: 2, 5: 3}
    assert again(path, UTC + 2 * SLOTS * NS_PER_S) == {}


def test_a_successor_in_the_same_second_goes_on_counting(tmp_path: Path) -> None:
    path = tmp_path / "requests.hours"
    for _ in range(3):
        hours = RequestHours(path)
        hours.read(UTC)
        hours.note(UTC)
        hours.close()
    assert again(path, UTC) == {0: 3}


def test_requests_from_the_future_count_as_now(tmp_path: Path) -> None:
    path = tmp_path / "requests.hours"
    RequestHours(path).note(UTC + 100 * NS_PER_S)
    assert again(path, UTC) == {0: 1}


@pytest.mark.parametrize("data", [b"abc", b"\1" * 16, b"\0" * (SLOTS * 8 + 8)])
def test_a_damaged_file_says_so(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "requests.hours"
    path.write_bytes(data)
    with pytest.raises(DamagedHoursError):
        again(path, UTC)


@given(st.lists(st.integers(0, 2 * HOUR_S), max_size=60).map(sorted), st.integers(0, HOUR_S))
def test_a_budget_that_was_restarted_allows_what_one_that_lived_on_does(steps: list[int], later: int) -> None:
    lived, second = Budget(1000, 20), 0
    noted: dict[int, int] = {}
    for second in steps:
        lived.take(second * NS_PER_S)
        noted[second] = noted.get(second, 0) + 1
    now = (steps[-1] if steps else 0) + later
    new = Budget(1000, 20)
    new.remember(now * NS_PER_S, {now - at: count for at, count in noted.items() if now - at <= HOUR_S})
    for check in (now, now + 17, now + HOUR_S):
        assert new.left(check * NS_PER_S)[1] == lived.left(check * NS_PER_S)[1]


def test_where_nobody_knows_entries_wait_and_protection_goes_on() -> None:
    budget = Budget(100, 1000)
    budget.spend_share_of(0, ENTER)
    assert budget.wait_ns(NS_PER_S, ENTER) > 3590 * NS_PER_S
    assert budget.wait_ns(NS_PER_S, READ) == budget.wait_ns(NS_PER_S, PROTECT) == 0
