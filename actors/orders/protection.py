"""What protects a position, computed from the venue's orders, and what has to be done about it.

Pure. A position may have several protective orders: each newly filled part gets one of its own, so that nothing
that already protects is touched when the position grows. The sum of open SELLs never exceeds what is owned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from actors.messages.market import ProductRules, Quote, Side
from actors.messages.orders import OrderKind, OutcomeKind, Protection, Role
from actors.orders import grid
from actors.orders.booking import open_sells
from actors.orders.records import OrderRecord

ZERO = Decimal(0)
PROTECTIVE_KINDS = frozenset({OrderKind.BRACKET_GTC, OrderKind.STOP_LIMIT_GTC})
BRACKET_PRICES = ("INVALID_BRACKET_LIMIT_PRICE", "INVALID_BRACKET_PRICES")
UNSUPPORTED = ("BRACKET_ORDER_NOT_SUPPORTED", "UNSUPPORTED_ORDER_CONFIGURATION")


@dataclass(frozen=True, slots=True)
class Place:
    """Put one protective order: ``limit`` is the target of a bracket, the limit of a stop-limit."""

    kind: OrderKind
    size: Decimal
    limit: Decimal
    stop: Decimal


@dataclass(frozen=True, slots=True)
class Cancel:
    client_order_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Exit:
    """Sell by the hand-over: ``stop`` (triggered or overrun) or ``target`` (reached, and no bracket holds it)."""

    reason: str


Action = Place | Cancel | Exit


@dataclass(frozen=True, slots=True)
class Levels:
    """Where the position is to be sold, on the grid."""

    stop: Decimal
    stop_limit: Decimal
    target: Decimal | None


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything protection is judged from. ``orders``: the symbol's working orders; ``overdue``: ids of stops
    that triggered, or that the market has left behind untriggered, longer ago than the grace; ``missing``: ids that
    the venue no longer knows; ``astray``: ids that it has not known for longer than the grace; ``quote`` only fresh."""

    quantity: Decimal
    orders: Sequence[OrderRecord]
    rules: ProductRules | None
    levels: Levels | None
    quote: Quote | None = None
    overdue: frozenset[str] = frozenset()
    refused_kinds: frozenset[OrderKind] = frozenset()
    missing: frozenset[str] = frozenset()
    astray: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Judgement:
    status: Protection
    covered: Decimal
    actions: tuple[Action, ...] = field(default=())
    why: str = ""
    unfired: bool = False
    """It is sold because of a stop that the venue has not fired."""
    astray: tuple[str, ...] = ()
    """It is sold although the fate of these orders is not known."""
    covering: tuple[OrderRecord, ...] = field(default=())
    """The orders that ``covered`` adds up."""


def levels(
    average_cost: Decimal,
    stop: Decimal | None,
    target: Decimal | None,
    rules: ProductRules,
    default_stop_bps: Decimal,
    gap_bps: Decimal,
) -> Levels:
    """Stop, limit below it and target on the grid; without a planned stop one below the average cost."""
    trigger = grid.floor_price(stop if stop is not None else grid.below(average_cost, default_stop_bps), rules)
    limit = grid.floor_price(grid.below(trigger, gap_bps), rules)
    above = None if target is None else grid.ceil_price(target, rules)
    return Levels(max(trigger, rules.price_increment), max(limit, rules.price_increment), above)


def is_protective(order: OrderRecord) -> bool:
    return order.role is Role.PROTECTION and order.intent.kind in PROTECTIVE_KINDS and order.side is Side.SELL


def covers(order: OrderRecord, overdue: frozenset[str]) -> bool:
    """The venue has shown the order open, whole and waiting for its trigger (or triggered a moment ago).

    One that is still pending may yet fail, so it protects nothing.
    """
    facts = order.facts
    if not (is_protective(order) and order.working and facts.seen) or facts.cancel_requested:
        return False
    if facts.venue_status in ("PENDING", "QUEUED", "CANCEL_QUEUED", "CANCELLED", "EXPIRED", "FAILED", "FILLED"):
        return False
    return order.id not in overdue and not spent_target(order)


def unfired(order: OrderRecord, quote: Quote | None) -> bool:
    """The whole market stands below a stop that rests whole at the venue and has not fired: any trade would."""
    facts, stop = order.facts, order.intent.stop_price
    if quote is None or stop is None or facts.triggered or not covers(order, frozenset()):
        return False
    return quote.ask < stop


def spent_target(order: OrderRecord) -> bool:
    """A bracket whose target is partly filled: the venue does not reprice it, the remainder has no stop."""
    facts = order.facts
    touched = facts.filled > 0 or facts.venue_filled > 0
    return order.intent.kind is OrderKind.BRACKET_GTC and touched and not facts.triggered


def judge(now: Situation) -> Judgement:
    """How the position stands and what to do; the actions never let open SELLs exceed the quantity."""
    if now.quantity <= 0:
        left = tuple(Cancel(one.id, "flat") for one in _cancellable(now.orders))
        return Judgement(Protection.FLAT, ZERO, left)
    covering = tuple(one for one in now.orders if covers(one, now.overdue) and one.id not in now.missing)
    covered = sum((one.facts.remaining for one in covering), ZERO)
    if now.rules is None or now.levels is None:
        status = Protection.PROTECTED if covered >= now.quantity else Protection.NAKED
        return Judgement(status, covered, (), "no_rules", covering=covering)
    status = _status(now, covered, now.rules, now.levels)
    return replace(_with_actions(now, covered, status, now.rules, now.levels), covering=covering)


