"""From 10 to 100 symbols: start time, memory and CPU, one guard each and grouped.

``python -m benchmarks.scaling`` prints; ``run()`` gives the figures. Prices are frozen, but the books still change
about 25 times a second and symbol, so ``cpu_share`` is that of market data and supervision together. Then the market
falls silent: what is left is heartbeats, supervision and timers.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.daemon import cpu_share, pss_bytes, shares, tree_of
from tests.drills.daemon import Daemon, SimulatorApart, Venue, against, config_folder

CASES = ((10, "each"), (20, "each"), (50, "each"), (50, "grouped"), (100, "grouped"))
QUIET = {"strategist": {"cycle_s": 3600}, "watchdog": {"actors": {"strategist": {"progress_s": 0}}}}
SETTLE_S = 6.0
IDLE_S = 10.0
LIMITS = {"lag_trip_ms": 10_000, "handler_trip_ms": 10_000, "missed_trip_s": 6, "missed_kill_s": 6}


def symbols(number: int) -> str:
    """Invented products; the last of a hundred is a real one."""
    names = [f"X{n:02d}-USD" for n in range(1, min(number, 99) + 1)]
    return ",".join([*names, *(["BTC-USD"] if number > 99 else [])])


def run() -> dict[str, object]:
    """Figures by case, e.g. ``50_each_start_s``."""
    found: dict[str, object] = {}
    for number, how in CASES:
        with tempfile.TemporaryDirectory(prefix="td-scale-") as folder:
            found |= {f"{number}_{how}_{key}": value for key, value in _case(Path(folder), number, how).items()}
    return found


def _case(folder: Path, number: int, how: str) -> dict[str, object]:
    simulator = SimulatorApart(folder / "venue", "--frozen", "--symbols", symbols(number))
    guard = {"group_above": 1000 if how == "each" else 1, "group_size": 10}
    config = config_folder(
        folder / "config", guard=guard, **{**QUIET, "watchdog": {**QUIET["watchdog"], "default": LIMITS}}
    )
    begun = time.monotonic()
    daemon = Daemon(folder / "daemon", *against(simulator), "--symbols", symbols(number), config=config, wait=False)
    try:
        daemon.wait_ready(90)
        start_s = time.monotonic() - begun
        time.sleep(SETTLE_S)
        pids = tree_of(daemon)
        found: dict[str, object] = {
            "start_s": round(start_s, 2),
            "processes": len(pids),
            "memory_pss_mb": round(pss_bytes(pids) / 1e6, 1),
            "cpu_share": cpu_share(pids, IDLE_S),
        }
        Venue(simulator.control_url).fault("stall", heartbeats=True, gap_after=False)
        time.sleep(SETTLE_S)
        total, judges, _ = shares(daemon, IDLE_S)
        return found | {"silent_cpu_share": round(total, 3), "silent_supervisors_and_watchdog": round(judges, 3)}
    finally:
        daemon.close()
        simulator.stop()


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:<32} {value}")
