"""When the gateway's own observations open or close a breaker. Pure; boot-clock ns as the argument.

Each breaker has a cause and an end of the cause. A change is told once; the first healthy finding is told as
well, so that a breaker which a dead predecessor opened can close.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from actors.clock import NS_PER_S
from actors.messages.health import BreakerName

_SLOW_IN_A_ROW = 3
_FAST_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class Finding:
    breaker: BreakerName
    tripped: bool
    reason: str


@dataclass(frozen=True, slots=True)
class HealthLimits:
    errors_trip: int
    latency_trip_ms: float
    auth_trip_s: float
    rejections_trip: int
    rejections_quiet_s: float
    rate_limit_quiet_s: float


@dataclass(slots=True)
class VenueHealth:
    """Counts answers, errors, refusals. ``note_*`` and ``tick`` return what changed."""

    limits: HealthLimits
    _errors: int = 0
    _recent_ms: deque[float] = field(default_factory=lambda: deque(maxlen=max(_SLOW_IN_A_ROW, _FAST_IN_A_ROW)))
    _first_401_ns: int | None = None
    _last_429_ns: int | None = None
    _refused_in_a_row: int = 0
    _last_refusal_ns: int | None = None
    _told: dict[BreakerName, bool] = field(default_factory=dict)
    _reasons: dict[BreakerName, str] = field(default_factory=dict)

    def note_call(
        self, now_ns: int, *, status: int | None, error: str, took_ms: float | None, private: bool
    ) -> list[Finding]:
        """One request ended. ``status`` None: no complete answer."""
        changes: list[Finding] = []
        if status is None or status >= 500 or 300 <= status < 400:
            self._errors += 1
            if self._errors >= self.limits.errors_trip:
                reason = f"{self._errors} errors in a row: {error or f'HTTP {status}'}"
                changes += self._say(BreakerName.API_ERRORS, True, reason)
        else:
            self._errors = 0
            changes += self._say(BreakerName.API_ERRORS, False, "answered")
        changes += self._note_latency(took_ms)
        changes += self._note_auth(now_ns, status, private)
        if status == 429:
            self._last_429_ns = now_ns
            changes += self._say(BreakerName.RATE_LIMIT, True, "HTTP 429")
        return changes

    def note_submit(self, now_ns: int, *, refused: bool, reason: str) -> list[Finding]:
        """An order create was answered yes or no by the venue."""
        if not refused:
            self._refused_in_a_row = 0
            return self._say(BreakerName.REJECTIONS, False, "an order was taken")
        self._refused_in_a_row += 1
        self._last_refusal_ns = now_ns
        if self._refused_in_a_row >= self.limits.rejections_trip:
            return self._say(BreakerName.REJECTIONS, True, f"{self._refused_in_a_row} refusals in a row: {reason}")
        return []

    def note_unlisted(self, now_ns: int, reason: str) -> list[Finding]:
        """The venue said no for a reason on no list: what else it will refuse, nobody knows."""
        self._last_refusal_ns = now_ns
        return self._say(BreakerName.REJECTIONS, True, f"refused for an unlisted reason: {reason}"[:200])

    def note_clock(self, tripped: bool, reason: str) -> list[Finding]:
        return self._say(BreakerName.CLOCK, tripped, reason)

    def tick(self, now_ns: int) -> list[Finding]:
        """Ends that only time brings."""
        changes: list[Finding] = []
        if self._last_429_ns is None or now_ns - self._last_429_ns >= self.limits.rate_limit_quiet_s * NS_PER_S:
            changes += self._say(BreakerName.RATE_LIMIT, False, "no 429 any more")
        quiet_ns = self.limits.rejections_quiet_s * NS_PER_S
        if self._last_refusal_ns is None or now_ns - self._last_refusal_ns >= quiet_ns:
            self._refused_in_a_row = 0
            changes += self._say(BreakerName.REJECTIONS, False, "no refusal any more")
        return changes

    def standing(self) -> list[Finding]:
        """Everything said last, for a watchdog that is new."""
        return [Finding(breaker, tripped, self._reasons[breaker]) for breaker, tripped in self._told.items()]

    def _note_latency(self, took_ms: float | None) -> list[Finding]:
        if took_ms is None:
            return []
        self._recent_ms.append(took_ms)
        recent = list(self._recent_ms)
        slow = [ms for ms in recent if ms > self.limits.latency_trip_ms]
        if len(recent) >= _SLOW_IN_A_ROW and len(slow) == len(recent):
            return self._say(BreakerName.API_LATENCY, True, f"{recent[-1]:.0f} ms, {len(recent)} slow answers in a row")
        if len(recent) >= _FAST_IN_A_ROW and not slow:
            return self._say(BreakerName.API_LATENCY, False, f"{recent[-1]:.0f} ms")
        return []

    def _note_auth(self, now_ns: int, status: int | None, private: bool) -> list[Finding]:
        # A 401 may be throttling (observed): only 401s that last, with no good answer between, speak of the key.
        if status == 401:
            if self._first_401_ns is None:
                self._first_401_ns = now_ns
            lasted_s = (now_ns - self._first_401_ns) / NS_PER_S
            if lasted_s >= self.limits.auth_trip_s and not self._told.get(BreakerName.CLOCK, False):
                return self._say(BreakerName.AUTH, True, f"401 for {lasted_s:.0f} s")
        elif status == 403:
            return self._say(BreakerName.AUTH, True, "HTTP 403: the key lacks a permission")
        elif status is not None and status < 400 and private:
            self._first_401_ns = None
            return self._say(BreakerName.AUTH, False, "the key is accepted")
        return []

    def _say(self, breaker: BreakerName, tripped: bool, reason: str) -> list[Finding]:
        if self._told.get(breaker) is tripped:
            return []
        self._told[breaker] = tripped
        self._reasons[breaker] = reason
        return [Finding(breaker, tripped, reason)]
