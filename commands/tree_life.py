"""One life of the tree, seen from the process above it: started, watched, stopped in order, or lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from actors.clock import SystemClock
from actors.log import Log
from actors.messages.health import Heartbeat, Initialize, StopChild
from commands import exits
from commands.aftermath import reap
from commands.ask import Json, NotRunningError, ask, ask_once
from commands.live import HEALTH_MAX_AGE_S
from commands.pulse import Pulse
from commands.ring_signals import Signals
from commands.systemd import Notifier
from commands.venue_process import EmbeddedSimulator
from config.paths import admin_socket, health_file, run_dir
from config.sections.silence import RING_S
from config.settings import Settings
from supervision import tree
from supervision.specs import SupervisorSpec
from supervision.system import DaemonSystem, start_system

READY_S = 30.0
STOP_PROOF_S = 20.0
TREE_STOP_S = 20.0
TICK_S = 0.25
PROBE_S = 1.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What outlives a tree. ``began``, ``ends_at``: monotonic seconds; ``heed``: acts on what came as a signal and
    says why the daemon shall stop, if it shall."""

    simulator: EmbeddedSimulator | None
    log: Log
    signals: Signals
    notifier: Notifier
    heed: Callable[[], str]
    hear: Callable[[Heartbeat], None]
    ends_at: float | None = None


@dataclass(slots=True)
class Ending:
    """How a tree ended: an exit code, why in words, and the root's last heartbeat."""

    code: int
    why: str = ""
    beat: Heartbeat | None = None


