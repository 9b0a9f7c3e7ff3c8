"""Carries out exits against the hold of a position's own stops: each step persisted, resumable after a crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from actors.clock import NS_PER_S
from actors.messages.health import Severity, TradingState
from actors.messages.market import Side
from actors.messages.orders import OrderKind
from actors.messages.venue import QueryKind, VenueAnswer
from actors.orders import exits, protection
from actors.orders.exits import ExitView, Handover
from actors.orders.ledger import Ledger
from actors.orders.protection import Judgement
from actors.orders.records import OrderRecord
from actors.orders.wire import PRIORITY_PROTECT, Draft, Question, TrackerWire

EXIT_PAUSE_S = 2.0
AGAIN_S = 0.25
"""How soon a hand-over looks again when a cancel, a balance or a quote is awaited."""
BALANCE_PATIENCE_S = 2.0
"""How long a hand-over waits for a balance that shows its coins; then the venue itself is asked to sell them."""
ASTRAY_AGAIN_S = 1.0
"""How soon fills and balance are read again for a sale past orders that went astray: it may take two minutes."""
LOST_SALES_MAX_WAIT = 10
"""The grace of a lost sale grows to this many times itself: each is asked for until its absence is proven, and a venue
that takes no order for minutes must not use up the requests of the hour, after which nothing could be sold at all."""
SOUGHT_S = 10.0
"""So long coins on hold may be those of an order that went astray: one that is there is shown by then."""


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
    missing: dict[str, int] = field(default_factory=dict)
    """Orders that the venue showed before and does not know when asked, and since when."""
    unseen: dict[str, int] = field(default_factory=dict)
    """Orders that the venue has not shown yet, and since when."""
    exit_after: int = 0
    exit_since: int = 0
    """When the hand-over under way was first driven; 0: there is none."""
    looked: int = 0
    available: Decimal | None = None
    held: Decimal = Decimal(0)
    """Base units on hold, read with ``available``."""
    proof_asked: int = 0
    """When the hand-over's symbol was first seen without working orders; 0: not now."""
    balance_asked: int = 0


class TrackerHanding(TrackerWire):
    """Drives the hand-over of each symbol one step at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.watches: dict[str, Watch] = {}

    def tend(self, symbol: str) -> None:
        """Bring the symbol to what its facts ask for; the layer that arms does."""
        raise NotImplementedError

    def watch(self, symbol: str) -> Watch:
        return self.watches.setdefault(symbol, Watch())

    def handover(self, symbol: str) -> Handover | None:
        body = self.ledger.documents("handovers").get(symbol)
        return None if body is None else Handover.from_json(body)


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
        astray = self._passed(handover)
        sell = self.ledger.order(handover.sell_id) if handover.sell_id else None
        if any(one.id not in astray for one in working):
            watch.available, watch.proof_asked = None, 0
        now = self.clock.boot_ns()
        sells = [one for one in working if one.side is Side.SELL]
        sought = [one.facts.remaining for one in sells if astray.get(one.id, 0) > now - SOUGHT_S * NS_PER_S]
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
            patience_over=naked_ns > orders.naked_page_s * NS_PER_S and handover.reason not in exits.URGENT,
            # An order that went astray may hold the coins: then the venue is not asked to sell what it does not show.
            balance_overdue=not astray and 0 < watch.proof_asked <= now - BALANCE_PATIENCE_S * NS_PER_S,
            astray=frozenset(astray),
            held=watch.held,
            doubtful=min(sought, default=None),
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
            expires = now + round(self.settings.orders.submit_timeout_s * NS_PER_S)
            self.send_intent(made[0], None, expires, past=frozenset(self._passed(handover)))

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
        handover = self.handover(symbol)
        astray = self._passed(handover) if handover is not None else {}
        if now - watch.balance_asked < (ASTRAY_AGAIN_S if astray else AGAIN_S) * NS_PER_S:
            return  # an answer that shows too little comes at once: it must not use up the request budget
        watch.balance_asked = now
        base = self.settings.instrument(symbol).base

        def done(answer: VenueAnswer) -> None:
            watch = self.watch(symbol)
            if answer.ok and watch.proof_asked and answer.asked_boot_ns >= watch.proof_asked:
                found = next((one for one in answer.balances if one.currency == base), None)
                watch.available = found.available if found else Decimal(0)
                watch.held = found.hold if found else Decimal(0)
            self.tend(symbol)
            watch.available = None  # what was read is good for this one decision

        balance = Question(f"balance:{symbol}", QueryKind.BALANCES, done, PRIORITY_PROTECT)
        if astray:
            self.ask_strays(symbol, frozenset(astray), lambda: self.ask(balance))
        else:
            self.ask(balance)

    def _passed(self, handover: Handover) -> dict[str, int]:
        """The orders of unknown fate that this exit goes on past."""
        symbol = handover.symbol
        return self.astray(symbol, self.ledger.working(symbol)) if handover.reason in exits.URGENT else {}

    def astray(self, symbol: str, working: list[OrderRecord]) -> dict[str, int]:
        """Orders that the venue has not known for longer than the grace, by the moment since when: what is urgent
        goes on past them, past each further lost sale after twice the time."""
        watch, now = self.watch(symbol), self.clock.boot_ns()
        since = {**watch.unseen, **watch.missing}
        grace_ns = round(self.settings.orders.stop_trigger_grace_s * NS_PER_S)
        lost = [one for one in working if one.side is Side.SELL and one.id in since]
        sales = {one.id for one in lost if one.intent.kind is OrderKind.LIMIT_IOC}
        sale_grace_ns = grace_ns * min(LOST_SALES_MAX_WAIT, 2 ** max(0, min(len(sales), 8) - 1))
        return {
            one.id: since[one.id] for one in working
            if protection.may_go_astray(one) and one.id in since
            and now - since[one.id] >= (sale_grace_ns if one.id in sales else grace_ns)
        }  # fmt: skip

    def ask_strays(self, symbol: str, names: frozenset[str], clear: Callable[[], None]) -> None:
        """Call ``clear`` once the venue lists no fill that may be of one of these orders; the layer of facts does."""
        raise NotImplementedError

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
