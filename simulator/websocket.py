"""The feed's endpoints: handshake, subscribe and unsubscribe, snapshots, acks, and what goes to whom."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import cast

import orjson
from aiohttp import WSMsgType, web

from simulator import frames
from simulator.auth import Key, UnauthorizedError
from simulator.connection import Connection
from simulator.orders import render_user_order
from simulator.tape import TapeTrade
from simulator.values import Json, go_time, rfc3339_nanos
from simulator.venue import Venue

SUBSCRIBE_DEADLINE_S = 5.0
IDLE_CLOSE_S = 90.0
SNAPSHOT_TRADES = 100
SNAPSHOT_CANDLES = 100
USER_BATCH = 50
MARKET_CHANNELS = frozenset({"ticker", "ticker_batch", "market_trades", "level2", "candles", "status"})
USER_CHANNELS = frozenset({"heartbeats", "user", "futures_balance_summary"})

Replay = Callable[[Connection, str, list[str]], bool]


class Hub:
    """All connections, and what each has subscribed."""

    def __init__(self, venue: Venue, key: Key, idle_close_s: float = IDLE_CLOSE_S) -> None:
        self.venue, self._key, self._idle_close_s = venue, key, idle_close_s
        self.connections: dict[int, Connection] = {}
        self.replay: Replay | None = None
        self.recorded_channels: frozenset[str] = frozenset()
        self._uptime_start_s = time.monotonic() - 41_691
        self._counter = 41_691
        self._pending_trades: dict[str, list[TapeTrade]] = {}
        self._pending_levels: dict[str, set[tuple[str, Decimal]]] = {}
        self._last_ticker: dict[str, tuple[object, ...]] = {}
        self._last_candle: dict[str, object] = {}
        self._last_status = ""
        self._tasks: set[asyncio.Task[None]] = set()
        venue.listeners.append(self)

    # -- one connection

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one websocket connection."""
        refusal = self.venue.faults.strike("refuse_connect", path=request.path)
        if refusal is not None:
            return web.Response(status=int(refusal.number("status", 503)), text="refused")
        socket = web.WebSocketResponse(heartbeat=None, autoping=True, compress=False, max_msg_size=1 << 20)
        await socket.prepare(request)
        connection = Connection(socket, request, self.venue.faults, request.path == "/ws-user")
        self.connections[connection.number] = connection
        writer = asyncio.create_task(connection.write())
        try:
            async for message in socket:
                if message.type == WSMsgType.TEXT:
                    self._on_text(connection, message.data)
                elif message.type == WSMsgType.ERROR:
                    break
        finally:
            connection.closing = True
            self.connections.pop(connection.number, None)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        return socket

    def _on_text(self, connection: Connection, data: str) -> None:
        try:
            message = orjson.loads(data)
        except orjson.JSONDecodeError:
            connection.error("failure to parse")
            return
        if not isinstance(message, dict) or message.get("type") not in {"subscribe", "unsubscribe"}:
            connection.error("failure to subscribe")
            return
        channel, products = message.get("channel"), message.get("product_ids") or []
        if not isinstance(channel, str) or not isinstance(products, list):
            connection.error("failure to subscribe")
            return
        token = message.get("jwt")
        if message["type"] == "unsubscribe":
            connection.subscriptions.drop(channel, self._market_ids(channel, products))
            self.ack(connection)
        else:
            self._subscribe(connection, channel, [str(p) for p in products], token)

    def _market_ids(self, channel: str, products: list[str]) -> list[str]:
        """Name books on market channels: the data of an alias comes under its book's name."""
        if channel not in MARKET_CHANNELS:
            return products
        known = self.venue.engine.products
        return list(dict.fromkeys(known[p].book_id if p in known else p for p in products))

    def _subscribe(self, connection: Connection, channel: str, products: list[str], token: object) -> None:
        fault = self.venue.faults.strike("error_on_subscribe", connection=connection.name, channel=channel)
        if fault is not None:
            connection.error(fault.word("message", "failure to subscribe"))
            return
        if channel == "user" or token:
            try:
                self._key.check(str(token) if token else None, self.venue.jwt_now_s(), None)
            except UnauthorizedError:
                connection.error("authentication failure")
                return
        allowed = USER_CHANNELS if connection.user_only else MARKET_CHANNELS | USER_CHANNELS
        unknown = [p for p in products if p not in self.venue.engine.products]
        needs_products = channel in MARKET_CHANNELS - {"status"}
        if channel not in allowed or unknown or (needs_products and not products):
            connection.error("failure to subscribe")
            return
        connection.subscribed = True
        books = self._market_ids(channel, products)
        if channel == "status" and not books:
            books = list(self.venue.engine.products)
        connection.subscriptions.add(channel, books)
        if self.replay is not None and self.replay(connection, channel, books):
            return
        self._snapshot(connection, channel, books)
        self.ack(connection)

    # -- snapshots and acks

    def stamp(self) -> str:
        """Return the envelope's timestamp."""
        return rfc3339_nanos(self.venue.shown_ns())

    def ack(self, connection: Connection) -> None:
        """Send the running total of what a connection has subscribed."""
        total = {channel: list(products) for channel, products in connection.subscriptions.channels.items()}
        if "user" in total:
            total["user"] = [self.venue.engine.user_id]
        if "heartbeats" in total:
            total["heartbeats"] = ["heartbeats"]
        connection.event("subscriptions", self.stamp(), frames.dumps([{"subscriptions": total}]))

    def _snapshot(self, connection: Connection, channel: str, books: list[str]) -> None:
        if channel == "user":
            self._user_snapshot(connection)
        elif channel == "status":
            connection.event("status", self.stamp(), self._status(books, "snapshot"))
        elif channel in MARKET_CHANNELS:
            for book_id in books:
                self._flush_book(book_id)
                name = "l2_data" if channel == "level2" else channel
                connection.event(name, self.stamp(), self._book_snapshot(connection, channel, book_id), book_id)

    def _status(self, product_ids: list[str], kind: str) -> str:
        engine = self.venue.engine
        return frames.status(((engine.products[p], engine.mode_of(p)) for p in product_ids), kind)

    def _book_snapshot(self, connection: Connection, channel: str, book_id: str) -> str:
        engine, tape, now = self.venue.engine, self.venue.tapes[book_id], self.venue.shown_ns()
        if channel == "level2":
            huge = self.venue.faults.strike("huge_snapshot", connection=connection.name, symbol=book_id)
            return frames.level2_snapshot(engine, book_id, now, huge.number("megabytes", 11) if huge else 0.0)
        if channel == "market_trades":
            return frames.trades(book_id, "snapshot", list(tape.trades)[-SNAPSHOT_TRADES:])
        if channel == "candles":
            return frames.candles(book_id, frames.recent_candles(tape, now, SNAPSHOT_CANDLES), "snapshot")
        return self._ticker(book_id, "snapshot", batch=channel == "ticker_batch")

    def _ticker(self, book_id: str, kind: str, batch: bool = False) -> str:
        book, tape = self.venue.engine.books[book_id], self.venue.tapes[book_id]
        last = book.last_price or self.venue.engine.products[book_id].start_price
        return frames.ticker(book, tape.day(self.venue.now_ns() // 1_000_000_000, last), kind, batch)

    def _user_snapshot(self, connection: Connection) -> None:
        wanted = connection.subscriptions.channels["user"]
        rows = [render_user_order(o) for o in self.venue.engine.orders.values()
                if not o.is_terminal and (not wanted or o.product_id in wanted)]
        batches = [rows[at: at + USER_BATCH] for at in range(0, len(rows), USER_BATCH)] or [[]]
        for batch in batches:
            connection.event("user", self.stamp(), frames.user("snapshot", batch))

    # -- what the venue tells

    def on_user_event(self, product_id: str, order: Json) -> None:
        """Send the newest state of one of our orders."""
        faults = self.venue.faults
        if faults.strike("user_event_missing", symbol=product_id):
            return
        late = faults.strike("user_event_late", symbol=product_id)
        times = 2 if faults.strike("user_event_duplicate", symbol=product_id) else 1
        if late is not None:
            asyncio.get_running_loop().call_later(
                late.number("delay_s", 1.0), self._send_user, product_id, order, times)
        else:
            self._send_user(product_id, order, times)

    def _send_user(self, product_id: str, order: Json, times: int) -> None:
        events = frames.user("update", [order])
        for connection in self.connections.values():
            wanted = connection.subscriptions.channels.get("user")
            if wanted is not None and (not wanted or product_id in wanted):
                for _ in range(times):
                    connection.event("user", self.stamp(), events, product_id)

    def on_own_trade(self, book_id: str, trade: TapeTrade) -> None:
        """Take a public trade that one of our orders made."""
        self.on_trade(book_id, trade)

    def on_trade(self, book_id: str, trade: TapeTrade) -> None:
        """Take a public trade for the next batch."""
        self._pending_trades.setdefault(book_id, []).append(trade)

    def on_levels(self, book_id: str, levels: set[tuple[str, Decimal]]) -> None:
        """Take changed levels for the next update."""
        self._pending_levels.setdefault(book_id, set()).update(levels)

    # -- what goes out in rhythm

    def _send(self, channel: str, book_id: str, events: Callable[[], str]) -> None:
        made: str | None = None
        name = "l2_data" if channel == "level2" else channel
        for connection in self.connections.values():
            if connection.subscriptions.has(channel, book_id):
                made = made if made is not None else events()
                connection.event(name, self.stamp(), made, book_id)

    def _flush_book(self, book_id: str) -> None:
        """Send what is gathered, so that a snapshot taken now and later updates join without overlap."""
        self.flush_levels(book_id)
        self.flush_trades(book_id)

    def flush_levels(self, book_id: str) -> None:
        """Send the changed levels of a book."""
        keys = self._pending_levels.pop(book_id, None)
        if not keys or "level2" in self.recorded_channels:
            return
        engine = self.venue.engine
        self._send("level2", book_id, lambda: frames.level2_update(
            book_id, ((side, price, engine.displayed(book_id, side, price)) for side, price in keys),
            self.venue.shown_ns()))

    def flush_trades(self, book_id: str) -> None:
        """Send the gathered trades of a book."""
        gathered = self._pending_trades.pop(book_id, None)
        if gathered and "market_trades" not in self.recorded_channels:
            self._send("market_trades", book_id, lambda: frames.trades(book_id, "update", gathered))

    def send_ticker(self, book_id: str) -> None:
        """Send a ticker if price, best quote or best quantity changed."""
        book = self.venue.engine.books[book_id]
        seen = (book.last_price, book.best("BUY"), book.best("SELL"))
        if self._last_ticker.get(book_id) != seen and "ticker" not in self.recorded_channels:
            self._last_ticker[book_id] = seen
            self._send("ticker", book_id, lambda: self._ticker(book_id, "update"))

    def send_ticker_batch(self, book_id: str) -> None:
        """Send the slow ticker."""
        self._send("ticker_batch", book_id, lambda: self._ticker(book_id, "update", batch=True))

    def send_candle(self, book_id: str) -> None:
        """Send the running five-minute bar if it changed."""
        if "candles" in self.recorded_channels or not self.venue.tapes[book_id].trades:
            return
        newest = self.venue.tapes[book_id].trades[-1]
        if self._last_candle.get(book_id) == newest:
            return
        self._last_candle[book_id] = newest
        tape = self.venue.tapes[book_id]
        self._send("candles", book_id, lambda: frames.candles(
            book_id, frames.recent_candles(tape, newest.time_ns, 1), "update"))

    def send_status(self) -> None:
        """Send the status channel when a product's status changed."""
        everything = self._status(list(self.venue.engine.products), "update")
        if everything != self._last_status:
            first, self._last_status = not self._last_status, everything
            for connection in self.connections.values():
                products = connection.subscriptions.channels.get("status")
                if products and not first:
                    connection.event("status", self.stamp(), self._status(products, "update"))

    def heartbeat(self, replaying: Callable[[Connection], bool]) -> None:
        """Send heartbeats, but where a recording brings its own."""
        self._counter += 1
        text = bool(self.connections) and self.venue.faults.strike("heartbeat_string") is not None
        counter: object = str(self._counter) if text else self._counter
        now = self.venue.shown_ns()
        current = go_time(now, time.monotonic() - self._uptime_start_s)
        events = frames.dumps([{"current_time": current, "heartbeat_counter": counter}])
        for connection in self.connections.values():
            if "heartbeats" in connection.subscriptions.channels and not replaying(connection):
                connection.event("heartbeats", self.stamp(), events)

    def continue_counter(self, counter: int) -> None:
        """Go on counting heartbeats from a recording's last one."""
        self._counter = max(self._counter, counter)

    def police(self) -> None:
        """Close who never subscribed, who is idle, and whom a fault wants closed."""
        now = time.monotonic()
        for connection in list(self.connections.values()):
            if not connection.subscribed and now - connection.opened_s > SUBSCRIBE_DEADLINE_S:
                connection.close(1008, b"no subscribe within 5 s")
            elif now - connection.last_data_s > self._idle_close_s:
                connection.close(1001, b"idle")
        for fault in list(self.venue.faults.active()):
            if fault.kind != "close":
                continue
            for connection in list(self.connections.values()):
                if not connection.closing and fault.left != 0 and connection.closes_by(fault):
                    self.venue.faults.count(fault)
            if fault.left is None and fault.until_s is None:
                self.venue.faults.retire(fault)

    def start(self, work: Coroutine[None, None, None]) -> None:
        """Run work beside the connections, until it or the hub ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Close every connection as a server going away does."""
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self.connections.values()):
            connection.close(1001, b"going away")
        await asyncio.sleep(0.05)
        for connection in list(self.connections.values()):
            connection.abort()


def as_products(value: object) -> list[str]:
    """Read a list of product ids."""
    return [str(item) for item in cast("list[object]", value)] if isinstance(value, list) else []
