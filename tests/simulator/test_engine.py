from __future__ import annotations

from decimal import Decimal

import pytest

from simulator.book import BUY, SELL
from simulator.values import rfc3339
from tests.simulator.market import (
    BOOK,
    FEE_MAKER,
    FEE_TAKER,
    MS,
    T0,
    S,
    bracket,
    engine,
    limit,
    owned,
    place,
    refusal,
    request,
)


def test_a_market_buy_walks_the_asks_and_pays_the_taker_fee_on_each_level() -> None:
    venue = engine()
    order = place(venue, "market_market_ioc", BUY, base_size="1.5")
    assert order.status == "FILLED"
    assert [(f.price, f.size, f.is_maker) for f in venue.fills] == [
        (Decimal("100.1"), Decimal(1), False), (Decimal("100.2"), Decimal("0.5"), False)]
    value = Decimal("100.1") + Decimal("100.2") / 2
    assert order.fees == value * FEE_TAKER
    assert venue.wallets["USD"].available == Decimal(100000) - value - value * FEE_TAKER
    assert venue.wallets["USD"].hold == 0
    assert owned(venue, "BTC") == Decimal("101.5")


def test_a_market_buy_by_quote_size_spends_no_more_than_that_with_its_fee() -> None:
    venue = engine()
    order = place(venue, "market_market_ioc", BUY, quote_size="150")
    assert order.status == "FILLED"
    spent = order.filled_value + order.fees
    assert Decimal(150) - Decimal("0.00001") < spent <= Decimal(150)
    assert venue.wallets["USD"].hold == 0


def test_a_market_order_stops_two_percent_off_the_mid_and_cancels_the_rest() -> None:
    venue = engine()
    venue.on_levels(BOOK, [(BUY, Decimal("97"), Decimal(50))], T0)
    order = place(venue, "market_market_ioc", SELL, base_size="20")
    assert order.status == "CANCELLED"
    assert order.filled_size == Decimal(5)
    assert min(f.price for f in venue.fills) == Decimal("99.5")
    assert venue.wallets["BTC"].hold == 0


def test_liquidity_eaten_by_a_taker_comes_back_only_with_the_next_update_of_its_level() -> None:
    venue = engine()
    place(venue, "market_market_ioc", BUY, base_size="1")
    assert venue.books[BOOK].best(SELL).price == Decimal("100.2")  # type: ignore[union-attr]
    venue.on_levels(BOOK, [(SELL, Decimal("100.1"), Decimal(2))], T0)
    assert venue.books[BOOK].best(SELL).size == Decimal(2)  # type: ignore[union-attr]


def test_a_resting_buy_holds_its_cost_with_the_fee_and_gives_it_back_on_cancel() -> None:
    venue = engine()
    order = limit(venue, BUY, "2", "90")
    assert venue.wallets["USD"].hold == Decimal(180) * (1 + FEE_TAKER)
    assert venue.cancel(order.order_id, T0) == ""
    assert order.status == "CANCELLED"
    assert venue.wallets["USD"].available == Decimal(100000)


def test_a_resting_order_fills_only_after_the_queue_ahead_of_it() -> None:
    venue = engine()
    order = limit(venue, BUY, "2", "99.9")
    venue.on_trade(BOOK, Decimal("99.9"), Decimal("0.7"), BUY, T0 + S)
    assert order.filled_size == 0
    venue.on_trade(BOOK, Decimal("99.9"), Decimal("0.5"), BUY, T0 + S)
    assert order.filled_size == Decimal("0.2")
    assert order.status == "OPEN"
    assert venue.fills[0].is_maker
    assert order.fees == Decimal("0.2") * Decimal("99.9") * FEE_MAKER


def test_a_shrinking_level_moves_an_order_up_its_queue() -> None:
    venue = engine()
    order = limit(venue, BUY, "1", "99.9")
    venue.on_levels(BOOK, [(BUY, Decimal("99.9"), Decimal("0.1"))], T0)
    venue.on_trade(BOOK, Decimal("99.9"), Decimal("0.3"), BUY, T0 + S)
    assert order.filled_size == Decimal("0.2")


def test_two_own_orders_at_a_level_share_the_volume_behind_one_queue() -> None:
    venue = engine()
    first, second = limit(venue, BUY, "1", "99.9"), limit(venue, BUY, "1", "99.9")
    venue.on_trade(BOOK, Decimal("99.9"), Decimal("2.5"), BUY, T0 + S)
    assert (first.filled_size, second.filled_size) == (Decimal(1), Decimal("0.5"))


