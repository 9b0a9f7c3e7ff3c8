"""The REST port: authentication, rate limits, transport faults, and the way to the right answer."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from dataclasses import dataclass, field

import orjson
from aiohttp import web

from simulator.auth import Key, UnauthorizedError
from simulator.queries import BadQueryError, Query
from simulator.rest_accounts import AccountDesk
from simulator.rest_market import MarketDesk
from simulator.rest_orders import HttpError, OrderDesk, bad_argument, not_found
from simulator.values import Json
from simulator.venue import RequestRow, Venue

PREFIX = "/api/v3/brokerage"
HTML = "<html><head><title>{0}</title></head><body><h1>{0}</h1><hr>cloudflare</body></html>"


@dataclass(slots=True)
class RateLimit:
    """So many requests within any second; zero is no limit."""

    _times: deque[float] = field(default_factory=deque)

    def take(self, now_s: float, per_second: int) -> int:
        """Count a request; returns how many remain, negative when it is over the limit."""
        if per_second <= 0:
            return 1
        while self._times and self._times[0] <= now_s - 1.0:
            self._times.popleft()
        if len(self._times) >= per_second:
            return -1
        self._times.append(now_s)
        return per_second - len(self._times)


class Rest:
    """Answers the brokerage API for one key."""

    def __init__(self, venue: Venue, key: Key) -> None:
        self._venue, self._key = venue, key
        self._limits = {True: RateLimit(), False: RateLimit()}
        self._orders, self._market = OrderDesk(venue), MarketDesk(venue)
        self._accounts = AccountDesk(venue)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one request, faults included."""
        raw = await request.read()
        body = self._body(raw)
        row = RequestRow(self._venue.stamp(), request.method, request.path_qs,
                         str(body.get("client_order_id", "")), 0, "")
        self._venue.note_request(row)
        response = await self._with_faults(request, body, row)
        row.status = response.status
        return response

    @staticmethod
    def _body(raw: bytes) -> Json:
        try:
            decoded = orjson.loads(raw) if raw else {}
        except orjson.JSONDecodeError:
            return {}
        return decoded if isinstance(decoded, dict) else {}

    # -- faults of the transport

    async def _with_faults(self, request: web.Request, body: Json, row: RequestRow) -> web.Response:
        faults = self._venue.faults
        where = {"path": request.path, "method": request.method, "symbol": str(body.get("product_id", "")),
                 "side": str(body.get("side", ""))}
        slow = faults.strike("slow", **where)
        if slow is not None and slow.word("when", "before") == "before":
            await asyncio.sleep(slow.number("delay_s", 1.0))
        if faults.strike("cut_before_booking", **where):
            return self._cut(request, row, "cut before booking")
        failed = faults.strike("status", **where)
        if failed is not None:
            row.note = "fault: status"
            return self._failure(int(failed.number("status", 500)), failed.word("header_case", "lower"))
        response = self._answer(request, body, row)
        if slow is not None and slow.word("when", "before") == "after":
            await asyncio.sleep(slow.number("delay_s", 1.0))
        if faults.strike("cut_after_booking", **where):
            return self._cut(request, row, "cut after booking")
        if faults.strike("html_200", **where):
            row.note = "fault: html_200"
            return web.Response(text=HTML.format("Just a moment"), content_type="text/html")
        return response

    @staticmethod
    def _cut(request: web.Request, row: RequestRow, note: str) -> web.Response:
        row.note = f"fault: {note}"
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=499)

    def _failure(self, status: int, header_case: str) -> web.Response:
        if status == 401:
            return self._unauthorized()
        if status == 403:
            return self._json(403, {"error": "PERMISSION_DENIED", "error_details": "Missing required scopes",
                                    "message": "Missing required scopes"})
        if status == 429:
            return self._too_many(self._venue.engine.rules.private_rate or 30, header_case)
        if 400 <= status < 500:
            return self._json(status, {"error": "unknown", "error_details": "fault", "message": "fault"})
        return web.Response(status=status, text=HTML.format(f"{status} error"), content_type="text/html")

    @staticmethod
    def _unauthorized() -> web.Response:
        return web.Response(status=401, text="Unauthorized\n", headers={"trace-id": uuid.uuid4().hex})

    def _too_many(self, limit: int, header_case: str = "lower") -> web.Response:
        rate = self._rate_headers(limit, 0)
        if header_case == "title":
            rate = {name.title().replace("Ratelimit", "RateLimit"): value for name, value in rate.items()}
        body: Json = {"errors": [{"id": "rate_limit_exceeded", "message": "Too many requests"}]}
        return self._json(429, body, rate)

    @staticmethod
    def _rate_headers(limit: int, remaining: int) -> dict[str, str]:
        return {"x-ratelimit-limit": str(limit), "x-ratelimit-remaining": str(remaining),
                "x-ratelimit-reset": "1"}

    @staticmethod
    def _json(status: int, body: Json, headers: dict[str, str] | None = None) -> web.Response:
        return web.Response(status=status, body=orjson.dumps(body), content_type="application/json",
                            headers=headers)

    # -- the answer

    def _answer(self, request: web.Request, body: Json, row: RequestRow) -> web.Response:
        path = request.path.removeprefix(PREFIX)
        public = path.startswith("/market/") or path == "/time"
        if not public:
            uri = f"{request.method} {request.headers.get('Host', '')}{request.path}"
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            try:
                leeway_s = self._venue.engine.rules.clock_leeway_s
                self._key.check(token if scheme == "Bearer" else None, self._venue.jwt_now_s(), uri, leeway_s)
            except UnauthorizedError as error:
                row.note = str(error)
                return self._unauthorized()
        rules = self._venue.engine.rules
        per_second = rules.public_rate if public else rules.private_rate
        remaining = self._limits[public].take(time.monotonic(), per_second)
        if remaining < 0:
            row.note = "rate limit"
            throttled = rules.throttle_status == 401
            return self._unauthorized() if throttled else self._too_many(per_second, rules.throttle_header_case)
        headers = self._rate_headers(per_second, remaining) if per_second else {}
        if public:
            headers["cache-control"] = "public, max-age=14400"
        query: Query = {name: request.query.getall(name) for name in request.query}
        try:
            return self._json(200, self._route(request.method, path, query, body), headers)
        except BadQueryError as error:
            refused = bad_argument(str(error))
            return self._json(refused.status, refused.body, headers)
        except HttpError as error:
            return self._json(error.status, error.body, headers)

    def _route(self, method: str, path: str, query: Query, body: Json) -> Json:
        if method == "POST":
            posts = {"/orders": self._orders.create, "/orders/preview": self._orders.preview,
                     "/orders/edit": self._orders.edit, "/orders/edit_preview": self._orders.edit_preview,
                     "/orders/batch_cancel": self._orders.cancel}
            if path in posts:
                return posts[path](body)
            raise not_found("Not Found")
        if method != "GET":
            raise not_found("Not Found")
        if path.startswith("/market/"):
            return self._market_route(path.removeprefix("/market"), query)
        lists = {
            "/accounts": self._accounts.accounts, "/orders/historical/batch": self._orders.list_orders,
            "/orders/historical/fills": self._orders.list_fills, "/portfolios": self._accounts.portfolios,
            "/best_bid_ask": self._market.best_bid_ask,
        }
        singles = {"/time": self._market.time, "/key_permissions": self._accounts.key_permissions,
                   "/transaction_summary": self._accounts.transaction_summary}
        if path in lists:
            return lists[path](query)
        if path in singles:
            return singles[path]()
        for start, answer in (("/accounts/", self._accounts.account),
                              ("/orders/historical/", self._orders.get),
                              ("/portfolios/", self._accounts.breakdown)):
            if path.startswith(start) and "/" not in path.removeprefix(start):
                return answer(path.removeprefix(start))
        return self._market_route(path, query)

    def _market_route(self, path: str, query: Query) -> Json:
        parts = path.strip("/").split("/")
        if parts == ["products"]:
            return self._market.products(query)
        if parts == ["product_book"]:
            return self._market.product_book(query)
        if parts[0] == "products" and len(parts) == 2:
            return self._market.product(parts[1])
        if parts[0] == "products" and len(parts) == 3 and parts[2] == "ticker":
            return self._market.trades(parts[1], query)
        if parts[0] == "products" and len(parts) == 3 and parts[2] == "candles":
            return self._market.candles(parts[1], query)
        raise not_found("Not Found")
