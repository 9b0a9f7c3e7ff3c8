"""The whole daemon at the embedded simulator: start, restarts, hangs, order path, memory, idle cost, kill.

``python -m benchmarks.daemon`` prints; ``run()`` gives the figures. Wall-clock times on a shared host.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
import urllib.request
from datetime import datetime
from pathlib import Path

from tests.drills.daemon import Daemon, Json, config_folder, descendants, wait_for

TEN = "BTC-USD,ETH-USD,SOL-USD,XRP-USD,LTC-USD,DOGE-USD,ADA-USD,AVAX-USD,LINK-USD,DOT-USD"
RESTARTED = ("risk", "tracker", "gateway", "feed", "guard.BTC-USD", "reconciler", "strategist", "watchdog")
ROUNDS = 4
HUNG = (*RESTARTED, "metrics", "alerts", "admin", "crash_reporter")
TRADE_S = 45.0
IDLE_S = 10.0
NO_ACTORS = frozenset({"python", "python3", "strategy"})
"""Thespian's admin and the process of the user's strategy."""
SUPERVISORS = frozenset({"root", "operations", "trading", "market", "decisions", "watchdog"})
BRISK = {
    "strategist": {"strategy": "tests.drills.strategies:Churn", "cycle_s": 1},
    "risk": {"cooldown_symbol_s": 1, "max_orders_per_minute": 200, "repeat_limit": 1000, "losing_streak": 1000},
    "capital": {"allotted": "5000", "max_order": "100"},
}


def run() -> dict[str, object]:
    """All figures; names carry the unit."""
    with tempfile.TemporaryDirectory(prefix="td-bench-") as folder:
        daemon = Daemon(
            Path(folder), "--symbols", TEN, config=config_folder(Path(folder) / "config", **BRISK), wait=False
        )
        try:
            return _measure(daemon)
        finally:
            daemon.close()


def _measure(daemon: Daemon) -> dict[str, object]:
    begun = time.monotonic()
    daemon.wait_ready()
    found: dict[str, object] = {"start_to_ready_s": round(time.monotonic() - begun, 2)}
    status = daemon.wait_run()
    time.sleep(TRADE_S)
    found |= _pipeline(status["metrics_url"])
    found["memory_pss_mb_10_symbols"] = round(pss_bytes(tree_of(daemon)) / 1e6, 1)
    found |= _restarts(daemon)
    found |= _hangs(daemon)
    daemon.wait_run(120)
    begun = time.monotonic()
    daemon.run("halt", "--reason", "benchmark")
    found["halt_command_s"] = round(time.monotonic() - begun, 3)
    found["cpu_share_of_one_core_halted_10_symbols"] = cpu_share(tree_of(daemon), IDLE_S)
    begun = time.monotonic()
    killed = json.loads(daemon.run("kill", "--reason", "benchmark", "--json").stdout)
    found["kill_proven_s"] = round(time.monotonic() - begun, 2)
    found["kill_ok"] = killed.get("ok")
    return found


def _pipeline(url: str) -> dict[str, object]:
    """Medians and p99 (upper bucket bounds) of the order path, from the histograms of /metrics."""
    text = urllib.request.urlopen(url, timeout=5).read().decode()
    buckets: dict[str, list[tuple[float, float]]] = {}
    for line in text.splitlines():
        if line.startswith("td_pipeline_seconds_bucket"):
            labels, value = line[len("td_pipeline_seconds_bucket") :].split("} ")
            pairs = dict(part.split("=", 1) for part in labels.strip("{").split(","))
            stage, bound = pairs["stage"].strip('"'), float(pairs["le"].strip('"'))
            buckets.setdefault(stage, []).append((bound, float(value)))
    found: dict[str, object] = {}
    for stage, counts in buckets.items():
        counts.sort()
        total = counts[-1][1]
        if total:
            for share, name in ((0.5, "p50"), (0.99, "p99")):
                bound = next(bound for bound, count in counts if count >= share * total)
                found[f"pipeline_{stage}_{name}_le_ms"] = round(bound * 1e3, 1)
            found[f"pipeline_{stage}_orders"] = int(total)
    return found


def _log_times(daemon: Daemon, event: str, child: str, after_s: float) -> list[float]:
    return [
        at
        for line in daemon.log_lines()
        if line.get("event") == event and line.get("child") == child
        for at in [datetime.fromisoformat(line["time"]).timestamp()]
        if at >= after_s
    ]


def _replaced_after(daemon: Daemon, name: str, number: int) -> tuple[float, float]:
    """Seconds from the signal to the replacement's ``started`` (its state restored), by the log, and when it was."""
    pid = daemon.actor(name)["pid"]
    begun = time.time()
    os.kill(pid, number)
    started = wait_for(lambda: _log_times(daemon, "started", name, begun), f"{name} to start again", 20, 0.05)
    return min(started) - begun, begun


