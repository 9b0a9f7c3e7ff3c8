"""Stopping children: asked first, killed at their deadline; in reverse order, dynamic ones all at once."""

from __future__ import annotations

import math

from thespian.actors import ActorAddress

from actors.messages.health import ChildState, StopChild
from supervision.children import Child
from supervision.judging import Judge

STOPPED_EXIT = 0
GAVE_UP_EXIT = 75
"""A vital part kept failing: every supervisor above ends with it too, and so does the daemon."""
ESCALATED_EXIT = 74
"""Too many restarts below; the parent treats it as one more failed child. At the root it is GAVE_UP_EXIT."""
START_FAILED_EXIT = 73
"""A child failed while this supervisor started. At the root it is GAVE_UP_EXIT."""
UNLIMITED_TOLD_S = 86_400.0
"""What a child is told as its deadline when it has none."""


class Stopper(Judge):
    """``_winding_up``: this supervisor ends, nothing is started any more."""

    def on_stop(self, reason: str, deadline_s: float) -> None:
        """Stop the children, each by its own deadline, then leave with 0."""
        if not self._winding_up:
            self._wind_up(STOPPED_EXIT)

    def _wind_up(self, code: int) -> None:
        """Stop all children, then leave with ``code``."""
        self._winding_up = True
        self._exit_code = GAVE_UP_EXIT if code != STOPPED_EXIT and self.name == "root" else code
        self.state = "stopping"
        for key in self.operations.clear():
            self.cancel_timer(f"restart-{key}")
        for name in self.children:
            self.cancel_timer(f"retry-{name}")
        self._stop_the_rest()

    def _stop_the_rest(self) -> None:
        alive = [child for child in self.children.values() if child.alive]
        if not alive:
            self.leave(self._exit_code)
        if self.spec.is_dynamic:
            # Dynamic children do not depend on each other: together they need as long as the slowest.
            for child in alive:
                if child.state is not ChildState.STOPPING:
                    self._stop(child)
        elif not any(child.state is ChildState.STOPPING for child in alive):
            self._stop(alive[-1])

    def _stop(self, child: Child) -> None:
        child.state = ChildState.STOPPING
        limit_s = child.spec.stop_within_s
        if limit_s == 0:
            self._kill(child, "stopped at once")
            return
        told_s = limit_s if math.isfinite(limit_s) else UNLIMITED_TOLD_S
        self.send(child.address, StopChild(f"stopped by {self.name}", told_s))
        if math.isfinite(limit_s):
            address = child.address
            self.after(f"stop-{child.spec.name}", limit_s, lambda: self._stop_overdue(child, address))

    def _stop_overdue(self, child: Child, address: ActorAddress) -> None:
        if child.alive and child.address == address:
            self.log.warning("stop_overdue", child=child.spec.name)
            self._kill(child, f"did not stop within {child.spec.stop_within_s:g} s")
