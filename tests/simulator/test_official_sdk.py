"""The unmodified coinbase-advanced-py against the simulator, over real TLS."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from coinbase import jwt_generator
from coinbase.rest import RESTClient
from coinbase.websocket import WebsocketResponse, WSClient, WSUserClient

from simulator.testing import SimulatorProcess
from tests.simulator.conftest import eventually, rest_client

BOOKS = ["BTC-USD", "ETH-USD"]


def new_id() -> str:
    return uuid.uuid4().hex


def last_price(sdk: Any, product: str = "BTC-USD") -> Decimal:
    return Decimal(sdk.get_product(product)["price"])


def on_grid(price: Decimal) -> str:
    return str(price.quantize(Decimal("0.01")))


def settled(sdk: Any, order_id: str, *statuses: str) -> Any:
    def reached() -> Any:
        order = sdk.get_order(order_id).order
        return order if order.status in statuses else None
    return eventually(reached, f"order {order_id} in {statuses}")


def test_the_bundle_from_the_environment_is_enough_to_trust_the_venue(venue: SimulatorProcess) -> None:
    code = (
        "import sys; from coinbase.rest import RESTClient;"
        "c = RESTClient(key_file=sys.argv[1], base_url=sys.argv[2], timeout=10);"
        "print(c.get_unix_time().epoch_seconds)"
    )
    environment = {**os.environ, "REQUESTS_CA_BUNDLE": venue.ca_file}
    done = subprocess.run([sys.executable, "-c", code, venue.key_file, venue.rest], env=environment,
                          capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    assert abs(int(done.stdout) - time.time()) < 5


def test_accounts_show_available_and_hold(sdk: Any) -> None:
    rows = {row.currency: row for row in sdk.get_accounts().accounts}
    assert rows["USD"]["type"] == "ACCOUNT_TYPE_FIAT"
    assert Decimal(rows["BTC"].available_balance["value"]) + Decimal(rows["BTC"].hold["value"]) > 0
    one = sdk.get_account(rows["BTC"].uuid).account
    assert one.currency == "BTC"


def test_accounts_come_in_pages(sdk: Any) -> None:
    first = sdk.get_accounts(limit=1)
    assert first.has_next and len(first.accounts) == 1
    second = sdk.get_accounts(limit=250, cursor=first.cursor)
    assert not second.has_next
    assert first.accounts[0].currency not in {row.currency for row in second.accounts}


def test_products_are_listed_with_their_usdc_aliases(sdk: Any) -> None:
    answer = sdk.get_products()
    assert answer.num_products == 4
    rows = {row.product_id: row.to_dict() for row in answer.products}
    assert set(rows) == {"BTC-USD", "BTC-USDC", "ETH-USD", "ETH-USDC"}
    assert rows["BTC-USDC"]["alias"] == "BTC-USD" and rows["BTC-USD"]["alias_to"] == ["BTC-USDC"]
    assert sdk.get_public_products(product_ids=["ETH-USD"]).num_products == 1


def test_a_product_has_the_fields_of_the_live_listing_in_its_order(sdk: Any, recording: Path) -> None:
    with gzip.open(recording.with_name("at-market-products-20260809.json.gz")) as listing:
        live = {row["product_id"]: row for row in json.load(listing)["products"]}["BTC-USD"]
    ours = sdk.get("/api/v3/brokerage/products/BTC-USD")
    assert list(ours) == list(live)
    assert {name: type(value) for name, value in ours.items()} == {n: type(v) for n, v in live.items()}
    for name in ("base_increment", "price_increment", "base_max_size", "quote_max_size", "quote_min_size"):
        assert ours[name] == live[name]


def test_books_trades_and_bars_agree_with_each_other(sdk: Any) -> None:
    book = sdk.get_product_book("BTC-USD", limit=5)
    bids, asks = book.pricebook["bids"], book.pricebook["asks"]
    assert len(bids) == len(asks) == 5
    assert Decimal(bids[4]["price"]) < Decimal(bids[0]["price"]) < Decimal(asks[0]["price"])
    best = sdk.get_best_bid_ask(product_ids=["BTC-USD"]).pricebooks[0]
    assert best["bids"][0]["price"] == bids[0]["price"]
    trades = sdk.get_market_trades("BTC-USD", limit=50).trades
    ids = [int(trade["trade_id"]) for trade in trades]
    assert ids == list(range(ids[0], ids[0] - 50, -1))
    now = int(time.time())
    bars = sdk.get_public_candles("BTC-USD", str(now - 3600), str(now), "FIVE_MINUTE").candles
    assert 11 <= len(bars) <= 13
    assert int(bars[0]["start"]) > int(bars[-1]["start"])
    days = sdk.get_candles("BTC-USD", str(now - 20 * 86400), str(now), "ONE_DAY").candles
    assert len(days) >= 20


def test_too_many_bars_are_a_bad_argument(sdk: Any) -> None:
    with pytest.raises(requests.HTTPError) as caught:
        sdk.get_candles("BTC-USD", "0", "86400000", "ONE_MINUTE")
    assert caught.value.response.json()["error"] == "INVALID_ARGUMENT"


def test_an_order_lives_from_create_over_edit_to_cancel(sdk: Any) -> None:
    price = last_price(sdk)
    client_id = new_id()
    created = sdk.limit_order_gtc_buy(client_id, "BTC-USD", "0.01", on_grid(price * Decimal("0.9")))
    assert created.success and created.success_response["client_order_id"] == client_id
    order_id = created.success_response["order_id"]
    settled(sdk, order_id, "OPEN")
    assert order_id in [o.order_id for o in sdk.list_orders(order_status=["OPEN"]).orders]
    assert sdk.edit_order(order_id, size="0.02", price=on_grid(price * Decimal("0.85"))).success
    edited = sdk.get_order(order_id).order
    assert edited.order_configuration.limit_limit_gtc.base_size == "0.02"
    assert len(edited.edit_history) == 1
    assert sdk.cancel_orders([order_id]).results[0].success
    cancelled = settled(sdk, order_id, "CANCELLED")
    assert cancelled.outstanding_hold_amount == "0"
    again = sdk.cancel_orders([order_id]).results[0]
    assert not again.success


def test_a_fill_is_listed_once_with_its_commission(sdk: Any) -> None:
    order_id = sdk.market_order_buy(new_id(), "ETH-USD", base_size="0.1").success_response["order_id"]
    order = settled(sdk, order_id, "FILLED")
    fills = sdk.get_fills(order_ids=[order_id]).fills
    assert sum(Decimal(f.size) for f in fills) == Decimal("0.1")
    assert sum(Decimal(f.commission) for f in fills) == Decimal(order.total_fees)
    assert {f.liquidity_indicator for f in fills} == {"TAKER"}
    tier = sdk.get_transaction_summary().fee_tier
    assert Decimal(order.total_fees) == Decimal(order.filled_value) * Decimal(tier["taker_fee_rate"])


def test_a_refusal_is_an_answer_with_success_false(sdk: Any) -> None:
    refused = sdk.limit_order_gtc_buy(new_id(), "BTC-USD", "100", "60000")
    assert refused.success is False
    assert refused.error_response["new_order_failure_reason"] == "INSUFFICIENT_FUND"
    assert refused.error_response["preview_failure_reason"] == "PREVIEW_INSUFFICIENT_FUND"


def test_the_same_client_order_id_returns_the_same_order(sdk: Any) -> None:
    client_id, price = new_id(), on_grid(last_price(sdk) * Decimal("0.8"))
    first = sdk.limit_order_gtc_buy(client_id, "BTC-USD", "0.01", price).success_response["order_id"]
    second = sdk.limit_order_gtc_buy(client_id, "BTC-USD", "0.01", price).success_response["order_id"]
    assert first == second
    sdk.cancel_orders([first])


def test_orders_and_fills_come_in_pages_that_end(sdk: Any) -> None:
    for _ in range(5):
        order_id = sdk.market_order_buy(new_id(), "ETH-USD", quote_size="5").success_response["order_id"]
        settled(sdk, order_id, "FILLED")
    seen: list[str] = []
    cursor = None
    while True:
        page = sdk.list_orders(product_ids=["ETH-USD"], limit=2, cursor=cursor)
        seen += [order.order_id for order in page.orders]
        cursor = page.cursor
        if not page.has_next:
            break
    assert len(seen) == len(set(seen)) >= 5
    entries: list[str] = []
    cursor = None
    while cursor != "":
        answer = sdk.get_fills(product_ids=["ETH-USD"], limit=2, cursor=cursor)
        entries += [fill.entry_id for fill in answer.fills]
        cursor = answer.cursor
    assert len(entries) == len(set(entries)) >= 5


def test_a_preview_tells_cost_and_refusal_without_booking(sdk: Any, venue: SimulatorProcess) -> None:
    before = len(venue.truth()["orders"])
    preview = sdk.preview_market_order_buy("BTC-USD", quote_size="100")
    assert preview.errs == [] and Decimal(preview.order_total) <= Decimal(100)
    assert sdk.preview_limit_order_gtc_buy("BTC-USD", "100", "60000").errs == ["PREVIEW_INSUFFICIENT_FUND"]
    assert len(venue.truth()["orders"]) == before


def test_a_bracket_protects_and_fires_when_the_price_is_taken_through_it(sdk: Any, venue: SimulatorProcess) -> None:
    price = last_price(sdk)
    stop, target = on_grid(price * Decimal("0.98")), on_grid(price * Decimal("1.1"))
    created = sdk.trigger_bracket_order_gtc_sell(new_id(), "BTC-USD", "0.05", target, stop)
    order_id = created.success_response["order_id"]
    settled(sdk, order_id, "OPEN")
    venue.price("BTC-USD", price * Decimal("0.97"))
    order = settled(sdk, order_id, "FILLED")
    assert order.trigger_status == "STOP_TRIGGERED" and order.order_type == "BRACKET"
    assert Decimal(order.average_filled_price) > price * Decimal("0.95")
    venue.price("BTC-USD", price)


def test_portfolio_and_permissions_are_told(sdk: Any) -> None:
    permissions = sdk.get_api_key_permissions()
    assert permissions.can_trade and not permissions.can_transfer
    portfolio = sdk.get_portfolios().portfolios[0]
    assert portfolio.uuid == permissions.portfolio_uuid
    breakdown = sdk.get_portfolio_breakdown(portfolio.uuid).breakdown
    assert any(row["asset"] == "USD" and row["is_cash"] for row in breakdown["spot_positions"])


@pytest.mark.parametrize("path", ["orders/historical/no-such", "products/NOPE-USD", "nothing"])
def test_unknown_things_are_404_in_json(sdk: Any, path: str) -> None:
    with pytest.raises(requests.HTTPError) as caught:
        sdk.get(f"/api/v3/brokerage/{path}")
    assert caught.value.response.status_code == 404
    assert "error" in caught.value.response.json()


# -- authentication


def _call(venue: SimulatorProcess, token: str, path: str = "/api/v3/brokerage/accounts") -> requests.Response:
    session = requests.Session()
    session.trust_env = False
    return session.get(f"https://{venue.rest}{path}", headers={"Authorization": f"Bearer {token}"},
                       verify=venue.ca_file, timeout=10)


def _key(venue: SimulatorProcess) -> tuple[str, str]:
    content = json.loads(Path(venue.key_file).read_text())
    return content["name"], content["privateKey"]


def test_a_token_is_good_once_for_one_path_and_host(venue: SimulatorProcess) -> None:
    name, secret = _key(venue)
    token = jwt_generator.build_rest_jwt(f"GET {venue.rest}/api/v3/brokerage/accounts", name, secret)
    assert _call(venue, token).status_code == 200
    replayed = _call(venue, token)
    assert (replayed.status_code, replayed.text) == (401, "Unauthorized\n")
    assert replayed.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert replayed.headers["trace-id"]
    elsewhere = jwt_generator.build_rest_jwt("GET api.coinbase.com/api/v3/brokerage/accounts", name, secret)
    assert _call(venue, elsewhere).status_code == 401
    other_path = jwt_generator.build_rest_jwt(f"GET {venue.rest}/api/v3/brokerage/products", name, secret)
    assert _call(venue, other_path).status_code == 401
    assert _call(venue, jwt_generator.build_ws_jwt(name, secret)).status_code == 401
    wrong_name = jwt_generator.build_rest_jwt(f"GET {venue.rest}/api/v3/brokerage/accounts", "somebody", secret)
    assert _call(venue, wrong_name).status_code == 401


def test_public_paths_need_no_key(venue: SimulatorProcess) -> None:
    client = RESTClient(base_url=venue.rest, timeout=10)
    client.session.verify, client.session.trust_env = venue.ca_file, False
    assert client.get_public_product("BTC-USD")["product_id"] == "BTC-USD"


def test_a_client_with_a_clock_off_is_unauthorized(clean: SimulatorProcess, sdk: Any) -> None:
    clean.fault("clock_skew", offset_s=-300)
    with pytest.raises(requests.HTTPError) as caught:
        sdk.get_accounts()
    assert caught.value.response.status_code == 401
    assert int(sdk.get_unix_time().epoch_seconds) < time.time() - 290


def test_beyond_the_rate_limit_is_429_with_headers() -> None:
    with SimulatorProcess(frozen=True, symbols=["BTC-USD"], arguments=["--private-rate", "5"]) as process:
        client = rest_client(process, rate_limit_headers=True)
        assert client.get_accounts()["rate_limit_remaining"] == "4"
        with pytest.raises(requests.HTTPError) as caught:
            for _ in range(20):
                client.get_accounts()
        answer = caught.value.response
        assert answer.status_code == 429
        assert answer.json()["errors"][0]["id"] == "rate_limit_exceeded"
        assert answer.headers["x-ratelimit-remaining"] == "0"


# -- the feed


class Feed:
    """The SDK's websocket client, and what it received."""

    def __init__(self, venue: SimulatorProcess, user_only: bool = False) -> None:
        self.frames: list[dict[str, Any]] = []
        self.texts: list[str] = []
        kind = WSUserClient if user_only else WSClient
        self.client = kind(key_file=venue.key_file, on_message=self._take, retry=False,
                           base_url=venue.ws_user if user_only else venue.ws)
        self.client.open()

    def _take(self, text: str) -> None:
        self.texts.append(text)
        try:
            self.frames.append(json.loads(text))
        except ValueError:
            self.frames.append({"broken": text})

    def of(self, channel: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame.get("channel") == channel]

    def orders(self) -> list[dict[str, str]]:
        return [order for frame in self.of("user") for event in frame["events"] for order in event["orders"]]


