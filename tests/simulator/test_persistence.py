"""The venue outlives its own death: kill -9, restart, and everything that was answered is there."""

from __future__ import annotations

import json
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from simulator.testing import SimulatorProcess
from tests.simulator.conftest import eventually, rest_client

FREE = ["--private-rate", "0", "--public-rate", "0"]


def on_grid(price: Decimal) -> str:
    return str(price.quantize(Decimal("0.01")))


def price_of(venue: SimulatorProcess) -> Decimal:
    return Decimal(venue.truth()["prices"]["BTC-USD"])  # type: ignore[call-overload]


def test_after_kill_9_the_venue_is_as_it_was_and_its_key_and_ports_too(tmp_path: Path) -> None:
    with SimulatorProcess(frozen=True, balances={"USD": "10000", "BTC": "1"}, data_dir=tmp_path,
                          arguments=FREE) as venue:
        sdk = rest_client(venue)
        price = price_of(venue)
        sdk.market_order_buy("bought", "BTC-USD", quote_size="500")
        sdk.limit_order_gtc_buy("resting", "BTC-USD", "0.01", on_grid(price * Decimal("0.9")))
        sdk.trigger_bracket_order_gtc_sell("stop", "BTC-USD", "0.5", on_grid(price * 2), on_grid(price / 2))
        eventually(lambda: sum(o["status"] == "OPEN" for o in venue.truth()["orders"]) == 2, "two open orders")
        before = venue.truth()
        key, ca, where = Path(venue.key_file).read_text(), Path(venue.ca_file).read_bytes(), venue.rest
        venue.kill()
        venue.start()
        after = venue.truth()
        assert after["orders"] == before["orders"]
        assert after["fills"] == before["fills"] and after["fills"]
        assert after["balances"] == before["balances"]
        assert after["prices"] == before["prices"]
        assert (Path(venue.key_file).read_text(), Path(venue.ca_file).read_bytes(), venue.rest) == (key, ca, where)
        assert Path(venue.key_file).stat().st_mode & 0o777 == 0o600
        again = rest_client(venue)
        same = again.limit_order_gtc_buy("resting", "BTC-USD", "0.01", on_grid(price * Decimal("0.9")))
        assert same.success_response["order_id"] in {o["order_id"] for o in before["orders"]}
        venue.price("BTC-USD", price / 2)
        states = {o["client_order_id"]: o["status"] for o in venue.truth()["orders"]}
        assert states == {"bought": "FILLED", "resting": "FILLED", "stop": "FILLED"}
        assert venue.stop() == 0, "SIGTERM ends it in order"


def test_an_order_answered_just_before_the_kill_is_never_lost() -> None:
    with SimulatorProcess(frozen=True, arguments=[*FREE, "--accept-delay-ms", "60000"]) as venue:
        sdk = rest_client(venue)
        for number in range(2):
            created = sdk.limit_order_gtc_buy(f"last-{number}", "BTC-USD", "0.001", "30000")
            venue.kill()
            venue.start()
            orders = {o["order_id"]: o for o in venue.truth()["orders"]}
            assert created.success_response["order_id"] in orders
            sdk = rest_client(venue)
        eventually(lambda: {o["status"] for o in venue.truth()["orders"]} == {"OPEN"},
                   "what was pending is taken up")


def test_a_venue_that_cannot_write_ends_instead_of_answering(tmp_path: Path) -> None:
    with SimulatorProcess(frozen=True, symbols=["BTC-USD"], data_dir=tmp_path, arguments=FREE) as venue:
        sdk = rest_client(venue)
        lock = sqlite3.connect(tmp_path / "venue.db", isolation_level=None)
        lock.execute("DROP TABLE orders")
        lock.close()
        with pytest.raises(requests.ConnectionError):
            sdk.limit_order_gtc_buy("lost", "BTC-USD", "0.001", "30000")
        assert "no such table" in venue.log_file.read_text()


def test_five_resting_stops_are_sold_while_the_venue_runs_alone() -> None:
    with SimulatorProcess(frozen=True, balances={"USD": "0", "BTC": "5"}, arguments=FREE) as venue:
        sdk = rest_client(venue)
        price = price_of(venue)
        for number in range(5):
            stop = price * (Decimal("0.99") - Decimal(number) / 200)
            sdk.stop_limit_order_gtc_sell(f"stop-{number}", "BTC-USD", "0.1", on_grid(stop * Decimal("0.95")),
                                          on_grid(stop), "STOP_DIRECTION_STOP_DOWN")
        eventually(lambda: all(o["status"] == "OPEN" for o in venue.truth()["orders"]), "five open stops")
        venue.price("BTC-USD", price * Decimal("0.96"), ramp_s=0.5)
        truth = venue.truth()
        assert [o["status"] for o in truth["orders"]] == ["FILLED"] * 5
        assert sum(Decimal(str(f["size"])) for f in truth["fills"]) == Decimal("0.5")
        assert venue.balances()["BTC"] == {"available": Decimal("4.5"), "hold": Decimal(0)}
        for order in truth["orders"]:
            assert Decimal(str(order["average_filled_price"])) > price * Decimal("0.95")


def test_stops_that_the_market_passed_during_the_downtime_are_filled_at_the_restart(tmp_path: Path) -> None:
    with SimulatorProcess(balances={"USD": "0", "BTC": "5"}, data_dir=tmp_path, arguments=FREE) as venue:
        sdk = rest_client(venue)
        price = price_of(venue)
        # tight on both sides: half a year's walk in the downtime crosses one of them
        sdk.trigger_bracket_order_gtc_sell("tight", "BTC-USD", "0.1", on_grid(price * Decimal("1.01")),
                                           on_grid(price * Decimal("0.99")))
        eventually(lambda: venue.truth()["orders"][0]["status"] in {"OPEN", "FILLED"}, "the bracket is taken up")
        venue.kill()
        _age(tmp_path, days=6)
        venue.start()
        order = venue.truth()["orders"][0]
        assert order["status"] == "FILLED"
        assert price_of(venue) != price


def _age(directory: Path, days: int) -> None:
    """Make the stored market older, as if the venue had been down for so long."""
    db = sqlite3.connect(directory / "venue.db")
    state: dict[str, Any] = json.loads(db.execute("SELECT body FROM meta WHERE name='market'").fetchone()[0])
    state["time_ns"] -= days * 86_400 * 1_000_000_000
    db.execute("UPDATE meta SET body=? WHERE name='market'", (json.dumps(state).encode(),))
    db.commit()
    db.close()
