"""A made-up market: a price that walks through regimes and jumps, with a book and trades around it.

The same seed gives the same path step by step. The model yields events one after another, so that a trade
printed on the way down meets the book as it is at that moment, not as it will be.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from simulator.book import BUY, SELL, Book
from simulator.matching import Level
from simulator.products import Product
from simulator.tape import Bar
from simulator.values import NS_PER_S, Json, ceil_to, floor_to

DEPTH = 150  # levels a side
STEPS_PER_S = 20
MOST_PRINTS = 60  # trades that one step prints at most, however far it moves
BASE_SIGMA = 2.0e-5  # of a 50 ms step: 50 % a year

# name, its share of the base volatility, drift in sigmas a step, mean length in steps
REGIMES = (
    ("calm", 0.6, 0.0, 2400), ("trend_up", 1.0, 0.06, 1200),
    ("trend_down", 1.0, -0.06, 1200), ("wild", 2.5, 0.0, 600),
)
JUMP_CHANCE = 5.0e-6  # one in about three hours
TRADE_CHANCE = 0.10


@dataclass(frozen=True, slots=True)
class LevelsMoved:
    """Absolute sizes of some levels."""

    levels: list[Level]


@dataclass(frozen=True, slots=True)
class Traded:
    """A trade between others; the side is the maker's."""

    price: Decimal
    size: Decimal
    maker_side: str


MarketEvent = LevelsMoved | Traded


