"""Faults on demand: a closed list of kinds, each switched on with a count, a time, and what it matches."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from simulator.values import Json

# kind -> what it does and which parameters it takes
KINDS: dict[str, str] = {
    # websocket
    "drop_frame": "a frame gets its sequence number but is never sent",
    "duplicate_frame": "a frame is sent twice",
    "swap_frames": "a frame is sent after its successor",
    "garble_frame": "a frame is cut in the middle: invalid JSON",
    "stall": "the socket stays open and answers pings, no data comes; heartbeats: true keeps those; "
             "gap_after: false hides the loss from the sequence",
    "close": "connections are closed once; code: 1000, 1001, 1006 (abort), 1009, 1011",
    "refuse_connect": "a websocket handshake is answered with status (default 503)",
    "error_on_subscribe": "a subscribe is answered with an error frame; message",
    "client_id": "the envelope has client_id, as the documentation shows it",
    "heartbeat_string": "heartbeat_counter is a string, as the documentation shows it",
    "huge_snapshot": "a level2 snapshot is padded to megabytes (default 11)",
    "user_event_duplicate": "a user event is sent twice",
    "user_event_late": "a user event is sent after delay_s (default 1)",
    "user_event_missing": "a user event is never sent",
    # REST transport
    "status": "a request is answered with status and never handled; header_case: lower or title for 429",
    "html_200": "a handled request is answered 200 with HTML",
    "slow": "an answer takes delay_s; when: before (default) or after handling",
    "cut_before_booking": "the connection is cut, the request never handled",
    "cut_after_booking": "the request is handled, the connection cut before the answer",
    # orders
    "order_configuration_null": "create answers order_configuration: null",
    "order_fails_async": "create succeeds, the order goes to FAILED when it should open",
    "order_gets_nothing": "an immediate order finds nothing in the book",
    "get_order_404_for": "get_order answers 404 for visible_after_s after create",
    "orders_invisible_for": "list_orders leaves an order out for visible_after_s after create",
    "order_vanishes": "an open order is lost: off the book, in no answer, its hold freed, no event",
    "order_returns": "a lost order is back where it was, as soon as the wallet has what it holds",
    "fill_rewritten": "a fill is listed otherwise than before: field (size, price or commission) is add more",
    "duplicate_client_order_id": "a known client id is refused with DUPLICATE_CLIENT_ORDER_ID",
    "cancel_but_filled": "a cancel is taken, then the order fills",
    # account and product
    "zero_balances": "accounts answers 200 with zeros",
    "product_mode": "symbol's book is in mode: cancel_only, limit_only, post_only, auction_mode, "
                    "trading_disabled, view_only",
    "clock_skew": "the venue's clock is offset_s off (its times and its JWT check)",
    "fee_tier": "reading: unreadable, or maker_fee_rate and taker_fee_rate to show and charge",
    "can_transfer": "the key may transfer",
}
# kinds that describe a lasting state; the others strike once unless told otherwise
STATES = frozenset(
    {
        "stall", "refuse_connect", "client_id", "heartbeat_string", "huge_snapshot", "get_order_404_for",
        "orders_invisible_for", "duplicate_client_order_id", "zero_balances", "product_mode", "clock_skew",
        "fill_rewritten", "fee_tier", "can_transfer",
    }
)


class UnknownFaultError(ValueError):
    """A fault of a kind outside the closed list, or with values of the wrong type, was asked for."""


@dataclass(slots=True)
class Fault:
    """One active fault; `left` None strikes without end, `until_s` is on the monotonic clock."""

    fault_id: int
    kind: str
    params: Json
    left: int | None
    until_s: float | None
    match: dict[str, str] = field(default_factory=dict)
    struck: int = 0

    def number(self, name: str, default: float) -> float:
        """Return a numeric parameter."""
        value = self.params.get(name, default)
        return float(value) if isinstance(value, int | float) else float(str(value))

    def word(self, name: str, default: str) -> str:
        """Return a text parameter."""
        return str(self.params.get(name, default))

    def flag(self, name: str, default: bool) -> bool:
        """Return a boolean parameter."""
        return bool(self.params.get(name, default))

    def render(self) -> Json:
        """Write the fault for the control API."""
        return {"id": self.fault_id, "kind": self.kind, "params": self.params, "count_left": self.left,
                "match": self.match, "struck": self.struck}


class Faults:
    """The active faults, and how often each kind has struck since the start."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._active: list[Fault] = []
        self._made = 0
        self.struck: dict[str, int] = {}

    def add(self, body: Json) -> Fault:
        """Switch a fault on; raises UnknownFaultError."""
        kind = body.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            raise UnknownFaultError(f"unknown fault {kind!r}; known: {', '.join(KINDS)}")
        count, seconds, match = body.get("count"), body.get("seconds"), body.get("match") or {}
        if not isinstance(match, dict) or not isinstance(count, int | None) or (
            not isinstance(seconds, int | float | None)
        ):
            raise UnknownFaultError("count is an integer, seconds a number, match an object")
        if count is None and seconds is None and kind not in STATES and kind != "close":
            count = 1
        until = None if seconds is None else self._clock_s() + float(seconds)
        params = {k: v for k, v in body.items() if k not in {"kind", "count", "seconds", "match"}}
        self._made += 1
        fault = Fault(self._made, kind, params, count, until, {str(k): str(v) for k, v in match.items()})
        self._active.append(fault)
        return fault

    def clear(self) -> None:
        """Switch everything off."""
        self._active.clear()

    def active(self) -> list[Fault]:
        """Return what is still on."""
        now = self._clock_s()
        self._active = [f for f in self._active if f.left != 0 and (f.until_s is None or f.until_s > now)]
        return self._active

    def find(self, kind: str, **context: str) -> Fault | None:
        """Return an active fault of this kind that fits, without counting it."""
        if not self._active:
            return None
        for fault in self.active():
            if fault.kind == kind and self._fits(fault, context):
                return fault
        return None

    def find_any(self, kind: str) -> bool:
        """Tell whether a fault of this kind is active, whatever it matches."""
        return bool(self._active) and any(fault.kind == kind for fault in self.active())

    def strike(self, kind: str, **context: str) -> Fault | None:
        """Return an active fault of this kind that fits, counted as having struck; None otherwise."""
        fault = self.find(kind, **context)
        if fault is not None:
            self.count(fault)
        return fault

    def count(self, fault: Fault) -> None:
        """Count that a fault struck."""
        fault.struck += 1
        self.struck[fault.kind] = self.struck.get(fault.kind, 0) + 1
        if fault.left is not None:
            fault.left -= 1

    def retire(self, fault: Fault) -> None:
        """Switch one fault off."""
        self._active = [other for other in self._active if other is not fault]

    @staticmethod
    def _fits(fault: Fault, context: dict[str, str]) -> bool:
        for name, wanted in fault.match.items():
            if name == "path":
                if wanted not in context.get("path", ""):
                    return False
            elif context.get(name) != wanted:
                return False
        return True