class TreeLife:
    """Run it once. ``begun``: monotonic seconds since which its start is counted."""

    def __init__(
        self, settings: Settings, around: Surroundings, spec: SupervisorSpec, incarnation: int, begun: float
    ) -> None:
        self.settings = settings
        self._around = around
        self._log = around.log
        self._spec = spec
        self._incarnation = incarnation
        self._begun = begun
        self._pulse = Pulse(
            {
                "tree": RING_S,
                "root": settings.supervision.root_missed_kill_s,
                "admin": HEALTH_MAX_AGE_S,
            }
        )
        self._beat: Heartbeat | None = None
        self._admin_answers = 0
        self._health_error = self._sockets_gone = ""
        self._next_ping = self._next_probe = 0.0
        self._ready = self._up = False
        self.has_begun = False
        """A root was made: orders may have left since."""

    @property
    def beat(self) -> Heartbeat | None:
        """The root's last heartbeat."""
        return self._beat

    def run(self) -> Ending:
        """Start the tree and stay with it until it has ended; nothing of its process group is left then.

        Raises OSError, SocketDirectoryError, SystemRunning, SystemFailed.
        """
        data_dir = self.settings.data_dir
        self._remove_health()
        try:
            with start_system(run_dir(data_dir)) as system:
                self._started = time.monotonic()
                system.create_root(tree.SUPERVISOR, self._initialize(system))
                self.has_begun = True
                code, why = self._watch(system)
                self._around.notifier.status(f"ended: {why}")
        finally:
            self._remove_health()
            self._remove_sockets()
        return Ending(code, why, self._beat)

    def _initialize(self, system: DaemonSystem) -> Initialize:
        return Initialize(
            name="root",
            incarnation=self._incarnation,
            supervisor="run",
            parent=system.address,
            settings=self.settings,
            args={"spec": self._spec},
            peers=(),
            epoch=self.settings.epoch,
        )

    # --- watching --------------------------------------------------------------------------------------

    def _watch(self, system: DaemonSystem) -> tuple[int, str]:
        while True:
            self._around.signals.wait(TICK_S, system.descriptors())
            ended = self._turn(system)
            if ended is not None:
                return ended

    def _turn(self, system: DaemonSystem) -> tuple[int, str] | None:
        """One look at everything; an exit code and a reason end this life."""
        now = time.monotonic()
        self._receive(system, now)
        simulator = self._around.simulator
        reap({system.admin_pid, simulator.process.pid if simulator else 0})
        status = system.poll()
        if status is not None:
            return self._lost("tree_ended", exits.GAVE_UP if status == exits.GAVE_UP else exits.TREE_DIED, status)
        if simulator is not None and simulator.process.poll() is not None:
            self._log.critical("simulator_died", exit_code=simulator.process.returncode)
            return exits.SIMULATOR_DIED, "the simulator died"
        why = self._around.heed()
        if not why and self._around.ends_at is not None and now > self._around.ends_at:
            why = "--for is over"
        if why:
            return self._stop(system, why), why
        silence = self._pulse.look(now) or self._sockets_gone
        if silence:
            self._log.critical("tree_hung", why=silence)
            return exits.ROOT_HUNG, f"hung: {silence}"
        if not self._ready:
            self._look_for_ready(now - self._started > READY_S)
            if not self._up and now - self._started > READY_S:
                self._log.critical("not_ready", after_s=READY_S)
                return exits.NOT_READY, f"not ready within {READY_S:g} s"
        self._ping(now)
        return None

    def _lost(self, event: str, code: int, status: int) -> tuple[int, str]:
        self._log.critical(event, status=status)
        return code, f"the tree ended with {_words(status)}"

    def _receive(self, system: DaemonSystem, now: float) -> None:
        """The root's beats, what they say of everybody below it, and the admin's answers."""
        while (message := system.receive(0.0)) is not None:
            if isinstance(message, Heartbeat):
                self._beat = message
                self._pulse.sign("root", now)
                self._around.hear(message)
                if dict(message.progress).get("silent_count") == 0:
                    self._pulse.sign("tree", now)
                    self._touch_health()
        if now >= self._next_probe:
            system.probe_admin()
            self._sockets_gone = "" if system.has_sockets() else f"{run_dir(self.settings.data_dir)} was removed"
            self._next_probe = now + PROBE_S
        if system.admin_answers != self._admin_answers:
            self._admin_answers = system.admin_answers
            self._pulse.sign("admin", now)

    def _touch_health(self) -> None:
        """Passed on for each sign of the tree: a health file is fresh only while both rings are alive."""
        try:
            health_file(self.settings.data_dir).touch()
        except OSError as error:
            if str(error) != self._health_error:
                self._log.error("health_file_not_written", error=str(error))
            self._health_error = str(error)
        else:
            self._health_error = ""

    def _remove_health(self) -> None:
        """No tree, no health file; a disk that refuses must not keep the ring from what follows a tree's end."""
        try:
            health_file(self.settings.data_dir).unlink(missing_ok=True)
        except OSError as error:
            self._log.error("health_file_not_removed", error=str(error))

    def _remove_sockets(self) -> None:
        """Leave nothing in memory; the actor system has removed its own by now."""
        with contextlib.suppress(OSError):
            admin_socket(self.settings.data_dir).unlink(missing_ok=True)
            run_dir(self.settings.data_dir).rmdir()

    def _ping(self, now: float) -> None:
        """systemd's ping is earned: only while all permanent actors beat, the root beats and the admin answers."""
        interval_s = self._around.notifier.ping_interval_s
        if not self._up or interval_s is None or now < self._next_ping or not self._pulse.is_fresh(now):
            return
        self._around.notifier.ping()
        self._next_ping = now + interval_s

    def _look_for_ready(self, overdue: bool) -> None:
        """Ready: every part is up and trading could be allowed. A tree that is up while the venue does not answer, or
        differs from the ledger, is no failed start: it stays, HALTED, and protects what it can."""
        status = self._status()
        if status is None or not status.get("metrics_url"):
            return
        if status.get("ready"):
            self._ready = True
            self._say_up(str(status["trading_state"]), str(status["metrics_url"]))
            self._say_ready(status)
        elif overdue and status.get("up") and not self._up:
            waiting = status.get("waiting_for")
            self._say_up(f"waiting for {waiting}", str(status["metrics_url"]))
            self._log.error("up_but_not_ready", after_s=READY_S, waiting_for=waiting, reasons=status.get("reasons"))

    def _say_up(self, state: str, metrics_url: str) -> None:
        if self._up:
            return
        self._up = True
        notifier = self._around.notifier
        (notifier.ready if self._incarnation == 1 else notifier.restarted)(f"{state}, {metrics_url}")

    def _say_ready(self, status: Json) -> None:
        self._log.info(
            "ready",
            after_s=round(time.monotonic() - self._begun, 2),
            trading_state=status["trading_state"],
            metrics=status["metrics_url"],
            status=f"python run.py status --data-dir {self.settings.data_dir}",
            stop="Ctrl-C or SIGTERM",
            kill=f"python run.py kill --reason TEXT --data-dir {self.settings.data_dir}",
        )

    def _status(self) -> Json | None:
        try:
            answer = ask_once(self.settings.data_dir, {"verb": "status"}, timeout_s=1.0)
        except (NotRunningError, OSError, ValueError):
            return None
        status = answer.get("status")
        return status if isinstance(status, dict) else None

    # --- stopping --------------------------------------------------------------------------------------

    def _stop(self, system: DaemonSystem, why: str) -> int:
        """Cancel own entries and prove it, leave protection resting, stop the tree from the leaves up."""
        self._log.info("stopping", why=why)
        self._around.notifier.stopping(why)
        proven = self._prove_stop(why)
        if system.root is not None:
            system.stop(TREE_STOP_S, StopChild(why, TREE_STOP_S))
        return exits.OK if proven else exits.STOP_UNPROVEN

    def _prove_stop(self, why: str) -> bool:
        request = {"verb": "stop", "reason": why, "operator": "run.py"}
        deadline = SystemClock().boot_ns() + round(STOP_PROOF_S * 1e9)
        try:
            for answer in ask(self.settings.data_dir, request, timeout_s=STOP_PROOF_S):
                self._report_stop(answer)
                self._around.heed()  # a kill that comes now is for the next start
                if answer.get("event") == "done":
                    return answer.get("ok") is True
                if SystemClock().boot_ns() > deadline:
                    break
        except (NotRunningError, OSError, ValueError) as error:
            self._log.error("stop_not_proven", error=str(error))
        return False

    def _report_stop(self, answer: Json) -> None:
        write: Callable[..., None] = self._log.info
        if answer.get("event") == "done" and answer.get("ok") is not True:
            write = self._log.error
        kept = ("ok", "cancelled", "unproven", "still_open", "positions", "error", "text")
        write("stop_proof", **{key: answer[key] for key in kept if answer.get(key) not in (None, "", [])})


def _words(status: int) -> str:
    """What ended the admin: minus a signal for itself; its exit code is the root's, 128 and more for its signal."""
    if status < 0:
        return f"signal {-status}"
    return f"signal {status - 128} of the root" if status > 128 else f"exit code {status}"
