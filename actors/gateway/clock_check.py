"""The offset between the host's wall clock and the venue's. Pure.

One GET /time gives an offset with an error of half its round trip (plus the venue's whole milliseconds).
An offset that is only suspicious because the round trip was slow trips nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from actors.clock import NS_PER_MS

_RESOLUTION_MS = 1.0


@dataclass(frozen=True, slots=True)
class ClockSample:
    """``offset_ms``: venue minus host; the truth lies within ``error_ms`` of it."""

    offset_ms: float
    error_ms: float


class ClockVerdict(StrEnum):
    GOOD = "good"
    WARN = "warn"
    TRIP = "trip"
    UNCLEAR = "unclear"
    """The round trip was too slow to say whether the limit is kept."""


def sample(sent_utc_ns: int, venue_utc_ns: int, answered_utc_ns: int) -> ClockSample:
    """One measurement. Raises ValueError when the host's clock went back meanwhile."""
    if answered_utc_ns < sent_utc_ns:
        raise ValueError("the wall clock went back during the measurement")
    middle = (sent_utc_ns + answered_utc_ns) / 2
    error_ms = (answered_utc_ns - sent_utc_ns) / 2 / NS_PER_MS + _RESOLUTION_MS
    return ClockSample((venue_utc_ns - middle) / NS_PER_MS, error_ms)


def best(samples: Sequence[ClockSample]) -> ClockSample:
    """The sample with the smallest error."""
    return min(samples, key=lambda item: item.error_ms)


def judge(measured: ClockSample, warn_ms: float, trip_ms: float) -> ClockVerdict:
    """Whether the offset is proven to be beyond a limit, or proven to be within."""
    beyond_ms = abs(measured.offset_ms) - measured.error_ms
    if beyond_ms > trip_ms:
        return ClockVerdict.TRIP
    if beyond_ms > warn_ms:
        return ClockVerdict.WARN
    if measured.error_ms > trip_ms:
        return ClockVerdict.UNCLEAR
    return ClockVerdict.GOOD
