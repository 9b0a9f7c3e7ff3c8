"""The supervisor actor: carries out supervision/restart.py on real processes.

It starts its children in order, each on the ``Started`` of the one before, kills what hangs (only a parent holds
the unreaped pid), restarts what died, and publishes where everybody is. It has no threads and no state worth
keeping: when it dies, the kernel kills its children and its parent starts it anew.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from typing import cast

from thespian.actors import ActorAddress, ChildActorExited

from actors import crash
from actors.actor import TradingActor
from actors.clock import NS_PER_MS, NS_PER_S
from actors.messages.delivery import Undelivered
from actors.messages.health import (
    Alert,
    ChildState,
    CrashFiled,
    Directory,
    HangSuspected,
    Heartbeat,
    Initialize,
    PartLost,
    Peer,
    Severity,
    Started,
    StopChild,
    SubtreePeers,
    TreeReport,
)
from config.paths import health_file
from supervision.children import Child, exit_text
from supervision.restart import Forget, GaveUp, GiveUp, RestartGroup, RestartPolicy, SupervisorSpec
from supervision.transport import child_processes, current_transport

GAVE_UP_EXIT = 75
"""Exit code of a supervisor whose children kept failing, and of the daemon when a vital part did."""
CHECK_S = 0.1
PUBLISH_S = 0.005
HEALTH_S = 0.5
HEALTH_SILENCE_S = 4.0
REPORT_TO = ("watchdog", "admin", "metrics")


class SupervisorActor(TradingActor):
    """Supervises the children of ``args["spec"]`` (a SupervisorSpec)."""

    handles_while_starting = True

    def restore(self) -> bool:
        self.spec = cast(SupervisorSpec, self.args["spec"])
        self.policy = RestartPolicy(self.spec, lambda limit: random.uniform(0.0, limit))
        self.children = {
            spec.name: Child(spec, self.name, self.incarnation if self.name != "root" else 0)
            for spec in self.spec.children
        }
        self._to_start: list[str] = [spec.name for spec in self.spec.children]
        self._to_stop: list[str] = []
        self._group_start: tuple[str, ...] = ()
        self._group_delay_s = 0.0
        self._stopping = False
        self._version = 0
        self._above: tuple[Peer, ...] = self._started_by.peers if self._started_by else ()
        self._directory_from_above: Directory | None = None
        self._last_check_boot_ns = self.clock.boot_ns()
        self.every("check", CHECK_S, self._check)
        self.every("report", 1.0, self._report)
        if self.name == "root":
            self.every("health", HEALTH_S, self._touch_health, first_s=0.0)
        self._start_next()
        return False

    def progress(self) -> dict[str, int]:
        return {"children_count": sum(1 for child in self.children.values() if child.state is ChildState.RUNNING)}

    # --- starting --------------------------------------------------------------------------------------

    def _start_next(self) -> None:
        """Start the next child in order; with none left, this supervisor is up."""
        while self._to_start:
            child = self.children[self._to_start[0]]
            if child.state is ChildState.RUNNING or child.state is ChildState.STARTING:
                if child.state is ChildState.STARTING:
                    return
                self._to_start.pop(0)
                continue
            self._start(child)
            return
        if not self._ready:
            self.ready()
            self._report()

    def _start(self, child: Child) -> None:
        child.generation += 1
        child.state = ChildState.STARTING
        child.since_boot_ns = self.clock.boot_ns()
        child.last_beat_boot_ns = 0
        child.beat = None
        child.hang_since_boot_ns = None
        child.killed_for = ""
        address = self.createActor(child.spec.actor)
        child.address = address
        child.pid = next((known.pid for known in child_processes() if known.address == address), 0)
        self.send(
            address,
            Initialize(
                name=child.spec.name,
                incarnation=child.incarnation,
                supervisor=self.name,
                parent=self.myAddress,
                settings=self.settings,
                args=dict(child.spec.args),
                peers=self._peers_for(child),
                epoch=self.epoch,
                parent_pid=os.getpid(),
            ),
        )

    def on_started(self, message: Started, sender: object) -> None:
        child = self.children.get(message.name)
        if child is None or not child.alive or child.incarnation != message.incarnation:
            return
        child.state = ChildState.RUNNING
        child.pid = message.pid
        child.last_beat_boot_ns = self.clock.boot_ns()
        self.log.info("started", child=message.name, pid=message.pid, incarnation=message.incarnation)
        self._publish_soon()
        self._start_next()

    # --- dying -----------------------------------------------------------------------------------------

    def on_child_actor_exited(self, message: ChildActorExited) -> None:
        for child in self.children.values():
            if child.alive and child.address == message.childAddress:
                self._exited(child)
                return

    def _exited(self, child: Child) -> None:
        status = next((known.status for known in child_processes() if known.address == child.address), None)
        was = child.state
        child.last_exit = child.killed_for or exit_text(status)
        child.address = None
        child.subtree = ()
        child.state = ChildState.STOPPED
        self._publish_soon()
        if self._stopping or was is ChildState.STOPPING:
            self._stop_next()
            return
        # The others do not wait for one that keeps failing; its restart puts it back in line.
        self._to_start = [name for name in self._to_start if name != child.spec.name]
        self._file_crash(child, status)
        self.log.error("child_died", child=child.spec.name, pid=child.pid, why=child.last_exit)
        self._decide(child, normal=status == 0)

    def _decide(self, child: Child, normal: bool) -> None:
        now = self.clock.boot_ns()
        alive = [name for name, other in self.children.items() if other.alive]
        decision = self.policy.exited(child.spec.name, normal, now, alive)
        gave_up = isinstance(decision, GaveUp)
        self.tell("watchdog", PartLost(child.spec.name, child.incarnation, child.last_exit, gave_up))
        if isinstance(decision, Forget):
            if decision.drop_spec:
                del self.children[child.spec.name]
            self._start_next()
        elif isinstance(decision, GaveUp):
            self._give_up(child, decision)
        else:
            self._restart(child, decision)
        self._report()

    def _restart(self, child: Child, group: RestartGroup) -> None:
        for name in group.start:
            other = self.children[name]
            other.restarts += 1
            other.state = ChildState.RESTARTING if not other.alive else other.state
        self._group_start, self._group_delay_s = group.start, group.delay_s
        self._to_stop = list(group.stop)
        self._stop_next()

    def _begin_group(self) -> None:
        names, delay_s = self._group_start, self._group_delay_s
        self._group_start = ()
        if not names:
            self._start_next()
            return
        if delay_s <= 0:
            self._start_group(names)
        else:
            key = f"restart-{names[0]}"
            self.after(key, delay_s, lambda: self._start_group(names))

    def _start_group(self, names: Iterable[str]) -> None:
        order = [spec.name for spec in self.spec.children]
        waiting = {*self._to_start, *names}
        self._to_start = [name for name in order if name in waiting]
        self._start_next()

    def _give_up(self, child: Child, decision: GaveUp) -> None:
        child.state = ChildState.GIVEN_UP
        name = child.spec.name
        text = f"{name} failed {decision.failures} times within {self.spec.intensity.period_s:g} s: {child.last_exit}"
        self.log.critical("gave_up", child=name, policy=decision.policy, why=child.last_exit)
        if decision.policy is not GiveUp.LEAVE_DOWN:
            # The parent sees this exit code; the root passes it on, and the daemon ends.
            self.leave(GAVE_UP_EXIT)
        self.tell("alerts", Alert(Severity.PAGE, f"gave_up:{name}", text, self.name))
        self.after(f"retry-{name}", self.spec.intensity.retry_s, lambda: self._start_group((name,)))
        self._start_next()

    def _file_crash(self, child: Child, status: int | None) -> None:
        """Record a death that left no record of its own (signal, hang, out of memory)."""
        if status is None or status < 0 or child.killed_for:
            beat = child.beat
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
                    extra={"last_beat": repr(beat.progress) if beat else "", "recorded_by": self.name},
                )
            except OSError as error:
                self.log.error("no crash record", child=child.spec.name, error=str(error))
        self.tell("crash_reporter", CrashFiled(child.spec.name))

    # --- stopping --------------------------------------------------------------------------------------

    def on_stop(self, reason: str, deadline_s: float) -> None:
        """Stop the children in reverse order, each by its deadline, then leave with 0."""
        self._stopping = True
        self._to_start = []
        self._group_start = ()
        self._to_stop = [spec.name for spec in reversed(self.spec.children)]
        self._stop_next()

    def _stop_next(self) -> None:
        if any(child.state is ChildState.STOPPING for child in self.children.values()):
            return
        while self._to_stop:
            child = self.children.get(self._to_stop.pop(0))
            if child is not None and child.alive:
                self._stop(child)
                return
        if self._stopping:
            self.leave(0)
        self._begin_group()

    def _stop(self, child: Child) -> None:
        child.state = ChildState.STOPPING
        limit = child.spec.shutdown_s
        if limit == 0:
            self._kill(child, "stopped at once")
            return
        self.send(child.address, StopChild(f"stopped by {self.name}", limit or 0.0))
        if limit is not None:
            address = child.address
            self.after(f"stop-{child.spec.name}", limit, lambda: self._stop_overdue(child, address))

    def _stop_overdue(self, child: Child, address: ActorAddress) -> None:
        if child.alive and child.address == address:
            self.log.warning("stop_overdue", child=child.spec.name)
            self._kill(child, f"did not stop within {child.spec.shutdown_s:g} s")

    def _kill(self, child: Child, why: str) -> None:
        child.killed_for = why
        transport = current_transport()
        if transport is not None and child.address is not None:
            transport.children.kill(child.address)

    # --- judging ---------------------------------------------------------------------------------------

    def on_heartbeat(self, message: Heartbeat, sender: object) -> None:
        child = self.children.get(message.name)
        if child is None or child.incarnation != message.incarnation or not child.alive:
            return
        child.beat = message
        child.last_beat_boot_ns = self.clock.boot_ns()
        child.hang_since_boot_ns = None

    def _check(self) -> None:
        """Kill what hangs. A judge that was late itself (host stall, suspend) judges nobody this time."""
        now = self.clock.boot_ns()
        gap_ns = now - self._last_check_boot_ns
        self._last_check_boot_ns = now
        if gap_ns > CHECK_S * NS_PER_S + self.settings.watchdog.own_lateness_ms * NS_PER_MS:
            self.log.warning("own_stall", gap_ms=gap_ns // NS_PER_MS)
            for child in self.children.values():
                child.since_boot_ns = now if child.state is ChildState.STARTING else child.since_boot_ns
                child.last_beat_boot_ns = now
                child.hang_since_boot_ns = None
            return
        for child in list(self.children.values()):
            self._check_child(child, now)

    def _check_child(self, child: Child, now: int) -> None:
        if not child.alive or child.killed_for:
            return
        silent_s = child.silent_ns(now) / NS_PER_S
        if child.state is ChildState.STARTING:
            if silent_s > child.spec.start_deadline_s:
                self._kill(child, f"did not start within {child.spec.start_deadline_s:g} s")
        elif child.state is ChildState.RUNNING and silent_s > child.spec.missed_kill_s:
            self._suspect(child, now, silent_s)

    def _suspect(self, child: Child, now: int, silent_s: float) -> None:
        if child.hang_since_boot_ns is None:
            child.hang_since_boot_ns = now
            name, warn_s = child.spec.name, child.spec.hang_warn_s
            self.log.error("hang", child=name, silent_s=round(silent_s, 2), kill_in_s=warn_s)
            self.tell("watchdog", HangSuspected(name, child.incarnation, silent_s, warn_s))
        if now - child.hang_since_boot_ns >= child.spec.hang_warn_s * NS_PER_S:
            self._kill(child, f"hung: no beat for {silent_s:.1f} s")

    def _touch_health(self) -> None:
        """The outside's sign of life: earned while no child is silent beyond saving."""
        now = self.clock.boot_ns()
        silent = [
            child.spec.name
            for child in self.children.values()
            if child.state is ChildState.RUNNING and child.silent_ns(now) > HEALTH_SILENCE_S * NS_PER_S
        ]
        if silent:
            self.log.error("no_sign_of_life", because=silent)
            return
        try:
            health_file(self.settings.data_dir).touch()
        except OSError as error:
            self.log.error("health file not written", error=str(error))

    # --- the directory and reports ---------------------------------------------------------------------

    def on_subtree_peers(self, message: SubtreePeers, sender: object) -> None:
        child = self.children.get(message.supervisor)
        if child is not None and child.alive and child.incarnation == message.incarnation:
            child.subtree = message.peers
            child.last_beat_boot_ns = self.clock.boot_ns()  # it is busy starting its children, and alive
            self._publish_soon()

    def _on_directory(self, message: Directory) -> None:
        super()._on_directory(message)
        self._above = message.peers
        self._directory_from_above = message
        self._pass_on()

    def _publish_soon(self) -> None:
        """Several changes at once make one directory; none is needed while everything stops."""
        if "publish" not in self._timers and not self._stopping:
            self.after("publish", PUBLISH_S, self._publish)

    def _publish(self) -> None:
        peers = self._own_subtree()
        if self.name != "root":
            self.send(self.parent, SubtreePeers(self.name, self.incarnation, peers))
            return
        self._version += 1
        self._above = peers
        self.peers = {peer.name: peer for peer in peers}
        self._directory_from_above = Directory(self._version, peers)
        self._pass_on()

    def _pass_on(self) -> None:
        if self._directory_from_above is None or self._stopping:
            return
        version = self._directory_from_above.version
        for child in self.children.values():
            if child.alive:
                self.send(child.address, Directory(version, self._peers_for(child)))

    def on_undelivered(self, message: Undelivered, sender: object) -> None:
        """A child that dies misses its directory: the next one is told by ``Initialize``."""
        if not isinstance(message.message, Directory | SubtreePeers):
            super().on_undelivered(message, sender)

    def _own_subtree(self) -> tuple[Peer, ...]:
        found: list[Peer] = []
        for child in self.children.values():
            if child.alive and (child.state is ChildState.RUNNING or child.spec.kind == "supervisor"):
                if child.state is ChildState.RUNNING:
                    found.append(child.peer)
                found.extend(child.subtree)
        return tuple(found)

    def _peers_for(self, child: Child) -> tuple[Peer, ...]:
        # Siblings that just started are known here before the root's directory comes back down.
        above = (peer for peer in self._above if peer.name not in self.children)
        known = {peer.name: peer for peer in (*above, *self._own_subtree())}
        peers = tuple(known.values())
        needs = child.spec.needs
        if child.spec.kind == "supervisor" or "*" in needs:
            return peers
        exact = {need for need in needs if not need.endswith("*")}
        prefixes = tuple(need[:-1] for need in needs if need.endswith("*"))
        return tuple(peer for peer in peers if peer.name in exact or (prefixes and peer.name.startswith(prefixes)))

    def _report(self) -> None:
        report = TreeReport(self.name, self.incarnation, tuple(child.status() for child in self.children.values()))
        for name in REPORT_TO:
            if name in self.peers:
                self.tell(name, report)
