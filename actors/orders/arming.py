"""Keeps every position protected, and carries out exits against the hold of its own stops."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal

from actors.clock import NS_PER_S
from actors.messages.health import Severity, TradingState
from actors.messages.market import Side
from actors.messages.trading import (
    OrderKind,
    Protection,
    QueryKind,
    Role,
    RoundTripClosed,
    VenueAnswer,
)
from actors.orders import exits, grid, protection
from actors.orders.exits import ExitView, Handover
from actors.orders.ledger import Ledger
from actors.orders.protection import Judgement, Levels, Place, Situation
from actors.orders.records import OrderRecord
from actors.orders.wire import PRIORITY_PROTECT, Draft, Question, TrackerWire

EXIT_PAUSE_S = 2.0
RETRY_FIRST_S, RETRY_MAX_S = 0.5, 10.0
THROTTLED = "HTTP_429"
AGAIN_S = 0.25
"""How soon a hand-over looks again when a cancel, a balance or a quote is awaited."""
BALANCE_PATIENCE_S = 2.0
"""How long a hand-over waits for a balance that shows its coins; then the venue itself is asked to sell them."""


@dataclass(slots=True)
class Watch:
    """What this incarnation remembers of one symbol; times are boot-clock ns."""

    judgement: Judgement | None = None
    naked_since: int = 0
    paged: bool = False
    place_after: int = 0
    refusals: int = 0
    refused_kinds: set[OrderKind] = field(default_factory=set)
    priced_out: bool = False
    """No bracket is taken at this position's prices: a stop-limit protects it, the target is watched here."""
    triggered: dict[str, int] = field(default_factory=dict)
    unfired: dict[str, int] = field(default_factory=dict)
    """Stops that rest although the whole market is below them, and since when."""
    missing: set[str] = field(default_factory=set)
    """Orders that the venue showed before and does not know when asked."""
    exit_after: int = 0
    exit_since: int = 0
    """When the hand-over under way was first driven; 0: there is none."""
    looked: int = 0
    available: Decimal | None = None
    proof_asked: int = 0
    """When the hand-over's symbol was first seen without working orders; 0: not now."""
    balance_asked: int = 0


