"""Takes in what the venue shows because an operator accepts it: orders of ours, their fills, adjustments, losses.

Nothing is invented: every order and fill is the venue's. What the venue no longer holds is written off, under that
name, as a loss. Runs inside one transaction; doing it twice changes nothing.
"""

from __future__ import annotations

from decimal import Decimal

from actors.messages.market import Side
from actors.messages.orders import OrderIntent, OrderKind, OutcomeKind
from actors.messages.reconcile import AdoptVenue, VenueAdopted
from actors.messages.venue import VenueFill, VenueOrder
from actors.orders import booking, ids, schema
from actors.orders.booking import ADJUSTMENTS, Booked, Identity
from actors.orders.ledger import Ledger
from actors.orders.machine import OrderFacts
from actors.orders.positions import Book
from actors.orders.records import ADOPTED, FillRecord, OrderRecord

ZERO = Decimal(0)
BOOKED_ENTRY = "booked:"
"""Entry ids of booked adjustments: this and the venue's entry id, so each is booked once. They belong to no order:
what was filled was filled, that it was reversed is another fact."""


class AdoptionError(ValueError):
    """Something shown cannot be taken in; then nothing is. The text says what."""


def adopt(ledger: Ledger, command: AdoptVenue, identity: Identity, now_utc_ns: int, booked: Booked) -> VenueAdopted:
    """Do what ``command`` says; raises AdoptionError."""
    ledger.raise_head(command.highest_n)
    adopted = []
    for view in command.orders:
        if ledger.order(view.client_order_id) is None:
            adopted.append(_adopt_order(ledger, view, identity, now_utc_ns, booked))
    for fill in command.fills:
        if fill.trade_type in ADJUSTMENTS:
            _keep_adjustment(ledger, fill, booked)
        else:
            booking.take_fill(ledger, fill, now_utc_ns, booked)
    adjusted = [_book_adjustment(ledger, kind, fill, booked) for kind, fill in ledger.unbooked()]
    lost = _write_off(ledger, command, now_utc_ns, booked)
    ledger.event(
        "baseline_accepted",
        command.request_id,
        operator=command.operator,
        reason=command.reason,
        adopted=adopted,
        booked=adjusted,
        written_off=lost,
        head=ledger.head,
    )
    return VenueAdopted(command.request_id, "", tuple(adopted), tuple(adjusted), tuple(lost), ledger.head)


# --- orders ------------------------------------------------------------------------------------------------


def _adopt_order(ledger: Ledger, view: VenueOrder, identity: Identity, now_utc_ns: int, booked: Booked) -> str:
    record = record_of(view, ledger.next_n(), now_utc_ns)
    other = ledger.order_by_venue_id(view.order_id)
    if other is not None:
        raise AdoptionError(f"{view.client_order_id} has the order id of {other.id}")
    ledger.add_order(record)
    booking.take_view(ledger, view, identity, now_utc_ns, booked)
    return f"{record.id}: {view.side} {view.base_size} {view.product_id} {view.status}, filled {view.filled_size}"


def record_of(view: VenueOrder, n: int, now_utc_ns: int) -> OrderRecord:
    """The order as if this ledger had sent it; it wants no stop of its own, so the default one protects its fills."""
    told = ids.parse(view.client_order_id)
    if told is None or view.base_size is None or view.limit_price is None:
        raise AdoptionError(f"{view.client_order_id or view.order_id} is not an order of ours with size and price")
    intent = OrderIntent(
        client_order_id=view.client_order_id,
        symbol=view.product_id,
        side=Side(view.side),
        role=told.role,
        kind=_kind_of(view),
        base_size=view.base_size,
        limit_price=view.limit_price,
        stop_price=view.stop_price,
        end_utc_ns=view.end_utc_ns,
        correlation_id=ADOPTED,
        created_utc_ns=view.created_utc_ns,
    )
    facts = OrderFacts(view.base_size, submitted=True, outcome=OutcomeKind.DONE, order_id=view.order_id)
    return OrderRecord(intent, n, told.epoch, facts, now_utc_ns, reason="adopted")


