"""The risk manager's durable state: locks, counters, high water, latches, reservations (``risk.db``).

An approval is written before it is sent, so a restart can only remember more than was done, never less.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import orjson

from actors.clock import NS_PER_S
from actors.messages.health import BreakerName
from actors.messages.market import Side
from actors.one_writer import OneWriterStore
from actors.risk.books import Books, Reservation
from actors.risk.locks import Approved, Lock, Locks
from actors.risk.losses import Latch, LossState

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS cooldowns (scope TEXT PRIMARY KEY, ends_utc_ns INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS closes (symbol TEXT PRIMARY KEY, closed_utc_ns INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS held (symbol TEXT PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS approvals (
    proposal_id TEXT PRIMARY KEY, symbol TEXT NOT NULL, side TEXT NOT NULL, at_utc_ns INTEGER NOT NULL,
    amount TEXT NOT NULL, base_size TEXT NOT NULL, expires_utc_ns INTEGER NOT NULL) STRICT;
"""


class StateError(Exception):
    """The store cannot be read or written; the text names the file and what to do."""


@dataclass(slots=True)
class Remembered:
    """What the store held. ``fresh``: it did not exist before."""

    locks: Locks
    books: Books
    losses: LossState | None
    held: set[str]
    fresh: bool


class RiskStore(OneWriterStore):
    """The one writer of ``risk.db``. All methods raise ``StateError``."""

    ERROR = StateError
    TABLES = _TABLES
    VERSION = 1
    WAY_OUT = "restore a backup, or move it away and accept lost locks"

    def __init__(self, path: Path) -> None:
        self.fresh = not path.exists()
        try:
            super().__init__(path)
        except BlockingIOError as error:  # it is tried again: entries are refused until it opens
            raise StateError(f"{path}: another process holds it: {error}") from error

    # --- writing ---------------------------------------------------------------------------------------

    def approve(self, approved: Approved, reservation: Reservation, expires_utc_ns: int, keep_ns: int) -> None:
        """Remember an approval and its reservation; forgets those older than ``keep_ns``."""
        row = (
            approved.proposal_id,
            approved.symbol,
            approved.side.value,
            approved.at_utc_ns,
            str(reservation.amount),
            str(reservation.base_size),
            expires_utc_ns,
        )
        with self._commit():
            self._db.execute("DELETE FROM approvals WHERE at_utc_ns < ?", (approved.at_utc_ns - keep_ns,))
            self._db.execute("INSERT INTO approvals VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def closed(self, symbol: str, closed_utc_ns: int, locks: Locks) -> None:
        """Remember a round trip with the locks it caused."""
        with self._commit():
            self._db.execute("INSERT OR REPLACE INTO closes VALUES (?, ?)", (symbol, closed_utc_ns))
            self._db.execute("DELETE FROM held WHERE symbol = ?", (symbol,))
            self._put("streak", str(locks.streak))
            self._put_cooldowns(locks)

    def locked(self, locks: Locks) -> None:
        """Remember the locks and the streak alone."""
        with self._commit():
            self._put("streak", str(locks.streak))
            self._put_cooldowns(locks)

    def holds(self, symbols: Iterable[str]) -> None:
        """Remember on which symbols positions are held."""
        with self._commit():
            self._db.execute("DELETE FROM held")
            self._db.executemany("INSERT INTO held VALUES (?)", [(symbol,) for symbol in sorted(symbols)])

    def lose(self, losses: LossState) -> None:
        """Remember the loss books and their latches."""
        value = {
            "high": str(losses.high),
            "last": str(losses.last),
            "day_start_utc_ns": losses.day_start_utc_ns,
            "day_open": str(losses.day_open),
            "week_start_utc_ns": losses.week_start_utc_ns,
            "week_open": str(losses.week_open),
            "latches": [[item.breaker.value, item.reason, item.seen] for item in losses.latches],
        }
        with self._commit():
            self._put("losses", orjson.dumps(value).decode())

    def _put(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def _put_cooldowns(self, locks: Locks) -> None:
        self._db.execute("DELETE FROM cooldowns")
        rows = [(scope, lock.ends_utc_ns) for scope, lock in locks.cooldowns.items()]
        self._db.executemany("INSERT INTO cooldowns VALUES (?, ?)", rows)

    # --- reading ---------------------------------------------------------------------------------------

    def load(self, now_boot_ns: int, now_utc_ns: int, approval_life_s: float) -> Remembered:
        """Everything remembered, brought onto this boot's clock. Doubt lengthens a lock, it never shortens one."""
        try:
            locks = Locks()
            for scope, ends_utc_ns in self._db.execute("SELECT scope, ends_utc_ns FROM cooldowns"):
                left = ends_utc_ns - now_utc_ns
                if left > 0:
                    locks.cooldowns[scope] = Lock(now_boot_ns + left, ends_utc_ns)
            locks.streak = int(self._meta("streak") or "0")
            locks.last_close_utc_ns = dict(self._db.execute("SELECT symbol, closed_utc_ns FROM closes"))
            books = self._load_approvals(locks, now_boot_ns, now_utc_ns, approval_life_s)
            held = {row[0] for row in self._db.execute("SELECT symbol FROM held")}
            return Remembered(locks, books, self._load_losses(), held, self.fresh)
        except (sqlite3.Error, ValueError, KeyError, TypeError, InvalidOperation) as error:
            raise StateError(f"{self.path}: cannot be read: {type(error).__name__}: {error}") from error

    def _load_approvals(self, locks: Locks, now_boot_ns: int, now_utc_ns: int, approval_life_s: float) -> Books:
        """Every remembered approval counts as one that may still become an order, until a snapshot says otherwise."""
        books = Books()
        life_ns = round(approval_life_s * NS_PER_S)
        rows = self._db.execute(
            "SELECT proposal_id, symbol, side, at_utc_ns, amount, base_size, expires_utc_ns FROM approvals"
            " ORDER BY at_utc_ns"
        )
        for key, symbol, side, at_utc_ns, amount, base_size, expires_utc_ns in rows:
            age = max(0, now_utc_ns - at_utc_ns)
            locks.approvals.append(Approved(key, symbol, Side(side), now_boot_ns - age, at_utc_ns))
            expires = now_boot_ns + min(max(0, expires_utc_ns - now_utc_ns), life_ns)
            books.reserve(Reservation(key, symbol, Side(side), Decimal(amount), Decimal(base_size), expires))
        return books

    def _meta(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def _load_losses(self) -> LossState | None:
        text = self._meta("losses")
        if text is None:
            return None
        value = orjson.loads(text)
        return LossState(
            high=Decimal(value["high"]),
            last=Decimal(value["last"]),
            day_start_utc_ns=int(value["day_start_utc_ns"]),
            day_open=Decimal(value["day_open"]),
            week_start_utc_ns=int(value["week_start_utc_ns"]),
            week_open=Decimal(value["week_open"]),
            latches=tuple(Latch(BreakerName(name), reason, bool(seen)) for name, reason, seen in value["latches"]),
        )
