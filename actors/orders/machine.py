"""The order state machine: the state is a function of the facts, the facts only grow.

Every source (gateway outcome, listing, user channel, fill) adds facts by ``join``-like steps that are
commutative and idempotent, so that late, doubled and reordered messages end in the same state. An order is
terminal only when its booked fills make up what the venue says was filled. One fact is about time: an order that the
venue had can be proven gone from there and be shown again afterwards, as often as it likes. Both are counted, so that
neither is ever taken back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TypeVar

from actors.messages.orders import OrderState, OutcomeKind
from actors.messages.venue import VenueOrder

ZERO = Decimal(0)
_Ranked = TypeVar("_Ranked")

# Coinbase docs: there is no PARTIALLY_FILLED; a GTD past its end is CANCELLED or EXPIRED alike. An answer read
# earlier can arrive later, therefore a status only ever moves to a higher rank.
_STATUS_RANK = {
    "PENDING": 1,
    "QUEUED": 1,
    "OPEN": 2,
    "EDIT_QUEUED": 3,
    "CANCEL_QUEUED": 4,
    "FAILED": 5,
    "EXPIRED": 6,
    "CANCELLED": 7,
    "FILLED": 8,
}
# UNKNOWN_ORDER_STATUS is in the venue's list and in no rank: the venue itself does not know, so nothing follows.
_FINAL = frozenset({"FAILED", "EXPIRED", "CANCELLED", "FILLED"})
_TRIGGERS = frozenset({"", "UNKNOWN_TRIGGER_STATUS", "INVALID_ORDER_TYPE", "STOP_PENDING", "STOP_TRIGGERED"})
_REJECT_REASONS = frozenset(
    {"", "REJECT_REASON_UNSPECIFIED", "HOLD_FAILURE", "TOO_MANY_OPEN_ORDERS", "REJECT_REASON_INSUFFICIENT_FUNDS",
     "RATE_LIMIT_EXCEEDED"}
)  # fmt: skip
_OUTCOME_RANK = {OutcomeKind.UNKNOWN: 1, OutcomeKind.NOT_SENT: 2, OutcomeKind.REFUSED: 3, OutcomeKind.DONE: 4}


class UnknownVenueStatusError(ValueError):
    """The venue showed a status or trigger status that is on no list: nothing may be concluded from it."""


class IllegalStepError(ValueError):
    """Facts would have been taken back or replaced: no fact of an order ever is."""


@dataclass(frozen=True, slots=True)
class OrderFacts:
    """What is known of one order. ``filled`` is the sum of booked fills, ``venue_filled`` the venue's word.

    ``lost``: whoever held the command is gone or silent, its fate must be asked for. ``absent``: proven that
    the venue never had it. ``vanished``: how often it was proven that the venue, which had it, has it no more;
    ``returned``: of these, after how many the venue showed it again.
    """

    size: Decimal
    submitted: bool = False
    outcome: OutcomeKind | None = None
    lost: bool = False
    absent: bool = False
    order_id: str | None = None
    venue_status: str | None = None
    venue_filled: Decimal = ZERO
    filled: Decimal = ZERO
    cancel_requested: bool = False
    triggered: bool = False
    vanished: int = 0
    returned: int = 0

    @property
    def remaining(self) -> Decimal:
        return max(ZERO, self.size - self.filled)

    @property
    def seen(self) -> bool:
        """The venue itself has shown the order."""
        return self.venue_status is not None

    @property
    def taken(self) -> bool:
        """The venue had the order: it said so, or showed it."""
        return self.seen or self.outcome is OutcomeKind.DONE

    @property
    def gone(self) -> bool:
        """Proven to be no longer at the venue, and not shown since."""
        return self.vanished > self.returned

    @property
    def awaits_fills(self) -> bool:
        """The venue speaks of fills that are not booked yet."""
        return self.filled < self.venue_filled


def with_outcome(facts: OrderFacts, kind: OutcomeKind, order_id: str | None) -> OrderFacts:
    """Add the gateway's answer; a firmer one replaces a weaker one, never the other way."""
    known = facts.outcome
    firmer = kind if known is None or _OUTCOME_RANK[kind] > _OUTCOME_RANK[known] else known
    return replace(facts, outcome=firmer, order_id=facts.order_id or order_id)


