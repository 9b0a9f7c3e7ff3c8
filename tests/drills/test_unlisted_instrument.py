"""A line of universe.yaml that the venue does not know: named, paged, halted; the rest trades."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.drills.daemon import Daemon, SimulatorApart, Venue, against, assert_books_agree, config_folder, wait_for


def test_an_instrument_that_the_venue_does_not_list_is_left_out_and_the_rest_trades(
    daemon: Callable[..., Daemon], simulator: Callable[..., SimulatorApart], tmp_path: Path
) -> None:
    venue_process = simulator("--symbols", "BTC-USD,ETH-USD")
    venue = Venue(venue_process.control_url)
    config = config_folder(
        tmp_path / "config",
        instruments=[{"symbol": "BTC-USD"}, {"symbol": "NOPE-USD"}, {"symbol": "ETH-USD"}],
        strategist={"cycle_s": 1},
    )
    one = daemon(*against(venue_process), config=config)
    one.wait_run()
    status = one.wait_status(
        lambda s: {line["symbol"] for line in s["per_symbol"]} == {"NOPE-USD"}, "NOPE-USD alone to be stopped", 60
    )
    assert all(line["state"] != "RUN" for line in status["per_symbol"])
    pages = [line for line in one.log_lines() if line.get("actor") == "feed" and "left_out" in line]
    assert pages and pages[-1]["left_out"] == ["NOPE-USD"]
    wait_for(lambda: venue.truth()["fills"], "a fill on the others", 60, 0.2)
    assert {order["product_id"] for order in venue.truth()["orders"]} <= {"BTC-USD", "ETH-USD"}
    assert_books_agree(one, venue)
