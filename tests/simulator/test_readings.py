"""Where more than one reading of the venue is possible, the simulator plays the other one on demand."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest
from requests.exceptions import HTTPError

from simulator.book import BUY, SELL
from simulator.rules import CHOICES, Rules
from simulator.testing import SimulatorFailedError, SimulatorProcess
from tests.simulator.conftest import eventually, rest_client
from tests.simulator.market import BOOK, FEE_MAKER, T0, S, bracket, engine, limit, owned, place, refusal, request


@pytest.mark.parametrize("status", CHOICES["immediate_unfilled_status"])
def test_an_immediate_order_that_gets_nothing_ends_as_the_rule_says(status: str) -> None:
    venue = engine(immediate_unfilled_status=status)
    nothing = place(venue, "sor_limit_ioc", BUY, base_size="1", limit_price="99")
    part = place(venue, "sor_limit_ioc", BUY, base_size="2", limit_price="100.1")
    assert (nothing.status, part.status) == (status, "CANCELLED")
    assert part.filled_size == 1
    assert venue.wallets["USD"].hold == 0


def test_an_immediate_order_can_find_nothing_in_the_book() -> None:
    venue = engine()
    venue.finds_nothing = lambda _order: True
    order = place(venue, "sor_limit_ioc", SELL, base_size="1", limit_price="50")
    assert (order.status, order.filled_size) == ("CANCELLED", Decimal(0))


@pytest.mark.parametrize("told", ["INVALID_CANCEL_REQUEST", "success"])
def test_a_cancel_of_an_order_that_is_over_is_told_what_the_rule_says(told: str) -> None:
    venue = engine(cancel_of_over=told)
    filled, over = limit(venue, BUY, "1", "100.1"), limit(venue, BUY, "1", "90")
    assert venue.cancel(over.order_id, T0) == ""
    venue.advance(T0 + S)
    for order in (filled, over):
        assert venue.cancel(order.order_id, T0 + S) == told.replace("success", "")
    assert (filled.status, over.status) == ("FILLED", "CANCELLED")
    assert venue.cancel("nobody", T0) == "UNKNOWN_CANCEL_ORDER"


@pytest.mark.parametrize(("rule", "fee"), [("none", Decimal(0)), ("maker", FEE_MAKER)])
def test_a_buy_holds_the_fee_that_the_rule_says_and_pays_the_same(rule: str, fee: Decimal) -> None:
    venue, usual = engine(buy_hold_fee=rule), engine()
    resting = limit(venue, BUY, "2", "90")
    assert venue.wallets["USD"].hold == 180 * (1 + fee)
    limit(usual, BUY, "2", "90")
    for one in (venue, usual):
        one.on_trade(BOOK, Decimal(89), Decimal(1), BUY, T0 + S)
    assert owned(venue, "USD") == owned(usual, "USD")
    assert venue.wallets["USD"].hold == 90 * (1 + fee)
    assert resting.remaining == 1


def test_a_stop_can_fire_on_the_best_bid_and_not_on_a_trade() -> None:
    venue = engine(stops_fire_on="book")
    order = bracket(venue, stop="95")
    venue.on_trade(BOOK, Decimal(94), Decimal("0.1"), BUY, T0 + S)
    assert order.trigger_status == "STOP_PENDING"
    venue.on_levels(BOOK, [(BUY, Decimal(100) - Decimal(k) / 10, Decimal(0)) for k in range(1, 6)], T0 + S)
    venue.on_levels(BOOK, [(BUY, Decimal("94.9"), Decimal(5))], T0 + S)
    assert (order.trigger_status, order.status) == ("STOP_TRIGGERED", "FILLED")


def test_a_fired_bracket_can_be_a_market_order() -> None:
    venue, usual = engine(fired_bracket="market"), engine()
    for one in (venue, usual):
        one.on_book(BOOK, [(Decimal(80), Decimal("0.4"))], [(Decimal(99), Decimal(1))], T0)
        order = bracket(one, stop="95")
        one.on_trade(BOOK, Decimal(95), Decimal("0.1"), BUY, T0 + S)
        filled, status = (Decimal("0.4"), "CANCELLED") if one is venue else (Decimal(0), "OPEN")
        assert (order.filled_size, order.status) == (filled, status)


def test_the_price_protection_can_cut_a_fired_stop_too() -> None:
    venue, usual = engine(protection_cuts_fired=True), engine()
    for one, status in ((venue, "CANCELLED"), (usual, "FILLED")):
        order = bracket(one, stop="95")
        one.on_book(BOOK, [(Decimal(100), Decimal("0.4")), (Decimal(94), Decimal(5))],
                    [(Decimal(101), Decimal(1))], T0)
        one.on_trade(BOOK, Decimal(95), Decimal("0.1"), BUY, T0 + S)
        assert order.status == status, "98 of 100.5 is as far as the protection goes"


def test_a_stop_that_was_passed_can_wait_for_a_trade_after_the_halt() -> None:
    venue = engine(passed_stop_fires_on_resumption=False)
    order = bracket(venue, stop="95")
    venue.set_mode(BOOK, "cancel_only", T0)
    venue.on_trade(BOOK, Decimal(94), Decimal(1), BUY, T0 + S)
    venue.set_mode(BOOK, "online", T0 + S)
    assert order.trigger_status == "STOP_PENDING"
    venue.on_trade(BOOK, Decimal(94), Decimal("0.1"), BUY, T0 + 2 * S)
    assert order.trigger_status == "STOP_TRIGGERED"


def test_commissions_can_be_rounded_to_cents() -> None:
    venue = engine(commission_step=Decimal("0.01"))
    place(venue, "sor_limit_ioc", BUY, base_size="0.013", limit_price="101")
    (fill,) = venue.fills
    assert fill.price * fill.size * Decimal("0.009") == Decimal("0.0117117")
    assert fill.commission == Decimal("0.01")
    assert owned(venue, "USD") == Decimal(100_000) - fill.price * fill.size - Decimal("0.01")


def test_a_mode_can_refuse_for_any_reason() -> None:
    venue = engine(mode_refusal="PRODUCT_TRADING_HALTED")
    venue.set_mode(BOOK, "cancel_only", T0)
    assert refusal(venue, request("limit_limit_gtc", base_size="1", limit_price="90")) == "PRODUCT_TRADING_HALTED"


# --- over REST --------------------------------------------------------------------------------------------


@pytest.fixture
def other(venue: SimulatorProcess) -> Iterator[SimulatorProcess]:
    yield venue
    usual = {field.name: field.default for field in fields(Rules)}
    names = ("cancel_delay_ms", "open_lists_working", "pages_shift", "empty_wallets_listed", "throttle_status",
             "throttle_header_case", "clock_leeway_s")
    venue.rules(private_rate=0, public_rate=0, **{name: usual[name] for name in names})
    venue.clear_faults()


def buy(venue: SimulatorProcess, sdk: Any) -> str:
    price = Decimal(venue.control("GET", "truth")["prices"]["BTC-USD"]) * Decimal("0.9")  # type: ignore[index,call-overload]
    done = sdk.limit_order_gtc_buy(uuid.uuid4().hex, "BTC-USD", "0.001", f"{price:.2f}").to_dict()
    order_id = done["success_response"]["order_id"]
    eventually(lambda: sdk.get_order(order_id).to_dict()["order"]["status"] == "OPEN", "the buy to rest")
    return str(order_id)


def test_a_listing_of_open_orders_can_have_those_on_their_way(other: SimulatorProcess, sdk: Any) -> None:
    order_id = buy(other, sdk)
    other.rules(cancel_delay_ms=60_000)
    sdk.cancel_orders([order_id])

    def listed() -> list[str]:
        return [one["order_id"] for one in sdk.list_orders(order_status=["OPEN"]).to_dict()["orders"]]

    assert order_id not in listed()
    other.rules(open_lists_working=True)
    assert order_id in listed()


def test_pages_can_shift_under_the_reader(other: SimulatorProcess, sdk: Any) -> None:
    for shifts in (False, True):
        older, newer = buy(other, sdk), buy(other, sdk)
        other.rules(pages_shift=shifts)
        first = sdk.list_orders(limit=1).to_dict()
        buy(other, sdk)
        second = sdk.list_orders(limit=1, cursor=first["cursor"]).to_dict()
        seen = [first["orders"][0]["order_id"], second["orders"][0]["order_id"]]
        assert seen == ([newer, newer] if shifts else [newer, older])


def test_wallets_never_used_can_be_listed_with_zero(other: SimulatorProcess, sdk: Any) -> None:
    def listed() -> dict[str, str]:
        rows = sdk.get_accounts(limit=250).to_dict()["accounts"]
        return {row["currency"]: row["available_balance"]["value"] for row in rows}

    before = listed()
    other.rules(empty_wallets_listed=True)
    assert {"BTC", "ETH", "USD", "USDC"} <= set(listed())
    assert {currency: value for currency, value in listed().items() if currency in before} == before


@pytest.mark.parametrize("status", [429, 401])
def test_too_many_requests_are_told_as_the_rule_says(other: SimulatorProcess, status: int) -> None:
    other.rules(private_rate=1, throttle_status=status, throttle_header_case="title")
    client = rest_client(other)
    with pytest.raises(HTTPError) as refused:
        for _ in range(5):
            client.get_accounts()
    assert refused.value.response.status_code == status
    told = [name for name in refused.value.response.headers if name.lower() == "x-ratelimit-limit"]
    assert told == (["X-RateLimit-Limit"] if status == 429 else [])


def test_a_clock_that_is_off_can_be_tolerated_by_nothing(other: SimulatorProcess, sdk: Any) -> None:
    other.fault("clock_skew", offset_s=-3)
    sdk.get_accounts()
    other.rules(clock_leeway_s=0)
    with pytest.raises(HTTPError, match="401"):
        sdk.get_accounts()


@pytest.mark.parametrize(("name", "value"), [("gtd_end_status", "GONE"), ("stops_fire_on", ""), ("private_rate", "9")])
def test_a_rule_that_does_not_exist_so_is_refused(venue: SimulatorProcess, name: str, value: object) -> None:
    with pytest.raises(SimulatorFailedError):
        venue.rules(**{name: value})