def _kind_of(view: VenueOrder) -> OrderKind:
    match view.order_type.upper(), view.time_in_force.upper():
        case "LIMIT", "IMMEDIATE_OR_CANCEL":
            return OrderKind.LIMIT_IOC
        case "LIMIT", "GOOD_UNTIL_DATE_TIME":
            return OrderKind.LIMIT_GTD
        case "LIMIT", _:
            return OrderKind.LIMIT_GTC
        case "STOP_LIMIT", _:
            return OrderKind.STOP_LIMIT_GTC
        case "BRACKET", _:
            return OrderKind.BRACKET_GTC
    raise AdoptionError(f"{view.client_order_id} is of a type we never send: {view.order_type!r}")


# --- adjustments -------------------------------------------------------------------------------------------


def effect(trade_type: str, side: Side, size: Decimal) -> tuple[Side, Decimal]:
    """What an adjustment does to the position: a REVERSAL takes its trade back, a negative size turns any other."""
    turned = trade_type == "REVERSAL" or size < 0
    return (Side.SELL if side is Side.BUY else Side.BUY) if turned else side, abs(size)


def _keep_adjustment(ledger: Ledger, fill: VenueFill, booked: Booked) -> None:
    record = ledger.order_by_venue_id(fill.order_id)
    if record is not None and not booking.note_changed_fill(ledger, fill, booked):
        ledger.add_fill(booking.fill_record(record, fill), fill.trade_type, booked=False)


def _book_adjustment(ledger: Ledger, trade_type: str, fill: FillRecord, booked: Booked) -> str:
    side, size = effect(trade_type, fill.side, fill.size)
    if size == 0 or fill.price == 0:
        raise AdoptionError(f"{trade_type} {fill.entry_id}: size {fill.size} at {fill.price} cannot be booked")
    own = FillRecord(
        f"{BOOKED_ENTRY}{fill.entry_id}", fill.trade_id, "", "", fill.symbol, side, abs(fill.price), size, fill.fee,
        fill.trade_utc_ns,
    )  # fmt: skip
    ledger.add_fill(own, schema.ADJUSTMENT, booked=True)
    booked.symbols.add(fill.symbol)
    return f"{trade_type} {fill.entry_id} of {fill.client_order_id}: {side.value} {size} {fill.symbol} at {own.price}"


# --- what is gone ------------------------------------------------------------------------------------------


def _write_off(ledger: Ledger, command: AdoptVenue, now_utc_ns: int, booked: Booked) -> list[str]:
    """Positions larger than what the venue holds end there, at no proceeds."""
    owned = {balance.currency: balance.available + balance.hold for balance in command.balances}
    by_base: dict[str, list[Book]] = {}
    for book in ledger.books():
        if book.quantity > 0:
            by_base.setdefault(book.symbol.partition("-")[0], []).append(book)
    if by_base and not any(owned.values()):
        raise AdoptionError("every account shows zero: no position is written off on such an answer")
    said = []
    for base, books in sorted(by_base.items()):
        if base not in owned:
            raise AdoptionError(f"the venue shows no account of {base}: no position is written off on such an answer")
        short = sum((book.quantity for book in books), ZERO) - owned[base]
        for book in sorted(books, key=lambda one: -one.quantity):
            size = min(short, book.quantity)
            if size <= 0:
                break
            entry = f"write-off:{command.request_id}:{book.symbol}"
            fill = FillRecord(entry, "", "", "", book.symbol, Side.SELL, ZERO, size, ZERO, now_utc_ns)
            ledger.add_fill(fill, schema.WRITE_OFF, booked=True)
            booked.symbols.add(book.symbol)
            said.append(f"{size} {book.symbol}: {owned[base]} {base} held")
            short -= size
    return said
