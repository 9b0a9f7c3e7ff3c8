"""Frames of the Advanced Trade websocket -> typed events, or one FeedError that says what was wrong.

The venue's envelope is ``channel, timestamp, sequence_num, events`` (measured; docs add ``client_id``). Every
number that is money or size arrives as text and becomes a Decimal; a bare JSON number there is refused, since
it has gone through a float.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from actors.clock import from_rfc3339
from actors.messages.market import Level, PublicTrade, Side

_ZERO = Decimal(0)
_LEAST = Decimal("1e-18")
_MOST = Decimal("1e18")
"""Bounds of every price and size: refuse infinities and exponents that would make text or sums explode."""
_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}


class FeedError(ValueError):
    """A frame that cannot be what the venue meant: the connection's state can no longer be trusted."""


@dataclass(frozen=True, slots=True)
class SubscriptionsEvent:
    """The running total of subscriptions: (channel, products or the user id). Follows the channels' snapshots."""

    channels: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class HeartbeatEvent:
    """Once a second. ``counter`` grows by one and does not start at zero."""

    counter: int
    time_utc_ns: int


@dataclass(frozen=True, slots=True)
class TickerEvent:
    """``best_bid`` and ``best_ask`` are None on ``ticker_batch``."""

    product: str
    price: Decimal
    best_bid: Decimal | None
    best_ask: Decimal | None


@dataclass(frozen=True, slots=True)
class TradesEvent:
    """Trades of one product, oldest first (the venue sends newest first)."""

    product: str
    snapshot: bool
    trades: tuple[PublicTrade, ...]


@dataclass(frozen=True, slots=True)
class BookEvent:
    """Absolute sizes per price; size 0 removes the level."""

    product: str
    snapshot: bool
    bids: list[Level]
    asks: list[Level]


@dataclass(frozen=True, slots=True)
class Candle:
    """One five-minute candle, prices and volume as the venue wrote them."""

    product: str
    start_s: int
    open: str
    high: str
    low: str
    close: str
    volume: str


@dataclass(frozen=True, slots=True)
class CandlesEvent:
    snapshot: bool
    candles: tuple[Candle, ...]


@dataclass(frozen=True, slots=True)
class UserOrder:
    """One order of the user channel: cumulative state, no single fills."""

    order_id: str
    client_order_id: str
    product_id: str
    side: str
    status: str
    cumulative_quantity: Decimal
    filled_value: Decimal
    total_fees: Decimal
    cancel_reason: str
    reject_reason: str
    trigger_status: str


@dataclass(frozen=True, slots=True)
class UserEvent:
    snapshot: bool
    orders: tuple[UserOrder, ...]


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """The venue refused something; such a frame has no envelope and no sequence number."""

    message: str


