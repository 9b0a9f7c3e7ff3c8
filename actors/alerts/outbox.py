"""The outbox: every alert durable until it is delivered, over restarts; one that the disk refuses stays in memory."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from actors.alerts.dedupe import rank
from actors.messages.health import Alert, Severity

SCHEMA_VERSION = 1
MAX_WAITING = 5_000
"""More undelivered alerts than this: the oldest of the least urgent are given up (counted, still in the log)."""

_SCHEMA = """
CREATE TABLE alerts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT NOT NULL UNIQUE, at_utc_ns INTEGER NOT NULL, severity TEXT NOT NULL,
    key TEXT NOT NULL, text TEXT NOT NULL, raised_by TEXT NOT NULL, correlation_id TEXT NOT NULL,
    repeated INTEGER NOT NULL, attempts INTEGER NOT NULL, done TEXT NOT NULL) STRICT;
CREATE INDEX waiting ON alerts (done) WHERE done = '';
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One alert in the outbox. ``uid`` stays the same over retries, so that a receiver can drop doubles."""

    uid: str
    at_utc_ns: int
    alert: Alert
    repeated: int
    attempts: int = 0


class Outbox:
    """Open it in ``restore``. No method raises for the disk: ``trouble`` says what went wrong last."""

    def __init__(self, path: Path, keep: int) -> None:
        self._path = path
        self._keep = keep
        self._waiting: dict[str, Entry] = {}
        self._db: sqlite3.Connection | None = None
        self.trouble = ""
        self.given_up = 0
        self._recent: list[tuple[str, Severity, int]] = []

    def open(self, utc_ns: int) -> None:
        """Take over what was not delivered; a damaged file is put aside, since paging must go on."""
        try:
            self._connect()
        except (sqlite3.Error, OSError, ValueError) as error:
            self.trouble = f"outbox put aside: {error}"
            self._waiting.clear()
            try:
                for suffix in ("", "-wal", "-shm"):
                    part = self._path.with_name(self._path.name + suffix)
                    if part.exists():
                        part.rename(part.with_name(f"{part.name}.corrupt-{utc_ns}"))
                self._connect()
            except (sqlite3.Error, OSError, ValueError) as second:
                self._db = None
                self.trouble = f"no outbox, alerts are kept in memory: {second}"

    def _connect(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self._path, isolation_level=None, timeout=1.0)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            db.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
        elif version != SCHEMA_VERSION:
            raise ValueError(f"schema {version}, this build knows {SCHEMA_VERSION}")
        query = "SELECT uid, at_utc_ns, severity, key, text, raised_by, correlation_id, repeated, attempts FROM alerts"
        for row in db.execute(f"{query} WHERE done = '' ORDER BY id"):
            alert = Alert(severity=Severity(row[2]), key=row[3], text=row[4], by=row[5], correlation_id=row[6])
            self._waiting[row[0]] = Entry(row[0], row[1], alert, row[7], row[8])
        newest = db.execute("SELECT key, severity, max(at_utc_ns) FROM alerts GROUP BY key").fetchall()
        self._recent = [(key, Severity(severity), at) for key, severity, at in newest]
        self._db = db

    def recent(self) -> Iterator[tuple[str, Severity, int]]:
        """(key, severity, utc ns) of the newest stored alert per key: what dedupe must still know."""
        return iter(self._recent)

    def add(self, alert: Alert, *, at_utc_ns: int, repeated: int, deliver: bool) -> None:
        """Store one alert; ``deliver`` False: it is in the log, nothing more is to be done."""
        entry = Entry(uuid.uuid4().hex, at_utc_ns, alert, repeated)
        if deliver:
            self._waiting[entry.uid] = entry
        self._write(
            "INSERT INTO alerts VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)",
            (
                entry.uid,
                at_utc_ns,
                alert.severity,
                alert.key,
                alert.text,
                alert.by,
                alert.correlation_id,
                repeated,
                "" if deliver else "logged",
            ),
        )
        if len(self._waiting) > MAX_WAITING:
            victim = min(self._waiting.values(), key=lambda one: (rank(one.alert.severity), one.at_utc_ns))
            self.given_up += 1
            self._finish(victim.uid, "given up")

    def next(self) -> Entry | None:
        """What to deliver next: the least tried first, so that one bad entry does not hold up the rest; then
        the most urgent, then the oldest."""
        if not self._waiting:
            return None
        return min(self._waiting.values(), key=lambda one: (one.attempts, -rank(one.alert.severity), one.at_utc_ns))

    def delivered(self, uid: str) -> None:
        self._finish(uid, "delivered")
        self._write("DELETE FROM alerts WHERE done != '' AND id <= (SELECT max(id) FROM alerts) - ?", (self._keep,))

    def failed(self, uid: str) -> None:
        entry = self._waiting.get(uid)
        if entry is not None:
            self._waiting[uid] = replace(entry, attempts=entry.attempts + 1)
            self._write("UPDATE alerts SET attempts = attempts + 1 WHERE uid = ?", (uid,))

    def waiting(self) -> int:
        return len(self._waiting)

    def close(self) -> None:
        if self._db is not None:
            self._db.close()

    def _finish(self, uid: str, how: str) -> None:
        self._waiting.pop(uid, None)
        self._write("UPDATE alerts SET done = ? WHERE uid = ?", (how, uid))

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        if self._db is None:
            return
        try:
            self._db.execute(statement, values)
            self.trouble = ""
        except sqlite3.Error as error:
            self.trouble = f"outbox not written: {error}"
