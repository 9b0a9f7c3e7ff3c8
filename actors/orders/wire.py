"""The tracker's side of the wire: intents that are persisted before they are sent, cancels, questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from actors import egress
from actors.clock import NS_PER_MS, NS_PER_S
from actors.messages.market import Quote, Side
from actors.messages.orders import (
    CancelOrder,
    OrderIntent,
    OrderKind,
    OrderState,
    OutcomeKind,
    PipelineTiming,
    Role,
    SubmitOrder,
)
from actors.messages.venue import QueryKind, VenueAnswer, VenueQuery
from actors.orders import machine
from actors.orders.booking import open_sells
from actors.orders.core import TrackerCore
from actors.orders.ids import ClientId
from actors.orders.ledger import Ledger
from actors.orders.machine import OrderFacts
from actors.orders.records import OrderRecord
from actors.orders.unknowns import Search
from actors.orders.vanished import Vanishing

PRIORITY_PROTECT, PRIORITY_UNKNOWN, PRIORITY_READ = 10, 20, 30
Done = Callable[[VenueAnswer], None]


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to read from the venue. ``key`` says what is asked: it is in flight at most once."""

    key: str
    kind: QueryKind
    done: Done
    priority: int = PRIORITY_READ
    client_order_id: str | None = None
    order_id: str | None = None
    since_utc_ns: int | None = None
    products: tuple[str, ...] = ()


@dataclass(slots=True)
class InFlight:
    question: Question
    request_id: str
    asked_boot_ns: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """An order about to become an intent."""

    symbol: str
    side: Side
    role: Role
    kind: OrderKind
    size: Decimal
    limit: Decimal
    correlation_id: str
    stop: Decimal | None = None
    end_after_s: float | None = None
    proposal_id: str = ""
    plan_stop: Decimal | None = None
    plan_target: Decimal | None = None
    plan_max_hold_s: float | None = None
    reason: str = ""


@dataclass(slots=True)
class Stations:
    """Boot-clock stations of an order on its way, for ``PipelineTiming``."""

    decided: int = 0
    approved: int = 0
    persisted: int = 0
    wire: int = 0
    answered: int = 0


@dataclass(slots=True)
class WireState:
    """What this incarnation remembers of the wire; a restart asks anew."""

    asked: dict[str, InFlight] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    serial: int = 0
    cancel_sent: dict[str, int] = field(default_factory=dict)
    searches: dict[str, Search] = field(default_factory=dict)
    vanishing: dict[str, Vanishing] = field(default_factory=dict)
    stations: dict[str, Stations] = field(default_factory=dict)
    boot_id: str = ""
    egress_ids: dict[int, str] = field(default_factory=dict)
    """By the gateway's incarnation: the birth of the egress log that it writes."""


