"""The kill: how soon no further entry starts, and how long 100 open entries take to be proven cancelled.

The tracker allows one entry per symbol, and a hundred symbols are more than the simulator feeds on two shared cores.
So 100 entries with client ids of the daemon's own family and instance are placed at the simulator directly, beside the
daemon's own on ten symbols: the kill finds them by listing, cancels them by order id in batches, and proves it. The
simulator runs apart and allows 30 requests a second, as the venue does; budget and proof are the daemon's usual ones.
``python -m benchmarks kill`` prints; ``run()`` gives the figures. Wall-clock times on a shared host.
"""

from __future__ import annotations

import json
import tempfile
import time
from datetime import datetime
from pathlib import Path

from actors.egress import read_records
from tests.drills.daemon import Daemon, Json, SimulatorApart, Venue, against, config_folder, wait_for

SYMBOLS = 10
PLACED = 100
ROUNDS = 8
ENDED = {"FILLED", "CANCELLED", "EXPIRED", "FAILED"}
CALM = {"lag_trip_ms": 10_000, "handler_trip_ms": 10_000, "missed_trip_s": 6, "missed_kill_s": 6}


def run() -> dict[str, object]:
    """All figures; names carry the unit."""
    with tempfile.TemporaryDirectory(prefix="td-bench-") as folder:
        return _hundred(Path(folder) / "hundred") | _next_entry(Path(folder) / "next")


def _config(folder: Path, life_s: float, cycle_s: float) -> Path:
    return config_folder(
        folder,
        strategist={
            "strategy": "tests.drills.strategies:HoldSomeBidForTheRest",
            "cycle_s": cycle_s,
            "max_proposals": 20,
            "params": {"held": "NONE"},
        },
        capital={"allotted": "10000", "max_order": "100"},
        risk={
            "max_positions": 200, "max_orders_per_minute": 10_000, "cooldown_symbol_s": 0, "max_total_pct": "90",
            "repeat_limit": 100_000,
        },
        orders={"entry_life_s": life_s},
        watchdog={"default": CALM},
    )  # fmt: skip


def _start(folder: Path, symbols: int, life_s: float, cycle_s: float) -> tuple[SimulatorApart, Daemon, Venue]:
    names = ",".join(f"X{n:02d}-USD" for n in range(1, symbols)) + ",BTC-USD"
    simulator = SimulatorApart(folder / "venue", "--symbols", names, "--frozen", "--private-rate", "30")
    config = _config(folder / "config", life_s, cycle_s)
    try:
        daemon = Daemon(folder, *against(simulator), "--symbols", names, config=config, wait=False)
    except BaseException:
        simulator.stop()
        raise
    return simulator, daemon, Venue(simulator.control_url)


def _hundred(folder: Path) -> dict[str, object]:
    simulator, daemon, venue = _start(folder, SYMBOLS, 60, 1)
    try:
        daemon.wait_ready(120)
        daemon.wait_run(120)
        own = wait_for(lambda: _open_entries(venue) >= SYMBOLS - 2 and _open_entries(venue), "entries", 120, 0.2)
        for n in range(PLACED):
            terms = {"limit_limit_gtc": {"base_size": "0.001", "limit_price": "20000", "post_only": False}}
            order = {"client_order_id": f"td-a-1-e-{10**9 + n}", "product_id": "BTC-USD", "side": "BUY"}
            venue.call("/control/order", order | {"order_configuration": terms})
        count = _open_entries(venue)
        begun = time.monotonic()
        killed: Json = json.loads(daemon.run("kill", "--reason", "benchmark", "--json").stdout)
        took = time.monotonic() - begun
        latched = (daemon.data / "KILL").stat().st_mtime
        return {
            "own_entries": own,
            "open_entries": count,
            "hundred_entries_proven_cancelled_s": round(took, 2),
            "hundred_latch_to_proven_s": round(_proven_at(daemon) - latched, 2),
            "hundred_visibility_delay_inside_s": 2.0,
            "hundred_ok": killed.get("ok") is True and _open_entries(venue) == 0,
            "hundred_cancel_requests": sum("batch_cancel" in row["path"] for row in venue.requests()),
        }
    finally:
        daemon.close()
        simulator.stop()


def _proven_at(daemon: Daemon) -> float:
    """When the tracker had the proof of the operator's kill, UNIX time."""
    lines = [line for line in daemon.log_lines() if line.get("event") == "stop_proven"]
    return max((datetime.fromisoformat(line["time"]).timestamp() for line in lines), default=float("nan"))


def _open_entries(venue: Venue) -> int:
    return sum(order["side"] == "BUY" and order["status"] not in ENDED for order in venue.truth()["orders"])


def _next_entry(folder: Path) -> dict[str, object]:
    """Ten symbols bid all the time; the latch file appears in the middle, as anyone may create it.

    An entry starts when its record is written, right before its first byte; negative: the last one was before.
    Nothing but entries is recorded here: cancels leave no record, and nothing is bought.
    """
    simulator, daemon, venue = _start(folder, 10, 2.0, 0.3)
    late: list[float] = []
    arrived: list[float] = []
    rates: list[float] = []
    try:
        daemon.wait_ready(60)
        for _ in range(ROUNDS):
            daemon.wait_run(120)
            since = time.time()
            wait_for(lambda since=since: len(_creates(venue, since)) >= 20, "entries", 60, 0.05)
            rates.append(len(_creates(venue, since)) / (time.time() - since))
            latched = time.time()
            (daemon.data / "KILL").touch()
            daemon.wait_status(lambda s: s["trading_state"] == "KILLED", "KILLED", 30)
            time.sleep(1.0)
            arrived.append(max((at - latched) * 1e3 for at in _creates(venue, since)))
            starts = [record.utc_ns / 1e9 for record in read_records(daemon.data / "demo" / "egress.log").records]
            late.append((max(starts) - latched) * 1e3)
            daemon.run("release", "--reason", "benchmark")
            daemon.run("resume", "--reason", "benchmark")
    finally:
        daemon.close()
        simulator.stop()
    return {
        "entries_per_s_before_the_latch": round(sum(rates) / len(rates), 1),
        "latch_to_last_entry_start_ms": round(max(late), 1),
        "latch_to_last_entry_at_venue_ms": round(max(arrived), 1),
        "latch_to_last_entry_rounds": ROUNDS,
    }


def _creates(venue: Venue, since_s: float) -> list[float]:
    """When the venue took creates, UNIX time."""
    rows = [row for row in venue.requests() if row["method"] == "POST" and row["path"].endswith("/orders")]
    times = [datetime.fromisoformat(row["time"]).timestamp() for row in rows]
    return [at for at in times if at >= since_s]


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:<46} {value}")
