"""``money.db``: what the wallets must hold, the flows nobody has explained yet, what an operator accepted.

The reconciler is its one writer. Flows are only ever added and accepted, never changed.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from actors.messages.reconcile import OpenFlow
from actors.one_writer import OneWriterStore
from actors.reconciler.money import Baseline, NewFlow

_TABLES = """
CREATE TABLE IF NOT EXISTS baseline (id INTEGER PRIMARY KEY CHECK (id = 1), body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS flows (
    n INTEGER PRIMARY KEY AUTOINCREMENT, currency TEXT NOT NULL, amount TEXT NOT NULL, expected TEXT NOT NULL,
    held TEXT NOT NULL, found_utc_ns INTEGER NOT NULL, accepted_utc_ns INTEGER, operator TEXT, reason TEXT,
    request_id TEXT) STRICT;
CREATE TABLE IF NOT EXISTS acceptances (
    request_id TEXT PRIMARY KEY, at_utc_ns INTEGER NOT NULL, verb TEXT NOT NULL, operator TEXT NOT NULL,
    reason TEXT NOT NULL, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS acknowledged (key TEXT PRIMARY KEY, request_id TEXT NOT NULL) STRICT;
"""


class MoneyStoreError(Exception):
    """The store cannot be read or written; the text names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What an operator accepted, once per request."""

    request_id: str
    at_utc_ns: int
    verb: str
    operator: str
    reason: str


class MoneyStore(OneWriterStore):
    """``money.db``. All methods raise MoneyStoreError."""

    ERROR = MoneyStoreError
    TABLES = _TABLES
    VERSION = 1
    WAY_OUT = "restore a backup, or move it away, restart and `run.py baseline accept` once the balances are right"

    # --- writing ---------------------------------------------------------------------------------------

    def keep(self, baseline: Baseline, flows: Iterable[NewFlow], now_utc_ns: int) -> None:
        """Open new flows and move what is expected by them, in one commit: neither is ever there alone."""
        with self._commit():
            for flow in flows:
                values = (flow.currency, str(flow.amount), str(flow.expected), str(flow.held), now_utc_ns)
                sql = "INSERT INTO flows (currency, amount, expected, held, found_utc_ns) VALUES (?,?,?,?,?)"
                self._db.execute(sql, values)
            self._put(baseline)

    def accept_flows(self, acceptance: Acceptance, names: Collection[str]) -> tuple[OpenFlow, ...]:
        """Close these open flows as deposits or withdrawals; returns those, the same ones for the same request."""
        with self._commit():
            if self._record(acceptance, ""):
                for name in names:
                    self._close_flows(acceptance, "AND 'flow-' || n = ?", name)
        return self._flows("request_id = ?", acceptance.request_id)

    def accept_baseline(self, acceptance: Acceptance, baseline: Baseline, keys: Iterable[str], body: str) -> None:
        """Start from ``baseline``: all flows are closed, and ``keys`` (differences) never count again."""
        with self._commit():
            if self._record(acceptance, body):
                self._close_flows(acceptance)
                rows = [(key, acceptance.request_id) for key in keys]
                self._db.executemany("INSERT OR IGNORE INTO acknowledged VALUES (?, ?)", rows)
                self._put(baseline)

    def _record(self, acceptance: Acceptance, body: str) -> bool:
        values = (acceptance.request_id, acceptance.at_utc_ns, acceptance.verb, acceptance.operator, acceptance.reason)
        made = self._db.execute("INSERT OR IGNORE INTO acceptances VALUES (?,?,?,?,?,?)", (*values, body))
        return made.rowcount == 1

    def _close_flows(self, acceptance: Acceptance, which: str = "", *names: str) -> None:
        sql = f"""UPDATE flows SET accepted_utc_ns = ?, operator = ?, reason = ?, request_id = ?
            WHERE accepted_utc_ns IS NULL {which}"""  # noqa: S608 - constants
        values = (acceptance.at_utc_ns, acceptance.operator, acceptance.reason, acceptance.request_id)
        self._db.execute(sql, (*values, *names))

    def _put(self, baseline: Baseline) -> None:
        self._db.execute("INSERT OR REPLACE INTO baseline VALUES (1, ?)", (to_json(baseline),))

    # --- reading ---------------------------------------------------------------------------------------

    def baseline(self) -> Baseline | None:
        """What was kept last; None when nothing ever was."""
        row = self._read("SELECT body FROM baseline").fetchone()
        if row is None:
            return None
        try:
            return from_json(row[0])
        except ValueError as error:
            raise MoneyStoreError(f"{self.path}: {error}; {self.WAY_OUT}") from error

    def open_flows(self) -> tuple[OpenFlow, ...]:
        return self._flows("accepted_utc_ns IS NULL")

    def acknowledged(self) -> frozenset[str]:
        """Keys of differences that an operator accepted with a baseline."""
        return frozenset(row[0] for row in self._read("SELECT key FROM acknowledged"))

    def acceptance(self, request_id: str) -> str | None:
        """What was kept of this request, None when it was not carried out."""
        row = self._read("SELECT body FROM acceptances WHERE request_id = ?", request_id).fetchone()
        return None if row is None else str(row[0])

    def _flows(self, where: str, *values: object) -> tuple[OpenFlow, ...]:
        sql = f"SELECT n, currency, amount, expected, held, found_utc_ns FROM flows WHERE {where} ORDER BY n"  # noqa: S608 - constants
        try:
            return tuple(
                OpenFlow(f"flow-{n}", currency, Decimal(amount), Decimal(expected), Decimal(held), found_utc_ns)
                for n, currency, amount, expected, held, found_utc_ns in self._read(sql, *values)
            )
        except (InvalidOperation, TypeError) as error:
            raise MoneyStoreError(f"{self.path}: a flow cannot be read: {error!r}; {self.WAY_OUT}") from error

    def _read(self, sql: str, *values: object) -> sqlite3.Cursor:
        try:
            return self._db.execute(sql, values)
        except sqlite3.Error as error:
            raise MoneyStoreError(f"{self.path}: cannot be read: {error}; {self.WAY_OUT}") from error


def to_json(baseline: Baseline) -> str:
    held = {currency: str(total) for currency, total in baseline.totals.items()}
    return json.dumps({"totals": held, "fills": sorted(baseline.fills), "read_utc_ns": baseline.read_utc_ns})


def from_json(body: str) -> Baseline:
    """Raises ValueError for anything but what ``to_json`` wrote."""
    try:
        kept = json.loads(body)
        held = {str(currency): Decimal(total) for currency, total in kept["totals"].items()}
        return Baseline(held, frozenset(map(str, kept["fills"])), int(kept["read_utc_ns"]))
    except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"no baseline: {error!r}") from error
