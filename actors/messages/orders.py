"""Orders, from a proposal to what came of it.

tick -> guard -> strategist: ``Proposal`` -> risk: ``Approval`` -> tracker: intent persisted -> gateway:
``SubmitOrder`` -> wire -> ``SubmitOutcome`` -> tracker -> ``PortfolioSnapshot`` (books.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar

from actors.messages.base import Command, Message, Stamp
from actors.messages.market import Quote, Side


class Role(StrEnum):
    ENTRY = "entry"
    EXIT = "exit"
    PROTECTION = "protection"


class OrderKind(StrEnum):
    """Which order_configuration the gateway sends."""

    LIMIT_IOC = "limit_ioc"
    LIMIT_GTD = "limit_gtd"
    LIMIT_GTC = "limit_gtc"
    STOP_LIMIT_GTC = "stop_limit_gtc"
    BRACKET_GTC = "bracket_gtc"


class OrderState(StrEnum):
    INTENT = "INTENT"
    SUBMITTING = "SUBMITTING"
    UNKNOWN = "UNKNOWN"
    OPEN = "OPEN"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    PENDING_CANCEL = "PENDING_CANCEL"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"

    @property
    def terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED, OrderState.REJECTED})


class Protection(StrEnum):
    """How a position stands: computed from the venue's orders, never assumed."""

    FLAT = "FLAT"
    PROTECTED = "PROTECTED"
    DUST = "DUST"
    NAKED = "NAKED"


@dataclass(frozen=True, slots=True)
class Proposal(Message):
    """strategist -> risk. Sized by ``notional`` (quote currency, entries) or ``base_size`` (exits)."""

    proposal_id: str
    correlation_id: str
    strategy: str
    symbol: str
    """The order product, e.g. BTC-USD or BTC-USDC."""
    side: Side
    role: Role
    notional: Decimal | None
    base_size: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    target_price: Decimal | None
    max_hold_s: float | None
    expected_edge_bps: Decimal | None
    reason: str
    quote: Quote
    decided_boot_ns: int
    tick_boot_ns: int
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class OrderSpec:
    """What is to be ordered, already on the venue's grid."""

    symbol: str
    side: Side
    role: Role
    kind: OrderKind
    base_size: Decimal
    limit_price: Decimal
    stop_price: Decimal | None = None
    """Stop trigger of a STOP_LIMIT or BRACKET."""
    end_after_s: float | None = None
    """LIMIT_GTD: seconds of life, in exchange time."""
    plan_stop: Decimal | None = None
    """Entries: the stop of the protection to place on the first fill."""
    plan_target: Decimal | None = None
    plan_max_hold_s: float | None = None


@dataclass(frozen=True, slots=True)
class Approval(Command):
    """risk -> tracker: one proposal may become one order, until ``expires_boot_ns``."""

    proposal_id: str
    correlation_id: str
    strategy: str
    spec: OrderSpec
    reservation: Decimal
    """Quote currency held in the risk manager's books until the tracker shows the order or refuses it."""
    quote: Quote
    codes: tuple[str, ...]
    decided_boot_ns: int
    tick_boot_ns: int
    approved_boot_ns: int
    expires_boot_ns: int
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Refusal(Message):
    """risk or tracker -> strategist (and risk): the proposal ends here; ``code`` is a stable reason code."""

    proposal_id: str
    correlation_id: str
    symbol: str
    code: str
    detail: str
    by: str


@dataclass(frozen=True, slots=True)
class OrderIntent:
    """An order as persisted before the wire; the client order id never changes and is never used again."""

    client_order_id: str
    symbol: str
    side: Side
    role: Role
    kind: OrderKind
    base_size: Decimal
    limit_price: Decimal
    stop_price: Decimal | None
    end_utc_ns: int | None
    correlation_id: str
    created_utc_ns: int


@dataclass(frozen=True, slots=True)
class SubmitOrder(Command):
    """tracker -> gateway: send this intent. ``quote`` is checked for age last, for BUYs only.

    ``owned`` is the base quantity that the tracker vouches for (SELLs are refused above it): what the books own beyond
    all other open SELLs, but those that the venue does not know and an urgent sale goes on past: an account read since
    shows the coins as free.
    """

    intent: OrderIntent
    quote: Quote | None
    expires_boot_ns: int
    owned: Decimal | None
    stamp: Stamp


class OutcomeKind(StrEnum):
    """DONE: the venue answered yes. REFUSED: the venue answered no, or proof that nothing left this process.
    NOT_SENT: refused by a last check before the first byte. UNKNOWN: anything else after the first byte."""

    DONE = "done"
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SubmitOutcome(Message):
    """gateway -> tracker; repeated until acknowledged; accepted by client order id from any incarnation."""

    client_order_id: str
    kind: OutcomeKind
    order_id: str | None
    reason: str
    wire_boot_ns: int | None
    wire_utc_ns: int | None
    answered_boot_ns: int
    gateway_incarnation: int


@dataclass(frozen=True, slots=True)
class CancelOrder(Command):
    """tracker -> gateway. Cancels have their own thread, session and the highest priority."""

    client_order_id: str
    order_id: str
    symbol: str
    reason: str
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class CancelOutcome(Message):
    """DONE means that the *request was taken*, not that the order is cancelled."""

    client_order_id: str
    order_id: str
    kind: OutcomeKind
    reason: str
    gateway_incarnation: int


@dataclass(frozen=True, slots=True)
class EditOrder(Command):
    """tracker -> gateway: edit in place (GTC limit, stop-limit, bracket); price and size are both required."""

    client_order_id: str
    order_id: str
    symbol: str
    base_size: Decimal
    limit_price: Decimal
    stop_price: Decimal | None
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class EditOutcome(Message):
    client_order_id: str
    order_id: str
    kind: OutcomeKind
    reason: str
    gateway_incarnation: int


@dataclass(frozen=True, slots=True)
class PipelineTiming(Message):
    """tracker -> metrics: boot-clock nanoseconds of one order's stations; 0 where not reached."""

    delivery: ClassVar[str] = "plain"
    client_order_id: str
    role: Role
    decided_boot_ns: int = 0
    approved_boot_ns: int = 0
    persisted_boot_ns: int = 0
    wire_boot_ns: int = 0
    answered_boot_ns: int = 0
    first_fill_boot_ns: int = 0


@dataclass(frozen=True, slots=True)
class OutcomeTaken(Message):
    """tracker -> gateway: this outcome is persisted; do not repeat it."""

    client_order_id: str
    what: str
    """``submit``, ``cancel`` or ``edit``."""