def with_view(facts: OrderFacts, view: VenueOrder) -> OrderFacts:
    """Add what the venue shows; raises UnknownVenueStatusError, and then nothing is changed."""
    rank = _STATUS_RANK.get(view.status)
    if rank is None:
        raise UnknownVenueStatusError(f"status {view.status!r} of order {view.order_id}")
    if view.trigger_status not in _TRIGGERS:
        raise UnknownVenueStatusError(f"trigger status {view.trigger_status!r} of order {view.order_id}")
    known = facts.venue_status
    # FILLED without a size means all of it. With a smaller one it is over all the same: an own order that met it
    # took the rest away (self-trade prevention decrements).
    told = facts.size if view.status == "FILLED" and view.filled_size == 0 else view.filled_size
    return replace(
        facts,
        order_id=facts.order_id or view.order_id,
        venue_status=view.status if known is None or rank > _STATUS_RANK[known] else known,
        venue_filled=max(facts.venue_filled, told),
        triggered=facts.triggered or view.trigger_status == "STOP_TRIGGERED",
        returned=facts.vanished,
    )


def with_fill(facts: OrderFacts, size: Decimal) -> OrderFacts:
    """Add one newly booked fill (the ledger sees to it that each is added once)."""
    return replace(facts, filled=facts.filled + size)


def with_cancel(facts: OrderFacts) -> OrderFacts:
    return replace(facts, cancel_requested=True)


def with_loss(facts: OrderFacts) -> OrderFacts:
    """Nobody will answer for this order any more."""
    return replace(facts, lost=True)


def with_absence(facts: OrderFacts) -> OrderFacts:
    """It is proven that the venue never had the order."""
    return replace(facts, absent=True)


def with_vanishing(facts: OrderFacts) -> OrderFacts:
    """It is proven that the venue has the order no more; raises IllegalStepError for one that it never had."""
    if not facts.taken:
        raise IllegalStepError(f"{facts} cannot vanish: the venue never had it")
    return replace(facts, vanished=facts.returned + 1)


def is_listed_reason(reject_reason: str) -> bool:
    """The venue lists this reason for a FAILED order."""
    return reject_reason in _REJECT_REASONS


def require_growth(before: OrderFacts, after: OrderFacts) -> None:
    """Raise IllegalStepError unless ``after`` holds everything that ``before`` did."""
    kept = (
        before.size == after.size
        and before.filled <= after.filled
        and before.venue_filled <= after.venue_filled
        and before.order_id in (None, after.order_id)
        and _rank(_OUTCOME_RANK, before.outcome) <= _rank(_OUTCOME_RANK, after.outcome)
        and _rank(_STATUS_RANK, before.venue_status) <= _rank(_STATUS_RANK, after.venue_status)
        and before.vanished <= after.vanished
        and before.returned <= after.returned <= after.vanished
    )
    flags = ("submitted", "lost", "absent", "cancel_requested", "triggered")
    if not kept or any(getattr(before, flag) and not getattr(after, flag) for flag in flags):
        raise IllegalStepError(f"{before} must not become {after}")


def _rank(ranks: dict[_Ranked, int], value: _Ranked | None) -> int:
    return 0 if value is None else ranks[value]


def without_fill(facts: OrderFacts, size: Decimal) -> OrderFacts:
    """Take back a fill that an operator had vouched for and the venue shows otherwise."""
    return replace(facts, filled=facts.filled - size)


def state_of(facts: OrderFacts) -> OrderState:
    """The state that follows from the facts."""
    if facts.filled > 0 and facts.filled >= facts.size:
        return OrderState.FILLED
    if facts.venue_status in _FINAL and not facts.awaits_fills:
        return _final_state(facts)
    if facts.gone and not facts.awaits_fills:
        return OrderState.CANCELLED
    if not facts.seen and facts.filled == 0:
        return _unseen_state(facts)
    if not facts.seen and facts.absent:
        return OrderState.CANCELLED  # an operator said how much of it was filled; the rest never was
    if facts.cancel_requested or facts.venue_status == "CANCEL_QUEUED":
        return OrderState.PENDING_CANCEL
    return OrderState.PARTIALLY_FILLED if facts.filled > 0 else OrderState.OPEN


def _final_state(facts: OrderFacts) -> OrderState:
    if facts.venue_status == "FILLED":
        return OrderState.FILLED
    if facts.venue_status == "EXPIRED":
        return OrderState.EXPIRED
    if facts.venue_status == "FAILED" and facts.filled == 0:
        return OrderState.REJECTED
    return OrderState.CANCELLED


def _unseen_state(facts: OrderFacts) -> OrderState:
    if facts.outcome is OutcomeKind.DONE:
        return OrderState.PENDING_CANCEL if facts.cancel_requested else OrderState.OPEN
    if facts.absent or facts.outcome in (OutcomeKind.REFUSED, OutcomeKind.NOT_SENT):
        return OrderState.REJECTED
    if facts.outcome is OutcomeKind.UNKNOWN or facts.lost:
        return OrderState.UNKNOWN
    return OrderState.SUBMITTING if facts.submitted else OrderState.INTENT
