"""``control.db``: breakers, operator state, trips and the audit of operator commands, durable.

SQLite, WAL with synchronous=FULL: what is written has survived before it is leased. The watchdog is its one writer.
What cannot be read is never replaced by defaults: ``CorruptControlError`` means HALTED until an operator resumes.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from actors import durable
from actors.messages.control import OperatorCommand
from actors.messages.health import BreakerName, BreakerState, TradingState
from supervision.breakers import Breaker, Transition

STORE_NAME = "control.db"
SCHEMA_VERSION = 1
KEEP_EVENTS = 10_000
"""Trips and audited commands that are kept; older ones are removed when the store is opened."""

ACKNOWLEDGED = "acknowledged_before_epoch"
RELEASED_BY = "released_by"

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE operator (
    id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT NOT NULL, reason TEXT NOT NULL, operator TEXT NOT NULL,
    at_utc_ns INTEGER NOT NULL) STRICT;
CREATE TABLE breakers (
    name TEXT NOT NULL, scope TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, since_utc_ns INTEGER NOT NULL,
    trips INTEGER NOT NULL, effect TEXT NOT NULL, hold_s REAL NOT NULL, PRIMARY KEY (name, scope)) STRICT;
CREATE TABLE transitions (
    id INTEGER PRIMARY KEY, at_utc_ns INTEGER NOT NULL, breaker TEXT NOT NULL, scope TEXT NOT NULL,
    before TEXT NOT NULL, after TEXT NOT NULL, reason TEXT NOT NULL, source TEXT NOT NULL,
    epoch INTEGER NOT NULL) STRICT;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY, at_utc_ns INTEGER NOT NULL, request_id TEXT NOT NULL, verb TEXT NOT NULL,
    reason TEXT NOT NULL, operator TEXT NOT NULL, accepted INTEGER NOT NULL, refusal TEXT NOT NULL,
    state TEXT NOT NULL, epoch INTEGER NOT NULL) STRICT;
"""


class CorruptControlError(Exception):
    """The store is missing although it existed, is damaged, or holds what this version does not know."""


@dataclass(frozen=True, slots=True)
class OperatorStanding:
    """The trading state an operator last asked for."""

    state: TradingState
    reason: str
    operator: str
    at_utc_ns: int


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One operator command and what became of it; ``refusal`` empty: it was carried out."""

    command: OperatorCommand
    at_utc_ns: int
    refusal: str
    state: TradingState
    """The trading state an operator asks for after it."""


def marker_path(path: Path) -> Path:
    """Says that the store existed, so that a vanished one is not taken for a first start."""
    return path.with_suffix(".made")


def unsaved_path(path: Path) -> Path:
    """The marker's name while something that holds is not in the store."""
    return path.with_suffix(".unsaved")


def mark_unsaved(path: Path) -> None:
    """Say to the next watchdog that the store lacks something. A rename needs no room on a full disk."""
    with contextlib.suppress(OSError):  # a disk that refuses this too leaves what holds in memory alone
        marker_path(path).rename(unsaved_path(path))


