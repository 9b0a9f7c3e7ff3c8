"""When and what to restart: Erlang/OTP's rules as pure decisions. No process, no clock, no randomness of its own.

Beyond OTP: back-off with full jitter between restarts of a child that keeps failing, and a give-up policy per
child (OTP only escalates).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from actors.clock import NS_PER_S

MAX_DOUBLINGS = 20


class Restart(StrEnum):
    """PERMANENT: always. TRANSIENT: only after an abnormal exit. TEMPORARY: never."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class Strategy(StrEnum):
    """Which children a failed one takes along."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"


class GiveUp(StrEnum):
    """What happens past the intensity. ESCALATE: the supervisor fails (OTP). LEAVE_DOWN: the child stays down,
    the watchdog acts on it, and it is tried again after ``retry_s``. END_DAEMON: the process ends."""

    ESCALATE = "escalate"
    LEAVE_DOWN = "leave_down"
    END_DAEMON = "end_daemon"


class SpecError(ValueError):
    """A child or supervisor specification is wrong; the text names the field and the value."""


@dataclass(frozen=True, slots=True)
class Intensity:
    """More than ``max_restarts`` within ``period_s`` is too many. Waits: first at once, then full jitter."""

    max_restarts: int = 8
    period_s: float = 30.0
    backoff_first_s: float = 0.05
    backoff_max_s: float = 5.0
    retry_s: float = 60.0

    def __post_init__(self) -> None:
        if self.max_restarts < 0:
            raise SpecError(f"max_restarts must be at least 0, got {self.max_restarts}")
        if self.period_s <= 0:
            raise SpecError(f"period_s must be positive, got {self.period_s}")


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to start, stop and restart one child.

    ``shutdown_s``: time to stop by itself before SIGKILL; 0 kills at once, None waits without end.
    ``needs``: names of peers it wants addresses of; a trailing ``*`` matches a prefix, ``*`` alone everybody.
    ``hang_warn_s``: the watchdog hears of a suspected hang this long before the SIGKILL (0: at once).
    """

    name: str
    actor: str
    kind: str = "worker"
    args: Mapping[str, object] = field(default_factory=dict)
    restart: Restart = Restart.PERMANENT
    give_up: GiveUp = GiveUp.ESCALATE
    shutdown_s: float | None = 5.0
    start_deadline_s: float = 10.0
    missed_kill_s: float = 1.2
    hang_warn_s: float = 0.0
    needs: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        if not self.name:
            raise SpecError("a child needs a name")
        if self.kind not in ("worker", "supervisor"):
            raise SpecError(f"{self.name}: kind must be worker or supervisor, got {self.kind!r}")
        if self.shutdown_s is not None and self.shutdown_s < 0:
            raise SpecError(f"{self.name}: shutdown_s must not be negative, got {self.shutdown_s}")


@dataclass(frozen=True, slots=True)
class SupervisorSpec:
    """A supervisor's children in start order."""

    name: str
    children: tuple[ChildSpec, ...]
    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: Intensity = Intensity()

    def __post_init__(self) -> None:
        names = [child.name for child in self.children]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SpecError(f"{self.name}: duplicate child {', '.join(twice)}")


@dataclass(frozen=True, slots=True)
class RestartGroup:
    """Stop ``stop`` in this order, then start ``start`` in this order, after ``delay_s``."""

    stop: tuple[str, ...]
    start: tuple[str, ...]
    delay_s: float


@dataclass(frozen=True, slots=True)
class Forget:
    """The child is not restarted; ``drop_spec`` for temporary children."""

    drop_spec: bool


@dataclass(frozen=True, slots=True)
class GaveUp:
    """Too many restarts: act by ``policy``."""

    policy: GiveUp
    failures: int


Decision = RestartGroup | Forget | GaveUp


class RestartPolicy:
    """The memory of one supervisor: restart times. ``spread`` draws from [0, x); a test passes its own."""

    def __init__(self, spec: SupervisorSpec, spread: Callable[[float], float]) -> None:
        self.spec = spec
        self._spread = spread
        self._children = {child.name: child for child in spec.children}
        self._shared: deque[int] = deque()
        self._own: dict[str, deque[int]] = {}

    def exited(self, name: str, normal: bool, now_boot_ns: int, alive: Sequence[str]) -> Decision:
        """Decide what follows the exit (or the failed start) of ``name``; ``alive`` are the running children."""
        child = self._children[name]
        if child.restart is Restart.TEMPORARY:
            return Forget(drop_spec=True)
        if child.restart is Restart.TRANSIENT and normal:
            return Forget(drop_spec=False)
        times = self._record(child, now_boot_ns)
        if len(times) > self.spec.intensity.max_restarts:
            failures = len(times)
            times.clear()
            return GaveUp(child.give_up, failures)
        group = self._group(name)
        return RestartGroup(
            stop=tuple(other for other in reversed(group) if other != name and other in alive),
            start=tuple(other for other in group if other == name or self._returns(other)),
            delay_s=self._delay(len(times)),
        )

    def failures(self, name: str, now_boot_ns: int) -> int:
        """Restarts within the period that count for ``name``."""
        times = self._times(self._children[name])
        horizon = now_boot_ns - round(self.spec.intensity.period_s * NS_PER_S)
        return sum(1 for at in times if at > horizon)

    def _times(self, child: ChildSpec) -> deque[int]:
        if child.give_up is GiveUp.ESCALATE:
            return self._shared
        return self._own.setdefault(child.name, deque())

    def _record(self, child: ChildSpec, now_boot_ns: int) -> deque[int]:
        times = self._times(child)
        horizon = now_boot_ns - round(self.spec.intensity.period_s * NS_PER_S)
        while times and times[0] <= horizon:
            times.popleft()
        times.append(now_boot_ns)
        return times

    def _group(self, name: str) -> list[str]:
        order = [child.name for child in self.spec.children]
        if self.spec.strategy is Strategy.ONE_FOR_ONE:
            return [name]
        if self.spec.strategy is Strategy.REST_FOR_ONE:
            return order[order.index(name) :]
        return order

    def _returns(self, name: str) -> bool:
        return self._children[name].restart is not Restart.TEMPORARY

    def _delay(self, failures: int) -> float:
        if failures <= 1:
            return 0.0
        intensity = self.spec.intensity
        doublings = min(failures - 2, MAX_DOUBLINGS)
        return self._spread(min(intensity.backoff_max_s, intensity.backoff_first_s * 2**doublings))