@pytest.fixture
def feed(clean: SimulatorProcess) -> Iterator[Feed]:
    opened = Feed(clean)
    yield opened
    try:
        opened.client.close()
    except Exception:  # the connection may be one that a fault has closed
        pass


def test_all_channels_come_in_one_gapless_sequence(venue: SimulatorProcess, feed: Feed) -> None:
    client = feed.client
    client.heartbeats()
    for subscribe in (client.ticker, client.ticker_batch, client.market_trades, client.level2, client.candles):
        subscribe(BOOKS)
    client.status(BOOKS)
    client.user([])
    eventually(lambda: len(feed.of("heartbeats")) >= 2, "two heartbeats")
    price = Decimal(venue.truth()["prices"]["BTC-USD"])  # type: ignore[call-overload]
    venue.price("BTC-USD", price * Decimal("1.001"))
    eventually(lambda: any(f["events"][0]["type"] == "update" for f in feed.of("market_trades")), "trades")
    venue.price("BTC-USD", price)
    frames = list(feed.frames)
    assert [frame["sequence_num"] for frame in frames] == list(range(len(frames)))
    assert all(list(f) == ["channel", "timestamp", "sequence_num", "events"] for f in frames)
    channels = {frame["channel"] for frame in frames}
    assert channels >= {"subscriptions", "heartbeats", "ticker", "ticker_batch", "market_trades", "l2_data",
                        "candles", "status", "user"}
    acks = [list(frame["events"][0]["subscriptions"]) for frame in feed.of("subscriptions")]
    assert acks[0] == ["heartbeats"] and len(acks[-1]) == 8
    assert isinstance(feed.of("heartbeats")[0]["events"][0]["heartbeat_counter"], int)


