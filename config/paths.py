"""Where sockets live: a short private folder that the command line finds from the data folder alone."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

LONGEST_SOCKET_NAME = 40
MAX_UNIX_PATH = 107
"""Bytes of a Unix socket's path on Linux, without the terminating zero."""


def run_dir(data_dir: Path) -> Path:
    """``<data>/run`` when socket paths fit there, else a private folder under the temporary directory."""
    inside = data_dir.resolve() / "run"
    if len(os.fsencode(inside)) + 1 + LONGEST_SOCKET_NAME <= MAX_UNIX_PATH:
        return inside
    digest = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"td-{os.getuid()}-{digest}"


def admin_socket(data_dir: Path) -> Path:
    """The socket on which the admin actor answers the command line."""
    return run_dir(data_dir) / "admin.sock"


def health_file(data_dir: Path) -> Path:
    """Touched by the outer ring while it and the tree are alive; its age is what HEALTHCHECK judges."""
    return data_dir / "health"
