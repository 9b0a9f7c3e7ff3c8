"""Reading the venue: each query is a generator of requests that ends in ``Findings``. Pure but for the SDK's names.

A generator yields ``Step`` and is sent the ``WireResult``; so the pages of a long listing queue between other
requests, each by its priority. Anything unexpected raises ReadError: a failed read is never an empty account.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from coinbase.rest import RESTClient

from actors.clock import to_rfc3339
from actors.gateway import normalise
from actors.gateway.classify import refusal_text
from actors.gateway.decimals import MalformedAnswerError, optional_text, parse_json, rows, table
from actors.gateway.wire import WireResult
from actors.messages.market import ProductRules, Quote
from actors.messages.venue import FeeTier, QueryKind, VenueBalance, VenueFill, VenueOrder, VenueQuery

MAX_PAGES = 200
MAX_READINGS = 4
DEFAULT_LOOK_BACK_S = 86_400
_NS = 1_000_000_000
_OTHER_ACCOUNTS = frozenset({"ACCOUNT_TYPE_VAULT", "ACCOUNT_TYPE_PERP_FUTURES"})
# OPEN is to be asked alone and leaves out orders on their way in or out (Coinbase docs, observed). Read in the
# order in which orders move on, so that none slips from a group not yet read into one already read.
OPEN_GROUPS = (("PENDING", "QUEUED", "EDIT_QUEUED"), ("OPEN",), ("CANCEL_QUEUED", "EDIT_QUEUED"))


class ReadError(Exception):
    """The venue could not be read; the text says which request failed and how."""


@dataclass(frozen=True, slots=True)
class Step:
    """One request of a query."""

    endpoint: str
    request: Callable[[RESTClient], object]


@dataclass(frozen=True, slots=True)
class Findings:
    """What a query found; only the fields of its kind are filled."""

    orders: tuple[VenueOrder, ...] = ()
    fills: tuple[VenueFill, ...] = ()
    balances: tuple[VenueBalance, ...] = ()
    rules: tuple[ProductRules, ...] = ()
    fees: FeeTier | None = None
    quotes: tuple[Quote, ...] = ()
    can_trade: bool | None = None
    can_transfer: bool | None = None


Reading = Generator[Step, WireResult, Findings]
Rows = list[Mapping[str, object]]
_T = TypeVar("_T")


def reading(query: VenueQuery, now_utc_ns: int, *, with_key: bool) -> Reading:
    """The requests that answer ``query``. Raises ReadError at once for a query that cannot be asked."""
    match query.kind:
        case QueryKind.ORDER:
            return _order(query, now_utc_ns)
        case QueryKind.OPEN_ORDERS:
            return _open_orders()
        case QueryKind.ORDERS_SINCE:
            return _orders_since(_since(query, now_utc_ns))
        case QueryKind.FILLS_SINCE:
            return _fills(since_utc_ns=_since(query, now_utc_ns), order_id=None)
        case QueryKind.FILLS_OF_ORDER:
            if not query.order_id:
                raise ReadError("fills_of_order without an order id")
            return _fills(since_utc_ns=None, order_id=query.order_id)
        case QueryKind.BALANCES:
            return _balances()
        case QueryKind.PRODUCTS:
            return _products(query.products, with_key)
        case QueryKind.FEES:
            return _fees()
        case QueryKind.KEY_PERMISSIONS:
            return _permissions()
        case QueryKind.BEST_BID_ASK:
            return _quotes(query.products, with_key)


def answer_of(result: WireResult, endpoint: str) -> Mapping[str, object]:
    """The JSON object of a good answer; raises ReadError for everything else."""
    if result.status is None:
        raise ReadError(f"{endpoint}: {result.error or 'no answer'}")
    if result.status != 200:
        raise ReadError(f"{endpoint}: HTTP {result.status} {refusal_text(result.body)}".rstrip())
    try:
        return table(parse_json(result.body), endpoint)
    except MalformedAnswerError as error:
        raise ReadError(f"{endpoint}: {error}") from error


def _since(query: VenueQuery, now_utc_ns: int) -> int:
    return query.since_utc_ns if query.since_utc_ns is not None else now_utc_ns - DEFAULT_LOOK_BACK_S * _NS


def _read(endpoint: str, convert: Callable[[], _T]) -> _T:
    try:
        return convert()
    except MalformedAnswerError as error:
        raise ReadError(f"{endpoint}: {error}") from error


def _pages(
    endpoint: str,
    fetch: Callable[[RESTClient, str | None], object],
    key: str,
    *,
    told_has_next: bool,
) -> Generator[Step, WireResult, tuple[Rows, int]]:
    """All pages' rows and how many pages there were."""
    cursor: str | None = None
    seen: set[str] = set()
    found: Rows = []
    for page in range(1, MAX_PAGES + 1):
        at = cursor
        result = yield Step(endpoint, lambda client, at=at: fetch(client, at))  # type: ignore[misc]
        body = answer_of(result, endpoint)
        found += _read(endpoint, lambda body=body: rows(body, key))  # type: ignore[misc]
        cursor = _read(endpoint, lambda body=body: optional_text(body, "cursor"))  # type: ignore[misc]
        has_next = body.get("has_next")
        if told_has_next and not isinstance(has_next, bool):
            raise ReadError(f"{endpoint}: has_next is neither true nor false")
        if not (has_next if told_has_next else cursor):
            return found, page
        if not cursor or cursor in seen:
            raise ReadError(f"{endpoint}: more pages, but the cursor {cursor!r} leads nowhere new")
        seen.add(cursor)
    raise ReadError(f"{endpoint}: more than {MAX_PAGES} pages")


