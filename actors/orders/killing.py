"""Stopping: which orders a kill, halt, stop or flatten cancels, and when it is proven done. Pure, resumable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import orjson

from actors.clock import NS_PER_S
from actors.messages.trading import OrderState, Role, VenueOrder
from actors.orders import ids
from actors.orders.records import OrderRecord

_OVER = frozenset({"FILLED", "CANCELLED", "EXPIRED", "FAILED"})
_FATE_OPEN = frozenset({OrderState.INTENT, OrderState.SUBMITTING, OrderState.UNKNOWN})


@dataclass(frozen=True, slots=True)
class StopRun:
    """One stop under way. ``watermark``: highest n at its start; ``cancelled`` counts orders whose cancel was asked.

    ``since_utc_ns``: listings of all statuses begin here, before the oldest intent that was working."""

    request_id: str
    flatten: bool
    cancel_all: bool
    watermark: int
    started_utc_ns: int
    since_utc_ns: int
    cancelled: int = 0
    complete: bool = False

    def to_json(self) -> str:
        return orjson.dumps({name: getattr(self, name) for name in self.__dataclass_fields__}).decode()

    @staticmethod
    def from_json(body: str) -> StopRun:
        return StopRun(**orjson.loads(body))


@dataclass(frozen=True, slots=True)
class Listing:
    """One look at the venue: open orders and all statuses, both complete. ``open_ids``: client ids still open.

    ``doomed``: without a ledger, order ids of everything that must not rest, open or over; one that the look before
    did not show was sent in between, by somebody whose intents nobody knows.
    """

    asked_boot_ns: int
    open_ids: tuple[str, ...]
    doomed: frozenset[str] = frozenset()

    def follows(self, first: Listing) -> bool:
        """Whether both together can prove something."""
        return not first.open_ids and self.doomed <= first.doomed


@dataclass(frozen=True, slots=True)
class Verdict:
    complete: bool
    unproven: int
    still_open: tuple[str, ...]


def is_target(role: Role, correlation_id: str, *, cancel_all: bool) -> bool:
    """Entries and exits go; protection stays unless all is to go; an operator's own flatten goes on."""
    if role is Role.PROTECTION:
        return cancel_all
    return not (role is Role.EXIT and correlation_id.startswith("flatten:"))


def targets(orders: Sequence[OrderRecord], *, cancel_all: bool) -> list[OrderRecord]:
    """Working orders that the stop cancels."""
    return [
        one for one in orders
        if one.working and is_target(one.role, one.intent.correlation_id, cancel_all=cancel_all)
    ]  # fmt: skip


def open_at_venue(
    listing: Sequence[VenueOrder], family: str, instance: str, epoch: int, *, cancel_all: bool, spared: frozenset[str]
) -> list[VenueOrder]:
    """Orders of ours that the venue shows open and that should be gone, the ledger's unknowns included."""
    found = []
    for view in listing:
        made = ids.parse(view.client_order_id)
        if made is None or not ids.is_own(view.client_order_id, family, instance, epoch) or view.status in _OVER:
            continue
        if view.client_order_id not in spared and is_target(made.role, "", cancel_all=cancel_all):
            found.append(view)
    return found


def judge(
    run: StopRun,
    working: Sequence[OrderRecord],
    listings: Sequence[Listing],
    visibility_s: float,
    unsold: Sequence[tuple[str, Decimal]],
) -> Verdict:
    """Complete only with two clean listings further apart than the visibility delay, asked after every intent
    sent before the stop became terminal, and (flatten) with nothing sellable left."""
    before = [one for one in working if one.n <= run.watermark]
    open_targets = targets(before, cancel_all=run.cancel_all)
    open_fates = [one for one in before if one.state in _FATE_OPEN and one not in open_targets]
    listed = set(listings[-1].open_ids) if listings else set()
    still_open = tuple(sorted({one.id for one in open_targets} | listed))
    unproven = len(set(still_open) | {one.id for one in open_fates}) + (len(unsold) if run.flatten else 0)
    clean = [one.asked_boot_ns for one in listings if not one.open_ids]
    apart = bool(clean) and clean[-1] - clean[0] > visibility_s * NS_PER_S
    complete = unproven == 0 and apart
    return Verdict(complete, unproven, still_open)
