"""OrderIntent -> the venue's ``order_configuration``. Pure; raises IntentError for what must never be sent."""

from __future__ import annotations

from decimal import Decimal

from actors.clock import NS_PER_S, to_rfc3339
from actors.gateway.decimals import plain
from actors.messages.market import Side
from actors.messages.orders import OrderIntent, OrderKind

ENTRY_KINDS = frozenset({OrderKind.LIMIT_IOC, OrderKind.LIMIT_GTD})
MAX_ENTRY_LIFE_S = 60.0
_ENTRY_SLACK_S = 1.0

Configuration = dict[str, dict[str, str | bool]]


class IntentError(ValueError):
    """This intent cannot be an order of this daemon."""


def configuration(intent: OrderIntent, now_utc_ns: int) -> Configuration:
    """The order configuration of ``intent``; checks sizes, prices, and that an entry never rests for long."""
    if not intent.client_order_id:
        raise IntentError("no client order id: the SDK would invent one")
    _check_positive("base_size", intent.base_size)
    _check_positive("limit_price", intent.limit_price)
    if intent.side is Side.BUY:
        _check_entry(intent, now_utc_ns)
    size, limit = plain(intent.base_size), plain(intent.limit_price)
    match intent.kind:
        case OrderKind.LIMIT_IOC:
            return {"sor_limit_ioc": {"base_size": size, "limit_price": limit}}
        case OrderKind.LIMIT_GTC:
            return {"limit_limit_gtc": {"base_size": size, "limit_price": limit, "post_only": False}}
        case OrderKind.LIMIT_GTD:
            end = to_rfc3339(_end(intent))
            return {"limit_limit_gtd": {"base_size": size, "limit_price": limit, "end_time": end, "post_only": False}}
        case OrderKind.STOP_LIMIT_GTC:
            stop = _stop(intent)
            if intent.limit_price > stop:
                raise IntentError(f"a sell stop at {stop} cannot have its limit above, at {intent.limit_price}")
            return {
                "stop_limit_stop_limit_gtc": {
                    "base_size": size,
                    "limit_price": limit,
                    "stop_price": plain(stop),
                    "stop_direction": "STOP_DIRECTION_STOP_DOWN",
                }
            }
        case OrderKind.BRACKET_GTC:
            stop = _stop(intent)
            if intent.limit_price <= stop:
                raise IntentError(f"a bracket's target {intent.limit_price} must be above its stop {stop}")
            return {"trigger_bracket_gtc": {"base_size": size, "limit_price": limit, "stop_trigger_price": plain(stop)}}


def _check_entry(intent: OrderIntent, now_utc_ns: int) -> None:
    if intent.kind not in ENTRY_KINDS:
        raise IntentError(f"a BUY is an entry and may not be {intent.kind}")
    if intent.kind is OrderKind.LIMIT_GTD:
        life_s = (_end(intent) - now_utc_ns) / NS_PER_S
        if not 0 < life_s <= MAX_ENTRY_LIFE_S + _ENTRY_SLACK_S:
            raise IntentError(f"an entry may rest for at most {MAX_ENTRY_LIFE_S:g} s, this one ends in {life_s:.1f} s")


def _end(intent: OrderIntent) -> int:
    if intent.end_utc_ns is None:
        raise IntentError("a GTD order without an end")
    return intent.end_utc_ns


def _stop(intent: OrderIntent) -> Decimal:
    if intent.stop_price is None:
        raise IntentError(f"{intent.kind} without a stop price")
    _check_positive("stop_price", intent.stop_price)
    return intent.stop_price


def _check_positive(name: str, value: Decimal) -> None:
    if not value.is_finite() or value <= 0:
        raise IntentError(f"{name} must be positive: {value}")