def _restarts(daemon: Daemon) -> dict[str, object]:
    times = []
    for _ in range(ROUNDS):
        for name in RESTARTED:
            wait_for(lambda name=name: daemon.actor(name)["state"] == "running", name, 20)
            times.append(_replaced_after(daemon, name, signal.SIGKILL)[0] * 1e3)
        time.sleep(8)  # keep below the restart intensity, which would back off
    times.sort()
    return {
        "restart_p50_ms": round(times[len(times) // 2], 1),
        "restart_p99_ms": round(times[-1], 1),
        "restarts": len(times),
    }


def _hangs(daemon: Daemon) -> dict[str, object]:
    """Every kind of actor is stopped once: seconds until its parent says that it hangs, and until it is replaced."""
    found: dict[str, object] = {}
    for name in HUNG:
        daemon.wait_run(120)
        wait_for(lambda name=name: daemon.actor(name)["state"] == "running", name, 20)
        replaced_s, begun = _replaced_after(daemon, name, signal.SIGSTOP)
        kind = name.partition(".")[0]
        found[f"hang_detected_{kind}_s"] = round(min(_log_times(daemon, "hang", name, begun)) - begun, 2)
        found[f"hang_replaced_{kind}_s"] = round(replaced_s, 2)
        time.sleep(3)  # keep below the restart intensity, which would back off
    return found


def tree_of(daemon: Daemon) -> set[int]:
    """Every process of the daemon but run.py itself and the simulator."""
    assert daemon.process is not None
    return {pid for pid in descendants(daemon.process.pid) if b"-m\x00simulator" not in _command(pid)}


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def pss_bytes(pids: set[int]) -> int:
    """Proportional set size of all of them together."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), 0)
    return total


def _cpu_s(pids: set[int]) -> float:
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def cpu_share(pids: set[int], seconds: float) -> float:
    """CPU seconds per second that they use together."""
    before = _cpu_s(pids)
    time.sleep(seconds)
    return round((_cpu_s(pids) - before) / seconds, 3)


def shares(daemon: Daemon, seconds: float) -> tuple[float, float, list[str]]:
    """CPU shares of all processes, of those that only supervise, and the names of the actors."""
    names = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in tree_of(daemon)}
    before = {pid: _ran_s(pid) for pid in names}
    begun = time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - begun
    shares = {pid: (_ran_s(pid) - was) / elapsed for pid, was in before.items()}
    judges = sum(share for pid, share in shares.items() if names.get(pid) in SUPERVISORS)
    return sum(shares.values()), judges, [name for name in names.values() if name not in NO_ACTORS]


def _ran_s(pid: int) -> float:
    """CPU seconds of all threads of a process."""
    total = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0]) / 1e9
    return total


def main() -> Json:
    """Print the figures."""
    found = run()
    for name, value in found.items():
        print(f"{name:<46} {value}")
    return found


if __name__ == "__main__":
    main()
