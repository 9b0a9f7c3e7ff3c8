"""All benchmarks, one after another: ``python -m benchmarks [NAME ...]``, names as in PARTS."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

from benchmarks import daemon, feed, heartbeats, kill, ledger, orders, requests, scaling, supervision, transport

PARTS = {
    "transport": transport.run,
    "feed": feed.run,
    "daemon": daemon.run,
    "orders": orders.run,
    "supervision": supervision.run,
    "heartbeats": heartbeats.run,
    "scaling": scaling.run,
    "kill": kill.run,
    "ledger": ledger.run,
    "requests": requests.run,
}
BUDGETS: dict[str, tuple[str, float]] = {
    "round_trip_p50_us": ("<=", 100.0),
    "round_trip_ratio": (">=", 10.0),
    "loaded_p99_us": ("<=", 2000.0),
    "burst_per_s": (">=", 20_000.0),
    "burst_ratio": (">=", 20.0),
    "restart_p50_ms": ("<=", 60.0),
    "restart_p99_ms": ("<=", 250.0),
    **{f"hang_replaced_{name}_s": ("<=", 1.5) for name in ("risk", "reconciler", "strategist", "watchdog", "feed")},
    **{f"hang_replaced_{name}_s": ("<=", 1.5) for name in ("metrics", "alerts", "admin", "crash_reporter")},
    **{f"hang_replaced_{name}_s": ("<=", 4.0) for name in ("gateway", "tracker", "guard")},
    "static_start_ratio_per_child": ("<=", 10.0),
    "static_stop_ratio_per_child": ("<=", 10.0),
    "dynamic_stop_ratio": ("<=", 50.0),
    "start_to_ready_s": ("<=", 5.0),
    "ledger_start_without_snapshot_s": ("<=", 2.0),
    "ledger_start_s": ("<=", 2.0),
    "memory_pss_mb_10_symbols": ("<=", 400.0),
    "kill_proven_s": ("<=", 5.0),
    "entry_decided_to_wire_besides_fsync_p50_ms": ("<=", 5.0),
    "entry_decided_to_wire_besides_fsync_p99_ms": ("<=", 20.0),
    "handover_naked_p99_s": ("<=", 2.0),
    "hundred_entries_proven_cancelled_s": ("<=", 5.0),
    "latch_to_last_entry_start_ms": ("<=", 50.0),
    "heartbeats_and_supervision_share_of_one_core": ("<=", 0.05),
    "idle_share_of_reads": ("<=", 0.5),
}
"""docs/architecture.md says why; docs/performance.md has the figures that were seen."""


def main(names: list[str]) -> int:
    """Run the named parts (all without a name) and print every figure beside its budget."""
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"unknown benchmark {unknown[0]!r}; there are: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    for name in names or list(PARTS):
        begun = time.monotonic()
        print(f"\n{name}")
        for key, value in _flat(PARTS[name]()).items():
            print(f"  {key:<46} {value!s:<14} {_judge(key, value)}".rstrip())
        print(f"  (took {time.monotonic() - begun:.0f} s)")
    return 0


def _flat(found: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested figures as ``group.name``; budgets inside are left out, they stand beside the figures."""
    flat: dict[str, object] = {}
    for key, value in found.items():
        if isinstance(value, Mapping):
            flat |= {} if key == "budget" else _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = round(value, 3) if isinstance(value, float) else value
    return flat


def _judge(key: str, value: object) -> str:
    budget = BUDGETS.get(key.rpartition(".")[2])
    if key.startswith("stock."):
        return ""
    if budget is None or not isinstance(value, int | float):
        return ""
    sign, limit = budget
    met = value <= limit if sign == "<=" else value >= limit
    return f"budget {sign} {limit:g}: {'met' if met else 'NOT MET'}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
