"""The state of the daemon as metrics, made at scrape time from the newest messages.

Ages are ages at the moment of the scrape. What is unknown has no sample: a missing number is never shown as zero.
Messages are immutable and each attribute is replaced whole, so the page's thread may read while the mailbox writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from actors.clock import NS_PER_S, Clock
from actors.messages.books import PortfolioSnapshot, RiskReport
from actors.messages.control import ControlReport
from actors.messages.health import BreakerState, ChildState, ChildStatus, Lease, TradingState, TreeReport
from actors.messages.market import FeedHealth
from actors.messages.orders import TERMINAL, OrderState, Protection
from actors.messages.venue import GatewayReport
from actors.metrics.catalogue import PREFIX
from config.settings import Settings

Sample = tuple[tuple[str, ...], float | int | Decimal | None]
Maybe = float | int | Decimal | None


class StateCollector(Collector):
    """Holds the newest message of each kind; assign to its attributes."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self.trees: dict[str, TreeReport] = {}
        self.feed: FeedHealth | None = None
        self.control: ControlReport | None = None
        self.lease: Lease | None = None
        self.portfolio: PortfolioSnapshot | None = None
        self.risk: RiskReport | None = None
        self.gateway: GatewayReport | None = None
        self.taken_boot_ns: dict[str, int] = {}
        """Message type -> when the newest one came."""

    def collect(self) -> Iterator[Metric]:
        yield from self._build()
        children = [child for tree in dict(self.trees).values() for child in tree.children]
        yield from self._actors(children)
        if self.feed is not None:
            yield from self._feed(self.feed)
        if self.lease is not None:
            yield from self._lease(self.lease)
        if self.control is not None:
            yield from self._control(self.control)
        if self.portfolio is not None:
            yield from self._portfolio(self.portfolio)
        if self.risk is not None:
            yield from self._risk(self.risk)
        if self.gateway is not None:
            yield from self._gateway(self.gateway)

    def _age_s(self, boot_ns: int) -> float | None:
        return (self._clock.boot_ns() - boot_ns) / NS_PER_S if boot_ns else None

    def _build(self) -> Iterator[Metric]:
        settings = self._settings
        labels = ("build", "config_hash", "mode", "simulated")
        simulated = "false" if settings.mode == "live" else "true"
        values = (settings.build, settings.config_hash, settings.mode, simulated)
        yield _gauge("build_info", "What runs here.", labels, [(values, 1)])
        ages = [((kind,), self._age_s(at)) for kind, at in dict(self.taken_boot_ns).items()]
        yield _gauge("report_age_seconds", "Age of the newest report of each kind.", ("report",), ages)

    def _actors(self, children: list[ChildStatus]) -> Iterator[Metric]:
        actor = ("actor",)
        beats = [(child.name, child.beat) for child in children if child.beat is not None]
        running = [((one.name,), int(one.state is ChildState.RUNNING)) for one in children]
        yield _gauge("actor_running", "Whether the actor runs.", actor, running)
        restarts = [((one.name,), one.restarts) for one in children]
        yield _counter("actor_restarts", "Restarts by its supervisor.", actor, restarts)
        yield _gauge(
            "actor_incarnation", "Its incarnation.", actor, [((one.name,), one.incarnation) for one in children]
        )
        lags = [((name,), beat.lag_ms / 1000) for name, beat in beats]
        yield _gauge("actor_mailbox_lag_seconds", "Longest wait of a message since the last beat.", actor, lags)
        times: list[Sample] = []
        messages: list[Sample] = []
        for name, beat in beats:
            shares = (("0.5", beat.handler_p50_ms), ("0.95", beat.handler_p95_ms), ("0.99", beat.handler_p99_ms))
            times += [((name, share), value / 1000) for share, value in shares]
            for one in beat.handlers:
                pairs = (("0.5", one.p50_ms), ("0.95", one.p95_ms), ("0.99", one.p99_ms), ("1", one.max_ms))
                messages += [((name, one.message, share), value / 1000) for share, value in pairs]
        yield _gauge("actor_handler_seconds", "Handler times since the last beat.", ("actor", "quantile"), times)
        labels = ("actor", "message", "quantile")
        yield _gauge("actor_message_handler_seconds", "Handler times of the slowest message types.", labels, messages)
        queues: list[Sample] = [((name, "in"), beat.queued_in) for name, beat in beats]
        queues += [((name, "out"), beat.queued_out) for name, beat in beats]
        yield _gauge("actor_queue_depth", "Messages waiting.", ("actor", "direction"), queues)
        memory = [((name,), beat.memory_bytes) for name, beat in beats]
        yield _gauge("actor_memory_bytes", "Resident memory.", actor, memory)
        yield _gauge("actor_busy_ratio", "Busy share.", actor, [((name,), beat.busy_share) for name, beat in beats])
        ages = [((name,), self._age_s(beat.sent_boot_ns)) for name, beat in beats]
        yield _gauge("actor_beat_age_seconds", "Age of the newest heartbeat known here.", actor, ages)

    def _feed(self, health: FeedHealth) -> Iterator[Metric]:
        label = ("connection",)
        ones = health.connections
        yield _gauge(
            "feed_connection_live",
            "Whether it is live.",
            label,
            [((c.connection,), int(c.state == "live")) for c in ones],
        )
        yield _counter("feed_frames", "Frames received.", label, [((c.connection,), c.frames) for c in ones])
        ages = [((c.connection,), self._age_s(c.last_frame_boot_ns)) for c in ones]
        yield _gauge("feed_frame_age_seconds", "Age of the newest frame.", label, ages)
        ages = [((c.connection,), self._age_s(c.last_heartbeat_boot_ns)) for c in ones]
        yield _gauge("feed_heartbeat_age_seconds", "Age of the newest heartbeat of the exchange.", label, ages)
        symbols = health.symbols
        yield _gauge(
            "symbol_fresh", "Whether the book is verified.", ("symbol",), [((s.symbol,), int(s.fresh)) for s in symbols]
        )
        ages = [((s.symbol,), self._age_s(s.last_update_boot_ns)) for s in symbols]
        yield _gauge("symbol_update_age_seconds", "Age of the newest update.", ("symbol",), ages)

    def _lease(self, lease: Lease) -> Iterator[Metric]:
        yield _one_hot("trading_state", "The trading state.", (), [((), lease.state)], TradingState)
        symbols = [((item.symbol,), lease.state_of(item.symbol)) for item in self._settings.instruments]
        yield _one_hot("symbol_trading_state", "Trading state by symbol.", ("symbol",), symbols, TradingState)
        yield _gauge("lease_age_seconds", "Age of the lease.", (), [((), self._age_s(lease.issued_boot_ns))])

    def _control(self, control: ControlReport) -> Iterator[Metric]:
        rows = [((one.breaker, one.scope), one.state) for one in control.breakers]
        yield _one_hot("breaker_state", "Breakers that ever tripped.", ("breaker", "scope"), rows, BreakerState)
        yield _gauge("kill_latched", "Whether the kill latch is set.", (), [((), int(control.latched))])
        yield _gauge("waiting_parts", "Parts that trading waits for.", (), [((), len(control.waiting_for))])

    def _portfolio(self, book: PortfolioSnapshot) -> Iterator[Metric]:
        orders = [((state, role), number) for state, role, number in book.orders_by_state]
        yield _gauge("orders", "Orders of the ledger.", ("state", "role"), orders)
        yield _gauge("order_fill_ratio", "Filled share of ended orders.", ("role",), _fill_ratio(book))
        pnl = book.pnl
        sums: list[Sample] = [
            (("day",), pnl.realized_day), (("week",), pnl.realized_week), (("total",), pnl.realized_total)
        ]  # fmt: skip
        yield _gauge("realized_pnl", "Realized result after fees, quote currency.", ("period",), sums)
        yield _gauge("fees_paid", "Fees paid, quote currency.", (), [((), pnl.fees_total)])
        held = [((one.symbol,), one.quantity) for one in book.positions]
        yield _gauge("position_base_units", "Owned base units.", ("symbol",), held)
        states = [((one.symbol,), one.protection) for one in book.positions]
        yield _one_hot("position_protection", "How a position stands.", ("symbol",), states, Protection)
        yield _gauge(
            "unknown_symbols", "Symbols with an order of unknown outcome.", (), [((), len(book.unknown_symbols))]
        )
        yield _gauge("ledger_ready", "Whether the tracker may be trusted.", (), [((), int(book.ready))])

    def _risk(self, risk: RiskReport) -> Iterator[Metric]:
        for name, lines in (("symbol", risk.by_symbol), ("asset", risk.by_asset)):
            samples: list[Sample] = []
            for line in lines:
                samples += [((line.key, "held"), line.held), ((line.key, "pending"), line.pending)]
            yield _gauge(f"{name}_exposure", "Exposure, quote currency.", (name, "part"), samples)
        values: tuple[tuple[str, str, Maybe], ...] = (
            ("total_exposure", "Exposure over everything, quote currency.", risk.total_exposure),
            ("reserved", "Held for approvals under way, quote currency.", risk.reserved),
            ("unrealized_pnl", "Unrealized result, quote currency.", risk.unrealized),
            ("equity", "Allotted capital and all results, quote currency.", risk.equity),
            ("equity_high_water", "Highest equity, quote currency.", risk.high_water),
            ("drawdown_percent", "Below the high water.", risk.drawdown_pct),
        )
        for name, text, value in values:
            yield _gauge(name, text, (), [((), value)])
        losses: list[Sample] = [(("day",), risk.loss_day), (("week",), risk.loss_week)]
        yield _gauge("loss", "Loss that counts against the limit, quote currency.", ("period",), losses)
        missing = [((name,), 1) for name in risk.unavailable]
        yield _gauge("risk_input_unavailable", "Inputs that are missing and stop entries.", ("input",), missing)

    def _gateway(self, report: GatewayReport) -> Iterator[Metric]:
        yield _gauge("gateway_queued", "Requests waiting.", (), [((), report.queued)])
        yield _gauge("gateway_in_flight", "Requests under way.", (), [((), report.in_flight)])
        yield _counter("gateway_abandoned", "Workers given up past their deadline.", (), [((), report.abandoned)])
        yield _counter("egress_records", "Requests recorded before the write.", (), [((), report.egress_count)])
        offset, error = report.clock_offset_ms, report.clock_error_ms
        yield _gauge(
            "clock_offset_seconds", "Against the exchange.", (), [((), None if offset is None else offset / 1000)]
        )
        yield _gauge(
            "clock_error_seconds", "The round trip's own.", (), [((), None if error is None else error / 1000)]
        )
        budget: list[Sample] = [(("second",), report.budget_second), (("hour",), report.budget_hour)]
        yield _gauge("request_budget", "Requests still allowed.", ("period",), budget)
        allowed = None if report.can_trade is None else int(report.can_trade)
        yield _gauge("key_can_trade", "Whether the key may trade.", (), [((), allowed)])


