"""Every fault kind strikes, does what it says, and stops when it is told to."""

from __future__ import annotations

import asyncio
import itertools
import json
import ssl
import time
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests
import websockets
from coinbase import jwt_generator

from simulator.faults import KINDS, Faults, UnknownFaultError
from simulator.testing import SimulatorFailedError, SimulatorProcess
from tests.simulator.conftest import eventually

ORDERS = {"path": "/orders"}
TESTED: set[str] = set()
Test = TypeVar("Test", bound=Callable[..., object])


def proves(*kinds: str) -> Callable[[Test], Test]:
    """Mark which kinds a test proves."""
    TESTED.update(kinds)
    return lambda function: function


def buy(sdk: Any, client_id: str | None = None, price: str = "30000.00") -> Any:
    return sdk.limit_order_gtc_buy(client_id or uuid.uuid4().hex, "BTC-USD", "0.001", price)


def booked(venue: SimulatorProcess, client_id: str) -> list[dict[str, Any]]:
    return [order for order in venue.truth()["orders"] if order["client_order_id"] == client_id]


# -- the registry


def test_a_fault_of_an_unknown_kind_is_refused(venue: SimulatorProcess) -> None:
    with pytest.raises(UnknownFaultError, match="no_such_kind"):
        Faults().add({"kind": "no_such_kind"})
    with pytest.raises(SimulatorFailedError, match="no_such_kind"):
        venue.fault("no_such_kind")


def test_a_fault_strikes_as_often_as_counted_as_long_as_timed_and_where_it_matches() -> None:
    now = [0.0]
    faults = Faults(lambda: now[0])
    faults.add({"kind": "drop_frame", "count": 2, "match": {"channel": "ticker"}})
    assert faults.strike("drop_frame", channel="level2") is None
    assert [faults.strike("drop_frame", channel="ticker") is not None for _ in range(3)] == [True, True, False]
    faults.add({"kind": "slow", "seconds": 5})
    assert faults.strike("slow") is not None
    now[0] = 5.1
    assert faults.strike("slow") is None
    assert faults.struck == {"drop_frame": 2, "slow": 1}


# -- REST


@proves("status")
@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [(429, "application/json", "rate_limit_exceeded"), (500, "text/html", "<html>"), (502, "text/html", "<html>"),
     (503, "text/html", "<html>"), (401, "text/plain", "Unauthorized\n"), (403, "application/json", "required scopes")],
)
def test_a_failed_request_is_never_handled(
    clean: SimulatorProcess, sdk: Any, status: int, kind: str, text: str
) -> None:
    clean.fault("status", status=status, match=ORDERS)
    client_id = uuid.uuid4().hex
    with pytest.raises(requests.HTTPError) as caught:
        buy(sdk, client_id)
    answer = caught.value.response
    assert answer.status_code == status and text in answer.text
    assert answer.headers["Content-Type"].startswith(kind)
    assert booked(clean, client_id) == []
    assert buy(sdk, client_id).success


def test_throttling_can_write_its_headers_in_title_case(clean: SimulatorProcess, sdk: Any) -> None:
    clean.fault("status", status=429, header_case="title", match=ORDERS)
    with pytest.raises(requests.HTTPError) as caught:
        buy(sdk)
    assert "X-RateLimit-Remaining" in list(caught.value.response.headers)


def test_missing_scopes_are_written_as_the_sdk_looks_for_them(clean: SimulatorProcess, sdk: Any) -> None:
    clean.fault("status", status=403)
    with pytest.raises(requests.HTTPError, match="Missing Required Scopes"):
        sdk.get_accounts()


@proves("html_200", "cut_after_booking", "cut_before_booking", "order_configuration_null")
@pytest.mark.parametrize(
    ("kind", "error", "orders"),
    [("html_200", requests.exceptions.JSONDecodeError, 1), ("cut_after_booking", requests.ConnectionError, 1),
     ("cut_before_booking", requests.ConnectionError, 0), ("order_configuration_null", TypeError, 1)],
)
def test_a_lost_or_unreadable_answer_leaves_the_outcome_at_the_venue(
    clean: SimulatorProcess, sdk: Any, kind: str, error: type[Exception], orders: int
) -> None:
    clean.fault(kind, match=ORDERS if "configuration" not in kind else {})
    client_id = uuid.uuid4().hex
    with pytest.raises(error):
        buy(sdk, client_id)
    assert len(booked(clean, client_id)) == orders
    sent = [row for row in clean.requests("/orders") if row["client_order_id"] == client_id]
    assert len(sent) == 1
    assert buy(sdk, client_id).success
    assert len(booked(clean, client_id)) == 1
    assert clean.struck(kind) >= 1


