"""Daily and weekly loss, drawdown, and the latches."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from actors.clock import NS_PER_S
from actors.messages.health import BreakerName
from actors.risk.losses import advance, begin, day_start, exceeded, hear_lease, latch, view, week_start
from config.sections.risk import RiskSettings
from tests.actors.risk.factories import UTC, D, losses

DAY = 86_400 * NS_PER_S
ALLOTTED = D(1000)


def test_days_and_weeks_begin_at_midnight_utc_and_on_monday() -> None:
    sunday = day_start(UTC)
    assert sunday % DAY == 0
    assert week_start(UTC) == sunday - 6 * DAY
    assert week_start(sunday + DAY) == sunday + DAY
    assert day_start(sunday + DAY - 1) == sunday


def test_a_profit_on_paper_that_melts_is_a_loss_of_the_day() -> None:
    state = advance(losses(), D(40), UTC)
    state = advance(state, D(40), day_start(UTC) + DAY)
    state = advance(state, D(-12), day_start(UTC) + DAY + 1)
    figures = view(state, ALLOTTED)
    assert figures.loss_day == D(52)
    assert set(exceeded(figures, RiskSettings(), ALLOTTED)) == {BreakerName.DAILY_LOSS}


def test_a_loss_carried_over_midnight_is_not_lost_again() -> None:
    state = advance(losses(), D(-45), UTC)
    state = advance(state, D(-45), day_start(UTC) + DAY)
    assert view(state, ALLOTTED).loss_day == 0


def test_a_wall_clock_stepped_back_begins_no_new_day() -> None:
    state = advance(losses(), D(-45), UTC)
    back = advance(state, D(-46), UTC - DAY)
    assert view(back, ALLOTTED).loss_day == D(46)


def test_the_limits_trip_at_their_value_not_beyond_it() -> None:
    limits = RiskSettings()
    at = view(advance(losses(), D(-50), UTC), ALLOTTED)
    above = view(advance(losses(), D("-49.99"), UTC), ALLOTTED)
    assert BreakerName.DAILY_LOSS in exceeded(at, limits, ALLOTTED)
    assert exceeded(above, limits, ALLOTTED) == {}


def test_a_new_store_takes_the_ledgers_day_for_its_own() -> None:
    figures = view(begin(D(-70), D(-30), D(-60), UTC), ALLOTTED)
    assert (figures.loss_day, figures.loss_week) == (D(30), D(60))
    assert figures.drawdown_pct == D(7)


def test_only_a_breaker_that_was_named_and_is_named_no_more_ends_its_latch() -> None:
    tripped = latch(losses(), {BreakerName.DRAWDOWN: "x", BreakerName.DAILY_LOSS: "y"})
    both = frozenset({BreakerName.DRAWDOWN, BreakerName.DAILY_LOSS})
    assert hear_lease(tripped, frozenset(), True) == tripped
    seen = hear_lease(tripped, both, False)
    assert {item.breaker for item in hear_lease(seen, frozenset(), False).latches} == both
    one = hear_lease(seen, frozenset({BreakerName.DRAWDOWN}), True)
    assert [item.breaker for item in one.latches] == [BreakerName.DRAWDOWN]


@given(st.lists(st.integers(-300, 300).map(Decimal), min_size=1, max_size=30))
def test_the_high_only_rises_and_the_drawdown_is_never_negative(profits: list[Decimal]) -> None:
    state = losses()
    for profit in profits:
        before = state.high
        state = advance(state, profit, UTC)
        assert state.high == max(before, profit)
        assert view(state, ALLOTTED).drawdown_pct == (state.high - profit) / 10


def test_what_left_without_a_fill_is_lost_on_every_day_until_it_is_accepted_and_that_is_no_gain() -> None:
    state = advance(losses(), D(-10), UTC)
    tomorrow = day_start(UTC) + DAY
    state = advance(state, D(-10), tomorrow)
    state = advance(state, D(-30), tomorrow + 1)
    missing = view(state, ALLOTTED, D(40))
    assert (missing.equity, missing.loss_day, missing.drawdown_pct) == (D(930), D(60), D(7))
    assert BreakerName.DAILY_LOSS in exceeded(missing, RiskSettings(), ALLOTTED)
    assert view(state, ALLOTTED).loss_day == D(20)
