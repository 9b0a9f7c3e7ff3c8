from __future__ import annotations

from decimal import Decimal

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.clock import from_rfc3339
from actors.feed.decode import (
    BookEvent,
    ErrorEvent,
    FeedError,
    Frame,
    HeartbeatEvent,
    SubscriptionsEvent,
    TickerEvent,
    TradesEvent,
    UserEvent,
    decode,
)
from actors.messages.market import Side
from tests.actors.feed import frames

SAMPLES = [
    frames.book_snapshot(0),
    frames.level2(1, "update", "BTC-USD", ("bid", "99.5", "0"), ("offer", "101", "3")),
    frames.heartbeat(2),
    frames.trades(3, "update", "BTC-USD", (7, "100", "1", "2026-08-09T21:05:48.1Z")),
    frames.subscriptions(4, market_trades=["BTC-USD"]),
    frames.user(5, "snapshot", frames.user_order()),
    frames.frame(
        "ticker",
        6,
        {"type": "update", "tickers": [{"product_id": "A-B", "price": "1", "best_bid": "1", "best_ask": "2"}]},
    ),
]


def test_levels_keep_every_digit_and_side() -> None:
    event = decode(frames.level2(9, "update", "BTC-USD", ("bid", "0.01", "0"), ("offer", "138991023.41", "0.00000011")))
    assert event == Frame(
        "l2_data",
        9,
        from_rfc3339(frames.TIME),
        (
            BookEvent(
                "BTC-USD",
                False,
                [(Decimal("0.01"), Decimal(0))],
                [(Decimal("138991023.41"), Decimal("0.00000011"))],
            ),
        ),
    )


def test_trades_come_out_oldest_first_with_the_makers_side() -> None:
    raw = frames.trades(
        1, "snapshot", "BTC-USD", (7, "100", "1", "2026-08-09T21:05:48.1Z"), (8, "101", "2", "2026-08-09T21:05:49Z")
    )
    (event,) = decode(raw).events
    assert isinstance(event, TradesEvent)
    assert event.snapshot
    assert [trade.trade_id for trade in event.trades] == [7, 8]
    assert event.trades[0].maker_side is Side.SELL
    assert event.trades[1].time_utc_ns == from_rfc3339("2026-08-09T21:05:49Z")


def test_the_heartbeats_time_is_gos_not_rfc3339() -> None:
    (event,) = decode(frames.heartbeat(1, 41691)).events
    assert event == HeartbeatEvent(41691, from_rfc3339("2026-08-09T21:05:48.854840045Z"))


def test_a_heartbeat_counter_in_text_is_accepted_as_docs_show_it() -> None:
    raw = frames.heartbeat(1).replace(b":41691}", b':"41691"}')
    assert b'"41691"' in raw
    (event,) = decode(raw).events
    assert isinstance(event, HeartbeatEvent) and event.counter == 41691


def test_a_client_id_in_the_envelope_changes_nothing() -> None:
    raw = frames.heartbeat(3)
    with_id = orjson.dumps({"client_id": "", **orjson.loads(raw)})
    assert decode(with_id) == decode(raw)


def test_an_error_frame_has_no_envelope() -> None:
    frame = decode(b'{"type":"error","message":"authentication failure"}')
    assert frame.sequence is None
    assert frame.events == (ErrorEvent("authentication failure"),)


def test_a_ticker_without_quotes_has_none_instead_of_zero() -> None:
    raw = frames.frame("ticker_batch", 1, {"type": "update", "tickers": [{"product_id": "A-B", "price": "1.5"}]})
    assert decode(raw).events == (TickerEvent("A-B", Decimal("1.5"), None, None),)


def test_an_unknown_channel_still_counts_in_the_sequence() -> None:
    frame = decode(frames.frame("status", 12, {"type": "snapshot", "products": []}))
    assert (frame.sequence, frame.events) == (12, ())


