"""OTP's admin verbs on a running supervisor as messages, and what they are answered.

Only a supervisor's parent may use them (the root's: the process that started the tree), so no part of trading can.
A request for a supervisor further down is passed on by those above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from actors.messages.base import Message
from actors.messages.health import ChildState, ChildStatus
from supervision.children import Child
from supervision.reports import SupervisorReport
from supervision.restart import ChildSpec


class Refusal(StrEnum):
    """Why a verb was not done: OTP's error atoms, and FORBIDDEN, SHUTTING_DOWN and BAD_SPEC of our own."""

    ALREADY_STARTED = "already_started"
    ALREADY_PRESENT = "already_present"
    NOT_FOUND = "not_found"
    RUNNING = "running"
    RESTARTING = "restarting"
    SIMPLE_ONE_FOR_ONE = "simple_one_for_one"
    START_FAILED = "start_failed"
    SHUTTING_DOWN = "shutting_down"
    BAD_SPEC = "bad_spec"
    FORBIDDEN = "forbidden"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminRequest(Message):
    """``supervisor`` is who shall do it; ``reply_to`` is filled in by supervisors that pass it on."""

    request_id: str
    supervisor: str
    reply_to: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StartChild(AdminRequest):
    """Add and start: a ``spec``, or with simple_one_for_one the ``args`` added to the template's."""

    spec: ChildSpec | None = None
    args: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminateChild(AdminRequest):
    """Stop and keep the spec (a temporary one is dropped): by name, with simple_one_for_one by pid."""

    name: str = ""
    pid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartChild(AdminRequest):
    """Start a stopped child again."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteChild(AdminRequest):
    """Forget the spec of a stopped child."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WhichChildren(AdminRequest):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class CountChildren(AdminRequest):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestReports(AdminRequest):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildAnswer(Message):
    """``refusal`` None: done. ``pid`` 0: the child has no process (it ignored its start, or is stopped)."""

    request_id: str
    refusal: Refusal | None = None
    name: str = ""
    pid: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildrenAnswer(Message):
    request_id: str
    children: tuple[ChildStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountsAnswer(Message):
    """``specs`` known, ``active`` with a process, and how many are supervisors and workers, alive or not."""

    request_id: str
    specs: int
    active: int
    supervisors: int
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportsAnswer(Message):
    request_id: str
    reports: tuple[SupervisorReport, ...]


def refuse_start(existing: Child | None) -> Refusal | None:
    """May a spec of this name be added?"""
    if existing is None:
        return None
    return Refusal.ALREADY_STARTED if existing.alive and not existing.restarting else Refusal.ALREADY_PRESENT


def refuse_change(child: Child | None) -> Refusal | None:
    """May this child be restarted or deleted? Only when it is known and stopped."""
    if child is None:
        return Refusal.NOT_FOUND
    if child.restarting or child.state is ChildState.RESTARTING:
        return Refusal.RESTARTING
    return Refusal.RUNNING if child.alive else None


def count(children: Mapping[str, Child], *, specs: int, request_id: str) -> CountsAnswer:
    """OTP's count_children."""
    supervisors = sum(1 for child in children.values() if child.spec.kind == "supervisor")
    return CountsAnswer(
        request_id=request_id,
        specs=specs,
        active=sum(1 for child in children.values() if child.alive),
        supervisors=supervisors,
        workers=len(children) - supervisors,
    )
