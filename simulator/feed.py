"""What moves the market: the synthetic walk's clockwork, or a recording's cursor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from decimal import Decimal
from typing import Protocol

from simulator import market_replay, market_synthetic
from simulator.connection import Connection
from simulator.market_replay import Frame, Recording
from simulator.market_synthetic import LevelsMoved, MarketEvent, SyntheticMarket
from simulator.tape import Tape
from simulator.values import NS_PER_S, Json
from simulator.venue import Venue
from simulator.websocket import MARKET_CHANNELS, Hub

TICK_S = 0.05
TICKS_PER_S = 20
LONGEST_CATCH_UP_S = 7 * 86_400
QUIET_S = 0.3
LONGEST_WAIT_S = 2.0


class Feed(Protocol):
    """A source of market data for the venue."""

    async def run(self) -> None:
        """Move the market until cancelled."""

    async def move(self, symbol: str, price: Decimal, ramp_s: float) -> None:
        """Take a market to a price; raises LookupError where that cannot be."""

    def freeze(self, symbol: str, frozen: bool) -> None:
        """Stop or resume a market's walk; raises LookupError where that cannot be."""


async def _ticks() -> None:
    """Wait for the next tick of the clockwork."""
    await asyncio.sleep(TICK_S - time.monotonic() % TICK_S)


class Rhythm:
    """The websocket's regular sendings, driven by the ticks."""

    def __init__(self, hub: Hub) -> None:
        self._hub, self._count = hub, 0

    def tick(self, replaying: bool, owns_heartbeats: set[int]) -> None:
        """Send what is due at this tick of 50 ms."""
        hub = self._hub
        self._count += 1
        count = self._count
        for number, book_id in enumerate(hub.venue.engine.books):
            if not replaying:
                hub.flush_levels(book_id)
                if (count + number) % 5 == 0:
                    hub.flush_trades(book_id)
                if (count + number) % 2 == 0:
                    hub.send_ticker(book_id)
                if (count + number) % TICKS_PER_S == 0:
                    hub.send_candle(book_id)
            if (count + number) % (5 * TICKS_PER_S) == 0:
                hub.send_ticker_batch(book_id)
        if count % TICKS_PER_S == 0:
            hub.heartbeat(lambda connection: connection.number in owns_heartbeats)
            hub.send_status()
        if count % 2 == 0:
            hub.police()