class TrackerArming(TrackerWire):
    """``tend`` brings one symbol to what its facts ask for; safe to call at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.watches: dict[str, Watch] = {}
        self.suspended = False
        """An operator cancelled protection too: nothing is armed until trading is allowed again."""
        self.rearmed: frozenset[str] | None = None
        """Symbols that an operator protected again meanwhile."""

    def is_suspended(self, symbol: str) -> bool:
        """Nothing is armed: an operator wanted it so, or the books are not the venue's."""
        return symbol in self.behind or (self.suspended and symbol not in (self.rearmed or ()))

    def watch(self, symbol: str) -> Watch:
        return self.watches.setdefault(symbol, Watch())

    def handover(self, symbol: str) -> Handover | None:
        body = self.ledger.documents("handovers").get(symbol)
        return None if body is None else Handover.from_json(body)

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
            self.alert(Severity.PAGE, f"naked:{symbol}", f"{text} ({judgement.why})")

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
            self._drive(handover)
            return
        if self.is_suspended(symbol):
            return
        self._close_dust(symbol, judgement)
        for action in judgement.actions:
            if isinstance(action, Place):
                self._place(symbol, action)
            elif isinstance(action, protection.Cancel):
                self._cancel(action)
            elif self.start_exit(Handover(symbol, action.reason, self._correlation(symbol))) and judgement.unfired:
                text = f"The market is below the stop of {symbol}, which the venue has not fired: it is sold from here"
                self.alert(Severity.PAGE, f"unfired:{symbol}", text)

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

    # --- exits -----------------------------------------------------------------------------------------

    def start_exit(self, handover: Handover) -> bool:
        """Persist a hand-over and drive it; False when one is under way or another just ended, and on books that are
        not the venue's: what they call owned may be somebody else's by now."""
        watch = self.watch(handover.symbol)
        if self.handover(handover.symbol) is not None or self.clock.boot_ns() < watch.exit_after:
            return False
        if handover.symbol in self.behind:
            return False
        if not self.write(lambda ledger: ledger.put_document("handovers", handover.symbol, handover.to_json())):
            return False
        self.log.info("exit_started", symbol=handover.symbol, reason=handover.reason)
        watch.available, watch.proof_asked = None, 0
        self._drive(handover)
        return True

    def exit_allowed(self, handover: Handover) -> bool:
        """Stops, targets and an operator's flatten in every state; holding time not in a kill."""
        if handover.reason == exits.STRATEGY:
            return self.trading_state(handover.symbol).rank <= TradingState.REDUCE_ONLY.rank
        return not (handover.reason == exits.MAX_HOLD and self.killed)

    def _drive(self, handover: Handover) -> None:
        symbol, watch = handover.symbol, self.watch(handover.symbol)
        working = self.ledger.working(symbol)
        sell = self.ledger.order(handover.sell_id) if handover.sell_id else None
        if working:
            watch.available, watch.proof_asked = None, 0
        now = self.clock.boot_ns()
        watch.exit_since = watch.exit_since or now
        # An exit of a position that was naked before has its whole time, too: it may be the only way out.
        naked_ns = now - max(watch.naked_since, watch.exit_since) if watch.naked_since else 0
        orders = self.settings.orders
        view = ExitView(
            quantity=self.ledger.book(symbol).quantity,
            orders=working,
            sell=sell,
            available=watch.available,
            quote=self.fresh_quote(symbol),
            accepted_mid=self.accepted_mids.get(self.settings.instrument(symbol).data_product),
            rules=self.rules.get(symbol),
            ladder_bps=orders.exit_ladder_bps,
            floor_bps=orders.exit_floor_bps,
            mode_allows=self.exit_allowed(handover),
            patience_over=naked_ns > orders.naked_page_s * NS_PER_S and handover.reason not in _URGENT,
            balance_overdue=0 < watch.proof_asked <= now - BALANCE_PATIENCE_S * NS_PER_S,
        )
        after, step = exits.advance(handover, view)
        self._take_step(handover, after, step)

    def _take_step(self, before: Handover, after: Handover, step: exits.Step) -> None:
        symbol = before.symbol
        if isinstance(step, exits.Sell):
            self._sell(after, step)
            return
        if isinstance(step, exits.Finish):
            self._finish(after, step)
            return
        if after != before:
            body = after.to_json()
            if not self.write(lambda ledger: ledger.put_document("handovers", symbol, body)):
                return
            self.watch(symbol).available = None
        if isinstance(step, exits.CancelFirst):
            records = [self.ledger.order(name) for name in step.client_order_ids]
            self.cancel_orders([one for one in records if one is not None], f"exit:{before.reason}")
        elif isinstance(step, exits.NeedBalance):
            self._ask_balance(symbol)
        elif isinstance(step, exits.NeedQuote):
            self.ask_quotes((symbol,))
        self.after(f"tend-{symbol}", AGAIN_S, lambda: self.tend(symbol))

    def _sell(self, handover: Handover, step: exits.Sell) -> None:
        now = self.clock.boot_ns()
        if "gateway" not in self.peers:
            self.after(f"tend-{handover.symbol}", AGAIN_S, lambda: self.tend(handover.symbol))
            return
        draft = Draft(
            handover.symbol, Side.SELL, handover.role, OrderKind.LIMIT_IOC, step.size, step.price,
            handover.correlation_id, reason=handover.reason,
        )  # fmt: skip
        made: list[OrderRecord] = []

        def work(ledger: Ledger) -> None:
            record = self.make_intent(ledger, draft)
            ledger.put_document("handovers", handover.symbol, replace(handover, sell_id=record.id).to_json())
            made.append(record)

        if self.write(work):
            self.watch(handover.symbol).available = None
            self.send_intent(made[0], None, now + round(self.settings.orders.submit_timeout_s * NS_PER_S))

    def _finish(self, handover: Handover, step: exits.Finish) -> None:
        symbol = handover.symbol
        if not self.write(lambda ledger: ledger.put_document("handovers", symbol, None)):
            return
        self.watch(symbol).exit_after = self.clock.boot_ns() + round(EXIT_PAUSE_S * NS_PER_S)
        self.watch(symbol).exit_since = 0
        self.log.info("exit_finished", symbol=symbol, reason=handover.reason, why=step.why)
        if step.page:
            text = f"The exit of {symbol} ({handover.reason}) did not sell everything: {step.why}"
            if step.why == exits.EXHAUSTED:
                text += f"; `run.py flatten {symbol}` goes by the book of now, below the floor too"
            self.alert(Severity.PAGE, f"exit:{symbol}", text, handover.correlation_id)
        self.changed()
        self.tend(symbol)

    def _ask_balance(self, symbol: str) -> None:
        watch, now = self.watch(symbol), self.clock.boot_ns()
        watch.proof_asked = watch.proof_asked or now
        if now - watch.balance_asked < AGAIN_S * NS_PER_S:
            return  # an answer that shows too little comes at once: it must not use up the request budget
        watch.balance_asked = now
        base = self.settings.instrument(symbol).base

        def done(answer: VenueAnswer) -> None:
            proof = self.watch(symbol).proof_asked
            if answer.ok and proof and answer.asked_boot_ns >= proof:
                found = [one.available for one in answer.balances if one.currency == base]
                self.watch(symbol).available = found[0] if found else Decimal(0)
            self.tend(symbol)
            self.watch(symbol).available = None  # what was read is good for this one decision

        self.ask(Question(f"balance:{symbol}", QueryKind.BALANCES, done, PRIORITY_PROTECT))

    def ask_quotes(self, symbols: tuple[str, ...]) -> None:
        """Read best bid and ask over REST: the stream has no fresh quote for something that is held."""

        def done(answer: VenueAnswer) -> None:
            newer: set[str] = set()
            for quote in answer.quotes if answer.ok else ():
                for symbol in symbols:
                    data = self.settings.instrument(symbol).data_product
                    known = self.quotes.get(data)
                    if quote.symbol in (symbol, data) and (known is None or known.as_of_boot_ns < quote.as_of_boot_ns):
                        self.quotes[data] = quote
                        newer.add(data)
            for symbol in symbols:  # without news nothing is tended: asking again at once would use up the budget
                if self.settings.instrument(symbol).data_product in newer:
                    self.tend(symbol)

        question = Question(
            f"quotes:{','.join(symbols)}", QueryKind.BEST_BID_ASK, done, PRIORITY_PROTECT, products=symbols
        )
        self.ask(question)


_URGENT = frozenset({exits.STOP, exits.FLATTEN})
"""Exits that go on however long it takes: re-arming a stop that the market has passed is no protection."""
