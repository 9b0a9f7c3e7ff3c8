"""The breakers: a closed list, each per scope, closed / open / half open. Pure; time is an argument.

A breaker is open as long as any source reports a cause. A self-healing one goes half open after its hold without
a cause, closes after a probe time without one, and every relapse doubles the hold: it cannot flap faster than
that. A latched one ignores that its cause went away and waits for a named operator. Entries stay stopped until
a breaker is closed again; half open only lifts what goes beyond that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from actors.clock import NS_PER_S
from actors.messages.health import BreakerName, BreakerState, BreakerStatus, TradingState

EVERYTHING = "*"
RELAPSE_HOLDS = 10
"""A trip within this many holds after closing is a relapse."""

LATCHED = frozenset(
    {
        BreakerName.DAILY_LOSS,
        BreakerName.WEEKLY_LOSS,
        BreakerName.DRAWDOWN,
        BreakerName.EGRESS,
        BreakerName.LEDGER_WRITE,
        BreakerName.RECONCILE,
        BreakerName.UNKNOWN_AGE,
        BreakerName.AUTH,
        BreakerName.REPEATED_EXECUTION,
    }
)
"""Open until a named operator resumes; all others heal by themselves."""

EFFECTS: dict[BreakerName, TradingState] = {
    BreakerName.QUOTE_STALE: TradingState.REDUCE_ONLY,
    BreakerName.BOOK_GAP: TradingState.REDUCE_ONLY,
    BreakerName.USER_CHANNEL: TradingState.REDUCE_ONLY,
    BreakerName.VOLATILITY: TradingState.REDUCE_ONLY,
    BreakerName.PRODUCT_MODE: TradingState.HALTED,  # unless the mode read says less: see product_modes.py
    BreakerName.API_ERRORS: TradingState.REDUCE_ONLY,
    BreakerName.API_LATENCY: TradingState.REDUCE_ONLY,
    BreakerName.RATE_LIMIT: TradingState.REDUCE_ONLY,
    BreakerName.AUTH: TradingState.HALTED,
    BreakerName.CLOCK: TradingState.REDUCE_ONLY,
    BreakerName.ACTOR_LATENCY: TradingState.REDUCE_ONLY,
    # The books can no longer be trusted: whatever trades on them would trade on a guess.
    BreakerName.LEDGER_WRITE: TradingState.HALTED,
    BreakerName.EGRESS: TradingState.HALTED,
    BreakerName.RECONCILE: TradingState.HALTED,
    BreakerName.REJECTIONS: TradingState.REDUCE_ONLY,
    # The same order again and again is a strategy out of control, on either side.
    BreakerName.REPEATED_EXECUTION: TradingState.HALTED,
    BreakerName.UNKNOWN_AGE: TradingState.REDUCE_ONLY,
    BreakerName.DAILY_LOSS: TradingState.REDUCE_ONLY,
    BreakerName.WEEKLY_LOSS: TradingState.REDUCE_ONLY,
    BreakerName.DRAWDOWN: TradingState.REDUCE_ONLY,
    BreakerName.DISK: TradingState.REDUCE_ONLY,
}
"""What an open breaker does to trading in its scope."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The same instant on both clocks: durations count on the boot clock, records carry UTC."""

    boot_ns: int
    utc_ns: int


@dataclass(frozen=True, slots=True)
class Timing:
    """Hold before half open at the first trip, its ceiling, and the time half open; seconds."""

    hold_s: float
    hold_max_s: float
    probe_s: float


