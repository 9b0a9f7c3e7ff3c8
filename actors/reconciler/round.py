"""One comparison under way: what was asked, what has come, what is still missing. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.messages.orders import OrderState
from actors.messages.reconcile import LedgerFacts
from actors.messages.venue import QueryKind, VenueAnswer
from actors.reconciler.compare import Egress, VenueView

ALWAYS = (QueryKind.OPEN_ORDERS, QueryKind.ORDERS_SINCE, QueryKind.FILLS_SINCE, QueryKind.BALANCES)
TERMS = (QueryKind.PRODUCTS, QueryKind.FEES)
MARGIN_NS = 120 * 1_000_000_000
"""Listings begin this much before the time judged: clocks differ, and fills have two times."""


@dataclass(slots=True)
class Round:
    """``since_utc_ns``: from when on ledger and venue are compared. Answers of other rounds are not taken."""

    number: int
    since_utc_ns: int
    began_boot_ns: int
    kinds: tuple[QueryKind, ...]
    deadline_s: float
    ledger: LedgerFacts | None = None
    after: LedgerFacts | None = None
    """The ledger read again after the venue, when the venue showed something that ``ledger`` lacks."""
    egress: Egress | None = None
    answers: dict[QueryKind, VenueAnswer] = field(default_factory=dict)

    def request_id(self, what: str) -> str:
        return f"r{self.number}:{what}"

    def take_ledger(self, facts: LedgerFacts) -> bool:
        """True when these facts belong to this round and are the first."""
        if facts.request_id != self.request_id("ledger") or self.ledger is not None:
            return False
        self.ledger = facts
        return True

    def take_after(self, facts: LedgerFacts) -> bool:
        """True when these facts are this round's second reading of the ledger."""
        if facts.request_id != self.request_id("ledger-after") or self.after is not None:
            return False
        self.after = facts
        return True

    def take_answer(self, answer: VenueAnswer) -> bool:
        if answer.request_id != self.request_id(answer.kind.value) or answer.kind in self.answers:
            return False
        self.answers[answer.kind] = answer
        return True

    def listing_since_utc_ns(self) -> int:
        """Orders are listed from the creation of the oldest order that the ledger holds open."""
        assert self.ledger is not None
        created = [order.created_utc_ns for order in self.ledger.orders if _is_listed(order.state)]
        return min([self.since_utc_ns, *created]) - MARGIN_NS

    def failure(self) -> str:
        """Why this round cannot be complete, from the answers so far; empty when nothing failed."""
        if self.ledger is not None and not self.ledger.ready:
            return "the tracker is not ready"
        return "; ".join(f"{kind.value}: {a.error or 'failed'}" for kind, a in self.answers.items() if not a.ok)

    def missing(self) -> tuple[str, ...]:
        missing = [] if self.ledger is not None else ["ledger"]
        return (*missing, *(kind.value for kind in self.kinds if kind not in self.answers))

    def asked_boot_ns(self) -> int:
        """Before the first byte of the first question went out."""
        return min(answer.asked_boot_ns for answer in self.answers.values())

    def view(self) -> VenueView:
        """The venue as read; only when nothing is missing and nothing failed."""
        assert not self.missing() and not self.failure()
        return VenueView(
            open_orders=self.answers[QueryKind.OPEN_ORDERS].orders,
            recent_orders=self.answers[QueryKind.ORDERS_SINCE].orders,
            fills=self.answers[QueryKind.FILLS_SINCE].fills,
            balances=self.answers[QueryKind.BALANCES].balances,
            since_utc_ns=self.since_utc_ns,
            asked_utc_ns=min(answer.asked_utc_ns for answer in self.answers.values()),
        )


def _is_listed(state: OrderState) -> bool:
    return not state.terminal and state is not OrderState.INTENT
