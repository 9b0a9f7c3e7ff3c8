"""Ledger against venue: what disagrees. Pure; knows nothing of time but the moments the readings carry.

The ledger is read first, the venue after it. So the venue may be ahead: an order or fill that the ledger does
not have yet is evidence to hand over and a difference only if it lasts (see ``grace``). Orders in motion are
not judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from actors.messages.market import ProductRules, Side
from actors.messages.orders import OrderState
from actors.messages.reconcile import LedgerFacts, LedgerOrder, VenueEvidence
from actors.messages.venue import FeeTier, VenueBalance, VenueFill, VenueOrder
from actors.reconciler.ids import parse
from actors.reconciler.kinds import DifferenceKind

FOREIGN_RECENT_NS = 3_600_000_000_000
"""Ended orders of another instance speak of a second host only while they are this young."""
_TERMINAL_AT_VENUE = frozenset({"FILLED", "CANCELLED", "EXPIRED", "FAILED"})
_RESTING = frozenset({OrderState.OPEN, OrderState.PARTIALLY_FILLED, OrderState.PENDING_CANCEL})
_ENDS: dict[OrderState, frozenset[str]] = {
    OrderState.FILLED: frozenset({"FILLED"}),
    OrderState.CANCELLED: frozenset({"CANCELLED", "EXPIRED"}),
    OrderState.EXPIRED: frozenset({"CANCELLED", "EXPIRED"}),
    OrderState.REJECTED: frozenset({"FAILED"}),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are: orders of this family with another instance, or a later epoch, are a second host's."""

    family: str
    instance: str
    epoch: int


@dataclass(frozen=True, slots=True)
class VenueView:
    """One reading of the venue. ``since_utc_ns``: from when on the ledger's answer is complete too; the listings
    begin earlier, and what is older is not judged."""

    open_orders: tuple[VenueOrder, ...]
    recent_orders: tuple[VenueOrder, ...]
    fills: tuple[VenueFill, ...]
    balances: tuple[VenueBalance, ...]
    since_utc_ns: int
    asked_utc_ns: int

    def orders(self) -> dict[str, VenueOrder]:
        """By order id; an order in both listings is taken from the later one (all statuses)."""
        return {order.order_id: order for order in (*self.open_orders, *self.recent_orders)}


@dataclass(frozen=True, slots=True)
class Egress:
    """Creates that left this host in this boot: client order ids, and when."""

    created: frozenset[str]
    utc_ns: dict[str, int]


@dataclass(frozen=True, slots=True)
class Found:
    """One difference, before anything is known of its age. ``key`` makes it the same one next time."""

    kind: DifferenceKind
    key: str
    ledger: str
    venue: str


@dataclass(frozen=True, slots=True)
class Comparison:
    found: tuple[Found, ...]
    evidence: VenueEvidence
    compared_orders: int
    compared_fills: int


def compare(
    ledger: LedgerFacts,
    venue: VenueView,
    egress: Egress,
    me: Identity,
    *,
    settle_ns: int,
    tolerance: Decimal,
    after: LedgerFacts | None = None,
) -> Comparison:
    """Everything that disagrees. ``settle_ns``: how long an order may be in motion or missing in a listing.

    ``after``: the ledger read once more after the venue. What the venue shows and the ledger lacks is judged by
    it: an order that was placed while the venue was read is in it.
    """
    listed = venue.orders()
    latest = after or ledger
    by_client_id = {order.client_order_id: order for order in listed.values() if order.client_order_id}
    known = {order.client_order_id: order for order in (*ledger.orders, *latest.orders)}
    found: list[Found] = []
    wanted: dict[str, VenueOrder] = {}
    found += _strangers(
        listed.values(), known, latest.head, me, venue.since_utc_ns + settle_ns, venue.asked_utc_ns, wanted
    )
    for order in ledger.orders:
        shown = by_client_id.get(order.client_order_id) or (listed.get(order.order_id) if order.order_id else None)
        if shown is not None and order.state in (OrderState.SUBMITTING, OrderState.UNKNOWN):
            wanted[shown.order_id] = shown  # proof of what became of it
        difference = _compare_order(order, shown, venue, settle_ns)
        if difference is not None:
            found.append(difference)
            if shown is not None:
                wanted[shown.order_id] = shown
    ours = {order.order_id for order in ledger.orders if order.order_id} | {
        order.order_id for order in listed.values() if _is_ours(order.client_order_id, me)
    }
    fill_differences, missing = _compare_fills(ledger, venue, ours)
    found += fill_differences
    found += _compare_holdings(ledger, venue, missing, tolerance)
    found += [Found(DifferenceKind.UNBOOKED, name, "kept, not booked", "listed") for name in latest.unbooked]
    found += _compare_egress(ledger, latest, egress, me, venue.asked_utc_ns, settle_ns)
    own_fills = tuple(fill for fill in venue.fills if fill.order_id in ours)
    # Recorded ones too: the tracker alone knows with which size and price it booked them.
    judged = tuple(fill for fill in own_fills if fill.trade_utc_ns >= venue.since_utc_ns)
    return Comparison(tuple(found), VenueEvidence(tuple(wanted.values()), judged), len(ledger.orders), len(own_fills))


