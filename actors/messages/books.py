"""What is owned, what rests and what it is worth: the tracker's snapshot and the risk gate's report."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from actors.messages.base import Message
from actors.messages.market import Side
from actors.messages.orders import OrderKind, OrderState, Protection, Role
from actors.messages.venue import FeeTier


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """One non-terminal order in a snapshot."""

    client_order_id: str
    order_id: str | None
    symbol: str
    side: Side
    role: Role
    kind: OrderKind
    state: OrderState
    base_size: Decimal
    filled_size: Decimal
    limit_price: Decimal
    stop_price: Decimal | None
    since_utc_ns: int
    """Last change of state or filled size."""
    created_utc_ns: int = 0

    @property
    def remaining(self) -> Decimal:
        return self.base_size - self.filled_size


@dataclass(frozen=True, slots=True)
class Position:
    """One base asset bought on one instrument by this daemon. Costs include fees; quote currency."""

    symbol: str
    base: str
    quantity: Decimal
    average_cost: Decimal
    """Quote currency per base unit, entry fees included."""
    realized: Decimal
    fees: Decimal
    protection: Protection
    opened_utc_ns: int
    stop_price: Decimal | None
    target_price: Decimal | None
    exit_due_utc_ns: int | None
    """When the maximum holding time ends."""
    resting_stops: tuple[Decimal, ...] = ()
    """Of the orders that cover it at the venue, lowest first; an adopted or moved one need not be the planned one."""


@dataclass(frozen=True, slots=True)
class PnlBooks:
    """Realized PnL, quote currency, fees included. Day and week (Monday) begin at 00:00 UTC."""

    realized_total: Decimal
    realized_day: Decimal
    realized_week: Decimal
    fees_total: Decimal
    day_start_utc_ns: int
    week_start_utc_ns: int


@dataclass(frozen=True, slots=True)
class PortfolioSnapshot(Message):
    """tracker -> risk, strategist, admin, metrics, reconciler: after every change and once a second.

    ``sequence`` only grows within one daemon epoch; ``ready`` is False until the tracker may be trusted
    (restored, and UNKNOWNs queried once).
    """

    epoch: int
    sequence: int
    ready: bool
    open_orders: tuple[OpenOrder, ...]
    positions: tuple[Position, ...]
    pnl: PnlBooks
    unknown_symbols: tuple[str, ...]
    orders_by_state: tuple[tuple[str, str, int], ...]
    """(state, role, count) over all orders of the ledger."""
    handled_proposals: tuple[str, ...]
    """The newest (at most 64) proposal ids whose approval became an order or a refusal: frees reservations."""
    at_boot_ns: int
    tracker_incarnation: int


@dataclass(frozen=True, slots=True)
class RoundTripClosed(Message):
    """tracker -> risk, strategist: a position went back to zero (or dust)."""

    symbol: str
    realized: Decimal
    exit_reason: str
    closed_utc_ns: int
    correlation_id: str


@dataclass(frozen=True, slots=True)
class ExposureLine:
    """Exposure of one symbol or base asset, quote currency: held, plus everything pending."""

    key: str
    held: Decimal
    pending: Decimal


@dataclass(frozen=True, slots=True)
class RiskReport(Message):
    """risk -> admin, metrics: once a second. None means that an input is missing, never zero."""

    delivery: ClassVar[str] = "plain"
    by_symbol: tuple[ExposureLine, ...]
    by_asset: tuple[ExposureLine, ...]
    total_exposure: Decimal | None
    reserved: Decimal
    unrealized: Decimal | None
    equity: Decimal | None
    """Allotted capital + realized + unrealized."""
    high_water: Decimal | None
    drawdown_pct: Decimal | None
    loss_day: Decimal | None
    loss_week: Decimal | None
    cooldowns: tuple[tuple[str, int], ...]
    """(symbol or *, ends at utc ns)"""
    fees: FeeTier | None
    unavailable: tuple[str, ...]
    """Inputs that are missing right now and so stop entries."""
    unexplained: Decimal | None = None
    """What left the wallets without a fill, in quote currency; counted in the losses, the drawdown and the equity."""
