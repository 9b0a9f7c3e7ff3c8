"""When and what to restart: Erlang/OTP's rules as pure decisions. No process, no clock, no randomness of its own.

Beyond OTP: back-off with full jitter between restarts of a child that keeps failing, and a give-up policy per
child (OTP only escalates).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from actors.clock import NS_PER_S
from supervision.specs import ChildSpec, GiveUp, Intensity, Restart, SpecError, Strategy, SupervisorSpec

__all__ = [
    "ChildSpec", "Decision", "FailStart", "Forget", "GaveUp", "GiveUp", "Intensity", "Restart", "RestartGroup",
    "RestartPolicy", "SpecError", "Strategy", "SupervisorSpec",
]  # fmt: skip

MAX_DOUBLINGS = 20


@dataclass(frozen=True, slots=True)
class RestartGroup:
    """Stop ``stop`` in this order, forget the specs ``drop``, then start ``start`` in order, after ``delay_s``."""

    stop: tuple[str, ...]
    start: tuple[str, ...]
    delay_s: float
    drop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Forget:
    """The child is not restarted; ``drop_spec`` for temporary children."""

    drop_spec: bool


@dataclass(frozen=True, slots=True)
class GaveUp:
    """Too many restarts: act by ``policy``."""

    policy: GiveUp
    failures: int


@dataclass(frozen=True, slots=True)
class FailStart:
    """The supervisor cannot start: stop what runs, in reverse, and fail."""


Decision = RestartGroup | Forget | GaveUp | FailStart


class RestartPolicy:
    """The memory of one supervisor: its children in start order, and the times of restarts.

    ``spread`` draws from [0, x); a test passes its own. Children that only escalate share one count, as in OTP;
    one with a give-up policy of its own has a count of its own, so that it never uses up its siblings' restarts.
    """

    def __init__(self, spec: SupervisorSpec, spread: Callable[[float], float]) -> None:
        self.spec = spec
        self._spread = spread
        self._children: dict[str, ChildSpec] = {}
        self._shared: deque[tuple[int, str]] = deque()
        self._own: dict[str, deque[tuple[int, str]]] = {}
        for child in spec.started_children:
            self.add(child)

    def add(self, child: ChildSpec) -> None:
        """Take in a child: it comes last in the order. What it is started with decides nothing and is not kept."""
        self._children[child.name] = replace(child, args={})

    def remove(self, name: str) -> None:
        """Forget a child whose spec was deleted or dropped; its restarts still count for the others."""
        self._children.pop(name, None)
        self._own.pop(name, None)

    def exited(self, name: str, normal: bool, now_boot_ns: int, alive: Collection[str]) -> Decision:
        """Decide what follows the exit of a child that ran; ``alive`` are the children that have a process."""
        child = self._children[name]
        if child.restart is Restart.TEMPORARY:
            return Forget(drop_spec=True)
        if child.restart is Restart.TRANSIENT and normal:
            return Forget(drop_spec=False)
        return self._again(child, now_boot_ns, alive)

    def start_failed(self, name: str, now_boot_ns: int, alive: Collection[str], *, first_start: bool) -> Decision:
        """Decide what follows a failed start; ``first_start``: while the supervisor itself starts.

        A failed restart counts as one more restart, whatever the exit code was.
        """
        child = self._children[name]
        if first_start and child.give_up is GiveUp.ESCALATE:
            return FailStart()
        if child.restart is Restart.TEMPORARY:
            return Forget(drop_spec=True)
        return self._again(child, now_boot_ns, alive)

    def failures(self, name: str, now_boot_ns: int) -> int:
        """Restarts within the period that count towards the limit ``name`` is under."""
        horizon = now_boot_ns - round(self.spec.intensity.period_s * NS_PER_S)
        return sum(1 for at, _ in self._times(self._children[name]) if at >= horizon)

    def _again(self, child: ChildSpec, now_boot_ns: int, alive: Collection[str]) -> Decision:
        times = self._record(child, now_boot_ns)
        if len(times) > self.spec.intensity.max_restarts:
            failures = len(times)
            times.clear()
            return GaveUp(child.give_up, failures)
        group = self._group(child.name)
        return RestartGroup(
            stop=tuple(other for other in reversed(group) if other != child.name and other in alive),
            start=tuple(other for other in group if self._returns(other)),
            delay_s=self._delay(sum(1 for _, name in times if name == child.name)),
            drop=tuple(other for other in group if not self._returns(other)),
        )

    def _times(self, child: ChildSpec) -> deque[tuple[int, str]]:
        if child.give_up is GiveUp.ESCALATE:
            return self._shared
        return self._own.setdefault(child.name, deque())

    def _record(self, child: ChildSpec, now_boot_ns: int) -> deque[tuple[int, str]]:
        times = self._times(child)
        horizon = now_boot_ns - round(self.spec.intensity.period_s * NS_PER_S)
        while times and times[0][0] < horizon:
            times.popleft()
        times.append((now_boot_ns, child.name))
        return times

    def _group(self, name: str) -> list[str]:
        order = list(self._children)
        if self.spec.strategy is Strategy.ONE_FOR_ALL:
            return order
        if self.spec.strategy is Strategy.REST_FOR_ONE:
            return order[order.index(name) :]
        return [name]

    def _returns(self, name: str) -> bool:
        return self._children[name].restart is not Restart.TEMPORARY

    def _delay(self, own_failures: int) -> float:
        if own_failures <= 1:
            return 0.0
        intensity = self.spec.intensity
        doublings = min(own_failures - 2, MAX_DOUBLINGS)
        return self._spread(min(intensity.backoff_max_s, intensity.backoff_first_s * 2**doublings))
