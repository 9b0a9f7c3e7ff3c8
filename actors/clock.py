"""Wall and boot time, injected everywhere: no room reads the operating system's clock by itself.

The boot clock counts time the host was suspended, so an age on it never looks younger than it is.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


class Clock(Protocol):
    """What a room may ask about time."""

    def utc_ns(self) -> int:
        """Wall time, nanoseconds since the epoch, UTC."""
        ...

    def boot_ns(self) -> int:
        """Nanoseconds since boot, suspended time included; never goes back."""
        ...


class SystemClock:
    """The host's clocks."""

    def utc_ns(self) -> int:
        return time.time_ns()

    def boot_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class MovedClock:
    """A clock that tests move: both clocks advance together, the wall clock can also be stepped."""

    def __init__(self, utc_ns: int = 1_786_309_548 * NS_PER_S, boot_ns: int = 1_000 * NS_PER_S) -> None:
        self._utc_ns = utc_ns
        self._boot_ns = boot_ns

    def utc_ns(self) -> int:
        return self._utc_ns

    def boot_ns(self) -> int:
        return self._boot_ns

    def advance(self, seconds: float) -> None:
        """Move both clocks ``seconds`` (>= 0) ahead."""
        if seconds < 0:
            raise ValueError(f"time only advances, got {seconds} s")
        ns = round(seconds * NS_PER_S)
        self._utc_ns += ns
        self._boot_ns += ns

    def step_wall(self, seconds: float) -> None:
        """Step the wall clock alone, as NTP or an operator does."""
        self._utc_ns += round(seconds * NS_PER_S)


def from_rfc3339(text: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time with up to nine decimals; raises ValueError.

    Written out because ``datetime`` keeps microseconds only and the feed's envelope has nanoseconds.
    """
    head, zone = (text[:-1], "+00:00") if text.endswith(("Z", "z")) else (text[:-6], text[-6:])
    whole, _, decimals = head.partition(".")
    if decimals and (not decimals.isdigit() or len(decimals) > 9):
        raise ValueError(f"not an RFC 3339 time: {text!r}")
    moment = datetime.fromisoformat(whole + zone)
    if moment.tzinfo is None:
        raise ValueError(f"a time without a zone: {text!r}")
    return int(moment.timestamp()) * NS_PER_S + int((decimals or "0").ljust(9, "0"))


def to_rfc3339(utc_ns: int) -> str:
    """RFC 3339 in UTC with microseconds and a Z."""
    seconds, rest = divmod(utc_ns, NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"
