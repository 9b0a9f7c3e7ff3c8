"""``run.py status``: the daemon's own words, as JSON or for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import orjson

from commands.ask import Json, NotRunningError, ask_once

HEALTHY, NOT_HEALTHY, NOT_RUNNING = 0, 1, 2


def status(data_dir: Path, *, as_json: bool) -> int:
    """Print it; 0 healthy, 1 degraded or halted, 2 not running."""
    try:
        answer = ask_once(data_dir, {"verb": "status"}, timeout_s=5.0)
    except NotRunningError as error:
        print(f"not running: {error}; another folder is named with --data-dir", file=sys.stderr)
        return NOT_RUNNING
    except (OSError, ValueError) as error:
        print(f"the daemon does not answer: {error}", file=sys.stderr)
        return NOT_HEALTHY
    found = answer.get("status")
    if not isinstance(found, dict):
        print(f"the daemon answered: {answer.get('error')}", file=sys.stderr)
        return NOT_HEALTHY
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")
    else:
        print("\n".join(page(found)))
    return HEALTHY if found.get("healthy") is True else NOT_HEALTHY


def page(found: Mapping[str, object]) -> Iterable[str]:
    """The status for people, line by line."""
    simulated = "  SIMULATED" if found.get("simulated") else ""
    yield f"{found['mode']}{simulated}  {found['trading_state']}  {'healthy' if found['healthy'] else 'NOT HEALTHY'}"
    for problem in _items(found.get("problems")):
        yield f"  ! {problem}"
    yield f"  up {found['uptime_s']} s, epoch {found['epoch']}, build {found['build']}, config {found['config_hash']}"
    tree = _map(found.get("tree"))
    if tree.get("last_reason"):
        yield (
            f"  the whole tree was started anew {tree['last_restart_s_ago']} s ago: {tree['last_reason']} "
            f"({tree['restarts']} times in {tree['window_s']} s, {tree['restarts_left']} left)"
        )
    yield f"  lease age {found['lease_age_s']} s, metrics {found['metrics_url'] or 'not yet'}"
    missing = _items(_map(found.get("exposure")).get("unavailable"))
    if missing:
        yield f"  entries are refused: the risk manager lacks {', '.join(map(str, missing))}"
    yield ""
    yield f"{'actor':<18}{'pid':>8}{'incarn.':>9}{'restarts':>9}  {'state':<11}{'lag ms':>8}{'p99 ms':>8}  progress"
    for actor in _maps(found.get("actors")):
        progress = ", ".join(f"{k} {_cell(v)}" for k, v in _map(actor.get("progress")).items())
        lag, p99 = _cell(actor["mailbox_lag_ms"]), _cell(actor["handler_p99_ms"])
        yield (
            f"{actor['name']!s:<18}{actor['pid']!s:>8}{actor['incarnation']!s:>9}{actor['restarts']!s:>9}  "
            f"{actor['state']!s:<11}{lag:>8}{p99:>8}  {progress}"
        )
    yield from _breakers(found)
    yield from _feed(_map(found.get("feed")))
    yield from _money(found)


def _breakers(found: Mapping[str, object]) -> Iterable[str]:
    breakers = _maps(found.get("breakers"))
    shown = [b for b in breakers if b["is_open"]]
    before = [f"{b['name']} [{b['scope']}] {b['trips']}" for b in breakers if not b["is_open"] and b["trips"]]
    yield ""
    yield "breakers: " + ("" if shown else "all closed") + (f" (tripped so far: {', '.join(before)})" if before else "")
    for b in shown:
        latched = ", latched until resume" if b["latched"] else ""
        yield f"  {b['name']} [{b['scope']}] {b['state']}{latched}, trips {b['trips']}: {b['reason']}"


def _feed(feed: Mapping[str, object]) -> Iterable[str]:
    if not feed:
        return
    yield ""
    for c in _maps(feed.get("connections")):
        counts = f"{c['frames']} frames, {c['gaps']} gaps, {c['reconnects']} reconnects"
        yield f"feed {c['connection']}: {c['state']}, {counts}"
    for s in _maps(feed.get("symbols")):
        fresh = "fresh" if s["fresh"] else "STALE"
        yield f"  {s['symbol']}: {fresh}, {s['trades']} trades, last update {s['update_age_s']} s ago"


def _money(found: Mapping[str, object]) -> Iterable[str]:
    orders = _map(_map(found.get("orders")).get("open"))
    yield ""
    yield "open orders: " + (", ".join(f"{role} {len(_items(o))}" for role, o in orders.items()) or "none")
    for o in _maps(_map(found.get("orders")).get("unknown")):
        yield f"  UNKNOWN {o['client_order_id']}: {o['side']} {o['size']} {o['symbol']}, for {o['age_s']} s"
    for p in _maps(found.get("positions")):
        yield (
            f"  {p['symbol']}: {p['quantity']} at {p['average_cost']}, {p['protection']}, "
            f"{_stops(p)}, target {_cell(p['target'])}, unrealized {_cell(p['unrealized'])}"
        )
    pnl = _map(found.get("pnl"))
    if pnl:
        yield (
            f"pnl: realized {pnl['realized']} (day {pnl['realized_day']}), unrealized {pnl['unrealized']}, "
            f"fees {pnl['fees']}, drawdown {pnl['drawdown_pct']} %"
        )
    for flow in _maps(_map(found.get("reconcile")).get("flows")):
        yield (
            f"unexplained {flow['flow']}: {flow['amount']} {flow['currency']} since {flow['found']} "
            f"({flow['held']} held, {flow['expected']} expected)"
        )


def _stops(position: Json) -> str:
    """What rests at the exchange, and the plan where it says something else."""
    planned, resting = position["stop"], _items(position.get("resting_stops"))
    if resting in ([], [planned]):
        return f"stop {_cell(planned)}" + ("" if resting else " planned, none rests")
    return f"stop {', '.join(map(str, resting))} (planned {_cell(planned)})"


def _cell(value: object) -> str:
    return "-" if value is None else str(value)


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _maps(value: object) -> list[Json]:
    return [item for item in _items(value) if isinstance(item, dict)]


def _map(value: object) -> Json:
    return value if isinstance(value, dict) else {}
