"""Keeps every position protected: judges how it stands, places what is missing, hands over what is to be sold."""

from __future__ import annotations

from decimal import Decimal

from actors.clock import NS_PER_S
from actors.messages.books import RoundTripClosed
from actors.messages.health import Severity
from actors.messages.market import Side
from actors.messages.orders import OrderKind, Protection, Role
from actors.orders import exits, grid, protection
from actors.orders.exits import Handover
from actors.orders.handing import TrackerHanding, Watch
from actors.orders.protection import Judgement, Levels, Place, Situation
from actors.orders.records import OrderRecord
from actors.orders.wire import Draft

RETRY_FIRST_S, RETRY_MAX_S = 0.5, 10.0
THROTTLED = "HTTP_429"


class TrackerArming(TrackerHanding):
    """``tend`` brings one symbol to what its facts ask for; safe to call at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.suspended = False
        """An operator cancelled protection too: nothing is armed until trading is allowed again."""
        self.rearmed: frozenset[str] | None = None
        """Symbols that an operator protected again meanwhile."""

    def is_suspended(self, symbol: str) -> bool:
        """Nothing is armed: an operator wanted it so, or the books are not the venue's."""
        return symbol in self.behind or (self.suspended and symbol not in (self.rearmed or ()))

    def held_symbols(self) -> list[str]:
        """Symbols with a position, a working order or a hand-over."""
        names = {book.symbol for book in self.ledger.books() if book.quantity != 0}
        names |= {one.symbol for one in self.ledger.working()} | set(self.ledger.documents("handovers"))
        return sorted(name for name in names if self.traded(name))

    # --- judging ---------------------------------------------------------------------------------------

    def levels_of(self, symbol: str) -> Levels | None:
        rules = self.rules.get(symbol)
        book = self.ledger.book(symbol)
        if rules is None or book.quantity <= 0:
            return None
        plan = self.ledger.plan(symbol)
        stop, target = (plan.stop, plan.target) if plan else (None, None)
        orders = self.settings.orders
        return protection.levels(
            book.average_cost, stop, target, rules, orders.default_stop_bps, orders.stop_limit_gap_bps
        )

    def judge(self, symbol: str) -> Judgement:
        """How the position stands now, remembered for the snapshot, paged when naked for too long."""
        watch = self.watch(symbol)
        orders = self.ledger.working(symbol)
        now = self.clock.boot_ns()
        triggered = {one.id for one in orders if one.facts.triggered}
        watch.triggered = {name: watch.triggered.get(name, now) for name in triggered}
        unseen = {one.id for one in orders if not one.facts.seen}
        watch.unseen = {name: watch.unseen.get(name, now) for name in unseen}
        grace_ns = self.settings.orders.stop_trigger_grace_s * NS_PER_S
        judgement = protection.judge(
            Situation(
                quantity=self.ledger.book(symbol).quantity,
                orders=orders,
                rules=self.rules.get(symbol),
                levels=self.levels_of(symbol),
                quote=self.fresh_quote(symbol),
                overdue=frozenset(name for name, since in watch.triggered.items() if now - since >= grace_ns)
                | self._unfired(symbol, orders, round(grace_ns)),
                refused_kinds=frozenset(watch.refused_kinds | ({OrderKind.BRACKET_GTC} if watch.priced_out else set())),
                missing=frozenset(watch.missing),
                astray=frozenset(self.astray(symbol, orders)),
            )
        )
        if watch.judgement is None or watch.judgement.status is not judgement.status:
            self.changed()
        watch.judgement = judgement
        if judgement.status is Protection.PROTECTED and now - watch.place_after > RETRY_MAX_S * NS_PER_S:
            watch.refusals = 0
        if judgement.status is Protection.FLAT:
            watch.priced_out = False
            watch.refused_kinds.clear()  # the next position may find the product in another mode
        self._note_naked(symbol, watch, judgement)
        return judgement

    def _unfired(self, symbol: str, orders: list[OrderRecord], grace_ns: int) -> frozenset[str]:
        """Stops that the venue should have fired long ago and has not; while the product's mode lets nothing trade
        none has to fire, so rules read since then must say that it does."""
        watch, now, rules = self.watch(symbol), self.clock.boot_ns(), self.rules.get(symbol)
        quote = self.fresh_quote(symbol)
        left_behind = {one.id for one in orders if protection.unfired(one, quote)}
        watch.unfired = {name: watch.unfired.get(name, now) for name in left_behind}
        late = {name for name, since in watch.unfired.items() if now - since >= grace_ns}
        if not late or rules is None:
            return frozenset()
        if not max(watch.unfired[name] for name in late) <= rules.read_boot_ns <= now:
            self.ask_rules()
            return frozenset()
        return frozenset(late) if grid.takes_exits(rules) else frozenset()

    def ask_rules(self) -> None:
        """Read the product rules anew; the tracker's last layer does."""
        raise NotImplementedError

    def _note_naked(self, symbol: str, watch: Watch, judgement: Judgement) -> None:
        now = self.clock.boot_ns()
        if judgement.status is not Protection.NAKED:
            if watch.paged:
                self.alert(Severity.INFO, f"naked:{symbol}", f"{symbol} is {judgement.status.value} again")
            if watch.naked_since:
                self.meter.observe("naked_s", (now - watch.naked_since) / NS_PER_S, symbol=symbol)
            watch.naked_since, watch.paged = 0, False
            return
        watch.naked_since = watch.naked_since or now
        if not watch.paged and now - watch.naked_since >= self.settings.orders.naked_page_s * NS_PER_S:
            watch.paged = True
            text = f"{symbol} is NAKED: {self.ledger.book(symbol).quantity} owned, {judgement.covered} covered"
            self.alert(Severity.PAGE, f"naked:{symbol}", f"{text} ({judgement.why}){self.what_is_done(symbol)}")

    def what_is_done(self, symbol: str) -> str:
        """For the page: how it goes on when it is the fate of an order that is waited for."""
        watch, at = self.watch(symbol), self.levels_of(symbol)
        below = "" if at is None else f"; below {at.stop:f} it is sold from here"
        if watch.missing:
            names = ", ".join(sorted(watch.missing))
            return f": the venue does not find {names} any more; once that is proven it is protected anew{below}"
        working = self.ledger.working(symbol)
        unknown = [one.id for one in working if protection.is_protective(one) and not one.facts.seen]
        if unknown:
            names = ", ".join(unknown)
            return f": what became of {names} is being asked for, nothing is placed before that is known{below}"
        return ""

    # --- acting ----------------------------------------------------------------------------------------

    def tend(self, symbol: str) -> None:
        """Judge and act: place, cancel, or hand over to an exit."""
        if not self.traded(symbol):
            return
        self.watch(symbol).looked = self.clock.boot_ns()
        judgement = self.judge(symbol)
        if not self.proven or self.unusable or symbol in self.behind:
            return  # first prove what rests at the venue, then arm only what is missing
        handover = self.handover(symbol)
        if handover is not None:
            self._drive(self._made_urgent(handover))
            return
        if self.is_suspended(symbol):
            return
        self._close_dust(symbol, judgement)
        for action in judgement.actions:
            if isinstance(action, Place):
                self._place(symbol, action)
            elif isinstance(action, protection.Cancel):
                self._cancel(action)
            elif self.start_exit(Handover(symbol, action.reason, self._correlation(symbol))):
                self._say_why_sold(symbol, judgement)

    def _made_urgent(self, handover: Handover) -> Handover:
        """An exit whose own sale went astray becomes a stop when the market is there: it waits for nothing then."""
        symbol, at = handover.symbol, self.levels_of(handover.symbol)
        quote, astray = self.fresh_quote(symbol), self.astray(symbol, self.ledger.working(symbol))
        if handover.reason in exits.URGENT or handover.sell_id not in astray:
            return handover
        if at is None or quote is None or quote.bid > at.stop:
            return handover
        urgent = Handover(symbol, exits.STOP, handover.correlation_id, sell_id=handover.sell_id)
        if not self.write(lambda ledger: ledger.put_document("handovers", symbol, urgent.to_json())):
            return handover
        self._say_sold_past(symbol, handover.sell_id)
        return urgent

    def _say_why_sold(self, symbol: str, judgement: Judgement) -> None:
        """Page a stop that did not do its work."""
        if judgement.unfired:
            text = f"The market is below the stop of {symbol}, which the venue has not fired: it is sold from here"
            self.alert(Severity.PAGE, f"unfired:{symbol}", text)
        elif judgement.astray:
            self._say_sold_past(symbol, ", ".join(judgement.astray))

    def _say_sold_past(self, symbol: str, names: str) -> None:
        text = f"The market is below the stop of {symbol} and the venue does not know {names}: what the account"
        text += " shows as available, at most what the books own, is sold from here; it is looked for meanwhile"
        self.alert(Severity.PAGE, f"astray:{symbol}", text)

    def _correlation(self, symbol: str) -> str:
        plan = self.ledger.plan(symbol)
        return plan.correlation_id if plan else ""

    def _place(self, symbol: str, action: Place) -> None:
        watch = self.watch(symbol)
        now = self.clock.boot_ns()
        if now < watch.place_after or "gateway" not in self.peers:
            return
        draft = Draft(
            symbol, Side.SELL, Role.PROTECTION, action.kind, action.size, action.limit,
            self._correlation(symbol), stop=action.stop,
        )  # fmt: skip
        made: list[OrderRecord] = []
        if self.write(lambda ledger: made.append(self.make_intent(ledger, draft))):
            self.send_intent(made[0], None, now + round(self.settings.orders.submit_timeout_s * NS_PER_S))

    def _cancel(self, action: protection.Cancel) -> None:
        record = self.ledger.order(action.client_order_id)
        if record is not None:
            self.log.info("protection_cancelled", order=record.id, reason=action.reason)
            self.cancel_orders([record], action.reason)

    def note_protection_refused(self, record: OrderRecord) -> None:
        """A protective order was refused: another kind, or the same a little later."""
        watch = self.watch(record.symbol)
        if protection.unsupported(record):
            watch.refused_kinds.add(record.intent.kind)
            if watch.refused_kinds >= protection.PROTECTIVE_KINDS:
                watch.refused_kinds.clear()  # neither is taken: go on trying both, the page is on its way
        # A refused stop-limit gives the bracket another chance, so that neither kind is insisted on.
        watch.priced_out = protection.priced_out(record)
        if record.reason.startswith(THROTTLED):
            wait_s = RETRY_FIRST_S  # the gateway waits as long as the venue wants: two waits would make one naked time
        else:
            watch.refusals += 1
            wait_s = min(RETRY_MAX_S, RETRY_FIRST_S * 2 ** min(watch.refusals - 1, 6))
        watch.place_after = self.clock.boot_ns() + round(wait_s * NS_PER_S)
        self.after(f"tend-{record.symbol}", wait_s, lambda: self.tend(record.symbol))
        self.log.warning("protection_refused", order=record.id, reason=record.reason)

    def _close_dust(self, symbol: str, judgement: Judgement) -> None:
        """What is left cannot be sold: the round trip ends here, the rest waits for the next entry."""
        book = self.ledger.book(symbol)
        if judgement.status is not Protection.DUST or book.realized == book.trip_start:
            return
        if self.ledger.working(symbol):
            return
        if self.write(lambda ledger: ledger.close_trip(symbol)):
            self.close_trip(symbol, book.realized - book.trip_start, "dust")

    def close_trip(self, symbol: str, realized: Decimal, reason: str) -> None:
        closed = RoundTripClosed(symbol, realized, reason, self.clock.utc_ns(), self._correlation(symbol))
        self.tell("risk", closed)
        self.tell("strategist", closed)
        self.log.info("round_trip_closed", symbol=symbol, realized=str(realized), reason=reason)
