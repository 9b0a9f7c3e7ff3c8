"""What the parts last said, as the status page's data. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from actors.clock import NS_PER_S, to_rfc3339
from actors.messages.books import PortfolioSnapshot, RiskReport
from actors.messages.health import TreeReport
from actors.messages.market import FeedHealth
from actors.messages.orders import OrderState
from actors.messages.reconcile import ReconcileReport
from actors.messages.venue import GatewayReport

Json = dict[str, object]


def seconds_since(at_boot_ns: int, now_boot_ns: int) -> float:
    """An age by the boot clock, to the millisecond."""
    return round((now_boot_ns - at_boot_ns) / NS_PER_S, 3)


def as_text(value: Decimal | None) -> str | None:
    """All digits, no exponent."""
    return None if value is None else format(value.normalize(), "f") if value else "0"


def show_actors(trees: dict[str, tuple[TreeReport, int]], now: int) -> Iterable[Json]:
    """Every child of every supervisor, in the tree's order."""
    order = ["root", "operations", "trading", "market", "decisions"]
    for name in sorted(trees, key=lambda n: (order.index(n) if n in order else len(order), n)):
        report, at = trees[name]
        for child in report.children:
            beat = child.beat
            yield {
                "name": child.name,
                "supervisor": child.supervisor,
                "kind": child.kind,
                "pid": child.pid,
                "incarnation": child.incarnation,
                "restarts": child.restarts,
                "state": str(child.state),
                "last_exit": child.last_exit,
                "mailbox_lag_ms": round(beat.lag_ms, 2) if beat else None,
                "handler_p50_ms": round(beat.handler_p50_ms, 2) if beat else None,
                "handler_p95_ms": round(beat.handler_p95_ms, 2) if beat else None,
                "handler_p99_ms": round(beat.handler_p99_ms, 2) if beat else None,
                "handlers": [
                    {
                        "message": one.message,
                        "count": one.count,
                        "p50_ms": round(one.p50_ms, 3),
                        "p95_ms": round(one.p95_ms, 3),
                        "p99_ms": round(one.p99_ms, 3),
                    }
                    for one in (beat.handlers if beat else ())
                ],
                "queued": beat.queued_in if beat else None,
                "memory_mb": round(beat.memory_bytes / 1e6, 1) if beat else None,
                "beat_age_s": seconds_since(beat.sent_boot_ns, now) if beat else None,
                "progress": {key: _progress(key, value, now) for key, value in beat.progress} if beat else {},
                "reported_s_ago": seconds_since(at, now),
            }


def _progress(key: str, value: int, now: int) -> float | int | str | None:
    """Counters as they are, UTC times as text, boot-clock times as ages in seconds."""
    if key.endswith("_count"):
        return value
    if key.endswith("_utc_ns"):
        return to_rfc3339(value) if value else None
    return seconds_since(value, now) if value else None


def show_feed(said: tuple[FeedHealth, int] | None, now: int) -> Json | None:
    """Connections and symbols, each with its age."""
    if said is None:
        return None
    health, at = said
    return {
        "age_s": seconds_since(at, now),
        "connections": [
            {
                "connection": c.connection,
                "state": c.state,
                "epoch": c.epoch,
                "frames": c.frames,
                "gaps": c.gaps,
                "reconnects": c.reconnects,
                "last_reason": c.last_reason,
                "frame_age_s": seconds_since(c.last_frame_boot_ns, now) if c.last_frame_boot_ns else None,
                "heartbeat_age_s": seconds_since(c.last_heartbeat_boot_ns, now) if c.last_heartbeat_boot_ns else None,
            }
            for c in health.connections
        ],
        "symbols": [
            {
                "symbol": s.symbol,
                "fresh": s.fresh,
                "update_age_s": seconds_since(s.last_update_boot_ns, now) if s.last_update_boot_ns else None,
                "updates": s.updates,
                "trades": s.trades,
                "merged": s.merged,
            }
            for s in health.symbols
        ],
    }


