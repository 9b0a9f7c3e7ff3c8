"""Stopping: which orders a kill, halt, stop or flatten cancels, and when it is proven done. Pure, resumable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

import orjson

from actors.clock import NS_PER_S
from actors.messages.health import TradingState
from actors.messages.market import Side
from actors.messages.orders import OrderState, Role
from actors.messages.venue import VenueOrder
from actors.orders import ids
from actors.orders.records import OrderRecord

_OVER = frozenset({"FILLED", "CANCELLED", "EXPIRED", "FAILED"})
_FATE_OPEN = frozenset({OrderState.INTENT, OrderState.SUBMITTING, OrderState.UNKNOWN})


class StopKind(StrEnum):
    """What a stop forbids. KILL (a kill, and the end of the daemon): entries and strategies' exits. HALT: the same.
    REDUCE: entries. FLATTEN: everything on one symbol but its own sells, whose position it sells."""

    KILL = "kill"
    HALT = "halt"
    REDUCE = "reduce"
    FLATTEN = "flatten"


@dataclass(frozen=True, slots=True)
class StopRun:
    """One stop under way. ``watermark``: highest n at its start; ``cancelled`` counts orders whose cancel was asked.

    ``since_utc_ns``: listings of all statuses begin here, before the oldest intent that was working. ``symbol``:
    the one it is about, empty for all. ``rearmed``: symbols that an operator protected again after a
    ``cancel_all``. ``owned``: what a FLATTEN of one symbol began with. ``released_by``: the release that ended its
    flatten before it was done; ``concluded``: what that left unsold was told."""

    request_id: str
    flatten: bool
    cancel_all: bool
    watermark: int
    started_utc_ns: int
    since_utc_ns: int
    cancelled: int = 0
    complete: bool = False
    kind: StopKind = StopKind.KILL
    symbol: str = ""
    rearmed: tuple[str, ...] = ()
    owned: str = ""
    released_by: str = ""
    concluded: bool = False

    def to_json(self) -> str:
        return orjson.dumps({name: getattr(self, name) for name in self.__dataclass_fields__}).decode()

    @staticmethod
    def from_json(body: str) -> StopRun:
        run = StopRun(**orjson.loads(body))
        return replace(run, kind=StopKind(run.kind), rearmed=tuple(run.rearmed))

    def concerns(self, symbol: str) -> bool:
        return self.symbol in ("", symbol)

    def cancels(self, role: Role, correlation_id: str, symbol: str) -> bool:
        """Entries and exits go; protection stays unless all is to go; an operator's own flatten goes on."""
        if not self.concerns(symbol):
            return False
        if role is Role.PROTECTION:
            return self.cancel_all and symbol not in self.rearmed
        return role is Role.ENTRY or (self.kind is not StopKind.REDUCE and not correlation_id.startswith("flatten:"))

    def ends(self, role: Role, correlation_id: str, symbol: str) -> bool:
        """Whether such an order must be over when the stop is: the stops of a sold position go with it."""
        if self.kind is StopKind.FLATTEN and self.concerns(symbol):
            return True
        return self.cancels(role, correlation_id, symbol)

    def over_in(self, state: TradingState) -> bool:
        """Whether a lease of ``state`` says that what this stop forbids is allowed again."""
        if self.kind is StopKind.FLATTEN:
            return False  # it ends with its position, not with a state
        limit = TradingState.RUN if self.kind is StopKind.REDUCE else TradingState.REDUCE_ONLY
        return state.rank <= limit.rank


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


def forbidden(order: OrderRecord, state: TradingState) -> bool:
    """Whether a working order may not work in this trading state."""
    if order.side is Side.BUY and state.rank >= TradingState.REDUCE_ONLY.rank:
        return True
    flatten = order.intent.correlation_id.startswith("flatten:")
    return state.rank >= TradingState.HALTED.rank and order.role is not Role.PROTECTION and not flatten


def targets(orders: Sequence[OrderRecord], run: StopRun) -> list[OrderRecord]:
    """Working orders that the stop cancels."""
    return [one for one in orders if one.working and run.cancels(one.role, one.intent.correlation_id, one.symbol)]


def open_at_venue(
    listing: Sequence[VenueOrder], family: str, instance: str, epoch: int, run: StopRun, spared: frozenset[str]
) -> list[VenueOrder]:
    """Orders of ours that the venue shows open and that should be gone, the ledger's unknowns included."""
    found = []
    for view in listing:
        made = ids.parse(view.client_order_id)
        if made is None or not ids.is_own(view.client_order_id, family, instance, epoch) or view.status in _OVER:
            continue
        if view.client_order_id not in spared and run.ends(made.role, "", view.product_id):
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
    # A flatten keeps its symbol to itself, so whatever works there is its own and has to end too.
    before = [
        one for one in working
        if run.concerns(one.symbol) and (one.n <= run.watermark or run.kind is StopKind.FLATTEN)
    ]  # fmt: skip
    open_targets = [one for one in before if run.ends(one.role, one.intent.correlation_id, one.symbol)]
    open_fates = [one for one in before if one.state in _FATE_OPEN and one not in open_targets]
    listed = set(listings[-1].open_ids) if listings else set()
    still_open = tuple(sorted({one.id for one in open_targets} | listed))
    unproven = len(set(still_open) | {one.id for one in open_fates}) + (len(unsold) if run.flatten else 0)
    clean = [one.asked_boot_ns for one in listings if not one.open_ids]
    apart = bool(clean) and clean[-1] - clean[0] > visibility_s * NS_PER_S
    complete = unproven == 0 and apart
    return Verdict(complete, unproven, still_open)
