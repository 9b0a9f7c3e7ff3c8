"""How the venue behaves where readings differ, and what an engine reports of its changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from simulator.accounts import Wallet
from simulator.orders import Fill, Order, PublicTrade
from simulator.values import Json


@dataclass(slots=True)
class Rules:
    """How the venue behaves where more than one reading is possible; docs/venue-assumptions.md has a row each."""

    maker_rate: Decimal = Decimal("0.005")
    taker_rate: Decimal = Decimal("0.009")
    accept_delay_ms: int = 5
    cancel_delay_ms: int = 20
    gtd_end_status: str = "CANCELLED"
    bracket_stop_survives_partial_target: bool = False
    auction_cancels_brackets: bool = True
    self_trade_prevention: bool = True
    stop_orders_offered: bool = True


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened since the last time somebody asked; orders and wallets in their newest state."""

    orders: list[Order]
    fills: list[Fill]
    wallets: list[Wallet]
    user_events: list[tuple[str, Json]]
    trades: list[PublicTrade]
    levels: dict[str, set[tuple[str, Decimal]]] = field(default_factory=dict)