def _settled(
    read: Callable[[], Generator[Step, WireResult, tuple[Rows, int]]], identity: str, endpoint: str
) -> Generator[Step, WireResult, Rows]:
    """One page is one moment. Several pages can shift: read until two readings list the same rows."""
    before, pages = yield from read()
    if pages == 1:
        return _distinct(before, identity)
    for _ in range(MAX_READINGS - 1):
        now, _ = yield from read()
        if {row.get(identity) for row in now} == {row.get(identity) for row in before}:
            return _distinct(now, identity)
        before = now
    raise ReadError(f"{endpoint}: the listing kept changing over {MAX_READINGS} readings")


def _distinct(found: Rows, identity: str) -> Rows:
    """The newest reading of each row: pages that shift can repeat one."""
    return list({str(row.get(identity)): row for row in found}.values())


def order_rows(*, statuses: Sequence[str] = (), since_utc_ns: int | None = None) -> Generator[Step, WireResult, Rows]:
    """Every order of these statuses (all without any), as the venue writes it, from however many pages."""
    start = to_rfc3339(since_utc_ns) if since_utc_ns is not None else None

    def fetch(client: RESTClient, cursor: str | None) -> object:
        return client.list_orders(order_status=list(statuses) or None, start_date=start, limit=250, cursor=cursor)

    return (
        yield from _settled(
            lambda: _pages("list_orders", fetch, "orders", told_has_next=True), "order_id", "list_orders"
        )
    )


def _list_orders(
    *, statuses: Sequence[str] = (), since_utc_ns: int | None = None
) -> Generator[Step, WireResult, tuple[VenueOrder, ...]]:
    found = yield from order_rows(statuses=statuses, since_utc_ns=since_utc_ns)
    return _read("list_orders", lambda: tuple(normalise.order(row) for row in found))


def _open_orders() -> Reading:
    found: dict[str, VenueOrder] = {}
    for group in OPEN_GROUPS:
        orders = yield from _list_orders(statuses=group)
        found.update({order.order_id: order for order in orders})
    return Findings(orders=tuple(found.values()))


def _orders_since(since_utc_ns: int) -> Reading:
    orders = yield from _list_orders(since_utc_ns=since_utc_ns)
    return Findings(orders=orders)


def _order(query: VenueQuery, now_utc_ns: int) -> Reading:
    if query.order_id:
        return _order_by_id(query.order_id)
    if not query.client_order_id:
        raise ReadError("a query for an order without any id")
    return _order_by_client_id(query.client_order_id, _since(query, now_utc_ns))


def _order_by_id(order_id: str) -> Reading:
    result = yield Step("get_order", lambda client: client.get_order(order_id))
    if result.status == 404 and refusal_text(result.body):
        return Findings()
    body = answer_of(result, "get_order")
    order = _read("get_order", lambda: normalise.order(table(body.get("order"), "order")))
    if order.order_id != order_id:
        raise ReadError(f"get_order: asked for {order_id}, got {order.order_id}")
    return Findings(orders=(order,))