class SyntheticMarket:
    """One symbol's walk. Levels lie on a grid of about one basis point; `mid` is in grid units."""

    def __init__(self, product: Product, seed: int, state: Json | None = None) -> None:
        self.product = product
        saved = state or {}
        self.steps = int(str(saved.get("steps", 0)))
        self._random = random.Random(f"{seed}:{product.product_id}:{self.steps}")
        grid = floor_to(product.start_price / 10_000, product.price_increment)
        self.grid = max(product.price_increment, grid)
        start = float(str(saved.get("price", product.start_price)))
        self.frozen = bool(saved.get("frozen", False))
        self.regime = int(str(saved.get("regime", 0)))
        self._mid = start / float(self.grid)
        self._bid = math.floor(self._mid - 0.5)

    def state(self) -> Json:
        """Return what a restart needs to go on from here."""
        return {"steps": self.steps, "price": repr(self._mid * float(self.grid)), "frozen": self.frozen,
                "regime": self.regime}

    def _price(self, index: int) -> Decimal:
        return self.grid * index

    def _size(self, distance: int) -> Decimal:
        notional = 4000.0 * (1 + 0.15 * distance) * self._random.lognormvariate(0, 0.8)
        size = notional / (float(self.grid) * max(1, self._bid))
        return max(self.product.base_min_size, floor_to(Decimal(repr(size)), self.product.base_increment))

    def snapshot(self) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
        """Make a whole book around the present price: bids and asks, best first."""
        bids = [(self._price(self._bid - k), self._size(k)) for k in range(min(DEPTH, self._bid))]
        asks = [(self._price(self._bid + 1 + k), self._size(k)) for k in range(DEPTH)]
        return bids, asks

    def step(self, book: Book, stretch: float = 1.0) -> Iterator[MarketEvent]:
        """Live through one step of 50 ms, or of `stretch` times as long."""
        self.steps += 1
        if not self.frozen:
            self._walk(stretch)
            yield from self._follow(book)
            if self._random.random() < TRADE_CHANCE:
                yield from self._noise_trade(book)
        yield from self._resize(book)

    def _walk(self, stretch: float) -> None:
        _, share, drift, length = REGIMES[self.regime]
        if self._random.random() < stretch / length:
            self.regime = self._random.randrange(len(REGIMES))
        sigma = BASE_SIGMA * share
        move = sigma * math.sqrt(stretch) * self._random.gauss(0, 1) + drift * sigma * min(stretch, float(STEPS_PER_S))
        if self._random.random() < JUMP_CHANCE * stretch:
            move += self._random.choice((-1, 1)) * self._random.uniform(0.003, 0.010)
        self._mid = max(2.0, self._mid * math.exp(move))

    def move_to(self, price: Decimal, book: Book) -> Iterator[MarketEvent]:
        """Take the market to a price, printing trades through the levels on the way and one at the price."""
        going_down = book.last_price is None or price < book.last_price
        self._mid = max(2.0, float(price) / float(self.grid))
        yield from self._follow(book)
        increment = self.product.price_increment
        last = floor_to(price, increment) if going_down else ceil_to(price, increment)
        yield Traded(last, self._size(1), BUY if going_down else SELL)

    def _follow(self, book: Book) -> Iterator[MarketEvent]:
        """Move the book to the mid: eat the levels in between, print their trades, show the new ones."""
        target = math.floor(self._mid - 0.5)
        chunk = min(DEPTH // 2, max(1, math.ceil(abs(target - self._bid) / MOST_PRINTS)))
        while target != self._bid:
            old, up = self._bid, target > self._bid
            count = min(chunk, abs(target - old))
            eaten_side, first, sign = (SELL, old + 1, 1) if up else (BUY, old, -1)
            part = [self._price(first + sign * k) for k in range(count)]
            size = sum((book.size_at(eaten_side, price) for price in part), Decimal(0))
            yield LevelsMoved([(eaten_side, price, Decimal(0)) for price in part])
            yield Traded(part[-1], max(size, self.product.base_min_size), eaten_side)
            self._bid = old + sign * count
            yield LevelsMoved(self._reveal(old, self._bid))

    def _reveal(self, old: int, new: int) -> list[Level]:
        """List what a moved book shows anew near the touch and at its far ends, and what it drops."""
        levels: list[Level] = []
        if new > old:
            for index in range(max(old + 1, new - DEPTH + 1), new + 1):
                levels.append((BUY, self._price(index), self._size(new - index)))
            for index in range(max(old + DEPTH, new) + 1, new + DEPTH + 1):
                levels.append((SELL, self._price(index), self._size(index - new)))
            for index in range(max(1, old - DEPTH + 1), min(old, new - DEPTH) + 1):
                levels.append((BUY, self._price(index), Decimal(0)))
        else:
            for index in range(new + 1, min(old, new + DEPTH) + 1):
                levels.append((SELL, self._price(index), self._size(index - new)))
            for index in range(max(1, new - DEPTH + 1), min(old - DEPTH, new) + 1):
                levels.append((BUY, self._price(index), self._size(new - index)))
            for index in range(max(old + 1, new + DEPTH + 1), old + DEPTH + 1):
                levels.append((SELL, self._price(index), Decimal(0)))
        return levels

    def _noise_trade(self, book: Book) -> Iterator[MarketEvent]:
        side = self._random.choice((BUY, SELL))
        best = book.best(side)
        if best is None:
            return
        wish = Decimal(repr(self._random.expovariate(1 / 500.0) / float(best.price)))
        size = max(self.product.base_min_size, floor_to(wish, self.product.base_increment))
        if size >= best.size:
            return
        yield LevelsMoved([(side, best.price, best.size - size)])
        yield Traded(best.price, size, side)

    def _resize(self, book: Book) -> Iterator[MarketEvent]:
        """Change a few sizes; what a taker emptied comes back like this too."""
        levels: list[Level] = []
        for _ in range(self._random.randrange(1, 4)):
            distance = min(DEPTH - 1, int(self._random.expovariate(0.15)))
            if self._random.random() < 0.5:
                index, side = self._bid - distance, BUY
            else:
                index, side = self._bid + 1 + distance, SELL
            if index > 0:
                levels.append((side, self._price(index), self._size(distance)))
        yield LevelsMoved(levels)


def history(product: Product, price: Decimal, seed: int, now_s: int) -> tuple[list[Bar], list[Bar]]:
    """Make up a day of minute bars and sixty days of hour bars that end at `price`, both ascending."""
    source = random.Random(f"{seed}:{product.product_id}:history")
    day_start = now_s // 3600 * 3600 - 86_400
    minutes, opened = _walk_back(product, price, source, now_s // 60 * 60 - 60, day_start, 60)
    folded: dict[int, Bar] = {}
    for bar in minutes:
        start = bar.start_s // 3600 * 3600
        if start in folded:
            folded[start].join(bar)
        else:
            folded[start] = Bar(start, bar.open, bar.high, bar.low, bar.close, bar.volume)
    hours, _ = _walk_back(product, opened, source, day_start - 3600, day_start - 60 * 86_400, 3600)
    return minutes, hours + list(folded.values())


def _walk_back(
    product: Product, close: Decimal, source: random.Random, newest_s: int, oldest_s: int, length_s: int
) -> tuple[list[Bar], Decimal]:
    sigma = BASE_SIGMA * math.sqrt(STEPS_PER_S * length_s)
    bars: list[Bar] = []
    increment = product.price_increment
    for start in range(newest_s, oldest_s - 1, -length_s):
        back = Decimal(repr(math.exp(source.gauss(0, sigma))))
        opened = max(increment, floor_to(close * back, increment))
        reach = Decimal(repr(1 + abs(source.gauss(0, sigma / 2))))
        high = ceil_to(max(opened, close) * reach, increment)
        low = max(increment, floor_to(min(opened, close) / reach, increment))
        volume = Decimal(repr(source.expovariate(1.0) * 2000.0 * length_s / 60 / float(close)))
        size = max(product.base_min_size, floor_to(volume, product.base_increment))
        bars.append(Bar(start, opened, high, low, close, size))
        close = opened
    bars.reverse()
    return bars, close


def now_seconds(time_ns: int) -> int:
    """Return whole UNIX seconds."""
    return time_ns // NS_PER_S
