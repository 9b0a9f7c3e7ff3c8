"""Market data: instruments, what the feed says, what a guard makes of it.

``symbol`` is always the *data product* on messages from feed and guard (``BTC-USD``). An order product that
trades another wallet (``BTC-USDC``) shares the data product's book; ``Instrument`` holds both.
Prices are in quote currency per base unit, sizes in base units; ``_utc_ns`` is nanoseconds since the epoch in
UTC (exchange time where the exchange said it), ``_boot_ns`` the host's boot clock.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar

from actors.messages.base import Message


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"

    @property
    def opposite(self) -> Side:
        return Side.SELL if self is Side.BUY else Side.BUY


@dataclass(frozen=True, slots=True)
class Instrument:
    """One tradable instrument. BTC-USDC: order_product BTC-USDC, data_product BTC-USD, base BTC, quote USDC."""

    order_product: str
    data_product: str
    base: str
    quote: str


@dataclass(frozen=True, slots=True)
class ProductRules:
    """The venue's rules for one order product, as last read; Decimal, never rounded here."""

    product_id: str
    base_increment: Decimal
    quote_increment: Decimal
    price_increment: Decimal
    base_min_size: Decimal
    base_max_size: Decimal
    quote_min_size: Decimal
    quote_max_size: Decimal
    status: str
    trading_disabled: bool
    cancel_only: bool
    limit_only: bool
    post_only: bool
    auction_mode: bool
    view_only: bool
    is_disabled: bool
    read_boot_ns: int


@dataclass(frozen=True, slots=True)
class ProductsRead(Message):
    """watchdog -> risk, tracker: what its newest poll of the product modes read, asked for at ``asked_boot_ns``.

    Whoever goes by product rules goes by what the product_mode breaker saw: an older reading of its own would refuse
    entries for long after a product is online again, and cost a request more.
    """

    rules: tuple[ProductRules, ...]
    asked_boot_ns: int


@dataclass(frozen=True, slots=True)
class PublicTrade:
    """One public trade. ``maker_side`` is the venue's ``side`` field: the side of the resting order."""

    trade_id: int
    price: Decimal
    size: Decimal
    maker_side: Side
    time_utc_ns: int


Level = tuple[Decimal, Decimal]
"""(price, size)"""


@dataclass(frozen=True, slots=True)
class MarketUpdate(Message):
    """feed -> guard: the newest state of one symbol plus every trade since the last update.

    ``bids``/``asks`` are the best levels (best first, at most ``feed.depth_levels``). ``fresh`` is False while
    the symbol has no verified book (before a snapshot, after a gap): then bids and asks are empty. Two updates
    waiting for a slow guard become one: the newer state with the trades of both (``merged`` counts).
    """

    delivery: ClassVar[str] = "credit"
    symbol: str
    connection_epoch: int
    fresh: bool
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    last_price: Decimal | None
    trades: tuple[PublicTrade, ...]
    exchange_utc_ns: int
    received_boot_ns: int
    heartbeat_utc_ns: int
    """Exchange time of the newest heartbeat on the same gap-free connection (0: none yet)."""
    heartbeat_boot_ns: int
    trades_until_utc_ns: int = 0
    """Every trade up to this exchange time was handed over, now or before (0: not known). Stands still while
    the connection is lost, until the trades since then are back (or a hole in their ids shows)."""
    merged: int = 0
    correlation_id: str = ""

    @property
    def conflation_key(self) -> Hashable:
        return self.symbol

    def merge_from(self, older: MarketUpdate) -> MarketUpdate:
        """This update with the older one's trades in front; never loses a trade."""
        return replace(self, trades=older.trades + self.trades, merged=self.merged + older.merged + 1)


@dataclass(frozen=True, slots=True)
class Quote:
    """A verified best bid and ask. ``as_of_boot_ns`` is the later of its arrival and the newest heartbeat on
    the same gap-free connection (silence in a gapless sequence proves that nothing changed)."""

    symbol: str
    bid: Decimal
    ask: Decimal
    bid_size: Decimal
    ask_size: Decimal
    exchange_utc_ns: int
    as_of_boot_ns: int

    @property
    def mid(self) -> Decimal:
        return (self.bid + self.ask) / 2

    @property
    def spread_bps(self) -> Decimal:
        return (self.ask - self.bid) / self.mid * 10_000


class TickRefusal(StrEnum):
    """Why a guard did not accept a tick or does not let a symbol be entered: a closed list."""

    STALE = "stale"
    NO_BOOK = "no_book"
    CROSSED = "crossed"
    OUT_OF_BAND = "out_of_band"
    UNCONFIRMED = "unconfirmed"
    WIDE_SPREAD = "wide_spread"
    VOLATILE = "volatile"
    TIME_BACKWARDS = "time_backwards"
    NOT_POSITIVE = "not_positive"
    WARMING_UP = "warming_up"


@dataclass(frozen=True, slots=True)
class GuardedQuote(Message):
    """guard -> strategist, risk, tracker: one symbol's accepted quote and whether it may be entered on.

    ``quote`` is None when no tick could be accepted; ``blocks`` is empty when entries are allowed. Exits and
    protection use ``quote`` even when ``blocks`` is not empty (they have their own collar).
    """

    delivery: ClassVar[str] = "credit"
    symbol: str
    quote: Quote | None
    blocks: tuple[TickRefusal, ...]
    last_trade_price: Decimal | None
    volatility_bps: Decimal | None
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    guard_incarnation: int
    correlation_id: str = ""
    merged: int = 0

    @property
    def conflation_key(self) -> Hashable:
        return self.symbol


@dataclass(frozen=True, slots=True)
class Bar(Message):
    """guard -> strategist: one bar over [start, end) UTC. A bar without trades is not sent.

    ``complete`` is False when the feed had a gap inside the bar's time.
    """

    delivery: ClassVar[str] = "credit"
    symbol: str
    interval_s: int
    start_utc_ns: int
    end_utc_ns: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int
    complete: bool

    @property
    def conflation_key(self) -> Hashable:
        return None


@dataclass(frozen=True, slots=True)
class ConnectionHealth:
    """State of one websocket connection."""

    connection: str
    """``market`` or ``user``."""
    epoch: int
    state: str
    """``connecting`` | ``subscribing`` | ``live`` | ``waiting`` (back-off) | ``stopped``."""
    frames: int
    gaps: int
    reconnects: int
    last_reason: str
    last_frame_boot_ns: int
    last_heartbeat_boot_ns: int
    exchange_moved_boot_ns: int = 0
    """When its newest exchange time last grew."""


@dataclass(frozen=True, slots=True)
class SymbolHealth:
    symbol: str
    fresh: bool
    last_update_boot_ns: int
    updates: int
    trades: int
    merged: int


@dataclass(frozen=True, slots=True)
class FeedHealth(Message):
    """feed -> watchdog, admin, metrics: once a second and on every change of a connection's state."""

    delivery: ClassVar[str] = "plain"
    connections: tuple[ConnectionHealth, ...]
    symbols: tuple[SymbolHealth, ...]
    feed_incarnation: int


@dataclass(frozen=True, slots=True)
class UserOrderEvent(Message):
    """feed -> tracker: one order of the user channel, cumulative; a reason to look, never a fill by itself."""

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
    received_boot_ns: int
    snapshot: bool


@dataclass(frozen=True, slots=True)
class UserChannelReset(Message):
    """feed -> tracker: the user channel was lost or had a gap; events may be missing, read orders and fills."""

    epoch: int
    reason: str
    at_boot_ns: int
