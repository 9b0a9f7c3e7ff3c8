"""The running venue: engine, tapes, clock, faults and store put together, and who listens to it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
import traceback
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from simulator import losses
from simulator.engine import Engine
from simulator.faults import Faults
from simulator.orders import Order
from simulator.rules import Changes
from simulator.store import Store
from simulator.tape import Tape, TapeTrade
from simulator.values import NS_PER_S, Json, rfc3339

REQUESTS_KEPT = 20_000
EXIT_STORE_FAILED = 74
NOTHING = Changes([], [], [], [], [])


class Listener(Protocol):
    """What wants to know of the venue's changes: the websocket layer."""

    def on_user_event(self, product_id: str, order: Json) -> None:
        """Take the newest state of one of our orders."""

    def on_own_trade(self, book_id: str, trade: TapeTrade) -> None:
        """Take a public trade that one of our orders made."""

    def on_levels(self, book_id: str, levels: set[tuple[str, Decimal]]) -> None:
        """Take the levels that our orders changed."""


class Clock:
    """The venue's time: the wall's, or in a replay the recording's once it runs."""

    def __init__(self, recorded_start_ns: int | None = None, speed: float = 1.0) -> None:
        self._recorded_start_ns = recorded_start_ns
        self._speed = speed
        self._base: tuple[int, int] | None = None  # venue time, and the monotonic time it was true at

    def now_ns(self) -> int:
        """Return the venue's time; it never goes back in a replay."""
        if self._recorded_start_ns is None:
            return time.time_ns()
        if self._base is None:
            return self._recorded_start_ns
        return self._base[0] + round((time.monotonic_ns() - self._base[1]) * self._speed)

    def begin(self) -> None:
        """Start a replay's time."""
        if self._recorded_start_ns is not None and self._base is None:
            self._base = (self._recorded_start_ns, time.monotonic_ns())

    def reach(self, offset_ns: int) -> None:
        """Note that a replay got as far as this many ns after its start, at any speed."""
        if self._recorded_start_ns is not None and self._recorded_start_ns + offset_ns > self.now_ns():
            self._base = (self._recorded_start_ns + offset_ns, time.monotonic_ns())


@dataclass(slots=True)
class RequestRow:
    """What reached the REST port and what it was told."""

    time: str
    method: str
    path: str
    client_order_id: str
    status: int
    note: str

    def render(self) -> Json:
        """Write the row for the control API."""
        return {"time": self.time, "method": self.method, "path": self.path,
                "client_order_id": self.client_order_id, "status": self.status, "note": self.note}


