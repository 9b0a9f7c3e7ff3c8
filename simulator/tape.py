"""The public record of a market: its trades with contiguous ids, its bars, its last 24 hours."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from decimal import Decimal

from simulator.products import DayStats
from simulator.values import NS_PER_S, ZERO, Json, rfc3339, text

GRANULARITIES_S = {
    "ONE_MINUTE": 60, "FIVE_MINUTE": 300, "FIFTEEN_MINUTE": 900, "THIRTY_MINUTE": 1800, "ONE_HOUR": 3600,
    "TWO_HOUR": 7200, "FOUR_HOUR": 14_400, "SIX_HOUR": 21_600, "ONE_DAY": 86_400,
}
MINUTES_KEPT = 3 * 1440
TRADES_KEPT = 2000


@dataclass(frozen=True, slots=True)
class TapeTrade:
    """A public trade; the side is the maker's."""

    trade_id: int
    price: Decimal
    size: Decimal
    side: str
    time_ns: int


@dataclass(slots=True)
class Bar:
    """One bar; `start_s` is UNIX seconds."""

    start_s: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal

    def take(self, price: Decimal, size: Decimal) -> None:
        """Add a trade."""
        self.high, self.low = max(self.high, price), min(self.low, price)
        self.close = price
        self.volume += size

    def join(self, later: Bar) -> None:
        """Add a later bar."""
        self.high, self.low = max(self.high, later.high), min(self.low, later.low)
        self.close = later.close
        self.volume += later.volume

    def render(self) -> Json:
        """Write the bar as REST does."""
        return {"start": str(self.start_s), "low": text(self.low), "high": text(self.high),
                "open": text(self.open), "close": text(self.close), "volume": text(self.volume)}


class Tape:
    """Trades and bars of one book."""

    def __init__(self, book_id: str, next_trade_id: int) -> None:
        self.book_id = book_id
        self.next_trade_id = next_trade_id
        self.trades: deque[TapeTrade] = deque(maxlen=TRADES_KEPT)
        self._minutes: dict[int, Bar] = {}
        self._hours: dict[int, Bar] = {}

    def add(self, price: Decimal, size: Decimal, side: str, time_ns: int) -> TapeTrade:
        """Print a trade under the next id."""
        return self.add_known(TapeTrade(self.next_trade_id, price, size, side, time_ns))

    def add_known(self, trade: TapeTrade) -> TapeTrade:
        """Print a trade that has its id already."""
        self.next_trade_id = trade.trade_id + 1
        self.trades.append(trade)
        second = trade.time_ns // NS_PER_S
        self._into(self._minutes, second // 60 * 60, trade)
        self._into(self._hours, second // 3600 * 3600, trade)
        if len(self._minutes) > MINUTES_KEPT:
            del self._minutes[next(iter(self._minutes))]
        return trade

    @staticmethod
    def _into(bars: dict[int, Bar], start_s: int, trade: TapeTrade) -> None:
        if start_s in bars:
            bars[start_s].take(trade.price, trade.size)
        else:
            price = trade.price
            bars[start_s] = Bar(start_s, price, price, price, price, trade.size)

    def add_history(self, minutes: list[Bar], hours: list[Bar]) -> None:
        """Put older bars before everything else; both lists ascending."""
        self._minutes = {bar.start_s: bar for bar in minutes} | self._minutes
        self._hours = {bar.start_s: bar for bar in hours} | self._hours

    def bars(self, granularity_s: int, start_s: int, end_s: int) -> list[Bar]:
        """Return the bars that start in [start, end], ascending; a bar without trades is absent."""
        source = self._minutes if granularity_s < 3600 else self._hours
        joined: dict[int, Bar] = {}
        for bar_start in sorted(source):
            start = bar_start // granularity_s * granularity_s
            if start < start_s or start > end_s:
                continue
            bar = source[bar_start]
            if start in joined:
                joined[start].join(bar)
            else:
                joined[start] = Bar(start, bar.open, bar.high, bar.low, bar.close, bar.volume)
        return list(joined.values())

    def recent_bars(self, granularity_s: int, now_s: int, count: int) -> list[Bar]:
        """Return the newest bars, ascending."""
        return self.bars(granularity_s, now_s - granularity_s * count, now_s)[-count:]

    def day(self, now_s: int, last: Decimal) -> DayStats:
        """Summarize the last 24 hours, to the hour."""
        first = now_s - 86_400
        bars = [bar for start, bar in self._hours.items() if start > first]
        if not bars:
            return DayStats(last, ZERO, last, last, ZERO)
        opened = bars[0].open
        change = ((last - opened) / opened * 100).quantize(Decimal("0.00000001"))
        return DayStats(last, sum((b.volume for b in bars), ZERO), max(b.high for b in bars),
                        min(b.low for b in bars), change)


def render_trade(book_id: str, trade: TapeTrade) -> Json:
    """Write a trade as the market_trades channel does."""
    return {"product_id": book_id, "trade_id": str(trade.trade_id), "price": text(trade.price),
            "size": text(trade.size), "time": rfc3339(trade.time_ns), "side": trade.side}
