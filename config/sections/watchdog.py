"""Heartbeat limits, lease and breakers, restart limits of the tree."""

from __future__ import annotations

from pydantic import Field

from config.sections.base import Section


class ActorLimits(Section):
    """Limits of one actor (or of all: ``default``). warn: logged; trip: breaker; kill: by the parent.

    Lag and handler p99 in milliseconds; missed_kill_s: seconds without a beat after which the parent kills.
    progress_s: the named progress of the actor kind may not be older than this.
    """

    lag_warn_ms: float = Field(default=200.0, gt=0)
    lag_trip_ms: float = Field(default=500.0, gt=0)
    handler_warn_ms: float = Field(default=100.0, gt=0)
    handler_trip_ms: float = Field(default=1000.0, gt=0)
    missed_trip_s: float = Field(default=1.0, gt=0)
    missed_kill_s: float = Field(default=1.2, gt=0)
    progress_s: float = Field(default=0.0, ge=0)


class WatchdogSettings(Section):
    """lease_interval_s: between renewals. half_open_s: a self-healing breaker's probe time.

    product_mode_s: between polls of product modes. own_lateness_ms: a judge later than this judges nobody.
    """

    lease_interval_s: float = Field(default=0.25, gt=0, le=1)
    half_open_s: float = Field(default=5.0, gt=0, le=600)
    product_mode_s: float = Field(default=10.0, gt=0, le=120)
    own_lateness_ms: float = Field(default=500.0, gt=0)
    default: ActorLimits = ActorLimits()
    actors: dict[str, ActorLimits] = Field(default_factory=dict)
    """By actor name, or by kind (the part of the name before the first dot)."""


class SupervisionSettings(Section):
    """Restart intensity of every supervisor and start deadlines, seconds."""

    max_restarts: int = Field(default=8, ge=0, le=1000)
    period_s: float = Field(default=30.0, gt=0, le=3600)
    start_deadline_s: float = Field(default=10.0, gt=0, le=120)
    stop_deadline_s: float = Field(default=5.0, gt=0, le=120)
    backoff_first_s: float = Field(default=0.05, ge=0, le=10)
    backoff_max_s: float = Field(default=5.0, gt=0, le=120)
    unclean_starts: int = Field(default=3, ge=1)
    unclean_window_s: float = Field(default=1800.0, gt=0)
