"""What the drills use to bring an order to a point and hold it there."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import pytest
import requests

from simulator.testing import SimulatorFailedError, SimulatorProcess
from tests.simulator.conftest import eventually


def resting_buy(venue: SimulatorProcess, sdk: Any, size: str = "0.01") -> dict[str, Any]:
    """A buy a little below the market, open at the venue."""
    price = f"{Decimal(venue.control('GET', 'truth')['prices']['BTC-USD']) * Decimal('0.99'):.2f}"  # type: ignore[index,call-overload]
    name = uuid.uuid4().hex
    sdk.limit_order_gtc_buy(name, "BTC-USD", size, price)
    return eventually(
        lambda: next((o for o in venue.truth()["orders"] if o["client_order_id"] == name and o["status"] == "OPEN"), 0),
        "the buy to rest",
    )


def limit_of(order: dict[str, Any]) -> Decimal:
    return Decimal(order["order_configuration"]["limit_limit_gtc"]["limit_price"])


def now(venue: SimulatorProcess, order: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in venue.truth()["orders"] if one["order_id"] == order["order_id"])


def test_a_trade_of_others_below_an_own_buy_fills_it_by_its_size(clean: SimulatorProcess, sdk: Any) -> None:
    order = resting_buy(clean, sdk)
    trade = {"symbol": "BTC-USD", "price": str(limit_of(order) - 1), "size": "0.004", "maker_side": "BUY"}
    clean.control("POST", "trade", trade)
    partly = now(clean, order)
    assert (partly["status"], Decimal(partly["filled_size"])) == ("OPEN", Decimal("0.004"))
    fills = [fill for fill in clean.truth()["fills"] if fill["order_id"] == order["order_id"]]
    assert [Decimal(fill["price"]) for fill in fills] == [limit_of(order)]
    clean.control("POST", "trade", trade | {"size": "5"})
    assert now(clean, order)["status"] == "FILLED"


def test_a_trade_above_an_own_buy_leaves_it_alone(clean: SimulatorProcess, sdk: Any) -> None:
    order = resting_buy(clean, sdk)
    price = str(limit_of(order) + 1)
    clean.control("POST", "trade", {"symbol": "BTC-USD", "price": price, "size": "1", "maker_side": "BUY"})
    assert Decimal(now(clean, order)["filled_size"]) == 0
    sdk.cancel_orders([order["order_id"]])


@pytest.mark.parametrize("wrong", [{"maker_side": "UP"}, {"size": "0"}, {"price": "-1"}, {"symbol": "NO-USD"}])
def test_an_impossible_trade_is_refused(venue: SimulatorProcess, wrong: dict[str, str]) -> None:
    body = {"symbol": "BTC-USD", "price": "1", "size": "1", "maker_side": "BUY"} | wrong
    with pytest.raises(SimulatorFailedError):
        venue.control("POST", "trade", body)


def test_who_asks_often_gets_only_what_is_new(clean: SimulatorProcess, sdk: Any) -> None:
    before = clean.truth()
    made = clean.control("GET", "requests")["made"]
    order = resting_buy(clean, sdk)
    path = f"truth?orders_from={len(before['orders'])}&fills_from={len(before['fills'])}"
    new = clean.control("GET", path)
    assert [one["order_id"] for one in new["orders"]] == [order["order_id"]]  # type: ignore[attr-defined,index]
    assert new["fills"] == []
    rows = clean.control("GET", f"requests?after={made}")["requests"]
    assert order["client_order_id"] in [row["client_order_id"] for row in rows]  # type: ignore[attr-defined,index]
    sdk.cancel_orders([order["order_id"]])


def test_a_fault_can_be_for_one_side_alone(clean: SimulatorProcess, sdk: Any) -> None:
    clean.fault("status", status=500, count=1, match={"method": "POST", "side": "SELL"})
    order = resting_buy(clean, sdk)
    with pytest.raises(requests.HTTPError):
        sdk.limit_order_gtc_sell(uuid.uuid4().hex, "BTC-USD", "0.01", "90000.00")
    sdk.cancel_orders([order["order_id"]])
