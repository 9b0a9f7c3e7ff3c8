"""What survives a kill -9: orders, fills, wallets and the market's state, in SQLite."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from pathlib import Path

import orjson

from simulator.engine import Engine
from simulator.orders import pack, unpack_fill, unpack_order
from simulator.rules import Changes
from simulator.values import Json

_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (order_id TEXT PRIMARY KEY, created_ns INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS fills (sequence INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS wallets (currency TEXT PRIMARY KEY, available TEXT NOT NULL, hold TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, body BLOB NOT NULL);
"""


class Store:
    """One SQLite file; `save` returns when the change is on disk."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    def save(self, changes: Changes, meta: dict[str, Json] | None = None) -> None:
        """Write changed orders, new fills, changed wallets and named state in one transaction."""
        if not (changes.orders or changes.fills or changes.wallets or meta):
            return
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany(
                "INSERT INTO orders VALUES (?,?,?) ON CONFLICT(order_id) DO UPDATE SET body=excluded.body",
                [(o.order_id, o.created_ns, orjson.dumps(pack(o))) for o in changes.orders],
            )
            db.executemany("INSERT INTO fills VALUES (?,?)",
                           [(f.sequence, orjson.dumps(pack(f))) for f in changes.fills])
            db.executemany("INSERT OR REPLACE INTO wallets VALUES (?,?,?)",
                           [(w.currency, str(w.available), str(w.hold)) for w in changes.wallets])
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?,?)",
                           [(name, orjson.dumps(body)) for name, body in (meta or {}).items()])
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise

    def meta(self, name: str) -> Json | None:
        """Return named state, or None when it was never saved."""
        row = self._db.execute("SELECT body FROM meta WHERE name=?", (name,)).fetchone()
        if row is None:
            return None
        body: Json = orjson.loads(row[0])
        return body

    def load_into(self, engine: Engine, now_ns: int) -> bool:
        """Put everything stored into a fresh engine; returns False when there was nothing."""
        wallets = self._db.execute("SELECT currency, available, hold FROM wallets").fetchall()
        for currency, available, hold in wallets:
            engine.wallets.restore(currency, Decimal(available), Decimal(hold))
        orders = self._db.execute("SELECT body FROM orders ORDER BY created_ns, rowid").fetchall()
        fills = self._db.execute("SELECT body FROM fills ORDER BY sequence").fetchall()
        engine.restore((unpack_order(orjson.loads(row[0])) for row in orders),
                       (unpack_fill(orjson.loads(row[0])) for row in fills), now_ns)
        return bool(wallets)

    def close(self) -> None:
        """Close the file."""
        self._db.close()
