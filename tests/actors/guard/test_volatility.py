from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from actors.guard.volatility import RangeWindow
from tests.actors.guard.market import boot

D = Decimal


def test_the_range_is_high_over_low_in_the_window() -> None:
    window = RangeWindow(60, D(500))
    for second, price in enumerate(("100", "102", "99.5", "101")):
        window.note(D(price), boot(second))
    assert window.range_bps == D("2.5") / D("99.5") * 10_000


def test_a_jump_after_a_long_silence_is_seen() -> None:
    window = RangeWindow(60, D(500))
    window.note(D(100), boot(0))
    window.note(D(110), boot(600))
    assert window.volatile


def test_it_is_calm_again_when_the_jump_left_the_window() -> None:
    window = RangeWindow(60, D(500))
    window.note(D(100), boot(0))
    window.note(D(110), boot(1))
    assert window.judge(boot(60))
    assert not window.judge(boot(62))


def test_a_range_at_the_limit_does_not_flicker() -> None:
    window = RangeWindow(10, D(500))
    window.note(D(100), boot(0))
    window.note(D("105.1"), boot(1))
    assert window.volatile
    window.note(D("100.4"), boot(10))
    assert window.judge(boot(10.5))  # 468 bps: below the limit, above four fifths of it


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 50)), min_size=1, max_size=40))
def test_the_queues_equal_a_plain_search(steps: list[tuple[int, int]]) -> None:
    window = RangeWindow(10, D(1))
    now, kept = 0, []
    for pause, price in steps:
        now += pause
        if kept:
            kept.append((now, kept[-1][1]))  # the price before stood until now
        kept.append((now, price))
        window.note(D(price), boot(now))
        inside = [value for at, value in kept if now - at <= 10]
        assert window.range_bps == (D(max(inside)) - min(inside)) / min(inside) * 10_000
