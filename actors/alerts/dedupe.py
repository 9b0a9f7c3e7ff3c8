"""Which alerts are repetitions. Pure; time is an argument."""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.clock import NS_PER_S
from actors.messages.health import Severity

MAX_KEYS = 10_000
_RANK = {severity: rank for rank, severity in enumerate(Severity)}


def rank(severity: Severity) -> int:
    """Least urgent first."""
    return _RANK[severity]


@dataclass(slots=True)
class _Seen:
    at_utc_ns: int
    severity: Severity
    repeated: int = 0


@dataclass(slots=True)
class Deduper:
    """Lets an alert key through once per ``dedupe_s``; a more urgent one always passes."""

    dedupe_s: float
    _seen: dict[str, _Seen] = field(default_factory=dict)

    def admit(self, key: str, severity: Severity, now_utc_ns: int) -> int | None:
        """None: a repetition. Else how many repetitions were held back since the last one that passed."""
        known = self._seen.get(key)
        if known is not None:
            # A wall clock that stepped back says nothing about age: the alert passes.
            young = 0 <= now_utc_ns - known.at_utc_ns < self.dedupe_s * NS_PER_S
            if young and rank(severity) <= rank(known.severity):
                known.repeated += 1
                return None
        self.remember(key, severity, now_utc_ns)
        while len(self._seen) > MAX_KEYS:
            del self._seen[next(iter(self._seen))]
        return known.repeated if known is not None else 0

    def remember(self, key: str, severity: Severity, at_utc_ns: int) -> None:
        """Note one that passed, also before a restart."""
        self._seen.pop(key, None)
        self._seen[key] = _Seen(at_utc_ns, severity)
