"""Looks for orders that the venue had and does not find any more, until they are shown again or proven gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from actors.clock import NS_PER_S
from actors.messages.health import Severity
from actors.messages.market import Side
from actors.messages.orders import OrderState
from actors.messages.venue import QueryKind, VenueAnswer, VenueOrder
from actors.orders import booking, vanished
from actors.orders.facts import TrackerFacts
from actors.orders.ledger import Ledger
from actors.orders.records import OrderRecord
from actors.orders.stopping import MARGIN_NS
from actors.orders.vanished import Evidence, Vanishing
from actors.orders.wire import PRIORITY_PROTECT, PRIORITY_UNKNOWN, Question

END_GRACE_NS = 2 * NS_PER_S
WITNESS_NS = 24 * 3600 * NS_PER_S
WITNESSES = 200
VANISHED = "vanished"
"""Reason of an order that was proven gone."""


class TrackerMissing(TrackerFacts):
    """One search per order; what it has found is in memory, what it proves is in the ledger."""

    @property
    def _vanish_gap_s(self) -> float:
        return vanished.gap_s(self.settings.venue.visibility_delay_s)

    def not_found(self, client_order_id: str, asked_boot_ns: int) -> None:
        record = self.ledger.order(client_order_id)
        if record is None or not record.working or not record.facts.taken or record.facts.order_id is None:
            return
        if record.id in self.wire.vanishing:
            self._note_clear(record.id, Evidence.BY_ORDER_ID, asked_boot_ns)
            return
        now = self.clock.boot_ns()
        begins = now + round(self.settings.venue.visibility_delay_s * NS_PER_S)
        self.wire.vanishing[record.id] = Vanishing(record.id, now, record.facts.filled, next_boot_ns=begins)
        if record.facts.seen:
            self.watch(record.symbol).missing.setdefault(record.id, now)
        self.log.warning("order_missing", order=record.id, order_id=record.facts.order_id)
        self.tend(record.symbol)

    def sweep_missing(self) -> None:
        """Ask again when it is time; read the account when everything else is settled."""
        now = self.clock.boot_ns()
        for name, search in list(self.wire.vanishing.items()):
            record = self.ledger.order(name)
            if record is None or search.filled != record.facts.filled:
                del self.wire.vanishing[name]  # it was filled meanwhile: the next look begins anew
                continue
            if not record.working:
                self.forget_missing(record)
                continue
            if search.settled_at(self._vanish_gap_s) is not None:
                self._conclude_gone(record)
            if now >= search.next_boot_ns:
                self.wire.vanishing[name] = search.queried(now)
                self._look_for(record, second=search.second_look(now, self._vanish_gap_s))

    # --- questions -------------------------------------------------------------------------------------

    def _look_for(self, record: OrderRecord, *, second: bool) -> None:
        name, since = record.id, record.intent.created_utc_ns - MARGIN_NS
        witness = self._witness()
        if witness is not None:
            since = min(since, witness.intent.created_utc_ns - MARGIN_NS)
        kinds = {Evidence.LISTING: QueryKind.ORDERS_SINCE}
        if second:
            self.ask_order(record)
            kinds |= {Evidence.BY_CLIENT_ID: QueryKind.ORDER, Evidence.OPEN: QueryKind.OPEN_ORDERS}
            self._ask_fills_of(record)
        for what, kind in kinds.items():
            self.ask(
                Question(
                    f"gone:{kind.value}:{name}", kind, self._not_listed(record, what, witness), PRIORITY_UNKNOWN,
                    client_order_id=name if kind is QueryKind.ORDER else None, since_utc_ns=since,
                )
            )  # fmt: skip

    def _witness(self) -> OrderRecord | None:
        """The newest order of ours that was filled: a listing of all statuses that lacks it lacks others, too."""
        since = self.clock.utc_ns() - WITNESS_NS
        newest = self.ledger.newest_orders(WITNESSES)
        filled = (one for one in newest if one.state is OrderState.FILLED and one.facts.seen and not one.facts.gone)
        return next((one for one in filled if one.intent.created_utc_ns >= since), None)

    def _not_listed(
        self, record: OrderRecord, what: Evidence, witness: OrderRecord | None
    ) -> Callable[[VenueAnswer], None]:
        name = record.id

        def done(answer: VenueAnswer) -> None:
            if not answer.ok or not self.take(answer.orders) or name not in self.wire.vanishing:
                return  # a failed question proves nothing, and one that shows the order has ended the search
            shown = {view.order_id for view in answer.orders}
            if what is Evidence.LISTING and witness is not None and witness.facts.order_id not in shown:
                self.log.warning("listing_incomplete", order=name, lacks=witness.id)
                return
            self._note_clear(name, what, answer.asked_boot_ns)
            if what is Evidence.OPEN:
                self._note_others(record, answer.orders)
            if what is Evidence.LISTING:
                known = frozenset(view.order_id for view in answer.orders)
                self._ask_strays(
                    "gone", frozenset({name}), lambda asked: self._note_clear(name, Evidence.STRAYS, asked), known
                )

        return done

    def _ask_fills_of(self, record: OrderRecord) -> None:
        name = record.id

        def done(answer: VenueAnswer) -> None:
            if not answer.ok or not self.take(fills=answer.fills):
                return
            known = self.ledger.order(name)
            if known is not None and not known.facts.awaits_fills:
                self._note_clear(name, Evidence.FILLS, answer.asked_boot_ns)

        kind, order_id = QueryKind.FILLS_OF_ORDER, record.facts.order_id
        self.ask(Question(f"gone:fills:{name}", kind, done, PRIORITY_UNKNOWN, order_id=order_id))

    def ask_strays(self, symbol: str, names: frozenset[str], clear: Callable[[], None]) -> None:
        self._ask_strays(f"astray:{symbol}", names, lambda asked: clear())

    def _ask_strays(
        self, key: str, names: frozenset[str], clear: Callable[[int], None], known: frozenset[str] = frozenset()
    ) -> None:
        """``clear`` hears when the fills were asked for, if none may be of these orders."""
        records = [one for name in sorted(names) if (one := self.ledger.order(name)) is not None]
        self.ask_stray_fills(f"strays:{key}:{','.join(sorted(names))}", records, clear, known, PRIORITY_PROTECT)

    def _note_clear(self, client_order_id: str, what: Evidence, asked_boot_ns: int) -> None:
        search = self.wire.vanishing.get(client_order_id)
        if search is not None:
            self.wire.vanishing[client_order_id] = search.with_clear(what, asked_boot_ns, self._vanish_gap_s)

    def _note_others(self, record: OrderRecord, listing: tuple[VenueOrder, ...]) -> None:
        search, base = self.wire.vanishing.get(record.id), record.symbol.partition("-")[0]
        if search is not None:
            held = vanished.others_hold(
                listing, base, lambda one: self.ledger.order_by_venue_id(one.order_id) is not None
            )
            self.wire.vanishing[record.id] = replace(search, others_hold=held)

    # --- proof -----------------------------------------------------------------------------------------

    def _conclude_gone(self, record: OrderRecord) -> None:
        """Everything but the account says that it is gone."""
        search = self.wire.vanishing[record.id]
        settled = search.settled_at(self._vanish_gap_s)
        if settled is None or vanished.may_rest(record, self.clock.utc_ns(), END_GRACE_NS):
            return
        if record.side is Side.BUY:
            self._prove_gone(record, "its end has passed")
        elif search.balance_asked_boot_ns < settled:
            self.wire.vanishing[record.id] = replace(search, balance_asked_boot_ns=self.clock.boot_ns())
            key, kind, ours = f"gone:balance:{record.id}", QueryKind.BALANCES, self._ours_hold(record)
            self.ask(Question(key, kind, lambda answer: self._weigh_hold(record, answer, ours), PRIORITY_UNKNOWN))

    def _ours_hold(self, record: OrderRecord) -> Decimal:
        base, sought = record.symbol.partition("-")[0], frozenset(self.wire.vanishing)
        return vanished.shown_holds(self.ledger.working(), base, sought)

    def _weigh_hold(self, record: OrderRecord, answer: VenueAnswer, ours_before: Decimal) -> None:
        """Whether the account shows as free what no other order of ours can hold; ``ours_before``: what was known to
        be held when it was asked, since an order that came in between is not in the answer."""
        search = self.wire.vanishing.get(record.id)
        if not answer.ok or search is None:
            return
        symbol, base = record.symbol, record.symbol.partition("-")[0]  # it may not be configured any more
        wallets, sought = [one for one in answer.balances if one.currency == base], frozenset(self.wire.vanishing)
        available = sum((one.available for one in wallets), Decimal(0))
        hold = sum((one.hold for one in wallets), Decimal(0))
        uncovered = vanished.uncovered(self.ledger.book(symbol).quantity, self.ledger.working(symbol), sought)
        ours = min(ours_before, self._ours_hold(record))
        held = search.may_be_held(hold, ours, record.facts.remaining)
        if not held and search.proven(self._vanish_gap_s, answer.asked_boot_ns, available, uncovered):
            told = f"{available:f} {base} are free, {uncovered:f} are uncovered, {hold:f} are on hold"
            self._prove_gone(record, told)
        else:
            numbers = {"available": available, "uncovered": uncovered, "hold": hold, "ours": ours}
            texts = {name: str(value) for name, value in numbers.items()}
            self.log.info("hold_stands", order=record.id, others=str(search.others_hold), **texts)

    def _prove_gone(self, record: OrderRecord, told: str) -> None:
        known = self.ledger.order(record.id)
        if known is None or not known.working or known.facts.awaits_fills:
            return
        search = self.wire.vanishing[record.id]
        for_s = (self.clock.boot_ns() - search.since_boot_ns) / NS_PER_S

        def work(ledger: Ledger) -> None:
            booking.take_vanishing(ledger, known, VANISHED, "proven_gone", self.clock.utc_ns())

        if not self.write(work):
            return
        self.forget_missing(known)
        self.log.warning("proven_gone", order=known.id, searched_s=round(for_s, 1), told=told)
        what = f"{known.id} ({known.side.value} {known.facts.remaining:f} {known.symbol}, {known.facts.order_id})"
        text = f"{what} has vanished from the venue: for {for_s:.0f} s neither its ids nor two listings nor the open"
        text += f" orders showed it, no fill is unbooked, {told}. It counts as cancelled"
        text += "" if known.side is Side.BUY else "; what is uncovered is protected anew"
        severity = Severity.WARNING if known.side is Side.BUY else Severity.PAGE
        self.alert(severity, f"vanished:{known.id}", text, known.intent.correlation_id)
        self.report_timing(known, 0)
        self.settle(known.symbol)

    def forget_missing(self, record: OrderRecord) -> None:
        self.wire.vanishing.pop(record.id, None)
        self.watch(record.symbol).missing.pop(record.id, None)
