"""Takes facts into the ledger, each once: outcomes, what the venue shows, fills. Nothing is ever corrected.

Every function runs inside one transaction of the ledger and returns what else follows from the fact.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from actors.clock import NS_PER_S
from actors.messages.market import Side
from actors.messages.orders import OrderState, OutcomeKind, Role, SubmitOutcome
from actors.messages.venue import VenueFill, VenueOrder
from actors.orders import ids, machine, schema
from actors.orders.ledger import Ledger
from actors.orders.reads import Plan
from actors.orders.records import FillRecord, OrderRecord

OPERATOR_ENTRY = "operator:"
"""Entry ids of fills that an operator vouched for: this and the client order id, so there is one per order."""
_VOUCHED = "yet an operator had it taken for filled"
BEYOND = "beyond_ledger"
"""The venue has an own order that the ledger lacks: an older ledger was put back, and its books are not the venue's."""
_OVER = frozenset({"FILLED", "CANCELLED", "EXPIRED", "FAILED"})
ADJUSTMENTS = frozenset({"REVERSAL", "CORRECTION", "SYNTHETIC"})


@dataclass(frozen=True, slots=True)
class Anomaly:
    """What must not be: trips the reconcile breaker and alerts. ``kind`` is stable, ``key`` deduplicates."""

    kind: str
    key: str
    symbol: str
    text: str


@dataclass(slots=True)
class Booked:
    """What followed from the facts taken in."""

    symbols: set[str] = field(default_factory=set)
    """Symbols whose orders or books changed."""
    anomalies: list[Anomaly] = field(default_factory=list)
    strays: set[str] = field(default_factory=set)
    """Order ids of fills that belong to no order of the ledger: ask whose they are."""
    fetch_fills: set[str] = field(default_factory=set)
    """Order ids that the venue says were filled beyond what is booked."""
    fills: list[tuple[FillRecord, OrderRecord]] = field(default_factory=list)
    rejected: list[OrderRecord] = field(default_factory=list)
    """Orders that the venue had taken and then failed."""

    def note(self, kind: str, key: str, symbol: str, text: str) -> None:
        self.anomalies.append(Anomaly(kind, key, symbol, text))


@dataclass(frozen=True, slots=True)
class Claim:
    """What an operator says was filled: base units, quote currency per unit, fee in quote currency."""

    size: Decimal
    price: Decimal
    fee: Decimal


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose client order ids are ours."""

    family: str
    instance: str
    epoch: int


def take_outcome(ledger: Ledger, outcome: SubmitOutcome, now_utc_ns: int, booked: Booked) -> OrderRecord | None:
    """The gateway's answer to a SubmitOrder; None when the ledger has no such order."""
    record = ledger.order(outcome.client_order_id)
    if record is None:
        text = f"outcome {outcome.kind.value} for {outcome.client_order_id}, which the ledger does not have"
        booked.note("unknown_outcome", outcome.client_order_id, "*", text)
        return None
    kind = outcome.kind
    if kind is OutcomeKind.REFUSED and "DUPLICATE_CLIENT_ORDER_ID" in outcome.reason:
        kind = OutcomeKind.UNKNOWN  # the venue has an order of this id: it is to be found, not to be forgotten
    if kind is OutcomeKind.DONE and outcome.order_id:
        other = ledger.order_by_venue_id(outcome.order_id)
        if other is not None and other.id != record.id:
            booked.note(
                "order_id_twice", outcome.order_id, record.symbol, f"{record.id} and {other.id} share an order id"
            )
            return record
    if kind in (OutcomeKind.REFUSED, OutcomeKind.NOT_SENT) and record.facts.seen:
        booked.note(
            "refused_yet_seen", record.id, record.symbol, f"{record.id} was {kind.value}, yet the venue shows it"
        )
    vouched = vouched_fill(ledger, record)
    if vouched is not None and kind is not OutcomeKind.UNKNOWN:
        booked.note("resolved_yet_answered", record.id, record.symbol, f"{record.id} was {kind.value}, {_VOUCHED}")
        if kind is not OutcomeKind.DONE:
            record = withdraw(ledger, record, vouched, kind.value, now_utc_ns, booked)
    facts = machine.with_outcome(record.facts, kind, outcome.order_id)
    after = record.updated(facts, now_utc_ns, outcome.reason or None)
    if after.facts != record.facts or after.reason != record.reason:
        ledger.change_order(record, after, f"outcome:{outcome.kind.value}")
        booked.symbols.add(record.symbol)
    return after


