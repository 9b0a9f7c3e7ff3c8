"""The venue read for everybody, and for the gateway itself: the key's permissions and the clock."""

from __future__ import annotations

from collections.abc import Callable

from actors.clock import NS_PER_S
from actors.gateway.budget import PROTECT
from actors.gateway.clock_check import ClockVerdict, best, judge, sample
from actors.gateway.decimals import MalformedAnswerError
from actors.gateway.dispatch import Job, LaneKind
from actors.gateway.health import Finding
from actors.gateway.normalise import server_time_ns
from actors.gateway.queries import Findings, ReadError, answer_of, reading
from actors.gateway.reads import ReadRun
from actors.gateway.room import GatewayRoom
from actors.gateway.wire import WireCall, WireResult
from actors.messages.health import Alert, BreakerName, Severity
from actors.messages.venue import FeeTier, QueryKind, VenueAnswer, VenueBalance, VenueQuery

KEY_RETRY_S = 5.0
CLOCK_SAMPLES = 3
LISTINGS = frozenset(
    {QueryKind.ORDER, QueryKind.OPEN_ORDERS, QueryKind.ORDERS_SINCE, QueryKind.FILLS_SINCE, QueryKind.FILLS_OF_ORDER}
)


class ReadDesk(GatewayRoom):
    """Takes ``VenueQuery``, answers ``VenueAnswer``."""

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
        if query.kind in LISTINGS:
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

    # --- key and clock ---

    def _check_key(self) -> None:
        query = VenueQuery("own:key", QueryKind.KEY_PERMISSIONS, self.stamp, priority=PROTECT)

        def deliver(_: ReadRun, findings: Findings | None, error: str) -> None:
            if findings is None:
                self.log.warning("key_not_checked", error=error)
                self.after("key", KEY_RETRY_S, self._check_key)
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
            self.tell("alerts", Alert(Severity.PAGE, "gateway_key", self._key_forbidden, self.name))

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
        if verdict is not ClockVerdict.GOOD and len(self._clock_samples) < CLOCK_SAMPLES:
            self._sample_clock()
            return
        said = f"offset {self._clock.offset_ms:.1f} ms, error {self._clock.error_ms:.1f} ms"
        if verdict is ClockVerdict.TRIP:
            self._signal(self._health.note_clock(True, said))
        elif verdict is not ClockVerdict.UNCLEAR:
            self._signal(self._health.note_clock(False, said))
        if verdict is not ClockVerdict.GOOD:
            self.log.warning("clock", verdict=verdict.value, measured=said)