@proves("slow")
@pytest.mark.parametrize(("when", "orders_meanwhile"), [("before", 0), ("after", 1)])
def test_a_slow_answer_is_booked_before_or_after_the_wait(
    clean: SimulatorProcess, sdk: Any, when: str, orders_meanwhile: int
) -> None:
    clean.fault("slow", delay_s=0.6, when=when, match=ORDERS)
    client_id = uuid.uuid4().hex
    sdk.timeout = 0.3
    try:
        with pytest.raises(requests.Timeout):
            buy(sdk, client_id)
    finally:
        sdk.timeout = 10
    assert len(booked(clean, client_id)) == orders_meanwhile
    eventually(lambda: booked(clean, client_id), "the slow order arrives late")


@proves("order_fails_async")
def test_an_order_can_be_taken_and_then_fail(clean: SimulatorProcess, sdk: Any) -> None:
    clean.fault("order_fails_async")
    order_id = buy(sdk).success_response["order_id"]
    eventually(lambda: sdk.get_order(order_id).order.status == "FAILED", "the order fails")


@proves("order_gets_nothing")
def test_an_immediate_order_can_find_nothing_in_the_book(clean: SimulatorProcess, sdk: Any) -> None:
    clean.fault("order_gets_nothing")
    asks = (Decimal(clean.control("GET", "truth")["prices"]["BTC-USD"]) * 2).quantize(Decimal(1))  # type: ignore[index,call-overload]
    order_id = sdk.limit_order_ioc_buy(uuid.uuid4().hex, "BTC-USD", "0.001", str(asks)).success_response["order_id"]
    eventually(lambda: sdk.get_order(order_id).order.status == "CANCELLED", "the order ends")
    assert sdk.get_order(order_id).order.filled_size == "0"


@proves("get_order_404_for", "orders_invisible_for")
def test_a_new_order_can_be_invisible_for_a_while(clean: SimulatorProcess, sdk: Any) -> None:
    clean.fault("get_order_404_for", visible_after_s=0.5)
    clean.fault("orders_invisible_for", visible_after_s=0.5)
    order_id = buy(sdk).success_response["order_id"]
    with pytest.raises(requests.HTTPError) as caught:
        sdk.get_order(order_id)
    assert caught.value.response.json()["error_details"] == "order with this orderID was not found"
    assert order_id not in [o.order_id for o in sdk.list_orders().orders]
    time.sleep(0.5)
    assert sdk.get_order(order_id).order.order_id == order_id
    assert order_id in [o.order_id for o in sdk.list_orders().orders]


@proves("order_vanishes", "order_returns")
def test_an_order_can_be_lost_without_a_word_and_come_back_later(clean: SimulatorProcess, sdk: Any) -> None:
    def held() -> Decimal:
        return Decimal(clean.truth()["balances"]["USD"]["hold"])

    kept, lost = uuid.uuid4().hex, uuid.uuid4().hex
    price = clean.truth()["prices"]["BTC-USD"]
    first, before = buy(sdk, kept).success_response["order_id"], held()
    order_id = buy(sdk, lost, "29000.00").success_response["order_id"]
    eventually(lambda: sdk.get_order(order_id).order.status == "OPEN", "the order rests")
    clean.fault("order_vanishes", match={"symbol": "BTC-USD", "client_order_id": lost})
    with pytest.raises(requests.HTTPError) as caught:
        sdk.get_order(order_id)
    assert caught.value.response.status_code == 404
    assert order_id not in [o.order_id for o in sdk.list_orders().orders]
    assert sdk.get_order(first).order.status == "OPEN"
    assert held() == before
    assert sdk.cancel_orders([order_id]).results[0].failure_reason == "UNKNOWN_CANCEL_ORDER"
    assert [one["order_id"] for one in clean.truth()["lost"]] == [order_id]
    clean.kill()
    clean.start()
    assert [one["order_id"] for one in clean.truth()["lost"]] == [order_id], "it stays lost over a restart"
    clean.price("BTC-USD", "28500.00")
    clean.price("BTC-USD", price)
    assert clean.truth()["lost"][0]["filled_size"] == "0", "what is on no book is not filled"
    clean.fault("order_returns")
    shown = sdk.get_order(order_id).order
    assert (shown.status, shown.client_order_id, clean.truth()["lost"]) == ("OPEN", lost, [])
    assert sdk.cancel_orders([order_id]).results[0].success
    eventually(lambda: sdk.get_order(order_id).order.status == "CANCELLED", "it can be cancelled again")
    sdk.cancel_orders([first])


