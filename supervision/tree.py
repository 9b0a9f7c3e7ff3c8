"""The whole tree, declared in one place: names, order, strategies, limits, give-up policy.

    run.py -> root supervisor
      operations   metrics, alerts, admin, crash_reporter
      watchdog
      trading      tracker, gateway, risk, reconciler
      market       feed, guards
      decisions    strategist

Start goes down this list, stop goes up. Only this module knows the rooms.
"""

from __future__ import annotations

import dataclasses
import importlib

from actors.messages import books, control, delivery, health, market, orders, reconcile, venue
from config.sections.silence import BEATS_MISSED, hang_warn_s, missed_kill_s
from config.settings import Settings
from supervision.restart import ChildSpec, GiveUp, Intensity, SupervisorSpec
from supervision.transport_pickle import learn

SUPERVISOR = "supervision.supervisor.SupervisorActor"
ACTORS = {
    "metrics": "actors.metrics.actor.MetricsActor",
    "alerts": "actors.alerts.actor.AlertsActor",
    "admin": "actors.admin.actor.AdminActor",
    "crash_reporter": "actors.crashes.actor.CrashReporterActor",
    "watchdog": "supervision.watchdog.WatchdogActor",
    "tracker": "actors.orders.actor.TrackerActor",
    "gateway": "actors.gateway.actor.GatewayActor",
    "risk": "actors.risk.actor.RiskActor",
    "reconciler": "actors.reconciler.actor.ReconcilerActor",
    "feed": "actors.feed.actor.FeedActor",
    "guard": "actors.guard.actor.GuardActor",
    "strategist": "actors.strategist.actor.StrategistActor",
}
VITAL = frozenset({"tracker", "gateway", "watchdog"})
"""Without these nothing can be made safe: when they keep failing, the daemon ends and its host acts."""

SUPERVISOR_MISSED_KILL_S = 2.0
SUPERVISOR_STOP_S = 15.0


def root_spec(
    settings: Settings, halt_reason: str = "", *, restarts: tuple[int, ...] = (), restart_reason: str = ""
) -> SupervisorSpec:
    """The tree for this configuration. ``halt_reason``: why this start must not trade until an operator resumes.

    ``restarts``: boot times, ns, at which the outer ring started the tree anew; ``restart_reason``: why it did last.
    """
    return SupervisorSpec(
        "root",
        (
            _operations(settings, {"restarts": restarts, "restart_reason": restart_reason}),
            _worker(settings, "watchdog", "watchdog", {"halt_reason": halt_reason, "restart_reason": restart_reason}),
            _branch(settings, "trading", ("tracker", "gateway", "risk", "reconciler")),
            _market(settings),
            _branch(settings, "decisions", ("strategist",)),
        ),
        intensity=_intensity(settings),
    )


def preload() -> None:
    """Import every room before the fork: restarts then cost no import, and memory is shared."""
    for path in (*ACTORS.values(), SUPERVISOR):
        importlib.import_module(path.rpartition(".")[0])
    # What travels inside of messages (peers, positions, handler times) pickles the short way too.
    for module in (books, control, delivery, health, market, orders, reconcile, venue):
        for kind in vars(module).values():
            if isinstance(kind, type) and dataclasses.is_dataclass(kind):
                learn(kind)


def _intensity(settings: Settings) -> Intensity:
    limits = settings.supervision
    return Intensity(limits.max_restarts, limits.period_s, limits.backoff_first_s, limits.backoff_max_s, limits.retry_s)


def _branch(settings: Settings, name: str, workers: tuple[str, ...]) -> ChildSpec:
    children = tuple(_worker(settings, worker, worker) for worker in workers)
    return _supervisor(settings, name, children)


def _operations(settings: Settings, told: dict[str, object]) -> ChildSpec:
    """``told``: what the outer ring did; the admin shows it."""
    children = (
        _worker(settings, "metrics", "metrics"),
        _worker(settings, "alerts", "alerts"),
        _worker(settings, "admin", "admin", told),
        _worker(settings, "crash_reporter", "crash_reporter"),
    )
    return _supervisor(settings, "operations", children)


def _market(settings: Settings) -> ChildSpec:
    guards = tuple(
        _worker(settings, name, "guard", {"products": products}) for name, products in settings.guard_groups().items()
    )
    return _supervisor(settings, "market", (_worker(settings, "feed", "feed"), *guards))


def _supervisor(settings: Settings, name: str, children: tuple[ChildSpec, ...]) -> ChildSpec:
    return ChildSpec(
        name=name,
        actor=SUPERVISOR,
        kind="supervisor",
        args={"spec": SupervisorSpec(name, children, intensity=_intensity(settings))},
        give_up=GiveUp.END_DAEMON,
        shutdown_s=SUPERVISOR_STOP_S,
        start_deadline_s=settings.supervision.start_deadline_s,
        missed_kill_s=max(SUPERVISOR_MISSED_KILL_S, _beats_missed_s(settings, name)),
    )


def _worker(settings: Settings, name: str, kind: str, args: dict[str, object] | None = None) -> ChildSpec:
    return ChildSpec(
        name=name,
        actor=ACTORS[kind],
        args=args or {},
        give_up=GiveUp.END_DAEMON if kind in VITAL else GiveUp.LEAVE_DOWN,
        shutdown_s=settings.supervision.stop_deadline_s,
        start_deadline_s=settings.supervision.start_deadline_s,
        missed_kill_s=missed_kill_s(settings.watchdog.limits_for(name), name),
        hang_warn_s=hang_warn_s(name),
    )


def _beats_missed_s(settings: Settings, name: str) -> float:
    """No silence is judged before 2.5 of the actor's own beats."""
    return BEATS_MISSED * (settings.watchdog.limits_for(name).beat_s or 0.0)
