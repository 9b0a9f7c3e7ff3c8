"""What an operator asked for: the durable standing, the kill latch, the rules of the verbs.

Stopping is never refused for lack of a disk; permitting is refused unless it is durable first.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from actors.latch import create_latch, latch_exists, read_latch, remove_latch
from actors.messages.control import OperatorCommand, OperatorVerb
from actors.messages.health import TradingState
from config.settings import Settings
from supervision.breakers import EVERYTHING, BreakerBoard, Moment, Transition
from supervision.control_store import (
    STORE_NAME,
    AuditLine,
    ControlStore,
    CorruptControlError,
    OperatorStanding,
    mark_saved,
    mark_unsaved,
    set_aside,
    unsaved_path,
)
from supervision.lease import Finding

_STANDING = {
    OperatorVerb.KILL: TradingState.KILLED,
    OperatorVerb.HALT: TradingState.HALTED,
    OperatorVerb.REDUCE: TradingState.REDUCE_ONLY,
    OperatorVerb.RESUME: TradingState.RUN,
    OperatorVerb.RELEASE: TradingState.HALTED,
}


class RefusedError(Exception):
    """The command is refused; the text says why and what would help."""


class OperatorDesk:
    """Holds ``control.db`` and the latch. ``error`` not empty: something is not durable, trading is HALTED."""

    def __init__(self, settings: Settings, epoch: int, board: BreakerBoard) -> None:
        self._settings = settings
        self._epoch = epoch
        self._board = board
        self._path: Path = settings.store_dir / STORE_NAME
        self._store: ControlStore | None = None
        self._saved: dict[object, object] = {}
        self._unsaved: list[Transition] = []
        self._standing_unsaved = False
        self.corrupt = ""
        self.error = ""
        self.stopping = ""
        self.latched = True
        self.released_by = ""
        """The newest release that was carried out: parts that were dead meanwhile learn of it from every lease."""
        self.standing = OperatorStanding(TradingState.HALTED, "not read yet", "", 0)

    def open(self, now: Moment, halt_reason: str = "") -> None:
        """Read the store; what cannot be read halts. ``halt_reason``: why this start may not trade by itself."""
        try:
            self._store = ControlStore(self._path, epoch=self._epoch)
            self._board.restore(self._store.read_breakers(), now)
            self.released_by = self._store.read_released_by()
            standing = self._store.read_standing()
            if standing is None:
                standing = self._first_standing(now)
                self._store.write_standing(standing)
            self.standing = standing
            self._doubt_what_was_not_saved(now)
            self._apply_halt_reason(halt_reason, now)
        except (CorruptControlError, sqlite3.Error, OSError) as error:
            self._store = None
            self.corrupt = str(error)
            self.standing = OperatorStanding(TradingState.HALTED, f"control store: {error}", "watchdog", now.utc_ns)
        self._saved = self._durable_rows()
        self.look_at_latch(now)

    def _doubt_what_was_not_saved(self, now: Moment) -> None:
        """A halt or a latched breaker of the last watchdog may be missing here: an operator decides."""
        if not unsaved_path(self._path).exists():
            return
        if self.standing.state.rank < TradingState.HALTED.rank:
            text = "the disk refused what was to be kept before: resume when nothing else stops trading"
            self.standing = OperatorStanding(TradingState.HALTED, text, "watchdog", now.utc_ns)
        self._standing_unsaved = True

    def _first_standing(self, now: Moment) -> OperatorStanding:
        if self._settings.mode == "live":
            return OperatorStanding(TradingState.HALTED, "first live start: resume to trade", "daemon", now.utc_ns)
        return OperatorStanding(TradingState.RUN, "first start", "daemon", now.utc_ns)

    def _apply_halt_reason(self, reason: str, now: Moment) -> None:
        """Once per start of the daemon, so that a restarted watchdog does not undo an operator's resume."""
        assert self._store is not None
        if not reason or self._store.read_meta("halt_reason_epoch") == str(self._epoch):
            return
        if self.standing.state.rank < TradingState.HALTED.rank:
            self.standing = OperatorStanding(TradingState.HALTED, reason, "daemon", now.utc_ns)
            self._store.write_standing(self.standing)
        self._store.write_meta("halt_reason_epoch", str(self._epoch))

    def look_at_latch(self, now: Moment) -> None:
        """A KILL file may appear by anyone's hand at any time; only ``release`` lifts what it did."""
        there = latch_exists(self._settings.kill_file)
        self.latched = there or self.standing.state is TradingState.KILLED
        if there and self.standing.state is not TradingState.KILLED:
            text = read_latch(self._settings.kill_file) or "kill file"
            self.standing = OperatorStanding(TradingState.KILLED, text, "file", now.utc_ns)
            self._standing_unsaved = True
            self.save((), now)
        elif not there and self.standing.state is TradingState.KILLED:
            try:
                create_latch(self._settings.kill_file, self.standing.reason, self.standing.operator, now.utc_ns)
            except OSError as error:
                self.error = f"the kill latch cannot be written: {error}"

    def findings(self) -> list[Finding]:
        if self.latched:
            found = [Finding(EVERYTHING, TradingState.KILLED, f"killed: {self.standing.reason}")]
        else:
            found = [Finding(EVERYTHING, self.standing.state, f"operator: {self.standing.reason}")]
        if self.stopping:
            found.append(Finding(EVERYTHING, TradingState.HALTED, f"stopping: {self.stopping}"))
        for text in (self.corrupt, self.error):
            if text:
                found.append(Finding(EVERYTHING, TradingState.HALTED, f"control store: {text}"))
        return found

    def save(self, moved: tuple[Transition, ...], now: Moment) -> None:
        """Make breakers and standing durable; on failure trading is HALTED until a later save succeeds."""
        self._unsaved += moved
        del self._unsaved[:-1000]
        rows = self._durable_rows()
        changed = [self._board.rows[key] for key in self._board.rows if self._saved.get(key) != rows[key]]
        if not (changed or self._unsaved or self._standing_unsaved or self.error) or self._store is None:
            return
        try:
            if self._standing_unsaved:
                self._store.write_standing(self.standing)
            if self.error:
                self._store.write_meta("recovered_utc_ns", str(now.utc_ns))  # a write that proves the disk
            self._store.write_breakers(changed, self._unsaved)
            mark_saved(self._path)
        except (sqlite3.Error, OSError) as error:
            self.error = f"not written since {now.utc_ns}: {error}"
            mark_unsaved(self._path)
            return
        self._standing_unsaved = False
        self._unsaved.clear()
        self._saved = rows
        self.error = ""

    def _durable_rows(self) -> dict[object, object]:
        return {
            key: (row.state, row.reason, row.since_utc_ns, row.trips, row.effect, row.hold_s)
            for key, row in self._board.rows.items()
        }

    def carry_out(self, command: OperatorCommand, now: Moment) -> tuple[Transition, ...]:
        """Do what the operator says; raises RefusedError. The transitions are those of reset breakers."""
        moved: tuple[Transition, ...] = ()
        try:
            self._check(command)
            if command.verb is OperatorVerb.KILL:
                self._kill(command, now)
            elif command.verb is OperatorVerb.RELEASE:
                self._release(command, now)
            elif command.verb is OperatorVerb.RESUME:
                moved = self._resume(command, now)
            elif command.verb is OperatorVerb.STOP:
                self.stopping = command.reason or "stop"
            else:
                self._restrict(command, now)
        except RefusedError as refusal:
            self._audit(command, now, str(refusal))
            raise
        self._audit(command, now, "")
        return moved

    def has_done(self, command: OperatorCommand) -> bool:
        """A command is said until it is answered; done a second time, a resume would reset newer breakers too."""
        try:
            return self._store is not None and self._store.was_accepted(command.request_id, command.verb)
        except sqlite3.Error:
            return False

    def _check(self, command: OperatorCommand) -> None:
        verb, killed = command.verb, self.latched
        permits = verb in (OperatorVerb.RESUME, OperatorVerb.RELEASE)
        if permits and not command.operator.strip():
            raise RefusedError(f"{verb} needs the operator's name")
        if verb is OperatorVerb.RELEASE and not command.reason.strip():
            raise RefusedError("release needs a reason")
        if verb is OperatorVerb.RELEASE and not killed:
            raise RefusedError("not killed: nothing to release")
        if killed and verb in (OperatorVerb.RESUME, OperatorVerb.HALT, OperatorVerb.REDUCE):
            raise RefusedError("KILLED: `run.py release --reason R` comes first")
        if verb is OperatorVerb.RESUME and self.stopping:
            raise RefusedError("the daemon is stopping")

    def _kill(self, command: OperatorCommand, now: Moment) -> None:
        self.latched = True
        self.standing = self._standing_of(command, now)
        self._standing_unsaved = True
        try:
            create_latch(self._settings.kill_file, command.reason, command.operator, now.utc_ns)
        except OSError as error:
            self.error = f"the kill latch cannot be written: {error}"  # KILLED all the same
        else:
            self.save((), now)

    def _restrict(self, command: OperatorCommand, now: Moment) -> None:
        self.standing = self._standing_of(command, now)
        self._standing_unsaved = True
        self.save((), now)

    def _release(self, command: OperatorCommand, now: Moment) -> None:
        if self._store is None:
            self._renew_store(now)
        standing = self._standing_of(command, now)
        try:
            remove_latch(self._settings.kill_file)
        except OSError as error:
            raise RefusedError(f"the kill latch cannot be removed: {error}") from error
        self._persist(standing, released_by=command.request_id)
        self.released_by = command.request_id
        self.latched = False

    def _resume(self, command: OperatorCommand, now: Moment) -> tuple[Transition, ...]:
        before = dict(self._board.rows)
        if self._store is None:
            self._renew_store(now)
        moved = self._board.resume(command.operator, now)
        self.save(moved, now)
        try:
            if self.error:
                raise RefusedError(self.error)
            self._persist(self._standing_of(command, now), is_resume=True)
        except RefusedError:
            self._board.rows = before
            raise
        return moved

    def _renew_store(self, now: Moment) -> None:
        """The damaged store is kept aside; the operator's resume is what permits starting a new one."""
        try:
            set_aside(self._path, now.utc_ns)
            self._store = ControlStore(self._path, epoch=self._epoch)
            self._store.write_standing(self.standing)
        except (CorruptControlError, sqlite3.Error, OSError) as error:
            self._store = None
            raise RefusedError(f"the damaged control store cannot be replaced: {error}") from error
        self._saved = {}
        self.corrupt = ""

    def _persist(self, standing: OperatorStanding, *, is_resume: bool = False, released_by: str = "") -> None:
        if self._store is None:
            raise RefusedError(f"control store: {self.corrupt}")
        try:
            if is_resume:
                self._store.write_resume(standing)
            elif released_by:
                self._store.write_release(standing, released_by)
            else:
                self._store.write_standing(standing)
        except sqlite3.Error as error:
            raise RefusedError(f"not durable: {error}") from error
        self.standing = standing
        self._standing_unsaved = False

    def _standing_of(self, command: OperatorCommand, now: Moment) -> OperatorStanding:
        text = f"{command.verb}: {command.reason}" if command.reason else str(command.verb)
        return OperatorStanding(_STANDING[command.verb], text, command.operator, now.utc_ns)

    def _audit(self, command: OperatorCommand, now: Moment, refusal: str) -> None:
        if self._store is None:
            return
        try:
            self._store.write_command(AuditLine(command, now.utc_ns, refusal, self.standing.state))
        except sqlite3.Error as error:
            self.error = f"audit not written: {error}"

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