def _is_ours(client_order_id: str, me: Identity) -> bool:
    told = parse(client_order_id)
    return told is not None and (told.family, told.instance) == (me.family, me.instance) and told.epoch <= me.epoch


def _strangers(
    listed: Iterable[VenueOrder],
    known: dict[str, LedgerOrder],
    head: int,
    me: Identity,
    judged_from_utc_ns: int,
    asked_utc_ns: int,
    wanted: dict[str, VenueOrder],
) -> Iterator[Found]:
    """Orders of our family that the ledger does not hold."""
    for order in listed:
        told = parse(order.client_order_id)
        if told is None or told.family != me.family or order.client_order_id in known:
            continue
        what = f"{order.status} {order.side} {order.product_id} filled {order.filled_size}"
        ended_long_ago = order.status in _TERMINAL_AT_VENUE and order.created_utc_ns < asked_utc_ns - FOREIGN_RECENT_NS
        if told.instance != me.instance and ended_long_ago:
            continue
        if told.instance != me.instance or told.epoch > me.epoch:
            who = f"{me.instance}, epoch {me.epoch}"
            yield Found(DifferenceKind.FOREIGN_HOST, order.client_order_id, who, what)
        elif told.n > head:
            wanted[order.order_id] = order
            yield Found(DifferenceKind.BEYOND_HEAD, order.client_order_id, f"head {head}", what)
        elif order.status not in _TERMINAL_AT_VENUE or (
            order.filled_size > 0 and order.created_utc_ns >= judged_from_utc_ns
        ):
            wanted[order.order_id] = order
            yield Found(DifferenceKind.NOT_IN_LEDGER, order.client_order_id, "nothing", what)


def _compare_order(order: LedgerOrder, shown: VenueOrder | None, venue: VenueView, settle_ns: int) -> Found | None:
    if order.changed_utc_ns > venue.asked_utc_ns - settle_ns:
        return None  # in motion
    if shown is None and order.vouched:
        return None
    if shown is None:
        # INTENT and SUBMITTING are the tracker's own to time out; UNKNOWN is proven by its own queries.
        if order.state in _RESTING:
            return Found(DifferenceKind.MISSING_AT_VENUE, order.client_order_id, order.state.value, "not listed")
        if order.filled_size > 0 and order.created_utc_ns >= venue.since_utc_ns + settle_ns:
            return Found(
                DifferenceKind.MISSING_AT_VENUE, order.client_order_id, f"filled {order.filled_size}", "not listed"
            )
        return None
    if _states_differ(order, shown):
        return Found(DifferenceKind.STATE, order.client_order_id, order.state.value, shown.status)
    if order.filled_size != shown.filled_size:
        return Found(DifferenceKind.FILLED_SIZE, order.client_order_id, str(order.filled_size), str(shown.filled_size))
    return None


def _states_differ(order: LedgerOrder, shown: VenueOrder) -> bool:
    ends = _ENDS.get(order.state)
    if ends is None:
        return shown.status in _TERMINAL_AT_VENUE or order.state is OrderState.INTENT
    return shown.status not in ends


