"""The events of each channel, as the live feed writes them."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import orjson

from simulator.book import BUY, SELL, Book
from simulator.engine import Engine
from simulator.products import DayStats, Product
from simulator.tape import Bar, Tape, TapeTrade, render_trade
from simulator.values import NS_PER_S, Json, rfc3339, text

CANDLE_S = 300
_FEED_SIDE = {BUY: "bid", SELL: "offer"}


def dumps(events: list[Json]) -> str:
    """Write a frame's events."""
    return orjson.dumps(events).decode()


def level2_update(book_id: str, levels: Iterable[tuple[str, Decimal, Decimal]], time_ns: int) -> str:
    """Write absolute sizes of some levels."""
    stamp = rfc3339(time_ns)
    rows = [{"side": _FEED_SIDE[side], "event_time": stamp, "price_level": text(price),
             "new_quantity": text(size)} for side, price, size in levels]
    return dumps([{"type": "update", "product_id": book_id, "updates": rows}])


def level2_snapshot(engine: Engine, book_id: str, time_ns: int, megabytes: float = 0.0) -> str:
    """Write a whole book: bids high to low, then offers low to high, one event time.

    `megabytes` pads it with tiny offers far away, as the real book has them.
    """
    stamp = rfc3339(time_ns)
    rows: list[Json] = []
    for side in (BUY, SELL):
        prices = {take.price for take in engine.books[book_id].levels(side)}
        prices.update(order.resting_price for order in engine.resting_orders(book_id, side))
        for price in sorted(prices, reverse=side == BUY):
            rows.append({"side": _FEED_SIDE[side], "event_time": stamp, "price_level": text(price),
                         "new_quantity": text(engine.displayed(book_id, side, price))})
    padding = round(megabytes * 1_048_576 / 110)
    increment = engine.products[book_id].price_increment
    top = max((Decimal(str(row["price_level"])) for row in rows), default=increment) * 10
    for number in range(padding):
        rows.append({"side": "offer", "event_time": stamp, "price_level": text(top + increment * number),
                     "new_quantity": "0.00000018"})
    return dumps([{"type": "snapshot", "product_id": book_id, "updates": rows}])


def trades(book_id: str, kind: str, ascending: Iterable[TapeTrade]) -> str:
    """Write trades, newest first."""
    rows = [render_trade(book_id, trade) for trade in ascending]
    rows.reverse()
    return dumps([{"type": kind, "trades": rows}])


def ticker(book: Book, day: DayStats, kind: str, batch: bool = False) -> str:
    """Write a ticker; ticker_batch has no best bid and ask."""
    row: Json = {
        "type": "ticker", "product_id": book.book_id, "price": text(day.price), "volume_24_h": text(day.volume),
        "low_24_h": text(day.low), "high_24_h": text(day.high), "low_52_w": text(day.low / 2),
        "high_52_w": text(day.high * 2), "price_percent_chg_24_h": text(day.change_percent),
    }
    bid, ask = book.best(BUY), book.best(SELL)
    if not batch:
        row["best_bid"] = text(bid.price) if bid else ""
        row["best_ask"] = text(ask.price) if ask else ""
        row["best_bid_quantity"] = text(bid.size) if bid else ""
        row["best_ask_quantity"] = text(ask.size) if ask else ""
    return dumps([{"type": kind, "tickers": [row]}])


def candles(book_id: str, bars: Iterable[Bar], kind: str) -> str:
    """Write five-minute bars, ascending."""
    rows = [{"start": str(bar.start_s), "high": text(bar.high), "low": text(bar.low), "open": text(bar.open),
             "close": text(bar.close), "volume": text(bar.volume), "product_id": book_id} for bar in bars]
    return dumps([{"type": kind, "candles": rows}])


def recent_candles(tape: Tape, time_ns: int, count: int) -> list[Bar]:
    """Return the newest five-minute bars, ascending."""
    return tape.recent_bars(CANDLE_S, time_ns // NS_PER_S, count)


def status(products: Iterable[tuple[Product, str]], kind: str) -> str:
    """Write the status channel's products; modes such as cancel_only do not appear on it."""
    rows: list[Json] = [
        {"product_type": "SPOT", "id": p.product_id, "base_currency": p.base, "quote_currency": p.quote,
         "base_increment": text(p.base_increment), "quote_increment": text(p.price_increment),
         "display_name": f"{p.base}/{p.quote}", "status": "delisted" if mode == "trading_disabled" else "online",
         "status_message": "", "min_market_funds": text(p.quote_min_size)}
        for p, mode in products
    ]
    return dumps([{"type": kind, "products": rows}])


def user(kind: str, orders: list[Json]) -> str:
    """Write orders for the user channel; spot has no positions."""
    empty: list[Json] = []
    positions: Json = {"perpetual_futures_positions": empty, "expiring_futures_positions": empty}
    return dumps([{"type": kind, "orders": orders, "positions": positions}])
