"""Is what the ledger stores what its events make? Asked at every start, and by ``run.py ledger verify``."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice

from actors.orders import events, positions, projections, snapshots
from actors.orders.projections import Projections, Tables
from actors.orders.records import FillRecord

NAMED = 3
"""Differences that a message names; the others are counted."""
ZERO = Decimal(0)


class ContradictionError(ValueError):
    """The ledger contradicts itself; the text names what differs."""


@dataclass(frozen=True, slots=True)
class Verified:
    """``first``: the event after which was computed (0: all of them); ``notes``: what an operator should hear of."""

    n: int
    chain: bytes
    first: int
    tables: Tables
    notes: tuple[str, ...] = ()


def verify(db: sqlite3.Connection, *, whole: bool = False) -> Verified:
    """Compute the projections from the newest good snapshot (``whole``: from the first event) and compare.

    Raises ContradictionError, sqlite3.Error.
    """
    base = snapshots.Base(0, events.GENESIS, Projections()) if whole else snapshots.newest(db, events.GENESIS)
    stored = stored_tables(db)
    try:
        n, chain = compute(db, base)
    except (events.ChainError, projections.ProjectionError) as error:
        raise ContradictionError(str(error)) from error
    made = base.made.tables()
    found = list(projections.differences(stored, made))
    if found:
        raise ContradictionError(_named(found))
    found = list(_unsound(stored, whole=whole))
    if found:
        raise ContradictionError(_named(found))
    return Verified(n, chain, base.n, stored, base.doubts)


def compute(db: sqlite3.Connection, base: snapshots.Base) -> tuple[int, bytes]:
    """Apply every event behind ``base`` to its projections; the last event and its chain."""
    n, chain = base.n, base.chain
    apply = base.made.apply
    for event in events.read(db, base.n, base.chain):
        apply(event)
        n, chain = event.n, event.chain
    return n, chain


def stored_tables(db: sqlite3.Connection) -> Tables:
    """Every projection as it is stored."""
    cursor = db.cursor()
    cursor.row_factory = None
    head = "SELECT key, value FROM meta WHERE key='head'"
    queries = {name: head if name == "head" else f"SELECT * FROM {name}" for name in projections.COLUMNS}  # noqa: S608
    return projections.tables_of({name: cursor.execute(sql).fetchall() for name, sql in queries.items()})


def _unsound(tables: Tables, *, whole: bool) -> list[str]:
    """What no sequence of events may ever make: fills that do not make up an order or a position."""
    sums: dict[str, Decimal] = {}
    fills: dict[str, list[FillRecord]] = {}
    for row in tables["fills"].values():
        if row[11]:
            sums[row[3]] = sums.get(row[3], ZERO) + Decimal(row[7])
            if whole:
                fills.setdefault(row[4], []).append(projections.fill_of(row))
    filled = projections.COLUMNS["orders"].index("filled")
    found = [
        f"orders {name}: filled is {row[filled]}, its fills make {sums.get(name, ZERO)}"
        for name, row in tables["orders"].items()
        if (row[filled] != "0" or name in sums) and sums.get(name, ZERO) != Decimal(row[filled])
    ]
    for symbol, of_symbol in fills.items():
        book, _ = positions.fold(symbol, of_symbol)
        row = tables["positions"][symbol]
        if (book.quantity, book.cost, book.realized, book.fees) != tuple(map(Decimal, row[1:5])):
            found.append(f"positions {symbol}: {row[1]} at {row[2]} does not follow from its fills")
    return found


def _named(found: list[str]) -> str:
    more = len(found) - NAMED
    return "; ".join(islice(found, NAMED)) + (f"; and {more} more" if more > 0 else "")
