"""How many requests may still go out, and in which order they go. Pure: time is an argument (boot-clock ns)."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

from actors.clock import NS_PER_S

CANCEL, PROTECT, QUERY_UNKNOWN, READ, ENTER = 0, 10, 20, 30, 40
HOUR_S = 3600
_SECOND_SHARES = ((CANCEL, 1.0), (PROTECT, 0.9), (QUERY_UNKNOWN, 0.85), (READ, 0.7), (ENTER, 0.7))
_HOUR_SHARES = ((PROTECT, 1.0), (QUERY_UNKNOWN, 0.97), (READ, 0.9), (ENTER, 0.85))
_FIRST_PENALTY_S = 1.0
_MAX_PENALTY_S = 30.0
_CANCEL_PENALTY_S = 1.0
_PROTECT_PENALTY_S = 1.0


@dataclass(slots=True)
class Budget:
    """A sliding second and a sliding hour. Each priority may use a share; cancels use all, in the hour even more.

    After a 429 or an exhausted header everything waits; cancels and what protects at most one second, in which the
    venue's own second is over: a request that is refused costs nothing, and one that waits costs money.
    """

    per_second: float
    per_hour: int
    _second: deque[int] = field(default_factory=deque)
    _hour: deque[tuple[int, int]] = field(default_factory=deque)
    _hour_sum: int = 0
    _blocked_until_ns: int = 0
    _cancels_blocked_until_ns: int = 0
    _protection_blocked_until_ns: int = 0
    _penalty_s: float = 0.0

    def wait_ns(self, now_ns: int, priority: int) -> int:
        """0 when a request of this priority may go now; else nanoseconds until it is worth asking again."""
        self._forget(now_ns)
        blocked = self._blocked_until(priority)
        if now_ns < blocked:
            return blocked - now_ns
        allowed = max(1, int(self.per_second * _share(_SECOND_SHARES, priority)))
        if len(self._second) >= allowed:
            return max(1, self._second[len(self._second) - allowed] + NS_PER_S - now_ns)
        if priority > CANCEL and self._hour_sum >= self.per_hour * _share(_HOUR_SHARES, priority):
            return max(1, (self._hour[0][0] + HOUR_S + 1) * NS_PER_S - now_ns)
        return 0

    def take(self, now_ns: int) -> None:
        """One request goes out now."""
        self._second.append(now_ns)
        second = now_ns // NS_PER_S
        if self._hour and self._hour[-1][0] == second:
            self._hour[-1] = (second, self._hour[-1][1] + 1)
        else:
            self._hour.append((second, 1))
        self._hour_sum += 1

    def note_answer(self, now_ns: int, status: int | None, headers: Mapping[str, str]) -> None:
        """Obey what the venue says: 429, Retry-After and x-ratelimit-* (names in any case)."""
        told = {name.lower(): value for name, value in headers.items()}
        if status == 429:
            # The rest of a burst that was refused a moment ago says nothing new.
            if now_ns >= self._cancels_blocked_until_ns or not self._penalty_s:
                self._penalty_s = min(_MAX_PENALTY_S, self._penalty_s * 2 or _FIRST_PENALTY_S)
            wait_s = max(self._penalty_s, _seconds(told.get("retry-after")) or 0.0)
            self._block(now_ns, wait_s)
        elif status is not None and status < 400:
            self._penalty_s = 0.0
            if _seconds(told.get("x-ratelimit-remaining")) == 0.0:
                # The reset header's unit is undocumented: small numbers are seconds, large ones a UNIX time.
                reset = _seconds(told.get("x-ratelimit-reset"))
                self._block(now_ns, reset if reset is not None and 0 < reset <= _MAX_PENALTY_S else 1.0)

    def remember(self, now_ns: int, by_age_s: Mapping[int, int]) -> None:
        """Count what went out before this process began: requests by their age in whole seconds."""
        second = now_ns // NS_PER_S
        before = [(second - age, count) for age, count in sorted(by_age_s.items(), reverse=True)]
        self._hour.extendleft(reversed(before))
        self._hour_sum += sum(count for _, count in before)

    def spend_share_of(self, now_ns: int, priority: int) -> None:
        """What went out is not known: requests of ``priority`` and below wait an hour, those above go on."""
        self.remember(now_ns, {0: round(self.per_hour * _share(_HOUR_SHARES, priority))})

    def left(self, now_ns: int) -> tuple[float, int]:
        """(requests left in this second, in this hour) for a request of the highest priority."""
        self._forget(now_ns)
        return max(0.0, self.per_second - len(self._second)), max(0, self.per_hour - self._hour_sum)

    def _block(self, now_ns: int, wait_s: float) -> None:
        self._blocked_until_ns = max(self._blocked_until_ns, now_ns + round(wait_s * NS_PER_S))
        cancel_ns = now_ns + round(min(wait_s, _CANCEL_PENALTY_S) * NS_PER_S)
        self._cancels_blocked_until_ns = max(self._cancels_blocked_until_ns, cancel_ns)
        protect_ns = now_ns + round(min(wait_s, _PROTECT_PENALTY_S) * NS_PER_S)
        self._protection_blocked_until_ns = max(self._protection_blocked_until_ns, protect_ns)

    def _blocked_until(self, priority: int) -> int:
        if priority <= CANCEL:
            return self._cancels_blocked_until_ns
        return self._protection_blocked_until_ns if priority <= PROTECT else self._blocked_until_ns

    def _forget(self, now_ns: int) -> None:
        while self._second and self._second[0] <= now_ns - NS_PER_S:
            self._second.popleft()
        while self._hour and self._hour[0][0] < now_ns // NS_PER_S - HOUR_S:
            self._hour_sum -= self._hour.popleft()[1]


def _share(shares: tuple[tuple[int, float], ...], priority: int) -> float:
    for limit, share in shares:
        if priority <= limit:
            return share
    return shares[-1][1]


def _seconds(value: str | None) -> float | None:
    """A whole number of seconds from a header; None for anything else (dates, texts)."""
    if value is None or not value.strip().isdigit() or len(value.strip()) > 12:
        return None
    return float(value.strip())


T = TypeVar("T")


@dataclass(slots=True)
class PriorityQueue(Generic[T]):
    """Lower priority numbers first, then first come first served."""

    _heap: list[tuple[int, int, T]] = field(default_factory=list)
    _serial: count[int] = field(default_factory=count)

    def put(self, priority: int, item: T) -> None:
        heapq.heappush(self._heap, (priority, next(self._serial), item))

    def peek(self) -> tuple[int, T] | None:
        return (self._heap[0][0], self._heap[0][2]) if self._heap else None

    def pop(self) -> T:
        return heapq.heappop(self._heap)[2]

    def remove(self, items: list[T]) -> None:
        """Take out every item of ``items`` (by identity)."""
        gone = {id(item) for item in items}
        self._heap = [entry for entry in self._heap if id(entry[2]) not in gone]
        heapq.heapify(self._heap)

    def items(self) -> list[T]:
        return [entry[2] for entry in self._heap]

    def __len__(self) -> int:
        return len(self._heap)
