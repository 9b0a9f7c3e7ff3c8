"""The way of an order: decided, persisted, on the wire; how many a second; how long positions stand unprotected.

``python -m benchmarks orders``. The whole daemon at a simulator apart buys and sells 10 symbols, first one order
after another, then as fast as it goes; the throttles of risk are set out of the way, the venue's own limit of 30
requests a second stays. Naked times are read
from the venue's truth: from the fill, or from the cancel of the stop, to what protects or sells.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from actors.orders.ledger import Ledger
from benchmarks.daemon import TEN
from tests.drills.daemon import Daemon, Json, SimulatorApart, Venue, against, config_folder

TRADE_S = 45.0
COMMITS = 300
UNTHROTTLED: dict[str, dict[str, object]] = {
    "risk": {
        "cooldown_symbol_s": 0,
        "max_orders_per_minute": 10_000,
        "repeat_limit": 100_000,
        "losing_streak": 100_000,
        "max_positions": 20,
        "max_total_pct": "90",
        "daily_loss_pct": "90",
        "weekly_loss_pct": "90",
        "max_drawdown_pct": "90",
    },
    "capital": {"allotted": "100000", "max_order": "100"},
    "gateway": {"requests_per_s": 30, "requests_per_hour": 10_000},
    # A busy moment of the machine must not stop what is measured.
    "watchdog": {
        "default": {"lag_trip_ms": 10_000, "handler_trip_ms": 10_000, "missed_trip_s": 6, "missed_kill_s": 6}
    },
}
ONE_BY_ONE = {"cycle_s": 0.5, "max_proposals": 1, "params": {"hold_s": 4}}
AS_FAST_AS_IT_GOES = {"cycle_s": 0.25, "max_proposals": 20, "params": {"hold_s": "0.5"}}


def run() -> dict[str, object]:
    """All figures; names carry the unit."""
    with tempfile.TemporaryDirectory(prefix="td-bench-") as name:
        folder = Path(name)
        found: dict[str, object] = dict(_commits(folder))
        fsync_ms = float(str(found["fsync_commit_p50_ms"]))
        _, truth, lines, _ = _trade(folder / "one", ONE_BY_ONE)
        found |= _stations(lines, fsync_ms) | dict(_naked(truth))
        made, truth, lines, requests = _trade(folder / "fast", AS_FAST_AS_IT_GOES)
        found["orders_per_s_sustained"] = round(made / TRADE_S, 2)
        found["venue_requests_per_s_then"] = round(requests, 2)
        found |= {f"flood.{name}": value for name, value in _naked(truth)}
        found["breaker_trips_then"] = sum(
            1 for one in lines if one.get("event") == "breaker" and one["state"] == "open"
        )
    return found


def _trade(folder: Path, strategist: Json) -> tuple[int, Json, list[Json], float]:
    """Orders made in ``TRADE_S``, the venue's truth, the daemon's log, the venue's requests a second."""
    simulator = SimulatorApart(folder / "venue", "--symbols", TEN, "--balance", "USD=1000000")
    venue = Venue(simulator.control_url)
    try:
        instruments = [{"symbol": symbol} for symbol in TEN.split(",")]
        strategist = {"strategy": "tests.drills.strategies:Churn", **strategist}
        config = config_folder(folder / "config", instruments=instruments, strategist=strategist, **UNTHROTTLED)
        daemon = Daemon(folder / "daemon", *against(simulator), config=config)
        try:
            daemon.wait_run(120)
            before = len(_ours(venue.truth()))
            time.sleep(TRADE_S)
            truth = venue.truth()
            return len(_ours(truth)) - before, truth, daemon.log_lines(), _requests_per_s(venue)
        finally:
            daemon.close()
    finally:
        simulator.stop()


def _commits(folder: Path) -> Iterable[tuple[str, object]]:
    """One commit of the ledger with fsync, and the same without: the difference is the disk's."""
    for name, mode in (("fsync", "FULL"), ("no_fsync", "OFF")):
        path = folder / f"{name}.db"
        ledger = Ledger.open(path)
        ledger._db.execute(f"PRAGMA synchronous={mode}")
        times = []
        for n in range(COMMITS):
            begun = time.perf_counter()
            with ledger.transaction(n, 1, 1, "bench"):
                ledger.next_n()
                ledger.event("bench", str(n))
            times.append((time.perf_counter() - begun) * 1e3)
        ledger.close()
        yield from _shares(f"{name}_commit", times, "ms")


