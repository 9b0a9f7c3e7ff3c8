"""Hangs: a child that misses its beats, or does not start in time, is killed by its parent."""

from __future__ import annotations

import math

from actors.clock import NS_PER_MS, NS_PER_S
from actors.messages.health import ChildState, HangSuspected, Heartbeat
from config.sections.silence import RING_S
from supervision.children import Child
from supervision.family import Family

CHECK_MAX_S, CHECK_MIN_S = 0.5, 0.02
"""The next look is when somebody's silence would be too long; never further away than the first of these."""
SILENCE_LOOK_S = 0.5


class Judge(Family):
    """Takes heartbeats in; a judge that was late itself judges nobody."""

    def _set_up_judging(self) -> None:
        self._alerts_boot_ns = self.clock.boot_ns()
        self._next_check(self._alerts_boot_ns)
        if self.name == "root":
            self.every("silence", SILENCE_LOOK_S, self._log_silence)

    def on_heartbeat(self, message: Heartbeat, sender: object) -> None:
        child = self.children.get(message.name)
        if child is None or child.incarnation != message.incarnation or not child.alive:
            return
        child.beat = message
        child.last_beat_boot_ns = self.clock.boot_ns()
        child.hang_since_boot_ns = None

    def _check(self) -> None:
        """Kill what hangs. After a stall of this process (host, suspend) everybody gets a new allowance."""
        now = self.clock.boot_ns()
        late_ns = now - self._check_due_boot_ns
        if late_ns > self.settings.watchdog.own_lateness_ms * NS_PER_MS:
            self.log.warning("own_stall", late_ms=late_ns // NS_PER_MS)
            for child in self.children.values():
                child.since_boot_ns = now if child.state is ChildState.STARTING else child.since_boot_ns
                child.last_beat_boot_ns = now
                child.hang_since_boot_ns = None
        else:
            for child in list(self.children.values()):
                self._check_child(child, now)
        self._next_check(now)

    def _next_check(self, now: int) -> None:
        waits = (self._allowed_s(child, now) for child in self.children.values() if _is_judged(child))
        wait_s = max(CHECK_MIN_S, min(waits, default=CHECK_MAX_S))
        wait_s = min(wait_s, CHECK_MAX_S)
        self._check_due_boot_ns = now + round(wait_s * NS_PER_S)
        self.after("check", wait_s, self._check)

    def _allowed_s(self, child: Child, now: int) -> float:
        """How much longer this child may be silent before something is to be done."""
        if child.hang_since_boot_ns is not None:
            return child.spec.hang_warn_s - (now - child.hang_since_boot_ns) / NS_PER_S
        starting = child.state is ChildState.STARTING
        limit_s = child.spec.start_deadline_s if starting else child.spec.missed_kill_s
        return limit_s - child.silent_ns(now) / NS_PER_S

    def _check_child(self, child: Child, now: int) -> None:
        if not _is_judged(child):
            return
        silent_s = child.silent_ns(now) / NS_PER_S
        if child.state is ChildState.STARTING:
            if silent_s > child.spec.start_deadline_s:
                self._kill(child, f"did not start within {child.spec.start_deadline_s:g} s")
        elif silent_s > child.spec.missed_kill_s:
            if child.state is ChildState.RUNNING:
                self._suspect(child, now, silent_s)
            elif child.state is ChildState.STOPPING:
                # Waiting without limit is for one that works on its end, not for one that hangs.
                self._kill(child, f"hung while stopping: no beat for {silent_s:.1f} s")

    def _suspect(self, child: Child, now: int, silent_s: float) -> None:
        if child.hang_since_boot_ns is None:
            child.hang_since_boot_ns = now
            name, warn_s = child.spec.name, child.spec.hang_warn_s
            self.log.error("hang", child=name, silent_s=round(silent_s, 2), kill_in_s=warn_s)
            self.tell("watchdog", HangSuspected(name, child.incarnation, silent_s, warn_s))
        if now - child.hang_since_boot_ns >= child.spec.hang_warn_s * NS_PER_S:
            self._kill(child, f"hung: no beat for {silent_s:.1f} s")

    def _log_silence(self) -> None:
        """Who keeps the root from giving the outer ring the tree's sign of life."""
        silent = self._silent_below()
        if silent:
            self.log.error("no_sign_of_life", because=silent)

    def _silent_below(self) -> list[str]:
        """Children that should run and are silent for too long, and supervisors that say so of theirs.

        What is being restarted or was given up by its policy is its supervisor's matter and no silence.
        """
        now = self.clock.boot_ns()
        allowed_ns = (self.settings.supervision.tree_silent_s - RING_S) * NS_PER_S
        return [
            child.spec.name
            for child in self.children.values()
            if child.state is ChildState.RUNNING
            and (child.silent_ns(now) > allowed_ns or _counts_silent(child.beat))
        ]

    def progress(self) -> dict[str, int]:
        """How many are silent beyond saving: none is the tree's sign of life for the outer ring, which needs no disk.

        The root also says when there was last somebody who tells the operators: the outer ring pages if not.
        """
        if "alerts" in self.peers:
            self._alerts_boot_ns = self.clock.boot_ns()
        told = {"alerts": self._alerts_boot_ns} if self.name == "root" else {}
        return {**super().progress(), "silent_count": len(self._silent_below()), **told}


def _counts_silent(beat: Heartbeat | None) -> bool:
    return beat is not None and dict(beat.progress).get("silent_count", 0) > 0


def _is_judged(child: Child) -> bool:
    """A child that stops has its own deadline; one that may take for ever is held to its beats."""
    if not child.alive or child.killed_for:
        return False
    unlimited_stop = child.state is ChildState.STOPPING and math.isinf(child.spec.stop_within_s)
    return child.state in (ChildState.STARTING, ChildState.RUNNING) or unlimited_stop
