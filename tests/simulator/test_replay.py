"""A recorded feed comes out as it went in, at any speed, and orders trade against it."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from coinbase.websocket import WSClient

from simulator.testing import SimulatorFailedError, SimulatorProcess
from tests.simulator.conftest import eventually, rest_client

BOOKS = ["BTC-USD", "ETH-USD"]


def frames_of(recording: Path) -> list[str]:
    with gzip.open(recording, "rt") as lines:
        return [json.loads(line)["f"] for line in list(lines)[1:]]


def listen(venue: SimulatorProcess) -> tuple[Any, list[str]]:
    got: list[str] = []
    client = WSClient(key_file=venue.key_file, base_url=venue.ws, on_message=got.append, retry=False)
    client.open()
    return client, got


def subscribe_all(client: Any) -> None:
    client.heartbeats()
    for subscribe in (client.ticker, client.market_trades, client.level2, client.candles):
        subscribe(BOOKS)


def test_one_connection_gets_the_recording_byte_for_byte_and_heartbeats_go_on_after_it(recording: Path) -> None:
    with SimulatorProcess(f"replay:{recording}@max", balances={"USD": "100000"}) as venue:
        client, got = listen(venue)
        subscribe_all(client)
        wanted = frames_of(recording)
        eventually(lambda: len(got) > len(wanted), "the whole recording and a heartbeat", 20)
        assert got[: len(wanted)] == wanted
        after = json.loads(got[len(wanted)])
        assert after["channel"] == "heartbeats" and after["sequence_num"] == len(wanted)
        last = [json.loads(f) for f in wanted if '"heartbeats","timestamp"' in f][-1]
        assert after["events"][0]["heartbeat_counter"] == last["events"][0]["heartbeat_counter"] + 1
        client.close()
        with pytest.raises(SimulatorFailedError, match="recorded"):
            venue.price("BTC-USD", "1")

        expected = json.loads(recording.with_name("at-20260809-btc-eth.expected.json").read_text())["expected"]
        sdk = rest_client(venue)
        book = sdk.get_product_book("BTC-USD", limit=5).pricebook
        top = expected["book"]["BTC-USD"]["top5_bids"]
        assert [[row["price"], row["size"]] for row in book["bids"]] == top
        assert sdk.get_market_trades("ETH-USD", limit=1).trades[0]["trade_id"] == (
            expected["trades"]["ETH-USD"]["last_trade_id"])

        # orders trade against the recorded book
        order_id = sdk.market_order_buy("replay-buy", "BTC-USD", base_size="0.3").success_response["order_id"]
        order = eventually(lambda: (o := sdk.get_order(order_id).order).status == "FILLED" and o, "the fill")
        asks = [(Decimal(p), Decimal(q)) for p, q in expected["book"]["BTC-USD"]["top5_offers"]]
        assert Decimal(sdk.get_fills(order_ids=[order_id]).fills[-1].price) == asks[0][0]
        assert Decimal(order.filled_size) == Decimal("0.3")
        assert order.created_time.startswith("2026-08-09T21:06:1")


def check_part(got: list[str], part: list[dict[str, Any]], channel: str) -> None:
    """Hold what one connection got against its part of the recording."""
    def data() -> list[dict[str, Any]]:
        return [frame for frame in map(json.loads, list(got)) if frame["channel"] == channel]
    eventually(lambda: len(data()) == len(part), f"all {channel} frames", 20)
    assert [f["events"] for f in data()] == [f["events"] for f in part]
    frames = [json.loads(text) for text in got]
    assert [f["sequence_num"] for f in frames] == list(range(len(frames)))
    acks = [f["events"][0]["subscriptions"] for f in frames if f["channel"] == "subscriptions"]
    assert acks and all(list(ack) == [channel] for ack in acks)


def test_two_connections_with_parts_of_it_are_each_numbered_from_zero(recording: Path) -> None:
    with SimulatorProcess(f"replay:{recording}@max") as venue:
        trades, got_trades = listen(venue)
        ticker, got_ticker = listen(venue)
        trades.market_trades(["BTC-USD"])
        ticker.ticker(["ETH-USD"])
        wanted = [json.loads(frame) for frame in frames_of(recording)]
        of_btc = [f for f in wanted if f["channel"] == "market_trades"
                  and f["events"][0]["trades"][0]["product_id"] == "BTC-USD"]
        of_eth = [f for f in wanted if f["channel"] == "ticker"
                  and f["events"][0]["tickers"][0]["product_id"] == "ETH-USD"]
        check_part(got_trades, of_btc, "market_trades")
        check_part(got_ticker, of_eth, "ticker")
        trades.close()
        ticker.close()


def test_a_channel_subscribed_late_is_caught_up_from_the_start(recording: Path) -> None:
    with SimulatorProcess(f"replay:{recording}@10") as venue:
        client, got = listen(venue)
        client.ticker(["BTC-USD"])
        eventually(lambda: len(got) > 20, "the recording runs")
        client.market_trades(["ETH-USD"])
        eventually(lambda: any('"market_trades","timestamp"' in text for text in got), "the trades")
        trades = [f for f in map(json.loads, list(got)) if f["channel"] == "market_trades"]
        assert trades[0]["events"][0]["type"] == "snapshot"
        frames = [json.loads(text) for text in list(got)]
        assert [f["sequence_num"] for f in frames] == list(range(len(frames)))
        client.close()
