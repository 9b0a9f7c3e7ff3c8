"""Cooldowns, the losing streak and the rates: what happened lately and therefore may not happen now.

Times run on the boot clock; the durable copies are in UTC (actors/risk/state.py).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from actors.clock import NS_PER_S
from actors.messages.market import Side

STREAK = "*"
"""The scope of the lock after a losing streak."""
MINUTE_NS = 60 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Lock:
    """Closed until ``ends_boot_ns``; ``ends_utc_ns`` is the same moment for people and for the store."""

    ends_boot_ns: int
    ends_utc_ns: int


@dataclass(frozen=True, slots=True)
class Approved:
    """One approval that was given."""

    proposal_id: str
    symbol: str
    side: Side
    at_boot_ns: int
    at_utc_ns: int


@dataclass(slots=True)
class Locks:
    """All locks and counters; one method per event."""

    cooldowns: dict[str, Lock] = field(default_factory=dict)
    streak: int = 0
    approvals: deque[Approved] = field(default_factory=deque)
    last_close_utc_ns: dict[str, int] = field(default_factory=dict)

    def lock_of(self, scope: str, now_boot_ns: int) -> Lock | None:
        """The lock that closes ``scope`` now."""
        lock = self.cooldowns.get(scope)
        return lock if lock is not None and now_boot_ns < lock.ends_boot_ns else None

    def cool(self, scope: str, seconds: float, now_boot_ns: int, now_utc_ns: int) -> None:
        """Close ``scope`` for ``seconds``; never shortens a longer lock."""
        span = round(seconds * NS_PER_S)
        new = Lock(now_boot_ns + span, now_utc_ns + span)
        old = self.cooldowns.get(scope)
        if span > 0 and (old is None or old.ends_boot_ns < new.ends_boot_ns):
            self.cooldowns[scope] = new

    def closed(self, won: bool, losing_streak: int) -> bool:
        """Count one round trip; True when it completes a losing streak (which starts anew)."""
        self.streak = 0 if won else self.streak + 1
        if self.streak >= losing_streak:
            self.streak = 0
            return True
        return False

    def note(self, approved: Approved, window_ns: int) -> None:
        """Count one approval; forgets those older than ``window_ns``."""
        self.approvals.append(approved)
        while self.approvals and approved.at_boot_ns - self.approvals[0].at_boot_ns > max(window_ns, MINUTE_NS):
            self.approvals.popleft()

    def in_last_minute(self, now_boot_ns: int) -> int:
        return sum(1 for item in self.approvals if now_boot_ns - item.at_boot_ns < MINUTE_NS)

    def repeats(self, symbol: str, side: Side, now_boot_ns: int, window_ns: int) -> int:
        """Approvals of this symbol and side within the window."""
        return sum(
            1
            for item in self.approvals
            if item.symbol == symbol and item.side is side and now_boot_ns - item.at_boot_ns < window_ns
        )

    def knows(self, proposal_id: str) -> bool:
        return any(item.proposal_id == proposal_id for item in self.approvals)

    def active(self, now_boot_ns: int) -> tuple[tuple[str, int], ...]:
        """(scope, ends at utc ns) of the locks that hold now."""
        held = [(scope, lock.ends_utc_ns) for scope, lock in self.cooldowns.items() if now_boot_ns < lock.ends_boot_ns]
        return tuple(sorted(held))
