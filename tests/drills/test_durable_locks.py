"""Whatever stops trading still stops it after kill -9: of the whole daemon (a new epoch), and of the lock's owner.

Every lock is tripped for real, as the venue, the disk or an operator would. Judged by the venue's truth: no order
that adds risk comes in between.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from tests.drills.daemon import (
    Daemon,
    Json,
    SimulatorApart,
    Venue,
    against,
    assert_books_agree,
    config_folder,
    wait_for,
)

STRATEGY = "tests.drills.strategies:ChurnOneHoldOthers"
CALM = {
    "supervision": {"unclean_starts": 100},
    "capital": {"allotted": "1000", "max_order": "100"},
    # How latency trips is drilled elsewhere; here a busy machine must not stop what the drill waits for.
    "watchdog": {
        "default": {"lag_trip_ms": 10_000, "handler_trip_ms": 10_000, "missed_trip_s": 6, "missed_kill_s": 6},
        "half_open_s": 2,
        "probe_s": 1,
        "hold_max_s": 4,
    },
}


def bought(venue: Venue) -> set[str]:
    """Client order ids of every BUY the venue ever had from the daemon."""
    return {o["client_order_id"] for o in venue.truth()["orders"] if o["side"] == "BUY"}


def restarted(daemon: Daemon) -> Json:
    daemon.kill()
    daemon.start()
    return daemon.wait_status(lambda s: s["ready"] and s["uptime_s"] > 6, "a restart that has run for some seconds")


def owner_killed(daemon: Daemon, name: str) -> None:
    """kill -9 of one actor, until its successor beats and reports came after it."""
    old = daemon.actor(name)
    os.kill(old["pid"], signal.SIGKILL)
    wait_for(lambda: daemon.actor(name)["pid"] != old["pid"], f"a new {name}", 20)
    daemon.wait_status(lambda s: s["ready"] and not _starting(s), f"{name} to be back", 40)


def after_death_of(daemon: Daemon, name: str) -> Json:
    """A status of whoever replaced the actor."""
    owner_killed(daemon, name)
    return daemon.wait_status(lambda s: s["exposure"] and s["exposure"]["cooldowns"], f"the word of a new {name}", 20)


def _starting(status: Json) -> bool:
    return any(actor["state"] != "running" for actor in status["actors"])


def entries_per_minute(venue: Venue) -> int:
    """The most entries that the venue got within any 60 seconds."""
    times = sorted(
        datetime.fromisoformat(order["created_time"]).timestamp()
        for order in venue.truth()["orders"]
        if order["side"] == "BUY"
    )
    return max((sum(1 for other in times if 0 <= other - first < 60) for first in times), default=0)


def epoch_of(order: Json) -> int:
    return int(order["client_order_id"].split("-")[2])


def sold_by_a_later_start(venue: Venue, bought_as: Json) -> bool:
    """Another start of the daemon than the one that bought has sold it."""
    sells = [o for o in venue.truth()["orders"] if o["side"] == "SELL" and o["product_id"] == bought_as["product_id"]]
    return any(o["status"] == "FILLED" and epoch_of(o) > epoch_of(bought_as) for o in sells)


def test_cooldowns_rates_holding_times_and_operators_words_outlive_kill_9(
    daemon: Callable[..., Daemon], simulator: Callable[..., SimulatorApart], tmp_path: Path
) -> None:
    process = simulator("--symbols", "BTC-USD,ETH-USD,SOL-USD,XRP-USD", "--frozen")
    venue = Venue(process.control_url)
    config = config_folder(
        tmp_path / "config",
        instruments=[{"symbol": symbol} for symbol in ("BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD")],
        strategist={
            "strategy": STRATEGY,
            "cycle_s": 1,
            "params": {"churned": "BTC-USD", "max_hold_s": 45},
        },
        risk={
            "cooldown_symbol_s": 900,
            "max_orders_per_minute": 3,
            "max_positions": 10,
            "losing_streak": 3,
            "cooldown_streak_s": 90,
        },
        **CALM,
    )
    one = daemon(*against(process), config=config)
    cooling = one.wait_status(lambda s: "BTC-USD" in (s["exposure"] or {"cooldowns": {}})["cooldowns"], "a cooldown")
    ends = cooling["exposure"]["cooldowns"]["BTC-USD"]
    status = restarted(one)
    assert status["exposure"]["cooldowns"]["BTC-USD"] == ends
    owner_killed(one, "risk")
    again = one.wait_status(lambda s: "BTC-USD" in (s["exposure"] or {"cooldowns": {}})["cooldowns"], "the cooldown")
    assert again["exposure"]["cooldowns"]["BTC-USD"] == ends
    restarted(one)
    owner_killed(one, "tracker")  # who looks at the holding times
    held = [o for o in venue.truth()["orders"] if o["side"] == "BUY" and o["product_id"] != "BTC-USD"]
    wait_for(lambda: sold_by_a_later_start(venue, held[0]), f"{held[0]['product_id']} to be sold in time", 120, 0.5)
    assert entries_per_minute(venue) <= 3
    # Every round trip of a market that stands still is a loss: the fees. The fourth symbol has not had its turn.
    locked = one.wait_status(lambda s: "*" in s["exposure"]["cooldowns"], "three losses in a row to lock", 120)
    streak_ends, buys = locked["exposure"]["cooldowns"]["*"], bought(venue)
    for status in (restarted(one), after_death_of(one, "risk")):
        assert status["exposure"]["cooldowns"]["*"] == streak_ends
        assert status["time"] < streak_ends
    assert bought(venue) == buys, "bought while a losing streak locks everything"

    for verb, state in (("reduce", "REDUCE_ONLY"), ("halt", "HALTED")):
        assert one.run(verb, "--reason", "drill").returncode == 0
        buys = bought(venue)
        status = restarted(one)
        assert status["trading_state"] == state, status["reasons"]
        owner_killed(one, "watchdog")
        one.wait_status(lambda s, state=state: s["trading_state"] == state, f"{state} under a new watchdog", 30)
        assert bought(venue) == buys
    over = one.wait_status(lambda s: s["exposure"] and "*" not in s["exposure"]["cooldowns"], "the lock to end", 120)
    assert over["time"] >= streak_ends
    assert len([o for o in venue.truth()["orders"] if o["product_id"] == "BTC-USD" and o["side"] == "BUY"]) == 1
    assert_books_agree(one, venue)