def test_a_trade_through_an_order_fills_it_at_its_own_price() -> None:
    venue = engine()
    order = limit(venue, BUY, "0.4", "99.8")
    venue.on_trade(BOOK, Decimal("99.7"), Decimal(1), BUY, T0 + S)
    assert order.status == "FILLED"
    assert venue.fills[0].price == Decimal("99.8")


def test_an_order_that_the_other_sides_book_runs_into_is_filled_as_maker() -> None:
    venue = engine()
    order = limit(venue, SELL, "3", "101")
    venue.on_levels(BOOK, [(BUY, Decimal("101.2"), Decimal(2))], T0 + S)
    assert order.filled_size == Decimal(2)
    assert venue.fills[0].is_maker and venue.fills[0].price == Decimal(101)
    venue.on_levels(BOOK, [(BUY, Decimal(50), Decimal(1))], T0 + S)
    assert order.filled_size == Decimal(2), "the same displayed size must not fill twice"


def test_a_marketable_limit_takes_and_then_rests() -> None:
    venue = engine()
    order = limit(venue, BUY, "2", "100.1")
    assert order.filled_size == Decimal(1) and order.status == "OPEN"
    assert venue.displayed(BOOK, BUY, Decimal("100.1")) == Decimal(1)
    assert venue.wallets["USD"].hold == Decimal("100.1") * (1 + FEE_TAKER)


def test_an_ioc_cancels_what_it_did_not_get() -> None:
    venue = engine()
    order = place(venue, "sor_limit_ioc", BUY, base_size="2", limit_price="100.1")
    assert (order.status, order.filled_size) == ("CANCELLED", Decimal(1))
    assert venue.wallets["USD"].hold == 0


def test_a_fill_or_kill_fills_whole_or_not_at_all() -> None:
    venue = engine()
    killed = place(venue, "limit_limit_fok", BUY, base_size="2", limit_price="100.1")
    filled = place(venue, "limit_limit_fok", BUY, base_size="2", limit_price="100.2")
    assert (killed.status, killed.filled_size) == ("CANCELLED", Decimal(0))
    assert filled.status == "FILLED"


def test_a_good_till_date_order_ends_at_its_time() -> None:
    venue = engine()
    order = place(venue, "limit_limit_gtd", BUY, base_size="1", limit_price="90", end_time=rfc3339(T0 + 5 * S))
    venue.advance(T0 + 5 * S - 1)
    assert order.status == "OPEN"
    venue.advance(T0 + 5 * S)
    assert order.status == "CANCELLED"
    assert venue.wallets["USD"].hold == 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (request("limit_limit_gtc", base_size="1", limit_price="90.001"), "INVALID_PRICE_PRECISION"),
        (request("limit_limit_gtc", base_size="0.000000001", limit_price="90"), "INVALID_SIZE_PRECISION"),
        (request("limit_limit_gtc", base_size="0.01", limit_price="90"), "PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL"),
        (request("limit_limit_gtc", base_size="3401", limit_price="1"), "PREVIEW_INVALID_BASE_SIZE_TOO_LARGE"),
        (request("limit_limit_gtc", base_size="2000", limit_price="90"), "INSUFFICIENT_FUND"),
        (request("limit_limit_gtc", SELL, base_size="101", limit_price="190"), "INSUFFICIENT_FUND"),
        (request("limit_limit_gtc", base_size="1", limit_price="100.1", post_only=True),
         "INVALID_LIMIT_PRICE_POST_ONLY"),
        (request("limit_limit_gtc", product="NO-USD", base_size="1", limit_price="1"), "INVALID_PRODUCT_ID"),
        (request("limit_limit_gtc", side="HOLD", base_size="1", limit_price="1"), "INVALID_SIDE"),
        (request("limit_limit_gtc", base_size="NaN", limit_price="1"), "PREVIEW_NON_NUMERIC_ORDER_SIZE"),
        (request("market_market_fok", base_size="1"), "UNSUPPORTED_ORDER_CONFIGURATION"),
        (request("limit_limit_gtd", base_size="1", limit_price="90"), "GTD_ORDERS_MUST_HAVE_END_TIME"),
        (request("limit_limit_gtd", base_size="1", limit_price="90", end_time=rfc3339(T0)), "END_TIME_IS_IN_THE_PAST"),
        (request("trigger_bracket_gtc", SELL, base_size="1", limit_price="99", stop_trigger_price="95"),
         "INVALID_BRACKET_LIMIT_PRICE"),
        (request("trigger_bracket_gtc", SELL, base_size="1", limit_price="110", stop_trigger_price="101"),
         "INVALID_BRACKET_STOP_TRIGGER_PRICE"),
        (request("stop_limit_stop_limit_gtc", SELL, base_size="1", limit_price="94", stop_price="101",
                 stop_direction="STOP_DIRECTION_STOP_DOWN"), "PREVIEW_STOP_PRICE_ABOVE_LAST_TRADE_PRICE"),
        (request("stop_limit_stop_limit_gtc", SELL, base_size="1", limit_price="96", stop_price="95",
                 stop_direction="STOP_DIRECTION_STOP_DOWN"), "PREVIEW_STOP_PRICE_BELOW_LIMIT_PRICE"),
    ],
)
def test_what_the_rules_forbid_is_refused_and_moves_no_money(body: dict[str, object], reason: str) -> None:
    venue = engine()
    assert refusal(venue, body) == reason
    assert not venue.orders
    assert venue.wallets["USD"].hold == venue.wallets["BTC"].hold == 0


