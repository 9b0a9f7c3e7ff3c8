"""Does the venue hold back what our resting orders need? Pure.

An order that rests holds its money (a SELL its base, a BUY at least price times size): less on hold than that means
that an order which everybody calls open does not rest. More may be anybody's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal

from actors.messages.market import Side
from actors.messages.orders import OrderState
from actors.messages.reconcile import LedgerFacts, LedgerOrder
from actors.reconciler.compare import Found, VenueView
from actors.reconciler.kinds import DifferenceKind

_AT_REST = frozenset({OrderState.OPEN, OrderState.PARTIALLY_FILLED})
ZERO = Decimal(0)


def compare_holds(ledger: LedgerFacts, venue: VenueView, *, settle_ns: int) -> Iterator[Found]:
    """One difference per wallet that holds too little. Its key names the orders judged, so that it only lasts while
    the same orders rest: others in the second look are another question."""
    listed = venue.orders()
    needed: dict[str, Decimal] = defaultdict(lambda: ZERO)
    orders: dict[str, list[str]] = defaultdict(list)
    for order in ledger.orders:
        shown = listed.get(order.order_id) if order.order_id else None
        if (
            shown is None
            or order.state not in _AT_REST
            or order.changed_utc_ns > venue.asked_utc_ns - settle_ns
            or shown.status != "OPEN"
            or shown.filled_size != order.filled_size
        ):
            continue
        currency, amount = _need(order)
        needed[currency] += amount
        orders[currency].append(order.client_order_id)
    held = {balance.currency: balance.hold for balance in venue.balances}
    for currency, amount in needed.items():
        if held.get(currency, ZERO) < amount:
            key = f"{currency} for {', '.join(sorted(orders[currency]))}"
            on_hold = f"{held[currency]} on hold" if currency in held else "no account"
            yield Found(DifferenceKind.HOLD_SHORT, key, f"{amount} needed", on_hold)


def _need(order: LedgerOrder) -> tuple[str, Decimal]:
    base, _, quote = order.symbol.partition("-")
    remaining = order.base_size - order.filled_size
    return (base, remaining) if order.side is Side.SELL else (quote, remaining * order.limit_price)
