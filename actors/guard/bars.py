"""Bars over [start, end) UTC from public trades, driven by exchange time alone.

A bar closes when the exchange's own time has passed its end by ``GRACE_NS`` (trades are gathered over 250 ms)
and every trade until then was handed over; so a lost connection delays a bar and does not falsify it.
The ids of a product's trades have no holes (measured): a hole makes the bars it touches incomplete.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from actors.clock import NS_PER_S
from actors.messages.market import Bar, PublicTrade

GRACE_NS = NS_PER_S
_RENUMBERED_NS = 10 * NS_PER_S


class TradeLine:
    """The trades of one product in the order of their ids, each once; notices holes."""

    __slots__ = ("holes", "last")

    def __init__(self) -> None:
        self.last: PublicTrade | None = None
        self.holes = 0

    def take(self, trades: tuple[PublicTrade, ...]) -> tuple[tuple[PublicTrade, ...], tuple[tuple[int, int], ...]]:
        """(trades not seen before, holes as (from, to) exchange times in ns). Before the first trade is a hole."""
        fresh: list[PublicTrade] = []
        holes: list[tuple[int, int]] = []
        for trade in trades:
            last = self.last
            if last is None:
                holes.append((0, trade.time_utc_ns))
            elif trade.trade_id != last.trade_id + 1:
                renumbered = trade.time_utc_ns > last.time_utc_ns + _RENUMBERED_NS
                if trade.trade_id <= last.trade_id and not renumbered:
                    continue
                self.holes += 1
                holes.append((last.time_utc_ns, trade.time_utc_ns))
            self.last = trade
            fresh.append(trade)
        return tuple(fresh), tuple(holes)


@dataclass(slots=True)
class _Open:
    """A bar in the making; ``first``/``last`` order trades of the same bar by id."""

    start_utc_ns: int
    first: PublicTrade
    last: PublicTrade
    high: Decimal
    low: Decimal
    volume: Decimal
    trades: int


class BarBuilder:
    """Bars of one product. Trades may come in any order; one for a bar already sent is counted as late."""

    def __init__(self, symbol: str, interval_s: int) -> None:
        self.symbol = symbol
        self.interval_s = interval_s
        self.late = 0
        self._interval_ns = interval_s * NS_PER_S
        self._open: dict[int, _Open] = {}
        self._holes: list[tuple[int, int]] = []
        self._closed_until_utc_ns = 0

    def add(self, trade: PublicTrade) -> None:
        start = trade.time_utc_ns - trade.time_utc_ns % self._interval_ns
        if start < self._closed_until_utc_ns:
            self.late += 1
            return
        bar = self._open.get(start)
        if bar is None:
            self._open[start] = _Open(start, trade, trade, trade.price, trade.price, trade.size, 1)
            return
        if trade.trade_id < bar.first.trade_id:
            bar.first = trade
        if trade.trade_id > bar.last.trade_id:
            bar.last = trade
        bar.high = max(bar.high, trade.price)
        bar.low = min(bar.low, trade.price)
        bar.volume += trade.size
        bar.trades += 1

    def miss(self, from_utc_ns: int, to_utc_ns: int) -> None:
        """Trades between these times may be missing."""
        self._holes.append((from_utc_ns, to_utc_ns))

    def close(self, until_utc_ns: int, held_utc_ns: int | None = None) -> list[Bar]:
        """The bars that ended ``GRACE_NS`` before ``until_utc_ns`` (all trades until then are in), oldest first.

        A bar with a trade still held for confirmation (the oldest at ``held_utc_ns``) waits.
        """
        limit = until_utc_ns - GRACE_NS
        if held_utc_ns is not None:
            limit = min(limit, held_utc_ns)
        boundary = limit - limit % self._interval_ns
        if boundary <= self._closed_until_utc_ns:
            return []
        ready = sorted(start for start in self._open if start + self._interval_ns <= boundary)
        bars = [self._make(self._open.pop(start)) for start in ready]
        self._closed_until_utc_ns = boundary
        self._holes = [hole for hole in self._holes if hole[1] >= boundary]
        return bars

    def _make(self, bar: _Open) -> Bar:
        start, end = bar.start_utc_ns, bar.start_utc_ns + self._interval_ns
        return Bar(
            symbol=self.symbol,
            interval_s=self.interval_s,
            start_utc_ns=start,
            end_utc_ns=end,
            open=bar.first.price,
            high=bar.high,
            low=bar.low,
            close=bar.last.price,
            volume=bar.volume,
            trades=bar.trades,
            complete=not any(since < end and until >= start for since, until in self._holes),
        )