@proves("fill_rewritten")
def test_a_fill_can_be_told_otherwise_later(clean: SimulatorProcess, sdk: Any) -> None:
    order_id = buy(sdk, price="90000.00").success_response["order_id"]
    (first,) = eventually(lambda: sdk.get_fills(order_ids=[order_id]).fills, "the fill")
    clean.fault("fill_rewritten", field="size", add="7", match={"symbol": "ETH-USD"})
    assert sdk.get_fills(order_ids=[order_id]).fills[0].size == first.size
    clean.fault("fill_rewritten", field="size", add="7", match={"symbol": "BTC-USD"})
    (later,) = sdk.get_fills(order_ids=[order_id]).fills
    assert (later.entry_id, later.size, later.price) == (first.entry_id, str(Decimal(first.size) + 7), first.price)


@proves("duplicate_client_order_id")
def test_a_known_client_id_can_be_refused_instead_of_answered(clean: SimulatorProcess, sdk: Any) -> None:
    clean.fault("duplicate_client_order_id")
    client_id = uuid.uuid4().hex
    assert buy(sdk, client_id).success
    again = buy(sdk, client_id)
    assert again.error_response["new_order_failure_reason"] == "DUPLICATE_CLIENT_ORDER_ID"
    assert len(booked(clean, client_id)) == 1


@proves("cancel_but_filled")
def test_a_cancel_can_be_taken_and_the_order_filled(clean: SimulatorProcess, sdk: Any) -> None:
    clean.fault("cancel_but_filled")
    order_id = buy(sdk).success_response["order_id"]
    eventually(lambda: sdk.get_order(order_id).order.status == "OPEN", "the order opens")
    assert sdk.cancel_orders([order_id]).results[0].success
    order = eventually(lambda: (o := sdk.get_order(order_id).order).status == "FILLED" and o, "the fill")
    assert sum(Decimal(f.size) for f in sdk.get_fills(order_ids=[order_id]).fills) == Decimal(order.filled_size)


@proves("zero_balances")
def test_balances_can_read_zero_though_the_money_is_there(clean: SimulatorProcess, sdk: Any) -> None:
    clean.fault("zero_balances", count=1)
    assert {a.available_balance["value"] for a in sdk.get_accounts().accounts} == {"0"}
    assert {a.available_balance["value"] for a in sdk.get_accounts().accounts} != {"0"}
    assert clean.balances()["USD"]["available"] > 0


@proves("product_mode")
def test_a_product_walks_through_its_modes_and_back(clean: SimulatorProcess, sdk: Any) -> None:
    clean.fault("product_mode", symbol="BTC-USD", mode="cancel_only")
    assert sdk.get_product("BTC-USD").cancel_only and sdk.get_product("BTC-USDC").cancel_only
    assert not sdk.get_product("ETH-USD").cancel_only
    assert buy(sdk).error_response["new_order_failure_reason"] == "ORDER_ENTRY_DISABLED"
    clean.clear_faults()
    clean.fault("product_mode", symbol="BTC-USD", mode="trading_disabled")
    product = sdk.get_product("BTC-USD")
    assert product.trading_disabled and product.is_disabled and product.status == "delisted"
    clean.clear_faults()
    assert sdk.get_product("BTC-USD").status == "online"
    assert buy(sdk).success
    with pytest.raises(SimulatorFailedError, match="known symbol"):
        clean.fault("product_mode", symbol="NOPE-USD", mode="cancel_only")


@proves("clock_skew")
def test_the_venues_clock_can_be_off(clean: SimulatorProcess, sdk: Any) -> None:
    clean.fault("clock_skew", offset_s=3)
    assert int(sdk.get_unix_time().epoch_millis) > (time.time() + 2.5) * 1000


