"""What must hold: at every step (``broken``), and once the day has settled (``final``).

Written against the venue's own books, not against what the rooms compute: a limit is judged from the fills and
the open orders of the venue, a permission from the leases that were issued.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from actors.messages.books import PortfolioSnapshot
from actors.messages.health import Lease, TradingState
from actors.messages.orders import OrderState, Protection
from actors.messages.reconcile import ReconcileReport
from actors.orders.actor import TrackerActor
from actors.risk.actor import RiskActor
from simulator.book import BUY, SELL
from simulator.orders import BRACKET_KINDS, STOP_KINDS, Fill, Order
from supervision.virtual_time import VirtualProcess

if TYPE_CHECKING:
    from tests.campaign.world import World

LEASE_LIFE_NS = 2_000_000_000
CANCELLED_WITHIN_NS = 10_000_000_000
ROUNDING = Decimal("0.05")
DUST_VALUE = Decimal(3)
"""Quote currency; a remainder worth less cannot be stopped: the venue takes nothing below 1, the gate wants 1.5."""
MEANT = ("StuckCallsError",)
"""Crashes that are a room's way to a fresh start: calls that hang past their deadline."""
ZERO = Decimal(0)
ENDS = {
    "FILLED": OrderState.FILLED,
    "CANCELLED": OrderState.CANCELLED,
    "EXPIRED": OrderState.EXPIRED,
    "FAILED": OrderState.REJECTED,
}


@dataclass(slots=True)
class Held:
    """One product's position, folded from the venue's fills."""

    quantity: Decimal = ZERO
    cost: Decimal = ZERO

    def add(self, fill: Fill) -> None:
        value = fill.price * fill.size
        if fill.side == BUY:
            self.quantity += fill.size
            self.cost += value + fill.commission
        else:
            share = self.cost * fill.size / self.quantity if self.quantity > 0 else ZERO
            self.quantity -= fill.size
            self.cost -= share


