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
    BALANCE_SHORT = "balance_short"
    """The venue holds less of a base asset than the ledger's positions."""
    BALANCE_CHANGE = "balance_change"
    """A balance changed by more than the venue's own fills explain."""
    EGRESS_WITHOUT_INTENT = "egress_without_intent"
    """A request left this host that the ledger knows nothing of."""
    SENT_WITHOUT_EGRESS = "sent_without_egress"
    """The venue took an order in this boot of which no egress record exists."""
    RULES = "rules"
    FEES = "fees"


SERIOUS = frozenset(DifferenceKind) - {DifferenceKind.RULES, DifferenceKind.FEES}
AT_ONCE = frozenset({DifferenceKind.FOREIGN_HOST, DifferenceKind.BEYOND_HEAD, DifferenceKind.BALANCE_CHANGE})
"""No second look is needed: a listing does not invent client order ids, and a balance was read twice already."""
EGRESS = frozenset({DifferenceKind.EGRESS_WITHOUT_INTENT, DifferenceKind.SENT_WITHOUT_EGRESS})
"""These open the breaker ``egress``, the others ``reconcile``."""

UNKNOWN_TO_LEDGER = frozenset(
    {DifferenceKind.BEYOND_HEAD, DifferenceKind.NOT_IN_LEDGER, DifferenceKind.EGRESS_WITHOUT_INTENT}
)
"""What the venue or the egress log shows and the ledger lacks: judged by a ledger that is read after them."""
