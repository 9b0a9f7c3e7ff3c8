"""How many orders in a row the venue would not have. Read from the ledger, so that a restart forgets none.

An order that was taken and failed afterwards counts like one that was refused at once: the gateway, which sees the
first answer only, calls it taken.
"""

from __future__ import annotations

from collections.abc import Iterable

from actors.messages.orders import OutcomeKind
from actors.orders.records import OrderRecord

NOT_ASKED = "dry_run"
"""The reason of orders that were only logged: the venue never saw them."""
LOOKED_AT = 4
"""Orders read per order of the limit: those that prove nothing either way are passed over."""


def in_a_row(newest_first: Iterable[OrderRecord]) -> list[OrderRecord]:
    """The newest orders that were refused or failed, back to the first one that the venue had."""
    found = []
    for record in newest_first:
        facts = record.facts
        if facts.venue_status == "FAILED" and facts.filled == 0:
            found.append(record)
        elif facts.seen or facts.filled > 0:
            break
        elif facts.outcome is OutcomeKind.REFUSED and record.reason != NOT_ASKED:
            found.append(record)
    return found
