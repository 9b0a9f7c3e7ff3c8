"""What heartbeats and supervision cost when nothing happens: 20 symbols, one guard each, a market that is silent.

The feed's connections stay up and get the venue's heartbeats only. Two daemons run one after the other, the second
with rare beats: the difference in CPU time, per beat, is what a beat costs everybody who sends, carries or judges it.

``python -m benchmarks.heartbeats`` prints; ``run()`` gives the figures. CPU time as the kernel counts it.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.daemon import shares
from benchmarks.scaling import QUIET, symbols
from tests.drills.daemon import Daemon, SimulatorApart, Venue, against, config_folder

SYMBOLS = 20
SETTLE_S = 5.0
IDLE_S = 20.0
RARE_S = 2.0


def run() -> dict[str, object]:
    """Shares of one core."""
    total, judges, actors = _measure({})
    rare_total, rare_judges, _ = _measure({"default": {"beat_s": RARE_S}, "actors": {"guard": {"beat_s": RARE_S}}})
    beats = sum(1.0 if name.startswith("guard") else 4.0 for name in actors)
    rare_beats = len(actors) / RARE_S
    per_beat_s = (total - rare_total) / (beats - rare_beats)
    return {
        "idle_all_processes": round(total, 4),
        "idle_all_processes_rare_beats": round(rare_total, 4),
        "beats_per_s": beats,
        "heartbeat_us": round(per_beat_s * 1e6),
        "heartbeat_share_of_one_core": round(per_beat_s * beats, 4),
        "supervisors_and_watchdog": round(judges, 4),
        "heartbeats_and_supervision_share_of_one_core": round(
            per_beat_s * beats + rare_judges - per_beat_s * rare_beats, 4
        ),
    }


def _measure(watchdog: dict[str, object]) -> tuple[float, float, list[str]]:
    """CPU shares of all processes and of those that only supervise, and the names of the actors."""
    with tempfile.TemporaryDirectory(prefix="td-beats-") as name:
        folder = Path(name)
        simulator = SimulatorApart(folder / "venue", "--frozen", "--symbols", symbols(SYMBOLS))
        strategist = QUIET["watchdog"]["actors"]
        actors = {**strategist, **watchdog.get("actors", {})}  # type: ignore[dict-item]
        config = config_folder(
            folder / "config",
            strategist=QUIET["strategist"],
            watchdog={**watchdog, "actors": actors},
            guard={"group_above": SYMBOLS},
            supervision={"root_missed_kill_s": 6.0},
        )
        daemon = Daemon(folder / "daemon", *against(simulator), "--symbols", symbols(SYMBOLS), config=config)
        try:
            daemon.wait_run()
            Venue(simulator.control_url).fault("stall", heartbeats=True, gap_after=False)
            time.sleep(SETTLE_S)
            return shares(daemon, IDLE_S)
        finally:
            daemon.close()
            simulator.stop()


if __name__ == "__main__":
    for key, value in run().items():
        print(f"{key:<46} {value}")
