"""Signs of life of the tree as the outer ring sees them. Pure; the time, monotonic seconds, is an argument.

Three kinds, each with its own limit: the root's heartbeats, the file it touches while all its children beat, and the
answers of the actor system's admin.
"""

from __future__ import annotations

from collections.abc import Mapping

OWN_STALL_S = 1.0
"""A judge that looked away for longer judges nobody for a while: the host may have stalled everybody."""


class Pulse:
    """``limits``: kind of sign -> seconds without one that mean a hang. A kind that never came is not judged."""

    def __init__(self, limits: Mapping[str, float]) -> None:
        self._limits = dict(limits)
        self._grace_s = max(self._limits.values())
        self._seen: dict[str, float] = {}
        self._last_look: float | None = None
        self._excused_until = 0.0

    def sign(self, kind: str, now: float) -> None:
        """A sign of life came."""
        self._seen[kind] = now

    def look(self, now: float) -> str:
        """What is silent for too long, as text; nothing while all is well, or while this judge was late itself."""
        if self._last_look is not None and now - self._last_look > OWN_STALL_S:
            self._excused_until = now + self._grace_s
        self._last_look = now
        if now < self._excused_until:
            return ""
        return self._silent(now)

    def is_fresh(self, now: float) -> bool:
        """True while every kind has come, and lately: what the outside may be told."""
        return len(self._seen) == len(self._limits) and not self._silent(now)

    def _silent(self, now: float) -> str:
        late = [
            f"{kind} silent for {now - self._seen[kind]:.1f} s"
            for kind, limit in self._limits.items()
            if kind in self._seen and now - self._seen[kind] > limit
        ]
        return ", ".join(late)
