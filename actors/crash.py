"""The record that a dying actor leaves behind: ``<data>/crash/<time>-<name>-<incarnation>.json``.

Written with rename, so that a reader sees a whole record or none; uploading is another actor's work.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterable
from pathlib import Path

import orjson

from actors.clock import NS_PER_S
from actors.log import scrub, scrub_fields
from actors.messages.health import Heartbeat

RECORD_VERSION = 1
MAX_TEXT = 16_384
"""Characters of one text: twice what is reported of it, and a record stays below a megabyte."""
BEAT_FIELDS = (
    "pid", "sequence", "state", "memory_bytes", "lag_ms", "handler_p99_ms", "busy_share", "queued_in",
)  # fmt: skip
"""With age and progress ten: the Sentry SDK cuts what is wider."""


def bounded(text: str) -> str:
    """``text`` scrubbed, and cut to MAX_TEXT: what a dying actor writes must not keep its successor waiting.

    Twice as much is scrubbed as is kept, so that no half of a secret stands at the cut.
    """
    return scrub(text[: 2 * MAX_TEXT])[:MAX_TEXT]


def describe(error: BaseException) -> dict[str, object]:
    """Type, text and stack of an exception; each frame with file, line, function and code."""
    frames = traceback.extract_tb(error.__traceback__)
    return {
        "type": type(error).__name__,
        "module": type(error).__module__,
        "text": bounded(str(error)),
        "frames": [
            {"file": frame.filename, "line": frame.lineno, "function": frame.name, "code": frame.line or ""}
            for frame in frames
        ],
        "traceback": bounded("".join(traceback.format_exception(error))),
    }


def left_record(folder: Path, name: str, incarnation: int, since_utc_ns: int) -> bool:
    """Whether this incarnation left a record since then; it may have been uploaded or put aside meanwhile."""
    pattern = f"*-{_file_part(name)}-{incarnation}.json"
    found = [path for where in ("", "sent", "rejected") for path in (folder / where).glob(pattern)]
    return any(int(stamp) >= since_utc_ns for path in found if (stamp := path.name.partition("-")[0]).isdigit())


def describe_beat(beat: Heartbeat | None, now_boot_ns: int) -> dict[str, object]:
    """The last heartbeat of something that died without a word."""
    if beat is None:
        return {}
    told = {name: getattr(beat, name) for name in BEAT_FIELDS}
    return {"age_s": (now_boot_ns - beat.sent_boot_ns) / NS_PER_S, **told, "progress": dict(beat.progress)}


def _file_part(name: str) -> str:
    return name.replace("/", "_")


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
        "breadcrumbs": [bounded(line) for line in breadcrumbs],
        "config_hash": config_hash,
        "build": build,
        "mode": mode,
        "extra": scrub_fields(extra or {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{utc_ns}-{_file_part(name)}-{incarnation}.json"
    partial = path.with_suffix(".partial")
    fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(os.dup(fd), "wb") as file:  # a disk that takes a part only raises here
            file.write(orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str))
        os.fsync(fd)
    finally:
        os.close(fd)
    partial.rename(path)
    return path
