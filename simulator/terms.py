"""What an order asks for: reading its configuration and holding it against the product's rules."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import cast

from simulator.book import BUY, SELL, Book
from simulator.orders import BRACKET_KINDS, IMMEDIATE_KINDS, KINDS, LIMIT_KINDS, STOP_KINDS
from simulator.products import Product
from simulator.values import NS_PER_S, BadNumberError, Json, ceil_to, decimal_of, floor_to, on_grid, parse_rfc3339

UNKNOWN = "UNKNOWN_FAILURE_REASON"
FARTHEST_END_S = 366 * 86_400
BRACKET_GIVE = Decimal("0.05")  # a triggered bracket becomes a limit 5 % worse than its trigger


class RefusalError(Exception):
    """The venue refuses an order; `reason` is a NewOrderFailureReason, `preview` its preview twin."""

    def __init__(self, reason: str, preview: str, message: str) -> None:
        super().__init__(f"{reason} / {preview}: {message}")
        self.reason, self.preview, self.message = reason, preview, message


@dataclass(frozen=True, slots=True)
class Terms:
    """An order configuration, read. Prices in quote per base, `end_ns` 0 where there is no end."""

    kind: str
    config: Json
    base_size: Decimal | None
    quote_size: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    stop_up: bool
    post_only: bool
    end_ns: int


def refuse(reason: str, message: str, preview: str = "") -> RefusalError:
    """Build a refusal; the preview reason is the reason with its prefix unless told otherwise."""
    return RefusalError(reason, preview or f"PREVIEW_{reason}", message)


def preview_only(preview: str, message: str) -> RefusalError:
    """Build a refusal whose real reason is in the preview field alone."""
    return RefusalError(UNKNOWN, preview, message)


def _number(config: Json, name: str) -> Decimal | None:
    if config.get(name) is None:
        return None
    try:
        return decimal_of(config[name])
    except BadNumberError as error:
        raise preview_only("PREVIEW_NON_NUMERIC_ORDER_SIZE", f"{name}: {error}") from None


def read_terms(configuration: object, attached_to_size: Decimal | None = None) -> Terms:
    """Read `order_configuration`; an attached bracket takes its parent's filled size. Raises RefusalError."""
    if not isinstance(configuration, dict) or len(configuration) != 1:
        raise refuse("UNSUPPORTED_ORDER_CONFIGURATION", "exactly one order configuration is expected")
    kind, body = next(iter(configuration.items()))
    if kind not in KINDS or not isinstance(body, dict):
        raise refuse("UNSUPPORTED_ORDER_CONFIGURATION", f"order configuration {kind} is not supported")
    config = cast("Json", body)
    end_ns = 0
    if kind.endswith("_gtd"):
        if not config.get("end_time"):
            raise refuse("GTD_ORDERS_MUST_HAVE_END_TIME", "end_time is missing")
        try:
            end_ns = parse_rfc3339(str(config["end_time"]))
        except ValueError:
            raise refuse("INVALID_REQUEST", f"end_time is no RFC 3339 time: {config['end_time']}") from None
    stop = _number(config, "stop_trigger_price" if kind in BRACKET_KINDS else "stop_price")
    direction = config.get("stop_direction")
    if kind in STOP_KINDS and direction not in {"STOP_DIRECTION_STOP_UP", "STOP_DIRECTION_STOP_DOWN"}:
        raise refuse("INVALID_REQUEST", f"stop_direction {direction!r} is not known")
    base = attached_to_size if attached_to_size is not None else _number(config, "base_size")
    return Terms(
        kind, config, base, _number(config, "quote_size"), _number(config, "limit_price"), stop,
        direction == "STOP_DIRECTION_STOP_UP", config.get("post_only") is True, end_ns,
    )


def check_mode(terms: Terms, mode: str, reason: str = "") -> None:
    """Refuse what the product's mode does not allow, for ``reason`` where one is given."""
    try:
        _check_mode(terms, mode)
    except RefusalError as refusal:
        raise refuse(reason, refusal.message) if reason else refusal from None


