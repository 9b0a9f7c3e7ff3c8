"""Heartbeat limits, lease and breakers, restart limits of the tree."""

from __future__ import annotations

from pydantic import Field

from config.sections.base import Section


class ActorLimits(Section):
    """Limits of one actor (or of all: ``default``). warn: logged; trip: breaker; kill: by the parent.

    Lag and handler p99 in milliseconds; missed_trip_s, missed_kill_s: seconds without a beat after which the
    breaker trips and the parent kills (never less than 2.5 of the actor's own beat intervals).
    progress_s: the progress called ``progress`` (empty: the newest of all) may not be older; 0: not judged.
    beat_s: between heartbeats; not set: 0.25, of a guard 1.
    """

    lag_warn_ms: float = Field(default=200.0, gt=0)
    lag_trip_ms: float = Field(default=500.0, gt=0)
    handler_warn_ms: float = Field(default=100.0, gt=0)
    handler_trip_ms: float = Field(default=1000.0, gt=0)
    missed_trip_s: float = Field(default=1.0, gt=0)
    missed_kill_s: float = Field(default=1.2, gt=0)
    progress_s: float = Field(default=0.0, ge=0)
    progress: str = ""
    beat_s: float | None = Field(default=None, ge=0.05, le=2)


class WatchdogSettings(Section):
    """lease_interval_s: between renewals. half_open_s: how long the cause of a self-healing breaker must be gone
    before it is half open; doubles with every relapse up to hold_max_s. probe_s: how long it then stays half open.

    product_mode_s: between polls of product modes. own_lateness_ms: a judge later than this judges nobody.
    connection_s: how long a connection that was live may be down before its breaker trips.
    reconcile_overdue_s: entries stop when the last complete comparison is older.
    alerts_down_s: entries stop when the alerts actor is silent for longer.
    disk_free_bytes: entries stop when the disk of the data folder has less, or when a small file cannot be written and
    synced there within disk_deadline_s; disk_interval_s: between looks.
    """

    lease_interval_s: float = Field(default=0.25, gt=0, le=1)
    half_open_s: float = Field(default=5.0, gt=0, le=600)
    hold_max_s: float = Field(default=600.0, gt=0, le=86_400)
    probe_s: float = Field(default=2.0, gt=0, le=600)
    product_mode_s: float = Field(default=10.0, gt=0, le=120)
    own_lateness_ms: float = Field(default=500.0, gt=0)
    connection_s: float = Field(default=2.0, gt=0, le=60)
    reconcile_overdue_s: float = Field(default=120.0, gt=0, le=3600)
    alerts_down_s: float = Field(default=60.0, gt=0, le=3600)
    disk_free_bytes: int = Field(default=200_000_000, ge=0)
    disk_interval_s: float = Field(default=3.0, gt=0, le=600)
    disk_deadline_s: float = Field(default=5.0, gt=0, le=60)
    default: ActorLimits = ActorLimits()
    actors: dict[str, ActorLimits] = Field(default_factory=dict)
    """By actor name, or by kind (the part of the name before the first dot). Unnamed keys fall through:
    name, then kind, then ``default``."""

    def limits_for(self, name: str) -> ActorLimits:
        """The limits of one actor: each key from the most specific place that sets it."""
        found = self.default
        for key in (name.split(".")[0], name):
            entry = self.actors.get(key)
            if entry is not None:
                found = found.model_copy(update={field: getattr(entry, field) for field in entry.model_fields_set})
        return found


class SupervisionSettings(Section):
    """Restart intensity of every supervisor and deadlines, seconds: a part's start must fit into the 30 s that the
    outer ring gives the first tree, its stop into the 15 s of its supervisor. retry_s: between tries of a part that was
    given up without ending the daemon.

    root_restarts: how often the outer ring starts the whole tree anew within root_restart_window_s after it died or
    hung, before the process ends with a distinct exit code; 0: never. The first at once, then after full jitter up to
    root_backoff_first_s, doubling up to root_backoff_max_s. root_missed_kill_s: seconds without a beat of the root
    after which the tree counts as hung; tree_silent_s: seconds for which any actor below it may be silent until then.
    unclean_starts: that many starts within unclean_window_s that did not end in
    order (a restart of the tree is a start) and the next one is HALTED until an operator resumes, which acknowledges
    those before it.
    """

    max_restarts: int = Field(default=8, ge=0, le=1000)
    period_s: float = Field(default=30.0, gt=0, le=3600)
    start_deadline_s: float = Field(default=10.0, gt=0, le=30)
    stop_deadline_s: float = Field(default=5.0, gt=0, le=15)
    backoff_first_s: float = Field(default=0.05, ge=0, le=10)
    backoff_max_s: float = Field(default=5.0, gt=0, le=120)
    retry_s: float = Field(default=60.0, gt=0, le=3600)
    root_restarts: int = Field(default=2, ge=0, le=100)
    root_restart_window_s: float = Field(default=1800.0, gt=0, le=86_400)
    root_backoff_first_s: float = Field(default=1.0, ge=0, le=60)
    root_backoff_max_s: float = Field(default=5.0, gt=0, le=60)
    root_missed_kill_s: float = Field(default=3.0, ge=1, le=60)
    tree_silent_s: float = Field(default=9.0, ge=7, le=60)
    unclean_starts: int = Field(default=3, ge=1)
    unclean_window_s: float = Field(default=1800.0, gt=0)
