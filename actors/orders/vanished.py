"""When an order that the venue had is proven to be there no more. Pure.

One "not found" proves nothing: the venue is known to answer 404 for seconds about orders that it has. So everything is
asked for after the first one, and again after a gap: a listing of all statuses before and after it, and after it the
order by both of its ids, the open orders, and the fills. For a SELL the account is read last: as long as it shows coins
on hold that nothing else explains, the order may rest somewhere, however many others of that base are free beside it. A
question that failed proves nothing, and any sight of the order ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum

from actors.clock import NS_PER_S
from actors.messages.market import Side
from actors.messages.venue import VenueOrder
from actors.orders.records import OrderRecord

ZERO = Decimal(0)
GAP_S = 10.0
"""At least this long between the two listings: 404s and gaps in listings have been seen to last for seconds, and
whoever sells the coins a second time for such a moment sells somebody else's."""
ASK_AGAIN_S = 2.0
MAX_BACKOFF = 5.0
"""The wait between questions that prove nothing grows to this many times ``ASK_AGAIN_S``."""


class Evidence(StrEnum):
    """What was asked and did not show the order."""

    BY_ORDER_ID = "get_order by order id"
    BY_CLIENT_ID = "by client id"
    LISTING = "all statuses"
    OPEN = "open orders"
    FILLS = "fills of the order, all booked"
    STRAYS = "fills since, of no order unknown"


@dataclass(frozen=True, slots=True)
class Vanishing:
    """The search for one order that the venue does not find. Boot-clock ns of this incarnation: a restart begins anew.

    ``filled``: what was booked of it when the search began; a fill that is booked later shows that it lived on.
    """

    client_order_id: str
    since_boot_ns: int
    filled: Decimal = ZERO
    first_listing: int = 0
    """When the earliest listing without it was asked for; 0: none was yet."""
    clear: tuple[tuple[Evidence, int], ...] = field(default=())
    """When the latest question of each kind that did not show it was asked."""
    queries: int = 0
    next_boot_ns: int = 0
    balance_asked_boot_ns: int = 0
    others_hold: Decimal = ZERO
    """Base units that orders of somebody else hold, by the newest listing of open orders."""

    def with_clear(self, what: Evidence, asked_boot_ns: int, gap_s: float) -> Vanishing:
        """An answer without the order; what was asked before the search began proves nothing."""
        if asked_boot_ns < self.since_boot_ns:
            return self
        latest = dict(self.clear)
        latest[what] = max(asked_boot_ns, latest.get(what, 0))
        after = replace(self, clear=tuple(sorted(latest.items())))
        if what is not Evidence.LISTING or (self.first_listing and self.first_listing <= asked_boot_ns):
            return after
        # The second look is due when the gap has passed, not sooner, and with no wait of before.
        return replace(after, first_listing=asked_boot_ns, queries=0, next_boot_ns=asked_boot_ns + _ns(gap_s))

    def queried(self, now_boot_ns: int) -> Vanishing:
        wait_s = ASK_AGAIN_S * min(MAX_BACKOFF, 2.0 ** min(self.queries, 8))
        return replace(self, queries=self.queries + 1, next_boot_ns=now_boot_ns + _ns(wait_s))

    def second_look(self, now_boot_ns: int, gap_s: float) -> bool:
        """Whether what is asked now can end the proof."""
        return bool(self.first_listing) and now_boot_ns >= self.first_listing + _ns(gap_s)

    def settled_at(self, gap_s: float) -> int | None:
        """When the last question was asked, once each was answered without the order after the gap."""
        latest = dict(self.clear)
        if not self.first_listing or latest.keys() != set(Evidence):
            return None
        if min(latest.values()) < self.first_listing + _ns(gap_s):
            return None
        return max(latest.values())

    def proven(self, gap_s: float, balance_asked_boot_ns: int, available: Decimal, uncovered: Decimal) -> bool:
        """Whether an account that was read after everything else shows its coins as free, too."""
        settled = self.settled_at(gap_s)
        return settled is not None and balance_asked_boot_ns >= settled and available >= uncovered

    def may_be_held(self, hold: Decimal, ours: Decimal, remaining: Decimal) -> bool:
        """Whether what is on hold has room for the order beside what is known to rest: ours, and what others have."""
        return hold - ours - self.others_hold >= remaining


def gap_s(visibility_delay_s: float) -> float:
    return max(visibility_delay_s, GAP_S)


def uncovered(owned: Decimal, working: Iterable[OrderRecord], sought: frozenset[str]) -> Decimal:
    """What is owned beyond all SELLs that the venue may hold coins for; ``sought``: those that it does not find."""
    held = [one.facts.remaining for one in working if one.side is Side.SELL and one.working and one.id not in sought]
    return max(ZERO, owned - sum(held, ZERO))


def shown_holds(working: Iterable[OrderRecord], base: str, sought: frozenset[str]) -> Decimal:
    """What SELLs of ours that the venue shows hold of a base asset, over all its products."""
    resting = [one for one in working if one.side is Side.SELL and one.working and one.facts.seen]
    ours = [one for one in resting if one.symbol.partition("-")[0] == base and one.id not in sought]
    return sum((one.facts.remaining for one in ours), ZERO)


def others_hold(listing: Iterable[VenueOrder], base: str, is_ours: Callable[[VenueOrder], bool]) -> Decimal:
    """What open SELLs of somebody else hold of a base asset; one of no stated size is taken to hold nothing."""
    sells = [one for one in listing if one.side == Side.SELL.value and one.product_id.partition("-")[0] == base]
    return sum((one.base_size - one.filled_size for one in sells if one.base_size and not is_ours(one)), ZERO)


def may_rest(record: OrderRecord, now_utc_ns: int, grace_ns: int) -> bool:
    """An entry ends by itself: before its end a second one beside it would be too much, after it nothing is lost."""
    end = record.intent.end_utc_ns
    return record.side is Side.BUY and end is not None and now_utc_ns <= end + grace_ns


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)
