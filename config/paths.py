"""Where sockets live: a short private folder that the command line finds from the data folder alone."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

LONGEST_SOCKET_NAME = 40
MAX_UNIX_PATH = 107
"""Bytes of a Unix socket's path on Linux, without the terminating zero."""
MEMORY = Path("/dev/shm")  # noqa: S108 - the folder below it is private, or the start is refused
"""A file system in memory that Linux hosts and containers have, also where /tmp is private to a service."""


def run_dir(data_dir: Path, memory: Path = MEMORY) -> Path:
    """A folder in memory: an actor that dies while the disk takes no writes needs a socket to come back.

    Where there is no such file system it is ``<data>/run`` if socket paths fit there, else below the temporary folder.
    The name has the owner of the data folder, so that root finds it too, and the space of process ids: containers may
    share this memory, and each calls its data folder the same.
    """
    resolved = data_dir.resolve()
    digest = hashlib.sha256(os.fsencode(resolved) + _pid_space()).hexdigest()
    name = f"td-{_owner(resolved)}-{digest[:12]}"
    if memory.is_dir() and os.access(memory, os.W_OK | os.X_OK):
        return memory / name
    inside = resolved / "run"
    if len(os.fsencode(inside)) + 1 + LONGEST_SOCKET_NAME <= MAX_UNIX_PATH:
        return inside
    return Path(tempfile.gettempdir()) / name


def _pid_space() -> bytes:
    with contextlib.suppress(OSError):
        return os.fsencode(os.readlink("/proc/self/ns/pid"))  # noqa: PTH115 - no path, a name of the kernel's
    return b""


def _owner(folder: Path) -> int:
    try:
        return folder.stat().st_uid
    except OSError:
        return os.getuid()


def admin_socket(data_dir: Path) -> Path:
    """The socket on which the admin actor answers the command line."""
    return run_dir(data_dir) / "admin.sock"


def health_file(data_dir: Path) -> Path:
    """Touched by the outer ring while it and the tree are alive; its age is what HEALTHCHECK judges."""
    return data_dir / "health"