def mark_saved(path: Path) -> None:
    """The store holds everything again. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        unsaved_path(path).rename(marker_path(path))


class ControlStore:
    """The open store. Writing methods raise ``sqlite3.Error`` when the disk refuses."""

    def __init__(self, path: Path, *, epoch: int) -> None:
        """Open or make the store; raises CorruptControlError or OSError."""
        self.path = path
        self._epoch = epoch
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._existed() and not path.exists():
            raise CorruptControlError(f"{path} existed and is gone")
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=2.0)
            self._open()
        except sqlite3.Error as error:
            raise CorruptControlError(f"{path}: {error}") from error
        if not self._existed():
            durable.create(marker_path(path), b"")

    def _existed(self) -> bool:
        return marker_path(self.path).exists() or unsaved_path(self.path).exists()

    def _open(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        found = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if found != ("ok",):
            raise CorruptControlError(f"{self.path}: {found[0] if found else 'no answer to quick_check'}")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            if self._existed():
                raise CorruptControlError(f"{self.path} existed and is empty now")
            self._db.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
        elif version != SCHEMA_VERSION:
            raise CorruptControlError(f"{self.path}: schema {version}, this build knows {SCHEMA_VERSION}")
        for table in ("transitions", "audit"):
            self._db.execute(
                f"DELETE FROM {table} WHERE id <= (SELECT max(id) FROM {table}) - ?",  # noqa: S608 - fixed names
                (KEEP_EVENTS,),
            )

    def read_standing(self) -> OperatorStanding | None:
        """What the operator last asked for; None before the first time. Raises CorruptControlError."""
        try:
            row = self._db.execute("SELECT state, reason, operator, at_utc_ns FROM operator").fetchone()
            return None if row is None else OperatorStanding(TradingState(row[0]), row[1], row[2], row[3])
        except (sqlite3.Error, ValueError) as error:
            raise CorruptControlError(f"{self.path}: operator state: {error}") from error

    def read_breakers(self) -> tuple[Breaker, ...]:
        """Every breaker that ever tripped, as last written. Raises CorruptControlError."""
        query = "SELECT name, scope, state, reason, since_utc_ns, trips, effect, hold_s FROM breakers"
        try:
            return tuple(
                Breaker(
                    BreakerName(name), scope, BreakerState(state), reason, since, trips, TradingState(effect), hold_s, 0
                )
                for name, scope, state, reason, since, trips, effect, hold_s in self._db.execute(query)
            )
        except (sqlite3.Error, ValueError) as error:
            raise CorruptControlError(f"{self.path}: breakers: {error}") from error

    def read_meta(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def read_released_by(self) -> str:
        """The request id of the newest release; empty before the first. Raises ``sqlite3.Error``."""
        return self.read_meta(RELEASED_BY) or ""

    def write_meta(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def write_breakers(self, rows: Iterable[Breaker], moved: Iterable[Transition]) -> None:
        """One transaction: the rows as they are now and what moved."""
        with _Transaction(self._db):
            self._db.executemany(
                "INSERT OR REPLACE INTO breakers VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (row.name, row.scope, row.state, row.reason, row.since_utc_ns, row.trips, row.effect, row.hold_s)
                    for row in rows
                ],
            )
            self._db.executemany(
                "INSERT INTO transitions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (one.at_utc_ns, one.breaker, one.scope, one.before, one.after, one.reason, one.by, self._epoch)
                    for one in moved
                ],
            )

    def write_standing(self, standing: OperatorStanding) -> None:
        self._write_standing(standing)

    def write_resume(self, standing: OperatorStanding) -> None:
        """One transaction: trading is permitted, and every start before this one is acknowledged by an operator."""
        with _Transaction(self._db):
            self._write_standing(standing)
            self.write_meta(ACKNOWLEDGED, str(self._epoch))

    def write_release(self, standing: OperatorStanding, request_id: str) -> None:
        """One transaction: the kill is lifted, and by which word, which ends what earlier kills have under way."""
        with _Transaction(self._db):
            self._write_standing(standing)
            self.write_meta(RELEASED_BY, request_id)

    def _write_standing(self, standing: OperatorStanding) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO operator VALUES (1, ?, ?, ?, ?)",
            (standing.state, standing.reason, standing.operator, standing.at_utc_ns),
        )

    def write_command(self, audited: AuditLine) -> None:
        """Every operator command leaves a line, the refused ones too."""
        command = audited.command
        options = "".join(f" [{name}]" for name in ("flatten", "cancel_all") if getattr(command, name))
        self._db.execute(
            "INSERT INTO audit VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                audited.at_utc_ns,
                command.request_id,
                command.verb,
                command.reason + options,
                command.operator,
                not audited.refusal,
                audited.refusal,
                audited.state,
                self._epoch,
            ),
        )

    def was_accepted(self, request_id: str, verb: str) -> bool:
        """Whether this very command was carried out in this start of the daemon."""
        query = "SELECT 1 FROM audit WHERE request_id=? AND verb=? AND epoch=? AND accepted=1"
        return self._db.execute(query, (request_id, verb, self._epoch)).fetchone() is not None

    def audit_lines(self) -> list[tuple[str, str, str, bool]]:
        """(verb, operator, reason, accepted), oldest first."""
        query = "SELECT verb, operator, reason, accepted FROM audit ORDER BY id"
        return [
            (verb, operator, reason, bool(accepted)) for verb, operator, reason, accepted in self._db.execute(query)
        ]

    def close(self) -> None:
        self._db.close()


def acknowledged_before(path: Path) -> int:
    """The epoch of the start in which an operator resumed last: how earlier starts ended is dealt with.

    0 when nobody ever did, or when the store cannot say: then every start counts.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0)) as db:
            row = db.execute("SELECT value FROM meta WHERE key = ?", (ACKNOWLEDGED,)).fetchone()
            return 0 if row is None else int(row[0])
    except (sqlite3.Error, ValueError):
        return 0


class _Transaction:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._db.execute("COMMIT" if kind is None else "ROLLBACK")
        finally:
            if self._db.in_transaction:  # a refused commit leaves it open
                self._db.execute("ROLLBACK")


def set_aside(path: Path, utc_ns: int) -> Path:
    """Move a damaged store (with its journal) out of the way, keep it for inspection; return where it went."""
    target = path.with_name(f"{path.name}.corrupt-{utc_ns}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(target.with_name(target.name + suffix))
    marker_path(path).unlink(missing_ok=True)
    unsaved_path(path).unlink(missing_ok=True)
    return target
