"""The tracker's mailbox: approvals in, snapshots out, and the timers that let nothing be forgotten."""

from __future__ import annotations

from actors.clock import NS_PER_S
from actors.messages.health import BreakerName, Severity, TradingState
from actors.messages.market import GuardedQuote, Side
from actors.messages.orders import Approval, OrderKind, OrderState, Protection, Refusal, Role
from actors.messages.reconcile import ReconcileReport
from actors.messages.venue import QueryKind, VenueAnswer
from actors.orders import exits, grid, unknowns
from actors.orders.booking import Anomaly
from actors.orders.exits import Handover
from actors.orders.killing import StopKind, StopRun
from actors.orders.ledger import Ledger
from actors.orders.product_rules import TrackerRules
from actors.orders.records import OrderRecord
from actors.orders.stopping import MARGIN_NS
from actors.orders.wire import PRIORITY_PROTECT, Draft, Question, Stations

QUOTE_LOOK_NS = 200_000_000
"""A held symbol is looked at this often at most when its quote moves."""
END_GRACE_NS = 2 * NS_PER_S
LEDGER_FILE_S = 5.0


class TrackerActor(TrackerRules):
    """One writer of orders, fills, positions and PnL."""

    def __init__(self) -> None:
        super().__init__()
        self._gateway_incarnation = 0
        self._first_round: set[str] = set()
        self._last_event_utc_ns: int | None = None
        """Of the ledger as it was found: what is written since then says nothing about the time before."""
        self._looked_all = 0
        self._polled = 0
        self._asked_resting = 0
        """The n of the resting entry that was asked for last: they take turns."""

    # --- life ------------------------------------------------------------------------------------------

    def restore(self) -> bool:
        self.read_boot_id()
        self.open_ledger()
        self._last_event_utc_ns = self.ledger.last_event_utc_ns()
        return True

    def started(self) -> None:
        gateway = self.peers.get("gateway")
        self._gateway_incarnation = gateway.incarnation if gateway else 0
        orders = self.settings.orders
        self.every("sweep", orders.sweep_s, self.sweep)
        self.every("snapshot", 1.0, self.publish)
        self.every("ledger-file", LEDGER_FILE_S, self.look_at_ledger_file)
        self.every("rules", orders.rules_s, self.ask_old_rules)
        self.ask_rules()
        if self.unusable:
            self._say_unusable()
            self.every("unusable", 30.0, self._say_unusable)
            return
        self.remember_suspension()
        self._check_universe()
        for record in self.ledger.working():
            if record.state in (OrderState.SUBMITTING, OrderState.INTENT):
                self.lose_or_clear(record, "restart")
        self._begin_first_round()

    def _say_unusable(self) -> None:
        text = f"The ledger cannot be used: {self.unusable}. Nothing is ordered; cancels go on."
        self.trip(BreakerName.LEDGER_WRITE, "*", text)
        self.alert(Severity.PAGE, "ledger_unusable", text)

    def _check_universe(self) -> None:
        """A position that is not configured any more can be neither priced nor protected: it must not be silent."""
        for book in self.ledger.books():
            if book.quantity != 0 and not self.traded(book.symbol):
                text = f"{book.quantity} of {book.symbol} is held, yet {book.symbol} is not in universe.yaml"
                self.report_anomaly(Anomaly("not_configured", book.symbol, book.symbol, text))

    def on_stop(self, reason: str, deadline_s: float) -> None:
        """Protection stays at the venue; what is known is on the disk already."""
        self.ledger.close()
        self.leave(0)

    def peers_changed(self) -> None:
        gateway = self.peers.get("gateway")
        if gateway is None or gateway.incarnation == self._gateway_incarnation:
            return
        self._gateway_incarnation = gateway.incarnation
        self.forget_questions()
        for record in self.ledger.working():
            unanswered = record.facts.outcome is None and not record.facts.seen
            if unanswered and record.state in (OrderState.SUBMITTING, OrderState.INTENT, OrderState.UNKNOWN):
                self.lose_or_clear(record, "new_gateway")
        self.ask_rules()
        if not self.proven:
            self._begin_first_round()
        self.sweep()

    # --- the first look at the venue -------------------------------------------------------------------

    def _begin_first_round(self) -> None:
        """Before the tracker is trusted, whatever worked or is held is read from the venue once.

        So is everything since the newest event: an own order that the ledger lacks means that an older one was put
        back, and nothing may be armed on its books.
        """
        working = self.ledger.working()
        held = any(book.quantity != 0 for book in self.ledger.books())
        if working or held:
            self._first_round = {"open", "fills"} | {record.id for record in working}
        if self._last_event_utc_ns is not None and self.settings.mode != "dry_run":  # nothing of ours is at any venue
            self._first_round.add("since")
        if not self._first_round:
            self._proved("")
            return
        self._ask_first_round()

    def _ask_first_round(self) -> None:
        working = {record.id: record for record in self.ledger.working()}

        def answered(part: str, answer: VenueAnswer) -> None:
            if answer.ok and part in working and not answer.orders:
                self.not_found(part, answer.asked_boot_ns)
            if answer.ok and self.take(answer.orders, answer.fills):
                self._proved(part)

        for part in sorted(self._first_round):
            if part == "open":
                ask = Question("first:open", QueryKind.OPEN_ORDERS, lambda a: answered("open", a), PRIORITY_PROTECT)
            elif part == "since":
                assert self._last_event_utc_ns is not None
                ask = Question(
                    "first:since", QueryKind.ORDERS_SINCE, lambda a: answered("since", a), PRIORITY_PROTECT,
                    since_utc_ns=self._last_event_utc_ns - MARGIN_NS,
                )  # fmt: skip
            elif part == "fills":
                since = self.oldest_utc_ns(list(working.values()))
                ask = Question(
                    "first:fills", QueryKind.FILLS_SINCE, lambda a: answered("fills", a), PRIORITY_PROTECT,
                    since_utc_ns=since,
                )  # fmt: skip
            elif part in working:
                record = working[part]
                ask = Question(
                    f"first:{part}", QueryKind.ORDER, lambda a, name=part: answered(name, a), PRIORITY_PROTECT,  # type: ignore[misc]
                    client_order_id=record.id, order_id=record.facts.order_id,
                )  # fmt: skip
            else:
                self._proved(part)
                continue
            self.ask(ask)

    def _proved(self, part: str) -> None:
        self._first_round.discard(part)
        if self._first_round or self.proven:
            return
        self.proven = True
        self.log.info("venue_read_once")
        for symbol in self.held_symbols():
            self.tend(symbol)
        self.changed()

    # --- timers ----------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Every working order is somewhere on its way: ask, cancel again, page."""
        self.say_unsaid()
        self.look_at_rejections()
        if self._first_round:
            self._ask_first_round()
        working = self.ledger.working()
        for record in working:
            self._sweep_order(record)
        self._ask_one_resting(working)
        self.sweep_missing()
        now = self.clock.boot_ns()
        orders = self.settings.orders
        if now - self._polled >= orders.poll_s * NS_PER_S and self.ledger.working():
            self._polled = now
            self.poll()
        everything = now - self._looked_all >= orders.protection_sweep_s * NS_PER_S
        if everything:
            self._looked_all = now
        self._sweep_positions(everything)
        self.push_stops()

    def poll(self) -> None:
        since = self.oldest_utc_ns([one for one in self.ledger.working() if one.role is not Role.PROTECTION])
        self.ask(Question("poll:open", QueryKind.OPEN_ORDERS, self._take_open))
        self.ask(Question("poll:fills", QueryKind.FILLS_SINCE, self._take_answer, since_utc_ns=since))

    def _take_open(self, answer: VenueAnswer) -> None:
        """What works here and is not listed there is asked for by itself: not listed is not cancelled."""
        if not answer.ok or not self.take(answer.orders):
            return
        listed = {view.order_id for view in answer.orders}
        for record in self.ledger.working():
            if record.facts.order_id is not None and record.facts.order_id not in listed:
                self.ask_order(record)

    def _sweep_order(self, record: OrderRecord) -> None:
        facts, orders = record.facts, self.settings.orders
        now_utc = self.clock.utc_ns()
        age_s = (now_utc - record.intent.created_utc_ns) / NS_PER_S
        if record.state is OrderState.SUBMITTING:
            if age_s >= orders.submit_timeout_s or age_s < 0:
                self.lose_or_clear(record, "submit_timeout")
            return
        if record.state is OrderState.UNKNOWN:
            self.sweep_unknown(record)
            return
        if facts.awaits_fills and facts.order_id is not None:
            self.ask_fills(facts.order_id)
            self.page_unlisted_fills(record, now_utc)
        restless = record.intent.kind is OrderKind.LIMIT_IOC or facts.triggered
        restless = restless or facts.venue_status in ("PENDING", "QUEUED")
        if restless or facts.cancel_requested or not facts.seen or facts.awaits_fills:
            self.ask_order(record)
        end = record.intent.end_utc_ns
        overdue = end is not None and now_utc > end + END_GRACE_NS
        lingering = record.intent.kind is OrderKind.LIMIT_IOC and age_s > orders.entry_life_s
        if facts.cancel_requested:
            self.send_cancel(record, "again")
        elif overdue or lingering:
            self.cancel_orders([record], "overdue")

    def _ask_one_resting(self, working: list[OrderRecord]) -> None:
        """One resting entry at a time, of those that the market may be filling: the user channel says it at once, the
        poll a moment later, and fifty that are asked for every second would leave nothing for anybody else."""
        near = [one for one in working if self._may_be_filling(one)]
        if near:
            one = next((one for one in near if one.n > self._asked_resting), near[0])
            self._asked_resting = one.n
            self.ask_order(one)

    def _may_be_filling(self, record: OrderRecord) -> bool:
        if record.intent.kind is not OrderKind.LIMIT_GTD or record.state is OrderState.UNKNOWN or not record.facts.seen:
            return False
        quote = self.fresh_quote(record.symbol)
        return quote is None or quote.bid <= record.intent.limit_price

    def _sweep_positions(self, everything: bool) -> None:
        stale = []
        for symbol in self.held_symbols():
            watch = self.watch(symbol)
            calm = watch.judgement is not None and watch.judgement.status is Protection.PROTECTED
            if everything or not calm or watch.triggered or self.handover(symbol) is not None:
                self.tend(symbol)
            self._check_holding_time(symbol)
            if self.fresh_quote(symbol) is None and self.ledger.book(symbol).quantity > 0:
                stale.append(symbol)
            mode_blocks = watch.judgement is not None and watch.judgement.why in ("product_mode", "no_rules")
            if mode_blocks:
                self.ask_rules()
        if stale and not self.unusable:
            self.ask_quotes(tuple(stale))

    def _check_holding_time(self, symbol: str) -> None:
        plan = self.ledger.plan(symbol)
        if plan is None or plan.exit_due_utc_ns is None or not self.proven or self.is_suspended(symbol):
            return
        judgement = self.watch(symbol).judgement
        if judgement is None or judgement.status in (Protection.FLAT, Protection.DUST):
            return
        handover = Handover(symbol, exits.MAX_HOLD, plan.correlation_id)
        if self.clock.utc_ns() >= plan.exit_due_utc_ns and self.exit_allowed(handover):
            self.start_exit(handover)

    # --- market ----------------------------------------------------------------------------------------

    def on_guarded_quote(self, message: GuardedQuote, sender: object) -> None:
        if message.quote is None:
            return
        self.quotes[message.symbol] = message.quote
        self.accepted_mids[message.symbol] = message.quote.mid
        now = self.clock.boot_ns()
        for instrument in self.settings.instruments:
            symbol = instrument.symbol
            if instrument.data_product != message.symbol or symbol not in self.watches:
                continue
            watch = self.watches[symbol]
            held = watch.judgement is not None and watch.judgement.status is not Protection.FLAT
            if held and now - watch.looked >= QUOTE_LOOK_NS:
                self.tend(symbol)

    # --- approvals -------------------------------------------------------------------------------------

    def on_approval(self, approval: Approval, sender: object) -> None:
        if self.ledger.proposal_result(approval.proposal_id) is not None:
            self.log.warning("approval_twice", proposal=approval.proposal_id)
            self.changed()
            return
        code = self._objection(approval)
        if code:
            self._refuse(approval, code)
        elif approval.spec.role is Role.EXIT:
            self._begin_exit(approval)
        else:
            self._enter(approval)

    def _objection(self, approval: Approval) -> str:
        """Why this approval must not become an order; empty when it may."""
        spec, now = approval.spec, self.clock.boot_ns()
        if self.unusable or self.write_failing or self.ledger.gone():
            return "ledger"
        if not self.traded(spec.symbol):
            return "unknown_symbol"
        if not self.proven:
            return "not_ready"
        if now >= approval.expires_boot_ns:
            return "approval_expired"
        entry = spec.role is Role.ENTRY and spec.side is Side.BUY
        if not entry and not (spec.role is Role.EXIT and spec.side is Side.SELL):
            return "bad_spec"
        state = self.trading_state(spec.symbol)
        if state.rank > (TradingState.RUN if entry else TradingState.REDUCE_ONLY).rank:
            return f"state_{state.value.lower()}"
        if any(self._stops(run, spec.role, spec.symbol) for run in self.unfinished_stops()):
            return "stopping"
        if spec.symbol in self.behind:
            return "behind_venue"
        working = self.ledger.working(spec.symbol)
        if any(one.state is OrderState.UNKNOWN for one in working):
            return "unknown_order"
        if self.handover(spec.symbol) is not None:
            return "exiting"
        return self._entry_objection(approval, working) if entry else self._exit_objection(spec.symbol)

    @staticmethod
    def _stops(run: StopRun, role: Role, symbol: str) -> bool:
        return run.concerns(symbol) and (role is Role.ENTRY or run.kind is not StopKind.REDUCE)

    def _entry_objection(self, approval: Approval, working: list[OrderRecord]) -> str:
        spec = approval.spec
        rules = self.rules.get(spec.symbol)
        if rules is None:
            return "no_rules"  # what cannot be protected is not bought
        if any(one.side is Side.BUY for one in working):
            return "entry_open"
        if unknowns.on_same_base(self.ledger.working(), spec.symbol):
            return "unknown_order"
        if spec.kind not in (OrderKind.LIMIT_IOC, OrderKind.LIMIT_GTD):
            return "bad_spec"
        if spec.kind is OrderKind.LIMIT_GTD and not 0 < (spec.end_after_s or 0) <= 60:
            return "bad_spec"  # an entry never rests for more than a minute
        if spec.base_size != grid.floor_size(spec.base_size, rules) or spec.base_size <= 0:
            return "off_grid"
        if self.judge(spec.symbol).status is Protection.NAKED:
            return "naked"
        return "" if "gateway" in self.peers else "no_gateway"

    def _exit_objection(self, symbol: str) -> str:
        if self.ledger.book(symbol).quantity <= 0:
            return "no_position"
        return "" if self.clock.boot_ns() >= self.watch(symbol).exit_after else "exiting"

    def _refuse(self, approval: Approval, code: str) -> None:
        self.write(lambda ledger: ledger.handle_proposal(approval.proposal_id, f"refused:{code}"))
        refusal = Refusal(approval.proposal_id, approval.correlation_id, approval.spec.symbol, code, "", self.name)
        self.meter.count("refusals_total", code=code)
        self.log.info("approval_refused", proposal=approval.proposal_id, code=code)
        self.tell("risk", refusal)
        self.tell("strategist", refusal)
        self.changed()

    def _enter(self, approval: Approval) -> None:
        """Intent and SUBMITTING in one commit, then the wire."""
        spec = approval.spec
        draft = Draft(
            spec.symbol, spec.side, spec.role, spec.kind, spec.base_size, spec.limit_price, approval.correlation_id,
            stop=spec.stop_price, end_after_s=spec.end_after_s, proposal_id=approval.proposal_id,
            plan_stop=spec.plan_stop, plan_target=spec.plan_target, plan_max_hold_s=spec.plan_max_hold_s,
        )  # fmt: skip
        made: list[OrderRecord] = []

        def work(ledger: Ledger) -> None:
            made.append(self.make_intent(ledger, draft))
            ledger.handle_proposal(approval.proposal_id, made[0].id)

        if not self.write(work):
            self._refuse(approval, "ledger")
            return
        self.wire.stations[made[0].id] = Stations(approval.decided_boot_ns, approval.approved_boot_ns)
        self.send_intent(made[0], approval.quote, approval.expires_boot_ns)

    def _begin_exit(self, approval: Approval) -> None:
        spec = approval.spec
        handover = Handover(spec.symbol, exits.STRATEGY, approval.correlation_id, spec.limit_price, spec.base_size)

        def work(ledger: Ledger) -> None:
            ledger.handle_proposal(approval.proposal_id, "exit")
            ledger.put_document("handovers", spec.symbol, handover.to_json())

        if self.write(work):
            watch = self.watch(spec.symbol)
            watch.available, watch.proof_asked = None, 0
            self.changed()
            self.tend(spec.symbol)
        else:
            self._refuse(approval, "ledger")

    # --- the reconciler, the watchdog ---------------------------------------------------------------------------------

    def on_reconcile_report(self, report: ReconcileReport, sender: object) -> None:
        """The watchdog judges it; a difference is a reason to read the venue now."""
        if report.complete and not report.ok:
            self.backfill()

    def progress(self) -> dict[str, int]:
        return {"order_event": self.last_event_boot_ns}
