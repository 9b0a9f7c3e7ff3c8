"""backup, restore and ``ledger verify``: what an operator does with the files of a data folder."""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
from contextlib import closing

from commands import exits
from commands.prepare import LockedError, Refused, build_id, lock_data_dir
from commands.stores import store_of

DAMAGED = 1


def backup(options: argparse.Namespace) -> int:
    """0: made and verified; 1: no good backup could be made; 2: refused."""
    from commands import backup as backups

    try:
        store = store_of(options.data_dir, options.mode)
    except ValueError as error:
        return _refuse(str(error))
    target = options.to or options.data_dir / "backups"
    try:
        folder, manifest = backups.backup(store, target, build_id())
    except (backups.BackupError, OSError, sqlite3.Error) as error:
        print(f"NO BACKUP: {error}", file=sys.stderr)
        return DAMAGED
    print(folder)
    print(
        f"ledger {manifest.ledger_id}, {manifest.events} events, head {manifest.head}, epoch {manifest.epoch}, "
        f"{len(manifest.files)} files, verified",
        file=sys.stderr,
    )
    return exits.OK


def restore(options: argparse.Namespace) -> int:
    """0: done; 1: the backup is not good, or the disk refused; 2: refused; 3: a daemon runs."""
    from commands import restore as restores

    try:
        lock = lock_data_dir(options.data_dir)
    except Refused as error:
        return _refuse(str(error))
    except LockedError as error:
        print(f"refused: {error}; stop it first", file=sys.stderr)
        return exits.LOCKED
    try:
        done = restores.restore(options.folder, options.data_dir, options.reason)
    except restores.BackupError as error:
        print(f"NOT RESTORED, nothing was touched: {error}", file=sys.stderr)
        return DAMAGED
    except (OSError, sqlite3.Error) as error:
        print(f"NOT RESTORED: {error}; run it again", file=sys.stderr)
        return DAMAGED
    finally:
        os.close(lock)
    manifest = done.manifest
    print(f"restored {manifest.mode}: ledger {manifest.ledger_id} as of {manifest.made_utc}, head {manifest.head}")
    print(f"  taken from the backup: {', '.join(done.taken)}")
    print(f"  left as it was (younger): {', '.join(done.kept) or 'nothing'}")
    print(f"  what was there before: {done.aside}")
    print(f"  epoch {done.epoch}; the next start is HALTED: let it reconcile, then resume")
    return exits.OK


def verify(options: argparse.Namespace) -> int:
    """0: every projection follows from the events; 1: it does not; 2: refused."""
    from actors.orders import schema, verification

    try:
        path = store_of(options.data_dir, options.mode) / "ledger.db"
    except ValueError as error:
        return _refuse(str(error))
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=5.0)) as db:
            db.execute("BEGIN")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version != schema.VERSION:
                return _refuse(f"{path}: schema {version}, this build knows {schema.VERSION}")
            verdict = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if verdict != "ok":
                raise verification.ContradictionError(verdict)
            found = verification.verify(db, whole=True)
    except (verification.ContradictionError, sqlite3.Error) as error:
        print(f"DAMAGED: {path}: {error}", file=sys.stderr)
        return DAMAGED
    counts = ", ".join(f"{len(table)} {name}" for name, table in found.tables.items() if name != "head")
    print(f"ok: {path}: {found.n} events make {counts}; chain {found.chain.hex()}")
    return exits.OK


def _refuse(text: str) -> int:
    print(f"refused: {text}", file=sys.stderr)
    return exits.REFUSED
