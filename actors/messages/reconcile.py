"""Comparing the books with the venue, and accepting what it shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from actors.messages.base import Command, Message, Stamp
from actors.messages.books import Position
from actors.messages.market import Side
from actors.messages.orders import OrderState, Role
from actors.messages.venue import VenueBalance, VenueFill, VenueOrder


@dataclass(frozen=True, slots=True)
class ReconcileNow(Message):
    """admin, watchdog -> reconciler."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Difference:
    """One disagreement between ledger and venue: a closed list of kinds in actors/reconciler."""

    kind: str
    key: str
    ledger: str
    venue: str
    beyond_tolerance: bool


@dataclass(frozen=True, slots=True)
class OpenFlow:
    """A balance change that no fill explains and no operator has accepted yet; ``amount`` is signed, in ``currency``.

    While one is open nothing new is risked; what left counts as lost, what came is no gain.
    """

    flow_id: str
    currency: str
    amount: Decimal
    expected: Decimal
    held: Decimal
    found_utc_ns: int

    @property
    def text(self) -> str:
        amount, held, expected = (value.normalize() for value in (self.amount, self.held, self.expected))
        return f"{self.flow_id}: {amount:+f} {self.currency} ({held:f} held, {expected:f} expected)"


@dataclass(frozen=True, slots=True)
class ReconcileReport(Message):
    """reconciler -> watchdog, tracker, admin, risk: one complete comparison, or why it could not be made.

    ``ok`` True: complete and nothing beyond tolerance. ``complete`` False: the venue could not be read.
    ``flows``: open, whatever became of the comparison; None when they cannot be read. ``doubt``: currencies whose
    newest reading does not add up; a second one decides.
    """

    complete: bool
    ok: bool
    differences: tuple[Difference, ...]
    error: str
    finished_boot_ns: int
    compared_orders: int
    compared_fills: int
    flows: tuple[OpenFlow, ...] | None = ()
    doubt: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VenueEvidence(Message):
    """reconciler -> tracker: venue facts to take in by their ids (orders, fills), never a correction by itself."""

    orders: tuple[VenueOrder, ...] = field(default=())
    fills: tuple[VenueFill, ...] = field(default=())
    asked_boot_ns: int = 0


@dataclass(frozen=True, slots=True)
class AdoptVenue(Command):
    """reconciler -> tracker: an operator accepts what the venue shows. Doing it twice changes nothing.

    ``orders``: ours that the ledger lacks, to be taken in as they are; ``fills``: of these, and whatever else the
    ledger lacks. ``highest_n``: no client order id up to it is ever made again. ``balances``: what positions may
    be left with; what a position has beyond them is written off.
    """

    request_id: str
    operator: str
    reason: str
    orders: tuple[VenueOrder, ...]
    fills: tuple[VenueFill, ...]
    balances: tuple[VenueBalance, ...]
    highest_n: int
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class VenueAdopted(Message):
    """tracker -> reconciler: it is in the ledger, or ``refusal`` says why nothing was changed. The texts are for
    people."""

    request_id: str
    refusal: str
    adopted: tuple[str, ...] = ()
    booked: tuple[str, ...] = ()
    written_off: tuple[str, ...] = ()
    head: int = 0


@dataclass(frozen=True, slots=True)
class ReadLedger(Message):
    """reconciler -> tracker: what the ledger holds; the answer ``LedgerFacts`` goes to the actor ``stamp.name``."""

    request_id: str
    since_utc_ns: int
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class LedgerOrder:
    """One order of the ledger. ``sent`` False: the intent was never handed to the gateway (or NOT_SENT proven)."""

    client_order_id: str
    order_id: str | None
    symbol: str
    side: Side
    role: Role
    state: OrderState
    base_size: Decimal
    filled_size: Decimal
    limit_price: Decimal
    stop_price: Decimal | None
    created_utc_ns: int
    changed_utc_ns: int
    """Last change of state or filled size."""
    sent: bool
    vouched: bool = False
    """It was proven gone, or an operator said what became of it: until the venue shows it, that the venue does not is
    no news."""


@dataclass(frozen=True, slots=True)
class LedgerFacts(Message):
    """tracker -> reconciler: the ledger in one transaction.

    ``orders``: every non-terminal order, and every order created or changed at or after ``since_utc_ns``.
    ``fills``: entry ids of all fills recorded whose trade time is at or after ``since_utc_ns``.
    """

    request_id: str
    ready: bool
    epoch: int
    sequence: int
    head: int
    """The highest n given out in client order ids."""
    orders: tuple[LedgerOrder, ...]
    fills: tuple[str, ...]
    positions: tuple[Position, ...]
    at_boot_ns: int
    tracker_incarnation: int
    unbooked: tuple[str, ...] = ()
    """Reversals and corrections of the venue that are kept and not booked yet."""
