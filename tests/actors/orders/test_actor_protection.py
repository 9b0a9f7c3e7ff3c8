"""No position stays without a stop: the four silent losses, triggers, refusals, and nothing is ever oversold."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from actors.messages.books import RoundTripClosed
from actors.messages.control import OperatorRequest, RequestVerb
from actors.messages.health import Alert, Severity
from actors.messages.market import ProductsRead, Side
from actors.messages.orders import CancelOutcome, OrderKind, OutcomeKind, Protection, Refusal
from actors.messages.venue import QueryKind
from tests.actors.orders.desk import Desk
from tests.actors.orders.venue import rules


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.buy("1")
    assert made.venue.history == ["BUY limit_ioc 1", "SELL bracket_gtc 1"]
    return made


def protection_of(desk: Desk) -> Protection:
    position = desk.position()
    return Protection.FLAT if position is None else position.protection


def test_a_partly_filled_target_is_replaced_for_the_remainder(desk: Desk) -> None:
    (bracket,) = desk.venue.open()
    desk.venue.fill(bracket.order_id, Decimal("0.4"), Decimal(110))
    desk.pass_time(8)
    assert desk.venue.history[2:] == ["cancel SELL 1", "SELL bracket_gtc 0.6"]
    assert protection_of(desk) is Protection.PROTECTED


@pytest.mark.parametrize("cause", ["auction", "self_trade_prevention", "venue_restart"])
def test_a_bracket_that_the_venue_cancels_by_itself_is_placed_again(desk: Desk, cause: str) -> None:
    (bracket,) = desk.venue.open()
    desk.venue.end(bracket.order_id, "CANCELLED")
    desk.pass_time(5)
    assert desk.venue.history[2:] == ["SELL bracket_gtc 1"], cause
    assert protection_of(desk) is Protection.PROTECTED


def test_in_an_auction_nothing_is_placed_and_after_it_everything(desk: Desk) -> None:
    (bracket,) = desk.venue.open()
    desk.venue.end(bracket.order_id, "CANCELLED")
    desk.venue.rules["BTC-USD"] = replace(desk.venue.rules["BTC-USD"], auction_mode=True)
    desk.tracker.ask_rules()
    desk.pass_time(10)
    assert protection_of(desk) is Protection.NAKED
    pages = [one for one in desk.sent("alerts", Alert) if one.severity is Severity.PAGE]  # type: ignore[attr-defined]
    assert [one.key for one in pages] == ["naked:BTC-USD"]  # type: ignore[attr-defined]
    desk.approve()
    assert [one.code for one in desk.sent("risk", Refusal)] == ["naked"]  # type: ignore[attr-defined]
    desk.venue.rules["BTC-USD"] = replace(desk.venue.rules["BTC-USD"], auction_mode=False)
    desk.pass_time(3)
    assert protection_of(desk) is Protection.PROTECTED


def test_a_stop_that_triggered_and_does_not_fill_goes_down_the_ladder(desk: Desk) -> None:
    (bracket,) = desk.venue.open()
    desk.venue.bids["BTC-USD"] = Decimal("94.00")
    desk.venue.trigger(bracket.order_id)
    desk.pass_time(7)
    assert desk.venue.history[2:] == ["cancel SELL 1", "SELL limit_ioc 1"]
    assert desk.position() is None
    assert desk.venue.fills[-1].price == Decimal("93.06")
    (closed,) = desk.sent("risk", RoundTripClosed)
    assert isinstance(closed, RoundTripClosed)
    assert closed.exit_reason == "stop"
    assert closed.realized == Decimal("93.06") * (1 - Decimal("0.009")) - Decimal("100.9")


def test_a_stop_that_triggered_and_fills_in_time_is_left_alone(desk: Desk) -> None:
    (bracket,) = desk.venue.open()
    desk.venue.trigger(bracket.order_id)
    desk.pass_time(2)
    desk.venue.fill(bracket.order_id, Decimal(1), Decimal("94.50"))
    desk.pass_time(5)
    assert desk.venue.history == ["BUY limit_ioc 1", "SELL bracket_gtc 1"]
    (closed,) = desk.sent("strategist", RoundTripClosed)
    assert isinstance(closed, RoundTripClosed)
    assert closed.exit_reason == "stop"


def test_a_market_below_the_stop_is_sold_and_not_stopped_above_itself(desk: Desk) -> None:
    (bracket,) = desk.venue.open()
    desk.venue.bids["BTC-USD"] = Decimal("90.00")
    desk.venue.end(bracket.order_id, "CANCELLED")
    desk.pass_time(6)
    assert desk.venue.history[2:] == ["SELL limit_ioc 1"]
    assert desk.position() is None


def test_a_refused_bracket_becomes_a_stop_limit_and_its_target_is_watched(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.venue.refuse[OrderKind.BRACKET_GTC] = "BRACKET_ORDER_NOT_SUPPORTED"
    desk.buy("1")
    desk.pass_time(2)
    assert desk.venue.history == ["BUY limit_ioc 1", "SELL stop_limit_gtc 1"]
    assert protection_of(desk) is Protection.PROTECTED
    desk.venue.bids["BTC-USD"] = Decimal("110.50")
    desk.pass_time(4)
    assert desk.venue.history[2:] == ["cancel SELL 1", "SELL limit_ioc 1"]
    (closed,) = desk.sent("risk", RoundTripClosed)
    assert isinstance(closed, RoundTripClosed)
    assert closed.exit_reason == "target"


def test_refused_protection_is_tried_again_and_paged(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.venue.refuse[OrderKind.BRACKET_GTC] = "INVALID_REQUEST"
    desk.buy("1")
    desk.pass_time(7)
    assert [one.key for one in desk.sent("alerts", Alert)] == ["naked:BTC-USD"]  # type: ignore[attr-defined]
    desk.venue.refuse.clear()
    desk.pass_time(10)
    assert protection_of(desk) is Protection.PROTECTED
    assert desk.venue.history[1:] == ["SELL bracket_gtc 1"]


def test_protection_that_the_venue_throttles_is_tried_again_as_soon_as_the_gateway_may(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.venue.refuse[OrderKind.BRACKET_GTC] = "HTTP_429: slow down"
    desk.buy("1")
    desk.pass_time(4)
    tried = len([name for name in desk.states() if name == "protection REJECTED"])
    assert 6 <= tried <= 9, f"{tried} in 4 s, with half a second between"
    desk.venue.refuse.clear()
    desk.pass_time(1)
    assert protection_of(desk) is Protection.PROTECTED


def test_a_position_is_not_protected_until_the_venue_has_shown_the_order(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.approve()
    while len(desk.venue.history) < 2:
        for message in desk.harness.take("gateway"):
            desk.venue.answer_one(desk.harness, message)
    assert desk.venue.history == ["BUY limit_ioc 1", "SELL bracket_gtc 1"]
    assert protection_of(desk) is Protection.NAKED
    desk.settle()
    assert protection_of(desk) is Protection.PROTECTED


def test_the_end_of_the_holding_time_sells(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.buy("1", plan_max_hold_s=30.0)
    desk.pass_time(28, 1.0)
    assert len(desk.venue.history) == 2
    desk.pass_time(6)
    assert desk.venue.history[2:] == ["cancel SELL 1", "SELL limit_ioc 1"]
    assert desk.position() is None


def test_a_strategy_exit_that_finds_no_buyer_is_protected_again(desk: Desk) -> None:
    desk.venue.ioc_fills = False
    desk.harness.deliver(desk.exit_approval())
    desk.settle()
    desk.pass_time(4)
    assert desk.venue.history[2:] == ["cancel SELL 1", "SELL limit_ioc 1", "SELL bracket_gtc 1"]
    assert protection_of(desk) is Protection.PROTECTED


def test_without_quotes_a_held_symbol_is_polled_and_its_stop_still_works(desk: Desk) -> None:
    (bracket,) = desk.venue.open()
    desk.venue.bids["BTC-USD"] = Decimal("90.00")
    desk.venue.end(bracket.order_id, "CANCELLED")
    desk.pass_in_silence(15)
    assert desk.venue.history[2:] == ["SELL limit_ioc 1"]
    assert desk.position() is None


def test_protection_that_fails_after_it_was_taken_is_tried_again_ever_more_slowly_and_paged(desk: Desk) -> None:
    for _ in range(60):
        for bracket in desk.venue.open():
            desk.venue.end(bracket.order_id, "FAILED")
        desk.pass_time(0.5)
    placed = desk.venue.history.count("SELL bracket_gtc 1")
    assert 3 <= placed <= 9, f"{placed} orders in 30 s"
    assert "naked:BTC-USD" in [one.key for one in desk.sent("alerts", Alert)]  # type: ignore[attr-defined]
    desk.pass_time(10)
    assert protection_of(desk) is Protection.PROTECTED


def test_a_price_that_the_guard_did_not_accept_does_not_move_the_floor_of_an_exit(desk: Desk) -> None:
    (bracket,) = desk.venue.open()
    desk.venue.trigger(bracket.order_id)
    desk.venue.bids["BTC-USD"] = Decimal("40.00")
    desk.pass_in_silence(20)
    asked = [o.limit_price for o in desk.venue.orders.values() if o.side == "SELL" and o.order_type == "limit_ioc"]
    assert asked
    assert all(price is not None and price >= Decimal("85.00") for price in asked)
    assert desk.position() is not None
    assert any(one.key == "exit:BTC-USD" for one in desk.sent("alerts", Alert))  # type: ignore[attr-defined]
    desk.pass_time(5)  # the guard has accepted the price: now it is the market
    assert desk.position() is None


def test_a_stop_that_fills_before_it_is_shown_triggered_is_no_target(desk: Desk) -> None:
    (bracket,) = desk.venue.open()
    desk.venue.fill(bracket.order_id, Decimal(1), Decimal("94.80"))
    desk.pass_time(4)
    (closed,) = desk.sent("risk", RoundTripClosed)
    assert isinstance(closed, RoundTripClosed)
    assert closed.exit_reason == "stop"


def test_a_remainder_that_no_bracket_may_hold_at_the_target_gets_a_stop_limit(desk: Desk) -> None:
    (bracket,) = desk.venue.open()
    desk.venue.bids["BTC-USD"] = Decimal("109.99")  # the bid below the target, the last trade at it
    desk.venue.refuse[OrderKind.BRACKET_GTC] = "INVALID_BRACKET_LIMIT_PRICE"
    desk.venue.fill(bracket.order_id, Decimal("0.4"), Decimal(110))
    desk.pass_time(6)
    assert desk.venue.history[2:] == ["cancel SELL 1", "SELL stop_limit_gtc 0.6"]
    assert protection_of(desk) is Protection.PROTECTED
    desk.venue.bids["BTC-USD"] = Decimal("110.50")
    desk.pass_time(6)
    assert desk.position() is None
    desk.venue.refuse.clear()
    desk.venue.bids["BTC-USD"] = Decimal("100.00")
    desk.pass_time(2)
    desk.buy("1")
    assert desk.venue.history[-1].startswith("SELL bracket_gtc 1")


def test_a_position_that_was_naked_for_long_is_sold_at_its_target(desk: Desk) -> None:
    """Found in virtual time: the exit's patience was over before it began, and it began again for ever."""
    (bracket,) = desk.venue.open()
    desk.venue.end(bracket.order_id, "CANCELLED")
    desk.venue.rules["BTC-USD"] = replace(desk.venue.rules["BTC-USD"], auction_mode=True)
    desk.tracker.ask_rules()
    desk.pass_time(10)
    assert protection_of(desk) is Protection.NAKED
    desk.venue.rules["BTC-USD"] = replace(desk.venue.rules["BTC-USD"], auction_mode=False)
    desk.venue.bids["BTC-USD"] = Decimal("111.00")
    desk.pass_time(5)
    assert desk.venue.history[-1] == "SELL limit_ioc 1"
    assert desk.position() is None


