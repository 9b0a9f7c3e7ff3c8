"""The status page as data: put together from what the parts last said, each with its age. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.admin.reported import (
    Json,
    as_text,
    seconds_since,
    show_actors,
    show_exposure,
    show_feed,
    show_gateway,
    show_orders,
    show_reconcile,
    show_unknown,
)
from actors.clock import NS_PER_S, to_rfc3339
from actors.messages.books import PortfolioSnapshot, RiskReport
from actors.messages.control import ControlReport
from actors.messages.health import BreakerState, ChildState, Lease, TradingState, TreeReport
from actors.messages.market import FeedHealth, GuardedQuote
from actors.messages.reconcile import ReconcileReport
from actors.messages.venue import GatewayReport

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
    actors = list(show_actors(known.trees, now_boot_ns))
    lease_age = seconds_since(known.lease.issued_boot_ns, now_boot_ns) if known.lease else None
    lease_fresh = lease_age is not None and lease_age <= 2.0
    state = known.lease.state if known.lease and lease_fresh else TradingState.HALTED
    reasons = list(known.lease.reasons) if known.lease and lease_fresh else ["no fresh lease from the watchdog"]
    breakers = _breakers(known.control)
    problems = _problems(known, actors, breakers, state, reasons, now_boot_ns, utc_ns)
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
        "feed": show_feed(known.feed, now_boot_ns),
        "orders": show_orders(known.portfolio, utc_ns),
        "positions": _positions(known, now_boot_ns),
        "pnl": _pnl(known),
        "exposure": show_exposure(known.risk),
        "gateway": show_gateway(known.gateway, now_boot_ns),
        "reconcile": show_reconcile(known.reconcile, now_boot_ns),
        "metrics_url": known.metrics_url,
        "simulator_control_url": identity.simulator_control_url,
        "epoch": identity.epoch,
        "build": identity.build,
        "config_hash": identity.config_hash,
        "data_dir": identity.data_dir,
    }


def _ready(known: Known) -> bool:
    return known.control is not None and not known.control.waiting_for and known.lease is not None


def _up(known: Known) -> bool:
    """Every part of the tree beats, whatever the venue says."""
    return known.control is not None and not known.control.missing_parts and known.lease is not None


def _problems(
    known: Known, actors: list[Json], breakers: list[Json], state: TradingState, reasons: list[str], now: int,
    utc_ns: int,
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
        elif seconds_since(said[1], now) > REPORT_MAX_AGE_S:
            found.append(f"{name} last reported {seconds_since(said[1], now):.0f} s ago")
    flows = (known.reconcile[0].flows or ()) if known.reconcile else ()
    found += [f"{flow.text}, unexplained: run.py flows accept --reason" for flow in flows]
    if known.risk is not None and "state_store" in known.risk[0].unavailable:
        found.append("risk.db cannot be used: entries are refused, see the alert risk_state")
    for one in show_unknown(known.portfolio, utc_ns):
        found.append(f"{one['client_order_id']} is UNKNOWN for {one['age_s']} s: {one['symbol']} takes no entry")
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
        "last_restart_s_ago": seconds_since(restarts.at_boot_ns[-1], now) if restarts.at_boot_ns else None,
        "last_reason": restarts.reason,
    }


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
        age_s = None if accepted is None else seconds_since(accepted.as_of_boot_ns, now)
        mark = accepted.bid if accepted is not None and age_s is not None and age_s <= MARK_MAX_AGE_S else None
        unrealized = (mark - position.average_cost) * position.quantity if mark is not None else None
        lines.append(
            {
                "symbol": position.symbol,
                "quantity": as_text(position.quantity),
                "average_cost": as_text(position.average_cost),
                "bid": as_text(mark),
                "quote_age_s": age_s,
                "unrealized": as_text(unrealized),
                "realized": as_text(position.realized),
                "fees": as_text(position.fees),
                "protection": str(position.protection),
                "stop": as_text(position.stop_price),
                "target": as_text(position.target_price),
                "resting_stops": [as_text(stop) for stop in position.resting_stops],
            }
        )
    return lines


def _pnl(known: Known) -> Json | None:
    if known.portfolio is None:
        return None
    books = known.portfolio[0].pnl
    risk = known.risk[0] if known.risk else None
    return {
        "realized": as_text(books.realized_total),
        "realized_day": as_text(books.realized_day),
        "realized_week": as_text(books.realized_week),
        "fees": as_text(books.fees_total),
        "unrealized": as_text(risk.unrealized) if risk else None,
        "equity": as_text(risk.equity) if risk else None,
        "high_water": as_text(risk.high_water) if risk else None,
        "drawdown_pct": as_text(risk.drawdown_pct) if risk else None,
        "unexplained": as_text(risk.unexplained) if risk else None,
    }
