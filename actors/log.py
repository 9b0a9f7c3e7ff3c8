"""One logger for all processes: a line of JSON (or text) to stderr, written with one ``write``.

Records do not travel as messages. Outside live every line says SIMULATED. Values whose key names a secret,
and texts that look like a key, are masked before anything is formatted.
"""

from __future__ import annotations

import os
import re
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from actors.clock import Clock, SystemClock, to_rfc3339

LEVELS = ("debug", "info", "warning", "error", "critical")
_SECRET_KEY = re.compile(r"secret|private|password|passphrase|token|authorization|jwt|api_key|dsn", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
    r"|Bearer\s+\S+"
    r"|organizations/[0-9a-fA-F-]{8,}/apiKeys/[0-9a-fA-F-]{8,}"
    r"|https?://[^/\s:@]+(:[^/\s@]*)?@",
    re.DOTALL,
)
MASK = "***"


def scrub(text: str) -> str:
    """``text`` without private keys, tokens, key names and credentials in URLs."""
    return _SECRET_TEXT.sub(MASK, text)


def scrub_fields(fields: Mapping[str, object]) -> dict[str, object]:
    """A copy whose secret-named keys are masked and whose texts are scrubbed, to any depth."""
    return {key: MASK if _SECRET_KEY.search(key) else _scrub_value(value) for key, value in fields.items()}


def _scrub_value(value: object) -> object:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Mapping):
        return scrub_fields({str(key): item for key, item in value.items()})
    if isinstance(value, list | tuple | set | frozenset):
        return [_scrub_value(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return scrub(str(value))


@dataclass(slots=True)
class Log:
    """Writes events of one actor. ``bind`` makes a logger with more context; context is immutable."""

    name: str
    mode: str = "demo"
    form: str = "text"
    level: str = "info"
    clock: Clock = field(default_factory=SystemClock)
    context: Mapping[str, object] = field(default_factory=dict)
    breadcrumbs: deque[str] = field(default_factory=lambda: deque(maxlen=30))

    def bind(self, **context: object) -> Log:
        bound = {**self.context, **context}
        return Log(self.name, self.mode, self.form, self.level, self.clock, bound, self.breadcrumbs)

    def debug(self, event: str, **fields: object) -> None:
        self._write("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._write("error", event, fields)

    def critical(self, event: str, **fields: object) -> None:
        self._write("critical", event, fields)

    def _write(self, level: str, event: str, fields: Mapping[str, object]) -> None:
        if LEVELS.index(level) < LEVELS.index(self.level):
            return
        clean = scrub_fields({**self.context, **fields})
        line = self._format(level, scrub(event), clean)
        self.breadcrumbs.append(line)
        try:
            os.write(sys.stderr.fileno(), line.encode() + b"\n")
        except (OSError, ValueError):
            pass  # a closed or full stderr must not stop trading; the breadcrumb stays

    def _format(self, level: str, event: str, fields: Mapping[str, object]) -> str:
        now = to_rfc3339(self.clock.utc_ns())
        simulated = self.mode != "live"
        if self.form == "json":
            record = {"time": now, "level": level, "actor": self.name, "event": event, "mode": self.mode}
            if simulated:
                record["simulated"] = "SIMULATED"
            return orjson.dumps({**record, **fields}, default=str).decode()
        tail = " ".join(f"{key}={value}" for key, value in fields.items() if value not in (None, ""))
        head = f"{now[11:23]} {'SIMULATED ' if simulated else ''}{level.upper():<8} {self.name:<14} {event}"
        return f"{head}  {tail}" if tail else head
