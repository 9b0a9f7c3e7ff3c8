"""The venue's REST answers -> the daemon's values. Pure; raises MalformedAnswerError, never fills in a default.

A zero is taken for a missing figure only where another field of the same answer proves it (an order whose
``number_of_fills`` is 0 has no filled value).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from actors.gateway.decimals import (
    MalformedAnswerError,
    flag,
    moment,
    not_negative,
    number,
    optional_moment,
    optional_number,
    optional_text,
    positive,
    rows,
    table,
    text,
)
from actors.messages.market import ProductRules, Quote
from actors.messages.venue import FeeTier, VenueBalance, VenueFill, VenueOrder

_ZERO = Decimal(0)


def order(source: Mapping[str, object]) -> VenueOrder:
    """One order. ``base_size`` is None for orders sized in quote currency or without a configuration."""
    configuration = _configuration(source)
    unfilled = _is_unfilled(source)
    stop = optional_number(configuration, "stop_price")
    return VenueOrder(
        order_id=text(source, "order_id"),
        client_order_id=optional_text(source, "client_order_id"),
        product_id=text(source, "product_id"),
        side=text(source, "side"),
        status=text(source, "status"),
        order_type=optional_text(source, "order_type"),
        time_in_force=optional_text(source, "time_in_force"),
        trigger_status=optional_text(source, "trigger_status"),
        base_size=optional_number(configuration, "base_size"),
        limit_price=optional_number(configuration, "limit_price"),
        stop_price=stop if stop is not None else optional_number(configuration, "stop_trigger_price"),
        filled_size=_fill_figure(source, "filled_size", unfilled),
        average_filled_price=_fill_figure(source, "average_filled_price", unfilled),
        filled_value=_fill_figure(source, "filled_value", unfilled),
        total_fees=_fill_figure(source, "total_fees", unfilled),
        reject_reason=optional_text(source, "reject_reason"),
        cancel_message=optional_text(source, "cancel_message"),
        created_utc_ns=moment(source, "created_time"),
        end_utc_ns=optional_moment(configuration, "end_time"),
        originating_order_id=optional_text(source, "originating_order_id"),
        outstanding_hold=optional_number(source, "outstanding_hold_amount"),
    )


def _configuration(source: Mapping[str, object]) -> Mapping[str, object]:
    """The inner object of ``order_configuration``; empty when it is null (older answers: Coinbase SDK)."""
    outer = source.get("order_configuration")
    if outer is None:
        return {}
    inner = [value for value in table(outer, "order_configuration").values() if value is not None]
    if len(inner) > 1:
        raise MalformedAnswerError("order_configuration: more than one configuration")
    return table(inner[0], "order_configuration") if inner else {}


def _is_unfilled(source: Mapping[str, object]) -> bool:
    if source.get("filled_size") not in (None, ""):
        return number(source, "filled_size") == 0
    return number(source, "number_of_fills") == 0


def _fill_figure(source: Mapping[str, object], key: str, unfilled: bool) -> Decimal:
    if unfilled and source.get(key) in (None, ""):
        return _ZERO
    return not_negative(source, key)


def fill(source: Mapping[str, object]) -> VenueFill:
    """One fill. REVERSAL and CORRECTION may carry negative figures; a plain FILL may not."""
    trade_type = text(source, "trade_type")
    price, size, commission = number(source, "price"), number(source, "size"), number(source, "commission")
    if trade_type == "FILL" and (price <= 0 or size <= 0):
        raise MalformedAnswerError(f"fill: price {price} and size {size} must be positive")
    return VenueFill(
        entry_id=text(source, "entry_id"),
        trade_id=text(source, "trade_id"),
        order_id=text(source, "order_id"),
        product_id=text(source, "product_id"),
        side=text(source, "side"),
        price=price,
        size=size,
        commission=commission,
        trade_type=trade_type,
        liquidity=optional_text(source, "liquidity_indicator"),
        size_in_quote=flag(source, "size_in_quote"),
        trade_utc_ns=moment(source, "trade_time"),
        sequence_utc_ns=moment(source, "sequence_timestamp"),
    )


def balance(source: Mapping[str, object]) -> VenueBalance:
    """One account. Available and hold must be there and in the account's own currency."""
    currency = text(source, "currency")
    return VenueBalance(currency, _amount(source, "available_balance", currency), _amount(source, "hold", currency))


def _amount(source: Mapping[str, object], key: str, currency: str) -> Decimal:
    money = table(source.get(key), key)
    if text(money, "currency") != currency:
        raise MalformedAnswerError(f"{key}: {money['currency']!r} in an account of {currency}")
    return not_negative(money, "value")


def product_rules(source: Mapping[str, object], read_boot_ns: int) -> ProductRules:
    """The rules of one product; every increment must be positive and every mode flag present."""
    return ProductRules(
        product_id=text(source, "product_id"),
        base_increment=positive(source, "base_increment"),
        quote_increment=positive(source, "quote_increment"),
        price_increment=positive(source, "price_increment"),
        base_min_size=not_negative(source, "base_min_size"),
        base_max_size=positive(source, "base_max_size"),
        quote_min_size=not_negative(source, "quote_min_size"),
        quote_max_size=positive(source, "quote_max_size"),
        status=text(source, "status"),
        trading_disabled=flag(source, "trading_disabled"),
        cancel_only=flag(source, "cancel_only"),
        limit_only=flag(source, "limit_only"),
        post_only=flag(source, "post_only"),
        auction_mode=flag(source, "auction_mode"),
        view_only=flag(source, "view_only"),
        is_disabled=flag(source, "is_disabled"),
        read_boot_ns=read_boot_ns,
    )


def fee_tier(source: Mapping[str, object]) -> FeeTier:
    """The fee tier of ``transaction_summary``; rates between 0 (or a rebate) and 10 %."""
    tier = table(source.get("fee_tier"), "fee_tier")
    maker, taker = number(tier, "maker_fee_rate"), number(tier, "taker_fee_rate")
    for rate in (maker, taker):
        if not Decimal("-0.1") < rate < Decimal("0.1"):
            raise MalformedAnswerError(f"fee_tier: a rate of {rate} cannot be")
    return FeeTier(optional_text(tier, "pricing_tier"), maker, taker)


def quote(source: Mapping[str, object], as_of_boot_ns: int) -> Quote:
    """The best bid and ask of one price book; an empty or crossed side is an error."""
    bids, asks = rows(source, "bids"), rows(source, "asks")
    if not bids or not asks:
        raise MalformedAnswerError(f"{source.get('product_id')}: a side of the book is empty")
    bid, ask = positive(bids[0], "price"), positive(asks[0], "price")
    if bid >= ask:
        raise MalformedAnswerError(f"{source.get('product_id')}: crossed, bid {bid} and ask {ask}")
    return Quote(
        symbol=text(source, "product_id"),
        bid=bid,
        ask=ask,
        bid_size=positive(bids[0], "size"),
        ask_size=positive(asks[0], "size"),
        exchange_utc_ns=moment(source, "time"),
        as_of_boot_ns=as_of_boot_ns,
    )


def permissions(source: Mapping[str, object]) -> tuple[bool, bool]:
    """(can_trade, can_transfer) of the key."""
    return flag(source, "can_trade"), flag(source, "can_transfer")


def server_time_ns(source: Mapping[str, object]) -> int:
    """The venue's clock, nanoseconds since the epoch, from ``epochMillis`` (whole milliseconds, as text)."""
    millis = positive(source, "epochMillis")
    return int(millis) * 1_000_000
