"""The kill switch, proven at the venue: entries gone, protection resting, latched until released."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

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

HELD = ("BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD", "LTC-USD")
BIDS = tuple(f"X{n:02d}-USD" for n in range(1, 51))

MANY = {
    "strategist": {
        "strategy": "tests.drills.strategies:HoldSomeBidForTheRest",
        "cycle_s": 2,
        "max_proposals": 10,
        "params": {"held": ",".join(HELD)},
    },
    "capital": {"allotted": "10000", "max_order": "100"},
    "risk": {"max_positions": 100, "max_orders_per_minute": 1000, "cooldown_symbol_s": 0, "max_total_pct": "90"},
    "orders": {"entry_life_s": 60},
    # 55 symbols on a small shared machine are slow at times; how latency trips is drilled elsewhere.
    "watchdog": {
        "default": {"lag_trip_ms": 10_000, "handler_trip_ms": 10_000, "missed_trip_s": 6, "missed_kill_s": 6}
    },
}
ENDED = {"FILLED", "CANCELLED", "EXPIRED", "FAILED"}


def open_orders(venue: Venue, side: str) -> list[Json]:
    return [order for order in venue.truth()["orders"] if order["side"] == side and order["status"] not in ENDED]


def held_base(venue: Venue) -> dict[str, Decimal]:
    balances = venue.truth()["balances"]
    return {
        symbol: Decimal(balances[base]["available"]) + Decimal(balances[base]["hold"])
        for symbol in HELD
        if (base := symbol.split("-")[0]) in balances
    }


def stop_size(order: Json) -> Decimal:
    (configuration,) = order["order_configuration"].values()
    return Decimal(configuration["base_size"])


def stop_trigger(order: Json) -> Decimal:
    (configuration,) = order["order_configuration"].values()
    return Decimal(configuration.get("stop_trigger_price") or configuration["stop_price"])


def test_a_kill_with_fifty_entries_and_five_positions_leaves_exactly_the_stops(
    daemon: Callable[..., Daemon], simulator: Callable[..., SimulatorApart], tmp_path: Path
) -> None:
    symbols = ",".join((*HELD, *BIDS))
    venue_process = simulator("--symbols", symbols, "--frozen")
    venue = Venue(venue_process.control_url)
    one = daemon(*against(venue_process), "--symbols", symbols, config=config_folder(tmp_path / "config", **MANY))
    one.wait_run()
    one.wait_status(
        lambda s: len(s["positions"]) == 5 and all(p["protection"] == "PROTECTED" for p in s["positions"]),
        "5 protected positions",
        90,
    )
    wait_for(lambda: len(open_orders(venue, "BUY")) >= 50, "50 open entries at the venue", 90, 0.2)

    killed = one.run("kill", "--reason", "drill", "--json")
    assert killed.returncode == 0, killed.stdout + killed.stderr + one.tail()
    assert open_orders(venue, "BUY") == []
    stops = {order["product_id"]: order for order in open_orders(venue, "SELL")}
    owned = held_base(venue)
    assert set(stops) == set(HELD)
    assert {symbol: stop_size(order) for symbol, order in stops.items()} == owned
    assert (one.status() or {})["trading_state"] == "KILLED"
    assert_books_agree(one, venue)

    one.kill()
    for symbol, order in stops.items():
        venue.freeze(symbol, False)
        venue.price(symbol, stop_trigger(order) * Decimal("0.985"))
    wait_for(lambda: not any(held_base(venue).values()), "all five positions to be sold by their stops", 20)

    one.start()
    status = one.wait_status(
        lambda s: s["trading_state"] == "KILLED" and not s["positions"], "KILLED after the restart"
    )
    assert status["operator"]["latched"]
    refused = one.run("resume", "--reason", "drill: must be refused while latched")
    assert refused.returncode == 1
    assert (one.status() or {})["trading_state"] == "KILLED"
    assert one.run("release", "--reason", "drill").returncode == 0
    assert one.run("resume", "--reason", "drill").returncode == 0
    one.wait_run()
    assert_books_agree(one, venue)


@pytest.mark.parametrize("how", ["file", "signal", "admin dead"])
def test_every_way_to_kill_latches_and_stops_entries(daemon: Callable[..., Daemon], tmp_path: Path, how: str) -> None:
    config = config_folder(tmp_path / "config", strategist={"cycle_s": 1}, risk={"cooldown_symbol_s": 1})
    one = daemon(config=config)
    one.wait_run()
    wait_for(lambda: one.export()["orders"], "the first order", 60, 0.5)
    assert one.process is not None
    if how == "file":
        (one.data / "KILL").touch()
    elif how == "signal":
        one.process.send_signal(signal.SIGUSR1)
    else:
        os.kill(one.actor("admin")["pid"], signal.SIGKILL)
        (one.data / "KILL").touch()
    one.wait_status(lambda s: s["trading_state"] == "KILLED", "KILLED", 20)
    assert (one.data / "KILL").exists()
    one.wait_status(lambda s: not (s["orders"] or {"open": {}})["open"].get("entry"), "no open entry", 20)
    assert_books_agree(one, one.venue)
    entries = sum(1 for order in one.export()["orders"] if order["role"] == "entry")
    one.kill()
    one.start()
    status = one.wait_status(lambda s: s["trading_state"] == "KILLED", "KILLED after the restart", 30)
    assert status["operator"]["latched"]
    assert sum(1 for order in one.export()["orders"] if order["role"] == "entry") == entries


def test_flatten_sells_every_position_with_proof(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    one = daemon(config=config_folder(tmp_path / "config", strategist={"cycle_s": 1}))
    one.wait_run()
    one.wait_status(lambda s: any(p["protection"] == "PROTECTED" for p in s["positions"]), "a protected position", 60)
    done = one.run("kill", "--reason", "drill", "--flatten", "--json")
    assert done.returncode == 0, done.stdout + done.stderr + one.tail()
    one.wait_status(lambda s: not s["positions"] and not s["orders"]["open"], "to be flat", 30)
    _, truth = assert_books_agree(one, one.venue)
    assert not [o for o in truth["orders"] if o["status"] not in ENDED]


def test_kill_all_names_what_it_leaves_naked_and_needs_yes(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    one = daemon(config=config_folder(tmp_path / "config", strategist={"cycle_s": 1}))
    one.wait_run()
    status = one.wait_status(lambda s: any(p["protection"] == "PROTECTED" for p in s["positions"]), "a position", 60)
    asked = one.run("kill", "--reason", "drill", "--all")
    assert asked.returncode == 1
    assert status["positions"][0]["symbol"] in asked.stderr
    assert not (one.data / "KILL").exists()
    done = one.run("kill", "--reason", "drill", "--all", "--yes", "--json")
    assert done.returncode == 0, done.stdout + done.stderr + one.tail()
    assert not [o for o in one.venue.truth()["orders"] if o["status"] not in ENDED]
    one.wait_status(lambda s: all(p["protection"] == "NAKED" for p in s["positions"]), "NAKED to be said", 20)
