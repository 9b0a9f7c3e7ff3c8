"""What the parts of the gateway's mailbox share: lock, egress log, lanes, the last check's grounds, breakers."""

from __future__ import annotations

from collections.abc import Callable

from actors.actor import TradingActor
from actors.clock import NS_PER_S
from actors.egress import EgressLog, EgressWriter, Verb, boot_id, read_records
from actors.gateway.budget import ENTER, Budget
from actors.gateway.classify import Answer, Verdict
from actors.gateway.clock_check import ClockSample
from actors.gateway.dispatch import Dispatcher, DoorPort, Job, Lane, LaneKind
from actors.gateway.health import Finding, HealthLimits, VenueHealth
from actors.gateway.hours import DamagedHoursError, RequestHours
from actors.gateway.last_check import Grounds
from actors.gateway.lock import GatewayLock
from actors.gateway.outcomes import Outcome, Outcomes
from actors.gateway.reasons import is_listed
from actors.gateway.wire import Door, TlsContext, WireResult
from actors.latch import latch_exists
from actors.messages.health import BreakerName, BreakerSignal, Lease
from actors.messages.orders import CancelOrder, OutcomeKind

EGRESS_FILE = "egress.log"
LOCK_FILE = "gateway.lock"
HOURS_FILE = "requests.hours"
LOCK_RETRY_S = 0.05
PUBLIC_PER_S = 8.0
PUBLIC_ENDPOINTS = frozenset({"get_unix_time", "get_public_product_book"})


class LockHeldError(RuntimeError):
    """Another gateway lives: this one may not send anything."""


class GatewayRoom(TradingActor):
    """State and services of the gateway."""

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
        self.after("lock", LOCK_RETRY_S, lambda: self.ready() if self._acquire() else None)
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
        # Public paths are limited to 10 requests a second per address (Coinbase docs, long published).
        per_second = settings.requests_per_s if self._with_key else min(settings.requests_per_s, PUBLIC_PER_S)
        self._budget = Budget(per_second, settings.requests_per_hour)
        self._hours = RequestHours(self.settings.store_dir / HOURS_FILE)
        self._remember_requests()
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
            on_take=self._note_request,
        )
        self._known_peers = {name: peer.incarnation for name, peer in self.peers.items()}

    def _remember_requests(self) -> None:
        """The venue counts over our restarts, so do we; where nobody knows, entries wait an hour."""
        try:
            self._budget.remember(self.clock.boot_ns(), self._hours.read(self.clock.utc_ns()))
        except DamagedHoursError as error:
            self.log.error("request_hours_damaged", error=str(error))
            self._hours.clear()
            self._budget.spend_share_of(self.clock.boot_ns(), ENTER)

    def _note_request(self) -> None:
        try:
            self._hours.note(self.clock.utc_ns())
        except OSError as error:  # a request is not held back for its count: it may be a cancel
            self.log.error("request_not_counted", error=str(error))

    def door_maker(self) -> Callable[[], DoorPort]:
        """What makes a door for a lane; tests and virtual time replace it."""
        settings, venue = self.settings.gateway, self.settings.venue
        context = TlsContext(venue.ca_file)

        def make() -> DoorPort:
            return Door(
                clock=self.clock,
                host=venue.rest,
                key_file=venue.key_file,
                context=context,
                connect_timeout_s=settings.connect_timeout_s,
                read_timeout_s=settings.read_timeout_s,
                idle_max_s=settings.idle_max_s,
                token_life_s=venue.jwt_life_s,
            )

        return make

    @property
    def _dry_run(self) -> bool:
        return self.settings.mode == "dry_run"

    @property
    def _with_key(self) -> bool:
        return self.settings.venue.key_file is not None

    # --- the last check ---

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
            kill_latched=latch_exists(self.settings.kill_file),
            lock_held=self._lock.held(),
            key_may_trade=self._key_checked and not self._key_forbidden,
            data_product=data_product,
        )

    # --- outcomes, results, breakers ---

    def _tell_outcome(self, outcome: Outcome) -> None:
        self._outcomes.note(outcome)
        self.tell("tracker", outcome)

    def _repeat_outcomes(self) -> None:
        for outcome in self._outcomes.waiting():
            if not self.tell("tracker", outcome):
                return

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
            private=self._with_key and job.endpoint not in PUBLIC_ENDPOINTS,
        )
        self._signal(changes)

    def _note_reason(self, verdict: Verdict) -> None:
        """A no for a reason that the venue's documents do not know stops entries for a while."""
        if verdict.kind is OutcomeKind.REFUSED and not is_listed(verdict.reason):
            self.log.warning("unlisted_reason", reason=verdict.reason)
            self._signal(self._health.note_unlisted(self.clock.boot_ns(), verdict.reason))

    def _signal(self, findings: list[Finding]) -> None:
        for found in findings:
            if found.breaker is BreakerName.AUTH and self._key_forbidden and not found.tripped:
                continue  # an accepted key that may not be used is no end of the cause
            log = self.log.error if found.tripped else self.log.info
            log("breaker_cause", breaker=found.breaker.value, tripped=found.tripped, reason=found.reason)
            self.tell("watchdog", BreakerSignal(found.breaker, "*", found.tripped, found.reason, self.name))


def answer_from(result: WireResult) -> Answer:
    """What ``classify`` needs of a result."""
    return Answer(result.wrote, result.status, result.body, result.error)
