from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import pytest

from simulator.book import BUY, SELL, Book
from simulator.market_synthetic import DEPTH, LevelsMoved, MarketEvent, SyntheticMarket, Traded, history
from simulator.products import KNOWN
from simulator.values import on_grid

BTC = KNOWN["BTC-USD"]


def opened(seed: int = 1, product: str = "BTC-USD") -> tuple[SyntheticMarket, Book]:
    market, book = SyntheticMarket(KNOWN[product], seed), Book(product)
    book.replace(*market.snapshot())
    book.last_price = KNOWN[product].start_price
    return market, book


def live(book: Book, events: Iterable[MarketEvent]) -> list[Traded]:
    trades = []
    for event in events:
        if isinstance(event, LevelsMoved):
            for side, price, size in event.levels:
                book.set_level(side, price, size)
        else:
            book.last_price = event.price
            trades.append(event)
    return trades


def walk(seed: int, steps: int) -> list[Traded]:
    market, book = opened(seed)
    return [trade for _ in range(steps) for trade in live(book, market.step(book))]


def test_the_same_seed_walks_the_same_path_and_another_does_not() -> None:
    assert walk(7, 400) == walk(7, 400)
    assert walk(7, 400) != walk(8, 400)


@pytest.mark.parametrize("product", ["BTC-USD", "ETH-USD", "DOGE-USD", "ARB-USD", "SUI-USD"])
def test_the_book_is_never_crossed_nor_thin_and_all_values_are_on_the_grid(product: str) -> None:
    market, book = opened(3, product)
    for _ in range(300):
        for trade in live(book, market.step(book, stretch=50.0)):
            assert on_grid(trade.price, market.product.price_increment) and trade.price > 0
            assert on_grid(trade.size, market.product.base_increment) and trade.size > 0
        bid, ask = book.best(BUY), book.best(SELL)
        assert bid is not None and ask is not None and bid.price < ask.price
        assert book.depth(BUY) == book.depth(SELL) == DEPTH


@pytest.mark.parametrize("target", ["65000.01", "60000", "45000.5", "66000", "120000"])
def test_a_move_prints_trades_on_the_way_ends_at_the_price_and_leaves_a_whole_book(target: str) -> None:
    market, book = opened()
    start, goal = BTC.start_price, Decimal(target)
    trades = live(book, market.move_to(goal, book))
    prices = [trade.price for trade in trades]
    assert prices[-1] == goal == book.last_price
    assert all(min(start, goal) - 10 <= price <= max(start, goal) + 10 for price in prices)
    assert prices[:-1] == sorted(prices[:-1], reverse=goal < start)
    assert {trade.maker_side for trade in trades} == {BUY if goal < start else SELL}
    assert book.depth(BUY) == book.depth(SELL) == DEPTH
    assert abs((book.mid() or Decimal(0)) - goal) < 20


def test_on_a_way_down_bids_are_left_at_every_print_for_a_stop_to_sell_into() -> None:
    market, book = opened()
    for event in market.move_to(Decimal(40000), book):
        if isinstance(event, LevelsMoved):
            for side, price, size in event.levels:
                book.set_level(side, price, size)
        else:
            assert book.depth(BUY) >= DEPTH // 2


def test_a_frozen_market_prints_no_trades_but_refills_what_was_eaten() -> None:
    market, book = opened()
    market.frozen = True
    best = book.best(SELL)
    assert best is not None
    book.eat(SELL, best.price, best.size)
    trades = [trade for _ in range(400) for trade in live(book, market.step(book))]
    assert trades == []
    assert book.size_at(SELL, best.price) > 0


def test_a_stored_market_goes_on_from_its_price() -> None:
    market, book = opened()
    live(book, market.move_to(Decimal(50000), book))
    again = SyntheticMarket(BTC, 1, market.state())
    assert abs(again.snapshot()[0][0][0] - Decimal(50000)) < 20


def test_history_is_gapless_ends_at_the_price_and_its_hours_fold_its_minutes() -> None:
    minutes, hours = history(BTC, Decimal("65000"), 1, 1_790_000_000)
    assert minutes[-1].close == Decimal("65000")
    starts = [bar.start_s for bar in minutes]
    assert starts == list(range(starts[0], starts[-1] + 1, 60))
    for bar in (*minutes, *hours):
        assert bar.low <= min(bar.open, bar.close) and bar.high >= max(bar.open, bar.close)
    last_day = [hour for hour in hours if hour.start_s >= starts[0]]
    assert sum(hour.volume for hour in last_day) == sum(bar.volume for bar in minutes)
