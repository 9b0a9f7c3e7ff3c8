"""``run.py backup``: a mode's whole store in one folder with a manifest, taken while the daemon runs or after it died.

Databases are copied by SQLite's own backup, the ledger last, so that nothing beside it is younger than it. Sockets,
locks and journals stay behind, and so does the kill latch: it belongs to the data folder, not to its contents.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from actors import durable
from actors.clock import SystemClock, to_rfc3339
from actors.orders import schema, verification

FORM = 1
MANIFEST = "manifest.json"
LEDGER = "ledger.db"
LEFT_BEHIND = (".lock", "-wal", "-shm", "-journal", ".partial", ".new", ".schema-1", ".schema-2", "strategy.log",
               "disk.probe")  # fmt: skip
_SQLITE = b"SQLite format 3\0"


class BackupError(Exception):
    """There is no good backup; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a backup."""

    name: str
    database: bool
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself. ``head``: highest number of a client order id; ``events``: the last event."""

    form: int
    mode: str
    build: str
    made_utc: str
    ledger_id: str
    head: int
    events: int
    chain: str
    epoch: int
    files: tuple[FileEntry, ...]


def backup(store: Path, target: Path, build: str) -> tuple[Path, Manifest]:
    """Back up ``store`` into a new folder below ``target``; the folder appears whole or not at all.

    Raises BackupError, OSError, sqlite3.Error.
    """
    if not (store / LEDGER).is_file():
        raise BackupError(f"{store / LEDGER}: there is no ledger")
    made_utc = to_rfc3339(SystemClock().utc_ns())
    name = f"{store.name}-{made_utc.replace(':', '').replace('.', '')}"
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = target / f"{name}.partial"
    partial.mkdir(mode=0o700)
    try:
        entries = tuple(_copy(path, partial / path.name) for path in _contents(store))
        manifest = _describe(partial, store.name, build, made_utc, entries)
        durable.replace(partial / MANIFEST, orjson.dumps(asdict(manifest), option=orjson.OPT_INDENT_2) + b"\n")
        check(partial)
        durable.sync_folder(partial)
        partial.rename(target / name)
        durable.sync_folder(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target / name, manifest


def check(folder: Path) -> Manifest:
    """Reopen a backup: every file is what the manifest says, every database is whole, the ledger follows from its
    events. Raises BackupError."""
    manifest = read_manifest(folder)
    for entry in manifest.files:
        path = folder / entry.name
        try:
            found = _sha256(path)
        except OSError as error:
            raise BackupError(f"{path}: {error}") from error
        if found != entry.sha256:
            raise BackupError(f"{path}: is not what was backed up (sha256 {found[:12]}..., not {entry.sha256[:12]}...)")
        if entry.database:
            _check_database(path, manifest if entry.name == LEDGER else None)
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Raises BackupError."""
    path = folder / MANIFEST
    try:
        found = orjson.loads(path.read_bytes())
        if found["form"] != FORM:
            raise BackupError(f"{path}: form {found['form']}, this build knows {FORM}")
        files = tuple(FileEntry(**entry) for entry in found.pop("files"))
        manifest = Manifest(**found, files=files)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupError(f"{path}: cannot be read as a backup's manifest: {type(error).__name__}: {error}") from error
    names = [entry.name for entry in files]
    if LEDGER not in names or any(Path(name).name != name for name in names):
        raise BackupError(f"{path}: names no {LEDGER}, or files outside of its folder")
    return manifest


def is_database(path: Path) -> bool:
    """Raises OSError."""
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _contents(store: Path) -> Iterator[Path]:
    """Files to copy, the ledger last."""
    found = [path for path in sorted(store.iterdir()) if path.is_file() and not path.is_symlink()]
    kept = [path for path in found if not path.name.endswith(LEFT_BEHIND) and ".corrupt-" not in path.name]
    yield from sorted(kept, key=lambda path: (is_database(path), path.name == LEDGER))


def _copy(source: Path, target: Path) -> FileEntry:
    database = is_database(source)
    if database:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=10.0)) as db,
            closing(sqlite3.connect(target)) as copy,
        ):
            db.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, nothing beside it
    else:
        target.write_bytes(source.read_bytes())
    target.chmod(0o600)
    fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    return FileEntry(source.name, database, target.stat().st_size, _sha256(target))


def _describe(folder: Path, mode: str, build: str, made_utc: str, files: tuple[FileEntry, ...]) -> Manifest:
    with closing(_open(folder / LEDGER)) as db:
        verified = _verify(db, folder / LEDGER)
        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
    try:
        epoch = int((folder / "epoch").read_text())
    except (OSError, ValueError) as error:
        raise BackupError(f"the epoch cannot be read: {error}") from error
    chain = verified.chain.hex()
    return Manifest(FORM, mode, build, made_utc, meta["ledger_id"], int(meta["head"]), verified.n, chain, epoch, files)


def _check_database(path: Path, ledger: Manifest | None) -> None:
    try:
        with closing(_open(path)) as db:
            verdict = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if verdict != "ok":
                raise BackupError(f"{path}: {verdict}")
            if ledger is not None:
                verified = _verify(db, path)
                if (verified.n, verified.chain.hex()) != (ledger.events, ledger.chain):
                    raise BackupError(f"{path}: ends at event {verified.n}, the manifest says {ledger.events}")
    except sqlite3.Error as error:
        raise BackupError(f"{path}: {error}") from error


def _verify(db: sqlite3.Connection, path: Path) -> verification.Verified:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == 2:
        return _verify_2(db, path)
    if version != schema.VERSION:
        raise BackupError(f"{path}: schema {version}, this build knows {schema.VERSION}: start the daemon on it first")
    try:
        return verification.verify(db, whole=True)
    except verification.ContradictionError as error:
        raise BackupError(f"{path}: the ledger contradicts itself: {error}") from error


def _verify_2(db: sqlite3.Connection, path: Path) -> verification.Verified:
    """The youngest backup may be of the build before: its events tell everything, so a copy in memory is proven."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        copy.row_factory = db.row_factory
        db.backup(copy)
        for statement in (*schema.FROM_2, f"PRAGMA user_version={schema.VERSION}"):
            copy.execute(statement)
        return _verify(copy, path)


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True, isolation_level=None)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
