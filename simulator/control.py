"""The control API: the truth, the market's strings, and the faults; plain HTTP on a port of its own."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from decimal import Decimal
from itertools import islice

import orjson
from aiohttp import web

from simulator.book import BUY, SELL
from simulator.faults import KINDS, UnknownFaultError
from simulator.feed import Feed
from simulator.orders import render_fill, render_order
from simulator.terms import RefusalError
from simulator.values import Json, decimal_of, text
from simulator.venue import Venue
from simulator.websocket import Hub

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Control:
    """Serves the drills; whoever reaches the port (loopback) may use it, or who has the token if one is set."""

    def __init__(self, venue: Venue, hub: Hub, feed: Feed, token: str = "") -> None:
        self._venue, self._hub, self._feed, self._token = venue, hub, feed, token

    def application(self) -> web.Application:
        """Build the application."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/control/truth", self._truth)
        app.router.add_get("/control/connections", self._connections)
        app.router.add_get("/control/requests", self._requests)
        app.router.add_get("/control/faults", self._faults)
        app.router.add_post("/control/faults", self._add_fault)
        app.router.add_delete("/control/faults", self._clear_faults)
        app.router.add_post("/control/price", self._price)
        app.router.add_post("/control/market", self._market)
        app.router.add_post("/control/trade", self._trade)
        app.router.add_post("/control/balance", self._balance)
        app.router.add_post("/control/order", self._order)
        app.router.add_post("/control/rules", self._rules)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._token and not hmac.compare_digest(given.encode(), self._token.encode()):
            return web.Response(status=401, text="control token missing or wrong\n")
        try:
            return await handler(request)
        except (ValueError, LookupError, TypeError) as error:
            return self._json({"error": f"{type(error).__name__}: {error}"}, 400)

    @staticmethod
    def _json(body: Json, status: int = 200) -> web.Response:
        return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")

    @staticmethod
    async def _read(request: web.Request) -> Json:
        body = orjson.loads(await request.read())
        if not isinstance(body, dict):
            raise ValueError("a JSON object is expected")
        return body

    async def _truth(self, request: web.Request) -> web.StreamResponse:
        """Everything, or (for who asks often) only the orders and fills after so many, in the order they came."""
        engine = self._venue.engine
        orders_from, fills_from = (int(request.query.get(name, "0")) for name in ("orders_from", "fills_from"))
        balances = {w.currency: {"available": text(w.available), "hold": text(w.hold)}
                    for w in engine.wallets.rows()}
        prices = {b: text(book.last_price) for b, book in engine.books.items() if book.last_price is not None}
        return self._json({
            "orders": [render_order(order) for order in islice(engine.orders.values(), orders_from, None)],
            "lost": [render_order(order) for order in engine.lost.values()],
            "fills": [render_fill(fill) for fill in islice(engine.fills, fills_from, None)],
            "balances": balances, "prices": prices, "time": self._venue.stamp(),
        })

    async def _connections(self, _request: web.Request) -> web.StreamResponse:
        return self._json({"connections": [c.render() for c in self._hub.connections.values()]})

    async def _requests(self, request: web.Request) -> web.StreamResponse:
        wanted = request.query.get("client_order_id")
        made, kept = self._venue.requests_made, self._venue.requests
        skipped = max(0, int(request.query.get("after", "0")) - (made - len(kept)))
        rows = [row.render() for row in islice(kept, skipped, None)
                if wanted is None or row.client_order_id == wanted]
        return self._json({"requests": rows, "made": made})

    async def _faults(self, _request: web.Request) -> web.StreamResponse:
        faults = self._venue.faults
        return self._json({"kinds": KINDS, "active": [fault.render() for fault in faults.active()],
                           "struck": faults.struck})

    async def _add_fault(self, request: web.Request) -> web.StreamResponse:
        body = await self._read(request)
        if body.get("kind") == "product_mode" and body.get("symbol") not in self._venue.engine.products:
            raise UnknownFaultError(f"product_mode needs a known symbol, not {body.get('symbol')!r}")
        fault = self._venue.faults.add(body)
        self._follow()
        return self._json(fault.render())

    async def _clear_faults(self, _request: web.Request) -> web.StreamResponse:
        self._venue.faults.clear()
        self._follow()
        return self._json({"cleared": True})

    def _follow(self) -> None:
        """Let lasting faults take effect before the control call is answered."""
        self._venue.advance()
        self._hub.police()

    def _book(self, body: Json) -> str:
        """Name the book of the symbol asked for: an alias moves with its book."""
        return self._venue.engine.products[str(body["symbol"])].book_id

    async def _price(self, request: web.Request) -> web.StreamResponse:
        body = await self._read(request)
        symbol, price = self._book(body), decimal_of(str(body["price"]))
        if price <= 0:
            raise ValueError("price must be positive")
        await self._feed.move(symbol, price, float(str(body.get("ramp_s", 0))))
        last = self._venue.engine.books[symbol].last_price
        return self._json({"symbol": symbol, "price": text(last or Decimal(0))})

    async def _market(self, request: web.Request) -> web.StreamResponse:
        body = await self._read(request)
        self._feed.freeze(self._book(body), body.get("frozen") is True)
        return self._json({"symbol": body["symbol"], "frozen": body.get("frozen") is True})

    async def _trade(self, request: web.Request) -> web.StreamResponse:
        """Let others trade: `maker_side` rested at the price. Own orders in its way fill by the size of it."""
        body = await self._read(request)
        symbol, side = self._book(body), str(body["maker_side"])
        price, size = decimal_of(str(body["price"])), decimal_of(str(body["size"]))
        if side not in {BUY, SELL} or price <= 0 or size <= 0 or symbol not in self._venue.tapes:
            raise ValueError("maker_side is BUY or SELL, price and size are positive, and the market is known")
        venue, now = self._venue, self._venue.now_ns()
        self._hub.on_trade(symbol, venue.tapes[symbol].add(price, size, side, now))
        venue.engine.on_trade(symbol, price, size, side, now)
        venue.commit()
        return self._json({"symbol": symbol, "price": text(price), "size": text(size)})

    async def _balance(self, request: web.Request) -> web.StreamResponse:
        body = await self._read(request)
        available = decimal_of(str(body["available"]))
        if available < 0:
            raise ValueError("available must not be negative")
        self._venue.engine.wallets.set_available(str(body["currency"]), available)
        self._venue.commit()
        return self._json({"currency": body["currency"], "available": text(available)})

    async def _order(self, request: web.Request) -> web.StreamResponse:
        """Place an order as the account's owner would by hand: same account, not the daemon's."""
        body = await self._read(request)
        body.setdefault("client_order_id", self._venue.engine.new_id())
        try:
            order, _ = self._venue.engine.create(body, self._venue.now_ns(),
                                                 str(body.get("order_placement_source", "RETAIL_ADVANCED")))
        except RefusalError as refusal:
            return self._json({"error": str(refusal)}, 400)
        self._venue.commit()
        return self._json({"order": render_order(order)})

    async def _rules(self, request: web.Request) -> web.StreamResponse:
        """Change how the venue behaves where more than one reading is possible."""
        body = await self._read(request)
        rules = self._venue.engine.rules
        for name, value in body.items():
            present = getattr(rules, name, None)
            if present is None:
                raise ValueError(f"unknown rule {name!r}")
            new: object = decimal_of(str(value)) if isinstance(present, Decimal) else value
            if type(new) is not type(present):
                raise ValueError(f"rule {name} takes a {type(present).__name__}")
            rules.allow(name, new)
            setattr(rules, name, new)
        return self._json({"changed": list(body)})