@dataclass(frozen=True, slots=True)
class Breaker:
    """One breaker in one scope. ``calm_boot_ns``: since when no source reports a cause (or when it was restored)."""

    name: BreakerName
    scope: str
    state: BreakerState
    reason: str
    since_utc_ns: int
    trips: int
    effect: TradingState
    hold_s: float
    calm_boot_ns: int
    closed_boot_ns: int = 0
    causes: tuple[tuple[str, str, TradingState], ...] = ()
    """(source, reason, effect) of every source that reports a cause now."""

    @property
    def latched(self) -> bool:
        return self.name in LATCHED

    @property
    def trading_state(self) -> TradingState:
        """What it does to trading in its scope now."""
        if self.state is BreakerState.CLOSED:
            return TradingState.RUN
        if self.state is BreakerState.HALF_OPEN:
            return TradingState.REDUCE_ONLY
        return self.effect

    @property
    def status(self) -> BreakerStatus:
        return BreakerStatus(
            self.name, self.scope, self.state, self.reason, self.since_utc_ns, self.trips, self.latched
        )


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of state, for the log, the alert and the durable record."""

    breaker: BreakerName
    scope: str
    before: BreakerState
    after: BreakerState
    reason: str
    by: str
    at_utc_ns: int
    latched: bool


@dataclass(slots=True)
class BreakerBoard:
    """All breakers that ever tripped, by (name, scope). Each method returns the transitions it caused."""

    timing: Timing
    rows: dict[tuple[BreakerName, str], Breaker] = field(default_factory=dict)

    def restore(self, rows: Iterable[Breaker], now: Moment) -> None:
        """Take over durable rows: what was open stays open; who reported the cause is not known any more, so a
        self-healing one waits out a whole hold from now."""
        for row in rows:
            state = BreakerState.OPEN if row.state is BreakerState.HALF_OPEN else row.state
            self.rows[row.name, row.scope] = replace(
                row, state=state, causes=(), calm_boot_ns=now.boot_ns, closed_boot_ns=now.boot_ns
            )

    def trip(
        self,
        name: BreakerName,
        scope: str,
        *,
        reason: str,
        by: str,
        now: Moment,
        effect: TradingState | None = None,
    ) -> tuple[Transition, ...]:
        """A source reports a cause. ``effect``: overrides the table (a product's mode)."""
        wanted = effect or EFFECTS[name]
        row = self.rows.get((name, scope))
        if row is None:
            row = Breaker(name, scope, BreakerState.CLOSED, "", now.utc_ns, 0, wanted, self.timing.hold_s, 0)
        causes = (*(cause for cause in row.causes if cause[0] != by), (by, reason, wanted))
        worst = max((cause[2] for cause in causes), key=lambda state: state.rank)
        if row.state is BreakerState.OPEN:
            # A latched breaker never softens; a healing one does what its present causes ask for.
            worst = max(worst, row.effect, key=lambda state: state.rank) if row.latched else worst
            shown = row.reason if row.causes or row.latched else reason
            self.rows[name, scope] = replace(row, causes=causes, effect=worst, reason=shown)
            return ()
        self.rows[name, scope] = replace(
            row,
            state=BreakerState.OPEN,
            reason=reason,
            since_utc_ns=now.utc_ns,
            trips=row.trips + 1,
            effect=worst,
            hold_s=self._next_hold(row, now),
            causes=causes,
        )
        return (self._moved(row, BreakerState.OPEN, reason, by, now),)

    def clear(self, name: BreakerName, scope: str, *, by: str, now: Moment) -> None:
        """A source says that its cause is gone; the breaker stays open until its hold has passed."""
        row = self.rows.get((name, scope))
        if row is None or not any(cause[0] == by for cause in row.causes):
            return
        causes = tuple(cause for cause in row.causes if cause[0] != by)
        effect = row.effect
        if causes and not row.latched:
            effect = max((cause[2] for cause in causes), key=lambda state: state.rank)
        calm = row.calm_boot_ns if causes else now.boot_ns
        self.rows[name, scope] = replace(row, causes=causes, effect=effect, calm_boot_ns=calm)

    def source_restarted(self, by: str, now: Moment) -> None:
        """What a dead source reported is nobody's cause any more; its successor reports anew."""
        for row in list(self.rows.values()):
            self.clear(row.name, row.scope, by=by, now=now)

    def tick(self, now: Moment) -> tuple[Transition, ...]:
        """Let time heal what heals by itself."""
        moved: list[Transition] = []
        for key, row in self.rows.items():
            if row.latched or row.causes or row.state is BreakerState.CLOSED:
                continue
            calm_s = (now.boot_ns - row.calm_boot_ns) / NS_PER_S
            if row.state is BreakerState.OPEN and calm_s >= row.hold_s:
                self.rows[key] = replace(
                    row, state=BreakerState.HALF_OPEN, since_utc_ns=now.utc_ns, calm_boot_ns=now.boot_ns
                )
                moved.append(self._moved(row, BreakerState.HALF_OPEN, row.reason, "time", now))
            elif row.state is BreakerState.HALF_OPEN and calm_s >= self.timing.probe_s:
                self.rows[key] = replace(
                    row, state=BreakerState.CLOSED, since_utc_ns=now.utc_ns, closed_boot_ns=now.boot_ns
                )
                moved.append(self._moved(row, BreakerState.CLOSED, row.reason, "time", now))
        return tuple(moved)

    def settle(self, names: frozenset[BreakerName], now: Moment) -> tuple[Transition, ...]:
        """Close what has no cause left, without hold or probe: for the start, when nothing has flowed yet."""
        moved: list[Transition] = []
        for key, row in self.rows.items():
            if row.name in names and not (row.latched or row.causes or row.state is BreakerState.CLOSED):
                self.rows[key] = replace(
                    row, state=BreakerState.CLOSED, since_utc_ns=now.utc_ns, closed_boot_ns=now.boot_ns
                )
                moved.append(self._moved(row, BreakerState.CLOSED, row.reason, "start", now))
        return tuple(moved)

    def resume(self, operator: str, now: Moment) -> tuple[Transition, ...]:
        """A named operator resets every latched breaker; raises ValueError without a name."""
        if not operator.strip():
            raise ValueError("a latched breaker is reset by a named operator only")
        moved: list[Transition] = []
        for key, row in self.rows.items():
            if row.latched and row.state is not BreakerState.CLOSED:
                self.rows[key] = replace(
                    row,
                    state=BreakerState.CLOSED,
                    since_utc_ns=now.utc_ns,
                    closed_boot_ns=now.boot_ns,
                    causes=(),
                    effect=EFFECTS[row.name],
                )
                moved.append(self._moved(row, BreakerState.CLOSED, row.reason, operator, now))
        return tuple(moved)

    def active(self) -> tuple[Breaker, ...]:
        """Every breaker that is not closed."""
        return tuple(row for row in self.rows.values() if row.state is not BreakerState.CLOSED)

    def _next_hold(self, row: Breaker, now: Moment) -> float:
        if row.latched or row.trips == 0:
            return self.timing.hold_s
        relapsed = (
            row.state is BreakerState.HALF_OPEN
            or (now.boot_ns - row.closed_boot_ns) / NS_PER_S < RELAPSE_HOLDS * row.hold_s
        )
        return min(row.hold_s * 2, self.timing.hold_max_s) if relapsed else self.timing.hold_s

    @staticmethod
    def _moved(row: Breaker, after: BreakerState, reason: str, by: str, now: Moment) -> Transition:
        return Transition(row.name, row.scope, row.state, after, reason, by, now.utc_ns, row.latched)
