"""A small made-up market for engine tests: BTC-USD at 100, five levels a side, one coin each."""

from __future__ import annotations

import itertools
from decimal import Decimal

from simulator.book import BUY, SELL
from simulator.engine import Engine
from simulator.orders import Order
from simulator.products import listing
from simulator.rules import Rules
from simulator.terms import RefusalError

D = Decimal
T0 = 1_790_000_000_000_000_000
S = 1_000_000_000
MS = 1_000_000
BOOK = "BTC-USD"
FEE_MAKER, FEE_TAKER = D("0.005"), D("0.009")


def engine(usd: str = "100000", btc: str = "100", **rules: object) -> Engine:
    """Make an engine whose orders and cancels take effect at once unless told otherwise."""
    settings: dict[str, object] = {"accept_delay_ms": 0, "cancel_delay_ms": 0, **rules}
    made = Engine(listing([BOOK]), "user", "portfolio", Rules(**settings))  # type: ignore[arg-type]
    made.wallets.set_available("USD", D(usd))
    made.wallets.set_available("USDC", D(usd))
    made.wallets.set_available("BTC", D(btc))
    made.books[BOOK].last_price = D(100)
    bids = [(D(100) - D(k) / 10, D(1)) for k in range(1, 6)]
    asks = [(D(100) + D(k) / 10, D(1)) for k in range(1, 6)]
    made.on_book(BOOK, bids, asks, T0)
    return made


_ids = itertools.count(1)


def request(
    kind: str, side: str = BUY, product: str = BOOK, client_id: str = "", **config: object
) -> dict[str, object]:
    """Write a create_order body."""
    return {"client_order_id": client_id or f"test-{next(_ids)}", "product_id": product, "side": side,
            "order_configuration": {kind: config}}


def place(venue: Engine, kind: str, side: str = BUY, at: int = T0, **config: object) -> Order:
    """Book an order that must be taken."""
    order, _ = venue.create(request(kind, side, **config), at)  # type: ignore[arg-type]
    return order


def limit(venue: Engine, side: str, size: str, price: str, at: int = T0) -> Order:
    """Book a GTC limit."""
    return place(venue, "limit_limit_gtc", side, at, base_size=size, limit_price=price)


def bracket(venue: Engine, size: str = "1", target: str = "110", stop: str = "95") -> Order:
    """Book a SELL bracket."""
    return place(venue, "trigger_bracket_gtc", SELL, base_size=size, limit_price=target, stop_trigger_price=stop)


def refusal(venue: Engine, body: dict[str, object], at: int = T0) -> str:
    """Return the reason an order is refused for: the plain one, or the preview's where that is all there is."""
    try:
        venue.create(body, at)
    except RefusalError as refused:
        return refused.preview if refused.reason == "UNKNOWN_FAILURE_REASON" else refused.reason
    raise AssertionError("the order was taken")


def owned(venue: Engine, currency: str) -> Decimal:
    """Return available and hold together."""
    wallet = venue.wallets[currency]
    return wallet.available + wallet.hold
