"""The outer ring: the process above the tree. It starts the tree, hears signals, and starts it anew when it dies.

It holds no trading state. SIGTERM and SIGINT stop in order; SIGUSR1 creates the kill latch, which the tree sees
within a quarter of a second. When the tree dies or hangs, what is left of it is killed, the old gateway is proven
gone by its lock, own entries are cancelled at the exchange while protection stays, and a new tree is started with a
new epoch: within limits, beyond them the process ends with a distinct exit code.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from actors.clock import SystemClock
from actors.latch import create_latch
from actors.log import Log
from actors.messages.health import Heartbeat
from commands import exits
from commands.aftermath import cancel_in_child, end_adopted, old_gateway_is_gone, record_death
from commands.ask import NotRunningError, say
from commands.pager import Pager
from commands.prepare import Refused
from commands.ring_signals import ENDING, Signals
from commands.root_restarts import RootRestarts
from commands.systemd import Notifier
from commands.tree_life import Ending, Surroundings, TreeLife
from commands.venue_process import EmbeddedSimulator
from config.settings import Settings
from supervision import tree
from supervision.system import SystemFailed, SystemRunning
from supervision.transport_process import SocketDirectoryError, become_subreaper

TREE_LOST = frozenset({exits.GAVE_UP, exits.ROOT_HUNG, exits.TREE_DIED, exits.NOT_READY})
"""Ends after which nobody in the tree can cancel what rests."""
STARTED_ANEW = frozenset({exits.ROOT_HUNG, exits.TREE_DIED})
"""A part given up (75) ends the process: that is its policy. A tree never ready ends it, unless it replaced one."""
RESTART_ALLOWED_S = 75.0
"""Kill, last resort, back-off and the way to ready together; systemd is told."""

Begin = Callable[[], tuple[Settings, str]]


class OuterRing:
    """Starts trees one after another. ``begin`` bumps the epoch and writes the start down, durably (raises Refused);
    it gives the settings of that start and why it must not trade by itself. ``signals`` are caught by now."""

    def __init__(
        self,
        begin: Begin,
        simulator: EmbeddedSimulator | None,
        log: Log,
        signals: Signals,
        *,
        for_s: float | None = None,
        begun: float | None = None,
    ) -> None:
        self._begin = begin
        self._simulator = simulator
        self._log = log
        self._signals = signals
        self._notifier = Notifier(os.environ)
        self._pager = Pager(log)
        self._asked_to_stop = ""
        self._has_tree = False
        self.last_end_was_orderly = False
        """The last tree ended because it was told to."""
        started = time.monotonic()
        self._begun = started if begun is None else begun
        self._around = Surroundings(
            simulator,
            log,
            self._signals,
            self._notifier,
            self._heed,
            self._hear,
            None if for_s is None else started + for_s,
        )

    def run(self) -> int:
        """Start the tree, stay with it and with its successors; the exit code.

        Raises Refused, SocketDirectoryError, SystemRunning and SystemFailed for the first start.
        """
        become_subreaper()
        self.settings, halt_reason = self._begin()
        if why := self._heed():
            self.last_end_was_orderly = True
            self._log.info("ended", exit_code=exits.OK, why=f"{why} came before a tree was started")
            return exits.OK
        self._restarts = RootRestarts(self.settings.supervision)
        ending = self._live(1, halt_reason, "")
        lives = 1
        while (code := self._after(ending, lives)) is None:
            lives += 1
            ending = self._live_again(lives, ending.why)
        self.last_end_was_orderly = ending.code in (exits.OK, exits.STOP_UNPROVEN)
        self._notifier.stopping(f"exit code {code}")
        if code != exits.OK:
            text = f"the daemon ends with exit code {code}: {ending.why}; protection was left in place"
            self._pager.page(self.settings, "daemon_ended", text)
            self._pager.finish()
        self._signals.call(signal.SIGUSR1, self._latch)
        self._heed()
        self._log.info("ended", exit_code=code)
        return code

    # --- lives -----------------------------------------------------------------------------------------

    def _live(self, number: int, halt_reason: str, restart_reason: str) -> Ending:
        restarts = self._restarts.recent(SystemClock().boot_ns())
        spec = tree.root_spec(self.settings, halt_reason, restarts=restarts, restart_reason=restart_reason)
        life = TreeLife(self.settings, self._around, spec, number, self._begun)
        self._has_tree = True
        try:
            return life.run()
        except Exception as error:
            if not life.has_begun:
                raise
            # Whatever failed here, the tree is gone and its entries rest: that is an end like others.
            why = f"lost: {type(error).__name__}: {error}"
            self._log.critical("tree_lost", why=why)
            return Ending(exits.TREE_DIED, why, life.beat)
        finally:
            self._has_tree = False

    def _live_again(self, number: int, restart_reason: str) -> Ending:
        """One more life; a start that fails is an ending like others."""
        self._begun = time.monotonic()
        try:
            self.settings, halt_reason = self._begin()
            return self._live(number, halt_reason, restart_reason)
        except (Refused, SocketDirectoryError, SystemRunning, SystemFailed, OSError) as error:
            why = f"the tree was not started: {error}"
            self._log.critical("tree_not_started", error=str(error))
            return Ending(exits.NOT_READY, why)

    def _after(self, ending: Ending, lives: int) -> int | None:
        """What follows an end: an exit code, or None when the tree is to be started anew (the wait is over then)."""
        if ending.code not in TREE_LOST and ending.code != exits.STOP_UNPROVEN:
            return ending.code
        alone = end_adopted({*self._pager.pids, *({self._simulator.process.pid} if self._simulator else ())}, self._log)
        if not alone:
            self._log.critical("orphans_survive")
        if ending.code in TREE_LOST and ending.code != exits.GAVE_UP:
            record_death(self.settings, self._log, ending.why, lives, ending.beat)
        will_try = ending.code in STARTED_ANEW or (ending.code == exits.NOT_READY and lives > 1)
        if will_try:
            self._notifier.restarting(f"restarting: {ending.why}", RESTART_ALLOWED_S)
        proven = self._last_resort()
        if ending.code == exits.STOP_UNPROVEN or self._asked_to_stop:
            return exits.OK if proven else exits.STOP_UNPROVEN
        if not will_try:
            return ending.code
        return self._wait_for_next(ending) if alone else ending.code

    def _wait_for_next(self, ending: Ending) -> int | None:
        """Back off before the next tree; an exit code when there is none."""
        now = SystemClock().boot_ns()
        delay_s = self._restarts.died(now)
        window_s = self.settings.supervision.root_restart_window_s
        if delay_s is None:
            limit = self.settings.supervision.root_restarts
            self._log.critical("tree_given_up", why=ending.why, restarts=limit, within_s=window_s)
            return ending.code
        if not old_gateway_is_gone(self.settings, self._log):
            self._log.critical("old_gateway_lives", way_out="end the process that holds gateway.lock, then start")
            return ending.code
        self._log.critical(
            "tree_restarting", why=ending.why, in_s=round(delay_s, 2), left=self._restarts.left(now), within_s=window_s
        )
        deadline = time.monotonic() + delay_s
        while not self._heed() and (left := deadline - time.monotonic()) > 0:
            self._signals.wait(left)
        if self._asked_to_stop:
            return exits.OK if self._last_resort() else exits.STOP_UNPROVEN
        if self._simulator is not None and self._simulator.process.poll() is not None:
            self._log.critical("simulator_died", exit_code=self._simulator.process.returncode)
            return exits.SIMULATOR_DIED
        return None

    def _last_resort(self) -> bool:
        """The tree is gone and cannot stop in order: cancel the own entries, leave protection resting."""
        done = cancel_in_child(self.settings, self._log, self._signals, self._heed)
        write = self._log.warning if done.proven else self._log.critical
        write("last_resort", cancelled=done.cancelled, still_open=done.still_open, proven=done.proven, error=done.error)
        return done.proven

    # --- signals ---------------------------------------------------------------------------------------

    def _heed(self) -> str:
        """Act on what came: SIGUSR1 latches at once, tree or not; why the daemon shall stop, if it shall."""
        for number in self._signals.take():
            if number == signal.SIGUSR1:
                self._latch()
            elif number in ENDING:
                self._asked_to_stop = self._asked_to_stop or signal.Signals(number).name
        return self._asked_to_stop

    def _hear(self, beat: Heartbeat) -> None:
        self._pager.hear(self.settings, beat)

    def _latch(self) -> None:
        """Create the latch, and tell the daemon as well: a disk that refuses the file must not stop a kill."""
        try:
            created = create_latch(self.settings.kill_file, "SIGUSR1", "signal", SystemClock().utc_ns())
            self._log.critical("kill_latched", by="SIGUSR1", new=created)
        except OSError as error:
            self._log.critical("kill_not_latched", by="SIGUSR1", error=str(error))
        if not self._has_tree:
            return
        try:
            say(self.settings.data_dir, {"verb": "kill", "reason": "SIGUSR1", "operator": "signal"})
        except (NotRunningError, OSError) as error:
            self._log.error("kill_not_told", error=str(error))
