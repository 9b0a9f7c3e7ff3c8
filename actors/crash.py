"""The record that a dying actor leaves behind: ``<data>/crash/<time>-<name>-<incarnation>.json``.

Written with rename, so that a reader sees a whole record or none; uploading is another actor's work.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable
from pathlib import Path

import orjson

from actors.log import scrub, scrub_fields

RECORD_VERSION = 1


def describe(error: BaseException) -> dict[str, object]:
    """Type, text and stack of an exception; each frame with file, line, function and code."""
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "type": type(error).__name__,
        "module": type(error).__module__,
        "text": scrub(str(error)),
        "frames": [
            {"file": frame.filename, "line": frame.lineno, "function": frame.name, "code": frame.line or ""}
            for frame in frames
        ],
        "traceback": scrub("".join(traceback.format_exception(error))),
    }


def write_record(
    folder: Path,
    *,
    utc_ns: int,
    name: str,
    incarnation: int,
    pid: int,
    cause: dict[str, object],
    message_type: str = "",
    correlation_id: str = "",
    breadcrumbs: Iterable[str] = (),
    config_hash: str = "",
    build: str = "",
    mode: str = "",
    extra: dict[str, object] | None = None,
) -> Path:
    """Write one crash record and return its path; raises OSError when the disk refuses."""
    record = {
        "version": RECORD_VERSION,
        "utc_ns": utc_ns,
        "actor": name,
        "incarnation": incarnation,
        "pid": pid,
        "cause": scrub_fields(cause),
        "message_type": message_type,
        "correlation_id": correlation_id,
        "breadcrumbs": [scrub(line) for line in breadcrumbs],
        "config_hash": config_hash,
        "build": build,
        "mode": mode,
        "extra": scrub_fields(extra or {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    safe_name = name.replace("/", "_")
    path = folder / f"{utc_ns}-{safe_name}-{incarnation}.json"
    partial = path.with_suffix(".partial")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, orjson.dumps(record, option=orjson.OPT_INDENT_2))
        os.fsync(fd)
    finally:
        os.close(fd)
    partial.rename(path)
    return path