class SyntheticFeed:
    """Drives one made-up market per symbol; `rate` is book updates a second and symbol, 20 or a multiple."""

    def __init__(self, venue: Venue, hub: Hub, seed: int, saved: Json | None, rate: int = TICKS_PER_S) -> None:
        self._venue, self._hub = venue, hub
        self._substeps = max(1, round(rate / TICKS_PER_S))
        states = saved.get("markets") if saved else None
        known = states if isinstance(states, dict) else {}
        engine = venue.engine
        self._markets = {
            book_id: SyntheticMarket(engine.products[book_id], seed, known.get(book_id)) for book_id in engine.books
        }
        self._rhythm = Rhythm(hub)
        self._moving: set[str] = set()
        self._lay_books(seed, known)
        venue.market_state = self.state

    def state(self) -> Json:
        """Return what a restart needs."""
        last = {b: str(book.last_price) for b, book in self._venue.engine.books.items() if book.last_price}
        trade_ids = {b: tape.next_trade_id for b, tape in self._venue.tapes.items()}
        markets = {b: {**m.state(), "last": last.get(b), "next_trade_id": trade_ids[b]}
                   for b, m in self._markets.items()}
        return {"time_ns": self._venue.now_ns(), "markets": markets}

    def _lay_books(self, seed: int, known: Json) -> None:
        venue, now = self._venue, self._venue.now_ns()
        for book_id, market in self._markets.items():
            saved = known.get(book_id)
            last = saved.get("last") if isinstance(saved, dict) else None
            bids, asks = market.snapshot()
            tape, price = venue.tapes[book_id], Decimal(last) if last else bids[0][0]
            if isinstance(saved, dict) and saved.get("next_trade_id"):
                tape.next_trade_id = int(saved["next_trade_id"])
            minutes, hours = market_synthetic.history(market.product, price, seed, now // NS_PER_S)
            tape.add_history(minutes, hours)
            venue.engine.books[book_id].last_price = price
            venue.engine.on_book(book_id, bids, asks, now)
            for number in range(100, 0, -1):
                tape.add(price, market.product.base_min_size, "BUY", now - number * NS_PER_S)

    def catch_up(self, since_ns: int) -> None:
        """Live through the time the venue was down: prices move on, orders in their way fill."""
        now = self._venue.now_ns()
        down_s = min(LONGEST_CATCH_UP_S, max(0.0, (now - since_ns) / NS_PER_S))
        steps = min(300, round(down_s))
        for number in range(steps):
            at_ns = now - round(down_s * NS_PER_S * (steps - number) / steps)
            stretch = down_s * market_synthetic.STEPS_PER_S / steps
            for book_id, market in self._markets.items():
                self._apply(book_id, market.step(self._venue.engine.books[book_id], stretch), at_ns)
            self._venue.engine.advance(at_ns)
        self._venue.advance()

    async def run(self) -> None:
        """Step every market each 50 ms."""
        tick = 0
        while True:
            await _ticks()
            tick += 1
            now = self._venue.now_ns()
            for book_id, market in self._markets.items():
                if book_id not in self._moving:
                    self._live(book_id, market, now)
            self._venue.advance()
            self._rhythm.tick(replaying=False, owns_heartbeats=set())
            if tick % TICKS_PER_S == 0:
                self._venue.save_market()

    def _live(self, book_id: str, market: SyntheticMarket, now_ns: int) -> None:
        book = self._venue.engine.books[book_id]
        for number in range(self._substeps):
            self._apply(book_id, market.step(book, 1 / self._substeps), now_ns)
            if number < self._substeps - 1:
                self._venue.commit()  # what is sent must be durable first
                self._hub.flush_levels(book_id)
                self._hub.send_ticker(book_id)

    def _apply(self, book_id: str, events: Iterable[MarketEvent], now_ns: int) -> None:
        engine, hub, tape = self._venue.engine, self._hub, self._venue.tapes[book_id]
        for event in events:
            if isinstance(event, LevelsMoved):
                engine.on_levels(book_id, event.levels, now_ns)
                hub.on_levels(book_id, {(side, price) for side, price, _ in event.levels})
            else:
                hub.on_trade(book_id, tape.add(event.price, event.size, event.maker_side, now_ns))
                engine.on_trade(book_id, event.price, event.size, event.maker_side, now_ns)

    async def move(self, symbol: str, price: Decimal, ramp_s: float) -> None:
        """Take a market to a price, at once or over `ramp_s`; raises LookupError for an unknown symbol."""
        market, book = self._markets[symbol], self._venue.engine.books[symbol]
        self._moving.add(symbol)
        try:
            start, began = book.last_price or price, time.monotonic()
            while (passed := time.monotonic() - began) < ramp_s:
                share = Decimal(repr(passed / ramp_s))
                self._apply(symbol, market.move_to(start + (price - start) * share, book), self._venue.now_ns())
                self._venue.advance()
                await _ticks()
            self._apply(symbol, market.move_to(price, book), self._venue.now_ns())
            self._venue.advance()
            self._venue.save_market()
        finally:
            self._moving.discard(symbol)

    def freeze(self, symbol: str, frozen: bool) -> None:
        """Stop or resume a market's walk; raises LookupError for an unknown symbol."""
        self._markets[symbol].frozen = frozen
        self._venue.save_market()


class _Playback:
    """A recording as one connection gets it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.first_s = self.newest_s = time.monotonic()
        self.position = 0
        self.started = False
        self.acked: dict[str, list[str]] = {}


class ReplayFeed:
    """Plays a recording: to each connection from its own start, to the engine from the first subscribe.

    `speed` is a multiple of the recorded one; None is as fast as the clients read.
    """

    def __init__(self, venue: Venue, hub: Hub, recording: Recording, speed: float | None) -> None:
        self._venue, self._hub, self._recording, self._speed = venue, hub, recording, speed
        self._playing: dict[int, _Playback] = {}
        self._begun = asyncio.Event()
        hub.replay = self.take_subscribe
        hub.recorded_channels = frozenset(recording.channels)
        for frame in recording.frames:
            if frame.is_snapshot:
                market_replay.apply(frame, venue.engine, venue.tapes, venue.now_ns())

    async def move(self, symbol: str, price: Decimal, ramp_s: float) -> None:
        """Refuse: a recording goes its own way; always raises LookupError."""
        raise LookupError(f"{symbol} is recorded, it cannot be taken to {price} in {ramp_s} s")

    def freeze(self, symbol: str, frozen: bool) -> None:
        """Refuse: a recording goes its own way; always raises LookupError."""
        raise LookupError(f"{symbol} is recorded, frozen={frozen} cannot be")

    async def run(self) -> None:
        """Move the engine's books along the recording, and keep the rhythm of everything else."""
        master = asyncio.create_task(self._master())
        rhythm = Rhythm(self._hub)
        try:
            while True:
                await _ticks()
                self._venue.advance()
                rhythm.tick(replaying=True, owns_heartbeats=set(self._playing))
        finally:
            master.cancel()
            await asyncio.gather(master, return_exceptions=True)

    async def _master(self) -> None:
        await self._begun.wait()
        self._venue.clock.begin()
        began = time.monotonic()
        for frame in self._recording.frames:
            await self._wait_for(frame, began)
            self._venue.clock.reach(frame.offset_ns)
            if not frame.is_snapshot:  # the books opened with the snapshots
                market_replay.apply(frame, self._venue.engine, self._venue.tapes, self._venue.now_ns())
                self._venue.commit()

    async def _wait_for(self, frame: Frame, began_s: float) -> None:
        if self._speed is None:
            await asyncio.sleep(0)
            return
        delay = began_s + frame.offset_ns / NS_PER_S / self._speed - time.monotonic()
        if delay > 0:
            await asyncio.sleep(delay)

    # -- connections

    def take_subscribe(self, connection: Connection, channel: str, books: list[str]) -> bool:
        """Take a subscribe to a recorded channel; returns False for a channel the recording has not."""
        if channel not in self._recording.channels:
            return False
        playing = self._playing.get(connection.number)
        if playing is None:
            playing = _Playback(connection)
            self._playing[connection.number] = playing
            self._hub.start(self._play(playing))
        elif playing.started:
            self._catch_up(playing, channel, books)
            self._hub.ack(connection)
        playing.newest_s = time.monotonic()
        return True

    def _catch_up(self, playing: _Playback, channel: str, books: list[str]) -> None:
        """Send a late subscriber the channel's frames so far, so that its book is right from here on."""
        for frame in self._recording.frames[: playing.position]:
            name = "level2" if frame.channel == "l2_data" else frame.channel
            if name == channel and channel in MARKET_CHANNELS and any(p in books for p in frame.products):
                self._send(playing, frame)

    async def _play(self, playing: _Playback) -> None:
        connection = playing.connection
        while time.monotonic() < min(playing.newest_s + QUIET_S, playing.first_s + LONGEST_WAIT_S):
            await asyncio.sleep(0.02)
        playing.started = True
        self._begun.set()
        began = time.monotonic()
        counter = 0
        for frame in self._recording.frames:
            await self._wait_for(frame, began)
            if connection.closing:
                break
            playing.position += 1
            if frame.channel == "subscriptions":
                self._send_ack(playing, frame)
            elif self._wants(connection, frame):
                self._send(playing, frame)
                if self._speed is None:
                    await connection.room()
            if frame.channel == "heartbeats":
                counter = int(str(frame.event()["heartbeat_counter"]))
        self._hub.continue_counter(counter)
        self._playing.pop(connection.number, None)
        while not connection.closing and connection.number in self._hub.connections:
            await asyncio.sleep(0.5)

    @staticmethod
    def _wants(connection: Connection, frame: Frame) -> bool:
        name = "level2" if frame.channel == "l2_data" else frame.channel
        if name not in connection.subscriptions.channels:
            return False
        return not frame.products or any(connection.subscriptions.has(name, p) for p in frame.products)

    @staticmethod
    def _send(playing: _Playback, frame: Frame) -> None:
        connection, product = playing.connection, frame.products[0] if frame.products else ""
        if connection.flows(frame.channel, product):
            connection.recorded(frame.numbered(connection.sequence), frame.channel, product)

    def _send_ack(self, playing: _Playback, frame: Frame) -> None:
        """Send a recorded acknowledgement, cut down to what this connection has subscribed."""
        wanted = playing.connection.subscriptions.channels
        recorded = frame.event()["subscriptions"]
        total: dict[str, list[str]] = {}
        for channel, products in (recorded if isinstance(recorded, dict) else {}).items():
            if channel in wanted:
                total[channel] = [p for p in products if channel == "heartbeats" or p in wanted[channel]]
        if total == recorded:
            self._send(playing, frame)
        elif total and total != playing.acked:
            self._hub.ack(playing.connection)
        playing.acked = total


def tapes_for(books: Iterable[str]) -> dict[str, Tape]:
    """Make an empty tape for each book; trade ids start at a number of the live size."""
    return {book_id: Tape(book_id, 1_068_000_000 + number * 1_000_000) for number, book_id in enumerate(books)}
