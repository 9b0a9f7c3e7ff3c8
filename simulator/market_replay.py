"""A recorded feed: its frames, byte for byte, and what they do to the books."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import cast

import orjson

from simulator.book import BUY, SELL
from simulator.engine import Engine
from simulator.tape import Tape, TapeTrade
from simulator.values import NS_PER_S, Json, parse_rfc3339

_SIDES = {"bid": BUY, "offer": SELL}


class BadRecordingError(ValueError):
    """A recording cannot be read."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One recorded frame: when it came (ns after the first), its text, and what it is about."""

    offset_ns: int
    text: str
    channel: str
    sequence: int
    products: tuple[str, ...]
    is_snapshot: bool

    def numbered(self, sequence: int) -> str:
        """Return the text with another sequence number; unchanged bytes where the number is the same."""
        if sequence == self.sequence:
            return self.text
        return self.text.replace(f'"sequence_num":{self.sequence},', f'"sequence_num":{sequence},', 1)

    def event(self) -> Json:
        """Return the frame's first event, decoded."""
        return cast("Json", orjson.loads(self.text)["events"][0])


@dataclass(frozen=True, slots=True)
class Recording:
    """A whole recording; `start_ns` is the venue time of its first frame."""

    products: tuple[str, ...]
    frames: tuple[Frame, ...]
    start_ns: int

    @property
    def channels(self) -> set[str]:
        """Name the channels as one subscribes to them."""
        names = {frame.channel for frame in self.frames} - {"subscriptions"}
        return {"level2" if name == "l2_data" else name for name in names}


def load(path: Path) -> Recording:
    """Read a recording (`.jsonl` or `.jsonl.gz`); raises BadRecordingError."""
    opener = gzip.open if path.suffix == ".gz" else open
    frames: list[Frame] = []
    with opener(path, "rb") as lines:
        header = orjson.loads(next(lines))
        if not isinstance(header, dict) or not header.get("replay"):
            raise BadRecordingError(f"{path}: the first line is no replay header")
        for line in lines:
            row = orjson.loads(line)
            frames.append(_frame(round(row["dt"] * NS_PER_S), row["f"]))
    if not frames:
        raise BadRecordingError(f"{path}: no frames")
    start_ns = parse_rfc3339(orjson.loads(frames[0].text)["timestamp"])
    return Recording(tuple(header["products"]), tuple(frames), start_ns)


def _frame(offset_ns: int, text: str) -> Frame:
    decoded = orjson.loads(text)
    products: set[str] = set()
    for event in decoded["events"]:
        if "product_id" in event:
            products.add(event["product_id"])
        for name in ("trades", "tickers", "candles"):
            products.update(row["product_id"] for row in event.get(name, ()))
    is_snapshot = any(event.get("type") == "snapshot" for event in decoded["events"])
    return Frame(offset_ns, text, decoded["channel"], decoded["sequence_num"], tuple(sorted(products)), is_snapshot)


def apply(frame: Frame, engine: Engine, tapes: dict[str, Tape], now_ns: int) -> None:
    """Let a recorded frame move the engine's books and print its trades."""
    if frame.channel not in {"l2_data", "market_trades"}:
        return
    for event in orjson.loads(frame.text)["events"]:
        if frame.channel == "market_trades":
            for trade in _trades(event):
                _print(event, trade, engine, tapes, now_ns)
        elif event["product_id"] in engine.books:
            levels = [(_SIDES[row["side"]], Decimal(row["price_level"]), Decimal(row["new_quantity"]))
                      for row in event["updates"]]
            if event["type"] == "snapshot":
                engine.on_book(
                    event["product_id"], ((p, q) for side, p, q in levels if side == BUY),
                    ((p, q) for side, p, q in levels if side == SELL), now_ns,
                )
            else:
                engine.on_levels(event["product_id"], levels, now_ns)


def _trades(event: Json) -> Iterator[tuple[str, TapeTrade]]:
    for row in reversed(cast("list[dict[str, str]]", event["trades"])):
        yield row["product_id"], TapeTrade(int(row["trade_id"]), Decimal(row["price"]), Decimal(row["size"]),
                                           row["side"], parse_rfc3339(row["time"]))


def _print(event: Json, traded: tuple[str, TapeTrade], engine: Engine, tapes: dict[str, Tape],
           now_ns: int) -> None:
    book_id, trade = traded
    if book_id not in engine.books:
        return
    tapes[book_id].add_known(trade)
    if event["type"] == "snapshot":
        # trades of before: they set the last price and match nothing
        engine.books[book_id].last_price = trade.price
    else:
        engine.on_trade(book_id, trade.price, trade.size, trade.side, now_ns)