@dataclass(slots=True)
class Venue:
    """Everything the REST, websocket and control layers share. `commit` after each change of the engine."""

    engine: Engine
    tapes: dict[str, Tape]
    clock: Clock
    faults: Faults
    store: Store | None
    publishes_own_trades: bool
    listeners: list[Listener] = field(default_factory=list)
    requests: deque[RequestRow] = field(default_factory=lambda: deque(maxlen=REQUESTS_KEPT))
    requests_made: int = 0
    market_state: Callable[[], Json] | None = None
    _timer: asyncio.TimerHandle | None = None
    _own_rates: tuple[Decimal, Decimal] | None = None

    def __post_init__(self) -> None:
        self.engine.fail_next = lambda order: self._strikes("order_fails_async", order)
        self.engine.finds_nothing = lambda order: self._strikes("order_gets_nothing", order)
        self.engine.fill_instead_of_cancel = lambda order: self._strikes("cancel_but_filled", order)

    def _strikes(self, kind: str, order: Order) -> bool:
        return self.faults.strike(kind, **self._where(order)) is not None

    @staticmethod
    def _where(order: Order) -> dict[str, str]:
        return {"symbol": order.product_id, "side": order.side, "client_order_id": order.client_order_id}

    def now_ns(self) -> int:
        """Return the engine's time."""
        return self.clock.now_ns()

    def shown_ns(self) -> int:
        """Return the time the venue claims: its own, with a clock_skew fault on top."""
        return self.clock.now_ns() + self.skew_ns()

    def skew_ns(self) -> int:
        """Return how far the venue's clock is made to be off."""
        fault = self.faults.find("clock_skew")
        return 0 if fault is None else round(fault.number("offset_s", 0.0) * NS_PER_S)

    def jwt_now_s(self) -> float:
        """Return the time JWTs are held against: the wall's, also in a replay."""
        return time.time() + self.skew_ns() / NS_PER_S

    def advance(self) -> None:
        """Let the engine do what has fallen due, and make it durable and known."""
        self._apply_modes()
        self._apply_fees()
        self._apply_losses()
        self.engine.advance(self.now_ns())
        self.commit()

    def _apply_modes(self) -> None:
        wanted: dict[str, str] = {}
        for fault in self.faults.active():
            if fault.kind == "product_mode":
                symbol = fault.word("symbol", "")
                product = self.engine.products.get(symbol)
                if product is not None:
                    wanted[product.book_id] = fault.word("mode", "cancel_only")
                    if self.engine.mode_of(symbol) != wanted[product.book_id]:
                        self.faults.count(fault)
        if not wanted and not self.engine.modes:
            return
        for book_id in self.engine.books:
            self.engine.set_mode(book_id, wanted.get(book_id, "online"), self.now_ns())

    def _apply_fees(self) -> None:
        """Charge what a fee_tier fault says, and the tier of before once it is over; orders keep theirs."""
        fault, rules = self.faults.find("fee_tier"), self.engine.rules
        if fault is not None and "taker_fee_rate" in fault.params:
            if self._own_rates is None:
                self._own_rates = (rules.maker_rate, rules.taker_rate)
            rules.maker_rate = Decimal(fault.word("maker_fee_rate", str(rules.maker_rate)))
            rules.taker_rate = Decimal(fault.word("taker_fee_rate", str(rules.taker_rate)))
        elif self._own_rates is not None:
            (rules.maker_rate, rules.taker_rate), self._own_rates = self._own_rates, None

    def _apply_losses(self) -> None:
        """Lose the open orders, and bring back the lost ones, that a fault fits."""
        if self.faults.find_any("order_vanishes"):
            for order in [one for one in self.engine.orders.values() if one.status == "OPEN"]:
                if self._strikes("order_vanishes", order):
                    losses.vanish(self.engine, order)
        if self.faults.find_any("order_returns"):
            for order in list(self.engine.lost.values()):
                fault = self.faults.find("order_returns", **self._where(order))
                if fault is not None and losses.reappear(self.engine, order, self.now_ns()):
                    self.faults.count(fault)

    def commit(self) -> None:
        """Write what changed to disk, then tell the listeners; in this order, so nothing said is lost."""
        changes = self.engine.take_changes()
        if self.store is not None:
            booked = bool(changes.orders or changes.fills)
            meta = {"market": self.market_state()} if booked and self.market_state is not None else None
            self._save(self.store, changes, meta)
        own = [(trade, self.tapes[trade.book_id]) for trade in changes.trades if self.publishes_own_trades]
        printed = [(t.book_id, tape.add(t.price, t.size, t.maker_side, t.time_ns)) for t, tape in own]
        for listener in self.listeners:
            for book_id, trade in printed:
                listener.on_own_trade(book_id, trade)
            for book_id, levels in changes.levels.items():
                listener.on_levels(book_id, levels)
            for product_id, order in changes.user_events:
                listener.on_user_event(product_id, order)
        self._arm()

    @staticmethod
    def _save(store: Store, changes: Changes, meta: dict[str, Json] | None) -> None:
        """Write to disk, or end the process: a venue that answered what it could not keep would lie."""
        try:
            store.save(changes, meta)
        except sqlite3.Error:
            traceback.print_exc()
            os._exit(EXIT_STORE_FAILED)

    def save_market(self) -> None:
        """Write the market's state, so that a restart goes on from it."""
        if self.store is not None and self.market_state is not None:
            self._save(self.store, NOTHING, {"market": self.market_state()})

    def _arm(self) -> None:
        due = self.engine.next_due_ns()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                return  # before the loop runs: the market's ticks will advance the engine
            delay = max(0.0005, (due - self.now_ns()) / NS_PER_S)
            self._timer = loop.call_later(min(delay, 3600.0), self.advance)

    def note_request(self, row: RequestRow) -> None:
        """Remember a request for the drills."""
        self.requests.append(row)
        self.requests_made += 1

    def stamp(self) -> str:
        """Return the venue's time as text."""
        return rfc3339(self.shown_ns())


def portfolio_of(seed: str) -> str:
    """Name a portfolio; the same seed has the same one."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{seed}.simulator"))