def test_the_level2_book_stays_equal_to_the_venues(venue: SimulatorProcess, feed: Feed, sdk: Any) -> None:
    feed.client.level2(["BTC-USD"])
    eventually(lambda: feed.of("l2_data"), "a snapshot")
    price = last_price(sdk)
    sdk.market_order_buy(new_id(), "BTC-USD", quote_size="3000")
    sdk.limit_order_gtc_buy(new_id(), "BTC-USD", "0.01", on_grid(price * Decimal("0.99")))
    venue.price("BTC-USD", price * Decimal("1.003"))

    def rebuilt() -> dict[str, dict[Decimal, Decimal]]:
        book: dict[str, dict[Decimal, Decimal]] = {"bid": {}, "offer": {}}
        for frame in feed.of("l2_data"):
            for row in frame["events"][0]["updates"]:
                side, level, size = book[row["side"]], Decimal(row["price_level"]), Decimal(row["new_quantity"])
                side.pop(level, None) if size == 0 else side.__setitem__(level, size)
        return book

    def equal() -> bool:
        shown = sdk.get_product_book("BTC-USD", limit=1000).pricebook
        mine = rebuilt()
        return (mine["bid"] == {Decimal(r["price"]): Decimal(r["size"]) for r in shown["bids"]}
                and mine["offer"] == {Decimal(r["price"]): Decimal(r["size"]) for r in shown["asks"]})

    eventually(equal, "the rebuilt book equals the venue's")
    venue.price("BTC-USD", price)
    sdk.cancel_orders([o.order_id for o in sdk.list_orders(order_status=["OPEN"]).orders])