def _fill_ratio(book: PortfolioSnapshot) -> list[Sample]:
    ended: dict[str, int] = {}
    filled: dict[str, int] = {}
    for state, role, number in book.orders_by_state:
        if state in TERMINAL:
            ended[role] = ended.get(role, 0) + number
        if state == OrderState.FILLED:
            filled[role] = filled.get(role, 0) + number
    return [((role,), filled.get(role, 0) / number) for role, number in ended.items() if number]


def _gauge(name: str, text: str, labels: Iterable[str], samples: Iterable[Sample]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=list(labels))
    for values, value in samples:
        if value is not None:
            family.add_metric(list(values), float(value))
    return family


def _counter(name: str, text: str, labels: Iterable[str], samples: Iterable[Sample]) -> Metric:
    family = CounterMetricFamily(PREFIX + name, text, labels=list(labels))
    for values, value in samples:
        if value is not None:
            family.add_metric(list(values), float(value))
    return family


def _one_hot(
    name: str, text: str, labels: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], str]], states: Iterable[str]
) -> Metric:
    """One sample per possible state, 1 for the present one: sums and alerts work on it."""
    possible = list(states)
    samples: list[Sample] = [((*key, state), int(state == now)) for key, now in rows for state in possible]
    return _gauge(name, text, (*labels, "state"), samples)
