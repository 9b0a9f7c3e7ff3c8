from __future__ import annotations

from decimal import Decimal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.book import BUY, SELL
from simulator.engine import Engine
from simulator.orders import pack, unpack_order
from simulator.terms import RefusalError
from tests.simulator.market import BOOK, MS, T0, engine, request

sides = st.sampled_from([BUY, SELL])
ticks = st.integers(min_value=9700, max_value=10300).map(lambda n: Decimal(n) / 100)
sizes = st.integers(min_value=1, max_value=40).map(lambda n: Decimal(n) / 10)

actions = st.one_of(
    st.tuples(st.just("limit"), sides, sizes, ticks),
    st.tuples(st.just("ioc"), sides, sizes, ticks),
    st.tuples(st.just("fok"), sides, sizes, ticks),
    st.tuples(st.just("market"), sides, sizes),
    st.tuples(st.just("quote"), st.integers(min_value=2, max_value=900)),
    st.tuples(st.just("stop"), sides, sizes, ticks, ticks),
    st.tuples(st.just("bracket"), sides, sizes, ticks, ticks),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("edit"), st.integers(0, 30), sizes, ticks),
    st.tuples(st.just("trade"), sides, sizes, ticks),
    st.tuples(st.just("level"), sides, st.integers(0, 30).map(lambda n: Decimal(n) / 10), ticks),
    st.tuples(st.just("mode"), st.sampled_from(["online", "online", "auction_mode", "cancel_only"])),
    st.tuples(st.just("wait"), st.integers(1, 40)),
)


def _body(action: tuple[object, ...]) -> dict[str, object]:
    kind, *rest = action
    if kind == "quote":
        return request("market_market_ioc", BUY, quote_size=str(rest[0]))
    side, size, *prices = (str(value) for value in rest)
    if kind == "market":
        return request("market_market_ioc", side, base_size=size)
    if kind == "stop":
        direction = "STOP_DIRECTION_STOP_UP" if side == BUY else "STOP_DIRECTION_STOP_DOWN"
        return request("stop_limit_stop_limit_gtc", side, base_size=size, limit_price=prices[0],
                       stop_price=prices[1], stop_direction=direction)
    if kind == "bracket":
        return request("trigger_bracket_gtc", side, base_size=size, limit_price=prices[0],
                       stop_trigger_price=prices[1])
    name = {"limit": "limit_limit_gtc", "ioc": "sor_limit_ioc", "fok": "limit_limit_fok"}[str(kind)]
    return request(name, side, base_size=size, limit_price=prices[0])


def _do(venue: Engine, action: tuple[object, ...], now: int) -> None:
    kind = action[0]
    if kind == "cancel":
        ids = list(venue.orders)
        if ids:
            venue.cancel(ids[int(str(action[1])) % len(ids)], now)
    elif kind == "edit":
        ids = list(venue.orders)
        if ids:
            venue.edit(ids[int(str(action[1])) % len(ids)], str(action[2]), str(action[3]), None, now)
    elif kind == "trade":
        venue.on_trade(BOOK, Decimal(str(action[3])), Decimal(str(action[2])), str(action[1]), now)
    elif kind == "level":
        venue.on_levels(BOOK, [(str(action[1]), Decimal(str(action[3])), Decimal(str(action[2])))], now)
    elif kind == "mode":
        venue.set_mode(BOOK, str(action[1]), now)
    elif kind != "wait":
        try:
            venue.create(_body(action), now)
        except RefusalError:
            pass


def _check(venue: Engine) -> None:
    for wallet in venue.wallets.rows():
        assert wallet.available >= 0, wallet
        held = sum((o.hold for o in venue.orders.values() if o.hold_currency == wallet.currency), Decimal(0))
        assert wallet.hold == held, wallet
    for order in venue.orders.values():
        mine = [fill for fill in venue.fills if fill.order_id == order.order_id]
        assert order.filled_size == sum((f.size for f in mine), Decimal(0))
        assert order.filled_value == sum((f.size * f.price for f in mine), Decimal(0))
        assert order.fees == sum((f.commission for f in mine), Decimal(0))
        assert order.remaining >= 0 or order.base_size is None
        if order.is_terminal:
            assert order.hold == 0 and not order.resting
        elif order.side == SELL:
            assert order.hold == order.remaining
        elif order.kind != "market_market_ioc":
            assert order.hold == venue.hold_needed(order)
        assert unpack_order(pack(order)) == order
    bought = sum((f.size if f.side == BUY else -f.size for f in venue.fills), Decimal(0))
    paid = sum((f.commission + (f.size * f.price if f.side == BUY else -f.size * f.price)
                for f in venue.fills), Decimal(0))
    btc, usd = venue.wallets["BTC"], venue.wallets["USD"]
    assert btc.available + btc.hold == Decimal(5) + bought
    assert usd.available + usd.hold == Decimal(1000) - paid


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(actions, st.integers(0, 30)), min_size=1, max_size=40))
def test_money_is_conserved_and_holds_are_what_open_orders_need(
    history: list[tuple[tuple[object, ...], int]],
) -> None:
    venue = engine(usd="1000", btc="5", accept_delay_ms=3, cancel_delay_ms=20)
    now = T0
    for action, wait_ms in history:
        now += wait_ms * MS
        venue.advance(now)
        _do(venue, action, now)
        _check(venue)
    venue.advance(now + 1000 * MS)
    _check(venue)
    assert not any(order.status in {"PENDING", "CANCEL_QUEUED"} for order in venue.orders.values())