def show_unknown(said: tuple[PortfolioSnapshot, int] | None, utc_ns: int) -> list[Json]:
    """Orders of which nobody knows what became of them, the oldest first; ages in seconds since the intent."""
    if said is None:
        return []
    unknown = [order for order in said[0].open_orders if order.state is OrderState.UNKNOWN]
    return [
        {
            "client_order_id": order.client_order_id,
            "symbol": order.symbol,
            "side": str(order.side),
            "size": as_text(order.base_size),
            "age_s": round((utc_ns - order.created_utc_ns) / NS_PER_S),
        }
        for order in sorted(unknown, key=lambda one: one.created_utc_ns)
    ]


def show_orders(said: tuple[PortfolioSnapshot, int] | None, utc_ns: int) -> Json | None:
    """Open orders by role, those UNKNOWN with their ages, and counts by state."""
    if said is None:
        return None
    by_role: dict[str, list[Json]] = {}
    for order in said[0].open_orders:
        by_role.setdefault(str(order.role), []).append(
            {
                "client_order_id": order.client_order_id,
                "order_id": order.order_id,
                "symbol": order.symbol,
                "side": str(order.side),
                "kind": str(order.kind),
                "state": str(order.state),
                "size": as_text(order.base_size),
                "filled": as_text(order.filled_size),
                "limit": as_text(order.limit_price),
                "stop": as_text(order.stop_price),
                "since": to_rfc3339(order.since_utc_ns),
            }
        )
    return {
        "ready": said[0].ready,
        "open": by_role,
        "unknown": show_unknown(said, utc_ns),
        "unknown_symbols": list(said[0].unknown_symbols),
        "by_state": [{"state": s, "role": r, "count": n} for s, r, n in said[0].orders_by_state],
    }


def show_exposure(said: tuple[RiskReport, int] | None) -> Json | None:
    """The risk manager's books; cooldowns with their ends."""
    if said is None:
        return None
    report = said[0]
    return {
        "total": as_text(report.total_exposure),
        "reserved": as_text(report.reserved),
        "by_symbol": {
            line.key: {"held": as_text(line.held), "pending": as_text(line.pending)} for line in report.by_symbol
        },
        "by_asset": {
            line.key: {"held": as_text(line.held), "pending": as_text(line.pending)} for line in report.by_asset
        },
        "cooldowns": {name: to_rfc3339(until) for name, until in report.cooldowns},
        "fees": {"maker": as_text(report.fees.maker_rate), "taker": as_text(report.fees.taker_rate)}
        if report.fees
        else None,
        "unavailable": list(report.unavailable),
    }


def show_gateway(said: tuple[GatewayReport, int] | None, now: int) -> Json | None:
    """Queues, request budget, clock and key."""
    if said is None:
        return None
    report, at = said
    return {
        "age_s": seconds_since(at, now),
        "queued": report.queued,
        "in_flight": report.in_flight,
        "abandoned": report.abandoned,
        "egress_count": report.egress_count,
        "clock_offset_ms": report.clock_offset_ms,
        "budget_second": report.budget_second,
        "budget_hour": report.budget_hour,
        "key_checked": report.key_checked,
        "can_trade": report.can_trade,
    }


def show_reconcile(said: tuple[ReconcileReport, int] | None, now: int) -> Json | None:
    """The last comparison: differences, open flows, doubts."""
    if said is None:
        return None
    report, at = said
    return {
        "age_s": seconds_since(at, now),
        "complete": report.complete,
        "ok": report.ok,
        "error": report.error,
        "differences": [
            {"kind": d.kind, "key": d.key, "ledger": d.ledger, "venue": d.venue, "beyond": d.beyond_tolerance}
            for d in report.differences
        ],
        "flows": [
            {
                "flow": flow.flow_id,
                "currency": flow.currency,
                "amount": as_text(flow.amount),
                "expected": as_text(flow.expected),
                "held": as_text(flow.held),
                "found": to_rfc3339(flow.found_utc_ns),
            }
            for flow in report.flows or ()
        ],
        "doubt": list(report.doubt),
    }