def test_trade_ids_join_snapshot_and_updates_without_hole(venue: SimulatorProcess, feed: Feed, sdk: Any) -> None:
    feed.client.market_trades(["ETH-USD"])
    eventually(lambda: feed.of("market_trades"), "a snapshot")
    for _ in range(3):
        sdk.market_order_sell(new_id(), "ETH-USD", base_size="0.01")
    eventually(lambda: sum(len(f["events"][0]["trades"]) for f in feed.of("market_trades")) >= 103, "trades")
    ids = [int(t["trade_id"]) for f in feed.of("market_trades") for t in reversed(f["events"][0]["trades"])]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert feed.of("market_trades")[-1]["events"][0]["trades"][0]["side"] == "BUY"


def test_the_user_channel_tells_an_orders_cumulative_state(clean: SimulatorProcess, sdk: Any) -> None:
    client_id, price = new_id(), last_price(sdk)
    resting = sdk.limit_order_gtc_buy(client_id, "BTC-USD", "0.01", on_grid(price * Decimal("0.9")))
    order_id = resting.success_response["order_id"]
    settled(sdk, order_id, "OPEN")
    opened = Feed(clean, user_only=True)
    opened.client.heartbeats()
    opened.client.user([])
    eventually(lambda: opened.of("user"), "the snapshot")
    snapshot = opened.of("user")[0]["events"][0]
    assert snapshot["type"] == "snapshot" and order_id in {o["order_id"] for o in snapshot["orders"]}
    sdk.cancel_orders([order_id])
    eventually(lambda: any(o["order_id"] == order_id and o["status"] == "CANCELLED" for o in opened.orders()),
               "the cancel")
    bought = sdk.market_order_buy(new_id(), "BTC-USD", base_size="0.01").success_response["order_id"]
    eventually(lambda: any(o["order_id"] == bought and o["status"] == "FILLED" for o in opened.orders()), "the fill")
    states = [o["status"] for o in opened.orders() if o["order_id"] == bought]
    assert states[0] == "PENDING" and states[-1] == "FILLED"
    final = [o for o in opened.orders() if o["order_id"] == bought][-1]
    assert all(isinstance(value, str) for value in final.values())
    assert final["cumulative_quantity"] == "0.01" and final["leaves_quantity"] == "0"
    opened.client.close()