def test_a_client_order_id_sent_again_returns_the_first_order_and_books_no_second() -> None:
    venue = engine()
    body = request("limit_limit_gtc", client_id="same", base_size="1", limit_price="90")
    first, is_new = venue.create(body, T0)
    again, is_new_again = venue.create(body, T0 + S)
    assert (is_new, is_new_again) == (True, False)
    assert first is again
    assert len(venue.orders) == 1


def test_an_order_on_a_usdc_product_spends_usdc_and_meets_the_usd_book() -> None:
    venue = engine()
    order, _ = venue.create(request("market_market_ioc", product="BTC-USDC", base_size="1"), T0)
    assert order.status == "FILLED"
    assert venue.fills[0].price == Decimal("100.1")
    assert owned(venue, "USD") == Decimal(100000)
    assert owned(venue, "USDC") < Decimal(99900)


def test_a_resting_stop_holds_the_base_so_that_a_second_sell_is_refused() -> None:
    venue = engine(btc="1")
    bracket(venue)
    assert refusal(venue, request("market_market_ioc", SELL, base_size="0.5")) == "INSUFFICIENT_FUND"


def test_a_stop_limit_fires_on_the_last_trade_and_sells_into_the_book() -> None:
    venue = engine()
    order = place(venue, "stop_limit_stop_limit_gtc", SELL, base_size="1", limit_price="98", stop_price="99",
                  stop_direction="STOP_DIRECTION_STOP_DOWN")
    venue.on_trade(BOOK, Decimal("99.01"), Decimal("0.01"), BUY, T0 + S)
    assert (order.trigger_status, order.filled_size) == ("STOP_PENDING", Decimal(0))
    venue.on_trade(BOOK, Decimal("99"), Decimal("0.01"), BUY, T0 + S)
    assert (order.trigger_status, order.status) == ("STOP_TRIGGERED", "FILLED")
    assert venue.fills[0].price == Decimal("99.9") and not venue.fills[0].is_maker


def test_a_fired_bracket_sells_down_to_five_percent_below_its_trigger_and_rests_there() -> None:
    venue = engine()
    order = bracket(venue, size="10", stop="99")
    venue.on_trade(BOOK, Decimal("99"), Decimal("0.01"), BUY, T0 + S)
    assert order.trigger_status == "STOP_TRIGGERED"
    assert order.filled_size == Decimal(5)
    assert order.resting and order.resting_price == Decimal("94.05")


def test_a_bracket_whose_target_is_partly_filled_has_silently_lost_its_stop() -> None:
    venue = engine()
    order = bracket(venue, target="101", stop="95")
    venue.on_trade(BOOK, Decimal("101"), Decimal("0.4"), SELL, T0 + S)
    venue.on_trade(BOOK, Decimal("90"), Decimal("0.4"), BUY, T0 + 2 * S)
    assert order.filled_size == Decimal("0.4")
    assert (order.status, order.trigger_status) == ("OPEN", "STOP_PENDING")


