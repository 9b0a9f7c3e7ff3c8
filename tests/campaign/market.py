"""The venue in memory: the simulator's engine and desks on virtual time, a coarse market, and the way to them."""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

import orjson

from actors.clock import NS_PER_S
from simulator.engine import Engine
from simulator.faults import Faults
from simulator.feed import tapes_for
from simulator.products import listing
from simulator.queries import BadQueryError, Query
from simulator.rest_accounts import AccountDesk
from simulator.rest_market import MarketDesk
from simulator.rest_orders import HttpError, OrderDesk, bad_argument, not_found
from simulator.rules import Rules
from simulator.tape import TapeTrade
from simulator.values import Json, ceil_to, floor_to
from simulator.venue import Clock as VenueClock
from simulator.venue import Venue
from supervision.virtual_time import VirtualSystem

PREFIX = "/api/v3/brokerage"
TICK_S = 0.25
DEPTH = 6
START_QUOTE = Decimal(10_000)


class _OwnClock(VenueClock):
    """The venue's own clock: a step of the host's wall clock does not move it."""

    def __init__(self, system: VirtualSystem) -> None:
        super().__init__()
        self._system = system
        self._ahead_ns = system.clock.utc_ns() - system.clock.boot_ns()

    def now_ns(self) -> int:
        return self._system.clock.boot_ns() + self._ahead_ns


@dataclass(slots=True)
class Arrived:
    """An order request that reached the venue."""

    client_order_id: str
    side: str
    symbol: str
    booked: bool
    wire_boot_ns: int


@dataclass(slots=True)
class Prices:
    """One product's walk."""

    mid: float
    trades: list[TapeTrade] = field(default_factory=list)


class VenueInMemory:
    """``ask`` answers a REST request; ``tick`` moves every market; listeners hear of both."""

    def __init__(self, system: VirtualSystem, seed: str, products: tuple[str, ...]) -> None:
        self.system = system
        self.random = random.Random(f"market:{seed}")
        ids = random.Random(f"ids:{seed}")
        engine = Engine(
            listing(products),
            "user",
            "portfolio",
            Rules(maker_rate=Decimal("0.0005"), taker_rate=Decimal("0.001")),
            new_id=lambda: str(uuid.UUID(int=ids.getrandbits(128), version=4)),
        )
        self.faults = Faults(lambda: system.clock.boot_ns() / NS_PER_S)
        self.venue = Venue(engine, tapes_for(engine.books), _OwnClock(system), self.faults, None, True)
        self.engine = engine
        self.orders, self.market = OrderDesk(self.venue), MarketDesk(self.venue)
        self.accounts = AccountDesk(self.venue)
        self.prices = {book: Prices(float(engine.products[book].start_price)) for book in engine.books}
        self.arrived: list[Arrived] = []
        self.frozen = False
        self.after_change: list[Callable[[], None]] = []
        self.on_tick: list[Callable[[], None]] = []
        for currency in ("USD", "USDC"):
            engine.wallets.set_available(currency, START_QUOTE)
        for book in engine.books:
            self._move(book)
        self.venue.listeners.append(self)
        self.venue.commit()
        self.user_events: list[Callable[[Json], None]] = []
        system.after(TICK_S, self._tick)

    # --- the simulator tells us ---

    def on_user_event(self, product_id: str, order: Json) -> None:
        for tell in list(self.user_events):
            tell(order)

    def on_own_trade(self, book_id: str, trade: TapeTrade) -> None:
        self.prices[book_id].trades.append(trade)

    def on_levels(self, book_id: str, levels: set[tuple[str, Decimal]]) -> None:
        """Books are told whole."""

    # --- time ---

    def _tick(self) -> None:
        for book in self.engine.books:
            self._move(book)
        self.venue.advance()
        for tell in list(self.on_tick):
            tell()
        self._changed()
        self.system.after(TICK_S, self._tick)

    def _changed(self) -> None:
        due = self.engine.next_due_ns()
        if due is not None:
            wait_s = max(0.0005, (due - self.venue.now_ns()) / NS_PER_S)
            if wait_s < TICK_S:
                self.system.after(wait_s, self._advance)
        for look in self.after_change:
            look()

    def _advance(self) -> None:
        self.venue.advance()
        for look in self.after_change:
            look()

    def _move(self, book: str) -> None:
        product, prices = self.engine.products[book], self.prices[book]
        if not self.frozen:
            step = self.random.gauss(0, 6e-4)
            if self.random.random() < 0.02:
                step += self.random.choice((-1, 1)) * self.random.uniform(0.003, 0.008)
            prices.mid *= math.exp(step)
        mid = Decimal(repr(prices.mid))
        grid = product.price_increment
        now = self.venue.now_ns()
        bids, asks = [], []
        for level in range(DEPTH):
            away = Decimal(1 + 3 * level) / 10_000
            size = floor_to(Decimal(self.random.randrange(100, 1500)) / mid, product.base_increment)
            bids.append((floor_to(mid * (1 - away), grid), size))
            asks.append((ceil_to(mid * (1 + away), grid), size))
        last = floor_to(mid, grid)
        size = floor_to(Decimal(self.random.randrange(5, 400)) / mid, product.base_increment)
        self.engine.on_book(book, bids, asks, now)
        trade = self.venue.tapes[book].add(last, size, "BUY", now)
        self.engine.on_trade(book, last, size, "BUY", now)
        prices.trades.append(trade)

    # --- REST ---

    def ask(self, method: str, path: str, query: Query, body: Json, wire_boot_ns: int) -> tuple[int, bytes]:
        """Handle one request now; (status, body)."""
        before = len(self.engine.orders)
        try:
            status, answer = 200, self._route(method, path.removeprefix(PREFIX), query, body)
        except BadQueryError as error:
            refused = bad_argument(str(error))
            status, answer = refused.status, refused.body
        except HttpError as error:
            status, answer = error.status, error.body
        if method == "POST" and path == f"{PREFIX}/orders":
            self.arrived.append(
                Arrived(
                    str(body.get("client_order_id")),
                    str(body.get("side")),
                    str(body.get("product_id")),
                    len(self.engine.orders) > before,
                    wire_boot_ns,
                )
            )
        self._changed()
        return status, orjson.dumps(answer)

    def _route(self, method: str, path: str, query: Query, body: Json) -> Json:
        if method == "POST":
            posts: dict[str, Callable[[Json], Json]] = {
                "/orders": self.orders.create,
                "/orders/edit": self.orders.edit,
                "/orders/batch_cancel": self.orders.cancel,
            }
            if path in posts:
                return posts[path](body)
            raise not_found("Not Found")
        lists: dict[str, Callable[[Query], Json]] = {
            "/accounts": self.accounts.accounts,
            "/orders/historical/batch": self.orders.list_orders,
            "/orders/historical/fills": self.orders.list_fills,
            "/best_bid_ask": self.market.best_bid_ask,
            "/products": self.market.products,
        }
        singles: dict[str, Callable[[], Json]] = {
            "/time": self.market.time,
            "/key_permissions": self.accounts.key_permissions,
            "/transaction_summary": self.accounts.transaction_summary,
        }
        if path in lists:
            return lists[path](query)
        if path in singles:
            return singles[path]()
        if path.startswith("/orders/historical/"):
            return self.orders.get(path.removeprefix("/orders/historical/"))
        raise not_found("Not Found")
