"""The closed list of what actors measure. A name or label that is not here is counted, not exposed.

Actors report in the unit of the name they use (``_ms``, ``_s``); the page shows seconds, as Prometheus wants.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

PREFIX = "td_"
MAX_SERIES = 2_000
"""Per metric: more label values than this are a mistake, and would grow the process without end."""

FAST_BUCKETS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SLOW_BUCKETS = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0)


class Kind(Enum):
    COUNTER = auto()
    GAUGE = auto()
    HISTOGRAM = auto()


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. ``name``: as actors report it; ``scale``: what makes seconds of it."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()
    by_actor: bool = False
    """Every actor reports it: the reporting actor's name becomes a label."""
    scale: float = 1.0
    buckets: tuple[float, ...] = FAST_BUCKETS

    @property
    def exposed(self) -> str:
        """The name on the page; counters get their ``_total`` from the client library."""
        name = self.name
        if self.kind is Kind.COUNTER:
            return PREFIX + name.removesuffix("_total")
        if self.kind is Kind.HISTOGRAM:
            for unit in ("_ms", "_s"):
                if name.endswith(unit):
                    return PREFIX + name.removesuffix(unit) + "_seconds"
        return PREFIX + name

    @property
    def all_labels(self) -> tuple[str, ...]:
        return ("actor", *self.labels) if self.by_actor else self.labels


def _counter(name: str, text: str, *labels: str, by_actor: bool = False) -> Metric:
    return Metric(name, Kind.COUNTER, text, labels, by_actor)


def _time(name: str, text: str, *labels: str, buckets: tuple[float, ...] = FAST_BUCKETS) -> Metric:
    return Metric(name, Kind.HISTOGRAM, text, labels, scale=0.001 if name.endswith("_ms") else 1.0, buckets=buckets)


CATALOGUE: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _counter("feed_messages_total", "Frames by channel.", "channel"),
        _counter("feed_gaps_total", "Holes in a connection's sequence.", "connection"),
        _counter("feed_reconnects_total", "Reconnects by reason.", "connection", "reason"),
        _counter("feed_merged_total", "Market updates merged for a slow receiver.", "symbol"),
        _counter("ticks_accepted_total", "Ticks a guard accepted.", "symbol"),
        _counter("ticks_refused_total", "Ticks a guard refused, by reason.", "symbol", "reason"),
        _counter("bars_total", "Bars closed.", "symbol"),
        _time("decision_cycle_ms", "Duration of one decision cycle."),
        _time("naked_s", "How long a position was NAKED until it was protected, sold or too small.", "symbol"),
        _time("decision_interval_s", "Time between decision cycles.", buckets=SLOW_BUCKETS),
        _counter("decisions_total", "Decision cycles."),
        _counter("no_trade_total", "Why a cycle proposed nothing.", "reason"),
        _counter("strategy_errors_total", "Crashes and overruns of the strategy.", "kind"),
        _counter("proposals_total", "Proposals by symbol and side.", "symbol", "side"),
        _counter("approvals_total", "Approvals of the gate.", "symbol"),
        _counter("refusals_total", "Refusals by reason code.", "code"),
        _time("risk_latency_ms", "Decision to verdict of the gate."),
        _counter("orders_submitted_total", "Orders handed to the gateway.", "role"),
        _counter("order_outcomes_total", "Outcomes of submissions.", "outcome"),
        _counter("fills_total", "Fills, each counted once.", "symbol", "side"),
        _time("pipeline_ms", "Time an order took to reach a station from the one before.", "stage"),
        _time("rest_latency_ms", "Answers of the venue, by endpoint.", "endpoint"),
        _counter("rest_errors_total", "Failed requests.", "endpoint", "kind"),
        _counter("rest_requests_total", "Requests sent.", "endpoint"),
        _time("budget_wait_ms", "Wait for the request budget."),
        _counter("would_send_total", "Orders that dry_run did not send."),
        _counter("reconcile_total", "Comparisons of ledger and venue.", "result"),
        _counter("unexplained_flows_total", "Balance changes that no fill explains.", "currency"),
        _counter("reconcile_differences_total", "Differences found.", "kind"),
        _counter("breaker_trips_total", "Trips by breaker.", "breaker"),
        _counter("alerts_total", "Alerts raised, duplicates left out.", "severity"),
        _counter("alert_deliveries_total", "Attempts to deliver alerts to the webhook.", "result"),
        Metric("alerts_undelivered", Kind.GAUGE, "Alerts waiting for the webhook."),
        _counter("crash_reports_total", "Crash records handled.", "result"),
        Metric("crash_records_waiting", Kind.GAUGE, "Crash records on disk that are not uploaded."),
        _counter("undelivered", "Messages that were maybe not delivered.", "message", "reason", by_actor=True),
        _counter("stale_commands", "Commands of older incarnations refused.", "message", by_actor=True),
        _counter("messages_without_peer", "Messages to a peer nobody knows.", "peer", by_actor=True),
        _counter("dead_letters", "Messages returned by the actor system.", by_actor=True),
    )
}
"""By the name that actors use."""