@proves("fee_tier", "can_transfer")
def test_the_fee_tier_can_be_unreadable_or_changed_and_the_key_able_to_transfer(
    clean: SimulatorProcess, sdk: Any
) -> None:
    clean.fault("fee_tier", reading="unreadable", count=1)
    with pytest.raises(requests.HTTPError):
        sdk.get_transaction_summary()
    clean.fault("fee_tier", maker_fee_rate="0.001", taker_fee_rate="0.002")
    assert sdk.get_transaction_summary().fee_tier["taker_fee_rate"] == "0.002"
    order_id = sdk.market_order_buy(uuid.uuid4().hex, "ETH-USD", quote_size="10").success_response["order_id"]
    order = eventually(lambda: (o := sdk.get_order(order_id).order).status == "FILLED" and o, "the fill")
    assert Decimal(order.total_fees) == Decimal(order.filled_value) * Decimal("0.002")
    clean.fault("can_transfer")
    assert sdk.get_api_key_permissions().can_transfer
    clean.clear_faults()
    assert not sdk.get_api_key_permissions().can_transfer
    assert sdk.get_transaction_summary().fee_tier["taker_fee_rate"] == "0.009"


# -- websocket


def connect(venue: SimulatorProcess, path: str = "/ws") -> Any:
    context = ssl.create_default_context(cafile=venue.ca_file)
    return websockets.connect(f"wss://{venue.rest}{path}", ssl=context, max_size=None, open_timeout=10)


def jwt(venue: SimulatorProcess) -> str:
    content = json.loads(Path(venue.key_file).read_text())
    return str(jwt_generator.build_ws_jwt(content["name"], content["privateKey"]))


async def subscribe(socket: Any, channel: str, *products: str, token: str = "") -> None:
    message: dict[str, Any] = {"type": "subscribe", "channel": channel, "product_ids": list(products)}
    if token:
        message["jwt"] = token
    await socket.send(json.dumps(message))


async def receive(socket: Any, count: int, deadline_s: float = 6.0) -> list[str]:
    got: list[str] = []
    async with asyncio.timeout(deadline_s):
        while len(got) < count:
            got.append(await socket.recv())
    return got


def numbers(frames: list[str]) -> list[int]:
    return [json.loads(frame)["sequence_num"] for frame in frames]


def heartbeat_frames(venue: SimulatorProcess, count: int, during: dict[str, Any]) -> list[str]:
    """Subscribe level2, switch a fault on, and return the frames that come after."""
    async def scene() -> list[str]:
        async with connect(venue) as socket:
            await subscribe(socket, "level2", "BTC-USD", "ETH-USD")
            await receive(socket, 3)
            await asyncio.to_thread(venue.fault, **during)
            return await receive(socket, count)
    return asyncio.run(scene())


@proves("drop_frame")
def test_a_dropped_frame_leaves_a_hole_in_the_sequence(clean: SimulatorProcess) -> None:
    got = numbers(heartbeat_frames(clean, 12, {"kind": "drop_frame"}))
    steps = [b - a for a, b in itertools.pairwise(got)]
    assert sorted(set(steps)) in ([1, 2], [1]) and clean.struck("drop_frame") >= 1
    assert got[-1] - 3 == 12


@proves("duplicate_frame")
def test_a_frame_can_come_twice(clean: SimulatorProcess) -> None:
    got = heartbeat_frames(clean, 12, {"kind": "duplicate_frame"})
    assert len(got) - len(set(got)) == 1


@proves("swap_frames")
def test_two_frames_can_change_places(clean: SimulatorProcess) -> None:
    got = numbers(heartbeat_frames(clean, 12, {"kind": "swap_frames"}))
    assert got != sorted(got) and sorted(got) == list(range(min(got), min(got) + 12))


@proves("garble_frame")
def test_a_frame_can_be_broken_json(clean: SimulatorProcess) -> None:
    got = heartbeat_frames(clean, 12, {"kind": "garble_frame"})
    broken = 0
    for frame in got:
        try:
            json.loads(frame)
        except ValueError:
            broken += 1
    assert broken == 1


@proves("stall")
@pytest.mark.parametrize("heartbeats", [True, False])
def test_a_stalled_feed_answers_pings_and_says_nothing(clean: SimulatorProcess, heartbeats: bool) -> None:
    async def scene() -> tuple[list[str], list[str]]:
        async with connect(clean) as socket:
            await subscribe(socket, "heartbeats")
            await subscribe(socket, "level2", "BTC-USD")
            before = await receive(socket, 5)
            await asyncio.to_thread(clean.fault, "stall", heartbeats=heartbeats, gap_after=True)
            await asyncio.sleep(0.1)
            while True:  # what was under way
                try:
                    before.append(await asyncio.wait_for(socket.recv(), 0.05))
                except TimeoutError:
                    break
            silent: list[str] = []
            try:
                async with asyncio.timeout(1.5):
                    while True:
                        silent.append(await socket.recv())
            except TimeoutError:
                pass
            await asyncio.wait_for(await socket.ping(), 2)
            await asyncio.to_thread(clean.clear_faults)
            after = await receive(socket, 3)
            assert numbers(after)[0] > numbers(before + silent)[-1] + 1
            return before, silent
    _, silent = asyncio.run(scene())
    channels = {json.loads(frame)["channel"] for frame in silent}
    assert channels == ({"heartbeats"} if heartbeats else set())


