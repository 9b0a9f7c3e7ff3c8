"""What the ledger answers: orders, fills, books, plans and documents, each read when it is asked for."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from decimal import Decimal

import orjson

from actors.messages.market import ProductRules
from actors.orders import rows, schema
from actors.orders.positions import Book
from actors.orders.records import ADOPTED, FillRecord, OrderRecord


@dataclass(frozen=True, slots=True)
class Plan:
    """What the newest entry on a symbol wants: prices in quote currency, the end of the maximum holding time."""

    symbol: str
    stop: Decimal | None
    target: Decimal | None
    exit_due_utc_ns: int | None
    client_order_id: str
    correlation_id: str


class LedgerReads:
    """The ledger's questions; asking changes nothing."""

    _db: sqlite3.Connection

    def _meta(self, key: str) -> str | None:
        row = self._db.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
        return None if row is None else str(row[0])

    @property
    def head(self) -> int:
        """The highest n given out."""
        return int(self._meta("head") or 0)

    def _orders(self, where: str, *values: object) -> list[OrderRecord]:
        sql = f"SELECT * FROM orders WHERE {where} ORDER BY n"  # noqa: S608 - where is a constant of this module
        return [rows.order_from_row(row) for row in self._db.execute(sql, values)]

    def order(self, client_order_id: str) -> OrderRecord | None:
        return next(iter(self._orders("client_order_id=?", client_order_id)), None)

    def order_by_venue_id(self, order_id: str) -> OrderRecord | None:
        return next(iter(self._orders("order_id=?", order_id)), None)

    def working(self, symbol: str | None = None) -> list[OrderRecord]:
        """Orders that are not terminal, oldest first."""
        if symbol is None:
            return self._orders("working=1")
        return self._orders("working=1 AND symbol=?", symbol)

    def orders_since(self, since_utc_ns: int) -> list[OrderRecord]:
        """Every working order and every order created or changed at or after ``since_utc_ns``."""
        return self._orders("working=1 OR changed_utc_ns>=? OR created_utc_ns>=?", since_utc_ns, since_utc_ns)

    def adopted_after(self, n: int, symbol: str) -> list[OrderRecord]:
        """Orders of the symbol that an operator had taken in from the venue after the intent of number ``n``."""
        return self._orders("n>? AND symbol=? AND correlation_id=?", n, symbol, ADOPTED)

    def newest_orders(self, limit: int) -> list[OrderRecord]:
        """The last ``limit`` intents, newest first."""
        return list(reversed(self._orders("n > (SELECT COALESCE(MAX(n), 0) FROM orders) - ?", limit)))

    def has_fill(self, entry_id: str) -> bool:
        return self._db.execute("SELECT 1 FROM fills WHERE entry_id=?", (entry_id,)).fetchone() is not None

    def fill(self, entry_id: str) -> FillRecord | None:
        """The fill as it was first told, booked or not."""
        row = self._db.execute("SELECT * FROM fills WHERE entry_id=?", (entry_id,)).fetchone()
        return None if row is None else rows.fill_from_row(row)

    def fill_type(self, entry_id: str) -> str:
        """What kind of trade the fill was first told to be; empty when it is not known."""
        row = self._db.execute("SELECT trade_type FROM fills WHERE entry_id=?", (entry_id,)).fetchone()
        return "" if row is None else str(row[0])

    def booked_fill(self, entry_id: str) -> FillRecord | None:
        row = self._db.execute("SELECT * FROM fills WHERE entry_id=? AND booked=1", (entry_id,)).fetchone()
        return None if row is None else rows.fill_from_row(row)

    def last_event(self, kind: str, key: str) -> dict[str, object] | None:
        """The body of the newest event of this kind about ``key``."""
        sql = "SELECT body FROM events WHERE key=? AND kind=? ORDER BY n DESC LIMIT 1"
        row = self._db.execute(sql, (key, kind)).fetchone()
        return None if row is None else orjson.loads(row[0])

    def is_accepted(self, key: str, text: str) -> bool:
        """Whether an anomaly of this key and text was reported, and what the venue shows was accepted after that."""
        sql = """SELECT body FROM events WHERE kind='anomaly' AND key=? AND n <
            (SELECT COALESCE(MAX(n), 0) FROM events WHERE kind='baseline_accepted')"""
        return any(orjson.loads(row[0]).get("text") == text for row in self._db.execute(sql, (key,)))

    def fills_of_symbol(self, symbol: str) -> list[FillRecord]:
        sql = "SELECT * FROM fills WHERE symbol=? AND booked=1 ORDER BY trade_utc_ns, entry_id"
        return [rows.fill_from_row(row) for row in self._db.execute(sql, (symbol,))]

    def fill_ids_since(self, since_utc_ns: int) -> tuple[str, ...]:
        """The venue's own fills, booked or not; what an operator vouched for or accepted is none of them."""
        sql = """SELECT entry_id FROM fills WHERE trade_utc_ns>=? AND trade_type NOT IN (?,?,?)
            ORDER BY trade_utc_ns, entry_id"""
        return tuple(row[0] for row in self._db.execute(sql, (since_utc_ns, *schema.OWN_TYPES)))

    def unbooked(self) -> list[tuple[str, FillRecord]]:
        """Adjustments of the venue that no operator has had booked yet, with their type, oldest first."""
        sql = """SELECT * FROM fills AS kept WHERE booked=0 AND trade_type IN ('REVERSAL','CORRECTION','SYNTHETIC')
            AND NOT EXISTS (SELECT 1 FROM fills WHERE entry_id='booked:' || kept.entry_id)
            ORDER BY trade_utc_ns, entry_id"""
        return [(row["trade_type"], rows.fill_from_row(row)) for row in self._db.execute(sql)]

    def book(self, symbol: str) -> Book:
        row = self._db.execute("SELECT * FROM positions WHERE symbol=?", (symbol,)).fetchone()
        return Book(symbol) if row is None else rows.book_from_row(row)

    def books(self) -> list[Book]:
        return [rows.book_from_row(row) for row in self._db.execute("SELECT * FROM positions ORDER BY symbol")]

    def plan(self, symbol: str) -> Plan | None:
        row = self._db.execute("SELECT * FROM plans WHERE symbol=?", (symbol,)).fetchone()
        if row is None:
            return None
        return Plan(symbol, rows.decimal(row[1]), rows.decimal(row[2]), row[3], row[4], row[5])

    def pnl_days(self) -> list[tuple[int, Decimal, Decimal]]:
        """(day start, realized, fees), one row per symbol and day."""
        sql = "SELECT day_utc_ns, realized, fees FROM pnl"
        return [(row[0], Decimal(row[1]), Decimal(row[2])) for row in self._db.execute(sql)]

    def proposal_result(self, proposal_id: str) -> str | None:
        row = self._db.execute("SELECT result FROM proposals WHERE proposal_id=?", (proposal_id,)).fetchone()
        return None if row is None else str(row[0])

    def newest_proposals(self, limit: int) -> tuple[str, ...]:
        sql = "SELECT proposal_id FROM proposals ORDER BY seq DESC LIMIT ?"
        return tuple(row[0] for row in self._db.execute(sql, (limit,)))

    def counts(self) -> tuple[tuple[str, str, int], ...]:
        """(state, role, count) over all orders."""
        sql = "SELECT state, role, COUNT(*) FROM orders GROUP BY state, role ORDER BY state, role"
        return tuple((row[0], row[1], row[2]) for row in self._db.execute(sql))

    def last_event_utc_ns(self) -> int | None:
        """When the newest event was written; None before the first."""
        row = self._db.execute("SELECT at_utc_ns FROM events ORDER BY n DESC LIMIT 1").fetchone()
        return None if row is None else int(row[0])

    def behind(self, anomaly: str) -> set[str]:
        """Symbols with an anomaly of this kind, unless an operator has trusted their books since."""
        found: set[str] = set()
        for row in self._db.execute(
            "SELECT kind, key, body FROM events WHERE kind IN ('anomaly', 'trusted') ORDER BY n"
        ):
            body = orjson.loads(row["body"])
            if row["kind"] == "trusted":
                found.discard(row["key"])
            elif body["kind"] == anomaly and "symbol" in body:
                found.add(body["symbol"])
        return found

    def rules(self) -> dict[str, ProductRules]:
        return {row[0]: rows.rules_from_json(row[1]) for row in self._db.execute("SELECT symbol, body FROM rules")}

    def documents(self, table: str) -> dict[str, str]:
        assert table in ("handovers", "stops")
        return {row[0]: row[1] for row in self._db.execute(f"SELECT * FROM {table}")}  # noqa: S608
