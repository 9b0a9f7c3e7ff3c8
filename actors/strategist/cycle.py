"""When to decide, and why a decision led to no proposal."""

from __future__ import annotations

import random
from enum import StrEnum

from actors.messages.books import PortfolioSnapshot
from actors.messages.health import Lease, TradingState


class NoTradeReason(StrEnum):
    """Why one cycle proposed nothing: a closed list."""

    NO_LEASE = "no_lease"
    HALTED = "halted"
    NO_SNAPSHOT = "no_snapshot"
    NO_QUOTES = "no_quotes"
    NO_RISK = "no_risk"
    BUSY = "busy"
    NO_IDEAS = "no_ideas"
    STALE_IDEAS = "stale_ideas"
    STRATEGY_START = "strategy_start"
    STRATEGY_CRASH = "strategy_crash"
    STRATEGY_OVERRUN = "strategy_overrun"
    STRATEGY_DIED = "strategy_died"
    STRATEGY_GARBAGE = "strategy_garbage"
    STRATEGY_DEMO_ONLY = "strategy_demo_only"


def next_interval(cycle_s: float, jitter: float, source: random.Random) -> float:
    """Seconds to the next decision: uniform in ``cycle_s`` +- ``jitter``, so that cycles never fall into step."""
    return source.uniform(cycle_s * (1 - jitter), cycle_s * (1 + jitter))


def why_not(
    lease: Lease | None, lease_age_s: float, max_age_s: float, snapshot: PortfolioSnapshot | None, quotes: int
) -> NoTradeReason | None:
    """Why the strategy is not even asked now; None when it may be."""
    if lease is None or lease_age_s > max_age_s:
        return NoTradeReason.NO_LEASE
    if lease.state not in (TradingState.RUN, TradingState.REDUCE_ONLY):
        return NoTradeReason.HALTED
    if snapshot is None or not snapshot.ready:
        return NoTradeReason.NO_SNAPSHOT
    if quotes == 0:
        return NoTradeReason.NO_QUOTES
    return None
