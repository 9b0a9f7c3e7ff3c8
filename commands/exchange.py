"""Clears the exchange of own orders with the key alone: no actor, no ledger, no data folder.

Every request has a deadline and is made again until the venue answers or the sweep's time is up: 429, 401 (it can
be throttling), 5xx, cut connections and time-outs are no answers. A cancel is safe to repeat; the listings alone
say what came of it.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from coinbase.rest import RESTClient

from actors.clock import SystemClock
from actors.gateway.classify import NIL_REASONS, refusal_text
from actors.gateway.decimals import MalformedAnswerError, parse_json, rows, table
from actors.gateway.queries import OPEN_GROUPS, ReadError, order_rows
from actors.gateway.wire import Door, TlsContext, WireCall, WireResult
from commands.sweep import NS_PER_S, Look, Seen, Tally

CONNECT_S, READ_S, HARD_S = 3.0, 5.0, 8.0
FIRST_PAUSE_S, LAST_PAUSE_S = 0.2, 3.0
ROUND_S = 0.4
"""Between a look that found something and the next: cancels are asynchronous."""
AGAIN_S = 1.5
"""A cancel that has not worked is asked for again after this."""
BATCH = 100
"""Orders per cancel request: the venue documents no maximum, its other clients use 100."""
NO_ANSWER = frozenset({401, 408, 425, 429})


class OutOfTimeError(Exception):
    """The sweep's time is up; the text says what the venue answered last."""


class RefusedByVenueError(Exception):
    """An answer that asking again does not change, such as a missing scope."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the venue is and with which key."""

    rest: str
    key_file: Path
    ca_file: Path | None = None
    visibility_delay_s: float = 2.0


