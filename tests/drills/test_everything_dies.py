"""Everything dies with an entry resting: it ends by itself, and the next start protects what it bought first."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
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

ENTRY_LIFE_S = 10


def own(venue: Venue, role: str) -> list[Json]:
    return [order for order in venue.truth()["orders"] if f"-{role}-" in order["client_order_id"]]


def command(folder: Path, name: str, symbol: str, price: str) -> None:
    hidden = folder / f"{name}.new"
    hidden.write_text(json.dumps({"symbol": symbol, "side": "BUY", "price": price, "notional": "45"}))
    hidden.rename(folder / f"{name}.json")


def trade_through(venue: Venue, order: Json, size: Decimal) -> None:
    """Others trade a cent below the price of the order: it fills by ``size``, as far as it still works."""
    limit = Decimal(order["order_configuration"]["limit_limit_gtd"]["limit_price"])
    body = {"symbol": order["product_id"], "price": str(limit - Decimal("0.01")), "size": str(size)}
    venue.call("/control/trade", {**body, "maker_side": "BUY"})


def test_an_entry_that_outlives_everybody_ends_in_time_and_its_fill_is_protected_before_any_new_entry(
    daemon: Callable[..., Daemon], simulator: Callable[..., SimulatorApart], tmp_path: Path
) -> None:
    commands = tmp_path / "commands"
    commands.mkdir()
    strategist = {
        "strategy": "tests.drills.strategies:Commanded", "cycle_s": 0.2, "params": {"folder": str(commands)},
    }  # fmt: skip
    venue_process = simulator("--frozen", "--symbols", "BTC-USD,ETH-USD,SOL-USD")
    venue = Venue(venue_process.control_url)
    config = config_folder(tmp_path / "config", strategist=strategist, orders={"entry_life_s": ENTRY_LIFE_S})
    one = daemon(*against(venue_process), config=config)
    one.wait_run()
    one.wait_status(lambda s: s["exposure"] and not s["exposure"]["unavailable"], "risk to have read everything")

    command(commands, "1", "BTC-USD", "rest")
    entry = wait_for(lambda: next((o for o in own(venue, "e") if o["status"] == "OPEN"), None), "the entry to rest")
    one.kill()
    size = Decimal(entry["order_configuration"]["limit_limit_gtd"]["base_size"])
    part = (size / 2).quantize(size)  # on the venue's grid, as the entry is
    trade_through(venue, entry, part)
    resting = own(venue, "e")[0]
    assert (resting["status"], Decimal(resting["filled_size"])) == ("OPEN", part)

    ended = wait_for(
        lambda: next((o for o in own(venue, "e") if o["status"] != "OPEN"), None),
        "the entry to end by itself",
        ENTRY_LIFE_S + 5,
    )
    assert ended["status"] == "CANCELLED"
    trade_through(venue, entry, size)
    assert Decimal(own(venue, "e")[0]["filled_size"]) == part, "it bought after its end"

    command(commands, "2", "BTC-USD", "take")
    command(commands, "3", "ETH-USD", "take")
    before = len(venue.requests())
    one.start(wait=False)
    creates = wait_for(
        lambda: [r for r in venue.requests()[before:] if r["method"] == "POST" and r["path"].endswith("/orders")],
        "the restarted daemon to place an order",
        60,
    )
    assert "-p-" in creates[0]["client_order_id"], f"the first order after the restart is no protection: {creates}"
    one.wait_ready()
    bracket = wait_for(lambda: next((o for o in own(venue, "p") if o["status"] == "OPEN"), None), "the bracket to rest")
    assert Decimal(next(iter(bracket["order_configuration"].values()))["base_size"]) == part

    def entered_after_it() -> list[Json]:
        if not list(commands.glob("*.json")):
            command(commands, "4", "ETH-USD", "take")  # the first one came before risk had read the balances twice
        return own(venue, "e")[1:]

    entries = wait_for(entered_after_it, "a new entry to be placed after it", 60)
    assert entries[0]["created_time"] > bracket["created_time"]
    assert one.run("halt", "--reason", "drill: compare").returncode == 0
    assert_books_agree(one, venue, 60)
