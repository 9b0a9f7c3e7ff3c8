"""Orders, from a proposal to the position: what the trading actors say to each other.

tick -> guard -> strategist: ``Proposal`` -> risk: ``Approval`` -> tracker: intent persisted -> gateway:
``SubmitOrder`` -> wire -> ``SubmitOutcome`` -> tracker -> ``PortfolioSnapshot``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar

from actors.messages.base import Command, Message, Stamp
from actors.messages.market import ProductRules, Quote, Side


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
class VenueOrder:
    """An order as the venue shows it, normalised; unknown texts are kept as they came."""

    order_id: str
    client_order_id: str
    product_id: str
    side: str
    status: str
    order_type: str
    time_in_force: str
    trigger_status: str
    base_size: Decimal | None
    """None when the configuration was missing or in quote currency."""
    limit_price: Decimal | None
    stop_price: Decimal | None
    filled_size: Decimal
    average_filled_price: Decimal
    filled_value: Decimal
    total_fees: Decimal
    reject_reason: str
    cancel_message: str
    created_utc_ns: int
    end_utc_ns: int | None
    originating_order_id: str
    outstanding_hold: Decimal | None


@dataclass(frozen=True, slots=True)
class VenueFill:
    """One fill; ``entry_id`` is its identity. ``trade_type`` FILL, REVERSAL, CORRECTION or SYNTHETIC."""

    entry_id: str
    trade_id: str
    order_id: str
    product_id: str
    side: str
    price: Decimal
    size: Decimal
    commission: Decimal
    trade_type: str
    liquidity: str
    size_in_quote: bool
    trade_utc_ns: int
    sequence_utc_ns: int


@dataclass(frozen=True, slots=True)
class VenueBalance:
    currency: str
    available: Decimal
    hold: Decimal


@dataclass(frozen=True, slots=True)
class FeeTier:
    tier: str
    maker_rate: Decimal
    taker_rate: Decimal


class QueryKind(StrEnum):
    ORDER = "order"
    """One order: by order_id if given, else found by client_order_id in the listing of all statuses."""
    OPEN_ORDERS = "open_orders"
    ORDERS_SINCE = "orders_since"
    FILLS_SINCE = "fills_since"
    FILLS_OF_ORDER = "fills_of_order"
    BALANCES = "balances"
    PRODUCTS = "products"
    FEES = "fees"
    KEY_PERMISSIONS = "key_permissions"
    BEST_BID_ASK = "best_bid_ask"


@dataclass(frozen=True, slots=True)
class VenueQuery(Command):
    """anyone -> gateway: read the venue. The answer goes to the actor named ``stamp.name``."""

    request_id: str
    kind: QueryKind
    stamp: Stamp
    client_order_id: str | None = None
    order_id: str | None = None
    since_utc_ns: int | None = None
    products: tuple[str, ...] = ()
    priority: int = 30
    """Lower goes first: 0 cancel, 10 protect, 20 query of an UNKNOWN, 30 reconcile and reads, 40 enter."""


@dataclass(frozen=True, slots=True)
class VenueAnswer(Message):
    """gateway -> asker. ``ok`` False: the venue could not be read and ``error`` says why; nothing else holds.

    ORDER: ``orders`` holds the order, or is empty when the venue does not list it (which alone is no proof
    of absence). Listings are complete: every page was read, and read twice where pagination is unstable.
    ``asked_boot_ns`` is before the first byte went out: events after it may be missing in the answer.
    """

    request_id: str
    kind: QueryKind
    ok: bool
    error: str
    asked_boot_ns: int
    answered_boot_ns: int
    asked_utc_ns: int
    gateway_incarnation: int
    client_order_id: str | None = None
    order_id: str | None = None
    orders: tuple[VenueOrder, ...] = ()
    fills: tuple[VenueFill, ...] = ()
    balances: tuple[VenueBalance, ...] = ()
    rules: tuple[ProductRules, ...] = ()
    fees: FeeTier | None = None
    quotes: tuple[Quote, ...] = ()
    can_trade: bool | None = None
    can_transfer: bool | None = None


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """One non-terminal order in a snapshot."""

    client_order_id: str
    order_id: str | None
    symbol: str
    side: Side
    role: Role
    kind: OrderKind
    state: OrderState
    base_size: Decimal
    filled_size: Decimal
    limit_price: Decimal
    stop_price: Decimal | None
    since_utc_ns: int
    """Last change of state or filled size."""
    created_utc_ns: int = 0

    @property
    def remaining(self) -> Decimal:
        return self.base_size - self.filled_size


@dataclass(frozen=True, slots=True)
class Position:
    """One base asset bought on one instrument by this daemon. Costs include fees; quote currency."""

    symbol: str
    base: str
    quantity: Decimal
    average_cost: Decimal
    """Quote currency per base unit, entry fees included."""
    realized: Decimal
    fees: Decimal
    protection: Protection
    opened_utc_ns: int
    stop_price: Decimal | None
    target_price: Decimal | None
    exit_due_utc_ns: int | None
    """When the maximum holding time ends."""


@dataclass(frozen=True, slots=True)
class PnlBooks:
    """Realized PnL, quote currency, fees included. Day and week (Monday) begin at 00:00 UTC."""

    realized_total: Decimal
    realized_day: Decimal
    realized_week: Decimal
    fees_total: Decimal
    day_start_utc_ns: int
    week_start_utc_ns: int


@dataclass(frozen=True, slots=True)
class PortfolioSnapshot(Message):
    """tracker -> risk, strategist, admin, metrics, reconciler: after every change and once a second.

    ``sequence`` only grows within one daemon epoch; ``ready`` is False until the tracker may be trusted
    (restored, and UNKNOWNs queried once).
    """

    epoch: int
    sequence: int
    ready: bool
    open_orders: tuple[OpenOrder, ...]
    positions: tuple[Position, ...]
    pnl: PnlBooks
    unknown_symbols: tuple[str, ...]
    orders_by_state: tuple[tuple[str, str, int], ...]
    """(state, role, count) over all orders of the ledger."""
    handled_proposals: tuple[str, ...]
    """The newest (at most 64) proposal ids whose approval became an order or a refusal: frees reservations."""
    at_boot_ns: int
    tracker_incarnation: int


@dataclass(frozen=True, slots=True)
class RoundTripClosed(Message):
    """tracker -> risk, strategist: a position went back to zero (or dust)."""

    symbol: str
    realized: Decimal
    exit_reason: str
    closed_utc_ns: int
    correlation_id: str


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
class OutcomeTaken(Message):
    """tracker -> gateway: this outcome is persisted; do not repeat it."""

    client_order_id: str
    what: str
    """``submit``, ``cancel`` or ``edit``."""


@dataclass(frozen=True, slots=True)
class ExposureLine:
    """Exposure of one symbol or base asset, quote currency: held, plus everything pending."""

    key: str
    held: Decimal
    pending: Decimal


@dataclass(frozen=True, slots=True)
class RiskReport(Message):
    """risk -> admin, metrics: once a second. None means that an input is missing, never zero."""

    delivery: ClassVar[str] = "plain"
    by_symbol: tuple[ExposureLine, ...]
    by_asset: tuple[ExposureLine, ...]
    total_exposure: Decimal | None
    reserved: Decimal
    unrealized: Decimal | None
    equity: Decimal | None
    """Allotted capital + realized + unrealized."""
    high_water: Decimal | None
    drawdown_pct: Decimal | None
    loss_day: Decimal | None
    loss_week: Decimal | None
    cooldowns: tuple[tuple[str, int], ...]
    """(symbol or *, ends at utc ns)"""
    fees: FeeTier | None
    unavailable: tuple[str, ...]
    """Inputs that are missing right now and so stop entries."""
    unexplained: Decimal | None = None
    """What left the wallets without a fill, in quote currency; counted in the losses, the drawdown and the equity."""


@dataclass(frozen=True, slots=True)
class GatewayReport(Message):
    """gateway -> admin, watchdog, metrics: once a second."""

    delivery: ClassVar[str] = "plain"
    queued: int
    in_flight: int
    abandoned: int
    egress_count: int
    clock_offset_ms: float | None
    clock_error_ms: float | None
    budget_second: float
    """Requests still allowed in this second."""
    budget_hour: int
    key_checked: bool
    can_trade: bool | None


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
