"""When the strategist decides, and why it does not."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from actors.messages.health import TradingState
from actors.strategist.cycle import NoTradeReason, next_interval, why_not
from tests.actors.strategist.factories import lease, snapshot


def test_intervals_are_uniform_within_twenty_percent() -> None:
    source = random.Random(7)
    drawn = [next_interval(5.0, 0.2, source) for _ in range(20_000)]
    assert min(drawn) >= 4.0
    assert max(drawn) <= 6.0
    bins = [0] * 10
    for value in drawn:
        bins[min(9, int((value - 4.0) / 0.2))] += 1
    # Chi-square with 9 degrees of freedom: 27.9 is passed by chance once in a thousand.
    assert sum((count - 2000) ** 2 / 2000 for count in bins) < 27.9


def test_consecutive_intervals_do_not_follow_one_another() -> None:
    source = random.Random(11)
    drawn = [next_interval(5.0, 0.2, source) - 5.0 for _ in range(10_000)]
    lagged = sum(a * b for a, b in pairwise(drawn))
    assert abs(lagged / sum(a * a for a in drawn)) < 0.04


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((None, 0.0, 2.0, snapshot(0), 1), NoTradeReason.NO_LEASE),
        ((lease(0), 2.1, 2.0, snapshot(0), 1), NoTradeReason.NO_LEASE),
        ((lease(0, TradingState.HALTED), 0.1, 2.0, snapshot(0), 1), NoTradeReason.HALTED),
        ((lease(0, TradingState.KILLED), 0.1, 2.0, snapshot(0), 1), NoTradeReason.HALTED),
        ((lease(0), 0.1, 2.0, None, 1), NoTradeReason.NO_SNAPSHOT),
        ((lease(0), 0.1, 2.0, snapshot(0, ready=False), 1), NoTradeReason.NO_SNAPSHOT),
        ((lease(0), 0.1, 2.0, snapshot(0), 0), NoTradeReason.NO_QUOTES),
        ((lease(0, TradingState.REDUCE_ONLY), 0.1, 2.0, snapshot(0), 1), None),
        ((lease(0), 0.1, 2.0, snapshot(0), 1), None),
    ],
)
def test_the_strategy_is_asked_only_when_something_could_come_of_it(
    arguments: tuple[object, ...], reason: NoTradeReason | None
) -> None:
    assert why_not(*arguments) is reason  # type: ignore[arg-type]