def take_view(ledger: Ledger, view: VenueOrder, identity: Identity, now_utc_ns: int, booked: Booked) -> None:
    """What the venue shows of one order. Orders that are not ours are left alone."""
    record = ledger.order_by_venue_id(view.order_id) or ledger.order(view.client_order_id)
    if record is None:
        if ids.is_own(view.client_order_id, identity.family, identity.instance, identity.epoch):
            text = f"the venue has {view.client_order_id}, the ledger does not: was it rolled back?"
            booked.note(BEYOND, view.client_order_id, view.product_id, text)
        return
    contradiction = _contradiction(record, view)
    if contradiction:
        booked.note("contradiction", record.id, record.symbol, f"{record.id}: {contradiction}")
        return
    try:
        facts = machine.with_view(record.facts, view)
    except machine.UnknownVenueStatusError as error:
        booked.note("unknown_status", record.id, record.symbol, f"{record.id}: {error}")
        return
    vouched = vouched_fill(ledger, record)
    if record.facts.absent and not record.facts.seen:
        kind = "absent_yet_seen" if vouched is None else "resolved_yet_seen"
        what = f"was taken for absent ({record.reason})" if vouched is None else "was taken for filled by an operator"
        text = f"{record.id} {what}, yet the venue shows it: {view.status}, filled {view.filled_size}"
        booked.note(kind, record.id, record.symbol, text)
    if record.facts.gone and not (view.status in _OVER and view.filled_size <= record.facts.filled):
        text = f"{record.id} was gone from the venue ({record.reason}), yet it is shown again: {view.status}, filled"
        text += f" {view.filled_size}; it counts again, and what is too much is cancelled"
        booked.note("vanished_yet_seen", f"{record.id}#{facts.returned}", record.symbol, text)
    if view.status == "FAILED" and not machine.is_listed_reason(view.reject_reason):
        # It failed, that much is certain; what it means for the next one, nobody here knows.
        booked.note("unknown_reason", record.id, record.symbol, f"{record.id}: reject reason {view.reject_reason!r}")
    if vouched is not None and view.filled_size == 0:
        record = withdraw(ledger, record, vouched, f"venue:{view.status}", now_utc_ns, booked)
        facts = machine.with_view(record.facts, view)
    elif vouched is not None or facts.awaits_fills:
        booked.fetch_fills.add(view.order_id)
    if facts != record.facts:
        reason = "returned" if record.facts.gone else None
        reason = view.reject_reason if view.status == "FAILED" else reason
        after = record.updated(facts, now_utc_ns, reason)
        ledger.change_order(record, after, f"venue:{view.status}")
        booked.symbols.add(record.symbol)
        if after.state is OrderState.REJECTED and not record.state.terminal:
            booked.rejected.append(after)


def _contradiction(record: OrderRecord, view: VenueOrder) -> str:
    intent = record.intent
    if record.facts.order_id not in (None, view.order_id):
        return f"order id {view.order_id}, known as {record.facts.order_id}"
    if view.client_order_id and view.client_order_id != record.id:
        return f"client order id {view.client_order_id}"
    if view.product_id != intent.symbol or view.side != intent.side.value:
        return f"{view.side} {view.product_id}, sent as {intent.side.value} {intent.symbol}"
    if view.base_size is not None and view.base_size != intent.base_size:
        return f"size {view.base_size}, sent as {intent.base_size}"
    if view.filled_size > intent.base_size:
        return f"filled {view.filled_size} of {intent.base_size}"
    return ""


