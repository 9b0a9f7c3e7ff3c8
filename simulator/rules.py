"""How the venue behaves where readings differ, and what an engine reports of its changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from simulator.accounts import Wallet
from simulator.orders import Fill, Order, PublicTrade
from simulator.values import ZERO, Json


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
    immediate_unfilled_status: str = "CANCELLED"
    cancel_of_over: str = "UNKNOWN_CANCEL_ORDER"
    buy_hold_fee: str = "taker"
    stops_fire_on: str = "trade"
    fired_bracket: str = "limit"
    passed_stop_fires_on_resumption: bool = True
    protection_cuts_fired: bool = False
    commission_step: Decimal = ZERO
    mode_refusal: str = ""
    open_lists_working: bool = False
    pages_shift: bool = False
    empty_wallets_listed: bool = False
    private_rate: int = 30
    public_rate: int = 10
    throttle_status: int = 429
    throttle_header_case: str = "lower"
    clock_leeway_s: int = 5

    def allow(self, name: str, value: object) -> None:
        """Raise ValueError for a value that this rule does not have."""
        choices = CHOICES.get(name)
        if choices is not None and value not in choices:
            raise ValueError(f"rule {name} is one of {', '.join(map(repr, choices))}")


CHOICES: dict[str, tuple[object, ...]] = {
    "gtd_end_status": ("CANCELLED", "EXPIRED"),
    "immediate_unfilled_status": ("CANCELLED", "FAILED"),
    "cancel_of_over": ("UNKNOWN_CANCEL_ORDER", "INVALID_CANCEL_REQUEST", "success"),
    "buy_hold_fee": ("taker", "maker", "none"),
    "stops_fire_on": ("trade", "book"),
    "fired_bracket": ("limit", "market"),
    "throttle_status": (429, 401),
    "throttle_header_case": ("lower", "title"),
}
"""Rules that are one of a few words or numbers."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened since the last time somebody asked; orders and wallets in their newest state."""

    orders: list[Order]
    fills: list[Fill]
    wallets: list[Wallet]
    user_events: list[tuple[str, Json]]
    trades: list[PublicTrade]
    levels: dict[str, set[tuple[str, Decimal]]] = field(default_factory=dict)
