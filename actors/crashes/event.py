"""A crash record as a Sentry event: grouped by what failed and where, free of secrets. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson

from actors.clock import NS_PER_S
from actors.log import MASK, scrub, scrub_fields

MAX_TEXT = 8_000
"""Characters of one text in an event; servers refuse events that are too large."""
MAX_FRAMES = 100
MIN_SECRET = 6
"""Shorter literals are no secrets, and masking them would mask half of every text."""


class BadRecordError(ValueError):
    """The file is no crash record."""


@dataclass(frozen=True, slots=True)
class CrashEvent:
    """``event`` is what Sentry takes; ``fingerprint`` groups crashes with the same cause."""

    event: dict[str, object]
    fingerprint: str


def parse(raw: bytes) -> dict[str, object]:
    """A crash record from its file; raises BadRecordError."""
    try:
        record = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRecordError(f"not JSON: {error}") from error
    if not isinstance(record, dict) or not isinstance(record.get("cause"), dict) or not record.get("actor"):
        raise BadRecordError("no actor or no cause")
    return record


def make_event(file_name: str, record: Mapping[str, object], *, environment: str, secrets: Iterable[str]) -> CrashEvent:
    """The event of one record. Its id comes from the file, so that a second upload is the same event."""
    clean = _mask(scrub_fields(record), tuple(secret for secret in secrets if len(secret) >= MIN_SECRET))
    cause = clean.get("cause") if isinstance(clean, dict) else None
    if not isinstance(clean, dict) or not isinstance(cause, dict):
        raise BadRecordError("no cause")
    listed = cause.get("frames")
    frames = [frame for frame in listed if isinstance(frame, dict)][-MAX_FRAMES:] if isinstance(listed, list) else []
    actor = str(clean["actor"])
    kind = str(cause.get("type") or "Died")
    fingerprint = _fingerprint(actor, kind, str(clean.get("message_type") or ""), frames, str(cause.get("text") or ""))
    mode = str(clean.get("mode") or "unknown")
    exception: dict[str, object] = {
        "type": kind,
        "module": str(cause.get("module") or ""),
        "value": str(cause.get("text") or "")[:MAX_TEXT],
        "mechanism": {"type": "actor", "handled": False},
    }
    if frames:
        exception["stacktrace"] = {"frames": [_frame(frame) for frame in frames]}
    event: dict[str, object] = {
        "event_id": hashlib.sha256(file_name.encode()).hexdigest()[:32],
        "timestamp": _seconds(clean.get("utc_ns")),
        "platform": "python",
        "level": "fatal",
        "logger": actor,
        "environment": environment,
        "release": str(clean.get("build") or "") or None,
        "exception": {"values": [exception]},
        "fingerprint": [fingerprint],
        "tags": {
            "actor": actor,
            "message_type": str(clean.get("message_type") or "none"),
            "mode": mode,
            "simulated": str(mode != "live").lower(),
            "config_hash": str(clean.get("config_hash") or "none"),
            "incarnation": str(clean.get("incarnation")),
        },
        "breadcrumbs": {"values": _breadcrumbs(clean.get("breadcrumbs"))},
        "extra": {
            "pid": clean.get("pid"),
            "correlation_id": clean.get("correlation_id"),
            "traceback": str(cause.get("traceback") or "")[-MAX_TEXT:],
            **(clean["extra"] if isinstance(clean.get("extra"), dict) else {}),
        },
    }
    return CrashEvent(event, fingerprint)


def _fingerprint(actor: str, kind: str, message: str, frames: list[dict[str, object]], text: str) -> str:
    """Same kind of actor, exception, message and path through the code; line numbers change with every build."""
    path = [f"{str(frame.get('file')).rsplit('/', 1)[-1]}:{frame.get('function')}" for frame in frames[-8:]]
    parts = [actor.split(".")[0], kind, message, *(path or [text])]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def _frame(frame: Mapping[str, object]) -> dict[str, object]:
    file = str(frame.get("file") or "")
    line = frame.get("line")
    return {
        "filename": file.rsplit("/", 1)[-1],
        "abs_path": file,
        "function": str(frame.get("function") or ""),
        "lineno": line if isinstance(line, int) else None,
        "context_line": str(frame.get("code") or ""),
        "in_app": "site-packages" not in file and "/lib/python" not in file,
    }


def _breadcrumbs(lines: object) -> list[dict[str, object]]:
    if not isinstance(lines, list):
        return []
    return [{"type": "default", "category": "log", "message": str(line)[:MAX_TEXT]} for line in lines[-100:]]


def _seconds(utc_ns: object) -> float | None:
    return utc_ns / NS_PER_S if isinstance(utc_ns, int) else None


def _mask(value: object, secrets: tuple[str, ...]) -> object:
    """``value`` without the literal ``secrets``, to any depth, keys included."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, MASK)
        return scrub(value)
    if isinstance(value, dict):
        return {str(_mask(key, secrets)): _mask(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [_mask(item, secrets) for item in value]
    return value
