"""Orders and fills from a few numbers, and what a ledger in a file holds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

from actors.messages.market import Side
from actors.messages.orders import OrderIntent, OrderKind, Role
from actors.orders.machine import OrderFacts
from actors.orders.records import FillRecord, OrderRecord


def order(n: int, side: Side = Side.BUY, size: str = "1", symbol: str = "BTC-USD") -> OrderRecord:
    """The n-th order of epoch 1, submitted."""
    role = Role.ENTRY if side is Side.BUY else Role.EXIT
    letter = "e" if side is Side.BUY else "x"
    intent = OrderIntent(
        client_order_id=f"td-a-1-{letter}-{n}", symbol=symbol, side=side, role=role, kind=OrderKind.LIMIT_IOC,
        base_size=Decimal(size), limit_price=Decimal("100.00"), stop_price=None, end_utc_ns=None,
        correlation_id=f"c-{n}", created_utc_ns=n,
    )  # fmt: skip
    return OrderRecord(intent, n, 1, OrderFacts(Decimal(size), submitted=True), n, proposal_id=f"p-{n}")


def fill(of: OrderRecord, entry: str, price: str, size: str, trade_utc_ns: int) -> FillRecord:
    """One fill of ``of`` with a fee of a tenth of a percent."""
    fee = Decimal(price) * Decimal(size) / 1000
    return FillRecord(
        entry, f"t-{entry}", f"v-{of.n}", of.id, of.symbol, of.side, Decimal(price), Decimal(size), fee, trade_utc_ns
    )


def tamper(path: Path, *statements: str) -> None:
    """Change a closed ledger behind its back, its triggers lifted."""
    with closing(sqlite3.connect(path)) as db:
        for statement in ("DROP TRIGGER IF EXISTS events_stay", "DROP TRIGGER IF EXISTS events_last", *statements):
            db.execute(statement)
        db.commit()