def test_more_than_fifty_open_orders_come_in_batches(clean: SimulatorProcess, sdk: Any) -> None:
    price = on_grid(last_price(sdk) * Decimal("0.5"))
    ids = [clean.order(product_id="BTC-USD", side="BUY", order_configuration={
        "limit_limit_gtc": {"base_size": "0.0001", "limit_price": price}})["order_id"] for _ in range(51)]
    opened = Feed(clean)
    opened.client.user([])
    eventually(lambda: len(opened.of("user")) >= 2, "two batches")
    assert [len(f["events"][0]["orders"]) for f in opened.of("user")[:2]] == [50, 1]
    sdk.cancel_orders(ids)
    # the SDK's close waits 10 s when more frames arrive than its queue holds
    eventually(lambda: sum(o["status"] == "CANCELLED" for o in opened.orders()) == 51, "the cancels")
    opened.client.close()


def test_what_cannot_be_subscribed_gets_an_error_frame(venue: SimulatorProcess, feed: Feed) -> None:
    feed.client.level2(["NOPE-USD"])
    eventually(lambda: {"type": "error", "message": "failure to subscribe"} in feed.frames, "an error frame")
    anonymous: list[str] = []
    client = WSClient(on_message=anonymous.append, base_url=venue.ws, retry=False)
    client.open()
    client.subscribe([], ["heartbeats"])
    # without a key the client sends no user subscribe, so it is sent by hand
    raw = json.dumps({"type": "subscribe", "channel": "user", "product_ids": []})
    client.loop.call_soon_threadsafe(lambda: client.loop.create_task(client.websocket.send(raw)))
    eventually(lambda: any("authentication failure" in text for text in anonymous), "authentication failure")
    client.close()


def test_with_client_id_switched_on_the_sdks_own_types_can_read_the_frames(clean: SimulatorProcess, feed: Feed) -> None:
    clean.fault("client_id")
    clean.fault("heartbeat_string")
    feed.client.heartbeats()
    feed.client.ticker(["BTC-USD"])
    eventually(lambda: feed.of("heartbeats"), "a heartbeat")
    read = [WebsocketResponse(json.loads(text)) for text in list(feed.texts)]
    assert {frame.client_id for frame in read} == {""}
    assert isinstance(feed.of("heartbeats")[0]["events"][0]["heartbeat_counter"], str)
