"""GatewayActor: the mailbox of the one door to the exchange.

It sends each order at most once, says what is known about it until the tracker took it, and reads the venue
for everybody. Decisions are in the modules beside it; threads only run ``Door.call``.
"""

from __future__ import annotations

from collections.abc import Callable

from coinbase.rest import RESTClient

from actors.actor import TradingActor
from actors.clock import NS_PER_S
from actors.egress import EgressLog, EgressWriter, Verb, boot_id, read_records
from actors.gateway import classify, last_check, orders
from actors.gateway.budget import CANCEL, ENTER, PROTECT, Budget
from actors.gateway.classify import Answer
from actors.gateway.clock_check import ClockSample, ClockVerdict, best, judge, sample
from actors.gateway.decimals import MalformedAnswerError, plain
from actors.gateway.dispatch import Dispatcher, DoorPort, Job, Lane, LaneKind
from actors.gateway.health import Finding, HealthLimits, VenueHealth
from actors.gateway.last_check import Grounds
from actors.gateway.lock import GatewayLock
from actors.gateway.normalise import server_time_ns
from actors.gateway.outcomes import Outcome, Outcomes
from actors.gateway.queries import Findings, ReadError, answer_of, reading
from actors.gateway.reads import ReadRun
from actors.gateway.wire import Door, Recorded, WireCall, WireResult, tls_context
from actors.messages.base import Command
from actors.messages.health import Alert, BreakerName, BreakerSignal, Lease, Severity, TradingState
from actors.messages.market import Side
from actors.messages.trading import (
    CancelOrder,
    CancelOutcome,
    EditOrder,
    EditOutcome,
    FeeTier,
    GatewayReport,
    OrderIntent,
    OutcomeKind,
    OutcomeTaken,
    QueryKind,
    SubmitOrder,
    SubmitOutcome,
    VenueAnswer,
    VenueBalance,
    VenueQuery,
)

EGRESS_FILE = "egress.log"
LOCK_FILE = "gateway.lock"
_LOCK_RETRY_S = 0.05
_KEY_RETRY_S = 5.0
_CLOCK_SAMPLES = 3
CANCELS_PER_REQUEST = 100
_PRIVATE_FREE = frozenset({"get_unix_time", "get_public_product_book"})
_LISTINGS = frozenset(
    {QueryKind.ORDER, QueryKind.OPEN_ORDERS, QueryKind.ORDERS_SINCE, QueryKind.FILLS_SINCE, QueryKind.FILLS_OF_ORDER}
)


class LockHeldError(RuntimeError):
    """Another gateway lives: this one may not send anything."""


