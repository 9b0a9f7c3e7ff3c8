"""Facts from the venue and the gateway: taken in once, and what follows from them is set going."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from actors.clock import NS_PER_S
from actors.messages.delivery import Undelivered
from actors.messages.health import Alert, BreakerName, BreakerSignal, Severity
from actors.messages.market import Side, UserChannelReset, UserOrderEvent
from actors.messages.orders import (
    CancelOrder,
    CancelOutcome,
    OrderKind,
    OrderState,
    OutcomeKind,
    OutcomeTaken,
    Role,
    SubmitOrder,
    SubmitOutcome,
)
from actors.messages.reconcile import VenueEvidence
from actors.messages.venue import QueryKind, VenueAnswer, VenueFill, VenueOrder, VenueQuery
from actors.orders import booking, exits, rejections, unknowns
from actors.orders.booking import Booked
from actors.orders.ledger import Ledger
from actors.orders.records import FillRecord, OrderRecord
from actors.orders.stopping import MARGIN_NS, TrackerStopping
from actors.orders.unknowns import EgressProof, Search
from actors.orders.wire import PRIORITY_PROTECT, PRIORITY_READ, PRIORITY_UNKNOWN, Question

SOON_S = 0.25
MOVING_NS = 5 * NS_PER_S
"""An order that changed less than this ago may be on its way to its next state."""
ON_THE_WAY = frozenset({"PENDING", "QUEUED", "CANCEL_QUEUED"})
EXIT_REASONS = frozenset({exits.STRATEGY, exits.MAX_HOLD, exits.STOP, exits.TARGET, exits.FLATTEN})


class TrackerFacts(TrackerStopping):
    """Handlers of facts. An answer that says nothing changes nothing."""

    # --- taking in -------------------------------------------------------------------------------------

    def take(self, orders: Sequence[VenueOrder] = (), fills: Sequence[VenueFill] = ()) -> bool:
        """Book what is new, in one transaction, then act on it; False when it could not be written."""
        booked = Booked()
        for view in orders:
            self._shown(view)
        self.note_stops(orders)
        before = {book.symbol: book.quantity for book in self.ledger.books()}

        def work(ledger: Ledger) -> None:
            for view in orders:
                booking.take_view(ledger, view, self.identity, self.clock.utc_ns(), booked)
            for fill in sorted(fills, key=lambda one: (one.trade_utc_ns, one.entry_id)):
                booking.take_fill(ledger, fill, self.clock.utc_ns(), booked)

        if not self.write(work):
            return False
        self.follow(booked, before)
        return True

    def _shown(self, view: VenueOrder) -> None:
        """The venue shows this order: nothing proves that it is gone any more."""
        known = self.ledger.order_by_venue_id(view.order_id)
        name = view.client_order_id if known is None else known.id
        self.wire.vanishing.pop(name, None)
        if view.product_id in self.watches:
            self.watches[view.product_id].missing.pop(name, None)

    def follow(self, booked: Booked, before: Mapping[str, Decimal]) -> None:
        """What follows from facts that are in the ledger; ``before``: quantities by symbol before they were."""
        for anomaly in booked.anomalies:
            self.report_anomaly(anomaly)
        for order_id in booked.fetch_fills:
            self.ask_fills(order_id)
        for order_id in booked.strays:
            self._ask_stray(order_id)
        for fill, record in booked.fills:
            self._filled(fill, record)
        for record in booked.rejected:
            self._note_rejected(record)
        for symbol in sorted(booked.symbols):
            quantity = self.ledger.book(symbol).quantity
            if before.get(symbol, 0) > 0 >= quantity:
                self._trip_ended(symbol, booked)
            self.settle(symbol)

    def _filled(self, fill: FillRecord, record: OrderRecord) -> None:
        self.meter.count("fills_total", symbol=fill.symbol, side=fill.side.value)
        self.log.info(
            "fill",
            order=record.id,
            symbol=fill.symbol,
            side=fill.side.value,
            size=str(fill.size),
            price=str(fill.price),
        )
        self.report_timing(record, self.clock.boot_ns())

    def _trip_ended(self, symbol: str, booked: Booked) -> None:
        sells = [(fill, order) for fill, order in booked.fills if fill.symbol == symbol and fill.side is Side.SELL]
        reason = "exit"
        if sells:
            fill, order = sells[-1]
            last = self.ledger.order(order.id) or order
            if last.reason in EXIT_REASONS:
                reason = last.reason
            elif last.role is Role.PROTECTION:
                # The fill may come before the order is shown triggered; a target is never filled below its price.
                bracket = last.intent.kind is OrderKind.BRACKET_GTC and not last.facts.triggered
                reason = exits.TARGET if bracket and fill.price >= last.intent.limit_price else exits.STOP
        book = self.ledger.book(symbol)
        self.close_trip(symbol, book.realized - book.trip_start, reason)

    def settle(self, symbol: str) -> None:
        """Orders or books of the symbol changed."""
        for name in [name for name in self.wire.searches if (one := self.ledger.order(name)) and one.symbol == symbol]:
            record = self.ledger.order(name)
            if record is not None and record.state is not OrderState.UNKNOWN:
                self._found(record)
        self.changed()
        if self.lease is not None:
            self.obey()
        self.tend(symbol)
        self.push_stops()

    def _found(self, record: OrderRecord) -> None:
        """It is known what became of an UNKNOWN order; whoever was paged hears it."""
        search, symbol = self.wire.searches.pop(record.id), record.symbol
        self.log.info("unknown_resolved", order=record.id, state=record.state.value)
        if search.paged or self.unknown_for_s(search) >= self.settings.orders.unknown_page_s:
            became = f"{record.state.value} {record.reason}".strip()
            text = f"{record.id} ({record.side.value} {symbol}) is resolved: {became}"
            self.alert(Severity.INFO, f"unknown:{record.id}", text, record.intent.correlation_id)
        if not any(one.state is OrderState.UNKNOWN for one in self.ledger.working(symbol)):
            self.untrip(BreakerName.UNKNOWN_AGE, symbol, "every order is known")

    def unknown_for_s(self, search: Search) -> float:
        return (self.clock.boot_ns() - search.since_boot_ns) / NS_PER_S

    # --- the gateway's answers -------------------------------------------------------------------------

    def on_submit_outcome(self, outcome: SubmitOutcome, sender: object) -> None:
        booked = Booked()
        taken: list[OrderRecord | None] = []
        was = self.ledger.order(outcome.client_order_id)

        def work(ledger: Ledger) -> None:
            taken.append(booking.take_outcome(ledger, outcome, self.clock.utc_ns(), booked))

        if not self.write(work):
            return  # not acknowledged: the gateway repeats it
        self.tell("gateway", OutcomeTaken(outcome.client_order_id, "submit"))
        for anomaly in booked.anomalies:
            self.report_anomaly(anomaly)
        record = taken[0]
        if record is None or was is None or not booked.symbols:
            return
        self.meter.count("order_outcomes_total", outcome=outcome.kind.value)
        stations = self.wire.stations.get(record.id)
        if stations is not None:
            stations.wire, stations.answered = outcome.wire_boot_ns or 0, outcome.answered_boot_ns
        self._after_outcome(record)

    def _after_outcome(self, record: OrderRecord) -> None:
        if record.state is OrderState.UNKNOWN:
            self.wire.searches[record.id] = self.new_search(record, self.clock.boot_ns())
            self.log.warning("order_unknown", order=record.id, cause=record.reason)
            self._query_unknown(record)
        elif record.state is OrderState.REJECTED:
            self._note_rejected(record)
        else:
            self.ask_order(record)
            if record.facts.cancel_requested:
                self.send_cancel(record, "late")
        self.settle(record.symbol)

    def _note_rejected(self, record: OrderRecord) -> None:
        """Refused at once or failed after it was taken: both are tried again only after a wait."""
        self.log.warning("order_rejected", order=record.id, reason=record.reason)
        self.report_timing(record, 0)
        self.look_at_rejections()
        if record.role is Role.PROTECTION and record.intent.kind is not OrderKind.LIMIT_IOC:
            self.note_protection_refused(record)

    def look_at_rejections(self) -> None:
        """Too many orders in a row that the venue would not have: entries stop until it has been quiet."""
        limits = self.settings.gateway
        row = rejections.in_a_row(self.ledger.newest_orders(rejections.LOOKED_AT * limits.rejections_trip))
        quiet_ns = limits.rejections_quiet_s * NS_PER_S
        if len(row) >= limits.rejections_trip and self.clock.utc_ns() - row[0].changed_utc_ns < quiet_ns:
            text = f"{len(row)} orders in a row were refused or failed: {row[0].reason}"
            self.trip(BreakerName.REJECTIONS, "*", text)
        else:
            self.untrip(BreakerName.REJECTIONS, "*", "no order in a row was refused any more")

    def on_cancel_outcome(self, outcome: CancelOutcome, sender: object) -> None:
        """DONE says that the request was taken, REFUSED may mean filled: in both cases the order is looked at."""
        self.tell("gateway", OutcomeTaken(outcome.client_order_id, "cancel"))
        record = self.ledger.order(outcome.client_order_id)
        if outcome.kind in (OutcomeKind.NOT_SENT, OutcomeKind.UNKNOWN):
            self.wire.cancel_sent.pop(outcome.client_order_id, None)
        if record is not None and record.working:
            self.ask_order(record, renew=True)

    def on_undelivered(self, message: Undelivered, sender: object) -> None:
        lost = message.message
        super().on_undelivered(message, sender)
        if isinstance(lost, SubmitOrder):
            record = self.ledger.order(lost.intent.client_order_id)
            if record is None or record.state is not OrderState.SUBMITTING:
                return
            if message.reason == "refused":
                self.note_not_sent(record.id, "undelivered")
            else:
                self.note_lost(record, f"undelivered:{message.reason}", may_still_send_s=self._gateway_patience_s)
            self.settle(record.symbol)
        elif isinstance(lost, BreakerSignal):
            self.unsaid.append(("watchdog", lost))  # hearing it twice does no harm
        elif isinstance(lost, Alert):
            self.unsaid.append(("alerts", lost))
        elif isinstance(lost, CancelOrder):
            self.wire.cancel_sent.pop(lost.client_order_id, None)
        elif isinstance(lost, VenueQuery):
            key = self.wire.keys.pop(lost.request_id, None)
            if key is not None:
                self.wire.asked.pop(key, None)

    # --- the venue's word ------------------------------------------------------------------------------

    def on_venue_answer(self, answer: VenueAnswer, sender: object) -> None:
        self.answered(answer)

    def on_venue_evidence(self, evidence: VenueEvidence, sender: object) -> None:
        self.take(evidence.orders, evidence.fills)

    def on_user_order_event(self, event: UserOrderEvent, sender: object) -> None:
        """A reason to look, never a fill by itself."""
        record = self.ledger.order_by_venue_id(event.order_id) or self.ledger.order(event.client_order_id)
        if record is None:
            return
        self.wire.vanishing.pop(record.id, None)  # it lives, or ends: whatever is proven is proven after this
        if record.working or event.cumulative_quantity > record.facts.filled:
            known = record if record.facts.order_id else replace(
                record, facts=replace(record.facts, order_id=event.order_id)
            )  # fmt: skip
            self.ask_order(known, renew=True)
        if event.cumulative_quantity > record.facts.filled and record.facts.order_id:
            self.ask_fills(event.order_id, renew=True)

    def on_user_channel_reset(self, reset: UserChannelReset, sender: object) -> None:
        """Events may be missing: read everything that works, and the fills."""
        self.log.warning("user_channel_reset", reason=reset.reason)
        self.backfill()

    # --- questions -------------------------------------------------------------------------------------

    def ask_order(self, record: OrderRecord, *, renew: bool = False) -> None:
        """Read one order; that the venue does not know it any more proves no end, yet it is no protection."""

        def done(answer: VenueAnswer) -> None:
            if answer.ok and not answer.orders and record.facts.order_id is not None:
                self.not_found(record.id, answer.asked_boot_ns)
            self._take_answer(answer)
            if answer.ok:
                self._ask_soon(record, answer)

        priority = PRIORITY_PROTECT if record.role is not Role.ENTRY else PRIORITY_READ
        question = Question(
            f"order:{record.id}", QueryKind.ORDER, done, priority,
            client_order_id=record.id, order_id=record.facts.order_id,
        )  # fmt: skip
        self.ask(question, renew=renew)

    def _ask_soon(self, record: OrderRecord, answer: VenueAnswer) -> None:
        """What the venue does not show yet, or shows on its way, is looked at again before the next sweep: a position
        may be naked until then. Entries on their way are many at times, and nothing waits for them."""
        name = record.id
        moving = any(view.status in ON_THE_WAY for view in answer.orders) and record.role is not Role.ENTRY
        if answer.orders and not moving:
            return

        def again() -> None:
            now = self.ledger.order(name)
            if now is None or not now.working or now.facts.order_id is None:
                return
            if 0 <= self.clock.utc_ns() - now.changed_utc_ns < MOVING_NS:
                self.ask_order(now)

        self.after(f"soon-{name}", SOON_S, again)

    def not_found(self, client_order_id: str, asked_boot_ns: int) -> None:
        """The venue does not know the order by its order id; the layer that looks for what vanished takes it up."""
        raise NotImplementedError

    def ask_fills(self, order_id: str, *, renew: bool = False) -> None:
        question = Question(
            f"fills:{order_id}", QueryKind.FILLS_OF_ORDER, self._take_answer, PRIORITY_PROTECT, order_id=order_id
        )
        self.ask(question, renew=renew)

    def _ask_stray(self, order_id: str) -> None:
        """A fill of an order that the ledger does not know by its order id: ask whose it is."""

        def done(answer: VenueAnswer) -> None:
            if answer.ok and answer.orders and self.take(answer.orders):
                if self.ledger.order_by_venue_id(order_id) is not None:
                    self.ask_fills(order_id)
                else:
                    self._not_ours.add(order_id)

        if order_id not in self._not_ours:
            self.ask(Question(f"stray:{order_id}", QueryKind.ORDER, done, order_id=order_id))

    def __init__(self) -> None:
        super().__init__()
        self._not_ours: set[str] = set()
        """Order ids that belong to somebody else who uses the account."""

    def _take_answer(self, answer: VenueAnswer) -> None:
        if answer.ok:
            self.take(answer.orders, answer.fills)

    def backfill(self) -> None:
        """Read open orders, every working order and the fills since the oldest of them."""
        working = self.ledger.working()
        self.ask(Question("poll:open", QueryKind.OPEN_ORDERS, self._take_answer), renew=True)
        for record in working:
            self.ask_order(record, renew=True)
        since = self.oldest_utc_ns(working)
        self.ask(Question("poll:fills", QueryKind.FILLS_SINCE, self._take_answer, since_utc_ns=since), renew=True)

    def oldest_utc_ns(self, working: list[OrderRecord]) -> int:
        """Where a listing has to begin to hold everything about ``working``."""
        return min((one.intent.created_utc_ns for one in working), default=self.clock.utc_ns()) - MARGIN_NS

    # --- UNKNOWN ---------------------------------------------------------------------------------------

    @property
    def _gateway_patience_s(self) -> float:
        """A living gateway that has the command can still send it for this long."""
        return self.settings.gateway.call_deadline_s + self.settings.orders.submit_timeout_s

    def lose_or_clear(self, record: OrderRecord, cause: str) -> None:
        """The holder of this command is gone: nothing was sent, proven by the egress record, or it is UNKNOWN."""
        proof = EgressProof(self.settings.store_dir / "egress.log")
        if record.facts.outcome is None and proof.never_sent(record, holder_gone=self._holder_gone(record)):
            self.log.info("never_sent", order=record.id, cause=cause)
            self.note_not_sent(record.id, "never_sent")
            known = self.ledger.order(record.id)
            if known is not None and known.state is not OrderState.UNKNOWN and known.id in self.wire.searches:
                self._found(known)
            self.report_timing(record, 0)
        else:
            still = 0.0 if self._holder_gone(record) else self._gateway_patience_s
            self.note_lost(record, cause, may_still_send_s=still)

    def _holder_gone(self, record: OrderRecord) -> bool:
        if record.epoch < self.epoch:
            return True
        gateway = self.peers.get("gateway")
        return gateway is not None and gateway.incarnation > record.gateway_incarnation

    def sweep_unknown(self, record: OrderRecord) -> None:
        """Query by client id with growing waits. From one age on it is paged; the breaker that waits for an operator
        comes only when the proof, which takes about two minutes, has not."""
        now = self.clock.boot_ns()
        search = self.wire.searches.get(record.id)
        if search is None:
            done_with = record.facts.outcome is not None or self._holder_gone(record)
            patience_ns = 0 if done_with else round(self._gateway_patience_s * NS_PER_S)
            search = self.wire.searches[record.id] = self.new_search(record, now + patience_ns)
        if record.facts.outcome is None and not search.queries:
            self.lose_or_clear(record, "search")
        search = self.wire.searches.get(record.id)
        if search is None:
            return  # it was never sent
        age_s, limits = self.unknown_for_s(search), self.settings.orders
        if age_s >= limits.unknown_page_s and not search.paged:
            self.wire.searches[record.id] = search = replace(search, paged=True)
            text = f"{record.id} ({record.side.value} {record.symbol}) has been UNKNOWN for {age_s:.0f} s"
            self.alert(Severity.PAGE, f"unknown:{record.id}", text, record.intent.correlation_id)
        if age_s >= limits.unknown_latch_s and not search.latched:
            self.wire.searches[record.id] = search = replace(search, latched=True)
            self.trip(BreakerName.UNKNOWN_AGE, record.symbol, f"{record.id} is UNKNOWN")
        if now >= search.next_boot_ns:
            self._query_unknown(record)

    def _query_unknown(self, record: OrderRecord) -> None:
        search = self.wire.searches.get(record.id)
        if search is None:
            return  # resolved meanwhile
        interval, venue = self.settings.orders.unknown_query_s, self.settings.venue
        self.wire.searches[record.id] = search.queried(
            self.clock.boot_ns(), interval, venue.jwt_life_s, venue.visibility_delay_s
        )
        since = record.intent.created_utc_ns - MARGIN_NS
        name, priority = record.id, PRIORITY_UNKNOWN

        def clear(asked_boot_ns: int) -> None:
            self._advance_search(name, asked_boot_ns, listing=False)

        def listed(answer: VenueAnswer) -> None:
            if not answer.ok or not self.take(answer.orders) or name not in self.wire.searches:
                return
            if not unknowns.lists(record, answer.orders):
                known = frozenset(view.order_id for view in answer.orders)
                self._advance_search(name, answer.asked_boot_ns, listing=True)
                self.ask_stray_fills(f"fills-since:{name}", [record], clear, known, priority)

        by_id = Question(f"order:{name}", QueryKind.ORDER, self._take_answer, priority, client_order_id=name)
        self.ask(by_id)
        self.ask(Question(f"since:{name}", QueryKind.ORDERS_SINCE, listed, priority, since_utc_ns=since))

    def ask_stray_fills(
        self,
        key: str,
        records: Sequence[OrderRecord],
        clear: Callable[[int], None],
        known: frozenset[str],
        priority: int,
    ) -> None:
        """Read the fills since these orders were made; ``clear`` hears when it was asked, if none may be theirs.

        ``known``: order ids that belong to others.
        """

        def done(answer: VenueAnswer) -> None:
            if not answer.ok or not self.take(fills=answer.fills):
                return
            ours = {one.order_id for one in answer.fills if self.ledger.order_by_venue_id(one.order_id) is not None}
            others = known | ours | self._not_ours
            if all(unknowns.fills_are_clear(one, answer.fills, others) for one in records):
                clear(answer.asked_boot_ns)

        since = self.oldest_utc_ns(list(records))
        self.ask(Question(key, QueryKind.FILLS_SINCE, done, priority, since_utc_ns=since))

    def _advance_search(self, client_order_id: str, asked_boot_ns: int, *, listing: bool) -> None:
        search = self.wire.searches.get(client_order_id)
        record = self.ledger.order(client_order_id)
        if search is None or record is None:
            return
        venue = self.settings.venue
        advance = search.with_listing if listing else search.with_clear_fills
        search = advance(asked_boot_ns, venue.jwt_life_s, venue.visibility_delay_s)
        self.wire.searches[client_order_id] = search
        if not search.absent or record.state is not OrderState.UNKNOWN:
            return

        def work(ledger: Ledger) -> None:
            booking.take_absence(ledger, record, "absent", "proven_absent", self.clock.utc_ns())

        if self.write(work):
            self.log.warning("proven_absent", order=record.id)
            self.report_timing(record, 0)
            self.settle(record.symbol)
