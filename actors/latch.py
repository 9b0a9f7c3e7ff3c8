"""The kill latch: a file that anyone may create and only ``release`` removes.

The command line creates it before it looks for a daemon, the watchdog and the gateway look at it: one place says
what it is. Its content is for people; an empty file latches as well.
"""

from __future__ import annotations

import errno
from pathlib import Path

import orjson

from actors import durable
from actors.clock import to_rfc3339

READ_BYTES = 4096
SHOWN = 200


def create_latch(path: Path, reason: str, operator: str, utc_ns: int) -> bool:
    """Create the latch and make it durable (file and folder). False when it was there already. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    said = orjson.dumps({"reason": reason, "operator": operator, "time": to_rfc3339(utc_ns)})
    try:
        return durable.create(path, said + b"\n")
    except OSError as error:
        if error.errno != errno.ENOSPC or not path.exists():
            raise
        durable.sync_folder(path.parent)  # no room for what it says, yet its name is there: it latches
        return True


def latch_exists(path: Path) -> bool:
    """Whether the latch is there. What cannot be looked at counts as there."""
    try:
        path.stat()
    except FileNotFoundError:
        return not path.parent.is_dir()
    except OSError:
        return True
    return True


def read_latch(path: Path) -> str:
    """Why it was created and by whom, for people; empty when nobody said."""
    try:
        with path.open("rb") as file:
            body = file.read(READ_BYTES)
    except OSError:
        return ""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        return body.decode(errors="replace").strip()[:SHOWN]
    return f"{said.get('reason', '')} (by {said.get('operator', '')})"[:SHOWN]


def remove_latch(path: Path) -> None:
    """Remove the latch durably. Raises OSError."""
    durable.remove(path)
