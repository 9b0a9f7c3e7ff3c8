"""Which of the venue's orders a sweep without a ledger cancels, and when it is proven done. Pure.

Own orders are known by their client ids alone. The side decides, not the label: only a SELL that says protection
is protection. Proof is two complete looks at the venue further apart than its visibility delay, both without an
order that should be gone, the second without any such order (whatever its status) that the first did not show.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from actors.gateway.decimals import MalformedAnswerError, number, text
from actors.messages.orders import Role
from actors.orders import ids
from actors.orders.ids import ClientId

OVER = frozenset({"FILLED", "CANCELLED", "EXPIRED", "FAILED"})
NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Seen:
    """An order of a daemon's making, as the venue last showed it. A size that cannot be read is None."""

    order_id: str
    made: ClientId
    symbol: str
    side: str
    status: str
    size: Decimal | None
    filled: Decimal | None
    stop: str

    @property
    def open(self) -> bool:
        return self.status not in OVER

    @property
    def protects(self) -> bool:
        return self.side == "SELL" and self.made.role is Role.PROTECTION


def read_order(row: Mapping[str, object]) -> Seen | None:
    """The order, or None when no daemon made it. Raises MalformedAnswerError for one that lacks what decides."""
    made = ids.parse(str(row.get("client_order_id") or ""))
    if made is None:
        return None
    terms = _terms(row)
    stop = terms.get("stop_trigger_price") or terms.get("stop_price") or ""
    return Seen(
        text(row, "order_id"),
        made,
        text(row, "product_id"),
        text(row, "side"),
        text(row, "status"),
        _size(terms, "base_size"),
        _size(row, "filled_size"),
        str(stop),
    )


def _terms(row: Mapping[str, object]) -> Mapping[str, object]:
    configuration = row.get("order_configuration")
    values = list(configuration.values()) if isinstance(configuration, dict) else []
    return values[0] if len(values) == 1 and isinstance(values[0], dict) else {}


def _size(source: Mapping[str, object], key: str) -> Decimal | None:
    try:
        return number(source, key)
    except MalformedAnswerError:
        return None


@dataclass(frozen=True, slots=True)
class Rule:
    """What is cancelled. ``instance`` None: of every instance. ``entries_only``: BUYs alone, no exit."""

    family: str
    instance: str | None = None
    cancel_all: bool = False
    entries_only: bool = False

    def owns(self, order: Seen) -> bool:
        return order.made.family == self.family and self.instance in (None, order.made.instance)

    def dooms(self, order: Seen) -> bool:
        """Whether this own order must not rest, be it open or over."""
        if not self.owns(order):
            return False
        if order.side == "BUY":
            return True
        return not self.entries_only and (self.cancel_all or not order.protects)


@dataclass(frozen=True, slots=True)
class Look:
    """One complete reading. ``doomed``: ids of all orders that must not rest; ``open``: those that do."""

    asked_boot_ns: int
    doomed: frozenset[str]
    open: frozenset[str]


@dataclass(slots=True)
class Tally:
    """What a sweep has seen and done so far."""

    rule: Rule
    visibility_s: float
    orders: dict[str, Seen] = field(default_factory=dict)
    manual: dict[str, str] = field(default_factory=dict)
    """Open orders of nobody's making that we know: order id -> product."""
    unreadable: list[str] = field(default_factory=list)
    asked: dict[str, int] = field(default_factory=dict)
    """Orders whose cancel was asked for -> boot time of the last time."""
    refusals: dict[str, str] = field(default_factory=dict)
    looks: int = 0
    late: int = 0
    """Orders that appeared between two looks: somebody still sends."""
    proven: bool = False
    _first: Look | None = None
    """The first of the present row of clean looks."""

    def note(self, rows: Iterable[Mapping[str, object]]) -> list[Seen]:
        """Take in rows of a listing; returns the orders of daemons among them.

        One of them that cannot be read is kept in ``unreadable``: it holds up the proof, not the others' cancels.
        """
        found = []
        for row in rows:
            try:
                order = read_order(row)
            except MalformedAnswerError as error:
                self.unreadable.append(f"{row.get('client_order_id')}: {error}")
                continue
            if order is not None:
                self.orders[order.order_id] = order
                found.append(order)
            elif str(row.get("status")) not in OVER:
                self.manual[str(row.get("order_id"))] = str(row.get("product_id"))
            else:
                self.manual.pop(str(row.get("order_id")), None)
        return found

    def due(self, orders: Iterable[Seen], now_boot_ns: int, again_s: float) -> list[Seen]:
        """Those to cancel now: open, doomed, and not asked for within ``again_s``."""
        return [
            one
            for one in orders
            if one.open
            and self.rule.dooms(one)
            and now_boot_ns - self.asked.get(one.order_id, -(10**18)) >= again_s * NS_PER_S
        ]

    def judge(self, look: Look) -> bool:
        """Take in a complete look; True when it completes the proof."""
        self.looks += 1
        first, self._first = self._first, None
        if look.open:
            return False
        new = look.doomed - first.doomed if first is not None else frozenset()
        self.late += len(new)
        if first is None or new:
            self._first = look
            return False
        self._first = first
        self.proven = look.asked_boot_ns - first.asked_boot_ns > self.visibility_s * NS_PER_S
        return self.proven

    def wait_s(self, now_boot_ns: int) -> float:
        """How long until the next look can prove something; 0 when none was clean yet."""
        if self._first is None:
            return 0.0
        due = self._first.asked_boot_ns + self.visibility_s * NS_PER_S
        return max(0.0, (due - now_boot_ns) / NS_PER_S)

    # --- what came of it

    def own(self) -> list[Seen]:
        return sorted((one for one in self.orders.values() if self.rule.owns(one)), key=lambda one: str(one.made))

    def still_open(self) -> list[Seen]:
        """Orders that should be gone and were last shown open."""
        return [one for one in self.own() if one.open and self.rule.dooms(one)]

    def resting(self) -> list[Seen]:
        """Own orders that stay."""
        return [one for one in self.own() if one.open and not self.rule.dooms(one)]

    def other_families(self) -> dict[str, int]:
        """Open orders of other daemons: family -> how many."""
        found: dict[str, int] = {}
        for one in self.orders.values():
            if one.open and one.made.family != self.rule.family:
                found[one.made.family] = found.get(one.made.family, 0) + 1
        return found

    def uncovered(self) -> dict[str, tuple[Decimal | None, Decimal | None]]:
        """Products where own orders of the window bought more than they sold and than protection rests for.

        product -> (bought less sold, covered); None where a size could not be read. The window may begin in the
        middle of a position: this warns, it proves nothing.
        """
        found = {}
        for symbol in sorted({one.symbol for one in self.own()}):
            mine = [one for one in self.own() if one.symbol == symbol]
            net = _sum((one.filled, 1 if one.side == "BUY" else -1) for one in mine)
            covered = _sum(
                (None if one.size is None or one.filled is None else one.size - one.filled, 1)
                for one in mine
                if one.open and one.protects and not self.rule.dooms(one)
            )
            if net is None or covered is None or net > covered:
                found[symbol] = (net, covered)
        return found


def _sum(parts: Iterable[tuple[Decimal | None, int]]) -> Decimal | None:
    total = Decimal(0)
    for part, sign in parts:
        if part is None:
            return None
        total += sign * part
    return total