def _check_mode(terms: Terms, mode: str) -> None:
    if mode == "trading_disabled":
        raise refuse("TRADING_DISABLED", "trading is disabled on this product")
    if mode == "view_only":
        raise refuse("UNTRADABLE_PRODUCT", "the product is view only")
    if mode == "cancel_only":
        raise refuse("ORDER_ENTRY_DISABLED", "orders can only be cancelled now",
                     "PREVIEW_NOT_ALLOWED_BY_MARKET_STATE")
    if mode == "limit_only" and terms.kind == "market_market_ioc":
        raise refuse("ORDER_ENTRY_DISABLED", "only limit orders are accepted now",
                     "PREVIEW_NOT_ALLOWED_BY_MARKET_STATE")
    if mode == "post_only" and not terms.post_only:
        raise refuse("ORDER_ENTRY_DISABLED", "only post-only orders are accepted now",
                     "PREVIEW_NOT_ALLOWED_BY_MARKET_STATE")
    if mode == "auction_mode":
        if terms.kind in BRACKET_KINDS:
            raise refuse("BRACKET_ORDER_NOT_SUPPORTED", "brackets cannot be placed in an auction")
        if terms.kind in IMMEDIATE_KINDS:
            raise refuse("ORDER_ENTRY_DISABLED", "no immediate orders in an auction",
                         "PREVIEW_NOT_ALLOWED_BY_MARKET_STATE")


def check_sizes(terms: Terms, product: Product, side: str) -> None:
    """Refuse sizes off the grid or out of bounds; the venue never rounds."""
    if (terms.base_size is None) == (terms.quote_size is None):
        raise refuse("INVALID_REQUEST", "exactly one of base_size and quote_size is expected")
    if terms.quote_size is not None:
        if terms.kind == "market_market_ioc" and side == SELL:
            raise refuse("INVALID_REQUEST", "a market sell needs base_size")
        if terms.kind not in LIMIT_KINDS and terms.kind != "market_market_ioc":
            raise refuse("INVALID_REQUEST", f"{terms.kind} needs base_size")
        if not on_grid(terms.quote_size, product.price_increment):
            raise refuse("INVALID_SIZE_PRECISION", "quote_size is off the grid",
                         "PREVIEW_INVALID_QUOTE_SIZE_PRECISION")
        if terms.quote_size < product.quote_min_size:
            raise preview_only("PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL", "quote_size is below the minimum")
        if terms.quote_size > product.quote_max_size:
            raise preview_only("PREVIEW_INVALID_QUOTE_SIZE_TOO_LARGE", "quote_size is above the maximum")
    if terms.base_size is not None:
        if not on_grid(terms.base_size, product.base_increment):
            raise refuse("INVALID_SIZE_PRECISION", "base_size is off the grid")
        if terms.base_size < product.base_min_size or terms.base_size <= 0:
            raise preview_only("PREVIEW_INVALID_BASE_SIZE_TOO_SMALL", "base_size is below the minimum")
        if terms.base_size > product.base_max_size:
            raise preview_only("PREVIEW_INVALID_BASE_SIZE_TOO_LARGE", "base_size is above the maximum")


def check_prices(terms: Terms, product: Product) -> None:
    """Refuse prices that are missing, off the grid, or too small a notional."""
    if terms.kind == "market_market_ioc":
        if terms.limit_price is not None:
            raise refuse("PRICE_NOT_ALLOWED_FOR_MARKET_ORDERS", "a market order has no price")
        return
    if terms.limit_price is None or terms.limit_price <= 0:
        raise refuse("INVALID_LIMIT_PRICE", "limit_price must be positive")
    if not on_grid(terms.limit_price, product.price_increment):
        raise refuse("INVALID_PRICE_PRECISION", "limit_price is off the grid")
    if terms.kind in STOP_KINDS | BRACKET_KINDS:
        if terms.stop_price is None or terms.stop_price <= 0:
            raise preview_only("PREVIEW_INVALID_STOP_PRICE", "the stop price must be positive")
        if not on_grid(terms.stop_price, product.price_increment):
            raise refuse("INVALID_PRICE_PRECISION", "the stop price is off the grid",
                         "PREVIEW_INVALID_STOP_PRICE_PRECISION")
    if terms.base_size is not None and terms.base_size * terms.limit_price < product.quote_min_size:
        raise preview_only("PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL", "the order's value is below the minimum")
    if terms.kind == "limit_limit_fok" and terms.post_only:
        raise refuse("POST_ONLY_NOT_ALLOWED_WITH_FOK", "post_only and fill-or-kill exclude each other")


