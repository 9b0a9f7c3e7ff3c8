"""Small messages for the watchdog's tests."""

from __future__ import annotations

from decimal import Decimal

from actors.messages.books import PnlBooks, PortfolioSnapshot
from actors.messages.health import Heartbeat
from actors.messages.market import ConnectionHealth, FeedHealth, ProductRules
from actors.messages.reconcile import ReconcileReport


def rules(product_id: str, **changed: object) -> ProductRules:
    one = Decimal(1)
    values: dict[str, object] = {
        "product_id": product_id, "base_increment": one, "quote_increment": one, "price_increment": one,
        "base_min_size": one, "base_max_size": one, "quote_min_size": one, "quote_max_size": one,
        "status": "online", "trading_disabled": False, "cancel_only": False, "limit_only": False,
        "post_only": False, "auction_mode": False, "view_only": False, "is_disabled": False, "read_boot_ns": 0,
    }  # fmt: skip
    return ProductRules(**(values | changed))  # type: ignore[arg-type]


def beat(
    name: str, sent_boot_ns: int, *, incarnation: int = 1, interval_s: float = 0.25, **changed: object
) -> Heartbeat:
    values: dict[str, object] = {
        "name": name, "incarnation": incarnation, "pid": 100 + incarnation, "sequence": 1,
        "sent_boot_ns": sent_boot_ns, "interval_s": interval_s, "own_lateness_ms": 0.0, "lag_ms": 1.0,
        "handler_p50_ms": 0.1, "handler_p99_ms": 0.5, "busy_share": 0.01, "queued_in": 0, "queued_out": 0,
        "memory_bytes": 1, "handled": 5, "state": "running",
    }  # fmt: skip
    return Heartbeat(**(values | changed))  # type: ignore[arg-type]


def snapshot(at_boot_ns: int, *, epoch: int = 1, ready: bool = True, **changed: object) -> PortfolioSnapshot:
    zero = Decimal(0)
    values: dict[str, object] = {
        "epoch": epoch, "sequence": 1, "ready": ready, "open_orders": (), "positions": (),
        "pnl": PnlBooks(zero, zero, zero, zero, 0, 0), "unknown_symbols": (), "orders_by_state": (),
        "handled_proposals": (), "at_boot_ns": at_boot_ns, "tracker_incarnation": 1,
    }  # fmt: skip
    return PortfolioSnapshot(**(values | changed))  # type: ignore[arg-type]


def reconciled(at_boot_ns: int, *, complete: bool = True, ok: bool = True, differences: tuple = ()) -> ReconcileReport:  # type: ignore[type-arg]
    return ReconcileReport(complete, ok, differences, "" if complete else "no answer", at_boot_ns, 0, 0)


def connection(name: str, state: str = "live", *, gaps: int = 0) -> ConnectionHealth:
    return ConnectionHealth(name, 1, state, 10, gaps, 0, "closed 1006", 0, 0)


def feed_health(*connections: ConnectionHealth, incarnation: int = 1) -> FeedHealth:
    return FeedHealth(connections, (), incarnation)
