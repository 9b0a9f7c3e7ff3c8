"""How often a dead tree is started anew: at once, then after jitter, then not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.clock import NS_PER_S
from commands.root_restarts import RootRestarts
from config.sections.watchdog import SupervisionSettings

MINUTE = 60 * NS_PER_S


def restarts(limit: int, **more: float) -> RootRestarts:
    return RootRestarts(SupervisionSettings(root_restarts=limit, **more), spread=lambda limit_s: limit_s)


def test_the_first_comes_at_once_the_second_waits_a_third_within_the_window_is_none() -> None:
    policy = restarts(2)
    assert policy.died(0) == 0.0
    assert policy.left(1) == 1
    assert policy.died(MINUTE) == 1.0
    assert policy.left(MINUTE) == 0
    assert policy.died(2 * MINUTE) is None


def test_the_wait_doubles_up_to_its_limit() -> None:
    policy = restarts(6, root_backoff_max_s=5.0)
    assert [policy.died(n * MINUTE) for n in range(6)] == [0.0, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_what_lies_before_the_window_is_forgotten_and_the_next_restart_comes_at_once() -> None:
    policy = restarts(2)
    policy.died(0)
    policy.died(MINUTE)
    assert policy.left(32 * MINUTE) == 2
    assert policy.died(32 * MINUTE) == 0.0
    assert policy.recent(32 * MINUTE) == (32 * MINUTE,)


def test_zero_means_never() -> None:
    assert restarts(0).died(0) is None


@given(st.integers(0, 5), st.lists(st.integers(0, 40 * 60), min_size=1, max_size=30))
def test_never_more_than_allowed_within_any_window(limit: int, gaps_s: list[int]) -> None:
    policy = restarts(limit)
    now, granted = 0, []
    for gap in gaps_s:
        now += gap * NS_PER_S
        if policy.died(now) is None:
            break
        granted.append(now)
    window = 1800 * NS_PER_S
    assert all(sum(1 for at in granted if end - window <= at <= end) <= limit for end in granted)