@pytest.mark.parametrize("mode", ["cancel_only", "auction_mode", "post_only", "view_only", "trading_disabled"])
def test_no_stop_is_cancelled_for_an_exit_that_the_products_mode_does_not_take(desk: Desk, mode: str) -> None:
    desk.venue.rules["BTC-USD"] = replace(desk.venue.rules["BTC-USD"], **{mode: True})
    desk.tracker.ask_rules()
    desk.settle()
    desk.harness.deliver(desk.exit_approval())
    desk.pass_time(4)
    assert desk.venue.history == ["BUY limit_ioc 1", "SELL bracket_gtc 1"]
    assert protection_of(desk) is Protection.PROTECTED
    assert desk.tracker.handover("BTC-USD") is None


def test_a_kind_that_was_refused_is_tried_again_for_the_next_position(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.venue.refuse = {OrderKind.BRACKET_GTC: "UNSUPPORTED_ORDER_CONFIGURATION"}
    desk.buy("1")
    desk.pass_time(2)
    assert [one.order_type for one in desk.venue.open()] == ["stop_limit_gtc"]
    desk.venue.refuse = {}
    desk.harness.deliver(desk.exit_approval())
    desk.pass_time(3)
    assert desk.venue.coins["BTC"] == 0
    desk.buy("1")
    assert [one.order_type for one in desk.venue.open()] == ["bracket_gtc"]


def test_an_account_that_shows_zeros_does_not_keep_a_triggered_stop_from_being_sold(desk: Desk) -> None:
    (bracket,) = desk.venue.open()
    desk.venue.zeros = True
    desk.venue.bids["BTC-USD"] = Decimal("94.00")
    desk.venue.trigger(bracket.order_id)
    desk.pass_time(8)
    assert desk.venue.history[2:] == ["cancel SELL 1", "SELL limit_ioc 1"]
    assert desk.position() is None
    assert desk.venue.asked[QueryKind.BALANCES] <= 10, "an answer that shows nothing is asked for again and again"


def test_coins_that_the_account_does_not_have_are_refused_paged_and_tried_again_slowly(desk: Desk) -> None:
    (bracket,) = desk.venue.open()
    desk.venue.end(bracket.order_id, "CANCELLED")
    desk.venue.coins["BTC"] = Decimal(0)
    desk.venue.bids["BTC-USD"] = Decimal("94.00")
    desk.pass_time(20)
    assert desk.venue.sold("BTC-USD") == 0
    keys = [one.key for one in desk.sent("alerts", Alert)]  # type: ignore[attr-defined]
    assert "exit:BTC-USD" in keys
    assert "naked:BTC-USD" in keys
    sells = [one for one in desk.tracker.ledger.orders_since(0) if one.side is Side.SELL]
    assert 3 <= len(sells) <= 8, f"{len(sells)} orders in 20 s"


def test_an_operators_flatten_goes_by_the_book_of_now_when_the_feed_missed_a_crash(desk: Desk) -> None:
    (bracket,) = desk.venue.open()
    desk.venue.trigger(bracket.order_id)
    desk.venue.bids["BTC-USD"] = Decimal("40.00")
    desk.pass_in_silence(20)
    assert desk.position() is not None, "nobody but an operator sells so far below the last accepted price"
    desk.harness.deliver(OperatorRequest("flatten-1", RequestVerb.FLATTEN, "BTC-USD", (), "ann", "crash"))
    desk.pass_in_silence(15)
    assert desk.position() is None
    assert desk.venue.fills[-1].price == Decimal("39.60")


def test_a_stop_that_the_venue_does_not_fire_is_sold_from_here_and_paged(desk: Desk) -> None:
    desk.venue.bids["BTC-USD"] = Decimal("94.99")
    desk.pass_time(10)
    assert protection_of(desk) is Protection.PROTECTED  # the ask stands at the stop: the last trade may be above it
    desk.venue.bids["BTC-USD"] = Decimal("90.00")
    desk.pass_time(8)
    assert desk.venue.history[2:] == ["cancel SELL 1", "SELL limit_ioc 1"]
    assert desk.position() is None
    assert "unfired:BTC-USD" in [one.key for one in desk.sent("alerts", Alert)]  # type: ignore[attr-defined]


def test_a_stop_that_cannot_fire_in_the_products_mode_stays(desk: Desk) -> None:
    desk.venue.rules["BTC-USD"] = replace(desk.venue.rules["BTC-USD"], cancel_only=True)  # the tracker has older rules
    desk.venue.bids["BTC-USD"] = Decimal("90.00")
    desk.pass_time(20)
    assert desk.venue.history == ["BUY limit_ioc 1", "SELL bracket_gtc 1"]
    desk.venue.rules["BTC-USD"] = replace(desk.venue.rules["BTC-USD"], cancel_only=False)
    desk.tracker.ask_rules()
    desk.pass_time(8)
    assert desk.position() is None


def test_a_sale_that_the_venue_shows_late_is_looked_at_again_before_the_next_sweep(tmp_path: Path) -> None:
    desk = Desk(tmp_path, sweep_s=30.0, poll_s=30.0)
    desk.buy("1")
    desk.venue.ioc_fills = False
    sale = f"td-a-1-x-{desk.tracker.ledger.head + 1}"
    desk.venue.unshown.add(sale)
    desk.harness.deliver(desk.exit_approval())
    desk.settle()
    desk.pass_time(1)
    assert desk.venue.history[2:] == ["cancel SELL 1", "SELL limit_ioc 1"]
    desk.venue.unshown.clear()
    desk.pass_time(0.5)
    assert desk.venue.history[4:] == ["SELL bracket_gtc 1"]
    assert protection_of(desk) is Protection.PROTECTED


def test_protection_that_is_long_on_its_way_is_looked_at_soon_and_not_for_ever(tmp_path: Path) -> None:
    desk = Desk(tmp_path, sweep_s=30.0, poll_s=30.0)
    desk.buy("1")
    (bracket,) = desk.venue.open()
    desk.venue.mute.add("cancel")
    desk.venue.orders[bracket.order_id] = replace(bracket, status="CANCEL_QUEUED")
    desk.harness.deliver(desk.exit_approval())
    desk.settle()
    told = CancelOutcome(bracket.client_order_id, bracket.order_id, OutcomeKind.DONE, "", 1)
    desk.harness.deliver(told)
    desk.pass_time(20)
    asked = desk.venue.asked[QueryKind.ORDER]
    assert 15 < asked < 45, "four times a second for five seconds, and then with the sweep"
    desk.venue.end(bracket.order_id, "CANCELLED")
    desk.pass_time(20)
    assert protection_of(desk) is Protection.PROTECTED


def test_a_position_is_armed_as_soon_as_the_watchdog_has_read_that_the_auction_is_over(tmp_path: Path) -> None:
    desk = Desk(tmp_path, sweep_s=60.0, protection_sweep_s=60.0)
    desk.buy("1")

    def told(**mode: object) -> None:
        now = desk.clock.boot_ns()
        read = tuple(replace(rules(symbol, **mode), read_boot_ns=now) for symbol in ("BTC-USD", "ETH-USD"))
        desk.harness.deliver(ProductsRead(read, now))

    told(auction_mode=True)
    (bracket,) = desk.venue.open()
    desk.venue.end(bracket.order_id, "CANCELLED")
    desk.tracker.take(tuple(desk.venue.orders.values()))
    desk.settle()
    assert protection_of(desk) is Protection.NAKED
    told()
    desk.settle()
    assert protection_of(desk) is Protection.PROTECTED
    assert desk.tracker.ledger.rules()["BTC-USD"].auction_mode is False


def test_product_rules_are_asked_for_only_while_the_watchdog_tells_none(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    before = desk.venue.asked[QueryKind.PRODUCTS]
    for _ in range(20):
        now = desk.clock.boot_ns()
        read = tuple(rules(symbol, read_boot_ns=now) for symbol in desk.settings.symbols)
        desk.harness.deliver(ProductsRead(read, now))
        desk.pass_time(10)
    assert desk.venue.asked[QueryKind.PRODUCTS] == before
    desk.pass_time(130)
    assert desk.venue.asked[QueryKind.PRODUCTS] > before
