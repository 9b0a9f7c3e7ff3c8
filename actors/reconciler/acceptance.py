"""What an operator's acceptance of the venue's state takes in, and what it must be refused for. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from actors.clock import NS_PER_S
from actors.messages.orders import OrderState
from actors.messages.reconcile import LedgerFacts
from actors.messages.venue import VenueFill, VenueOrder
from actors.reconciler.compare import Egress, Found, Identity, VenueView
from actors.reconciler.ids import parse
from actors.reconciler.kinds import DifferenceKind

_UNSETTLED = frozenset({OrderState.INTENT, OrderState.SUBMITTING, OrderState.UNKNOWN})
_ENDED = frozenset({"FILLED", "CANCELLED", "EXPIRED", "FAILED"})
_FORGETTABLE = frozenset({DifferenceKind.FOREIGN_HOST, DifferenceKind.PHANTOM_FILL, DifferenceKind.SENT_WITHOUT_EGRESS})
"""Differences of the past that no reading will ever undo: after an acceptance they do not count any more."""


@dataclass(frozen=True, slots=True)
class Adoption:
    """``orders``: ours that the ledger lacks, ended ones too; ``fills``: those of ours that it lacks, and every
    adjustment. ``keys``: differences that are history from now on."""

    orders: tuple[VenueOrder, ...]
    fills: tuple[VenueFill, ...]
    keys: tuple[str, ...]
    highest_n: int
    highest_epoch: int


def objections(
    ledger: LedgerFacts, view: VenueView, egress: Egress, found: Iterable[Found], me: Identity, *, late_ns: int
) -> tuple[str, ...]:
    """Why what the venue shows must not be accepted now. ``late_ns``: how long a request may still arrive there."""
    said = [
        f"{order.client_order_id} is {order.state.value}: wait until it is known, or `run.py resolve` it"
        for order in ledger.orders
        if order.state in _UNSETTLED
    ]
    listed = view.orders().values()
    for order in listed:
        told = parse(order.client_order_id)
        if told is None or told.family != me.family or order.status in _ENDED:
            continue
        if told.instance != me.instance:
            said.append(f"{order.client_order_id} of another instance is {order.status}: end that host, cancel it")
        elif order.base_size is None or order.limit_price is None:
            said.append(f"{order.client_order_id} is shown without size or price: ask again")
    said += [
        f"{one.key} is {one.ledger} here and listed nowhere: that does not mean cancelled, look at the venue"
        for one in found
        if one.kind is DifferenceKind.MISSING_AT_VENUE
    ]
    known = {order.client_order_id for order in ledger.orders} | {order.client_order_id for order in listed}
    said += [
        f"{name} left this host just now and may still arrive: wait {late_ns // NS_PER_S} s"
        for name in sorted(egress.created - known)
        if egress.utc_ns[name] > view.asked_utc_ns - late_ns and _beyond(name, ledger.head)
    ]
    return tuple(said)


def adoption(ledger: LedgerFacts, view: VenueView, egress: Egress, found: Iterable[Found], me: Identity) -> Adoption:
    """What is taken in. Nothing is invented: every order and every fill is one that the venue shows."""
    known = {order.client_order_id for order in ledger.orders}
    listed = view.orders().values()
    ours = [order for order in listed if _is_ours(order.client_order_id, me)]
    orders = [
        order
        for order in ours
        if order.client_order_id not in known
        and order.base_size is not None
        and order.limit_price is not None
    ]
    order_ids = {order.order_id for order in ours} | {one.order_id for one in ledger.orders if one.order_id}
    recorded = set(ledger.fills)
    fills = [
        fill
        for fill in view.fills
        if fill.order_id in order_ids and (fill.entry_id not in recorded or fill.trade_type != "FILL")
    ]
    ids = [parse(name) for name in (*(order.client_order_id for order in ours), *egress.created)]
    mine = [one for one in ids if one is not None and (one.family, one.instance) == (me.family, me.instance)]
    adopted = {order.client_order_id for order in orders}
    keys = [f"{one.kind.value}:{one.key}" for one in found if one.kind in _FORGETTABLE and one.key not in adopted]
    return Adoption(
        tuple(sorted(orders, key=lambda order: order.created_utc_ns)),
        tuple(fills),
        tuple(keys),
        max((one.n for one in mine), default=0),
        max((one.epoch for one in mine), default=0),
    )


def _is_ours(client_order_id: str, me: Identity) -> bool:
    """By instance alone: an epoch later than ours is one that a restored folder has forgotten."""
    told = parse(client_order_id)
    return told is not None and (told.family, told.instance) == (me.family, me.instance)


def _beyond(client_order_id: str, head: int) -> bool:
    told = parse(client_order_id)
    return told is None or told.n > head
