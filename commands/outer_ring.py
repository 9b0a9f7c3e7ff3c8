"""The outer ring: the process that starts the tree, hears signals, and ends when the tree does.

It holds no trading state. SIGTERM and SIGINT stop in order; SIGUSR1 creates the kill latch, which the tree sees
within a quarter of a second. When the root dies or hangs, everything is ended with a distinct exit code: the
kernel kills the rest of the tree, resting protection stays at the exchange, entries end by themselves.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable

from actors.clock import SystemClock
from actors.latch import create_latch
from actors.log import Log
from actors.messages.health import Initialize, StopChild
from commands import exits
from commands.ask import Json, NotRunningError, ask, ask_once, say
from commands.last_resort import cancel_entries
from commands.live import HEALTH_MAX_AGE_S, is_alive
from commands.systemd import Notifier
from commands.venue_process import EmbeddedSimulator
from config.paths import health_file, run_dir
from config.settings import Settings
from supervision import tree
from supervision.system import DaemonSystem, start_system

READY_S = 30.0
MAX_REAPED = 100
TREE_LOST = frozenset({exits.GAVE_UP, exits.ROOT_HUNG, exits.TREE_DIED, exits.NOT_READY})
"""Ends after which nobody in the tree can cancel what rests."""
STOP_PROOF_S = 20.0
TREE_STOP_S = 20.0
TICK_S = 0.25


class OuterRing:
    """One life of the tree."""

    def __init__(
        self,
        settings: Settings,
        simulator: EmbeddedSimulator | None,
        log: Log,
        *,
        for_s: float | None = None,
        halt_reason: str = "",
        begun: float | None = None,
    ) -> None:
        self.settings = settings
        self._halt_reason = halt_reason
        self._notifier = Notifier(os.environ)
        self._next_ping = 0.0
        self.simulator = simulator
        self.log = log
        self._for_s = for_s
        self._signals: list[int] = []
        self._started = time.monotonic()
        self._begun = self._started if begun is None else begun
        self._last_turn = self._grace_until = self._touched_at = 0.0
        self._touched_ns = 0
        self._ready = False
        self._system: DaemonSystem | None = None

    def run(self) -> int:
        """Start the tree and stay with it; the exit code."""
        wake_r, wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._catch_signals(wake_w)
        health_file(self.settings.data_dir).unlink(missing_ok=True)
        with start_system(run_dir(self.settings.data_dir)) as system:
            self._system = system
            system.create_root(tree.SUPERVISOR, self._initialize(system))
            code = self._watch(system, wake_r)
            self._notifier.stopping(f"exit code {code}")
            system.stop(0.0)
            if code in TREE_LOST:
                self._last_resort()
        health_file(self.settings.data_dir).unlink(missing_ok=True)
        self.log.info("ended", exit_code=code)
        return code

    def _initialize(self, system: DaemonSystem) -> Initialize:
        return Initialize(
            name="root",
            incarnation=1,
            supervisor="run",
            parent=system.address,
            settings=self.settings,
            args={"spec": tree.root_spec(self.settings, self._halt_reason)},
            peers=(),
            epoch=self.settings.epoch,
        )

    def _catch_signals(self, wake_fd: int) -> None:
        signal.set_wakeup_fd(wake_fd, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
            signal.signal(number, lambda received, _frame: self._signals.append(received))

    # --- watching --------------------------------------------------------------------------------------

    def _watch(self, system: DaemonSystem, wake_r: int) -> int:
        with selectors.DefaultSelector() as selector:
            selector.register(wake_r, selectors.EVENT_READ, "signal")
            for descriptor in system.descriptors():
                selector.register(descriptor, selectors.EVENT_READ, "system")
            while True:
                for key, _ in selector.select(TICK_S):
                    if key.data == "signal":
                        _drain(wake_r)
                code = self._turn(system)
                if code is not None:
                    return code

    def _turn(self, system: DaemonSystem) -> int | None:
        """One look at everything; an exit code ends the daemon."""
        while system.receive(0.0) is not None:
            pass  # the root's own reports to its parent; its life is judged by the health file and its pid
        self._reap(system)
        status = system.poll()
        if status is not None:
            self.log.critical("tree_ended", status=status)
            return exits.GAVE_UP if status == exits.GAVE_UP else exits.TREE_DIED
        if self.simulator is not None and self.simulator.process.poll() is not None:
            self.log.critical("simulator_died", exit_code=self.simulator.process.returncode)
            return exits.SIMULATOR_DIED
        for number in self._take_signals():
            if number == signal.SIGUSR1:
                self._latch()
            elif number in (signal.SIGTERM, signal.SIGINT):
                return self._stop(system, signal.Signals(number).name)
        elapsed = time.monotonic() - self._started
        if not self._ready:
            self._look_for_ready(elapsed)
            if not self._ready and elapsed > READY_S:
                self.log.critical("not_ready", after_s=READY_S)
                return exits.NOT_READY
        elif self._tree_is_silent():
            self.log.critical("tree_hung", silent_s=HEALTH_MAX_AGE_S)
            return exits.ROOT_HUNG
        self._ping()
        if self._for_s is not None and elapsed > self._for_s:
            return self._stop(system, f"--for {self._for_s:g}")
        return None

    def _reap(self, system: DaemonSystem) -> None:
        """Collect what fell to us as subreaper (or as PID 1): no zombie stays. Known children are not touched."""
        known = {system.admin_pid, self.simulator.process.pid if self.simulator else 0}
        for _ in range(MAX_REAPED):
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None or found.si_pid in known:
                return
            os.waitpid(found.si_pid, os.WNOHANG)

    def _ping(self) -> None:
        """systemd's ping is earned: only while the tree itself shows life."""
        interval_s, now = self._notifier.ping_interval_s, time.monotonic()
        if (
            not self._ready
            or interval_s is None
            or now < self._next_ping
            or not is_alive(health_file(self.settings.data_dir))
        ):
            return
        self._notifier.ping()
        self._next_ping = now + interval_s

    def _last_resort(self) -> None:
        """The tree is gone and cannot stop in order: cancel the own entries, leave protection resting."""
        done = cancel_entries(self.settings, self.log)
        write = self.log.warning if done.proven else self.log.critical
        write("last_resort", cancelled=done.cancelled, still_open=done.still_open, proven=done.proven, error=done.error)

    def _take_signals(self) -> list[int]:
        taken, self._signals = self._signals, []
        return taken

    def _tree_is_silent(self) -> bool:
        """The health file was not touched for long, though this process itself ran all the time."""
        now = time.monotonic()
        stalled = self._last_turn > 0 and now - self._last_turn > 1.0
        self._last_turn = now
        if stalled:
            self._grace_until = now + HEALTH_MAX_AGE_S
        if now < self._grace_until:
            return False
        try:
            touched_ns = health_file(self.settings.data_dir).stat().st_mtime_ns
        except OSError:
            return False
        if touched_ns != self._touched_ns:
            # Judged by our own clock since it last changed: a step of the wall clock kills nobody.
            self._touched_ns, self._touched_at = touched_ns, now
        return now - self._touched_at > HEALTH_MAX_AGE_S

    def _look_for_ready(self, elapsed: float) -> None:
        status = self._status()
        if status is None or not status.get("ready") or not status.get("metrics_url"):
            return
        self._ready = True
        self._notifier.ready(f"{status['trading_state']}, {status['metrics_url']}")
        self.log.info(
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

    def _latch(self) -> None:
        """Create the latch, and tell the daemon as well: a disk that refuses the file must not stop a kill."""
        try:
            created = create_latch(self.settings.kill_file, "SIGUSR1", "signal", SystemClock().utc_ns())
            self.log.critical("kill_latched", by="SIGUSR1", new=created)
        except OSError as error:
            self.log.critical("kill_not_latched", by="SIGUSR1", error=str(error))
        try:
            say(self.settings.data_dir, {"verb": "kill", "reason": "SIGUSR1", "operator": "signal"})
        except (NotRunningError, OSError) as error:
            self.log.error("kill_not_told", error=str(error))

    # --- stopping --------------------------------------------------------------------------------------

    def _stop(self, system: DaemonSystem, why: str) -> int:
        """Cancel own entries and prove it, leave protection resting, stop the tree from the leaves up."""
        self.log.info("stopping", why=why)
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
                if answer.get("event") == "done":
                    return answer.get("ok") is True
                if SystemClock().boot_ns() > deadline:
                    break
        except (NotRunningError, OSError, ValueError) as error:
            self.log.error("stop_not_proven", error=str(error))
        return False

    def _report_stop(self, answer: Json) -> None:
        write: Callable[..., None] = self.log.info
        if answer.get("event") == "done" and answer.get("ok") is not True:
            write = self.log.error
        kept = ("ok", "cancelled", "unproven", "still_open", "positions", "error", "text")
        write("stop_proof", **{key: answer[key] for key in kept if answer.get(key) not in (None, "", [])})


def _drain(fd: int) -> None:
    try:
        os.read(fd, 4096)
    except BlockingIOError:
        pass  # another turn was faster
