"""The risk manager's mailbox: collects the inputs, asks the gate, remembers before it approves."""

from __future__ import annotations

from decimal import Decimal

from actors.actor import TradingActor
from actors.clock import NS_PER_MS, NS_PER_S
from actors.messages.books import PortfolioSnapshot, RoundTripClosed
from actors.messages.health import Alert, BreakerName, BreakerSignal, Lease, Severity, TradingState
from actors.messages.market import GuardedQuote, Instrument, ProductsRead
from actors.messages.orders import Approval, Proposal, Refusal
from actors.messages.reconcile import OpenFlow, ReconcileReport
from actors.messages.venue import QueryKind, VenueAnswer, VenueQuery
from actors.risk import limits, losses
from actors.risk.books import Books, Reservation, counts
from actors.risk.checks import Approved, Refused, judge
from actors.risk.codes import RefusalCode
from actors.risk.inputs import Dated, Unavailable, World
from actors.risk.locks import STREAK, Locks
from actors.risk.locks import Approved as Counted
from actors.risk.losses import LOSS_BREAKERS, LossState
from actors.risk.reads import Asked, Reads
from actors.risk.report import make_report
from actors.risk.state import RiskStore, StateError

LOOK_S = 0.25
STORE_RETRY_S = 5.0
LOSSES_SAVE_S = 5.0
CLOSE_GRACE_S = 5.0
"""A position that is gone without a ``RoundTripClosed`` for this long counts as a lost round trip."""


