"""What the venue is asked and what it shows: orders, fills, balances, and how the gateway fares with it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar

from actors.messages.base import Command, Message, Stamp
from actors.messages.market import ProductRules, Quote


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """An order as the venue shows it, normalised; unknown texts are kept as they came."""

    order_id: str
    client_order_id: str
    product_id: str
    side: str
    status: str
    order_type: str
    time_in_force: str
    trigger_status: str
    base_size: Decimal | None
    """None when the configuration was missing or in quote currency."""
    limit_price: Decimal | None
    stop_price: Decimal | None
    filled_size: Decimal
    average_filled_price: Decimal
    filled_value: Decimal
    total_fees: Decimal
    reject_reason: str
    cancel_message: str
    created_utc_ns: int
    end_utc_ns: int | None
    originating_order_id: str
    outstanding_hold: Decimal | None


@dataclass(frozen=True, slots=True)
class VenueFill:
    """One fill; ``entry_id`` is its identity. ``trade_type`` FILL, REVERSAL, CORRECTION or SYNTHETIC."""

    entry_id: str
    trade_id: str
    order_id: str
    product_id: str
    side: str
    price: Decimal
    size: Decimal
    commission: Decimal
    trade_type: str
    liquidity: str
    size_in_quote: bool
    trade_utc_ns: int
    sequence_utc_ns: int


@dataclass(frozen=True, slots=True)
class VenueBalance:
    currency: str
    available: Decimal
    hold: Decimal


@dataclass(frozen=True, slots=True)
class FeeTier:
    tier: str
    maker_rate: Decimal
    taker_rate: Decimal


class QueryKind(StrEnum):
    ORDER = "order"
    """One order: by order_id if given, else found by client_order_id in the listing of all statuses."""
    OPEN_ORDERS = "open_orders"
    ORDERS_SINCE = "orders_since"
    FILLS_SINCE = "fills_since"
    FILLS_OF_ORDER = "fills_of_order"
    BALANCES = "balances"
    PRODUCTS = "products"
    FEES = "fees"
    KEY_PERMISSIONS = "key_permissions"
    BEST_BID_ASK = "best_bid_ask"


@dataclass(frozen=True, slots=True)
class VenueQuery(Command):
    """anyone -> gateway: read the venue. The answer goes to the actor named ``stamp.name``."""

    request_id: str
    kind: QueryKind
    stamp: Stamp
    client_order_id: str | None = None
    order_id: str | None = None
    since_utc_ns: int | None = None
    products: tuple[str, ...] = ()
    priority: int = 30
    """Lower goes first: 0 cancel, 10 protect, 20 query of an UNKNOWN, 30 reconcile and reads, 40 enter."""


@dataclass(frozen=True, slots=True)
class VenueAnswer(Message):
    """gateway -> asker. ``ok`` False: the venue could not be read and ``error`` says why; nothing else holds.

    ORDER: ``orders`` holds the order, or is empty when the venue does not list it (which alone is no proof
    of absence). Listings are complete: every page was read, and read twice where pagination is unstable.
    ``asked_boot_ns`` is before the first byte went out: events after it may be missing in the answer.
    """

    request_id: str
    kind: QueryKind
    ok: bool
    error: str
    asked_boot_ns: int
    answered_boot_ns: int
    asked_utc_ns: int
    gateway_incarnation: int
    client_order_id: str | None = None
    order_id: str | None = None
    orders: tuple[VenueOrder, ...] = ()
    fills: tuple[VenueFill, ...] = ()
    balances: tuple[VenueBalance, ...] = ()
    rules: tuple[ProductRules, ...] = ()
    fees: FeeTier | None = None
    quotes: tuple[Quote, ...] = ()
    can_trade: bool | None = None
    can_transfer: bool | None = None


@dataclass(frozen=True, slots=True)
class GatewayReport(Message):
    """gateway -> admin, watchdog, metrics: once a second."""

    delivery: ClassVar[str] = "plain"
    queued: int
    in_flight: int
    abandoned: int
    egress_count: int
    clock_offset_ms: float | None
    clock_error_ms: float | None
    budget_second: float
    """Requests still allowed in this second."""
    budget_hour: int
    key_checked: bool
    can_trade: bool | None