def test_in_the_other_reading_a_partly_filled_bracket_keeps_its_stop() -> None:
    venue = engine(bracket_stop_survives_partial_target=True)
    order = bracket(venue, target="101", stop="95")
    venue.on_trade(BOOK, Decimal("101"), Decimal("0.4"), SELL, T0 + S)
    venue.on_trade(BOOK, Decimal("95"), Decimal("0.4"), BUY, T0 + 2 * S)
    assert order.status == "FILLED"


def test_an_auction_cancels_brackets_and_takes_none() -> None:
    venue = engine()
    order = bracket(venue)
    venue.set_mode(BOOK, "auction_mode", T0 + S)
    assert order.status == "CANCELLED" and venue.wallets["BTC"].hold == 0
    body = request("trigger_bracket_gtc", SELL, base_size="1", limit_price="110", stop_trigger_price="95")
    assert refusal(venue, body) == "BRACKET_ORDER_NOT_SUPPORTED"


def test_nothing_trades_in_cancel_only_and_a_passed_stop_fires_when_trading_resumes() -> None:
    venue = engine()
    order = bracket(venue, stop="95")
    venue.set_mode(BOOK, "cancel_only", T0)
    assert refusal(venue, request("limit_limit_gtc", base_size="1", limit_price="90")) == "ORDER_ENTRY_DISABLED"
    venue.on_trade(BOOK, Decimal("94"), Decimal(1), BUY, T0 + S)
    assert order.trigger_status == "STOP_PENDING"
    venue.set_mode(BOOK, "online", T0 + 2 * S)
    assert order.status == "FILLED"


@pytest.mark.parametrize(
    ("mode", "market_reason", "post_only_reason"),
    [
        ("limit_only", "ORDER_ENTRY_DISABLED", ""),
        ("post_only", "ORDER_ENTRY_DISABLED", ""),
        ("trading_disabled", "TRADING_DISABLED", "TRADING_DISABLED"),
        ("view_only", "UNTRADABLE_PRODUCT", "UNTRADABLE_PRODUCT"),
    ],
)
def test_each_mode_takes_only_what_it_allows(mode: str, market_reason: str, post_only_reason: str) -> None:
    venue = engine()
    venue.set_mode(BOOK, mode, T0)
    assert refusal(venue, request("market_market_ioc", base_size="1")) == market_reason
    passive = request("limit_limit_gtc", base_size="1", limit_price="90", post_only=True)
    if post_only_reason:
        assert refusal(venue, passive) == post_only_reason
    else:
        assert venue.create(passive, T0)[0].status == "OPEN"


def test_an_own_buy_that_reaches_an_own_sell_cancels_the_smaller_and_decrements_the_larger() -> None:
    venue = engine()
    sell = limit(venue, SELL, "2", "100.05")
    buy = limit(venue, BUY, "3", "100.05")
    assert (sell.status, buy.status) == ("CANCELLED", "OPEN")
    assert buy.remaining == Decimal(1)
    assert not venue.fills
    assert venue.wallets["BTC"].hold == 0
    assert venue.wallets["USD"].hold == Decimal("100.05") * (1 + FEE_TAKER)


def test_self_trade_prevention_silently_takes_a_bracket_away() -> None:
    venue = engine()
    order = bracket(venue, size="1", target="100.05", stop="95")
    limit(venue, BUY, "2", "100.05")
    assert order.status == "CANCELLED"


def test_a_cancel_is_only_taken_and_can_lose_the_race_against_a_fill() -> None:
    venue = engine(cancel_delay_ms=20)
    order = limit(venue, BUY, "1", "99.9")
    assert venue.cancel(order.order_id, T0) == ""
    assert (order.status, order.pending_cancel) == ("CANCEL_QUEUED", True)
    assert venue.cancel(order.order_id, T0) == "DUPLICATE_CANCEL_REQUEST"
    venue.on_trade(BOOK, Decimal("99.8"), Decimal(5), BUY, T0 + 5 * MS)
    venue.advance(T0 + 20 * MS)
    assert order.status == "FILLED"
    assert venue.cancel(order.order_id, T0 + S) == "ORDER_IS_FULLY_FILLED"
    assert venue.cancel("nobody", T0 + S) == "UNKNOWN_CANCEL_ORDER"


def test_an_order_is_pending_until_the_venue_takes_it_up() -> None:
    venue = engine(accept_delay_ms=5)
    order = limit(venue, BUY, "1", "100.1")
    assert (order.status, order.filled_size) == ("PENDING", Decimal(0))
    venue.advance(T0 + 5 * MS)
    assert order.status == "FILLED"


