"""The counters and histograms: deltas of the actors added up, over every restart of theirs. Pure."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from actors.clock import NS_PER_MS
from actors.messages.health import MetricsReport
from actors.messages.orders import PipelineTiming
from actors.metrics.catalogue import CATALOGUE, MAX_SERIES, Kind, Metric

Key = tuple[str, tuple[tuple[str, str], ...]]
STATIONS = (
    ("approval", "approved_boot_ns"),
    ("persisted", "persisted_boot_ns"),
    ("wire", "wire_boot_ns"),
    ("ack", "answered_boot_ns"),
    ("fill", "first_fill_boot_ns"),
)
"""decision -> approval -> persisted -> wire -> ack -> fill; each measured from the last station reached."""
REMEMBERED_ORDERS = 10_000


class MetricsBook:
    """Everything of the catalogue in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._metrics: dict[str, Counter | Gauge | Histogram] = {
            name: _make(metric, registry) for name, metric in CATALOGUE.items()
        }
        self._unknown = Counter(
            "td_unknown_metrics", "Reported metrics that the catalogue does not hold.", ["name"], registry=registry
        )
        self._series: dict[str, set[tuple[str, ...]]] = {name: set() for name in CATALOGUE}
        self._timed: OrderedDict[str, set[str]] = OrderedDict()
        self._complained: set[str] = set()

    def take(self, report: MetricsReport) -> tuple[str, ...]:
        """Add one report; returns complaints (each made once) about what was not counted."""
        complaints = []
        for kind, entries in (
            (Kind.COUNTER, report.counters),
            (Kind.GAUGE, report.gauges),
            (Kind.HISTOGRAM, report.observations),
        ):
            for (name, labels), value in entries.items():
                values = value if isinstance(value, tuple) else (value,)
                complaints.append(self._add(kind, name, dict(labels), report.name, values))
        return tuple(text for text in complaints if text)

    def observe_pipeline(self, timing: PipelineTiming) -> None:
        """Each station of each order counts once, however often the tracker reports it."""
        seen = self._timed.setdefault(timing.client_order_id, set())
        self._timed.move_to_end(timing.client_order_id)
        while len(self._timed) > REMEMBERED_ORDERS:
            self._timed.popitem(last=False)
        before = timing.decided_boot_ns
        for stage, field in STATIONS:
            reached: int = getattr(timing, field)
            if reached and before and reached >= before and stage not in seen:
                seen.add(stage)
                took_ms = (reached - before) / NS_PER_MS
                self._add(Kind.HISTOGRAM, "pipeline_ms", {"stage": stage}, "tracker", (took_ms,))
            before = reached or before

    def _add(self, kind: Kind, name: str, labels: Mapping[str, str], actor: str, values: Iterable[float]) -> str:
        metric = CATALOGUE.get(name)
        if metric is None or metric.kind is not kind:
            return self._refuse(name, f"{name} is no {kind.name.lower()} of the catalogue")
        if metric.by_actor:
            labels = {**labels, "actor": actor}
        if set(labels) != set(metric.all_labels):
            return self._refuse(name, f"{name} has labels {sorted(metric.all_labels)}, got {sorted(labels)}")
        key = tuple(labels[label] for label in metric.all_labels)
        series = self._series[name]
        if key not in series:
            if len(series) >= MAX_SERIES:
                return self._refuse(name, f"{name} has more than {MAX_SERIES} series")
            series.add(key)
        child = self._metrics[name].labels(*key) if key else self._metrics[name]
        for value in values:
            if not math.isfinite(value) or (kind is not Kind.GAUGE and value < 0):
                return self._refuse(name, f"{name}: {value} cannot be counted")
            if isinstance(child, Counter):
                child.inc(value)
            elif isinstance(child, Gauge):
                child.set(value)
            else:
                child.observe(value * metric.scale)
        return ""

    def _refuse(self, name: str, text: str) -> str:
        shown = name if name in CATALOGUE or len(self._complained) < MAX_SERIES else "other"
        self._unknown.labels(shown).inc()
        if name in self._complained:
            return ""
        self._complained.add(name)
        return text


def _make(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if metric.kind is Kind.COUNTER:
        return Counter(metric.exposed, metric.text, metric.all_labels, registry=registry)
    if metric.kind is Kind.GAUGE:
        return Gauge(metric.exposed, metric.text, metric.all_labels, registry=registry)
    return Histogram(metric.exposed, metric.text, metric.all_labels, registry=registry, buckets=metric.buckets)
