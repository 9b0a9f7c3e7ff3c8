"""Judges heartbeats: which actor is late, silent or without progress. Pure; time is an argument.

A judge judges itself first: after a pause of its own (host stall, suspend) it excuses everybody for a while,
since whatever looks late then may have been late for the judge's own reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from actors.clock import NS_PER_MS, NS_PER_S
from actors.messages.health import Heartbeat
from config.sections.silence import BEATS_MISSED
from config.sections.watchdog import ActorLimits, WatchdogSettings

EXCUSED_S = 1.0
"""After the judge's own pause, beats that cover it may still arrive for this long."""


class Level(IntEnum):
    FINE = 0
    WARN = 1
    TRIP = 2


@dataclass(frozen=True, slots=True)
class Verdict:
    """``tripped`` stays True until everything is below the *warn* limits again (hysteresis)."""

    name: str
    level: Level
    reason: str
    tripped: bool


@dataclass(slots=True)
class _Record:
    beat: Heartbeat
    received_boot_ns: int
    first_boot_ns: int
    """First beat of this incarnation: progress may not be judged older than that."""
    lag_ms: float
    handler_ms: float
    tripped: bool = False
    judged: bool = False
    """The lag was judged already: the next beat replaces it instead of adding to it."""


class HeartbeatJudge:
    """Keeps the newest beat of every actor and the worst lag since the last judgement."""

    def __init__(self, settings: WatchdogSettings) -> None:
        self._settings = settings
        self._records: dict[str, _Record] = {}
        self._limits: dict[str, ActorLimits] = {}
        self._excused_until_boot_ns = -1

    def note(self, beat: Heartbeat, now_boot_ns: int) -> bool:
        """Take one beat in; False when it is older than what is known (another incarnation's leftover)."""
        known = self._records.get(beat.name)
        if known is None or known.beat.pid != beat.pid or known.beat.incarnation != beat.incarnation:
            if known is not None and beat.sent_boot_ns < known.beat.sent_boot_ns:
                return False
            known = self._records[beat.name] = _Record(beat, now_boot_ns, now_boot_ns, 0.0, 0.0)
        elif beat.sent_boot_ns < known.beat.sent_boot_ns:
            return False
        known.beat, known.received_boot_ns = beat, now_boot_ns
        if known.judged:
            known.lag_ms, known.handler_ms, known.judged = 0.0, 0.0, False
        if beat.sent_boot_ns > self._excused_until_boot_ns:
            known.lag_ms = max(known.lag_ms, beat.lag_ms)
            known.handler_ms = max(known.handler_ms, beat.handler_p99_ms)
        return True

    def forget(self, name: str) -> None:
        """The actor is gone; its silence is the supervisor's matter now."""
        self._records.pop(name, None)

    def pause(self, now_boot_ns: int) -> None:
        """The judge itself was late: nobody is judged on what happened before now + ``EXCUSED_S``."""
        self._excused_until_boot_ns = now_boot_ns + round(EXCUSED_S * NS_PER_S)
        for record in self._records.values():
            record.lag_ms = record.handler_ms = 0.0

    def beats(self) -> Mapping[str, Heartbeat]:
        """The newest beat of every actor."""
        return {name: record.beat for name, record in self._records.items()}

    def silent_s(self, name: str, now_boot_ns: int) -> float | None:
        """Seconds since the newest beat was received; None: it never beat."""
        record = self._records.get(name)
        return None if record is None else (now_boot_ns - record.received_boot_ns) / NS_PER_S

    def judge(self, now_boot_ns: int) -> tuple[Verdict, ...]:
        """One verdict per actor, none while the judge is excused; the worst lag starts anew afterwards."""
        if now_boot_ns < self._excused_until_boot_ns:
            return ()
        verdicts = []
        for name, record in self._records.items():
            level, reason = self._judge_one(name, record, now_boot_ns)
            record.tripped = level is Level.TRIP or (record.tripped and level is Level.WARN)
            verdicts.append(Verdict(name, level, reason, record.tripped))
            record.judged = True
        return tuple(verdicts)

    def _judge_one(self, name: str, record: _Record, now_boot_ns: int) -> tuple[Level, str]:
        limits = self._limits_of(name)
        findings: list[tuple[Level, str]] = []
        silent_s = (now_boot_ns - max(record.received_boot_ns, self._excused_until_boot_ns)) / NS_PER_S
        allowed_s = max(limits.missed_trip_s, BEATS_MISSED * record.beat.interval_s)
        if silent_s > allowed_s:
            findings.append((Level.TRIP, f"no beat for {silent_s:.1f} s"))
        findings += _compare("mailbox lag", record.lag_ms, limits.lag_warn_ms, limits.lag_trip_ms)
        findings += _compare("handler p99", record.handler_ms, limits.handler_warn_ms, limits.handler_trip_ms)
        if limits.progress_s > 0:
            stuck_s = self._stuck_s(record, limits, now_boot_ns)
            if stuck_s > limits.progress_s:
                what = limits.progress or "any progress"
                findings.append((Level.TRIP, f"{what} is {stuck_s:.1f} s old"))
        if not findings:
            return Level.FINE, ""
        worst = max(level for level, _ in findings)
        return worst, "; ".join(text for level, text in findings if level is worst)

    def _stuck_s(self, record: _Record, limits: ActorLimits, now_boot_ns: int) -> float:
        times = [
            value
            for key, value in record.beat.progress
            if (key == limits.progress if limits.progress else not key.endswith("_count"))
        ]
        newest = max([*times, record.first_boot_ns, self._excused_until_boot_ns])
        return (now_boot_ns - newest) / NS_PER_S

    def _limits_of(self, name: str) -> ActorLimits:
        limits = self._limits.get(name)
        if limits is None:
            limits = self._limits[name] = self._settings.limits_for(name)
        return limits


def _compare(what: str, value_ms: float, warn_ms: float, trip_ms: float) -> list[tuple[Level, str]]:
    if value_ms >= trip_ms:
        return [(Level.TRIP, f"{what} {value_ms:.0f} ms (limit {trip_ms:.0f})")]
    if value_ms >= warn_ms:
        return [(Level.WARN, f"{what} {value_ms:.0f} ms (warning at {warn_ms:.0f})")]
    return []


def lateness_ms(now_boot_ns: int, due_boot_ns: int) -> float:
    """How much later than due it is, milliseconds; 0 when early."""
    return max(0, now_boot_ns - due_boot_ns) / NS_PER_MS
