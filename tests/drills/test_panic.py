"""``run.py panic`` beside a real daemon: wedged, dead, alive and trading; from here and from another machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.drills.daemon import (
    RUN,
    Daemon,
    Json,
    SimulatorApart,
    Venue,
    against,
    assert_books_agree,
    clean_environment,
    config_folder,
    differences,
    wait_for,
)
from tests.drills.test_kill_switch import HELD, MANY, held_base, open_orders, stop_size

BIDS = tuple(f"X{n:02d}-USD" for n in range(1, 5))


def panic(simulator: SimulatorApart, folder: Path, *arguments: str) -> Json:
    """Run it where nothing of the daemon is; its answer, proven."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [*RUN, "panic", *against(simulator), "--json", *arguments],
        capture_output=True, text=True, timeout=120, cwd=folder, env=clean_environment(HOME=str(folder)),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def by_hand(venue: Venue, symbol: str, price: str, **more: str) -> str:
    terms = {"limit_limit_gtc": {"base_size": "10", "limit_price": price, "post_only": False}}
    order = {"product_id": symbol, "side": "BUY", "order_configuration": terms, **more}
    return venue.call("/control/order", order)["order"]["order_id"]


def open_ids(venue: Venue, side: str) -> set[str]:
    return {order["order_id"] for order in open_orders(venue, side)}


def protected(status: Json) -> bool:
    return len(status["positions"]) == 2 and all(p["protection"] == "PROTECTED" for p in status["positions"])


def test_panic_clears_behind_a_wedged_daemon_and_after_a_dead_one(
    daemon: Callable[..., Daemon], simulator: Callable[..., SimulatorApart], tmp_path: Path
) -> None:
    held, elsewhere = HELD[:2], tmp_path / "elsewhere"
    symbols = ",".join((*held, *BIDS))
    venue_process = simulator("--symbols", symbols, "--frozen")
    venue = Venue(venue_process.control_url)
    strategist = {**MANY["strategist"], "params": {"held": ",".join(held)}}
    config = config_folder(tmp_path / "config", **{**MANY, "strategist": strategist})
    one = daemon(*against(venue_process), "--symbols", symbols, config=config)
    one.wait_run()
    one.wait_status(protected, "2 protected positions", 90)
    wait_for(lambda: len(open_orders(venue, "BUY")) >= 3, "resting entries", 60)
    mine = by_hand(venue, "X01-USD", "0.5")
    stops = open_ids(venue, "SELL")

    # Wedged: every process stopped, nobody answers; the latch is there before the first cancel.
    frozen = one.pids()
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    other = by_hand(venue, "X02-USD", "0.5", client_order_id="td-b-9-e-1")
    told = panic(venue_process, elsewhere, "--data-dir", str(one.data))
    assert told["instances"]["b"] == 1 and told["cancelled"] >= 4
    assert open_ids(venue, "BUY") == {mine} and open_ids(venue, "SELL") == stops
    assert {order["symbol"] for order in told["resting"]} == set(held) and not told["maybe_naked"]
    assert (one.data / "KILL").exists()
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    one.wait_status(lambda s: s["trading_state"] == "KILLED", "KILLED by the latch")
    assert_without(one, venue, {other})

    # Dead, and from a machine that has nothing but the key: what rests there goes, the stops stay.
    one.kill()
    orphan = by_hand(venue, "X03-USD", "0.5", client_order_id="td-a-1-e-900000000")
    told = panic(venue_process, elsewhere)
    assert told["cancelled"] == 1 and orphan not in open_ids(venue, "BUY")
    assert open_ids(venue, "BUY") == {mine} and open_ids(venue, "SELL") == stops
    assert {order["product_id"]: stop_size(order) for order in open_orders(venue, "SELL")} == {
        symbol: size for symbol, size in held_base(venue).items() if symbol in held
    }
    assert not list(elsewhere.iterdir())


def assert_without(one: Daemon, venue: Venue, strangers: set[str]) -> None:
    """The books agree, but for orders of another host that the ledger never had."""
    def agree() -> bool:
        truth = venue.truth()
        truth["orders"] = [order for order in truth["orders"] if order["order_id"] not in strangers]
        return not differences(one.export(), truth)

    wait_for(agree, "ledger and venue to agree", 30, 0.5)


def test_panic_beside_a_daemon_that_trades_latches_it_and_the_ledger_agrees(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    one = daemon(config=config_folder(tmp_path / "config", strategist={"cycle_s": 1}, risk={"cooldown_symbol_s": 1}))
    one.wait_run()
    one.wait_status(lambda s: any(p["protection"] == "PROTECTED" for p in s["positions"]), "a protected position", 60)
    done = one.run("panic", "--json", "--reason", "drill")  # finds the embedded simulator in the data folder
    assert done.returncode == 0, done.stdout + done.stderr + one.tail()
    assert json.loads(done.stdout)["proven"]
    one.wait_status(lambda s: s["trading_state"] == "KILLED", "KILLED by the latch", 20)
    assert not open_orders(one.venue, "BUY")
    one.wait_status(lambda s: all(p["protection"] == "PROTECTED" for p in s["positions"]), "protection to stay", 20)
    assert_books_agree(one, one.venue)
    again = one.run("panic")
    assert again.returncode == 0 and "latched" in again.stdout and "PROVEN" in again.stdout