def _compare_fills(ledger: LedgerFacts, venue: VenueView, ours: set[str]) -> tuple[list[Found], tuple[VenueFill, ...]]:
    recorded = set(ledger.fills)
    missing = tuple(
        fill
        for fill in venue.fills
        if fill.order_id in ours and fill.entry_id not in recorded and fill.trade_utc_ns >= venue.since_utc_ns
    )
    found = [
        Found(DifferenceKind.MISSING_FILL, fill.entry_id, "nothing", f"{fill.side} {fill.size} at {fill.price}")
        for fill in missing
    ]
    listed = {fill.entry_id for fill in venue.fills}
    found += [
        Found(DifferenceKind.PHANTOM_FILL, entry_id, "recorded", "not listed")
        for entry_id in ledger.fills
        if entry_id not in listed
    ]
    return found, missing


def _compare_holdings(
    ledger: LedgerFacts, venue: VenueView, missing: tuple[VenueFill, ...], tolerance: Decimal
) -> Iterator[Found]:
    """Holdings of others lie in the same wallets: only a shortfall says something about ours.

    What the ledger has not heard to be sold yet is not short: the missing fill is a difference of its own.
    """
    held: dict[str, Decimal] = {}
    cost: dict[str, Decimal] = {}
    for position in ledger.positions:
        held[position.base] = held.get(position.base, Decimal(0)) + position.quantity
        cost[position.base] = max(cost.get(position.base, Decimal(0)), position.average_cost)
    for fill in missing:
        base = fill.product_id.partition("-")[0]
        if fill.side == Side.SELL.value and base in held:
            held[base] -= fill.size / fill.price if fill.size_in_quote and fill.price else fill.size
    owned = {balance.currency: balance.available + balance.hold for balance in venue.balances}
    for base, quantity in held.items():
        # No account row is an account that was never opened: it holds nothing (Coinbase docs).
        short = quantity - owned.get(base, Decimal(0))
        if short > 0 and short * cost[base] > tolerance:
            yield Found(DifferenceKind.BALANCE_SHORT, base, str(quantity), str(owned.get(base, "no account")))


def _compare_egress(
    ledger: LedgerFacts, latest: LedgerFacts, egress: Egress, me: Identity, asked_utc_ns: int, settle_ns: int
) -> Iterator[Found]:
    known = {order.client_order_id: order for order in (*ledger.orders, *latest.orders)}
    for name in egress.created:
        told = parse(name)
        # The ledger was read from some moment on: older orders that ended are not in the answer.
        if (
            name not in known
            and egress.utc_ns[name] < asked_utc_ns - settle_ns
            and (told is None or told.n > latest.head)
        ):
            yield Found(DifferenceKind.EGRESS_WITHOUT_INTENT, name, f"head {latest.head}", "sent")
    for order in ledger.orders:
        told = parse(order.client_order_id)
        if (
            order.order_id
            and order.client_order_id not in egress.created
            and told is not None
            and told.epoch == me.epoch  # the same start of the daemon, so the same boot
        ):
            yield Found(DifferenceKind.SENT_WITHOUT_EGRESS, order.client_order_id, "taken by the venue", "no record")


def compare_terms(
    before: dict[str, ProductRules], now: tuple[ProductRules, ...], fees_before: FeeTier | None, fees: FeeTier | None
) -> tuple[Found, ...]:
    """Changes of product rules and fee tier since they were last read: news, never a stop."""
    found = []
    for rules in now:
        old = before.get(rules.product_id)
        if old is None:
            continue
        changed = [
            name
            for name in ("base_increment", "price_increment", "base_min_size", "quote_min_size", "status")
            if getattr(old, name) != getattr(rules, name)
        ]
        for name in changed:
            found.append(
                Found(
                    DifferenceKind.RULES,
                    f"{rules.product_id}.{name}",
                    str(getattr(old, name)),
                    str(getattr(rules, name)),
                )
            )
    if fees_before is not None and fees is not None and fees != fees_before:
        old_rates = f"{fees_before.maker_rate}/{fees_before.taker_rate}"
        found.append(Found(DifferenceKind.FEES, fees.tier, old_rates, f"{fees.maker_rate}/{fees.taker_rate}"))
    return tuple(found)
