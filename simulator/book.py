"""The market's order book as the feed shows it, and what our own takers ate from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from sortedcontainers import SortedDict

from simulator.values import ZERO

BUY = "BUY"
SELL = "SELL"


def opposite(side: str) -> str:
    """Name the other side."""
    return SELL if side == BUY else BUY


@dataclass(frozen=True, slots=True)
class Take:
    """A piece of displayed liquidity that a taker gets."""

    price: Decimal
    size: Decimal


class Book:
    """Price levels of one market; sizes are the market's own, without our resting orders."""

    def __init__(self, book_id: str) -> None:
        self.book_id = book_id
        self._sides: dict[str, SortedDict[Decimal, Decimal]] = {BUY: SortedDict(), SELL: SortedDict()}
        self._eaten: dict[tuple[str, Decimal], Decimal] = {}
        self.last_price: Decimal | None = None

    def replace(self, bids: Iterable[tuple[Decimal, Decimal]], asks: Iterable[tuple[Decimal, Decimal]]) -> None:
        """Put a whole new book in place."""
        self._sides = {BUY: SortedDict(bids), SELL: SortedDict(asks)}
        self._eaten.clear()

    def set_level(self, side: str, price: Decimal, size: Decimal) -> None:
        """Set a level's absolute size; zero deletes it. What takers ate there is forgotten."""
        levels = self._sides[side]
        if self._eaten:
            self._eaten.pop((side, price), None)
        if size == 0:
            levels.pop(price, None)
        else:
            levels[price] = size

    def eat(self, side: str, price: Decimal, size: Decimal) -> None:
        """Remember that a taker consumed part of a level, until the market next updates it."""
        key = (side, price)
        self._eaten[key] = self._eaten.get(key, ZERO) + size

    def size_at(self, side: str, price: Decimal) -> Decimal:
        """Tell what is left of a level."""
        size: Decimal = self._sides[side].get(price, ZERO)
        return size - self._eaten.get((side, price), ZERO)

    def levels(self, side: str) -> Iterator[Take]:
        """Walk a side from its best price, leaving out what was eaten."""
        levels = self._sides[side]
        for price in reversed(levels) if side == BUY else iter(levels):
            size = levels[price] - self._eaten.get((side, price), ZERO)
            if size > 0:
                yield Take(price, size)

    def best(self, side: str) -> Take | None:
        """Return the best level of a side, or None when it is empty."""
        return next(self.levels(side), None)

    def mid(self) -> Decimal | None:
        """Return the mid price, or None when a side is empty."""
        bid, ask = self.best(BUY), self.best(SELL)
        return None if bid is None or ask is None else (bid.price + ask.price) / 2

    def depth(self, side: str) -> int:
        """Count the levels of a side."""
        return len(self._sides[side])


def crosses(side: str, limit: Decimal, price: Decimal) -> bool:
    """Tell whether an order of `side` with this limit may trade at `price`."""
    return limit >= price if side == BUY else limit <= price


def better(side: str, price: Decimal, than: Decimal) -> bool:
    """Tell whether a resting price of `side` comes before another in the queue."""
    return price > than if side == BUY else price < than
