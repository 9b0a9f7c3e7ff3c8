"""The kill latch: a file that anyone may create. Made before a daemon is looked for, so that it always holds."""

from __future__ import annotations

import os
from pathlib import Path

import orjson

from actors.clock import SystemClock, to_rfc3339
from commands.durable import sync_folder


def create_latch(kill_file: Path, reason: str, operator: str) -> bool:
    """Create the latch and make it durable (file and folder). False when it was there already. Raises OSError."""
    kill_file.parent.mkdir(parents=True, exist_ok=True)
    text = orjson.dumps({"reason": reason, "operator": operator, "time": to_rfc3339(SystemClock().utc_ns())})
    try:
        fd = os.open(kill_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        return False
    try:
        os.write(fd, text + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_folder(kill_file.parent)
    return True
