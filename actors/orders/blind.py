"""A stop without books: when the ledger cannot be used, the venue's listings of our family are the only truth. Pure.

Every instance and every start counts as ours: the numbers that tell them apart stood in the data that is gone. What
is owned is not known, so nothing is sold and nothing is claimed about positions.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.clock import NS_PER_S
from actors.messages.orders import Role
from actors.messages.venue import VenueOrder
from actors.orders import ids
from actors.orders.killing import StopRun

LOOK_BACK_NS = 24 * 3600 * NS_PER_S
"""All statuses are listed this far back: entries never rest for more than a minute."""
OVER = frozenset({"FILLED", "CANCELLED", "EXPIRED", "FAILED"})


def doomed(listing: Sequence[VenueOrder], family: str, run: StopRun) -> list[VenueOrder]:
    """Orders of the family that the stop forbids, open or over. A BUY is an entry whatever its id says."""
    found = []
    for view in listing:
        made = ids.parse(view.client_order_id)
        if made is None or made.family != family:
            continue
        role = Role.ENTRY if view.side == "BUY" else made.role
        if run.cancels(role, "", view.product_id):
            found.append(view)
    return found


def still_open(views: Sequence[VenueOrder]) -> list[VenueOrder]:
    return [view for view in views if view.status not in OVER]


def what_is_known(unusable: str, *, complete: bool, flatten: bool) -> str:
    """The words that go with the proof, or with the lack of one."""
    text = f"the ledger is unusable, positions are not known: {unusable}"
    if flatten:
        return f"{text}; nothing is sold without it"
    return f"proven by the venue's listings alone; {text}" if complete else text
