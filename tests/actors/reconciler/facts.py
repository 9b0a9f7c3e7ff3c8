"""Small factories: an order as the ledger and as the venue hold it, fills, balances."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from actors.clock import NS_PER_S
from actors.messages.books import Position
from actors.messages.market import Side
from actors.messages.orders import OrderState, Protection, Role
from actors.messages.reconcile import LedgerFacts, LedgerOrder
from actors.messages.venue import VenueBalance, VenueFill, VenueOrder

NOW = 1_786_309_548 * NS_PER_S
OLD = NOW - 300 * NS_PER_S


def ledger_order(name: str = "td-a-3-e-1", state: OrderState = OrderState.OPEN, **change: object) -> LedgerOrder:
    order = LedgerOrder(
        client_order_id=name,
        order_id=f"id-{name}",
        symbol="BTC-USD",
        side=Side.BUY,
        role=Role.ENTRY,
        state=state,
        base_size=Decimal("0.1"),
        filled_size=Decimal(0),
        limit_price=Decimal(60000),
        stop_price=None,
        created_utc_ns=OLD,
        changed_utc_ns=OLD,
        sent=True,
    )
    return replace(order, **change)  # type: ignore[arg-type]


def venue_order(name: str = "td-a-3-e-1", status: str = "OPEN", **change: object) -> VenueOrder:
    order = VenueOrder(
        order_id=f"id-{name}",
        client_order_id=name,
        product_id="BTC-USD",
        side="BUY",
        status=status,
        order_type="LIMIT",
        time_in_force="",
        trigger_status="",
        base_size=Decimal("0.1"),
        limit_price=Decimal(60000),
        stop_price=None,
        filled_size=Decimal(0),
        average_filled_price=Decimal(0),
        filled_value=Decimal(0),
        total_fees=Decimal(0),
        reject_reason="",
        cancel_message="",
        created_utc_ns=OLD,
        end_utc_ns=None,
        originating_order_id="",
        outstanding_hold=None,
    )
    return replace(order, **change)  # type: ignore[arg-type]


def fill(entry_id: str = "f1", order: str = "td-a-3-e-1", **change: object) -> VenueFill:
    one = VenueFill(
        entry_id=entry_id,
        trade_id="t",
        order_id=f"id-{order}",
        product_id="BTC-USD",
        side="BUY",
        price=Decimal(60000),
        size=Decimal("0.1"),
        commission=Decimal(5),
        trade_type="FILL",
        liquidity="TAKER",
        size_in_quote=False,
        trade_utc_ns=OLD,
        sequence_utc_ns=OLD,
    )
    return replace(one, **change)  # type: ignore[arg-type]


def position(quantity: str = "0.1", symbol: str = "BTC-USD") -> Position:
    return Position(
        symbol=symbol,
        base=symbol.split("-")[0],
        quantity=Decimal(quantity),
        average_cost=Decimal(60000),
        realized=Decimal(0),
        fees=Decimal(0),
        protection=Protection.PROTECTED,
        opened_utc_ns=OLD,
        stop_price=None,
        target_price=None,
        exit_due_utc_ns=None,
    )


def facts(request_id: str = "r1:ledger", **change: object) -> LedgerFacts:
    whole = LedgerFacts(
        request_id=request_id,
        ready=True,
        epoch=3,
        sequence=1,
        head=100,
        orders=(),
        fills=(),
        positions=(),
        at_boot_ns=0,
        tracker_incarnation=1,
    )
    return replace(whole, **change)  # type: ignore[arg-type]


def balances(**held: str) -> tuple[VenueBalance, ...]:
    return tuple(VenueBalance(currency, Decimal(amount), Decimal(0)) for currency, amount in held.items())