def check_end(terms: Terms, now_ns: int) -> None:
    """Refuse an end in the past or more than a year ahead."""
    if terms.end_ns and terms.end_ns <= now_ns:
        raise refuse("END_TIME_IS_IN_THE_PAST", "end_time is in the past")
    if terms.end_ns > now_ns + FARTHEST_END_S * NS_PER_S:
        raise refuse("END_TIME_TOO_FAR_IN_FUTURE", "end_time is too far in the future")


def check_against_market(terms: Terms, side: str, book: Book) -> None:
    """Refuse what contradicts the market: crossing post-only orders, stops already passed, and the like."""
    bid, ask, last = book.best(BUY), book.best(SELL), book.last_price
    limit, stop = terms.limit_price, terms.stop_price
    if terms.kind in IMMEDIATE_KINDS and (ask if side == BUY else bid) is None:
        raise refuse("INVALID_NO_LIQUIDITY", "the book's other side is empty",
                     "PREVIEW_MISSING_PRODUCT_PRICE_BOOK")
    if terms.post_only and limit is not None:
        touch = ask if side == BUY else bid
        if touch is not None and (limit >= touch.price if side == BUY else limit <= touch.price):
            raise refuse("INVALID_LIMIT_PRICE_POST_ONLY", "a post-only order would match at once")
    if terms.kind in STOP_KINDS and limit is not None and stop is not None:
        if side == SELL and stop < limit:
            raise preview_only("PREVIEW_STOP_PRICE_BELOW_LIMIT_PRICE", "a sell's stop is below its limit")
        if side == BUY and stop > limit:
            raise preview_only("PREVIEW_STOP_PRICE_ABOVE_LIMIT_PRICE", "a buy's stop is above its limit")
        if last is not None and terms.stop_up and stop <= last:
            raise preview_only("PREVIEW_STOP_PRICE_BELOW_LAST_TRADE_PRICE", "the stop is already passed")
        if last is not None and not terms.stop_up and stop >= last:
            raise preview_only("PREVIEW_STOP_PRICE_ABOVE_LAST_TRADE_PRICE", "the stop is already passed")
    if terms.kind in BRACKET_KINDS and limit is not None and stop is not None:
        _check_bracket(side, limit, stop, last)


def _check_bracket(side: str, limit: Decimal, stop: Decimal, last: Decimal | None) -> None:
    if (limit <= stop) if side == SELL else (limit >= stop):
        raise refuse("INVALID_BRACKET_PRICES", "target and stop are on the wrong sides of each other")
    if last is None:
        raise refuse("MISSING_MARKET_TRADE_DATA", "no last trade to hold the bracket against")
    if (limit <= last) if side == SELL else (limit >= last):
        raise refuse("INVALID_BRACKET_LIMIT_PRICE", "the target is already passed")
    if (stop >= last) if side == SELL else (stop <= last):
        raise refuse("INVALID_BRACKET_STOP_TRIGGER_PRICE", "the stop is already passed")


def triggered_limit(side: str, stop: Decimal, increment: Decimal) -> Decimal:
    """Return the limit a bracket's stop leg gets: 5 % worse than the trigger, on the grid."""
    if side == SELL:
        return floor_to(stop * (1 - BRACKET_GIVE), increment)
    return ceil_to(stop * (1 + BRACKET_GIVE), increment)