class RiskActor(TradingActor):
    """Proposals in, approvals or refusals out; nothing else leads to the tracker."""

    def restore(self) -> bool:
        self.instruments = {
            item.symbol: Instrument(item.symbol, item.data_product, item.base, item.quote)
            for item in self.settings.instruments
        }
        self.limits = self.settings.risk
        self.lease: Lease | None = None
        self.flows: tuple[OpenFlow, ...] | None = None
        self.doubt: tuple[str, ...] = ()
        self.snapshot: PortfolioSnapshot | None = None
        self.quotes: dict[str, GuardedQuote] = {}
        self.marks: dict[str, Dated[Decimal]] = {}
        self.reads = Reads(self.limits)
        self.locks, self.books = Locks(), Books()
        self.losses: LossState | None = None
        self.held: set[str] = set()
        self.closed_seen_boot_ns: dict[str, int] = {}
        self.gone_since_boot_ns: dict[str, int] = {}
        self.store: RiskStore | None = None
        self.store_error = ""
        self.loaded = False
        self.new_store = False
        self.saved_losses: LossState | None = None
        self.saved_losses_boot_ns = 0
        self.last_judged_boot_ns = 0
        self.judged = 0
        self._repeat_signalled: dict[str, int] = {}
        self._open_store()
        return True

    def started(self) -> None:
        self.every("look", LOOK_S, self._look_around, first_s=0.0)
        self.every("report", 1.0, self._report)
        self.every("store", STORE_RETRY_S, self._open_store)

    def progress(self) -> dict[str, int]:
        return {"judged_count": self.judged, "judged": self.last_judged_boot_ns}

    # --- the durable state -----------------------------------------------------------------------------

    def _open_store(self) -> None:
        """Open the store, or go on refusing entries; exits need no memory."""
        if self.store is not None:
            return
        now, utc = self.clock.boot_ns(), self.clock.utc_ns()
        try:
            store = RiskStore(self.settings.store_dir / "risk.db")
            if not self.loaded:
                found = store.load(now, utc, self.limits.approval_life_s)
                self.locks, self.books, self.losses, self.held = found.locks, found.books, found.losses, found.held
                self.saved_losses, self.new_store, self.loaded = found.losses, found.fresh, True
            else:
                store.locked(self.locks)
                store.holds(self.held)
            self.store, self.store_error = store, ""
        except StateError as error:
            self._store_failed(error)

    def _store_failed(self, error: StateError) -> None:
        if self.store is not None:
            self.store.close()
            self.store = None
        self.store_error = str(error)
        self.log.error("risk_state", error=self.store_error)
        self._alert(Severity.PAGE, "risk_state", f"Entries are refused: {self.store_error}")

    def _alert(self, severity: Severity, key: str, text: str) -> None:
        self.tell("alerts", Alert(severity, key, text, self.name))

    # --- proposals -------------------------------------------------------------------------------------

    def on_proposal(self, message: Proposal, sender: object) -> None:
        now = self.clock.boot_ns()
        self.judged, self.last_judged_boot_ns = self.judged + 1, now
        verdict = judge(message, self._world())
        if isinstance(verdict, Approved) and "tracker" not in self.peers:
            verdict = Refused(RefusalCode.NO_SNAPSHOT, "there is no tracker")
        if isinstance(verdict, Approved):
            verdict = self._remember(message, verdict, now)
        if isinstance(verdict, Refused):
            self._refuse(message, verdict)
        else:
            self._approve(message, verdict, now)
        self.meter.observe("risk_latency_ms", (self.clock.boot_ns() - message.decided_boot_ns) / NS_PER_MS)

    def _remember(self, proposal: Proposal, verdict: Approved, now: int) -> Approved | Refused:
        """Count and reserve, on disk first."""
        utc, life_ns = self.clock.utc_ns(), self._life_ns()
        spec = verdict.spec
        counted = Counted(proposal.proposal_id, spec.symbol, spec.side, now, utc)
        held = Reservation(proposal.proposal_id, spec.symbol, spec.side, verdict.cost, spec.base_size, now + life_ns)
        keep_ns = 2 * max(self._window_ns(), 60 * NS_PER_S)
        if self.store is not None:
            try:
                self.store.approve(counted, held, utc + life_ns, keep_ns)
            except StateError as error:
                self._store_failed(error)
                if proposal.notional is not None:
                    return Refused(RefusalCode.STATE_STORE, self.store_error)
        self.locks.note(counted, self._window_ns())
        self.books.reserve(held)
        return verdict

    def _approve(self, proposal: Proposal, verdict: Approved, now: int) -> None:
        self.meter.count("approvals_total", symbol=proposal.symbol)
        self.log.info(
            "approved",
            correlation_id=proposal.correlation_id,
            proposal=proposal.proposal_id,
            symbol=proposal.symbol,
            role=proposal.role.value,
            size=str(verdict.spec.base_size),
            price=str(verdict.spec.limit_price),
        )
        approval = Approval(
            proposal_id=proposal.proposal_id,
            correlation_id=proposal.correlation_id,
            strategy=proposal.strategy,
            spec=verdict.spec,
            reservation=verdict.cost,
            quote=verdict.quote,
            codes=verdict.codes,
            decided_boot_ns=proposal.decided_boot_ns,
            tick_boot_ns=proposal.tick_boot_ns,
            approved_boot_ns=now,
            expires_boot_ns=now + self._life_ns(),
            stamp=self.stamp,
        )
        self.tell("tracker", approval)

    def _refuse(self, proposal: Proposal, verdict: Refused) -> None:
        code = verdict.code.value
        self.meter.count("refusals_total", code=code)
        self.log.info("refused", correlation_id=proposal.correlation_id, code=code, detail=verdict.detail)
        refusal = Refusal(
            proposal.proposal_id, proposal.correlation_id, proposal.symbol, code, verdict.detail, self.name
        )
        self.tell("strategist", refusal)
        if verdict.code is RefusalCode.REPEATED:
            self._signal_repeats(proposal.symbol, verdict.detail)

    def _signal_repeats(self, symbol: str, detail: str) -> None:
        """A loop that buys again and again is a fault: told once per window, the breaker latches."""
        now = self.clock.boot_ns()
        if now >= self._repeat_signalled.get(symbol, 0):
            self._repeat_signalled[symbol] = now + self._window_ns()
            self.tell("watchdog", BreakerSignal(BreakerName.REPEATED_EXECUTION, symbol, True, detail, self.name))

    def _life_ns(self) -> int:
        return round(self.limits.approval_life_s * NS_PER_S)

    def _window_ns(self) -> int:
        return round(self.limits.repeat_window_s * NS_PER_S)

    def _world(self) -> World:
        strategist = self.peers.get("strategist")
        return World(
            limits=self.limits,
            capital=self.settings.capital,
            instruments=self.instruments,
            entry_life_s=self.settings.orders.entry_life_s,
            lease=self.lease,
            snapshot=self.snapshot,
            quotes=self.quotes,
            marks=self.marks,
            rules=self.reads.rules,
            fees=self.reads.fees,
            cash=self.reads.cash,
            books=self.books,
            locks=self.locks,
            losses=self.losses,
            store_error=self.store_error,
            strategist_incarnation=strategist.incarnation if strategist else 0,
            now_boot_ns=self.clock.boot_ns(),
            now_utc_ns=self.clock.utc_ns(),
            flows=self.flows,
            doubt=self.doubt,
        )

    # --- inputs ----------------------------------------------------------------------------------------

    def on_guarded_quote(self, message: GuardedQuote, sender: object) -> None:
        known = self.quotes.get(message.symbol)
        if known is not None and message.guard_incarnation < known.guard_incarnation:
            return
        self.quotes[message.symbol] = message
        if message.quote is not None:
            self.marks[message.symbol] = Dated(message.quote.bid, message.quote.as_of_boot_ns)

    def on_lease(self, message: Lease, sender: object) -> None:
        if message.epoch != self.epoch:
            return
        if self.lease is not None and message.issued_boot_ns <= self.lease.issued_boot_ns:
            return
        self.lease = message
        if self.losses is not None and self.losses.latches:
            texts = [*message.reasons, *(reason for _, _, reason in message.per_symbol)]
            named = frozenset(name for name in LOSS_BREAKERS if any(name.value in text for text in texts))
            self._keep(losses.hear_lease(self.losses, named, message.state is TradingState.RUN))

    def on_reconcile_report(self, message: ReconcileReport, sender: object) -> None:
        """Which balance changes nobody has explained; of the comparison itself the watchdog judges."""
        if message.flows != self.flows:
            self.log.info("flows", open=None if message.flows is None else len(message.flows))
        self.flows, self.doubt = message.flows, message.doubt
        self._watch_losses()

    def on_refusal(self, message: Refusal, sender: object) -> None:
        """The tracker did not take an approval: its reservation is free again."""
        self.books.refused(message.proposal_id)

    def on_portfolio_snapshot(self, message: PortfolioSnapshot, sender: object) -> None:
        if message.epoch != self.epoch:
            return
        known = self.snapshot
        if known is not None and (message.tracker_incarnation, message.sequence) <= (
            known.tracker_incarnation,
            known.sequence,
        ):
            return
        self.snapshot = message
        if message.ready:
            self.books.take_in(message)
            self._begin(message)
            self._follow_positions(message)
            self._watch_losses()

    def _begin(self, snapshot: PortfolioSnapshot) -> None:
        pnl = snapshot.pnl
        if self.losses is None and self.loaded:
            utc = self.clock.utc_ns()
            self._keep(losses.begin(pnl.realized_total, pnl.realized_day, pnl.realized_week, utc))
        if self.new_store:
            self.new_store = False
            if pnl.realized_total != 0 or snapshot.positions:
                text = "risk.db is new but the ledger has a history: locks and the high water were lost"
                self.locks.cool(STREAK, self.limits.cooldown_streak_s, self.clock.boot_ns(), self.clock.utc_ns())
                self._save_locks()
                self._alert(Severity.WARNING, "risk_state_new", text)
                if self.losses is not None:  # how far below the high we are, nobody knows: an operator accepts it
                    self._keep(losses.latch(self.losses, {BreakerName.DRAWDOWN: text}))

    def on_products_read(self, message: ProductsRead, sender: object) -> None:
        wrong = self.reads.hear_modes(message, self.clock.boot_ns())
        if wrong:
            self.log.warning("venue_read", kind=QueryKind.PRODUCTS.value, reason=wrong)

    def on_venue_answer(self, message: VenueAnswer, sender: object) -> None:
        wrong = self.reads.hear(message, self.clock.boot_ns())
        if wrong:
            doubt = message.ok and message.kind is QueryKind.BALANCES  # two reads apart while money moves: no fault
            (self.log.debug if doubt else self.log.warning)("venue_read", kind=message.kind.value, reason=wrong)

    # --- closed round trips ----------------------------------------------------------------------------

    def on_round_trip_closed(self, message: RoundTripClosed, sender: object) -> None:
        if message.closed_utc_ns <= self.locks.last_close_utc_ns.get(message.symbol, 0):
            return  # told twice
        self.gone_since_boot_ns.pop(message.symbol, None)
        self._count_close(message.symbol, message.realized > 0, message.closed_utc_ns)

    def _count_close(self, symbol: str, won: bool, closed_utc_ns: int) -> None:
        now, utc = self.clock.boot_ns(), self.clock.utc_ns()
        self.closed_seen_boot_ns[symbol] = now
        self.locks.last_close_utc_ns[symbol] = closed_utc_ns
        self.locks.cool(symbol, self.limits.cooldown_symbol_s, now, utc)
        if self.locks.closed(won, self.limits.losing_streak):
            self.locks.cool(STREAK, self.limits.cooldown_streak_s, now, utc)
            text = f"{self.limits.losing_streak} losses in a row: no entries for {self.limits.cooldown_streak_s:g} s"
            self._alert(Severity.WARNING, "losing_streak", text)
        self.held.discard(symbol)
        if self.store is not None:
            try:
                self.store.closed(symbol, closed_utc_ns, self.locks)
            except StateError as error:
                self._store_failed(error)

    def _save_locks(self) -> None:
        if self.store is not None:
            try:
                self.store.locked(self.locks)
            except StateError as error:
                self._store_failed(error)

    def _follow_positions(self, snapshot: PortfolioSnapshot) -> None:
        """Notice positions that close while nobody tells us, for instance while this actor was dead."""
        now, utc = self.clock.boot_ns(), self.clock.utc_ns()
        holds = {
            position.symbol
            for position in snapshot.positions
            if counts(position) and snapshot.at_boot_ns > self.closed_seen_boot_ns.get(position.symbol, 0)
        }
        for symbol in self.held - holds:
            self.gone_since_boot_ns.setdefault(symbol, now)
            self.locks.cool(symbol, self.limits.cooldown_symbol_s, now, utc)
        for symbol in holds:
            self.gone_since_boot_ns.pop(symbol, None)
        if not holds <= self.held:
            self.held |= holds
            if self.store is not None:
                try:
                    self.store.holds(self.held)
                except StateError as error:
                    self._store_failed(error)

    def _judge_the_gone(self) -> None:
        now = self.clock.boot_ns()
        for symbol, since in list(self.gone_since_boot_ns.items()):
            if now - since >= CLOSE_GRACE_S * NS_PER_S:
                del self.gone_since_boot_ns[symbol]
                self.log.warning("close_not_told", symbol=symbol)
                self._count_close(symbol, False, self.locks.last_close_utc_ns.get(symbol, 0))

    # --- losses ----------------------------------------------------------------------------------------

    def _look_around(self) -> None:
        self._watch_losses()
        self._judge_the_gone()
        self._ask_venue()

    def _watch_losses(self) -> None:
        if self.snapshot is None or not self.snapshot.ready or self.losses is None:
            return
        world = self._world()
        profit, unexplained = limits.profit_now(world, self.snapshot), limits.unexplained_loss(world)
        if isinstance(profit, Unavailable) or isinstance(unexplained, Unavailable):
            return  # entries are refused meanwhile
        state = losses.advance(self.losses, profit, self.clock.utc_ns())
        allotted = self.settings.capital.allotted
        reached = losses.exceeded(losses.view(state, allotted, unexplained), self.limits, allotted)
        self._keep(losses.latch(state, reached))

    def _keep(self, state: LossState) -> None:
        """Take over the loss books; on disk at once when a latch or a day changed, else every few seconds."""
        before, self.losses = self.losses, state
        now = self.clock.boot_ns()
        saved = self.saved_losses
        urgent = saved is None or saved.latches != state.latches or saved.day_start_utc_ns != state.day_start_utc_ns
        if state != saved and (urgent or now - self.saved_losses_boot_ns >= LOSSES_SAVE_S * NS_PER_S):
            self._save_losses(state, now)
        known = {item.breaker for item in before.latches} if before else set()
        for item in state.latches:
            if item.breaker not in known:
                self._signal_latches(state)
                self._alert(Severity.PAGE, item.breaker.value, f"Entries stopped: {item.reason}")

    def _save_losses(self, state: LossState, now: int) -> None:
        if self.store is None:
            return
        try:
            self.store.lose(state)
        except StateError as error:
            self._store_failed(error)
        else:
            self.saved_losses, self.saved_losses_boot_ns = state, now

    def _signal_latches(self, state: LossState) -> None:
        """Tell the watchdog until its lease names the breaker."""
        for item in state.latches:
            if not item.seen:
                self.tell("watchdog", BreakerSignal(item.breaker, "*", True, item.reason, self.name))

    # --- reads and reports -----------------------------------------------------------------------------

    def _ask_venue(self) -> None:
        now = self.clock.boot_ns()
        for kind in self.reads.due(now):
            if kind is QueryKind.BALANCES and (self.snapshot is None or not self.snapshot.ready):
                continue  # a balance means nothing without the positions it was spent on
            request_id = f"{self.name}-{self.incarnation}-{kind.value}-{now}"
            products = tuple(self.instruments) if kind is QueryKind.PRODUCTS else ()
            if self.tell("gateway", VenueQuery(request_id, kind, self.stamp, products=products)):
                self.reads.ask(kind, Asked(request_id, now, self._costs()))

    def _costs(self) -> dict[str, Decimal]:
        if self.snapshot is None:
            return {}
        world, snapshot = self._world(), self.snapshot
        wallets = {instrument.quote for instrument in self.instruments.values()}
        return {currency: limits.cost_in(world, snapshot, currency) for currency in wallets}

    def _report(self) -> None:
        if self.losses is not None:
            self._signal_latches(self.losses)
        report = make_report(self._world())
        self.tell("admin", report)
        self.tell("metrics", report)
