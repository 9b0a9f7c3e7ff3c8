"""kill -9 of actors in random order while the market trades: back to RUN each time, and the books agree."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from tests.drills.daemon import Daemon, SimulatorApart, Venue, against, assert_books_agree, config_folder, wait_for
from tests.drills.test_faults import CHURN

KILLS = 30
ALLOTTED = Decimal(5000)
VICTIMS = (
    "tracker", "gateway", "risk", "reconciler", "feed", "guard.BTC-USD", "guard.ETH-USD", "strategist", "watchdog",
    "metrics", "alerts", "admin", "crash_reporter",
)  # fmt: skip


def test_thirty_kills_in_random_order_lose_and_double_nothing(
    daemon: Callable[..., Daemon], simulator: Callable[..., SimulatorApart], tmp_path: Path
) -> None:
    seed = int(os.environ.get("DRILL_SEED", random.randrange(1_000_000)))
    print(f"DRILL_SEED={seed}")
    rng = random.Random(seed)
    venue_process = simulator("--symbols", "BTC-USD,ETH-USD,SOL-USD")
    venue = Venue(venue_process.control_url)
    one = daemon(*against(venue_process), config=config_folder(tmp_path / "config", **CHURN))
    one.wait_run()
    wait_for(lambda: venue.truth()["fills"], "the market to be traded", 60)
    order = [*VICTIMS, *(rng.choice(VICTIMS[:8]) for _ in range(KILLS - len(VICTIMS)))]
    rng.shuffle(order)
    for name in order:
        pid = one.actor(name)["pid"]
        rest = rng.random() * 0.5
        wait_for(lambda pid=pid: Path(f"/proc/{pid}").exists(), name, 5)
        os.kill(pid, signal.SIGKILL)
        one.wait_status(
            lambda s, name=name, pid=pid: any(
                a["name"] == name and a["pid"] != pid and a["state"] == "running" for a in s["actors"]
            ),
            f"{name} to be back (seed {seed})",
            30,
        )
        if rest < 0.25:
            one.wait_run(90)  # every other time the next kill comes into the recovery
    one.wait_run(120)
    fills = len(venue.truth()["fills"])
    wait_for(lambda: len(venue.truth()["fills"]) > fills, "trading to go on", 90)
    assert one.run("halt", "--reason", "drill: compare").returncode == 0
    ledger, truth = assert_books_agree(one, venue, 120)
    spent = sum((Decimal(p["quantity"]) * Decimal(p.get("average_cost") or 0) for p in ledger["positions"]), Decimal(0))
    assert spent <= ALLOTTED
    assert not [f for f in truth["fills"] if Decimal(f["price"]) * Decimal(f["size"]) > Decimal("101")]
