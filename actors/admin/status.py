"""The status page as data: put together from what the parts last said, each with its age. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from actors.clock import NS_PER_S, to_rfc3339
from actors.messages.control import ControlReport
from actors.messages.health import BreakerState, ChildState, Lease, TradingState, TreeReport
from actors.messages.market import FeedHealth, GuardedQuote
from actors.messages.trading import GatewayReport, PortfolioSnapshot, ReconcileReport, RiskReport

Json = dict[str, object]
REPORT_MAX_AGE_S = 5.0
"""A part whose last word is older than this is shown as silent, and the daemon as not healthy."""
MARK_MAX_AGE_S = 15.0
"""A position is valued at no quote older than this."""


@dataclass(slots=True)
class Known:
    """The newest word of every part, with the boot time it came at."""

    trees: dict[str, tuple[TreeReport, int]] = field(default_factory=dict)
    lease: Lease | None = None
    control: ControlReport | None = None
    feed: tuple[FeedHealth, int] | None = None
    portfolio: tuple[PortfolioSnapshot, int] | None = None
    risk: tuple[RiskReport, int] | None = None
    gateway: tuple[GatewayReport, int] | None = None
    reconcile: tuple[ReconcileReport, int] | None = None
    quotes: dict[str, GuardedQuote] = field(default_factory=dict)
    metrics_url: str = ""


@dataclass(frozen=True, slots=True)
class TreeRestarts:
    """How often the outer ring started the whole tree anew: boot times, ns; at most ``limit`` within ``window_s``."""

    at_boot_ns: tuple[int, ...]
    limit: int
    window_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class Identity:
    """What does not change while the daemon lives."""

    mode: str
    build: str
    config_hash: str
    epoch: int
    data_dir: str
    simulator_control_url: str
    started_utc_ns: int
    tree_restarts: TreeRestarts


def make_status(known: Known, identity: Identity, now_boot_ns: int, utc_ns: int) -> Json:
    """Everything an operator wants to see, JSON-ready; decimals as text, ages in seconds."""
    actors = list(_actors(known.trees, now_boot_ns))
    lease_age = _age_s(known.lease.issued_boot_ns, now_boot_ns) if known.lease else None
    lease_fresh = lease_age is not None and lease_age <= 2.0
    state = known.lease.state if known.lease and lease_fresh else TradingState.HALTED
    reasons = list(known.lease.reasons) if known.lease and lease_fresh else ["no fresh lease from the watchdog"]
    breakers = _breakers(known.control)
    problems = _problems(known, actors, breakers, state, reasons, now_boot_ns)
    return {
        "mode": identity.mode,
        "simulated": identity.mode != "live",
        "trading_state": str(state),
        "reasons": reasons,
        "healthy": not problems,
        "problems": problems,
        "ready": _ready(known),
        "up": _up(known),
        "waiting_for": list(known.control.waiting_for) if known.control else [],
        "time": to_rfc3339(utc_ns),
        "uptime_s": round((utc_ns - identity.started_utc_ns) / NS_PER_S, 1),
        "lease_age_s": lease_age,
        "per_symbol": [
            {"symbol": symbol, "state": str(worse), "reason": reason}
            for symbol, worse, reason in (known.lease.per_symbol if known.lease else ())
        ],
        "tree": _tree(identity.tree_restarts, now_boot_ns),
        "actors": actors,
        "breakers": breakers,
        "operator": _operator(known.control),
        "feed": _feed(known.feed, now_boot_ns),
        "orders": _orders(known.portfolio),
        "positions": _positions(known, now_boot_ns),
        "pnl": _pnl(known),
        "exposure": _exposure(known.risk),
        "gateway": _gateway(known.gateway, now_boot_ns),
        "reconcile": _reconcile(known.reconcile, now_boot_ns),
        "metrics_url": known.metrics_url,
        "simulator_control_url": identity.simulator_control_url,
        "epoch": identity.epoch,
        "build": identity.build,
        "config_hash": identity.config_hash,
        "data_dir": identity.data_dir,
    }


def _age_s(at_boot_ns: int, now_boot_ns: int) -> float:
    return round((now_boot_ns - at_boot_ns) / NS_PER_S, 3)


def _text(value: Decimal | None) -> str | None:
    return None if value is None else format(value.normalize(), "f") if value else "0"


def _ready(known: Known) -> bool:
    return known.control is not None and not known.control.waiting_for and known.lease is not None


def _up(known: Known) -> bool:
    """Every part of the tree beats, whatever the venue says."""
    return known.control is not None and not known.control.missing_parts and known.lease is not None


def _problems(
    known: Known, actors: list[Json], breakers: list[Json], state: TradingState, reasons: list[str], now: int
) -> list[str]:
    found = []
    if state is not TradingState.RUN:
        found.append(f"trading is {state}: {'; '.join(reasons) or 'no reason given'}{_way_out(known.control)}")
    found += [f"{actor['name']} is {actor['state']}" for actor in actors if actor["state"] != ChildState.RUNNING]
    for b in (b for b in breakers if b["is_open"]):
        until = " (latched until run.py resume)" if b["latched"] else ""
        found.append(f"breaker {b['name']} ({b['scope']}) is {b['state']}: {b['reason']}{until}")
    for name, said in (("feed", known.feed), ("tracker", known.portfolio), ("gateway", known.gateway)):
        if said is None:
            found.append(f"{name} has not reported yet")
        elif _age_s(said[1], now) > REPORT_MAX_AGE_S:
            found.append(f"{name} last reported {_age_s(said[1], now):.0f} s ago")
    flows = (known.reconcile[0].flows or ()) if known.reconcile else ()
    found += [f"{flow.text}, unexplained: run.py flows accept --reason" for flow in flows]
    naked = [p["symbol"] for p in _positions(known, now) if p["protection"] == "NAKED"]
    found += [f"{symbol} is NAKED (run.py protect {symbol}, if it lasts)" for symbol in naked]
    return found


def _way_out(control: ControlReport | None) -> str:
    """The command that lifts what an operator, or a start that may not trade by itself, has set."""
    if control is None or (control.operator_state is TradingState.RUN and not control.latched):
        return ""
    return " (run.py release, then resume)" if control.latched else " (run.py resume)"


def _tree(restarts: TreeRestarts, now: int) -> Json:
    recent = [at for at in restarts.at_boot_ns if now - at <= restarts.window_s * NS_PER_S]
    return {
        "restarts": len(recent),
        "restarts_left": max(0, restarts.limit - len(recent)),
        "window_s": restarts.window_s,
        "last_restart_s_ago": _age_s(restarts.at_boot_ns[-1], now) if restarts.at_boot_ns else None,
        "last_reason": restarts.reason,
    }


def _actors(trees: dict[str, tuple[TreeReport, int]], now: int) -> Iterable[Json]:
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
                "beat_age_s": _age_s(beat.sent_boot_ns, now) if beat else None,
                "progress": {key: _progress(key, value, now) for key, value in beat.progress} if beat else {},
                "reported_s_ago": _age_s(at, now),
            }


def _progress(key: str, value: int, now: int) -> float | int | str | None:
    """Counters as they are, UTC times as text, boot-clock times as ages in seconds."""
    if key.endswith("_count"):
        return value
    if key.endswith("_utc_ns"):
        return to_rfc3339(value) if value else None
    return _age_s(value, now) if value else None


def _breakers(control: ControlReport | None) -> list[Json]:
    if control is None:
        return []
    return [
        {
            "name": str(status.breaker),
            "scope": status.scope,
            "state": str(status.state),
            "is_open": status.state is not BreakerState.CLOSED,
            "reason": status.reason,
            "since": to_rfc3339(status.since_utc_ns) if status.since_utc_ns else None,
            "trips": status.trips,
            "latched": status.latched,
        }
        for status in control.breakers
    ]


def _operator(control: ControlReport | None) -> Json | None:
    if control is None:
        return None
    return {
        "state": str(control.operator_state),
        "reason": control.operator_reason,
        "latched": control.latched,
        "waiting_for": list(control.waiting_for),
    }


def _feed(said: tuple[FeedHealth, int] | None, now: int) -> Json | None:
    if said is None:
        return None
    health, at = said
    return {
        "age_s": _age_s(at, now),
        "connections": [
            {
                "connection": c.connection,
                "state": c.state,
                "epoch": c.epoch,
                "frames": c.frames,
                "gaps": c.gaps,
                "reconnects": c.reconnects,
                "last_reason": c.last_reason,
                "frame_age_s": _age_s(c.last_frame_boot_ns, now) if c.last_frame_boot_ns else None,
                "heartbeat_age_s": _age_s(c.last_heartbeat_boot_ns, now) if c.last_heartbeat_boot_ns else None,
            }
            for c in health.connections
        ],
        "symbols": [
            {
                "symbol": s.symbol,
                "fresh": s.fresh,
                "update_age_s": _age_s(s.last_update_boot_ns, now) if s.last_update_boot_ns else None,
                "updates": s.updates,
                "trades": s.trades,
                "merged": s.merged,
            }
            for s in health.symbols
        ],
    }


def _orders(said: tuple[PortfolioSnapshot, int] | None) -> Json | None:
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
                "size": _text(order.base_size),
                "filled": _text(order.filled_size),
                "limit": _text(order.limit_price),
                "stop": _text(order.stop_price),
                "since": to_rfc3339(order.since_utc_ns),
            }
        )
    return {
        "ready": said[0].ready,
        "open": by_role,
        "unknown_symbols": list(said[0].unknown_symbols),
        "by_state": [{"state": s, "role": r, "count": n} for s, r, n in said[0].orders_by_state],
    }


def _positions(known: Known, now: int) -> list[Json]:
    if known.portfolio is None:
        return []
    lines: list[Json] = []
    for position in known.portfolio[0].positions:
        if not position.quantity:
            continue
        quote = known.quotes.get(position.symbol)
        accepted = quote.quote if quote is not None else None
        # While the guard refuses the book it keeps the last quote it accepted: an old one values nothing.
        age_s = None if accepted is None else _age_s(accepted.as_of_boot_ns, now)
        mark = accepted.bid if accepted is not None and age_s is not None and age_s <= MARK_MAX_AGE_S else None
        unrealized = (mark - position.average_cost) * position.quantity if mark is not None else None
        lines.append(
            {
                "symbol": position.symbol,
                "quantity": _text(position.quantity),
                "average_cost": _text(position.average_cost),
                "bid": _text(mark),
                "quote_age_s": age_s,
                "unrealized": _text(unrealized),
                "realized": _text(position.realized),
                "fees": _text(position.fees),
                "protection": str(position.protection),
                "stop": _text(position.stop_price),
                "target": _text(position.target_price),
            }
        )
    return lines


def _pnl(known: Known) -> Json | None:
    if known.portfolio is None:
        return None
    books = known.portfolio[0].pnl
    risk = known.risk[0] if known.risk else None
    return {
        "realized": _text(books.realized_total),
        "realized_day": _text(books.realized_day),
        "realized_week": _text(books.realized_week),
        "fees": _text(books.fees_total),
        "unrealized": _text(risk.unrealized) if risk else None,
        "equity": _text(risk.equity) if risk else None,
        "high_water": _text(risk.high_water) if risk else None,
        "drawdown_pct": _text(risk.drawdown_pct) if risk else None,
        "unexplained": _text(risk.unexplained) if risk else None,
    }


def _exposure(said: tuple[RiskReport, int] | None) -> Json | None:
    if said is None:
        return None
    report = said[0]
    return {
        "total": _text(report.total_exposure),
        "reserved": _text(report.reserved),
        "by_symbol": {
            line.key: {"held": _text(line.held), "pending": _text(line.pending)} for line in report.by_symbol
        },
        "by_asset": {line.key: {"held": _text(line.held), "pending": _text(line.pending)} for line in report.by_asset},
        "cooldowns": {name: to_rfc3339(until) for name, until in report.cooldowns},
        "fees": {"maker": _text(report.fees.maker_rate), "taker": _text(report.fees.taker_rate)}
        if report.fees
        else None,
        "unavailable": list(report.unavailable),
    }


def _gateway(said: tuple[GatewayReport, int] | None, now: int) -> Json | None:
    if said is None:
        return None
    report, at = said
    return {
        "age_s": _age_s(at, now),
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


def _reconcile(said: tuple[ReconcileReport, int] | None, now: int) -> Json | None:
    if said is None:
        return None
    report, at = said
    return {
        "age_s": _age_s(at, now),
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
                "amount": _text(flow.amount),
                "expected": _text(flow.expected),
                "held": _text(flow.held),
                "found": to_rfc3339(flow.found_utc_ns),
            }
            for flow in report.flows or ()
        ],
        "doubt": list(report.doubt),
    }