@dataclass(slots=True)
class Exchange:
    """One sweep's connection. ``tell`` hears what hinders, once per change."""

    place: Place
    for_s: float
    tell: Callable[[str], None]
    clock: SystemClock = field(default_factory=SystemClock)
    hindrance: str = ""
    requests: int = 0
    _door: Door | None = None
    _context: TlsContext | None = None
    _end_boot_ns: int = 0

    def __post_init__(self) -> None:
        self._end_boot_ns = self.clock.boot_ns() + round(self.for_s * NS_PER_S)

    # --- asking

    def ask(self, request: Callable[[RESTClient], object]) -> WireResult:
        """A complete 200 answer with a JSON object. Raises RefusedByVenueError, OutOfTimeError."""
        pause_s = FIRST_PAUSE_S
        while True:
            result = self._once(request)
            problem = _problem(result)
            if not problem:
                return result
            self.hinder(problem)
            if result.status is not None and 400 <= result.status < 500 and result.status not in NO_ANSWER:
                raise RefusedByVenueError(problem)
            self.pause(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, LAST_PAUSE_S)

    def hinder(self, problem: str) -> None:
        if problem != self.hindrance:
            self.tell(problem)
        self.hindrance = problem

    def pause(self, seconds: float) -> None:
        """Wait; raises OutOfTimeError when the sweep's time ends before."""
        left_s = (self._end_boot_ns - self.clock.boot_ns()) / NS_PER_S
        if left_s <= 0:
            raise OutOfTimeError(self.hindrance)
        time.sleep(min(seconds, left_s))

    def _once(self, request: Callable[[RESTClient], object]) -> WireResult:
        """One request in a thread of its own: a name server or an answer that trickles holds nothing up."""
        left_s = (self._end_boot_ns - self.clock.boot_ns()) / NS_PER_S
        if left_s <= 0:
            raise OutOfTimeError(self.hindrance)
        door = self._door = self._door or self._make_door()
        answers: queue.SimpleQueue[WireResult] = queue.SimpleQueue()
        call = WireCall(self.clock)
        self.requests += 1
        threading.Thread(target=lambda: answers.put(door.call(call, request)), daemon=True).start()
        try:
            return answers.get(timeout=min(HARD_S, left_s + 0.1))
        except queue.Empty:
            self._door = None  # abandoned together with its thread
            now, utc = self.clock.boot_ns(), self.clock.utc_ns()
            return WireResult(call.wrote, None, {}, b"", "no answer in time", "deadline", None, None, now, utc)

    def _make_door(self) -> Door:
        self._context = self._context or TlsContext(self.place.ca_file)
        return Door(
            clock=self.clock,
            host=self.place.rest,
            key_file=self.place.key_file,
            context=self._context,
            connect_timeout_s=CONNECT_S,
            read_timeout_s=READ_S,
            idle_max_s=20.0,
        )

    # --- listing and cancelling

    def list_orders(
        self, tally: Tally, *, statuses: Sequence[str] = (), since_utc_ns: int | None = None, act: bool
    ) -> list[Seen]:
        """Own orders of a complete listing. What a page shows doomed is cancelled before the next page is read."""
        reading = order_rows(statuses=statuses, since_utc_ns=since_utc_ns)
        step = next(reading)
        while True:
            result = self.ask(step.request)
            if act:
                self.cancel(tally, tally.note(rows(table(parse_json(result.body), "list_orders"), "orders")))
            try:
                step = reading.send(result)
            except StopIteration as done:
                return tally.note(done.value)

    def cancel(self, tally: Tally, orders: Sequence[Seen]) -> None:
        """Ask for the cancel of those that are due."""
        due = tally.due(orders, self.clock.boot_ns(), AGAIN_S)
        for at in range(0, len(due), BATCH):
            self._cancel_batch(tally, due[at : at + BATCH])

    def _cancel_batch(self, tally: Tally, batch: Sequence[Seen]) -> None:
        names = [one.order_id for one in batch]
        try:
            result = self.ask(lambda client: client.cancel_orders(order_ids=names))
        except RefusedByVenueError:
            if len(batch) == 1:
                raise
            for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):  # one bad id must not save the others
                self._cancel_batch(tally, half)
            return
        now = self.clock.boot_ns()
        tally.asked.update(dict.fromkeys(names, now))
        for row in rows(table(parse_json(result.body), "cancel_orders"), "results"):
            reason = str(row.get("failure_reason") or "")
            if row.get("success") is not True and reason not in NIL_REASONS:
                tally.refusals[str(row.get("order_id"))] = reason

    def look(self, tally: Tally, since_utc_ns: int, *, act: bool = True) -> Look:
        """Open orders by status, then all statuses since the window's begin; both complete."""
        asked = self.clock.boot_ns()
        tally.manual.clear()
        tally.unreadable.clear()
        shown: dict[str, Seen] = {}
        for group in OPEN_GROUPS:
            shown.update({one.order_id: one for one in self.list_orders(tally, statuses=group, act=act)})
        listed = self.list_orders(tally, since_utc_ns=since_utc_ns, act=act)
        shown.update({one.order_id: one for one in listed})
        for vanished in [one for one in tally.own() if one.open and one.order_id not in shown]:
            shown[vanished.order_id] = self._look_again(tally, vanished)
        if tally.unreadable:
            raise MalformedAnswerError("; ".join(tally.unreadable[:3]))
        doomed = [one for one in shown.values() if tally.rule.dooms(one)]
        self.hindrance = ""
        return Look(
            asked,
            frozenset(one.order_id for one in doomed),
            frozenset(one.order_id for one in doomed if one.open),
        )

    def _look_again(self, tally: Tally, order: Seen) -> Seen:
        """One that was open and that no listing shows (it may be older than the window): not found is not gone."""
        result = self.ask(lambda client: client.get_order(order.order_id))
        found = tally.note([table(table(parse_json(result.body), "get_order").get("order"), "order")])
        if [one.order_id for one in found] != [order.order_id]:
            raise MalformedAnswerError(f"get_order: asked for {order.order_id}, got another")
        return found[0]

    def clear(self, tally: Tally, since_utc_ns: int) -> None:
        """Look and cancel until it is proven or the time is up; ``tally.proven`` says which."""
        while True:
            try:
                look = self.look(tally, since_utc_ns)
                if tally.judge(look):
                    return
                self.pause(max(tally.wait_s(self.clock.boot_ns()), 0.01) if not look.open else ROUND_S)
            except OutOfTimeError:
                return
            except (ReadError, RefusedByVenueError, MalformedAnswerError) as error:
                self.hinder(str(error))
                try:
                    self.pause(1.0)
                except OutOfTimeError:
                    return


def _problem(result: WireResult) -> str:
    """Why this is no answer; empty when it is one."""
    if result.status is None:
        return result.error or "no answer"
    if result.status == 401:
        return "HTTP 401: throttled, a wrong key, or this machine's clock is off"
    if result.status != 200:
        return f"HTTP {result.status} {refusal_text(result.body)}".rstrip()
    try:
        table(parse_json(result.body), "answer")
    except MalformedAnswerError as error:
        return f"HTTP 200, {error}"
    return ""