def _status(now: Situation, covered: Decimal, rules: ProductRules, at: Levels) -> Protection:
    if covered >= now.quantity:
        return Protection.PROTECTED
    rest = grid.floor_size(now.quantity - covered, rules)
    if not grid.orderable(rest, at.stop_limit, rules):
        # Below the venue's minimum nothing can be stopped or sold: it waits for the next entry.
        return Protection.PROTECTED if covered > 0 else Protection.DUST
    return Protection.NAKED


def _with_actions(now: Situation, covered: Decimal, status: Protection, rules: ProductRules, at: Levels) -> Judgement:
    overdue = [one for one in now.orders if one.id in now.overdue and one.working]
    if overdue:
        asleep = not any(one.facts.triggered for one in overdue)
        return Judgement(status, covered, (Exit("stop"),), "stop_unfilled", asleep)
    # Those being cancelled go already: another for their sake would leave the position naked.
    excess = open_sells([one for one in now.orders if not one.facts.cancel_requested]) - now.quantity
    if excess > 0:
        # First one that had vanished and is back (what stands in for it is whole), then the newest.
        least = sorted(_cancellable(now.orders), key=lambda one: (one.facts.returned == 0, -one.n))
        crash = None if least else _below_stop(now, covered, status, at)  # lost sales that nobody can cancel
        return crash or Judgement(status, covered, tuple(Cancel(one.id, "excess") for one in least[:1]), "excess")
    spent = [one for one in _cancellable(now.orders) if spent_target(one)]
    if spent:
        return Judgement(status, covered, tuple(Cancel(one.id, "target_partly_filled") for one in spent), "spent")
    if now.quote is not None and status is not Protection.DUST:
        crash = _below_stop(now, covered, status, at)
        if crash is not None:
            return crash
        if at.target is not None and now.quote.bid >= at.target and _target_unserved(now):
            return Judgement(status, covered, (Exit("target"),), "above_target")
    if status is not Protection.NAKED:
        return Judgement(status, covered)
    return _placement(now, covered, status, rules, at)


def _below_stop(now: Situation, covered: Decimal, status: Protection, at: Levels) -> Judgement | None:
    """The market is at the stop of a position that nothing protects and no order on its way will: it is sold."""
    if now.quote is None or now.quote.bid > at.stop or status is not Protection.NAKED or _arriving(now, now.astray):
        return None
    past = tuple(one.id for one in now.orders if one.id in now.astray)
    return Judgement(status, covered, (Exit("stop"),), "below_stop", astray=past)


def _placement(now: Situation, covered: Decimal, status: Protection, rules: ProductRules, at: Levels) -> Judgement:
    if rules.trading_disabled or rules.cancel_only or rules.is_disabled or rules.auction_mode:
        return Judgement(status, covered, (), "product_mode")  # Coinbase docs: no bracket is taken in an auction
    size = grid.floor_size(now.quantity - open_sells(list(now.orders)), rules)
    if not grid.orderable(size, at.stop_limit, rules):
        return Judgement(status, covered, (), "on_its_way")
    bracket = at.target is not None and OrderKind.BRACKET_GTC not in now.refused_kinds
    if bracket and at.target is not None:
        place = Place(OrderKind.BRACKET_GTC, size, at.target, at.stop)
    else:
        place = Place(OrderKind.STOP_LIMIT_GTC, size, at.stop_limit, at.stop)
    return Judgement(status, covered, (place,), "naked")


def _cancellable(orders: Sequence[OrderRecord]) -> list[OrderRecord]:
    return [one for one in orders if is_protective(one) and one.facts.order_id and not one.facts.cancel_requested]


def _arriving(now: Situation, past: frozenset[str] = frozenset()) -> bool:
    """A protective order is on its way: its fate is waited for before it is sold past; that of ``past`` is not."""
    waited_for = [one for one in now.orders if one.id not in past]
    return any(is_protective(one) and one.working and not one.facts.seen for one in waited_for)


def may_go_astray(order: OrderRecord) -> bool:
    """One whose fate an urgent sale need not wait for: a stop that rests if it is there at all, an entry, or a sale of
    before that would be filled by now."""
    return is_protective(order) or order.side is Side.BUY or order.intent.kind is OrderKind.LIMIT_IOC


def _target_unserved(now: Situation) -> bool:
    """The target lies above no resting bracket; a stop-limit alone does not take profit."""
    brackets = [one for one in now.orders if one.intent.kind is OrderKind.BRACKET_GTC and one.working]
    return not brackets and not _arriving(now)


def priced_out(order: OrderRecord) -> bool:
    """The venue takes no bracket at these prices, for instance because the market stands at the target."""
    return order.facts.outcome is OutcomeKind.REFUSED and any(text in order.reason for text in BRACKET_PRICES)


def unsupported(order: OrderRecord) -> bool:
    """The venue does not take this kind of order on this product."""
    return order.facts.outcome is OutcomeKind.REFUSED and any(text in order.reason for text in UNSUPPORTED)
