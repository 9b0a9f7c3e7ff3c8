"""How often the outer ring starts the tree anew: the supervisors' own policy, with the root as its one child."""

from __future__ import annotations

import random
from collections.abc import Callable

from actors.clock import NS_PER_S
from config.sections.watchdog import SupervisionSettings
from supervision.restart import ChildSpec, Intensity, RestartGroup, RestartPolicy, SupervisorSpec

ROOT = "root"


class RootRestarts:
    """The first restart at once, then full jitter; none beyond ``root_restarts`` within ``root_restart_window_s``."""

    def __init__(
        self, limits: SupervisionSettings, spread: Callable[[float], float] = lambda limit_s: random.uniform(0, limit_s)
    ) -> None:
        self._limits = limits
        intensity = Intensity(
            limits.root_restarts, limits.root_restart_window_s, limits.root_backoff_first_s, limits.root_backoff_max_s
        )
        child = ChildSpec(ROOT, "supervision.supervisor.SupervisorActor", kind="supervisor")
        self._policy = RestartPolicy(SupervisorSpec("run", (child,), intensity=intensity), spread)
        self._times: list[int] = []

    def died(self, now_boot_ns: int) -> float | None:
        """The tree has ended by itself: seconds to wait before the next one, None: no next one."""
        decision = self._policy.exited(ROOT, False, now_boot_ns, ())
        if not isinstance(decision, RestartGroup):
            return None
        self._times.append(now_boot_ns)
        return decision.delay_s

    def recent(self, now_boot_ns: int) -> tuple[int, ...]:
        """Boot times of the restarts that still count."""
        horizon = now_boot_ns - round(self._limits.root_restart_window_s * NS_PER_S)
        self._times = [at for at in self._times if at >= horizon]
        return tuple(self._times)

    def left(self, now_boot_ns: int) -> int:
        """Restarts that are left now."""
        return max(0, self._limits.root_restarts - len(self.recent(now_boot_ns)))
