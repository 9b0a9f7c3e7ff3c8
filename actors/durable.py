"""Small files that must survive a power cut: replaced whole or created once, file and folder fsynced."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def replace(path: Path, body: bytes) -> None:
    """Put ``body`` in the place of ``path``; a reader sees the old file or the new one. Raises OSError."""
    partial = path.with_suffix(".partial")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write(fd, body)
        os.fsync(fd)
    finally:
        os.close(fd)
    partial.rename(path)
    sync_folder(path.parent)


def create(path: Path, body: bytes, mode: int = 0o644) -> bool:
    """Create ``path`` with ``body``, or leave what is there; durable in both cases. False: it was there.

    One that was there is synced too: whoever created it may have died before doing so. Raises OSError.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError:
        sync_folder(path.parent)
        return False
    try:
        _write(fd, body)
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_folder(path.parent)
    return True


def _write(fd: int, body: bytes) -> None:
    """All of it; a disk that is nearly full takes a part first and refuses the rest. Raises OSError."""
    while body:
        body = body[os.write(fd, body) :]


def remove(path: Path) -> None:
    """Remove ``path`` durably; one that is not there is removed already. Raises OSError."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names that were created, renamed or removed in ``folder`` durable. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def open_or_read(path: Path) -> int:
    """A descriptor of ``path``, made when missing, to lock or to write. Raises OSError.

    On a disk that turned read-only one that only reads: it still holds a lock, which is what a cancel needs then.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno != errno.EROFS or not path.exists():
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
