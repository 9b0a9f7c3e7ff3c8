"""Listing orders and fills: filters, order and pages, on the engine's records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from simulator.orders import Fill, Order
from simulator.values import parse_rfc3339

Query = Mapping[str, Sequence[str]]
Record = TypeVar("Record")


class BadQueryError(ValueError):
    """A query parameter cannot be read."""


def values(query: Query, name: str) -> list[str]:
    """Return a repeated parameter; a value may itself hold several, separated by commas."""
    return [part for value in query.get(name, ()) for part in value.split(",") if part]


def first(query: Query, name: str) -> str:
    """Return a parameter's first value, empty when it is absent."""
    return next(iter(query.get(name, ())), "")


def whole(query: Query, name: str, default: int) -> int:
    """Return an integer parameter; raises BadQueryError."""
    value = first(query, name)
    if not value:
        return default
    try:
        return int(value)
    except ValueError:
        raise BadQueryError(f"{name} is not an integer: {value}") from None


def moment(query: Query, name: str) -> int | None:
    """Return a time parameter in ns, None when it is absent; raises BadQueryError."""
    value = first(query, name)
    if not value:
        return None
    try:
        return parse_rfc3339(value)
    except ValueError:
        raise BadQueryError(f"{name} is no RFC 3339 time: {value}") from None


def _assets(product_id: str) -> set[str]:
    return set(product_id.split("-"))


def select_orders(orders: Sequence[Order], query: Query) -> list[Order]:
    """Filter and sort orders as list_orders does, newest first unless told otherwise."""
    begin, end = moment(query, "start_date"), moment(query, "end_date")
    source = first(query, "order_placement_source") or "RETAIL_ADVANCED"
    side, kind = first(query, "order_side"), first(query, "product_type")
    wanted = {name: set(values(query, name)) for name in (
        "order_ids", "product_ids", "order_status", "time_in_forces", "order_types", "asset_filters")}
    found = [
        order for order in orders
        if (not wanted["order_ids"] or order.order_id in wanted["order_ids"])
        and (not wanted["product_ids"] or order.product_id in wanted["product_ids"])
        and (not wanted["order_status"] or order.status in wanted["order_status"])
        and (not wanted["time_in_forces"] or order.time_in_force in wanted["time_in_forces"])
        and (not wanted["order_types"] or order.order_type in wanted["order_types"])
        and (not wanted["asset_filters"] or wanted["asset_filters"] & _assets(order.product_id))
        and (begin is None or order.created_ns >= begin)
        and (end is None or order.created_ns < end)
        and source in {order.source, "UNKNOWN_PLACEMENT_SOURCE"}
        and (not side or order.side == side)
        and kind in {"", "SPOT", "UNKNOWN_PRODUCT_TYPE"}
    ]
    keys: dict[str, Callable[[Order], object]] = {
        "LIMIT_PRICE": lambda o: o.limit_price or 0,
        "LAST_FILL_TIME": lambda o: o.last_fill_ns,
        "LAST_UPDATE_TIME": lambda o: o.updated_ns,
    }
    found.reverse()
    by = keys.get(first(query, "sort_by"))
    if by is None:
        found.sort(key=lambda o: o.created_ns, reverse=True)
    else:
        found.sort(key=by, reverse=True)  # type: ignore[arg-type]
    return found


def select_fills(fills: Sequence[Fill], query: Query) -> list[Fill]:
    """Filter and sort fills as list_fills does, newest first unless told otherwise."""
    begin, end = moment(query, "start_sequence_timestamp"), moment(query, "end_sequence_timestamp")
    side = first(query, "order_side")
    wanted = {name: set(values(query, name)) | ({first(query, single)} - {""}) for name, single in (
        ("order_ids", "order_id"), ("trade_ids", "trade_id"), ("product_ids", "product_id"),
        ("asset_filters", "asset_filter"), ("order_types", "order_type"), ("product_types", "product_type"))}
    found = [
        fill for fill in reversed(fills)
        if (not wanted["order_ids"] or fill.order_id in wanted["order_ids"])
        and (not wanted["trade_ids"] or fill.trade_id in wanted["trade_ids"])
        and (not wanted["product_ids"] or fill.product_id in wanted["product_ids"])
        and (not wanted["asset_filters"] or wanted["asset_filters"] & _assets(fill.product_id))
        and (not wanted["order_types"] or fill.order_type in wanted["order_types"])
        and (not wanted["product_types"] or "SPOT" in wanted["product_types"])
        and (begin is None or fill.time_ns >= begin)
        and (end is None or fill.time_ns <= end)
        and (not side or fill.side == side)
    ]
    if first(query, "sort_by") == "PRICE":
        found.sort(key=lambda fill: fill.price, reverse=True)
    return found


def page(records: Sequence[Record], query: Query, default: int | None, name_of: Callable[[Record], str],
         most: int = 1000, *, shifts: bool = False) -> tuple[list[Record], str]:
    """Cut a page out; returns it and the cursor of the next, empty at the end.

    The cursor names the last record given, so rows that arrive meanwhile shift nothing; where that record
    has left the list since, its place counts, and rows may be repeated or missed. `shifts`: only its place counts.
    """
    cursor, start = first(query, "cursor"), 0
    if cursor:
        place, _, name = cursor.partition("~")
        if not place.isdigit() or not name:
            raise BadQueryError("cursor is not known")
        named = (at + 1 for at, record in enumerate(records) if name_of(record) == name)
        start = int(place) if shifts else next(named, int(place))
    limit = whole(query, "limit", default or most)
    if limit <= 0:
        raise BadQueryError("limit must be positive")
    rows = list(records[start: start + min(limit, most)])
    end = start + len(rows)
    return rows, f"{end}~{name_of(rows[-1])}" if rows and end < len(records) else ""
