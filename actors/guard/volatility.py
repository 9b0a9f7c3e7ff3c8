"""High-low range of the accepted mid over a sliding window, in basis points of the low."""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from actors.clock import NS_PER_S

BPS = Decimal(10_000)
CALM_SHARE = Decimal("0.8")
"""Entries come back below this share of the limit, so that a range at the limit does not flicker."""


class RangeWindow:
    """Sliding maximum and minimum (monotonic queues: constant time per sample)."""

    def __init__(self, window_s: float, max_bps: Decimal) -> None:
        self._window_ns = round(window_s * NS_PER_S)
        self._max_bps = max_bps
        self._highs: deque[tuple[int, Decimal]] = deque()
        self._lows: deque[tuple[int, Decimal]] = deque()
        self._last: Decimal | None = None
        self.volatile = False

    def note(self, price: Decimal, now: int) -> None:
        """Take one accepted mid. The one before it stood until now, however long nothing came."""
        if self._last is not None and self._last != price:
            self._push(self._last, now)
        self._last = price
        self._push(price, now)
        self.judge(now)

    def judge(self, now: int) -> bool:
        """Whether the range is above the limit at ``now``; the newest price is always part of it."""
        for queue in (self._highs, self._lows):
            while len(queue) > 1 and now - queue[0][0] > self._window_ns:
                queue.popleft()
        spread = self.range_bps
        if spread is not None:
            self.volatile = spread > self._max_bps * (CALM_SHARE if self.volatile else 1)
        return self.volatile

    def _push(self, price: Decimal, now: int) -> None:
        while self._highs and self._highs[-1][1] <= price:
            self._highs.pop()
        while self._lows and self._lows[-1][1] >= price:
            self._lows.pop()
        self._highs.append((now, price))
        self._lows.append((now, price))

    @property
    def range_bps(self) -> Decimal | None:
        """None before the first price."""
        if not self._highs:
            return None
        low = self._lows[0][1]
        return (self._highs[0][1] - low) / low * BPS