def _order_by_client_id(client_order_id: str, since_utc_ns: int) -> Reading:
    # Asking the venue by client order id is deprecated there: list all statuses and match here.
    orders = yield from _list_orders(since_utc_ns=since_utc_ns)
    return Findings(orders=tuple(order for order in orders if order.client_order_id == client_order_id))


def _fills(*, since_utc_ns: int | None, order_id: str | None) -> Reading:
    start = to_rfc3339(since_utc_ns) if since_utc_ns is not None else None
    ids = [order_id] if order_id is not None else None

    def fetch(client: RESTClient, cursor: str | None) -> object:
        return client.get_fills(order_ids=ids, start_sequence_timestamp=start, limit=100, cursor=cursor)

    found = yield from _settled(
        lambda: _pages("get_fills", fetch, "fills", told_has_next=False), "entry_id", "get_fills"
    )
    return Findings(fills=_read("get_fills", lambda: tuple(normalise.fill(row) for row in found)))


def _balances() -> Reading:
    def fetch(client: RESTClient, cursor: str | None) -> object:
        return client.get_accounts(limit=250, cursor=cursor)

    found = yield from _settled(
        lambda: _pages("get_accounts", fetch, "accounts", told_has_next=True), "uuid", "get_accounts"
    )
    tradable = [row for row in found if row.get("type") not in _OTHER_ACCOUNTS]
    balances = _read("get_accounts", lambda: tuple(normalise.balance(row) for row in tradable))
    names = [balance.currency for balance in balances]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ReadError(f"get_accounts: more than one account of {', '.join(twice)}: which one is traded is not clear")
    return Findings(balances=balances)


def _products(products: tuple[str, ...], with_key: bool) -> Reading:
    wanted = list(products)

    def fetch(client: RESTClient) -> object:
        if with_key:
            return client.get_products(product_ids=wanted or None, product_type="SPOT", get_tradability_status=True)
        return client.get_public_products(product_ids=wanted or None, product_type="SPOT")

    result = yield Step("get_products", fetch)
    body = answer_of(result, "get_products")
    return Findings(rules=_read("get_products", lambda: _rules(body, wanted, result.answered_boot_ns)))


def _rules(body: Mapping[str, object], wanted: Sequence[str], read_boot_ns: int) -> tuple[ProductRules, ...]:
    listed = rows(body, "products")
    return tuple(
        normalise.product_rules(row, read_boot_ns) for row in listed if not wanted or row.get("product_id") in wanted
    )


def _fees() -> Reading:
    result = yield Step("get_transaction_summary", lambda client: client.get_transaction_summary(product_type="SPOT"))
    body = answer_of(result, "get_transaction_summary")
    return Findings(fees=_read("get_transaction_summary", lambda: normalise.fee_tier(body)))


def _permissions() -> Reading:
    result = yield Step("get_api_key_permissions", lambda client: client.get_api_key_permissions())
    body = answer_of(result, "get_api_key_permissions")
    can_trade, can_transfer = _read("get_api_key_permissions", lambda: normalise.permissions(body))
    return Findings(can_trade=can_trade, can_transfer=can_transfer)


def _quotes(products: tuple[str, ...], with_key: bool) -> Reading:
    if with_key:
        result = yield Step("get_best_bid_ask", lambda client: client.get_best_bid_ask(product_ids=list(products)))
        body = answer_of(result, "get_best_bid_ask")
        as_of = result.wire_boot_ns if result.wire_boot_ns is not None else result.answered_boot_ns
        books = _read("get_best_bid_ask", lambda: rows(body, "pricebooks"))
        quotes = tuple(_read("get_best_bid_ask", lambda book=book: normalise.quote(book, as_of)) for book in books)  # type: ignore[misc]
        return Findings(quotes=quotes)
    found: list[Quote] = []
    for product in products:
        result = yield Step(
            "get_public_product_book",
            lambda client, product=product: client.get_public_product_book(product_id=product, limit=1),  # type: ignore[misc]
        )
        body = answer_of(result, "get_public_product_book")
        as_of = result.wire_boot_ns if result.wire_boot_ns is not None else result.answered_boot_ns
        found.append(
            _read(
                "get_public_product_book",
                lambda body=body, as_of=as_of: normalise.quote(table(body.get("pricebook"), "pricebook"), as_of),  # type: ignore[misc]
            )
        )
    return Findings(quotes=tuple(found))
