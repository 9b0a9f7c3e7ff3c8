"""A small SQLite store with one writer: its file, its lock, its schema, its commits.

WAL mode with ``synchronous=FULL``: what is written survives a power cut. Each commit takes about 4 ms.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar


class OneWriterStore:
    """A room's store derives from it. All methods raise ``ERROR``, whose text names the file and what to do.

    ``TABLES``: statements that may run again; ``VERSION``: of the schema; ``WAY_OUT``: from a damaged file.
    """

    ERROR: ClassVar[type[Exception]]
    TABLES: ClassVar[str]
    VERSION: ClassVar[int]
    WAY_OUT: ClassVar[str]

    def __init__(self, path: Path) -> None:
        """Open it or make it. Raises BlockingIOError while the former incarnation still holds it."""
        self.path = path
        self._lock_fd = -1
        self._connection: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock_fd = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=1.0)
            self._open()
        except BlockingIOError:
            self.close()
            raise
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise self.ERROR(f"{path}: cannot be opened: {error}; {self.WAY_OUT}") from error
        except self.ERROR:
            self.close()
            raise

    @property
    def _db(self) -> sqlite3.Connection:
        assert self._connection is not None
        return self._connection

    def _open(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        found = self._db.execute("PRAGMA integrity_check").fetchone()[0]
        if found != "ok":
            raise self.ERROR(f"{self.path}: damaged ({found}); {self.WAY_OUT}")
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version not in (0, self.VERSION):
            raise self.ERROR(f"{self.path}: has schema {version}, this build knows {self.VERSION}")
        with self._commit():
            for statement in self.TABLES.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version={self.VERSION}")

    def close(self) -> None:
        """Let go of file and lock; may be called twice."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    @contextmanager
    def _commit(self) -> Iterator[None]:
        """All of it or nothing, on the disk before it returns."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.Error:
                pass  # nothing was begun, or SQLite rolled back by itself
            raise self.ERROR(f"{self.path}: cannot be written: {error}") from error