class TrackerWire(TrackerCore):
    """Sends; every send follows its commit."""

    def __init__(self) -> None:
        super().__init__()
        self.wire = WireState()

    # --- orders ----------------------------------------------------------------------------------------

    def make_intent(self, ledger: Ledger, draft: Draft) -> OrderRecord:
        """Persist intent and SUBMITTING in the running transaction; returns the record to send after it."""
        now_utc = self.clock.utc_ns()
        n = ledger.next_n()
        orders = self.settings.orders
        gateway = self.peers.get("gateway")
        end = None if draft.end_after_s is None else now_utc + round(draft.end_after_s * NS_PER_S)
        intent = OrderIntent(
            client_order_id=str(ClientId(orders.family, orders.instance, self.epoch, draft.role, n)),
            symbol=draft.symbol,
            side=draft.side,
            role=draft.role,
            kind=draft.kind,
            base_size=draft.size,
            limit_price=draft.limit,
            stop_price=draft.stop,
            end_utc_ns=end,
            correlation_id=draft.correlation_id,
            created_utc_ns=now_utc,
        )
        record = OrderRecord(
            intent=intent,
            n=n,
            epoch=self.epoch,
            facts=OrderFacts(draft.size, submitted=True),
            changed_utc_ns=now_utc,
            proposal_id=draft.proposal_id,
            boot_id=self.wire.boot_id,
            gateway_incarnation=gateway.incarnation if gateway else 0,
            egress_id=self._egress_id(gateway.incarnation) if gateway else "",
            plan_stop=draft.plan_stop,
            plan_target=draft.plan_target,
            plan_max_hold_s=draft.plan_max_hold_s,
            reason=draft.reason,
        )
        ledger.add_order(record)
        return record

    def _egress_id(self, incarnation: int) -> str:
        """A gateway that is known has opened its log; what it has to begin anew later proves nothing of this order."""
        known = self.wire.egress_ids.get(incarnation)
        if known is None:
            try:
                known = egress.newest_birth(self.settings.store_dir / "egress.log")
            except OSError:
                known = ""
            self.wire.egress_ids = {incarnation: known}
        return known

    def send_intent(
        self, record: OrderRecord, quote: Quote | None, expires_boot_ns: int, past: frozenset[str] = frozenset()
    ) -> None:
        """Hand a persisted intent to the gateway, once. ``past``: orders that the venue does not know and that this one
        does not wait for: an account read since shows the coins as free, and the venue refuses them if they are not.
        """
        owned = None
        if record.side is Side.SELL:
            others = [one for one in self.ledger.working(record.symbol) if one.id not in past | {record.id}]
            owned = max(Decimal(0), self.ledger.book(record.symbol).quantity - open_sells(others))
        stations = self.wire.stations.setdefault(record.id, Stations())
        stations.persisted = self.clock.boot_ns()
        self.log.info("order_submitted", order=record.id, symbol=record.symbol, side=record.side.value)
        self.meter.count("orders_submitted_total", role=record.role.value)
        if not self.tell("gateway", SubmitOrder(record.intent, quote, expires_boot_ns, owned, self.stamp)):
            self.note_not_sent(record.id, "no_gateway")
        self.changed()

    def note_not_sent(self, client_order_id: str, reason: str) -> None:
        """It is certain that the command never reached the wire."""

        def work(ledger: Ledger) -> None:
            record = ledger.order(client_order_id)
            if record is not None and record.facts.outcome is None and not record.facts.seen:
                facts = machine.with_outcome(record.facts, OutcomeKind.NOT_SENT, None)
                ledger.change_order(record, record.updated(facts, self.clock.utc_ns(), reason), reason)

        self.write(work)
        self.changed()

    def note_lost(self, record: OrderRecord, cause: str, *, may_still_send_s: float) -> None:
        """Nobody answered for the command: from now on its fate is asked for."""

        def work(ledger: Ledger) -> None:
            ledger.change_order(record, record.updated(machine.with_loss(record.facts), self.clock.utc_ns()), cause)

        if record.state is OrderState.SUBMITTING and not self.write(work):
            return
        now = self.clock.boot_ns()
        last_send = now + round(may_still_send_s * NS_PER_S)
        search = self.wire.searches.get(record.id) or self.new_search(record, last_send)
        if last_send < search.last_send_boot_ns:
            # Whoever could still have sent it has died meanwhile: the proof may begin sooner.
            search = replace(search, last_send_boot_ns=last_send, next_boot_ns=now)
        self.wire.searches[record.id] = search
        self.log.warning("order_unknown", order=record.id, cause=cause)
        self.changed()

    def new_search(self, record: OrderRecord, last_send_boot_ns: int) -> Search:
        """The proof begins now, the order's age does not: a daemon that keeps dying pages all the same."""
        age_ns = max(0, self.clock.utc_ns() - record.intent.created_utc_ns)
        return Search(record.id, last_send_boot_ns, self.clock.boot_ns() - age_ns)

    def cancel_orders(self, records: Sequence[OrderRecord], reason: str) -> bool:
        """Persist the wish, then send; an order without a venue id is cancelled as soon as it has one."""
        fresh = [one for one in records if not one.facts.cancel_requested]

        def work(ledger: Ledger) -> None:
            for one in fresh:
                after = one.updated(machine.with_cancel(one.facts), self.clock.utc_ns())
                ledger.change_order(one, after, f"cancel:{reason}")

        # A cancel reduces risk: it goes out even when the wish cannot be written down.
        persisted = not fresh or self.write(work)
        for one in records:
            self.send_cancel(one, reason)
        if fresh:
            self.changed()
        return persisted

    def send_cancel(self, record: OrderRecord, reason: str) -> None:
        """Ask the gateway to cancel; again only after ``cancel_timeout_s``."""
        order_id = record.facts.order_id
        if order_id is None:
            return
        now = self.clock.boot_ns()
        sent = self.wire.cancel_sent.get(record.id)
        if sent is not None and now - sent < self.settings.orders.cancel_timeout_s * NS_PER_S:
            return
        if self.tell("gateway", CancelOrder(record.id, order_id, record.symbol, reason, self.stamp)):
            self.wire.cancel_sent[record.id] = now

    def report_timing(self, record: OrderRecord, first_fill_boot_ns: int) -> None:
        """Once per order: at its first fill, or at its end without one."""
        stations = self.wire.stations.pop(record.id, None)
        if stations is None:
            return
        timing = PipelineTiming(
            record.id,
            record.role,
            stations.decided,
            stations.approved,
            stations.persisted,
            stations.wire,
            stations.answered,
            first_fill_boot_ns,
        )
        self.tell("metrics", timing)
        self.log.info(
            "order_timing",
            order=record.id,
            approved_ms=_between_ms(stations.decided, stations.approved),
            persisted_ms=_between_ms(stations.decided, stations.persisted),
            wire_ms=_between_ms(stations.persisted, stations.wire),
            answered_ms=_between_ms(stations.wire, stations.answered),
        )

    # --- questions -------------------------------------------------------------------------------------

    def ask(self, question: Question, *, renew: bool = False) -> None:
        """Put a question unless it is in flight; ``renew``: what is in flight may be too old, ask again after it."""
        now = self.clock.boot_ns()
        flying = self.wire.asked.get(question.key)
        patience_ns = (self.settings.gateway.call_deadline_s * 2) * NS_PER_S
        if flying is not None and now - flying.asked_boot_ns < patience_ns:
            flying.again = flying.again or renew
            return
        if flying is not None:
            self.wire.keys.pop(flying.request_id, None)
        self.wire.serial += 1
        request_id = f"{self.name}-{self.incarnation}-{self.wire.serial}"
        query = VenueQuery(
            request_id=request_id,
            kind=question.kind,
            stamp=self.stamp,
            client_order_id=question.client_order_id,
            order_id=question.order_id,
            since_utc_ns=question.since_utc_ns,
            products=question.products,
            priority=question.priority,
        )
        if self.tell("gateway", query):
            self.wire.asked[question.key] = InFlight(question, request_id, now)
            self.wire.keys[request_id] = question.key

    def answered(self, answer: VenueAnswer) -> None:
        """Hand an answer to who asked; late ones of questions given up are dropped."""
        key = self.wire.keys.pop(answer.request_id, None)
        flying = None if key is None else self.wire.asked.pop(key, None)
        if flying is None:
            return
        flying.question.done(answer)
        if flying.again:
            self.ask(flying.question)

    def forget_questions(self) -> None:
        """Whoever was asked is gone; what still matters is asked again by the next sweep."""
        self.wire.asked.clear()
        self.wire.keys.clear()
        self.wire.cancel_sent.clear()

    def read_boot_id(self) -> None:
        try:
            self.wire.boot_id = egress.boot_id()
        except OSError:
            self.wire.boot_id = ""  # then the egress record proves nothing, absence is proven by listings


def _between_ms(first_boot_ns: int, then_boot_ns: int) -> float | None:
    """Milliseconds from one station to another; None when either was not reached."""
    return round((then_boot_ns - first_boot_ns) / NS_PER_MS, 3) if first_boot_ns and then_boot_ns else None