def take_fill(ledger: Ledger, fill: VenueFill, now_utc_ns: int, booked: Booked) -> None:
    """One fill, from any source, once by its entry id: that entry coming again as another is booked never."""
    if note_changed_fill(ledger, fill, booked):
        return
    record = ledger.order_by_venue_id(fill.order_id)
    if record is None:
        booked.strays.add(fill.order_id)
        return
    own = fill_record(record, fill)
    wrong = _wrong_fill(record, fill)
    if wrong:
        booked.note("fill_refused", fill.entry_id, record.symbol, f"fill {fill.entry_id} of {record.id}: {wrong}")
        if fill.trade_type in ADJUSTMENTS:
            ledger.add_fill(own, fill.trade_type, booked=False)
        return
    vouched = vouched_fill(ledger, record)
    if vouched is not None:  # the venue's own word replaces the operator's
        record = withdraw(ledger, record, vouched, f"fill:{fill.entry_id}", now_utc_ns, booked)
    was = record.state
    after = record.updated(machine.with_fill(record.facts, fill.size), now_utc_ns)
    ledger.add_fill(own, fill.trade_type, booked=True)
    ledger.change_order(record, after, f"fill:{fill.entry_id}")
    if record.side is Side.BUY:
        _plan_position(ledger, after, own)
    booked.symbols.add(record.symbol)
    booked.fills.append((own, after))
    _judge_fill(ledger, record, after, late=was.terminal, booked=booked)


def note_changed_fill(ledger: Ledger, fill: VenueFill, booked: Booked) -> bool:
    """Whether the ledger has the entry; one that the venue tells otherwise now is an anomaly, and nothing moves.

    An exchange that rewrites what it reported cannot be followed by adding facts: what was booked stays, and people
    compare. Its own way to take a fill back is a REVERSAL or CORRECTION with an entry id of its own.
    """
    kept = ledger.fill(fill.entry_id)
    if kept is None:
        return False
    told = {
        "order": (kept.order_id, fill.order_id),
        "product": (kept.symbol, fill.product_id),
        "side": (kept.side.value, fill.side),
        "size": (kept.size, fill.size),
        "price": (kept.price, fill.price),
        "fee": (kept.fee, fill.commission),
        "type": (ledger.fill_type(fill.entry_id), fill.trade_type),
    }
    if fill.trade_type in ADJUSTMENTS:
        del told["side"]  # what is kept has its order's; the venue may name either
    changed = [f"{name} {was}, now {now}" for name, (was, now) in told.items() if not _is_same(was, now)]
    text = f"fill {fill.entry_id} of {kept.client_order_id}: {'; '.join(changed)}. The books keep what was first"
    # The venue goes on telling it so: an operator who has accepted that is not halted again by each new incarnation.
    if changed and not ledger.is_accepted(fill.entry_id, text):
        booked.note("fill_changed", fill.entry_id, kept.symbol, text)
    return True


def _is_same(was: object, now: object) -> bool:
    unread = isinstance(was, Decimal) and isinstance(now, Decimal) and was.is_nan() and now.is_nan()
    return unread or was == now


def vouched_fill(ledger: Ledger, record: OrderRecord) -> FillRecord | None:
    """The fill that an operator vouched for, as long as the venue has not shown otherwise."""
    return ledger.booked_fill(OPERATOR_ENTRY + record.id) if record.facts.absent else None


def withdraw(
    ledger: Ledger, record: OrderRecord, vouched: FillRecord, why: str, now_utc_ns: int, booked: Booked
) -> OrderRecord:
    """The operator's fill leaves the books; what the venue shows takes its place."""
    booked.symbols.add(record.symbol)
    return ledger.withdraw_fill(record, vouched, why, now_utc_ns)


def take_absence(ledger: Ledger, record: OrderRecord, reason: str, cause: str, now_utc_ns: int) -> OrderRecord:
    """The venue never had the order."""
    after = record.updated(machine.with_absence(record.facts), now_utc_ns, reason)
    ledger.change_order(record, after, cause)
    return after