Event = (
    SubscriptionsEvent | HeartbeatEvent | TickerEvent | TradesEvent | BookEvent | CandlesEvent | UserEvent | ErrorEvent
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. ``sequence`` is None only for an error frame. An unknown channel has no events: its sequence
    number still counts."""

    channel: str
    sequence: int | None
    sent_utc_ns: int
    events: tuple[Event, ...]


def decode(raw: bytes | str) -> Frame:
    """The frame in ``raw``; raises FeedError and nothing else."""
    try:
        return _decode(orjson.loads(raw))
    except FeedError:
        raise
    except KeyError as error:
        raise FeedError(f"field {error} is missing in {_excerpt(raw)}") from error
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise FeedError(f"{type(error).__name__}: {error} in {_excerpt(raw)}") from error


def _excerpt(raw: bytes | str) -> str:
    return repr(raw[:160])


def _decode(message: Any) -> Frame:
    if type(message) is not dict:
        raise FeedError(f"a frame is an object, found {type(message).__name__}")
    if "channel" not in message and message.get("type") == "error":
        return Frame("error", None, 0, (ErrorEvent(_text(message["message"])[:500]),))
    channel = _text(message["channel"])
    sequence = message["sequence_num"]
    if type(sequence) is not int or sequence < 0:
        raise FeedError(f"sequence_num is {sequence!r}")
    sent = _time(message["timestamp"])
    read = _READERS.get(channel)
    events: list[Event] = []
    if read is not None:
        content = message["events"]
        if type(content) is not list:
            raise FeedError(f"events is {type(content).__name__}")
        for item in content:
            events.extend(read(item))
    return Frame(channel, sequence, sent, tuple(events))


def _text(value: object) -> str:
    if type(value) is not str:
        raise FeedError(f"expected text, found {value!r:.80}")
    return value


def _time(value: object) -> int:
    text = _text(value)
    if not text.endswith("Z"):
        raise FeedError(f"a time without Z: {text[:40]!r}")
    return from_rfc3339(text)


def _price(value: object) -> Decimal:
    """A positive amount."""
    number = Decimal(_text(value))
    if not _LEAST <= number < _MOST:
        raise FeedError(f"not a price or size: {value!r:.80}")
    return number


def _amount(value: object) -> Decimal:
    """A sum of the user channel: may be zero, negative (a rebate) or empty text, the venue's way to say none."""
    text = _text(value)
    if not text:
        return _ZERO
    number = Decimal(text)
    if number != _ZERO and not _LEAST <= abs(number) < _MOST:
        raise FeedError(f"not an amount: {value!r:.80}")
    return number


def _is_snapshot(event: Any) -> bool:
    kind = event["type"]
    if kind == "update":
        return False
    if kind == "snapshot":
        return True
    raise FeedError(f"an event of type {kind!r:.80}")


def _book(event: Any) -> list[Event]:
    bids: list[Level] = []
    asks: list[Level] = []
    least, most = _LEAST, _MOST
    for update in event["updates"]:
        price_text, size_text, side = update["price_level"], update["new_quantity"], update["side"]
        # Inlined for the 46,000 levels of a snapshot.
        if type(price_text) is not str or type(size_text) is not str:
            raise FeedError(f"a level in numbers, not text: {price_text!r:.80} {size_text!r:.80}")
        price, size = Decimal(price_text), Decimal(size_text)
        if not least <= price < most or (size and not least <= size < most):
            raise FeedError(f"not a level: {price_text[:80]!r} {size_text[:80]!r}")
        if side == "bid":
            bids.append((price, size))
        elif side == "offer":
            asks.append((price, size))
        else:
            raise FeedError(f"a level's side is {side!r:.80}")
    return [BookEvent(_text(event["product_id"]), _is_snapshot(event), bids, asks)]


def _trades(event: Any) -> list[Event]:
    snapshot = _is_snapshot(event)
    by_product: dict[str, list[PublicTrade]] = {}
    for item in event["trades"]:
        trade = PublicTrade(
            trade_id=int(_text(item["trade_id"])),
            price=_price(item["price"]),
            size=_price(item["size"]),
            maker_side=_SIDES[_text(item["side"])],
            time_utc_ns=_time(item["time"]),
        )
        if trade.trade_id < 0:
            raise FeedError(f"a trade id is {trade.trade_id}")
        by_product.setdefault(_text(item["product_id"]), []).append(trade)
    found: list[Event] = []
    for product, trades in by_product.items():
        trades.sort(key=lambda trade: trade.trade_id)
        found.append(TradesEvent(product, snapshot, tuple(trades)))
    return found


def _ticker(event: Any) -> list[Event]:
    _is_snapshot(event)
    return [
        TickerEvent(
            product=_text(item["product_id"]),
            price=_price(item["price"]),
            best_bid=_price(item["best_bid"]) if item.get("best_bid") else None,
            best_ask=_price(item["best_ask"]) if item.get("best_ask") else None,
        )
        for item in event["tickers"]
    ]


def _candles(event: Any) -> list[Event]:
    rows = tuple(
        Candle(
            product=_text(item["product_id"]),
            start_s=int(_text(item["start"])),
            open=_text(item["open"]),
            high=_text(item["high"]),
            low=_text(item["low"]),
            close=_text(item["close"]),
            volume=_text(item["volume"]),
        )
        for item in event["candles"]
    )
    return [CandlesEvent(_is_snapshot(event), rows)]


def _heartbeat(event: Any) -> list[Event]:
    counter = event["heartbeat_counter"]
    if type(counter) is str:  # as docs show it; measured frames have an integer
        counter = int(counter)
    if type(counter) is not int or counter < 0:
        raise FeedError(f"heartbeat_counter is {counter!r:.80}")
    return [HeartbeatEvent(counter, _go_time(_text(event["current_time"])))]


def _go_time(text: str) -> int:
    """``2026-08-09 21:05:48.854840045 +0000 UTC m=+41691.26``: Go's Time.String(), not RFC 3339 (measured)."""
    if text.endswith("Z"):
        return _time(text)
    parts = text.split(" ")
    if len(parts) < 3 or parts[2] != "+0000":
        raise FeedError(f"not a heartbeat's time: {text[:80]!r}")
    return from_rfc3339(f"{parts[0]}T{parts[1]}Z")


def _subscriptions(event: Any) -> list[Event]:
    listed = []
    for channel, products in event["subscriptions"].items():
        if type(products) is not list:
            raise FeedError(f"subscriptions of {channel[:80]!r} are {type(products).__name__}")
        listed.append((channel, tuple(_text(product) for product in products)))
    return [SubscriptionsEvent(tuple(listed))]


def _user(event: Any) -> list[Event]:
    """Orders; positions (derivatives) in the same event are none of a spot daemon's business."""
    orders = tuple(
        UserOrder(
            order_id=_text(item["order_id"]),
            client_order_id=_text(item["client_order_id"]),
            product_id=_text(item["product_id"]),
            side=_text(item["order_side"]),
            status=_text(item["status"]),
            cumulative_quantity=_amount(item["cumulative_quantity"]),
            filled_value=_amount(item["filled_value"]) if "filled_value" in item else _filled_value(item),
            total_fees=_amount(item["total_fees"]),
            cancel_reason=_text(item.get("cancel_reason") or ""),
            reject_reason=_text(item.get("reject_reason") or ""),
            trigger_status=_text(item.get("trigger_status") or ""),
        )
        for item in event.get("orders") or ()
    )
    return [UserEvent(_is_snapshot(event), orders)]


def _filled_value(item: Any) -> Decimal:
    """Average price times quantity, where the venue left ``filled_value`` out (older frames of the docs)."""
    return _amount(item["avg_price"]) * _amount(item["cumulative_quantity"])


_READERS = {
    "subscriptions": _subscriptions,
    "heartbeats": _heartbeat,
    "ticker": _ticker,
    "ticker_batch": _ticker,
    "market_trades": _trades,
    "l2_data": _book,
    "candles": _candles,
    "user": _user,
}
