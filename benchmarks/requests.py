"""What a daemon of 20 symbols asks the venue when nothing happens: requests an hour, by endpoint.

Nothing is held and nothing works, so this is what comparisons, balances, product modes and the clock cost whatever
the market does. The account's budget is ``gateway.requests_per_hour``; reads may use nine tenths of it.

``python -m benchmarks requests`` prints; ``run()`` gives the figures.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.scaling import QUIET, symbols
from config.sections.gateway import GatewaySettings
from tests.drills.daemon import Daemon, SimulatorApart, Venue, against, config_folder

SYMBOLS = 20
SETTLE_S = 15.0
IDLE_S = 120.0
READ_SHARE = 0.9


def run() -> dict[str, object]:
    """Requests an hour and their share of what reads may use, then by endpoint."""
    with tempfile.TemporaryDirectory(prefix="td-requests-") as name:
        folder = Path(name)
        simulator = SimulatorApart(folder / "venue", "--frozen", "--symbols", symbols(SYMBOLS))
        config = config_folder(folder / "config", strategist=QUIET["strategist"], watchdog=QUIET["watchdog"])
        daemon = Daemon(folder / "daemon", *against(simulator), "--symbols", symbols(SYMBOLS), config=config)
        try:
            daemon.wait_run()
            time.sleep(SETTLE_S)
            before, began = len(Venue(simulator.control_url).requests()), time.monotonic()
            time.sleep(IDLE_S)
            asked = Venue(simulator.control_url).requests()[before:]
            hours = (time.monotonic() - began) / 3600
        finally:
            daemon.close()
            simulator.stop()
    by_endpoint = Counter(row["path"].split("?")[0].rsplit("/brokerage/", 1)[-1] for row in asked)
    per_hour = len(asked) / hours
    return {
        "idle_requests_per_hour": round(per_hour),
        "idle_share_of_reads": round(per_hour / (READ_SHARE * GatewaySettings().requests_per_hour), 3),
        **{f"idle_{name}_per_hour": round(count / hours) for name, count in by_endpoint.most_common()},
    }


if __name__ == "__main__":
    for key, value in run().items():
        print(f"{key:<46} {value}")
