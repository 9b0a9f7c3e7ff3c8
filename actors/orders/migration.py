"""Brings a ledger of an older schema to this one, each in one transaction; a copy of it is kept beside."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import orjson

from actors import durable
from actors.orders import events, projections, schema, snapshots, verification
from actors.orders.projections import Projections


def from_1(db: sqlite3.Connection, path: Path, now_utc_ns: int) -> None:
    """Schema 1 to 3. Its events did not tell everything: what they tell is compared, then all is written down once.

    Raises verification.ContradictionError (nothing is changed then), sqlite3.Error, OSError.
    """
    _keep_copy(db, path.with_name(f"{path.name}.schema-1"))
    with _whole(db):
        for statement in (*schema.FROM_1, *schema.FROM_2):
            db.execute(statement)
        base = snapshots.Base(0, events.GENESIS, Projections())
        try:
            n, chain = verification.compute(db, base)
        except (events.ChainError, projections.ProjectionError) as error:
            raise verification.ContradictionError(str(error)) from error
        stored = verification.stored_tables(db)
        found = list(projections.differences_v1(stored, base.made.tables()))
        if found:
            raise verification.ContradictionError("; ".join(found[:3]))
        body = orjson.dumps({name: list(table.values()) for name, table in stored.items()}).decode()
        values = (n + 1, now_utc_ns, 0, 0, "", projections.ADOPTED, "1", body)
        db.execute("INSERT INTO events VALUES (?,?,?,?,?,?,?,?,?)", (*values, events.link(chain, *values)))
        db.execute(f"PRAGMA user_version={schema.VERSION}")


def from_2(db: sqlite3.Connection, path: Path) -> None:
    """Schema 2 to 3: orders may vanish. Its events tell everything, and none of them tells of such a one.

    Raises verification.ContradictionError (nothing is changed then), sqlite3.Error, OSError.
    """
    _keep_copy(db, path.with_name(f"{path.name}.schema-2"))
    with _whole(db):
        for statement in schema.FROM_2:
            db.execute(statement)
        verification.verify(db)
        db.execute(f"PRAGMA user_version={schema.VERSION}")


def _keep_copy(db: sqlite3.Connection, aside: Path) -> None:
    """It has its name only when it is whole and on the disk: one that was cut short is made anew."""
    if aside.exists():
        return
    partial = aside.with_name(f"{aside.name}.partial")
    partial.unlink(missing_ok=True)
    partial.with_name(f"{partial.name}-journal").unlink(missing_ok=True)
    with closing(sqlite3.connect(partial)) as copy:
        copy.execute("PRAGMA synchronous=FULL")
        db.backup(copy)
    partial.rename(aside)
    durable.sync_folder(aside.parent)


@contextmanager
def _whole(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
