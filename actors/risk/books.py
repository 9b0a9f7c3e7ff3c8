"""What is used of the limits: held, working, and approved but not yet seen - all counted at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from actors.messages.books import OpenOrder, PortfolioSnapshot, Position
from actors.messages.market import Side
from actors.messages.orders import Protection, Role

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Reservation:
    """An approval whose order the tracker has not shown yet. ``amount``: quote currency with fee, 0 for exits."""

    proposal_id: str
    symbol: str
    side: Side
    amount: Decimal
    base_size: Decimal
    expires_boot_ns: int


@dataclass(slots=True)
class Books:
    """Open reservations. One is freed by proof alone: the tracker handled it, refused it, or can no longer take it."""

    reservations: dict[str, Reservation] = field(default_factory=dict)

    def reserve(self, reservation: Reservation) -> None:
        self.reservations[reservation.proposal_id] = reservation

    def refused(self, proposal_id: str) -> bool:
        """The tracker refused the approval; True when it was known."""
        return self.reservations.pop(proposal_id, None) is not None

    def take_in(self, snapshot: PortfolioSnapshot) -> None:
        """Free what the snapshot shows: handled, or expired before the snapshot was made.

        The tracker takes no approval after its expiry, so a later snapshot holds every order that came of it.
        """
        handled = frozenset(snapshot.handled_proposals)
        self.reservations = {
            key: item
            for key, item in self.reservations.items()
            if key not in handled and snapshot.at_boot_ns <= item.expires_boot_ns
        }

    def on(self, symbol: str, side: Side) -> tuple[Reservation, ...]:
        return tuple(item for item in self.reservations.values() if item.symbol == symbol and item.side is side)

    def reserved(self) -> Decimal:
        return sum((item.amount for item in self.reservations.values()), ZERO)


@dataclass(frozen=True, slots=True)
class Exposure:
    """Quote currency: what is held (the larger of cost and mark) and what is pending, per symbol."""

    held: Mapping[str, Decimal]
    pending: Mapping[str, Decimal]
    cost: Decimal
    """Cost of all positions, fees included."""

    def of(self, symbols: Iterable[str]) -> Decimal:
        return sum((self.held.get(name, ZERO) + self.pending.get(name, ZERO) for name in set(symbols)), ZERO)

    @property
    def total(self) -> Decimal:
        return sum(self.held.values(), ZERO) + sum(self.pending.values(), ZERO)

    @property
    def pending_total(self) -> Decimal:
        return sum(self.pending.values(), ZERO)

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.held) | set(self.pending)))


def entry_cost(order: OpenOrder, fee_rate: Decimal) -> Decimal:
    """What an open buy may still spend, fee included."""
    return order.remaining * order.limit_price * (1 + fee_rate)


def counts(position: Position) -> bool:
    """Whether a position takes one of the places (dust does not)."""
    return position.quantity > 0 and position.protection is not Protection.DUST


def exposure(
    snapshot: PortfolioSnapshot, books: Books, fee_rate: Decimal, mark: Callable[[Position], Decimal | None]
) -> Exposure:
    """Everything held and pending. A position counts the larger of its cost and its mark; without a mark, its cost
    (the gate refuses entries then, see ``unrealized``)."""
    held: dict[str, Decimal] = defaultdict(lambda: ZERO)
    pending: dict[str, Decimal] = defaultdict(lambda: ZERO)
    cost = ZERO
    for position in snapshot.positions:
        if position.quantity <= 0:
            continue
        value = position.quantity * position.average_cost
        cost += value
        price = mark(position)
        held[position.symbol] += value if price is None else max(value, position.quantity * price)
    for order in snapshot.open_orders:
        if order.side is Side.BUY:
            pending[order.symbol] += entry_cost(order, fee_rate)
    for reservation in books.reservations.values():
        if reservation.side is Side.BUY:
            pending[reservation.symbol] += reservation.amount
    return Exposure(dict(held), dict(pending), cost)


def unrealized(snapshot: PortfolioSnapshot, mark: Callable[[Position], Decimal | None]) -> Decimal | str:
    """Unrealized profit at the marks, or the symbol whose position has none. Dust without a mark counts as lost."""
    total = ZERO
    for position in snapshot.positions:
        if position.quantity <= 0:
            continue
        price = mark(position)
        if price is None and counts(position):
            return position.symbol
        total += position.quantity * ((price or ZERO) - position.average_cost)
    return total


def free_to_sell(snapshot: PortfolioSnapshot, books: Books, symbol: str) -> Decimal:
    """Owned on ``symbol`` minus what exits, working or approved, are selling already."""
    owned = sum((position.quantity for position in snapshot.positions if position.symbol == symbol), ZERO)
    working = sum(
        (
            order.remaining
            for order in snapshot.open_orders
            if order.symbol == symbol and order.side is Side.SELL and order.role is Role.EXIT
        ),
        ZERO,
    )
    approved = sum((item.base_size for item in books.on(symbol, Side.SELL)), ZERO)
    return owned - working - approved
