"""Daily and weekly loss and drawdown, on realized plus unrealized, as shares of the allotted capital.

``profit`` is realized plus unrealized since the ledger began. Day and week (Monday) begin at 00:00 UTC with the
last profit that was seen before. The high starts at zero (equity: the allotted capital).

Money that left without a fill is no part of ``profit``: it counts on top, on every day, until an operator accepts
it. So an acceptance never looks like a gain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from actors.clock import NS_PER_S
from actors.messages.health import BreakerName
from config.sections.risk import RiskSettings

HUNDRED = Decimal(100)
LOSS_BREAKERS = (BreakerName.DAILY_LOSS, BreakerName.WEEKLY_LOSS, BreakerName.DRAWDOWN)


@dataclass(frozen=True, slots=True)
class Latch:
    """A loss limit that was reached. ``seen``: the watchdog's lease has named it since."""

    breaker: BreakerName
    reason: str
    seen: bool = False


@dataclass(frozen=True, slots=True)
class LossState:
    """What must outlive the process. All money in quote currency."""

    high: Decimal
    last: Decimal
    day_start_utc_ns: int
    day_open: Decimal
    week_start_utc_ns: int
    week_open: Decimal
    latches: tuple[Latch, ...] = ()

    def latch(self, breaker: BreakerName) -> Latch | None:
        return next((latch for latch in self.latches if latch.breaker is breaker), None)


@dataclass(frozen=True, slots=True)
class LossView:
    """The figures of now; losses are positive when money was lost."""

    equity: Decimal
    high_water: Decimal
    loss_day: Decimal
    loss_week: Decimal
    drawdown_pct: Decimal


def day_start(utc_ns: int) -> int:
    """00:00 UTC of this day."""
    moment = datetime.fromtimestamp(utc_ns // NS_PER_S, UTC).replace(hour=0, minute=0, second=0)
    return int(moment.timestamp()) * NS_PER_S


def week_start(utc_ns: int) -> int:
    """00:00 UTC of this week's Monday."""
    day = datetime.fromtimestamp(day_start(utc_ns) // NS_PER_S, UTC)
    return int((day - timedelta(days=day.weekday())).timestamp()) * NS_PER_S


def begin(realized_total: Decimal, realized_day: Decimal, realized_week: Decimal, now_utc_ns: int) -> LossState:
    """The state of a store that never saw a figure: what the ledger realized today counts as today's."""
    return LossState(
        high=max(Decimal(0), realized_total),
        last=realized_total,
        day_start_utc_ns=day_start(now_utc_ns),
        day_open=realized_total - realized_day,
        week_start_utc_ns=week_start(now_utc_ns),
        week_open=realized_total - realized_week,
    )


def advance(state: LossState, profit: Decimal, now_utc_ns: int) -> LossState:
    """Take in one figure: roll day and week (never backwards), raise the high."""
    if day_start(now_utc_ns) > state.day_start_utc_ns:
        state = replace(state, day_start_utc_ns=day_start(now_utc_ns), day_open=state.last)
    if week_start(now_utc_ns) > state.week_start_utc_ns:
        state = replace(state, week_start_utc_ns=week_start(now_utc_ns), week_open=state.last)
    if profit == state.last and profit <= state.high:
        return state
    return replace(state, last=profit, high=max(state.high, profit))


def view(state: LossState, allotted: Decimal, unexplained: Decimal = Decimal(0)) -> LossView:
    """The figures at ``state.last``; ``unexplained``: what left without a fill, quote currency, not negative."""
    return LossView(
        equity=allotted + state.last - unexplained,
        high_water=allotted + state.high,
        loss_day=state.day_open - state.last + unexplained,
        loss_week=state.week_open - state.last + unexplained,
        drawdown_pct=(state.high - state.last + unexplained) / allotted * HUNDRED,
    )


def exceeded(figures: LossView, limits: RiskSettings, allotted: Decimal) -> dict[BreakerName, str]:
    """The limits that are reached now, with a text for people."""
    reached: dict[BreakerName, str] = {}
    if figures.loss_day >= allotted * limits.daily_loss_pct / HUNDRED:
        reached[BreakerName.DAILY_LOSS] = f"loss of the day {figures.loss_day:.2f}, limit {limits.daily_loss_pct} %"
    if figures.loss_week >= allotted * limits.weekly_loss_pct / HUNDRED:
        reached[BreakerName.WEEKLY_LOSS] = f"loss of the week {figures.loss_week:.2f}, limit {limits.weekly_loss_pct} %"
    if figures.drawdown_pct >= limits.max_drawdown_pct:
        reached[BreakerName.DRAWDOWN] = f"drawdown {figures.drawdown_pct:.2f} %, limit {limits.max_drawdown_pct} %"
    return reached


def latch(state: LossState, reached: dict[BreakerName, str]) -> LossState:
    """Latch what is reached and not latched yet."""
    new = tuple(Latch(name, reason) for name, reason in reached.items() if state.latch(name) is None)
    return replace(state, latches=state.latches + new) if new else state


def hear_lease(state: LossState, named: frozenset[BreakerName], running: bool) -> LossState:
    """Take in which breakers the watchdog's lease names.

    A latch ends only when the watchdog named it before and now runs without naming it: an operator has accepted
    the loss. What was lost until now then no longer counts, or the limit would be reached again at once.
    """
    for item in state.latches:
        if item.breaker in named:
            if not item.seen:
                rest = tuple(other for other in state.latches if other is not item)
                state = replace(state, latches=(*rest, replace(item, seen=True)))
        elif item.seen and running:
            state = _accept(state, item)
    return state


def _accept(state: LossState, item: Latch) -> LossState:
    rest = tuple(other for other in state.latches if other is not item)
    if item.breaker is BreakerName.DAILY_LOSS:
        return replace(state, latches=rest, day_open=state.last)
    if item.breaker is BreakerName.WEEKLY_LOSS:
        return replace(state, latches=rest, week_open=state.last)
    return replace(state, latches=rest, high=state.last)
