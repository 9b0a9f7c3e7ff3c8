"""The rules of editing an order in place, and what an edit writes on it."""

from __future__ import annotations

from simulator.book import Book
from simulator.orders import BRACKET_KINDS, EDITABLE_KINDS, Order
from simulator.products import Product
from simulator.terms import RefusalError, Terms, check_against_market
from simulator.values import ZERO, decimal_of, on_grid, rfc3339, text


def check_state(order: Order, stop: object) -> str:
    """Return the EditOrderFailureReason that the order's state gives, empty when it may be edited."""
    if order.pending_cancel:
        return "CANNOT_EDIT_ORDER_PENDING_CANCEL"
    if order.status != "OPEN":
        return "ONLY_OPEN_ORDERS_CAN_BE_EDITED"
    if order.kind not in EDITABLE_KINDS:
        return "ONLY_LIMIT_ORDER_EDITS_SUPPORTED"
    if order.quote_size is not None:
        return "SIZE_IN_QUOTE_EDITS_NOT_ALLOWED"
    if order.trigger_status == "STOP_TRIGGERED" and (stop or order.kind in BRACKET_KINDS):
        return "CANNOT_EDIT_STOP_PRICE_FOR_TRIGGERED_ORDER"
    return ""


def check_values(
    order: Order, product: Product, mode: str, book: Book, values: tuple[object, object, object]
) -> tuple[str, str]:
    """Hold new (size, price, stop) against grid, bounds and market; both reasons empty when they may stand.

    A missing size or price is invalid: both must be sent, a missing stop keeps the old one.
    """
    size, price, stop = values
    try:
        new_size = decimal_of(size)
    except ValueError:
        return "INVALID_EDITED_SIZE", ""
    try:
        new_price = decimal_of(price)
        new_stop = decimal_of(stop) if stop else order.stop_price
    except ValueError:
        return "INVALID_EDITED_PRICE", ""
    in_bounds = product.base_min_size <= new_size <= product.base_max_size
    if not in_bounds or not on_grid(new_size, product.base_increment):
        return "INVALID_EDITED_SIZE", ""
    if not on_grid(new_price, product.price_increment) or new_price <= 0:
        return "INVALID_EDITED_PRICE", ""
    if new_stop is not None and (not on_grid(new_stop, product.price_increment) or new_stop <= 0):
        return "INVALID_EDITED_PRICE", ""
    if new_size < order.filled_size + order.decremented:
        return "CANNOT_EDIT_TO_BELOW_FILLED_SIZE", ""
    if new_size * new_price < product.quote_min_size:
        return "INVALID_EDITED_SIZE", "PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL"
    if (new_size, new_price, new_stop) == (order.base_size, order.limit_price, order.stop_price):
        return "EDIT_REQUEST_EQUAL_TO_ORIGINAL_REQUEST", ""
    if mode not in {"online", "limit_only", "post_only"}:
        return "UNKNOWN_EDIT_ORDER_FAILURE_REASON", "PREVIEW_NOT_ALLOWED_BY_MARKET_STATE"
    terms = Terms(order.kind, order.config, new_size, None, new_price, new_stop, order.stop_up,
                  order.post_only, 0)
    if order.trigger_status != "STOP_TRIGGERED":
        try:
            check_against_market(terms, order.side, book)
        except RefusalError as refusal:
            return "INVALID_EDITED_PRICE", refusal.preview
    return "", ""


def write(order: Order, now_ns: int) -> None:
    """Write the order's new size and prices into its configuration and its history."""
    config = {**order.config, "base_size": text(order.base_size or ZERO),
              "limit_price": text(order.limit_price or ZERO)}
    if order.stop_price is not None:
        config["stop_trigger_price" if order.kind in BRACKET_KINDS else "stop_price"] = text(order.stop_price)
    order.config = config
    order.edits.append({"price": config["limit_price"], "size": config["base_size"],
                        "replace_accept_timestamp": rfc3339(now_ns)})
