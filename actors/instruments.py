"""Small measuring instruments of one actor: handler times, mailbox lag, metric deltas."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from actors.clock import NS_PER_MS
from actors.messages.health import HandlerTimes, MetricsReport

Labels = tuple[tuple[str, str], ...]
Key = tuple[str, Labels]
MAX_OBSERVATIONS = 2_000
"""Per report and metric; beyond it the oldest are dropped, so that a storm cannot grow the process."""


class Meter:
    """Collects metric deltas until the next report."""

    def __init__(self) -> None:
        self._counters: dict[Key, float] = {}
        self._gauges: dict[Key, float] = {}
        self._observations: dict[Key, deque[float]] = {}

    def count(self, name: str, amount: float = 1.0, **labels: str) -> None:
        key = (name, tuple(sorted(labels.items())))
        self._counters[key] = self._counters.get(key, 0.0) + amount

    def gauge(self, name: str, value: float, **labels: str) -> None:
        self._gauges[(name, tuple(sorted(labels.items())))] = value

    def observe(self, name: str, value: float, **labels: str) -> None:
        key = (name, tuple(sorted(labels.items())))
        self._observations.setdefault(key, deque(maxlen=MAX_OBSERVATIONS)).append(value)

    def take(self, name: str, incarnation: int) -> MetricsReport | None:
        """The deltas since the last call, or None when nothing changed."""
        if not (self._counters or self._gauges or self._observations):
            return None
        report = MetricsReport(
            name=name,
            incarnation=incarnation,
            counters=self._counters,
            gauges=self._gauges,
            observations={key: tuple(values) for key, values in self._observations.items()},
        )
        self._counters, self._gauges, self._observations = {}, {}, {}
        return report


@dataclass(slots=True)
class HandlerWatch:
    """Handler times by message type and the largest mailbox lag, since the last beat."""

    samples: dict[str, list[int]] = field(default_factory=dict)
    max_lag_ns: int = 0
    busy_ns: int = 0
    handled: int = 0
    since_boot_ns: int = 0

    def note(self, message: str, took_ns: int, lag_ns: int) -> None:
        self.samples.setdefault(message, []).append(took_ns)
        self.max_lag_ns = max(self.max_lag_ns, lag_ns)
        self.busy_ns += took_ns
        self.handled += 1

    def summary(self) -> tuple[float, float, float, tuple[HandlerTimes, ...]]:
        """(p50, p95, p99 ms) over all handlers and the times per message type, slowest first, at most 8."""
        everything = sorted(took for samples in self.samples.values() for took in samples)
        times = []
        for message, samples in self.samples.items():
            samples.sort()
            times.append(
                HandlerTimes(
                    message,
                    len(samples),
                    percentile(samples, 0.5) / NS_PER_MS,
                    percentile(samples, 0.99) / NS_PER_MS,
                    samples[-1] / NS_PER_MS,
                    percentile(samples, 0.95) / NS_PER_MS,
                )
            )
        times.sort(key=lambda item: item.max_ms, reverse=True)
        p50, p95, p99 = (percentile(everything, share) / NS_PER_MS for share in (0.5, 0.95, 0.99))
        return p50, p95, p99, tuple(times[:8])

    def reset(self, now_boot_ns: int) -> None:
        self.samples.clear()
        self.max_lag_ns = self.busy_ns = 0
        self.since_boot_ns = now_boot_ns


def percentile(ordered: list[int], share: float) -> int:
    """The ``share`` quantile (nearest rank) of an ascending list; 0 of an empty one."""
    if not ordered:
        return 0
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def resident_bytes() -> int:
    """Resident memory of this process; 0 where /proc has none."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - read every few seconds, kept cheap
            return int(file.read().split()[1]) * 4096
    except (OSError, IndexError, ValueError):
        return 0