def _requests_per_s(venue: Venue) -> float:
    """Over the newest requests that the simulator remembers."""
    times = [_at(row["time"]) for row in venue.requests() if "time" in row]
    return len(times) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0


def _stations(lines: list[Json], fsync_ms: float) -> dict[str, object]:
    """Entries by their stations; exits by the log: approved, then submitted once the stop is proven cancelled."""
    timed = [line for line in lines if line.get("event") == "order_timing"]
    found: dict[str, object] = {}
    entries = [line for line in timed if "-e-" in line["order"] and line["wire_ms"] is not None]
    for name in ("approved_ms", "persisted_ms"):
        found |= dict(_shares(f"entry_decided_to_{name[:-3]}", [line[name] for line in entries], "ms"))
    wire = [line["persisted_ms"] + line["wire_ms"] for line in entries]
    found |= dict(_shares("entry_decided_to_wire", wire, "ms"))
    found |= dict(_shares("entry_decided_to_wire_besides_fsync", [max(0.0, ms - fsync_ms) for ms in wire], "ms"))
    for letter, role in (("e", "entry"), ("x", "exit"), ("p", "protection")):
        of_role = [line for line in timed if f"-{letter}-" in line["order"]]
        for name in ("wire_ms", "answered_ms"):
            values = [line[name] for line in of_role if line[name] is not None]
            label = "persisted_to_wire" if name == "wire_ms" else "wire_to_answered"
            found |= dict(_shares(f"{role}_{label}", values, "ms"))
    return found | dict(_shares("exit_approved_to_submitted", _exit_waits(lines), "ms"))


def _exit_waits(lines: list[Json]) -> list[float]:
    approved: dict[str, float] = {}
    waits = []
    for line in lines:
        if line.get("event") == "approved" and line.get("role") == "exit":
            approved[line["symbol"]] = _at(line["time"])
        elif line.get("event") == "order_submitted" and "-x-" in line["order"] and line["symbol"] in approved:
            waits.append((_at(line["time"]) - approved.pop(line["symbol"])) * 1e3)
    return waits


def _naked(truth: Json) -> Iterable[tuple[str, object]]:
    """First protection after the first fill of an entry; the hand-over from the stop's cancel to the exit's fill."""
    first_fill: dict[str, float] = {}
    for fill in truth["fills"]:
        at = _at(fill["trade_time"])
        first_fill[fill["order_id"]] = min(at, first_fill.get(fill["order_id"], at))
    armed, handed = [], []
    by_symbol = itertools.groupby(sorted(_ours(truth), key=lambda o: o["product_id"]), key=lambda o: o["product_id"])
    for _, group in by_symbol:
        orders = sorted(group, key=lambda o: o["created_time"])
        for order, following in itertools.pairwise(orders):
            kinds = _role(order) + _role(following)
            if kinds == "ep" and order["order_id"] in first_fill:
                armed.append(_at(following["created_time"]) - first_fill[order["order_id"]])
            elif kinds == "px" and order["status"] == "CANCELLED" and following["order_id"] in first_fill:
                handed.append(first_fill[following["order_id"]] - _at(order["last_update_time"]))
    yield from _shares("first_protection_naked", armed, "s")
    yield from _shares("handover_naked", handed, "s")


def _ours(truth: Json) -> list[Json]:
    return [order for order in truth["orders"] if order["client_order_id"].startswith("td-")]


def _role(order: Json) -> str:
    return str(order["client_order_id"].split("-")[3])


def _at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _shares(name: str, values: list[float], unit: str) -> Iterable[tuple[str, object]]:
    """p50, p99 and the count."""
    if not values:
        return
    ordered = sorted(values)
    for share, label in ((0.5, "p50"), (0.99, "p99")):
        yield f"{name}_{label}_{unit}", round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)
    yield f"{name}_count", len(ordered)


def main() -> None:
    """Print the figures."""
    for name, value in run().items():
        print(f"{name:<46} {value}")


if __name__ == "__main__":
    main()
