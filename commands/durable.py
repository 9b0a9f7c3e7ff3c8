"""Small files that must survive a power cut: replaced whole, file and folder fsynced."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: Path, body: bytes) -> None:
    """Put ``body`` in the place of ``path``; a reader sees the old file or the new one. Raises OSError."""
    partial = path.with_suffix(".partial")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, body)
        os.fsync(fd)
    finally:
        os.close(fd)
    partial.rename(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names that were created or renamed in ``folder`` durable. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