def test_subscriptions_list_channels_and_products() -> None:
    (event,) = decode(frames.subscriptions(1, user=["abc"], level2=["A-B", "C-D"])).events
    assert event == SubscriptionsEvent((("user", ("abc",)), ("level2", ("A-B", "C-D"))))


def test_user_orders_are_cumulative_and_empty_text_is_no_amount() -> None:
    raw = frames.user(1, "update", frames.user_order(cumulative_quantity="0.5", filled_value="50", total_fees=""))
    (event,) = decode(raw).events
    assert isinstance(event, UserEvent)
    order = event.orders[0]
    assert (order.cumulative_quantity, order.filled_value, order.total_fees) == (Decimal("0.5"), 50, 0)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b'{"channel":"heartbeats"}',
        frames.frame("heartbeats", -1, {}),
        frames.heartbeat(1).replace(b'"sequence_num":1', b'"sequence_num":"1"'),
        frames.heartbeat(1).replace(b'"sequence_num":1', b'"sequence_num":true'),
        frames.heartbeat(1).replace(b"28568804Z", b"28568804"),
        frames.heartbeat(1).replace(frames.TIME.encode(), b"2026-08-09T21:05"),  # whose time zone?
        frames.level2(1, "update", "BTC-USD", ("bid", "NaN", "1")),
        frames.level2(1, "update", "BTC-USD", ("bid", "1", "NaN")),
        frames.level2(1, "update", "BTC-USD", ("bid", "Infinity", "1")),
        frames.level2(1, "update", "BTC-USD", ("bid", "1", "-1")),
        frames.level2(1, "update", "BTC-USD", ("bid", "0", "1")),
        frames.level2(1, "update", "BTC-USD", ("ask", "1", "1")),
        frames.level2(1, "delta", "BTC-USD", ("bid", "1", "1")),
        frames.level2(1, "update", "BTC-USD", ("bid", "1", "1")).replace(b'"1"', b"1.0"),
        frames.level2(1, "update", "BTC-USD", ("bid", "1e999999", "1")),
        frames.trades(1, "update", "BTC-USD", (7, "0", "1", frames.TIME)),
        frames.trades(1, "update", "BTC-USD", (7, "1", "1", "yesterday")),
        frames.user(1, "update", frames.user_order(filled_value="Infinity")),
    ],
)
def test_garbage_is_one_kind_of_error_that_names_what(raw: bytes) -> None:
    with pytest.raises(FeedError) as caught:
        decode(raw)
    assert str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def _only_frames_or_feed_errors(raw: bytes | str) -> None:
    try:
        result = decode(raw)
    except FeedError:
        return
    assert isinstance(result, Frame)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes_are_a_frame_or_a_feed_error(raw: bytes | str) -> None:
    _only_frames_or_feed_errors(raw)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sample=st.sampled_from(SAMPLES), data=st.data())
def test_a_real_frame_with_one_value_replaced_is_a_frame_or_a_feed_error(sample: bytes, data: st.DataObject) -> None:
    """Walk to a random place of a real frame and put anything there."""
    message = orjson.loads(sample)
    node = message
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if isinstance(node[key], dict | list) and data.draw(st.booleans()):
            node = node[key]
            continue
        if isinstance(node, dict) and data.draw(st.booleans()):
            del node[key]
        else:
            node[key] = data.draw(JSON)
        break
    try:
        raw = orjson.dumps(message)
    except TypeError:
        return  # JSON itself cannot carry it (a lone surrogate, a number beyond 64 bits)
    _only_frames_or_feed_errors(raw)


@settings(max_examples=200, deadline=None)
@given(sample=st.sampled_from(SAMPLES), data=st.data())
def test_a_real_frame_with_flipped_bytes_is_a_frame_or_a_feed_error(sample: bytes, data: st.DataObject) -> None:
    raw = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    _only_frames_or_feed_errors(bytes(raw))