@proves("close")
@pytest.mark.parametrize("code", [1000, 1001, 1006, 1009, 1011])
def test_a_connection_is_closed_with_the_code_asked_for(clean: SimulatorProcess, code: int) -> None:
    async def scene() -> int:
        async with connect(clean) as socket:
            await subscribe(socket, "heartbeats")
            await receive(socket, 1)
            await asyncio.to_thread(clean.fault, "close", code=code)
            try:
                await receive(socket, 100)
            except websockets.ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else 1006
            raise AssertionError("still open")
    assert asyncio.run(scene()) == code
    assert clean.connections() == []


@proves("refuse_connect")
def test_a_handshake_can_be_refused(clean: SimulatorProcess) -> None:
    clean.fault("refuse_connect", status=503)

    async def scene() -> None:
        async with connect(clean):
            pass
    with pytest.raises(websockets.InvalidStatusCode, match="503"):
        asyncio.run(scene())


@proves("error_on_subscribe")
def test_a_subscribe_can_be_answered_with_an_error(clean: SimulatorProcess) -> None:
    clean.fault("error_on_subscribe", message="failure to subscribe", match={"channel": "level2"})

    async def scene() -> str:
        async with connect(clean) as socket:
            await subscribe(socket, "level2", "BTC-USD")
            return (await receive(socket, 1))[0]
    assert json.loads(asyncio.run(scene())) == {"type": "error", "message": "failure to subscribe"}


@proves("huge_snapshot")
def test_a_snapshot_can_exceed_ten_mebibytes(clean: SimulatorProcess) -> None:
    clean.fault("huge_snapshot", megabytes=11)

    async def scene() -> str:
        async with connect(clean) as socket:
            await subscribe(socket, "level2", "BTC-USD")
            return (await receive(socket, 1, 20))[0]
    frame = asyncio.run(scene())
    assert len(frame) > 10 * 1_048_576
    assert json.loads(frame)["events"][0]["type"] == "snapshot"


@proves("client_id", "heartbeat_string")  # read by the SDK's own types in test_official_sdk
@proves("user_event_duplicate", "user_event_late", "user_event_missing")
@pytest.mark.parametrize(
    ("kind", "params", "times"),
    [("user_event_duplicate", {"count": 1}, 3), ("user_event_missing", {"count": 1}, 1),
     ("user_event_late", {"count": 1, "delay_s": 0.4}, 2)],
)
def test_user_events_come_twice_late_or_never(
    clean: SimulatorProcess, sdk: Any, kind: str, params: dict[str, Any], times: int
) -> None:
    token = jwt(clean)

    async def scene() -> list[str]:
        async with connect(clean, "/ws-user") as socket:
            await subscribe(socket, "user", token=token)
            await receive(socket, 2)
            await asyncio.to_thread(clean.fault, kind, **params)
            created = await asyncio.to_thread(buy, sdk)
            order_id = created.success_response["order_id"]
            states: list[str] = []
            try:
                async with asyncio.timeout(1.0):
                    while True:
                        frame = json.loads(await socket.recv())
                        states += [o["status"] for e in frame["events"] for o in e.get("orders", [])
                                   if o["order_id"] == order_id]
            except TimeoutError:
                pass
            return states
    states = asyncio.run(scene())
    # taking an order up tells PENDING, OPEN and that it rests
    assert len(states) == times + 1, states
    if kind == "user_event_late":
        assert states[-1] == "PENDING"


def test_who_never_subscribes_is_closed_after_five_seconds(clean: SimulatorProcess) -> None:
    async def scene() -> float:
        began = time.monotonic()
        async with connect(clean) as socket:
            with pytest.raises(websockets.ConnectionClosed):
                await receive(socket, 1, 8)
        return time.monotonic() - began
    assert 4.8 < asyncio.run(scene()) < 6.5


def test_every_fault_kind_has_a_test() -> None:
    assert set(KINDS) == TESTED
