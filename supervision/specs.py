"""What a supervisor is told: its children, their limits, its strategy. Wrong values are refused by name.

Defaults are OTP's (stdlib ``supervisor``): one_for_one, 1 restart in 5 s, permanent, 5 s to stop (a supervisor
without end, since it has children to stop).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

AT_ONCE = 0.0
"""``shutdown_s``: SIGKILL without asking (OTP's brutal_kill)."""
UNLIMITED = math.inf
"""``shutdown_s``: ask and wait; only missed heartbeats end the wait (OTP's infinity)."""
WORKER_STOP_S = 5.0
TEMPLATE_MARK = ":"
"""Between a template's name and the number of one of its dynamic children."""

_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,100}")


class Restart(StrEnum):
    """PERMANENT: always. TRANSIENT: only after an abnormal exit. TEMPORARY: never."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class Strategy(StrEnum):
    """Which children a failed one takes along. SIMPLE_ONE_FOR_ONE: one template, children made on demand."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"
    SIMPLE_ONE_FOR_ONE = "simple_one_for_one"


class GiveUp(StrEnum):
    """What happens past the intensity. ESCALATE: the supervisor fails (OTP). LEAVE_DOWN: the child stays down,
    the watchdog acts on it, and it is tried again after ``retry_s``. END_DAEMON: the process ends."""

    ESCALATE = "escalate"
    LEAVE_DOWN = "leave_down"
    END_DAEMON = "end_daemon"


class SpecError(ValueError):
    """A child or supervisor specification is wrong; the text names the field and the value."""


def _plain_name(owner: str, name: object) -> None:
    """Names become process names, file names and labels."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SpecError(f"{owner} needs a name of up to 100 letters, digits and _ . : -, got {name!r}")


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and value == value  # not NaN


def _positive(owner: str, field_name: str, value: object) -> None:
    if not (_is_number(value) and 0 < value < math.inf):  # type: ignore[operator]  # a number by then
        raise SpecError(f"{owner}: {field_name} must be positive and finite, got {value!r}")


def _not_negative(owner: str, field_name: str, value: object) -> None:
    if not (_is_number(value) and 0 <= value < math.inf):  # type: ignore[operator]  # a number by then
        raise SpecError(f"{owner}: {field_name} must be finite and not negative, got {value!r}")


@dataclass(frozen=True, slots=True)
class Intensity:
    """More than ``max_restarts`` within ``period_s`` is too many. Waits: first at once, then full jitter."""

    max_restarts: int = 1
    period_s: float = 5.0
    backoff_first_s: float = 0.05
    backoff_max_s: float = 5.0
    retry_s: float = 60.0

    def __post_init__(self) -> None:
        if type(self.max_restarts) is not int or self.max_restarts < 0:
            raise SpecError(f"max_restarts must be a whole number of at least 0, got {self.max_restarts!r}")
        _positive("intensity", "period_s", self.period_s)
        _positive("intensity", "retry_s", self.retry_s)
        _not_negative("intensity", "backoff_first_s", self.backoff_first_s)
        _not_negative("intensity", "backoff_max_s", self.backoff_max_s)


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How to start, stop and restart one child.

    ``shutdown_s``: time to stop by itself before SIGKILL; AT_ONCE, UNLIMITED, or None for the default of its kind.
    ``needs``: names of peers it wants addresses of; a trailing ``*`` matches a prefix, ``*`` alone everybody.
    ``hang_warn_s``: the watchdog hears of a suspected hang this long before the SIGKILL (0: at once).
    """

    name: str
    actor: str
    kind: str = "worker"
    args: Mapping[str, object] = field(default_factory=dict)
    restart: Restart = Restart.PERMANENT
    give_up: GiveUp = GiveUp.ESCALATE
    shutdown_s: float | None = None
    start_deadline_s: float = 10.0
    missed_kill_s: float = 1.2
    hang_warn_s: float = 0.0
    needs: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        _plain_name("a child", self.name)
        if not isinstance(self.actor, str) or "." not in self.actor:
            raise SpecError(f"{self.name}: actor must be the dotted path of a class, got {self.actor!r}")
        if self.kind not in ("worker", "supervisor"):
            raise SpecError(f"{self.name}: kind must be worker or supervisor, got {self.kind!r}")
        if not isinstance(self.restart, Restart):
            raise SpecError(f"{self.name}: restart must be one of {', '.join(Restart)}, got {self.restart!r}")
        if not isinstance(self.give_up, GiveUp):
            raise SpecError(f"{self.name}: give_up must be one of {', '.join(GiveUp)}, got {self.give_up!r}")
        if self.shutdown_s is not None and not (_is_number(self.shutdown_s) and self.shutdown_s >= 0):
            raise SpecError(f"{self.name}: shutdown_s must be None, 0, a time or UNLIMITED, got {self.shutdown_s!r}")
        _positive(self.name, "start_deadline_s", self.start_deadline_s)
        _positive(self.name, "missed_kill_s", self.missed_kill_s)
        _not_negative(self.name, "hang_warn_s", self.hang_warn_s)

    @property
    def stop_within_s(self) -> float:
        """``shutdown_s`` with the default of its kind filled in: seconds, 0 at once, infinite without limit."""
        if self.shutdown_s is not None:
            return self.shutdown_s
        return UNLIMITED if self.kind == "supervisor" else WORKER_STOP_S


@dataclass(frozen=True, slots=True)
class SupervisorSpec:
    """A supervisor's children in start order; with SIMPLE_ONE_FOR_ONE the one template of all its children."""

    name: str
    children: tuple[ChildSpec, ...]
    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: Intensity = Intensity()

    def __post_init__(self) -> None:
        _plain_name("a supervisor", self.name)
        if not isinstance(self.strategy, Strategy):
            raise SpecError(f"{self.name}: strategy must be one of {', '.join(Strategy)}, got {self.strategy!r}")
        if not isinstance(self.intensity, Intensity):
            raise SpecError(f"{self.name}: intensity must be an Intensity, got {self.intensity!r}")
        if not isinstance(self.children, tuple) or not all(isinstance(child, ChildSpec) for child in self.children):
            raise SpecError(f"{self.name}: children must be a tuple of ChildSpec, got {self.children!r}")
        names = [child.name for child in self.children]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise SpecError(f"{self.name}: duplicate child {', '.join(twice)}")
        if self.is_dynamic and len(self.children) != 1:
            raise SpecError(f"{self.name}: {self.strategy} takes exactly one template, got {len(self.children)}")

    @property
    def is_dynamic(self) -> bool:
        return self.strategy is Strategy.SIMPLE_ONE_FOR_ONE

    @property
    def started_children(self) -> tuple[ChildSpec, ...]:
        """What starts with the supervisor: nothing when there is only a template."""
        return () if self.is_dynamic else self.children
