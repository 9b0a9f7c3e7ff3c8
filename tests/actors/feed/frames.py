"""Frames as the venue writes them, for tests."""

from __future__ import annotations

from pathlib import Path

import orjson

RECORDINGS = Path(__file__).resolve().parents[4] / "shared" / "data"
RECORDING = RECORDINGS / "at-20260809-btc-eth.replay.jsonl.gz"
EXPECTED = RECORDINGS / "at-20260809-btc-eth.expected.json"
TIME = "2026-08-09T21:05:48.228568804Z"


def frame(channel: str, sequence: int, *events: object, time: str = TIME) -> bytes:
    return orjson.dumps({"channel": channel, "timestamp": time, "sequence_num": sequence, "events": list(events)})


def level2(sequence: int, kind: str, product: str, *levels: tuple[str, str, str], time: str = TIME) -> bytes:
    """levels: (bid|offer, price, size)"""
    updates = [{"side": s, "event_time": time, "price_level": p, "new_quantity": q} for s, p, q in levels]
    return frame("l2_data", sequence, {"type": kind, "product_id": product, "updates": updates}, time=time)


def book_snapshot(sequence: int, product: str = "BTC-USD", bid: str = "100", ask: str = "101") -> bytes:
    return level2(sequence, "snapshot", product, ("bid", bid, "1"), ("offer", ask, "2"))


def heartbeat(sequence: int, counter: int = 41691) -> bytes:
    event = {
        "current_time": "2026-08-09 21:05:48.854840045 +0000 UTC m=+41691.260485341",
        "heartbeat_counter": counter,
    }
    return frame("heartbeats", sequence, event)


def trades(sequence: int, kind: str, product: str, *items: tuple[int, str, str, str]) -> bytes:
    """items: (id, price, size, time), given oldest first; the venue writes newest first."""
    rows = [
        {"product_id": product, "trade_id": str(n), "price": p, "size": q, "time": t, "side": "SELL"}
        for n, p, q, t in reversed(items)
    ]
    return frame("market_trades", sequence, {"type": kind, "trades": rows})


def subscriptions(sequence: int, **channels: list[str]) -> bytes:
    return frame("subscriptions", sequence, {"subscriptions": channels})


def user_order(**changed: object) -> dict[str, object]:
    return {
        "order_id": "o-1",
        "client_order_id": "td-a-1-e-1",
        "product_id": "BTC-USD",
        "order_side": "BUY",
        "order_type": "Limit",
        "status": "OPEN",
        "avg_price": "0",
        "cumulative_quantity": "0",
        "filled_value": "0",
        "total_fees": "0",
        "leaves_quantity": "1",
        "cancel_reason": "",
        "reject_reason": "",
        "trigger_status": "INVALID_ORDER_TYPE",
        **changed,
    }


def user(sequence: int, kind: str, *orders: dict[str, object]) -> bytes:
    return frame("user", sequence, {"type": kind, "orders": list(orders), "positions": {}})
