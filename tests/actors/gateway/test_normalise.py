"""Answers become values whole or not at all."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.gateway import normalise
from actors.gateway.decimals import MalformedAnswerError, number, parse_json, plain
from actors.gateway.queries import MAX_READINGS, ReadError, reading
from actors.gateway.wire import WireResult
from actors.messages.base import Stamp
from actors.messages.venue import QueryKind, VenueQuery

ORDER: dict[str, object] = {
    "order_id": "o1",
    "client_order_id": "td-a-1-p-1",
    "product_id": "BTC-USD",
    "side": "SELL",
    "status": "OPEN",
    "order_configuration": {
        "trigger_bracket_gtc": {"base_size": "0.5", "limit_price": "70", "stop_trigger_price": "50"}
    },
    "created_time": "2026-08-09T21:05:38.50436Z",
    "number_of_fills": "0",
    "filled_size": "0",
    "average_filled_price": "0",
    "filled_value": "0",
    "total_fees": "0",
}
FILL: dict[str, object] = {
    "entry_id": "e1",
    "trade_id": "t1",
    "order_id": "o1",
    "product_id": "BTC-USD",
    "side": "BUY",
    "price": "60000.1",
    "size": "0.01",
    "commission": "0.03136",
    "trade_type": "FILL",
    "size_in_quote": False,
    "trade_time": "2026-08-09T21:05:38Z",
    "sequence_timestamp": "2026-08-09T21:05:38.1Z",
}
ACCOUNT: dict[str, object] = {
    "uuid": "u",
    "currency": "BTC",
    "available_balance": {"value": "1.5", "currency": "BTC"},
    "hold": {"value": "0.5", "currency": "BTC"},
}
PARSERS: list[tuple[Callable[[dict[str, object]], object], dict[str, object]]] = [
    (normalise.order, ORDER),
    (normalise.fill, FILL),
    (normalise.balance, ACCOUNT),
]
JUNK = st.none() | st.floats() | st.just("NaN") | st.just("") | st.just("Infinity") | st.lists(st.text(), max_size=2)


def test_a_bracket_shows_its_stop_and_exact_figures() -> None:
    order = normalise.order(ORDER)
    assert (order.base_size, order.limit_price, order.stop_price) == (Decimal("0.5"), Decimal(70), Decimal(50))
    assert order.created_utc_ns == 1_786_309_538_504_360_000
    assert normalise.fill(FILL).commission == Decimal("0.03136")


def test_an_order_without_a_configuration_has_no_size_rather_than_a_zero() -> None:
    assert normalise.order({**ORDER, "order_configuration": None}).base_size is None


def test_missing_fill_figures_are_zero_only_when_no_fill_is_proven() -> None:
    bare = {k: v for k, v in ORDER.items() if k not in ("filled_size", "filled_value", "average_filled_price")}
    assert normalise.order(bare).filled_size == 0
    with pytest.raises(MalformedAnswerError):
        normalise.order({**bare, "number_of_fills": "1"})
    with pytest.raises(MalformedAnswerError):
        normalise.order({k: v for k, v in bare.items() if k != "number_of_fills"})


@given(which=st.sampled_from(range(len(PARSERS))), data=st.data(), junk=JUNK)
def test_junk_in_a_money_field_is_an_error_never_a_number(which: int, data: st.DataObject, junk: object) -> None:
    parse, good = PARSERS[which]
    body = copy.deepcopy(good)
    if parse is normalise.balance:
        body[data.draw(st.sampled_from(["available_balance", "hold"]))] = {"value": junk, "currency": "BTC"}
    else:
        keys = ["price", "size", "commission"] if parse is normalise.fill else ["filled_size"]
        body[data.draw(st.sampled_from(keys))] = junk
        if parse is normalise.order:
            body["number_of_fills"] = "1"
    with pytest.raises(MalformedAnswerError):
        parse(body)


@given(which=st.sampled_from(range(len(PARSERS))), data=st.data())
def test_a_missing_field_is_an_error_or_makes_no_difference(which: int, data: st.DataObject) -> None:
    parse, good = PARSERS[which]
    gone = data.draw(st.sampled_from(sorted(good)))
    body = {key: value for key, value in good.items() if key != gone}
    try:
        assert parse(body) is not None
    except MalformedAnswerError:
        pass


@given(value=st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=8))
def test_a_decimal_written_and_read_is_the_same(value: Decimal) -> None:
    assert number({"x": plain(value)}, "x") == value


def test_numbers_with_a_point_stay_exact_and_nan_is_no_json() -> None:
    assert parse_json(b'{"a": 0.1}') == {"a": Decimal("0.1")}
    for bad in (b'{"a": NaN}', b"[" * 100_000, b""):
        with pytest.raises(MalformedAnswerError):
            parse_json(bad)


def test_a_wallet_whose_parts_are_in_another_currency_is_refused() -> None:
    with pytest.raises(MalformedAnswerError):
        normalise.balance({**ACCOUNT, "hold": {"value": "1", "currency": "USD"}})


def _result(body: object, status: int | None = 200) -> WireResult:
    raw = json.dumps(body).encode()
    return WireResult(True, status, {}, raw, "", "answer", 1, 1, 2, 2)


def _listing(*pages: list[str]) -> list[object]:
    last = len(pages) - 1
    return [
        {
            "orders": [{**ORDER, "order_id": name} for name in page],
            "has_next": n < last,
            "cursor": f"c{n}" if n < last else "",
        }
        for n, page in enumerate(pages)
    ]


def _run(bodies: list[object]) -> tuple[str, ...]:
    steps = reading(VenueQuery("r", QueryKind.ORDERS_SINCE, Stamp("risk", 1), since_utc_ns=0), 0, with_key=True)
    next(steps)
    for body in bodies:
        try:
            steps.send(_result(body))
        except StopIteration as ended:
            return tuple(order.order_id for order in ended.value.orders)
    raise AssertionError("the query wants more pages")


def test_one_page_is_read_once() -> None:
    assert _run(_listing(["a", "b"])) == ("a", "b")


def test_pages_that_shift_are_read_until_two_readings_agree() -> None:
    shifted, settled = _listing(["a"], ["a"]), _listing(["a"], ["b"])
    assert _run(shifted + settled + settled) == ("a", "b")


def test_pages_that_never_settle_are_an_error() -> None:
    bodies = [page for n in range(MAX_READINGS) for page in _listing(["a"], [f"b{n}"])]
    with pytest.raises(ReadError, match="kept changing"):
        _run(bodies)


@pytest.mark.parametrize(
    "body",
    [
        {"orders": None, "has_next": False, "cursor": ""},
        {"orders": [], "cursor": ""},
        {"orders": [], "has_next": True, "cursor": ""},
        {"orders": [{}], "has_next": False, "cursor": ""},
        [],
    ],
)
def test_a_listing_that_is_not_whole_is_an_error_not_an_empty_list(body: object) -> None:
    with pytest.raises(ReadError):
        _run([body])


def test_a_cursor_that_leads_in_circles_is_an_error() -> None:
    page = {"orders": [], "has_next": True, "cursor": "same"}
    with pytest.raises(ReadError, match="nowhere new"):
        _run([page, page])
