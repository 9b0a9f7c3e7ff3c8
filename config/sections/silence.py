"""How long who may be silent: an inner judge must have acted before an outer one ends more than it would.

parent (seconds, one actor) < outer ring (the whole tree). Pure; raises ValueError naming both keys.
"""

from __future__ import annotations

from collections.abc import Iterable

from config.sections.watchdog import ActorLimits, SupervisionSettings, WatchdogSettings

WORKERS = (
    "metrics", "alerts", "admin", "crash_reporter", "watchdog", "tracker", "gateway", "risk", "reconciler", "feed",
    "strategist",
)  # fmt: skip
"""Every actor that is no guard and no supervisor."""
SUPERVISORS = ("root", "operations", "trading", "market", "decisions")
BEATS_MISSED = 2.5
"""Silence is never judged before this many of the actor's own intervals."""
BEAT_S = 0.25
GUARD_MISSED_KILL_S = 3.0
"""Guards beat once a second: never judged by less."""
HANG_WARN_S = 1.8
WARNED_BEFORE_KILL = frozenset({"tracker", "gateway"})
"""Killing these in mid-request creates UNKNOWNs: REDUCE_ONLY first, SIGKILL 2 s later (3 s after the last beat)."""
RING_S = 5.0
"""The tree's sign of life may be missing for that long in the outer ring's eyes: the last part of ``tree_silent_s``."""
LOOK_S = 1.0
"""Parents look every half second, and a kill takes a moment."""


def check_names(watchdog: WatchdogSettings) -> None:
    """Refuse limits of an actor that does not exist: whoever misspelt a name would believe in them."""
    for name in watchdog.actors:
        known = (*WORKERS, *SUPERVISORS, "guard")
        if name not in known and not name.startswith("guard."):
            there = f"{', '.join(known)}, guard.SYMBOL"
            raise ValueError(f"watchdog.actors.{name}: there is no such actor; there are {there}")


def kind_of(name: str) -> str:
    return name.split(".")[0]


def missed_kill_s(limits: ActorLimits, name: str) -> float:
    """Seconds without a beat after which the parent acts."""
    least = GUARD_MISSED_KILL_S if kind_of(name) == "guard" else 0.0
    return max(limits.missed_kill_s, least, BEATS_MISSED * (limits.beat_s or 0.0))


def hang_warn_s(name: str) -> float:
    """Seconds from the suspicion to the kill."""
    return HANG_WARN_S if kind_of(name) in WARNED_BEFORE_KILL else 0.0


def check_silence(watchdog: WatchdogSettings, supervision: SupervisionSettings, names: Iterable[str]) -> None:
    """Refuse an outer limit that is shorter than an inner one; ``names``: all actors but supervisors."""
    for name in names:
        limits = watchdog.limits_for(name)
        kill_s = missed_kill_s(limits, name)
        gone_s = kill_s + hang_warn_s(name) + LOOK_S
        inner = "missed_kill_s" if kill_s == limits.missed_kill_s else "beat_s"
        if gone_s > supervision.tree_silent_s:
            raise ValueError(
                f"supervision.tree_silent_s ({supervision.tree_silent_s:g}) would end the whole tree before {name} "
                f"alone is killed: watchdog {inner} of {name} makes that {gone_s:g} s"
            )
        if limits.missed_trip_s > kill_s:
            raise ValueError(
                f"watchdog missed_kill_s of {name} ({kill_s:g}) would kill it before missed_trip_s "
                f"({limits.missed_trip_s:g}) stops what its silence endangers"
            )
    root_s = BEATS_MISSED * (watchdog.limits_for("root").beat_s or BEAT_S)
    if root_s > supervision.root_missed_kill_s:
        raise ValueError(
            f"supervision.root_missed_kill_s ({supervision.root_missed_kill_s:g}) is less than {BEATS_MISSED:g} beats "
            f"of the root: watchdog beat_s makes that {root_s:g} s"
        )
