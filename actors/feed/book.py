"""A level-2 book: absolute sizes by Decimal price, best levels at hand.

Depth is not filtered: real books hold levels at 0.01 and at 138,991,023.41 (measured).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from decimal import Decimal

from sortedcontainers import SortedList

from actors.messages.market import Level


class Book:
    """The levels of one product. ``loaded`` is False before a snapshot and after ``clear``."""

    __slots__ = ("_ask_prices", "_asks", "_bid_prices", "_bids", "loaded")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything: the book can no longer be trusted."""
        self.loaded = False
        self._bids: dict[Decimal, Decimal] = {}
        self._asks: dict[Decimal, Decimal] = {}
        self._bid_prices: SortedList[Decimal] = SortedList()
        self._ask_prices: SortedList[Decimal] = SortedList()

    def load(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Replace everything by a snapshot."""
        self._bids = {price: size for price, size in bids if size}
        self._asks = {price: size for price, size in asks if size}
        self._bid_prices = SortedList(self._bids)
        self._ask_prices = SortedList(self._asks)
        self.loaded = True

    def apply(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Set levels; size 0 removes one. Removing an unknown level happens and changes nothing (measured)."""
        _set_levels(self._bids, self._bid_prices, bids)
        _set_levels(self._asks, self._ask_prices, asks)

    @property
    def best_bid(self) -> Level | None:
        if not self._bid_prices:
            return None
        price = self._bid_prices[-1]
        return price, self._bids[price]

    @property
    def best_ask(self) -> Level | None:
        if not self._ask_prices:
            return None
        price = self._ask_prices[0]
        return price, self._asks[price]

    @property
    def crossed(self) -> bool:
        """True when the best bid is at or above the best ask."""
        return bool(self._bid_prices) and bool(self._ask_prices) and self._bid_prices[-1] >= self._ask_prices[0]

    def top_bids(self, count: int) -> tuple[Level, ...]:
        """The best ``count`` bids, best first."""
        levels = self._bids
        return tuple((price, levels[price]) for price in reversed(self._bid_prices[-count:]))

    def top_asks(self, count: int) -> tuple[Level, ...]:
        """The best ``count`` asks, best first."""
        levels = self._asks
        return tuple((price, levels[price]) for price in self._ask_prices[:count])

    def sizes(self) -> tuple[int, int]:
        """(bid levels, ask levels)."""
        return len(self._bids), len(self._asks)

    def sha256(self) -> str:
        """Hash over lines ``bid|offer PRICE SIZE``: bids high to low, then offers low to high, decimals without
        trailing zeros, joined by newline."""
        lines = [f"bid {plain(p)} {plain(self._bids[p])}" for p in reversed(self._bid_prices)]
        lines += [f"offer {plain(p)} {plain(self._asks[p])}" for p in self._ask_prices]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def plain(number: Decimal) -> str:
    """``number`` without exponent and trailing zeros."""
    return format(number.normalize(), "f")


def _set_levels(sizes: dict[Decimal, Decimal], prices: SortedList[Decimal], levels: Iterable[Level]) -> None:
    for price, size in levels:
        if size:
            known = len(sizes)
            sizes[price] = size
            if len(sizes) != known:
                prices.add(price)
        elif sizes.pop(price, None) is not None:
            prices.remove(price)
