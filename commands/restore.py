"""``run.py restore FOLDER --reason``: put a backup's ledger in place of what is there; nothing is ever deleted.

Only the ledger, and what is missing, damaged or older than the backup, is taken from it. What is there and whole stays:
halts, locks, latched breakers and the egress record are younger than any backup, and a restore lifts none of them.
The store is HALTED afterwards by its own control store, so that the first start trades nothing until an operator
resumes, and the epoch is beyond every one that was used. A restore that was interrupted is refused by ``start`` (the
mark below) and done again whole.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import orjson

from actors import durable
from actors.clock import NS_PER_S, SystemClock, to_rfc3339
from actors.messages.health import TradingState
from commands.ask import operator
from commands.backup import LEDGER, BackupError, FileEntry, Manifest, check, is_database
from supervision.control_store import ControlStore, OperatorStanding, marker_path, unsaved_path

CONTROL = "control.db"
UNFINISHED = "restore.unfinished"
"""In the store while files are being moved."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done. ``aside``: the folder that holds what was there before."""

    manifest: Manifest
    epoch: int
    taken: tuple[str, ...]
    kept: tuple[str, ...]
    aside: Path


def unfinished(store: Path) -> str:
    """Why the store may not be used, or nothing."""
    if not (store / UNFINISHED).exists():
        return ""
    return f"{store}: a restore was interrupted; run it again"


def restore(folder: Path, data_dir: Path, reason: str) -> Restored:
    """Restore into the stopped daemon's data folder; the caller holds its lock.

    Raises BackupError (nothing was touched), OSError, sqlite3.Error (run it again).
    """
    manifest = check(folder)
    store = data_dir / manifest.mode
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    now_utc_ns = SystemClock().utc_ns()
    here = _epoch_of(store)
    epoch = max(here, manifest.epoch, now_utc_ns // NS_PER_S) + 1
    younger = here >= manifest.epoch
    taken = [entry for entry in manifest.files if _is_taken(store / entry.name, entry, younger=younger)]
    kept = tuple(entry.name for entry in manifest.files if entry not in taken)
    durable.replace(store / UNFINISHED, f"{folder}\n".encode())
    if _is_killed(store / CONTROL):  # said by the latch before the store that says it moves
        durable.create(data_dir / "KILL", b"killed before the restore\n")
    aside = _set_aside(store, [entry.name for entry in taken], now_utc_ns)
    for entry in taken:
        _place(folder / entry.name, store / entry.name)
    durable.replace(store / "ledger.lock", manifest.ledger_id.encode())
    durable.replace(store / "epoch", f"{epoch}\n".encode())
    told = f"restored from the backup of {manifest.made_utc}: {reason}"
    _halt(store / CONTROL, epoch, OperatorStanding(TradingState.HALTED, told, operator(), now_utc_ns))
    _note(store / "audit.jsonl", now_utc_ns, manifest, reason, epoch)
    (store / UNFINISHED).unlink()
    durable.sync_folder(store)
    return Restored(manifest, epoch, tuple(entry.name for entry in taken), kept, aside)


def _is_taken(present: Path, entry: FileEntry, *, younger: bool) -> bool:
    """Whether the backup's file replaces the present one. ``younger``: what is there was written after the backup."""
    return entry.name == LEDGER or not younger or not _is_whole(present, entry)


def _is_whole(path: Path, entry: FileEntry) -> bool:
    try:
        if not entry.database:
            if path.suffix == ".json":
                orjson.loads(path.read_bytes())
            return path.is_file()
        if not is_database(path):
            return False
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            return version != 0 and bool(db.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",))
    except (OSError, ValueError, sqlite3.Error):
        return False


def _epoch_of(store: Path) -> int:
    try:
        return int((store / "epoch").read_text())
    except (OSError, ValueError):
        return 0  # nothing usable is there: the backup's and the clock's count


def _is_killed(control: Path) -> bool:
    """A kill whose latch the disk refused stands in the control store alone."""
    try:
        with closing(sqlite3.connect(f"file:{control}?mode=ro", uri=True)) as db:
            return bool(db.execute("SELECT state FROM operator").fetchone() == (TradingState.KILLED.value,))
    except sqlite3.Error:
        return False


def _set_aside(store: Path, names: list[str], now_utc_ns: int) -> Path:
    """Move what is replaced, with its journals, into a folder of its own."""
    folder = store / f"before-restore-{to_rfc3339(now_utc_ns).replace(':', '').replace('.', '')}"
    folder.mkdir(mode=0o700)
    moved = [name + suffix for name in names for suffix in ("", "-wal", "-shm", "-journal")]
    if CONTROL in names:
        moved += [marker_path(store / CONTROL).name, unsaved_path(store / CONTROL).name]
    for name in (*moved, "ledger.lock"):
        if (store / name).exists():
            (store / name).rename(folder / name)
    durable.sync_folder(folder)
    durable.sync_folder(store)
    return folder


def _place(source: Path, target: Path) -> None:
    partial = target.with_name(f"{target.name}.partial")
    shutil.copyfile(source, partial)
    partial.chmod(0o600)
    fd = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    partial.rename(target)
    durable.sync_folder(target.parent)


def _halt(path: Path, epoch: int, standing: OperatorStanding) -> None:
    """The first start is HALTED until an operator resumes; what is stricter stays."""
    store = ControlStore(path, epoch=epoch)
    try:
        found = store.read_standing()
        if found is None or found.state.rank <= TradingState.HALTED.rank:
            store.write_standing(standing)
    finally:
        store.close()


def _note(path: Path, now_utc_ns: int, manifest: Manifest, reason: str, epoch: int) -> None:
    entry = {
        "time": to_rfc3339(now_utc_ns), "verb": "restore", "operator": operator(), "reason": reason,
        "backup": manifest.made_utc, "ledger": manifest.ledger_id, "head": manifest.head,
        "events": manifest.events, "epoch": epoch,
    }  # fmt: skip
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, orjson.dumps(entry) + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)


__all__ = ["BackupError", "Restored", "restore", "unfinished"]