class GatewayActor(TradingActor):
    """Cancels, orders and reads on threads of their own; one request budget; outcomes repeated until taken."""

    def __init__(self) -> None:
        super().__init__()
        self._lock: GatewayLock
        self._egress: EgressWriter
        self._dispatcher: Dispatcher
        self._health: VenueHealth
        self._budget: Budget
        self._outcomes = Outcomes()
        self._in_flight: set[str] = set()
        self._cancels_waiting: list[CancelOrder] = []
        self._cancels_under_way: set[str] = set()
        self._sent_before: frozenset[str] = frozenset()
        self._lease: Lease | None = None
        self._key_checked = False
        self._key_forbidden = ""
        self._can_trade: bool | None = None
        self._clock_samples: list[ClockSample] = []
        self._clock: ClockSample | None = None
        self._known_peers: dict[str, int] = {}
        self._lock_due_ns = 0
        self._last_answer_ns = 0
        self._submits = 0

    # --- starting --------------------------------------------------------------------------------------

    def restore(self) -> bool:
        self.settings.store_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = GatewayLock(self.settings.store_dir / LOCK_FILE)
        self._lock_due_ns = self.clock.boot_ns() + round(self.settings.gateway.lock_wait_s * NS_PER_S)
        return self._acquire()

    def _acquire(self) -> bool:
        if self._lock.try_acquire():
            self._open()
            return True
        if self.clock.boot_ns() > self._lock_due_ns:
            raise LockHeldError(f"{LOCK_FILE} is held by another process for {self.settings.gateway.lock_wait_s:g} s")
        self.after("lock", _LOCK_RETRY_S, lambda: self.ready() if self._acquire() else None)
        return False

    def _open(self) -> None:
        settings = self.settings.gateway
        path = self.settings.store_dir / EGRESS_FILE
        log: EgressLog = read_records(path)
        self._sent_before = frozenset(r.client_order_id for r in log.records if r.verb is Verb.CREATE)
        if log.torn or log.damaged:
            self.log.warning("egress_log_damaged", torn=log.torn, damaged=log.damaged)
        self._egress = EgressWriter(path, boot_id(), self.incarnation)
        limits = HealthLimits(
            settings.errors_trip,
            settings.latency_trip_ms,
            settings.auth_trip_s,
            settings.rejections_trip,
            settings.rejections_quiet_s,
            settings.rate_limit_quiet_s,
        )
        self._health = VenueHealth(limits)
        self._budget = Budget(settings.requests_per_s, settings.requests_per_hour)
        names = [("cancel", LaneKind.CANCEL)]
        names += [(f"order{n}", LaneKind.ORDER) for n in range(settings.workers)]
        names += [(f"read{n}", LaneKind.READ) for n in range(settings.readers)]
        make_door = self.door_maker()
        self._dispatcher = Dispatcher(
            clock=self.clock,
            budget=self._budget,
            lanes=[Lane(name, kind, self.worker(name), make_door()) for name, kind in names],
            make_door=make_door,
            later=lambda seconds, handler: self.after("budget", seconds, handler),
            meter=self.meter,
            deadline_s=settings.call_deadline_s,
            on_result=self._note_result,
        )
        self._known_peers = {name: peer.incarnation for name, peer in self.peers.items()}

    def door_maker(self) -> Callable[[], DoorPort]:
        """What makes a door for a lane; tests and virtual time replace it."""
        settings, venue = self.settings.gateway, self.settings.venue
        context = tls_context(venue.ca_file)

        def make() -> DoorPort:
            return Door(
                clock=self.clock,
                host=venue.rest,
                key_file=venue.key_file,
                context=context,
                connect_timeout_s=settings.connect_timeout_s,
                read_timeout_s=settings.read_timeout_s,
                idle_max_s=settings.idle_max_s,
            )

        return make

    def started(self) -> None:
        settings = self.settings.gateway
        self.every("report", 1.0, self._tick)
        self.every("repeat", settings.outcome_repeat_s, self._repeat_outcomes)
        self.every("clock", settings.clock_interval_s, self._check_clock, first_s=0.0)
        if not self._dry_run:
            self.every("warm", settings.idle_max_s / 2, self._dispatcher.warm, first_s=0.0)
        if self._with_key:
            self.after("key", 0.0, self._check_key)
        else:
            self._key_checked = True

    @property
    def _dry_run(self) -> bool:
        return self.settings.mode == "dry_run"

    @property
    def _with_key(self) -> bool:
        return self.settings.venue.key_file is not None

    def progress(self) -> dict[str, int]:
        return {"last_answer": self._last_answer_ns, "submits_count": self._submits}

    def peers_changed(self) -> None:
        for name, peer in self.peers.items():
            known = self._known_peers.get(name)
            if known is not None and peer.incarnation > known:
                if name == "tracker":
                    self._on_new_tracker(peer.incarnation)
                elif name == "watchdog":
                    self._signal(self._health.standing())
                    self._signal_key()
        self._known_peers.update({name: peer.incarnation for name, peer in self.peers.items()})

    def _on_new_tracker(self, incarnation: int) -> None:
        """Commands of the old one that are not on the wire end here; what it did not take is told again."""
        self._dispatcher.drop(
            lambda job: job.commander_incarnation is not None and job.commander_incarnation < incarnation,
            "tracker_restarted",
        )
        self._repeat_outcomes()

    # --- orders ----------------------------------------------------------------------------------------

    def on_submit_order(self, message: SubmitOrder, sender: object) -> None:
        intent = message.intent
        name = intent.client_order_id
        if name in self._in_flight:
            return  # its outcome will come
        known = self._outcomes.answered(name)
        if known is not None:
            self._tell_outcome(known)
            return
        if name in self._sent_before:
            self._end_submit(intent, OutcomeKind.UNKNOWN, "an earlier gateway was about to send this order")
            return
        if self._dry_run:
            self._would_send(message)
            return
        refusal = last_check.refusal(message, self._grounds(intent.symbol))
        if refusal is not None:
            self._end_submit(intent, OutcomeKind.NOT_SENT, refusal)
            return
        try:
            configuration = orders.configuration(intent, self.clock.utc_ns())
        except ValueError as error:
            self._end_submit(intent, OutcomeKind.NOT_SENT, f"bad_intent: {error}")
            return
        self._in_flight.add(name)
        self._submits += 1
        self._dispatcher.put(self._submit_job(message, configuration))

    def _submit_job(self, message: SubmitOrder, configuration: orders.Configuration) -> Job:
        intent = message.intent

        def request(client: RESTClient) -> object:
            return client.create_order(
                client_order_id=intent.client_order_id,
                product_id=intent.symbol,
                side=intent.side.value,
                order_configuration=configuration,
            )

        call = WireCall(
            self.clock,
            gate=lambda: last_check.refusal(message, self._grounds(intent.symbol)),
            recorded=Recorded(Verb.CREATE, intent.client_order_id),
            egress=self._egress,
        )
        return Job(
            lane=LaneKind.ORDER,
            priority=ENTER if intent.side is Side.BUY else PROTECT,
            endpoint="create_order",
            request=request,
            call=call,
            done=lambda result: self._submitted(intent, result),
            queued_boot_ns=self.clock.boot_ns(),
            expires_boot_ns=message.expires_boot_ns or None,
            commander_incarnation=message.stamp.incarnation,
        )

    def _submitted(self, intent: OrderIntent, result: WireResult) -> None:
        self._in_flight.discard(intent.client_order_id)
        verdict = classify.create(_answer(result), intent.client_order_id, intent.symbol, intent.side.value)
        self._end_submit(intent, verdict.kind, verdict.reason, verdict.order_id, result)
        if verdict.kind in (OutcomeKind.DONE, OutcomeKind.REFUSED):
            refused = verdict.kind is OutcomeKind.REFUSED
            self._signal(self._health.note_submit(self.clock.boot_ns(), refused=refused, reason=verdict.reason))
        if result.egress_failed:
            self._signal([Finding(BreakerName.EGRESS, True, result.error)])

    def _end_submit(
        self,
        intent: OrderIntent,
        kind: OutcomeKind,
        reason: str,
        order_id: str | None = None,
        result: WireResult | None = None,
    ) -> None:
        log = self.log.info if kind is OutcomeKind.DONE else self.log.warning
        log(
            "submit_outcome",
            client_order_id=intent.client_order_id,
            symbol=intent.symbol,
            side=intent.side.value,
            role=intent.role.value,
            outcome=kind.value,
            order_id=order_id,
            reason=reason,
            correlation_id=intent.correlation_id,
        )
        self._tell_outcome(
            SubmitOutcome(
                client_order_id=intent.client_order_id,
                kind=kind,
                order_id=order_id,
                reason=reason,
                wire_boot_ns=result.wire_boot_ns if result is not None else None,
                wire_utc_ns=result.wire_utc_ns if result is not None else None,
                answered_boot_ns=result.answered_boot_ns if result is not None else self.clock.boot_ns(),
                gateway_incarnation=self.incarnation,
            )
        )

    def _would_send(self, message: SubmitOrder) -> None:
        intent = message.intent
        self.meter.count("would_send_total")
        try:
            configuration: object = orders.configuration(intent, self.clock.utc_ns())
        except ValueError as error:
            configuration = f"none: {error}"
        self.log.info(
            "would_send",
            client_order_id=intent.client_order_id,
            product_id=intent.symbol,
            side=intent.side.value,
            role=intent.role.value,
            order_configuration=configuration,
            last_check=last_check.refusal(message, self._grounds(intent.symbol)) or "passed",
            correlation_id=intent.correlation_id,
        )
        self._end_submit(intent, OutcomeKind.REFUSED, "dry_run")

    def _grounds(self, symbol: str) -> Grounds:
        """Read by worker threads too: every part is one attribute or a question to the kernel."""
        settings = self.settings.gateway
        try:
            data_product = self.settings.instrument(symbol).data_product
        except KeyError:
            data_product = ""  # no quote can be of it: a BUY is refused
        return Grounds(
            now_boot_ns=self.clock.boot_ns(),
            epoch=self.epoch,
            lease=self._lease,
            lease_max_age_s=settings.lease_max_age_s,
            quote_max_age_s=settings.quote_max_age_s,
            kill_latched=self._kill_latched(),
            lock_held=self._lock.held(),
            key_may_trade=self._key_checked and not self._key_forbidden,
            data_product=data_product,
        )

    def _kill_latched(self) -> bool:
        try:
            self.settings.kill_file.stat()
        except FileNotFoundError:
            return False
        except OSError:
            return True  # a latch that cannot be looked at counts as set
        return True

    # --- cancels and edits -----------------------------------------------------------------------------

    def on_cancel_order(self, message: CancelOrder, sender: object) -> None:
        """Cancels that wait for the one lane go out together: a hundred orders are two requests, not a hundred."""
        if message.client_order_id in self._cancels_under_way:
            return
        if self._dry_run:
            self._end_cancel(message, OutcomeKind.REFUSED, "dry_run")
            return
        self._cancels_under_way.add(message.client_order_id)
        self._cancels_waiting.append(message)
        if len(self._cancels_waiting) == 1:
            self._queue_cancels()

    def _queue_cancels(self) -> None:
        batch: list[CancelOrder] = []

        def starting() -> None:
            batch.extend(self._cancels_waiting[:CANCELS_PER_REQUEST])
            self._cancels_waiting = self._cancels_waiting[CANCELS_PER_REQUEST:]
            if self._cancels_waiting:
                self._queue_cancels()

        def ended(result: WireResult) -> None:
            for message in batch:
                self._cancels_under_way.discard(message.client_order_id)
                verdict = classify.cancel(_answer(result), message.order_id)
                self._end_cancel(message, verdict.kind, verdict.reason)

        self._dispatcher.put(
            Job(
                lane=LaneKind.CANCEL,
                priority=CANCEL,
                endpoint="cancel_orders",
                request=lambda client: client.cancel_orders(order_ids=[message.order_id for message in batch]),
                call=WireCall(self.clock),
                done=ended,
                queued_boot_ns=self.clock.boot_ns(),
                starting=starting,
            )
        )

    def _end_cancel(self, message: CancelOrder, kind: OutcomeKind, reason: str) -> None:
        self.log.info(
            "cancel_outcome",
            client_order_id=message.client_order_id,
            outcome=kind.value,
            reason=reason,
            by=message.reason,
        )
        self._tell_outcome(CancelOutcome(message.client_order_id, message.order_id, kind, reason, self.incarnation))

    def on_edit_order(self, message: EditOrder, sender: object) -> None:
        key = f"edit {message.client_order_id}"
        if key in self._in_flight:
            return
        refusal = "dry_run" if self._dry_run else self._refuse_edit(message)
        if refusal is not None:
            kind = OutcomeKind.REFUSED if self._dry_run else OutcomeKind.NOT_SENT
            self._end_edit(message, kind, refusal)
            return
        extra = {"stop_price": plain(message.stop_price)} if message.stop_price is not None else {}

        def request(client: RESTClient) -> object:
            size, price = plain(message.base_size), plain(message.limit_price)
            return client.edit_order(message.order_id, size=size, price=price, **extra)

        def ended(result: WireResult) -> None:
            self._in_flight.discard(key)
            verdict = classify.edit(_answer(result), message.order_id)
            self._end_edit(message, verdict.kind, verdict.reason)

        self._in_flight.add(key)
        self._dispatcher.put(
            Job(
                lane=LaneKind.ORDER,
                priority=PROTECT,
                endpoint="edit_order",
                request=request,
                call=WireCall(
                    self.clock,
                    gate=lambda: self._refuse_edit(message),
                    recorded=Recorded(Verb.EDIT, message.client_order_id),
                    egress=self._egress,
                ),
                done=ended,
                queued_boot_ns=self.clock.boot_ns(),
                commander_incarnation=message.stamp.incarnation,
            )
        )

    def _refuse_edit(self, message: EditOrder) -> str | None:
        """Entries are never edited; other exits only while they may be placed; protection always."""
        parts = message.client_order_id.split("-")
        role = parts[-2] if len(parts) >= 2 else ""
        if role not in ("x", "p"):
            return "only exits and protection are edited"
        if not self._lock.held():
            return "lock_lost"
        if min(message.base_size, message.limit_price) <= 0:
            return "bad_intent: size and price must be positive"
        if role == "p":
            return None
        lease = self._lease
        state = lease.state_of(message.symbol) if lease is not None else TradingState.HALTED
        if self._kill_latched() or state.rank >= TradingState.HALTED.rank:
            return "state_halted"
        return None

    def _end_edit(self, message: EditOrder, kind: OutcomeKind, reason: str) -> None:
        self.log.info("edit_outcome", client_order_id=message.client_order_id, outcome=kind.value, reason=reason)
        self._tell_outcome(EditOutcome(message.client_order_id, message.order_id, kind, reason, self.incarnation))

    # --- outcomes --------------------------------------------------------------------------------------

    def _tell_outcome(self, outcome: Outcome) -> None:
        self._outcomes.note(outcome)
        self.tell("tracker", outcome)

    def _repeat_outcomes(self) -> None:
        for outcome in self._outcomes.waiting():
            if not self.tell("tracker", outcome):
                return

    def on_outcome_taken(self, message: OutcomeTaken, sender: object) -> None:
        self._outcomes.taken(message.what, message.client_order_id)

    def on_stale_command(self, message: Command) -> None:
        """Commands of a tracker that is gone are answered, so that the new one need not guess."""
        super().on_stale_command(message)
        if isinstance(message, SubmitOrder):
            name = message.intent.client_order_id
            known = self._outcomes.answered(name)
            if known is not None:
                self._tell_outcome(known)
            elif name in self._sent_before:
                self._end_submit(message.intent, OutcomeKind.UNKNOWN, "an earlier gateway was about to send this order")
            elif name not in self._in_flight:
                self._end_submit(message.intent, OutcomeKind.NOT_SENT, "tracker_restarted")

    # --- reads -----------------------------------------------------------------------------------------

    def on_venue_query(self, message: VenueQuery, sender: object) -> None:
        def deliver(run: ReadRun, findings: Findings | None, error: str) -> None:
            self.answer(message.stamp.name, sender, self._venue_answer(message, run, findings, error))

        self._ask(message, deliver)

    def _ask(self, query: VenueQuery, deliver: Callable[[ReadRun, Findings | None, str], None]) -> None:
        now = self.clock.boot_ns()
        run = ReadRun(
            clock=self.clock,
            dispatcher=self._dispatcher,
            priority=max(query.priority, PROTECT),
            expires_boot_ns=now + round(2 * self.settings.gateway.call_deadline_s * NS_PER_S),
            deliver=deliver,
            asked_boot_ns=now,
            asked_utc_ns=self.clock.utc_ns(),
        )
        assumed = self._assumed(query)
        if assumed is not None:
            deliver(run, assumed, "")
            return
        try:
            requests = reading(query, self.clock.utc_ns(), with_key=self._with_key)
        except ReadError as error:
            deliver(run, None, str(error))
            return
        run.begin(requests)

    def _assumed(self, query: VenueQuery) -> Findings | None:
        """dry_run sends no order, so its listings are empty; without a key money is what is configured."""
        if not self._dry_run:
            return None
        if query.kind in _LISTINGS:
            return Findings()
        if self._with_key:
            return None
        match query.kind:
            case QueryKind.BALANCES:
                quotes = dict.fromkeys(item.quote for item in self.settings.instruments)
                self.log.info(
                    "balances_assumed", quote_currencies=list(quotes), each=str(self.settings.capital.allotted)
                )
                zero = self.settings.capital.allotted * 0
                return Findings(balances=tuple(VenueBalance(q, self.settings.capital.allotted, zero) for q in quotes))
            case QueryKind.FEES:
                rates = self.settings.gateway
                return Findings(fees=FeeTier("assumed", rates.assumed_maker_rate, rates.assumed_taker_rate))
            case QueryKind.KEY_PERMISSIONS:
                return Findings()
        return None

    def _venue_answer(self, query: VenueQuery, run: ReadRun, findings: Findings | None, error: str) -> VenueAnswer:
        found = findings if findings is not None else Findings()
        if findings is None:
            self.log.warning("query_failed", kind=query.kind.value, by=query.stamp.name, error=error)
        return VenueAnswer(
            request_id=query.request_id,
            kind=query.kind,
            ok=findings is not None,
            error=error,
            asked_boot_ns=run.asked_boot_ns,
            answered_boot_ns=self.clock.boot_ns(),
            asked_utc_ns=run.asked_utc_ns,
            gateway_incarnation=self.incarnation,
            client_order_id=query.client_order_id,
            order_id=query.order_id,
            orders=found.orders,
            fills=found.fills,
            balances=found.balances,
            rules=found.rules,
            fees=found.fees,
            quotes=found.quotes,
            can_trade=found.can_trade,
            can_transfer=found.can_transfer,
        )

    # --- key and clock ---------------------------------------------------------------------------------

    def _check_key(self) -> None:
        query = VenueQuery("own:key", QueryKind.KEY_PERMISSIONS, self.stamp, priority=PROTECT)

        def deliver(_: ReadRun, findings: Findings | None, error: str) -> None:
            if findings is None:
                self.log.warning("key_not_checked", error=error)
                self.after("key", _KEY_RETRY_S, self._check_key)
                return
            self._judge_key(findings)

        self._ask(query, deliver)

    def _judge_key(self, findings: Findings) -> None:
        self._can_trade = findings.can_trade
        self._key_checked = True
        if not self._dry_run and findings.can_trade is not True:
            self._key_forbidden = "the key may not trade"
        elif self.settings.mode == "live" and findings.can_transfer is not False:
            self._key_forbidden = "the key can transfer funds: live refuses such a key"
        elif findings.can_transfer:
            self.log.warning("key_can_transfer", consequence="live would refuse this key")
        if self._key_forbidden:
            self.log.critical("key_forbidden", reason=self._key_forbidden)
            self._signal_key()
            self.tell("alerts", Alert(Severity.PAGE, "gateway.key", self._key_forbidden, self.name))

    def _signal_key(self) -> None:
        if self._key_forbidden:
            self._signal([Finding(BreakerName.AUTH, True, self._key_forbidden)])

    def _check_clock(self) -> None:
        self._clock_samples = []
        self._sample_clock()

    def _sample_clock(self) -> None:
        now = self.clock.boot_ns()
        self._dispatcher.put(
            Job(
                lane=LaneKind.READ,
                priority=PROTECT,
                endpoint="get_unix_time",
                request=lambda client: client.get_unix_time(),
                call=WireCall(self.clock),
                done=self._clock_sampled,
                queued_boot_ns=now,
                expires_boot_ns=now + round(self.settings.gateway.call_deadline_s * NS_PER_S),
            )
        )

    def _clock_sampled(self, result: WireResult) -> None:
        try:
            venue_ns = server_time_ns(answer_of(result, "get_unix_time"))
            assert result.wire_utc_ns is not None
            measured = sample(result.wire_utc_ns, venue_ns, result.answered_utc_ns)
        except (ReadError, MalformedAnswerError, ValueError) as error:
            self.log.warning("clock_not_measured", error=str(error))
            return
        settings = self.settings.gateway
        self._clock_samples.append(measured)
        self._clock = best(self._clock_samples)
        verdict = judge(self._clock, settings.clock_warn_ms, settings.clock_trip_ms)
        if verdict is not ClockVerdict.GOOD and len(self._clock_samples) < _CLOCK_SAMPLES:
            self._sample_clock()
            return
        said = f"offset {self._clock.offset_ms:.1f} ms, error {self._clock.error_ms:.1f} ms"
        if verdict is ClockVerdict.TRIP:
            self._signal(self._health.note_clock(True, said))
        elif verdict is not ClockVerdict.UNCLEAR:
            self._signal(self._health.note_clock(False, said))
        if verdict is not ClockVerdict.GOOD:
            self.log.warning("clock", verdict=verdict.value, measured=said)

    # --- results, signals, reports ---------------------------------------------------------------------

    def _note_result(self, job: Job, result: WireResult) -> None:
        now = self.clock.boot_ns()
        if not result.wrote and result.kind == "held_back":
            return
        if result.wrote:
            self.meter.count("rest_requests_total", endpoint=job.endpoint)
        if result.took_ms is not None and result.status is not None:
            self.meter.observe("rest_latency_ms", result.took_ms, endpoint=job.endpoint)
            self._last_answer_ns = now
        if result.status is None or result.status >= 400:
            kind = result.kind if result.status is None else str(result.status)
            self.meter.count("rest_errors_total", endpoint=job.endpoint, kind=kind)
            self.log.warning("rest_error", endpoint=job.endpoint, kind=kind, error=result.error)
        self._budget.note_answer(now, result.status, result.headers)
        changes = self._health.note_call(
            now,
            status=result.status,
            error=result.error,
            took_ms=result.took_ms,
            private=self._with_key and job.endpoint not in _PRIVATE_FREE,
        )
        self._signal(changes)

    def _signal(self, findings: list[Finding]) -> None:
        for found in findings:
            if found.breaker is BreakerName.AUTH and self._key_forbidden and not found.tripped:
                continue  # an accepted key that may not be used is no end of the cause
            log = self.log.error if found.tripped else self.log.info
            log("breaker_cause", breaker=found.breaker.value, tripped=found.tripped, reason=found.reason)
            self.tell("watchdog", BreakerSignal(found.breaker, "*", found.tripped, found.reason, self.name))

    def on_lease(self, message: Lease, sender: object) -> None:
        if self._lease is None or message.issued_boot_ns >= self._lease.issued_boot_ns:
            self._lease = message

    def _tick(self) -> None:
        now = self.clock.boot_ns()
        self._dispatcher.sweep()
        self._dispatcher.pump()
        self._signal(self._health.tick(now))
        second, hour = self._budget.left(now)
        report = GatewayReport(
            queued=self._dispatcher.queued(),
            in_flight=self._dispatcher.in_flight(),
            abandoned=self._dispatcher.abandoned,
            egress_count=self._egress.count,
            clock_offset_ms=self._clock.offset_ms if self._clock is not None else None,
            clock_error_ms=self._clock.error_ms if self._clock is not None else None,
            budget_second=second,
            budget_hour=hour,
            key_checked=self._key_checked,
            can_trade=self._can_trade,
        )
        for name in ("admin", "watchdog", "metrics"):
            self.tell(name, report)


def _answer(result: WireResult) -> Answer:
    return Answer(result.wrote, result.status, result.body, result.error)
