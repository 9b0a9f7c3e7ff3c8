"""Snapshots: every projection as it was after event n, written only when it was just proven to follow from the events.

A start then computes only what came after. A snapshot that is damaged, or whose event is not the one it was made
at, is passed over and said; without a good one everything is computed from the first event.
"""

from __future__ import annotations

import sqlite3
import zlib
from dataclasses import dataclass
from hashlib import blake2b

import orjson

from actors.orders import projections
from actors.orders.projections import Projections, Tables

EVERY = 5_000
"""Events after which a start writes the next one: they take about 0.1 s to compute."""
KEPT = 2


@dataclass(frozen=True, slots=True)
class Base:
    """Where computing begins. ``doubts``: why newer snapshots were passed over."""

    n: int
    chain: bytes
    made: Projections
    doubts: tuple[str, ...] = ()


def newest(db: sqlite3.Connection, genesis: bytes) -> Base:
    """The newest snapshot that is whole, or the beginning. Raises sqlite3.Error."""
    doubts: list[str] = []
    sql = "SELECT n, chain, digest, body FROM snapshots ORDER BY n DESC"
    for n, chain, digest, body in db.execute(sql).fetchall():
        found = _read(db, n, chain, digest, body)
        if isinstance(found, Projections):
            return Base(n, chain, found, tuple(doubts))
        doubts.append(f"the snapshot at event {n} {found}")
    return Base(0, genesis, Projections(), tuple(doubts))


def _read(db: sqlite3.Connection, n: int, chain: bytes, digest: bytes, body: bytes) -> Projections | str:
    if _digest(n, chain, body) != digest:
        return "is damaged"
    event = db.execute("SELECT chain FROM events WHERE n=?", (n,)).fetchone()
    if event is None or event[0] != chain:
        return "was made of other events"
    try:
        return Projections.of(projections.tables_of(orjson.loads(zlib.decompress(body))))
    except (ValueError, KeyError, IndexError, zlib.error) as error:
        return f"cannot be read ({type(error).__name__})"


def add(db: sqlite3.Connection, at_utc_ns: int, n: int, chain: bytes, tables: Tables) -> None:
    """Keep a snapshot of proven tables, and the one before it. Raises sqlite3.Error."""
    body = zlib.compress(orjson.dumps({name: list(table.values()) for name, table in tables.items()}), 1)
    row = (n, at_utc_ns, chain, _digest(n, chain, body), body)
    db.execute("INSERT OR REPLACE INTO snapshots VALUES (?,?,?,?,?)", row)
    db.execute("DELETE FROM snapshots WHERE n NOT IN (SELECT n FROM snapshots ORDER BY n DESC LIMIT ?)", (KEPT,))


def _digest(n: int, chain: bytes, body: bytes) -> bytes:
    return blake2b(b"%d " % n + chain + body, digest_size=32).digest()
