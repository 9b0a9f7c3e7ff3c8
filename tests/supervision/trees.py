"""A real tree of processes for supervisor tests, and what a test can ask of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from actors.messages.health import ChildState, ChildStatus, Initialize, StopChild
from config.settings import Settings
from supervision.administration import (
    AdminRequest,
    ChildAnswer,
    ChildrenAnswer,
    CountChildren,
    CountsAnswer,
    LatestReports,
    ReportsAnswer,
    StartChild,
    WhichChildren,
)
from supervision.reports import SupervisorReport
from supervision.restart import ChildSpec, GiveUp, SupervisorSpec
from supervision.system import DaemonSystem, start_system
from supervision.transport import UnixAddress
from tests.actors.harness import test_settings
from tests.supervision.parts import IAm, WhoAreYou

SUPERVISOR = "supervision.supervisor.SupervisorActor"
PARTS = "tests.supervision.parts."
PART = "tests.supervision.parts.Part"
NOTEBOOK = "tests.supervision.parts.Notebook"
DEADLINE_S = 10.0


def part(name: str, actor: str = PART, **changes: object) -> ChildSpec:
    fields: dict[str, object] = {"give_up": GiveUp.LEAVE_DOWN, "shutdown_s": 2.0, "start_deadline_s": 2.0, **changes}
    return ChildSpec(name, actor, **fields)  # type: ignore[arg-type]


def branch(name: str, *children: ChildSpec, **changes: object) -> ChildSpec:
    spec = SupervisorSpec(name, children, **changes)  # type: ignore[arg-type]
    return ChildSpec(name, SUPERVISOR, kind="supervisor", args={"spec": spec}, missed_kill_s=2.0)


class Tree:
    """A running tree and what a test can ask of it."""

    def __init__(self, folder: Path, *children: ChildSpec, actor: str = SUPERVISOR, **changes: object) -> None:
        self.folder = folder
        self._ids = count(1)
        settings: Settings = test_settings(folder, log={"level": "critical"})
        self.system: DaemonSystem = start_system(folder / "run")
        initialize = Initialize(
            name="root",
            incarnation=1,
            supervisor="test",
            parent=self.system.address,
            settings=settings,
            args={"spec": SupervisorSpec("root", children, **changes)},  # type: ignore[arg-type]
            peers=(),
            epoch=1,
        )
        self.system.create_root(actor, initialize)

    def who(self, name: str) -> IAm | None:
        """Ask one part who it is; None while nobody answers for that name."""
        path = self.folder / f"address-{name}"
        if not path.exists():
            return None
        self.system._transport.send(UnixAddress(path.read_text()), WhoAreYou())
        end = time.monotonic() + 0.2
        while (left := end - time.monotonic()) > 0:
            answer = self.system.receive(left)
            if isinstance(answer, IAm) and answer.name == name:
                return answer
        return None

    def up(self, name: str, after_pid: int = 0) -> IAm:
        found: list[IAm] = []

        def new_one() -> bool:
            answer = self.who(name)
            if answer is not None and answer.pid != after_pid:
                found.append(answer)
            return bool(found)

        wait_for(new_one, f"{name} to be up")
        return found[0]

    def tell(self, name: str, message: object) -> None:
        self.system.tell(UnixAddress((self.folder / f"address-{name}").read_text()), message)

    def ask(self, kind: type[AdminRequest], **fields: object) -> object:
        """Use an admin verb on the root, or on the one named ``supervisor``; its answer."""
        request_id = f"ask-{next(self._ids)}"
        request = kind(request_id=request_id, **{"supervisor": "root", **fields})  # type: ignore[arg-type]
        assert self.system.root is not None
        self.system.tell(self.system.root, request)
        return self.next_message(lambda message: getattr(message, "request_id", "") == request_id, str(request))

    def next_message(self, fits: Callable[[object], bool], what: str) -> object:
        end = time.monotonic() + DEADLINE_S
        while (left := end - time.monotonic()) > 0:
            message = self.system.receive(left)
            if message is not None and fits(message):
                return message
        raise AssertionError(f"no answer to {what} within {DEADLINE_S} s")

    def do(self, kind: type[AdminRequest], **fields: object) -> ChildAnswer:
        answer = self.ask(kind, **fields)
        assert isinstance(answer, ChildAnswer)
        return answer

    def add(self, **fields: object) -> ChildAnswer:
        """Start a child that must start."""
        answer = self.do(StartChild, **fields)
        assert answer.refusal is None, answer
        return answer

    def children(self, supervisor: str = "root") -> dict[str, ChildStatus]:
        answer = self.ask(WhichChildren, supervisor=supervisor)
        assert isinstance(answer, ChildrenAnswer)
        return {child.name: child for child in answer.children}

    def counts(self, supervisor: str = "root") -> tuple[int, int, int, int]:
        """(specs, active, supervisors, workers)"""
        answer = self.ask(CountChildren, supervisor=supervisor)
        assert isinstance(answer, CountsAnswer)
        return answer.specs, answer.active, answer.supervisors, answer.workers

    def reports(self, supervisor: str = "root") -> tuple[SupervisorReport, ...]:
        answer = self.ask(LatestReports, supervisor=supervisor)
        assert isinstance(answer, ReportsAnswer)
        return answer.reports

    def wait_state(self, name: str, state: ChildState) -> None:
        wait_for(lambda: (child := self.children().get(name)) is not None and child.state is state, f"{name} {state}")

    def order(self) -> list[str]:
        """What started and stopped, oldest first."""
        path = self.folder / "order"
        return path.read_text().splitlines() if path.exists() else []

    def stop(self, seconds: float = 5.0) -> int:
        """Stop the tree in order; its exit status."""
        return self.system.stop(seconds, StopChild("test", seconds))

    def end(self) -> int:
        """Wait until the tree ends by itself; its exit status."""
        wait_for(lambda: self.system.poll() is not None, "the tree to end")
        status = self.system.poll()
        assert status is not None
        return status

    def notes(self, kind: str) -> list[str]:
        path = self.folder / f"notes-{kind}"
        return path.read_text().splitlines() if path.exists() else []


def wait_for(condition: Callable[[], bool], what: str, seconds: float = DEADLINE_S) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError(f"waited {seconds} s for {what}")


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
