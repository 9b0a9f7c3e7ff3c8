"""Looks at the venue's own books many times a second while a case runs, and judges what it sees.

Only the venue is believed here: what is owned follows from its fills, what protects from its orders.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from decimal import Decimal

from tests.drills.daemon import Json
from tests.drills.matrix.lane import ALLOTTED, MAX_ORDER, TERMINAL, VenueLine

STEP_S = 0.04
KNOWN_NAKED_S = 1.5
DUST = Decimal(2)
"""Quote currency: less than this uncovered can be neither stopped nor sold."""
SHARES = {"position": Decimal("0.20"), "total": Decimal("0.60")}
"""max_position_pct and max_total_pct of the shipped policy, as parts of the allotted capital."""
MAX_POSITIONS = 3
FEES = Decimal("1.001")
PROTECTS = ("trigger_bracket_gtc", "stop_limit_stop_limit_gtc")


@dataclass(slots=True)
class Naked:
    """A time in which a position was not covered; monotonic seconds."""

    symbol: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(slots=True)
class Seen:
    """What one look showed of a symbol."""

    owned: Decimal = Decimal(0)
    cost: Decimal = Decimal(0)
    covered: Decimal = Decimal(0)
    open_sells: Decimal = Decimal(0)
    open_buys: Decimal = Decimal(0)
    price: Decimal = Decimal(1)

    @property
    def naked(self) -> bool:
        return (self.owned - self.covered) * self.price >= DUST


@dataclass(slots=True)
class Report:
    naked: list[Naked] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    looks: int = 0


class Watcher(threading.Thread):
    """Watches from a flat start on; ``stop`` ends it and tells."""

    def __init__(self, url: str, orders_from: int, fills_from: int, survives_target: bool) -> None:
        super().__init__(daemon=True)
        self._line = VenueLine(url)
        self._from = orders_from, fills_from
        self._survives = survives_target
        self._over = threading.Event()
        self._open: dict[str, Naked] = {}
        self._said: set[str] = set()
        self._entries: set[str] = set()
        self._report = Report()
        self.naked_now: set[str] = set()

    def run(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            try:
                self._look(self._line.truth(*self._from), began)
            except Exception as error:
                self._violated(f"the watcher could not look: {type(error).__name__}: {error}")
                return
            self._over.wait(max(0.0, STEP_S - (time.monotonic() - began)))

    def stop(self) -> Report:
        self._over.set()
        self.join(10)
        now = time.monotonic()
        for one in self._open.values():
            one.end = now
        return self._report

    def _look(self, truth: Json, now: float) -> None:
        self._report.looks += 1
        seen = self._read(truth)
        for symbol, one in seen.items():
            if one.naked:
                spell = self._open.get(symbol)
                if spell is None:
                    spell = self._open[symbol] = Naked(symbol, now, now)
                    self._report.naked.append(spell)
                spell.end = now
            elif symbol in self._open:
                self._open.pop(symbol).end = now
        self._judge_new_entries(seen, truth, now)
        self.naked_now = set(self._open)
        self._hold_limits(seen, truth)

    def _judge_new_entries(self, seen: dict[str, Seen], truth: Json, now: float) -> None:
        """No entry on a symbol that has been naked for a while, so that its part knew it."""
        for order in truth["orders"]:
            if order["side"] == "BUY" and order["order_id"] not in self._entries:
                self._entries.add(order["order_id"])
                spell = self._open.get(order["product_id"])
                if spell is not None and now - spell.start > KNOWN_NAKED_S:
                    self._violated(f"{order['client_order_id']} entered {now - spell.start:.1f} s after it was naked")

    def _read(self, truth: Json) -> dict[str, Seen]:
        seen: dict[str, Seen] = {}
        own = {}
        for order in truth["orders"]:
            if order["client_order_id"].startswith("td-"):
                own[order["order_id"]] = order
                seen.setdefault(order["product_id"], Seen(price=Decimal(truth["prices"][order["product_id"]])))
        for fill in truth["fills"]:
            if fill["order_id"] in own:
                one = seen[fill["product_id"]]
                size, price = Decimal(fill["size"]), Decimal(fill["price"])
                if fill["side"] == "BUY":
                    one.owned, one.cost = one.owned + size, one.cost + size * price
                else:
                    one.cost -= one.cost * size / one.owned if one.owned else Decimal(0)
                    one.owned -= size
        for order in own.values():
            if order["status"] not in TERMINAL:
                self._add_open(order, seen[order["product_id"]])
        return seen

    def _add_open(self, order: Json, one: Seen) -> None:
        kind, terms = next(iter(order["order_configuration"].items()))
        filled = Decimal(order["filled_size"])
        left = Decimal(terms["base_size"]) - filled
        if order["side"] == "BUY":
            one.open_buys += left * Decimal(terms["limit_price"])
            return
        one.open_sells += left
        spent = kind == "trigger_bracket_gtc" and filled > 0 and not self._survives
        spent = spent and order["trigger_status"] != "STOP_TRIGGERED"
        if kind in PROTECTS and order["status"] in ("OPEN", "CANCEL_QUEUED") and not spent:
            one.covered += left

    def _hold_limits(self, seen: dict[str, Seen], truth: Json) -> None:
        total, held = Decimal(0), 0
        for symbol, one in seen.items():
            exposed = one.cost + one.open_buys
            total += exposed
            held += exposed * FEES > DUST
            if exposed > ALLOTTED * SHARES["position"] * FEES:
                self._violated(f"{symbol}: exposure {exposed:.2f}")
            if one.owned < 0:
                self._violated(f"{symbol}: {-one.owned} more sold than bought")
            if one.open_sells > one.owned:
                self._violated(f"{symbol}: open SELLs of {one.open_sells}, owned {one.owned}")
        if total > ALLOTTED * SHARES["total"] * FEES:
            self._violated(f"total exposure {total:.2f}")
        if held > MAX_POSITIONS:
            self._violated(f"{held} positions")
        for order in truth["orders"]:
            terms = next(iter(order["order_configuration"].values()))
            if order["side"] == "BUY" and Decimal(terms["base_size"]) * Decimal(terms["limit_price"]) > MAX_ORDER:
                self._violated(f"{order['client_order_id']} is larger than {MAX_ORDER}")

    def _violated(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._report.violations.append(text)