class Judge:
    """Compares the venue's truth with what the daemon believes and with what it may do."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.broken: list[str] = []
        self.snapshot: PortfolioSnapshot | None = None
        self.report: ReconcileReport | None = None
        self.held: dict[str, Held] = defaultdict(Held)
        self.entries = 0
        self._fills_seen = 0
        self._orders_seen = 0
        self._lease: Lease | None = None
        """The newest that reached the gateway that lives now."""
        self._compared_in_epoch = 0
        """The daemon's start since which the reconciler last found ledger and venue to agree."""
        self._stopped_boot_ns: int | None = None
        """Since when every lease forbids entries."""
        self._sent: Counter[str] = Counter()
        self._agreed: set[str] = set()
        self._resting: set[str] = set()
        self.calm_boot_ns = 0
        """When the faults ended."""
        world.venue.after_change.append(self.step)

    # --- as it happens ---------------------------------------------------------------------------------

    def saw(self, sender: VirtualProcess | None, target: VirtualProcess, message: object) -> None:
        """One message is sent."""
        if isinstance(message, Lease):
            if message.state is TradingState.RUN:
                self._stopped_boot_ns = None
            elif self._stopped_boot_ns is None:
                self._stopped_boot_ns = message.issued_boot_ns
        elif isinstance(message, PortfolioSnapshot):
            if self.snapshot is None or message.sequence != self.snapshot.sequence:
                self._judge_closed()
            self.snapshot = message
        elif isinstance(message, ReconcileReport):
            self.report = message
            if message.complete and message.ok:
                self._compared_in_epoch = self.world.epoch

    def gateway_heard(self, lease: Lease | None) -> None:
        """A lease reached the gateway; None: a new gateway has none yet."""
        if lease is None or self._lease is None or lease.issued_boot_ns > self._lease.issued_boot_ns:
            self._lease = lease

    def wrote(self, client_order_id: str, side: str, symbol: str, wire_boot_ns: int) -> None:
        """The first byte of an order goes out."""
        self._sent[client_order_id] += 1
        if self._sent[client_order_id] > 1:
            self._break(f"{client_order_id} was put on the wire {self._sent[client_order_id]} times")
        if side != BUY:
            return
        self.entries += 1
        if self.world.settings.kill_file.exists():
            self._break(f"{client_order_id}: a BUY left while the kill latch was set")
        lease = self._lease
        if lease is None or wire_boot_ns - lease.issued_boot_ns > LEASE_LIFE_NS:
            self._break(f"{client_order_id}: a BUY left without a lease younger than 2 s: {lease}")
        elif lease.state_of(symbol) is not TradingState.RUN:
            self._break(f"{client_order_id}: a BUY left under {lease.state_of(symbol)}")
        if self._compared_in_epoch != self.world.epoch:
            self._break(f"{client_order_id}: a BUY left before the books were compared since the daemon's start")
        stopped = self.world.schedule.stopped_since()
        if stopped is not None and wire_boot_ns > stopped + LEASE_LIFE_NS:
            self._break(f"{client_order_id}: a BUY left {(wire_boot_ns - stopped) / 1e9:.1f} s after a stop was done")

    def _judge_closed(self) -> None:
        """What the ledger calls over is over at the venue, with the same fills: else it must be working or UNKNOWN."""
        tracker = self.world.actor("tracker")
        if not isinstance(tracker, TrackerActor) or not tracker._ready:
            return
        for order in self.world.venue.engine.orders.values():
            name = order.client_order_id
            if name in self._agreed:
                continue
            record = tracker.ledger.order(name)
            if record is None:
                self._break(f"{name} is at the venue ({order.status}) and not in the ledger")
            elif record.working:
                continue
            elif not order.is_terminal or order.filled_size != record.facts.filled:
                at_venue = f"{order.status}, {order.filled_size} filled"
                self._break(f"{name}: {at_venue} at the venue, {record.state}, {record.facts.filled} in the ledger")
            self._agreed.add(name)

    def step(self) -> None:
        """The venue's books changed."""
        engine = self.world.venue.engine
        changed = len(engine.orders) != self._orders_seen or len(engine.fills) != self._fills_seen
        for fill in engine.fills[self._fills_seen :]:
            held = self.held[fill.product_id]
            held.add(fill)
            if held.quantity < 0:
                self._break(f"{fill.client_order_id}: more of {fill.product_id} was sold than was bought")
        self._fills_seen, self._orders_seen = len(engine.fills), len(engine.orders)
        if changed:
            self._judge_limits()

    def _judge_limits(self) -> None:
        settings = self.world.settings
        rate = self.world.venue.engine.rules.taker_rate
        used: dict[str, Decimal] = {symbol: held.cost for symbol, held in self.held.items()}
        for order in self.world.venue.engine.orders.values():
            if order.side == BUY and not order.is_terminal:
                left = order.remaining * (order.limit_price or ZERO) * (1 + rate)
                used[order.product_id] = used.get(order.product_id, ZERO) + left
                whole = (order.base_size or ZERO) * (order.limit_price or ZERO)
                if whole > settings.capital.max_order + ROUNDING:
                    self._break(f"{order.client_order_id}: {whole:.2f} is above max_order")
        by_asset: dict[str, Decimal] = defaultdict(lambda: ZERO)
        for symbol, value in used.items():
            by_asset[symbol.split("-")[0]] += value
            self._bound(f"position {symbol}", value, settings.risk.max_position_pct)
        for asset, value in by_asset.items():
            self._bound(f"asset {asset}", value, settings.risk.max_asset_pct)
        self._bound("total", sum(used.values(), ZERO), settings.risk.max_total_pct)

    def _bound(self, what: str, value: Decimal, share_pct: Decimal) -> None:
        bound = self.world.settings.capital.allotted * share_pct / 100
        if value > bound + ROUNDING:
            self._break(f"{what} is {value:.2f}, limit {bound:.2f}")

    def crashed(self, label: str, status: int) -> None:
        """A process ended by itself, with an exit code that says so."""
        why = _newest_record(self.world.settings.crash_dir, label)
        if not any(name in why for name in MEANT):
            self._break(f"{label} left with exit code {status}: {why}")

    def _break(self, text: str) -> None:
        if len(self.broken) < 20:
            at_s = self.world.system.clock.boot_ns() / 1e9 - 1000
            self.broken.append(f"{at_s:.3f} s: {text}")

    # --- in the end ------------------------------------------------------------------------------------

    def final(self) -> list[str]:
        """What does not agree yet; empty when the day has settled."""
        tracker = self.world.actor("tracker")
        if not isinstance(tracker, TrackerActor) or not tracker._ready:
            return ["there is no tracker"]
        found = self._compare_orders(tracker)
        found += self._compare_fills(tracker)
        found += self._compare_positions(tracker)
        if not found:
            found += self._judge_protection()
            found += self._judge_reservations()
        self._judge_resting()
        if self.report is None or not (self.report.complete and self.report.ok):
            found.append(f"the reconciler does not agree: {self.report}")
        return found

    def _compare_orders(self, tracker: TrackerActor) -> list[str]:
        found = []
        records = {record.id: record for record in tracker.ledger.orders_since(0)}
        orders = {order.client_order_id: order for order in self.world.venue.engine.orders.values()}
        for name, order in orders.items():
            record = records.get(name)
            if record is None:
                found.append(f"{name} is at the venue ({order.status}) and not in the ledger")
                continue
            end = ENDS.get(order.status)
            agrees = record.state is end if order.is_terminal else record.working
            if not agrees and not (end is OrderState.EXPIRED and record.state is OrderState.CANCELLED):
                found.append(f"{name}: the venue says {order.status}, the ledger {record.state}")
            if record.facts.filled != order.filled_size:
                found.append(f"{name}: {order.filled_size} filled at the venue, {record.facts.filled} in the ledger")
            if record.facts.order_id != order.order_id:
                found.append(f"{name}: {order.order_id} at the venue, {record.facts.order_id} in the ledger")
            if order.side == BUY and not order.is_terminal:
                found.append(f"{name}: an entry still rests")
        for name, record in records.items():
            if name not in orders and record.state is not OrderState.REJECTED:
                found.append(f"{name} is {record.state} in the ledger and not at the venue")
        return found

    def _compare_fills(self, tracker: TrackerActor) -> list[str]:
        ours, theirs = tracker.ledger.fill_ids_since(0), [fill.fill_id for fill in self.world.venue.engine.fills]
        if sorted(ours) == sorted(theirs):
            return []
        return [f"{len(theirs)} fills at the venue, {len(ours)} in the ledger"]

    def _compare_positions(self, tracker: TrackerActor) -> list[str]:
        booked = {book.symbol: book.quantity for book in tracker.ledger.books()}
        names = sorted(set(booked) | set(self.held))
        return [
            f"{name}: {self.held[name].quantity} held at the venue, {booked.get(name, ZERO)} in the ledger"
            for name in names
            if self.held[name].quantity != booked.get(name, ZERO)
        ]

    def _judge_reservations(self) -> list[str]:
        """What risk set aside for approvals is free again."""
        risk = self.world.actor("risk")
        if not isinstance(risk, RiskActor) or not risk._ready:
            return ["there is no risk manager"]
        return [f"{name} stays reserved" for name in risk.books.reservations]

    def _judge_resting(self) -> None:
        """An entry may not rest for long once nothing may be bought: its cancel must not be forgotten."""
        now = self.world.system.clock.boot_ns()
        since = max(self._stopped_boot_ns or now, self.calm_boot_ns)
        if now - since < CANCELLED_WITHIN_NS:
            return
        for order in self.world.venue.engine.orders.values():
            if order.side == BUY and not order.is_terminal and order.client_order_id not in self._resting:
                self._resting.add(order.client_order_id)
                self._break(f"{order.client_order_id}: still rests {(now - since) / 1e9:.0f} s after trading stopped")

    def _judge_protection(self) -> list[str]:
        if self.snapshot is None or not self.snapshot.ready:
            return ["the tracker is not ready"]
        positions = {position.symbol: position for position in self.snapshot.positions}
        found = []
        for symbol, held in sorted(self.held.items()):
            if held.quantity == 0:
                continue
            said = positions[symbol].protection if symbol in positions else None
            stopped = sum((one.remaining for one in self._open_stops(symbol)), ZERO)
            value = (held.quantity - stopped) * self._mid(symbol)
            if said is Protection.PROTECTED and stopped < held.quantity and value > DUST_VALUE:
                found.append(f"{symbol} is called PROTECTED: {stopped} of {held.quantity} has a stop at the venue")
            elif said is Protection.DUST and value > DUST_VALUE:
                found.append(f"{symbol} is called DUST and {value:.2f} worth")
            elif said in (None, Protection.FLAT):
                found.append(f"{held.quantity} of {symbol} is held and called {said}")
            elif said is Protection.NAKED:
                found.append(f"{symbol} stays NAKED: {stopped} of {held.quantity} has a stop at the venue")
        return found

    def _open_stops(self, symbol: str) -> list[Order]:
        return [
            order
            for order in self.world.venue.engine.orders.values()
            if order.product_id == symbol
            and order.side == SELL
            and not order.is_terminal
            and order.kind in STOP_KINDS | BRACKET_KINDS
            and not (order.kind in BRACKET_KINDS and order.filled_size > 0)  # a touched target: the rest has no stop
        ]

    def _mid(self, symbol: str) -> Decimal:
        book = self.world.venue.engine.book_of(symbol)
        return book.mid() or ZERO


def _newest_record(folder: Path, label: str) -> str:
    """What the crash record says."""
    records = sorted(folder.glob(f"*-{label}-*.json"))
    if not records:
        return "no crash record"
    record = orjson.loads(records[-1].read_bytes())
    cause = record["cause"]
    last = (cause.get("frames") or [{}])[-1]
    return f"{cause['type']}: {cause['text']} on {record['message_type']} at {last.get('file')}:{last.get('line')}"