def take_vanishing(ledger: Ledger, record: OrderRecord, reason: str, cause: str, now_utc_ns: int) -> OrderRecord:
    """The venue had the order and has it no more."""
    after = record.updated(machine.with_vanishing(record.facts), now_utc_ns, reason)
    ledger.change_order(record, after, cause)
    return after


def take_claim(ledger: Ledger, record: OrderRecord, claim: Claim, now_utc_ns: int, booked: Booked) -> OrderRecord:
    """An operator vouches for a fill of an UNKNOWN order; whatever else was ordered of it never was.

    It is dated by the order itself, the nearest moment that is known.
    """
    fill = FillRecord(
        OPERATOR_ENTRY + record.id, "", "", record.id, record.symbol, record.side,
        claim.price, claim.size, claim.fee, record.intent.created_utc_ns,
    )  # fmt: skip
    facts = machine.with_fill(machine.with_absence(record.facts), claim.size)
    after = record.updated(facts, now_utc_ns, "resolved_filled")
    ledger.add_fill(fill, schema.OPERATOR_FILL, booked=True)
    ledger.change_order(record, after, "operator:filled")
    if record.side is Side.BUY:
        _plan_position(ledger, after, fill)
    booked.symbols.add(record.symbol)
    booked.fills.append((fill, after))
    return after


def fill_record(record: OrderRecord, fill: VenueFill) -> FillRecord:
    """The venue's fill as the ledger keeps it."""
    return FillRecord(
        fill.entry_id, fill.trade_id, fill.order_id, record.id, record.symbol, record.side,
        fill.price, fill.size, fill.commission, fill.trade_utc_ns,
    )  # fmt: skip


def _wrong_fill(record: OrderRecord, fill: VenueFill) -> str:
    if fill.trade_type != "FILL":
        return f"a {fill.trade_type}: kept, not booked; `run.py baseline accept` books it"
    if fill.size_in_quote:
        return "its size is in quote currency, which no order of ours asks for"
    if fill.product_id != record.symbol or fill.side != record.side.value:
        return f"{fill.side} {fill.product_id}"
    if fill.size <= 0 or fill.price <= 0 or fill.commission.is_nan():
        return f"size {fill.size}, price {fill.price}"
    return ""


def _judge_fill(ledger: Ledger, before: OrderRecord, after: OrderRecord, *, late: bool, booked: Booked) -> None:
    if after.facts.filled > after.facts.size:
        text = f"{after.id} filled {after.facts.filled} of {after.facts.size}"
        booked.note("overfill", after.id, after.symbol, text)
    if late:
        ledger.event("late_fill", after.id, state=before.state.value, filled=after.facts.filled)
    quantity = ledger.book(after.symbol).quantity
    if quantity < 0:
        booked.note("oversold", after.symbol, after.symbol, f"{after.symbol}: {-quantity} more was sold than is known")


def _plan_position(ledger: Ledger, entry: OrderRecord, fill: FillRecord) -> None:
    """The newest entry's stop, target and holding time hold for the whole position."""
    if entry.role is not Role.ENTRY:
        return
    known = ledger.plan(entry.symbol)
    if known is not None and known.client_order_id == entry.id:
        return
    if known is not None and ledger.book(entry.symbol).quantity > fill.size:
        newer = ledger.order(known.client_order_id)
        if newer is not None and newer.n > entry.n:
            return  # a late fill of an older entry
    due = None
    if entry.plan_max_hold_s is not None:
        due = fill.trade_utc_ns + round(entry.plan_max_hold_s * NS_PER_S)
    plan = Plan(entry.symbol, entry.plan_stop, entry.plan_target, due, entry.id, entry.intent.correlation_id)
    ledger.put_plan(plan)


def open_sells(orders: list[OrderRecord]) -> Decimal:
    """Base units that working SELL orders may still take, UNKNOWN ones included."""
    return sum((one.facts.remaining for one in orders if one.side is Side.SELL and one.working), Decimal(0))
