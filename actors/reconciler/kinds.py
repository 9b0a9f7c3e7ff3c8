"""The closed list of differences between ledger and venue, and how serious each is."""

from __future__ import annotations

from enum import StrEnum


class DifferenceKind(StrEnum):
    """What disagrees. See ``SERIOUS`` for those that stop trading when they last."""

    FOREIGN_HOST = "foreign_host"
    """An order of our family with another instance or a later epoch: a second host trades."""
    BEYOND_HEAD = "beyond_head"
    """An own order beyond the ledger's head: the ledger was rolled back."""
    NOT_IN_LEDGER = "not_in_ledger"
    """An own open order that the ledger does not hold."""
    MISSING_AT_VENUE = "missing_at_venue"
    """The ledger holds it open, the venue lists it nowhere. Not found is not cancelled."""
    STATE = "state"
    """The venue's status and the ledger's state cannot both be right."""
    FILLED_SIZE = "filled_size"
    MISSING_FILL = "missing_fill"
    """A fill of an own order that the ledger has not recorded."""
    PHANTOM_FILL = "phantom_fill"
    """A recorded fill that the venue does not list."""
    UNBOOKED = "unbooked"
    """The venue reversed or corrected a fill of ours; it is in the books once an operator accepts it."""
    BALANCE_SHORT = "balance_short"
    """The venue holds less of a base asset than the ledger's positions."""
    HOLD_SHORT = "hold_short"
    """The venue holds less of a wallet than our resting orders need: one of them does not rest."""
    ZERO_BALANCES = "zero_balances"
    """The venue shows no money where there must be some. Not a loss: an answer that cannot be used."""
    BASELINE_LOST = "baseline_lost"
    """Orders were sent before, yet nobody remembers which balances they left."""
    EGRESS_WITHOUT_INTENT = "egress_without_intent"
    """A request left this host that the ledger knows nothing of."""
    SENT_WITHOUT_EGRESS = "sent_without_egress"
    """The venue took an order in this boot of which no egress record exists."""
    RULES = "rules"
    FEES = "fees"


SERIOUS = frozenset(DifferenceKind) - {DifferenceKind.RULES, DifferenceKind.FEES}
AT_ONCE = frozenset(
    {
        DifferenceKind.FOREIGN_HOST,
        DifferenceKind.BEYOND_HEAD,
        DifferenceKind.BASELINE_LOST,
        DifferenceKind.UNBOOKED,
    }
)
"""No second look is needed: a listing does not invent client order ids, and no second one takes these back."""
EGRESS = frozenset({DifferenceKind.EGRESS_WITHOUT_INTENT, DifferenceKind.SENT_WITHOUT_EGRESS})
"""These open the breaker ``egress``, the others ``reconcile``."""

UNKNOWN_TO_LEDGER = frozenset(
    {DifferenceKind.BEYOND_HEAD, DifferenceKind.NOT_IN_LEDGER, DifferenceKind.EGRESS_WITHOUT_INTENT}
)
"""What the venue or the egress log shows and the ledger lacks: judged by a ledger that is read after them."""

WALLETS = frozenset({DifferenceKind.BALANCE_SHORT, DifferenceKind.HOLD_SHORT})
"""Judged by the balances alone: an answer that shows no money says nothing about them."""

PLAIN: dict[DifferenceKind, str] = {
    DifferenceKind.FOREIGN_HOST: "another host trades here: an order of our family from another instance or epoch",
    DifferenceKind.BEYOND_HEAD: "our order beyond the ledger's head: the ledger was rolled back",
    DifferenceKind.NOT_IN_LEDGER: "our order that the ledger does not hold",
    DifferenceKind.MISSING_AT_VENUE: "the ledger holds it, the venue lists it nowhere (which does not mean cancelled)",
    DifferenceKind.STATE: "ledger and venue name states that cannot both be right",
    DifferenceKind.FILLED_SIZE: "ledger and venue name different filled sizes",
    DifferenceKind.MISSING_FILL: "a fill of ours that the ledger lacks",
    DifferenceKind.PHANTOM_FILL: "a recorded fill that the venue does not list",
    DifferenceKind.UNBOOKED: "the venue reversed or corrected a fill; `run.py baseline accept` books it",
    DifferenceKind.BALANCE_SHORT: "the venue holds less than our positions",
    DifferenceKind.HOLD_SHORT: "the venue keeps less on hold than our resting orders need",
    DifferenceKind.ZERO_BALANCES: "the venue shows no money where there must be some; nothing is concluded from it",
    DifferenceKind.BASELINE_LOST: "the remembered balances are lost: run.py baseline accept, once they are right",
    DifferenceKind.EGRESS_WITHOUT_INTENT: "a request left this host that the ledger knows nothing of",
    DifferenceKind.SENT_WITHOUT_EGRESS: "the venue took an order that no egress record shows",
    DifferenceKind.RULES: "product rules changed",
    DifferenceKind.FEES: "the fee tier changed",
}
"""Each kind in words for an operator."""
