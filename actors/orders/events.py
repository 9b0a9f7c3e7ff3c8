"""The ledger's events as a chain: each carries a hash over itself and the one before it.

So a changed, lost or inserted event is found, and with it everything after it. The chain holds no secret: it finds
damage and careless hands, not somebody who computes it anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

GENESIS = bytes(16)
"""What the first event is chained to."""
Row = tuple[Any, ...]
_COLUMNS = "n, at_utc_ns, epoch, incarnation, config_hash, kind, key, body, chain"


class ChainError(ValueError):
    """An event is missing or is not what was written."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it was written; ``body`` is JSON."""

    n: int
    kind: str
    key: str
    body: str
    chain: bytes


def link(before: bytes, *values: int | str) -> bytes:
    """The hash of one event: ``n, at_utc_ns, epoch, incarnation, config_hash, kind, key, body``."""
    return blake2b(before + orjson.dumps(values), digest_size=len(GENESIS)).digest()


def read(db: sqlite3.Connection, after: int, chain: bytes) -> Iterator[Event]:
    """The events behind ``after``, whose chain is ``chain``, oldest first; raises ChainError.

    Events of schema 1 carry no hash: they are proven by the first event behind them that does.
    """
    cursor = db.cursor()
    cursor.row_factory = None
    hashed = after > 0
    expected = after
    for row in cursor.execute(f"SELECT {_COLUMNS} FROM events WHERE n>? ORDER BY n", (after,)):  # noqa: S608 - constant
        expected += 1
        if row[0] != expected:
            raise ChainError(f"event {expected} is missing: the next one is {row[0]}")
        chain = link(chain, *row[:8])
        if row[8] is not None:
            hashed = True
            if row[8] != chain:
                raise ChainError(f"event {row[0]} ({row[5]} {row[6]}) or one before it is not what was written")
        elif hashed:
            raise ChainError(f"event {row[0]} ({row[5]} {row[6]}) carries no hash")
        yield Event(row[0], row[5], row[6], row[7], chain)
    last = cursor.execute("SELECT seq FROM sqlite_sequence WHERE name='events'").fetchone()
    if last is not None and last[0] != expected:
        raise ChainError(f"the events end at {expected}, {last[0]} were written")
