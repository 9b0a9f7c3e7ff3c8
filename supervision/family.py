"""The children of one supervisor as processes: made, known by pid, killed, and their last word recorded."""

from __future__ import annotations

import os
import random
from collections import deque

from thespian.actors import ActorAddress

from actors import crash
from actors.actor import CRASH_EXIT
from actors.clock import NS_PER_S
from actors.messages.health import ChildState, CrashFiled, Initialize, PartLost
from supervision.children import Child
from supervision.directory import DirectoryKeeper
from supervision.operations import Operations
from supervision.reports import Context, SupervisorReport, report_on
from supervision.restart import ChildSpec, RestartPolicy
from supervision.transport import child_processes, current_transport

REPORTS_KEPT = 50
CLOCK_STEP_S = 60.0
"""A record's time is wall time, a life is measured by the boot clock: the two may be this far apart."""


class Family(DirectoryKeeper):
    """``_child_pid``, ``_child_status``, ``_kill_child``, ``_own_pid`` and ``_spread`` are all that a supervisor
    asks of the operating system: a base without processes overrides these five."""

    policy: RestartPolicy
    operations: Operations
    reports: deque[SupervisorReport]

    # --- the operating system --------------------------------------------------------------------------

    def _child_pid(self, address: ActorAddress) -> int:
        """The pid of a child just made; 0 when it is unknown."""
        return next((known.pid for known in child_processes() if known.address == address), 0)

    def _child_status(self, address: ActorAddress) -> int | None:
        """Exit code of a dead child, or minus its signal; None when it is unknown."""
        return next((known.status for known in child_processes() if known.address == address), None)

    def _kill_child(self, address: ActorAddress) -> None:
        """SIGKILL: only a parent holds the unreaped pid, so nobody else is ever hit."""
        transport = current_transport()
        if transport is not None:
            transport.children.kill(address)

    def _own_pid(self) -> int:
        return os.getpid()

    def _spread(self, limit_s: float) -> float:
        """Full jitter: anything from 0 to ``limit_s``, seconds."""
        return random.uniform(0.0, limit_s)

    # --- one child -------------------------------------------------------------------------------------

    def _adopt(self, spec: ChildSpec, generation: int = 0) -> Child:
        """Take in a spec; ``generation`` is what an earlier child of that name had reached."""
        base = self.incarnation if self.name != "root" else 0
        child = self.children[spec.name] = Child(spec, self.name, base, generation)
        return child

    def _start(self, child: Child) -> None:
        """Fork it and tell it who it is; it is up when it says ``Started``."""
        child.begin(self.clock.boot_ns())
        self.cancel_timer(f"retry-{child.spec.name}")
        address = self.createActor(child.spec.actor)
        child.address = address
        child.pid = self._child_pid(address)
        self.send(
            address,
            Initialize(
                name=child.spec.name,
                incarnation=child.incarnation,
                supervisor=self.name,
                parent=self.myAddress,
                settings=self.settings,
                args=dict(child.spec.args),
                peers=self._peers_for(child, self._known_peers()),
                epoch=self.epoch,
                parent_pid=self._own_pid(),
            ),
        )
        child.let_go_of_args()

    def _kill(self, child: Child, why: str) -> None:
        child.killed_for = why
        if child.address is not None:
            self._kill_child(child.address)

    def _alive(self) -> list[str]:
        return [name for name, child in self.children.items() if child.alive]

    # --- what others hear ------------------------------------------------------------------------------

    def _note(self, child: Child, context: Context, reason: str) -> None:
        report = report_on(child, context, reason, self.clock.boot_ns())
        self.reports.append(report)
        self.log.error("supervisor_report", line=report.line())

    def _tell_lost(self, child: Child, reason: str, *, gave_up: bool) -> None:
        """The watchdog acts on the part itself and on every part that went down with it."""
        for peer in child.subtree:
            self.tell("watchdog", PartLost(peer.name, peer.incarnation, f"{child.spec.name} went down", False))
        self.tell("watchdog", PartLost(child.spec.name, child.incarnation, reason, gave_up))

    def _file_crash(self, child: Child, status: int | None) -> None:
        """Record a death that left no record of its own (signal, hang, out of memory, a full disk)."""
        if self._died_in_silence(child, status):
            try:
                crash.write_record(
                    self.settings.crash_dir,
                    utc_ns=self.clock.utc_ns(),
                    name=child.spec.name,
                    incarnation=child.incarnation,
                    pid=child.pid,
                    cause={"type": "Died", "text": child.last_exit, "frames": []},
                    config_hash=self.settings.config_hash,
                    build=self.settings.build,
                    mode=self.settings.mode,
                    extra={
                        "last_beat": crash.describe_beat(child.beat, self.clock.boot_ns()),
                        "recorded_by": self.name,
                    },
                )
            except OSError as error:
                self.log.error("no crash record", child=child.spec.name, error=str(error))
        self.tell("crash_reporter", CrashFiled(child.spec.name))

    def _died_in_silence(self, child: Child, status: int | None) -> bool:
        if status is None or status < 0 or child.killed_for:
            return True
        if status == 0 or (child.spec.kind == "supervisor" and status != CRASH_EXIT):
            return False  # a supervisor's other codes say what it decided
        lived_ns = self.clock.boot_ns() - child.since_boot_ns
        begun_utc_ns = self.clock.utc_ns() - lived_ns - round(CLOCK_STEP_S * NS_PER_S)
        return not crash.left_record(self.settings.crash_dir, child.spec.name, child.incarnation, begun_utc_ns)

    def progress(self) -> dict[str, int]:
        return {"children_count": sum(1 for child in self.children.values() if child.state is ChildState.RUNNING)}
