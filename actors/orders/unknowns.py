"""When an UNKNOWN order is proven absent, and when the egress record proves that nothing was sent.

Absence needs two complete listings and the fills, all asked for after the last moment at which the order could
still have come into sight: the send, plus the life of the request's token, plus the venue's visibility delay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

from actors import egress
from actors.clock import NS_PER_S
from actors.messages.orders import OrderState
from actors.messages.venue import VenueFill, VenueOrder
from actors.orders.records import OrderRecord

ZERO = Decimal(0)
MAX_BACKOFF = 10.0
"""The wait between queries of one UNKNOWN order grows to this many times ``unknown_query_s``."""


@dataclass(frozen=True, slots=True)
class Search:
    """The search for one UNKNOWN order. Boot-clock ns of this incarnation: a restart begins the proof anew."""

    client_order_id: str
    last_send_boot_ns: int
    """No byte of the order can have left after this."""
    since_boot_ns: int
    queries: int = 0
    late_queries: int = 0
    """Of them, those that could prove absence."""
    next_boot_ns: int = 0
    listings: tuple[int, ...] = field(default=())
    """When the listings that count as proof were asked for."""
    fills_clear: bool = False
    paged: bool = False
    latched: bool = False

    def queried(self, now_boot_ns: int, interval_s: float, jwt_life_s: float, visibility_s: float) -> Search:
        """A query went out: the waits grow, and begin anew when proof becomes possible, which no wait oversleeps."""
        begins = self.proof_begins_boot_ns(jwt_life_s, visibility_s)
        late = now_boot_ns >= begins
        wait_s = interval_s * min(MAX_BACKOFF, 2.0 ** min(self.late_queries if late else self.queries, 8))
        next_boot_ns = now_boot_ns + round(max(wait_s, visibility_s if late else 0.0) * NS_PER_S)
        return replace(
            self,
            queries=self.queries + 1,
            late_queries=self.late_queries + late,
            next_boot_ns=next_boot_ns if late else min(next_boot_ns, begins),
        )

    def proof_begins_boot_ns(self, jwt_life_s: float, visibility_s: float) -> int:
        return self.last_send_boot_ns + round((jwt_life_s + visibility_s) * NS_PER_S)

    def with_listing(self, asked_boot_ns: int, jwt_life_s: float, visibility_s: float) -> Search:
        """A complete listing of all statuses since the intent did not hold the order."""
        if asked_boot_ns < self.proof_begins_boot_ns(jwt_life_s, visibility_s):
            return self
        if self.listings and asked_boot_ns - self.listings[0] < round(visibility_s * NS_PER_S):
            return self
        return replace(self, listings=(*self.listings[:1], asked_boot_ns))

    def with_clear_fills(self, asked_boot_ns: int, jwt_life_s: float, visibility_s: float) -> Search:
        """Every fill since the intent belongs to an order that is known."""
        if asked_boot_ns < self.proof_begins_boot_ns(jwt_life_s, visibility_s):
            return self
        return replace(self, fills_clear=True)

    @property
    def absent(self) -> bool:
        return len(self.listings) >= 2 and self.fills_clear


def fills_are_clear(record: OrderRecord, fills: tuple[VenueFill, ...], known_order_ids: frozenset[str]) -> bool:
    """No fill that could be the order's own: same product and side, of an order nobody knows."""
    return not any(
        fill.product_id == record.symbol
        and fill.side == record.side.value
        and fill.order_id not in known_order_ids
        and fill.trade_utc_ns >= record.intent.created_utc_ns - 60 * NS_PER_S
        for fill in fills
    )


def lists(order: OrderRecord, listing: tuple[VenueOrder, ...]) -> bool:
    return any(view.client_order_id == order.id for view in listing)


def on_same_base(working: Iterable[OrderRecord], symbol: str) -> bool:
    """An UNKNOWN order risks the symbol's base asset, on whichever product: BTC-USD and BTC-USDC are one risk."""
    base = symbol.split("-")[0]
    return any(one.state is OrderState.UNKNOWN and one.symbol.split("-")[0] == base for one in working)


class EgressProof:
    """Reads the egress record once per question: was the create of this order ever about to be written?"""

    def __init__(self, path: Path) -> None:
        self._path = path

    def never_sent(self, record: OrderRecord, *, holder_gone: bool) -> bool:
        """True only when the command's holder is gone and the same boot has no record of the order.

        A log damaged since its birth, another boot, and any log but the one that the intent names prove nothing:
        one that was deleted and made anew, or put back from a copy, may lack what the first one held.
        """
        if not holder_gone or not record.boot_id or not record.egress_id:
            return False
        try:
            if egress.boot_id() != record.boot_id:
                return False
            log = egress.read_records(self._path)
        except OSError:
            return False
        birth = log.birth
        if birth is None or not log.unbroken:
            return False
        if (birth.client_order_id, birth.boot_id) != (record.egress_id, record.boot_id):
            return False
        return record.id not in log.created(record.boot_id)
