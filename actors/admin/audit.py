"""The operators' book: every command and what came of it, one fsynced line each, never rewritten."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import orjson

from actors.clock import to_rfc3339
from actors.log import scrub_fields


class Audit:
    """Appends to ``path``; raises OSError when the disk refuses (the command is then refused too)."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def write(self, utc_ns: int, entry: Mapping[str, object]) -> None:
        line = orjson.dumps({"time": to_rfc3339(utc_ns), **scrub_fields(entry)}, default=str) + b"\n"
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, line)
            os.fsync(fd)
        finally:
            os.close(fd)