def test_an_order_can_fail_after_it_was_taken_and_gives_its_hold_back() -> None:
    venue = engine(accept_delay_ms=5)
    venue.fail_next = lambda _order: True
    order = limit(venue, BUY, "1", "90")
    venue.advance(T0 + 5 * MS)
    assert (order.status, order.reject_reason) == ("FAILED", "HOLD_FAILURE")
    assert venue.wallets["USD"].hold == 0


def test_an_edit_moves_price_and_hold_in_place_and_keeps_the_id() -> None:
    venue = engine()
    order = limit(venue, BUY, "2", "90")
    assert venue.edit(order.order_id, "1", "80", None, T0 + S) == ("", "")
    assert (order.base_size, order.limit_price) == (Decimal(1), Decimal(80))
    assert venue.wallets["USD"].hold == Decimal(80) * (1 + FEE_TAKER)
    assert order.edits[0]["price"] == "80"


def test_an_edited_bracket_fires_at_its_new_stop() -> None:
    venue = engine()
    order = bracket(venue, stop="95")
    assert venue.edit(order.order_id, "1", "110", "97", T0 + S) == ("", "")
    venue.on_trade(BOOK, Decimal("97"), Decimal(1), BUY, T0 + 2 * S)
    assert order.status == "FILLED"


@pytest.mark.parametrize(
    ("size", "price", "reason"),
    [
        (None, "80", "INVALID_EDITED_SIZE"), ("1", None, "INVALID_EDITED_PRICE"),
        ("1", "80.001", "INVALID_EDITED_PRICE"), ("2", "90", "EDIT_REQUEST_EQUAL_TO_ORIGINAL_REQUEST"),
    ],
)
def test_a_bad_edit_changes_nothing(size: str | None, price: str | None, reason: str) -> None:
    venue = engine()
    order = limit(venue, BUY, "2", "90")
    assert venue.edit(order.order_id, size, price, None, T0)[0] == reason
    assert (order.base_size, order.limit_price) == (Decimal(2), Decimal(90))


def test_a_triggered_bracket_cannot_be_edited() -> None:
    venue = engine()
    order = bracket(venue, size="10", stop="99")
    venue.on_trade(BOOK, Decimal("99"), Decimal("0.01"), BUY, T0 + S)
    assert venue.edit(order.order_id, "10", "111", None, T0)[0] == "CANNOT_EDIT_STOP_PRICE_FOR_TRIGGERED_ORDER"


def test_an_attached_bracket_becomes_an_order_of_its_own_when_the_parent_has_filled() -> None:
    venue = engine(btc="0")
    body = request("limit_limit_gtc", base_size="2", limit_price="100.2")
    body["attached_order_configuration"] = {"trigger_bracket_gtc": {"limit_price": "120", "stop_trigger_price": "90"}}
    parent, _ = venue.create(body, T0)
    child = venue.orders[parent.attached_order_id]
    assert parent.status == "FILLED"
    assert (child.side, child.base_size, child.originating_order_id) == (SELL, Decimal(2), parent.order_id)
    assert child.client_order_id != parent.client_order_id
    assert venue.wallets["BTC"].hold == Decimal(2)


def test_our_takers_trades_are_public_and_fire_other_stops() -> None:
    venue = engine()
    stop = place(venue, "stop_limit_stop_limit_gtc", SELL, base_size="0.5", limit_price="90", stop_price="99.8",
                 stop_direction="STOP_DIRECTION_STOP_DOWN")
    place(venue, "market_market_ioc", SELL, base_size="2")
    assert [t.maker_side for t in venue.trades][:2] == [BUY, BUY]
    assert stop.status == "FILLED"


def test_five_stops_are_all_sold_when_the_market_falls_through_them() -> None:
    venue = engine()
    stops = [bracket(venue, stop=str(99 - k)) for k in range(5)]
    for step in range(1, 12):
        price = Decimal(100) - Decimal(step) / 2
        venue.on_levels(BOOK, [(BUY, price - Decimal("0.1"), Decimal(10))], T0 + step * S)
        venue.on_trade(BOOK, price, Decimal(1), BUY, T0 + step * S)
    assert [order.status for order in stops] == ["FILLED"] * 5
    assert owned(venue, "BTC") == Decimal(95)
