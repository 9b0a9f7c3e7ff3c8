"""One logger for all processes: a line of JSON (or text) to stderr, written with one ``write``.

Records do not travel as messages. Outside live every line says SIMULATED. Values whose key names a secret,
and texts that look like a key, are masked before anything is formatted.
"""

from __future__ import annotations

import errno
import os
import re
import select
import socket
import stat
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from actors.clock import Clock, SystemClock, to_rfc3339

LEVELS = ("debug", "info", "warning", "error", "critical")
_SECRET_KEY = re.compile(
    # A duration (jwt_life_s) and the path of a file that holds a secret (dsn_file) are none.
    r"^(?!.*(?:_s|_file)$).*(?:secret|private|password|passphrase|token|authorization|jwt|api_key|dsn)",
    re.IGNORECASE,
)
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


class Outlet:
    """stderr that never blocks: a reader that stopped reading (a stalled log driver, Ctrl-S) costs lines, not trading.

    A pipe or terminal is opened anew, because O_NONBLOCK on the inherited descriptor would also change it for
    whoever else holds it. Where that is forbidden, each write asks first whether there is room.
    """

    def __init__(self) -> None:
        self.lost = 0
        self._opened: tuple[int, int, int] | None = None
        self._fd = -1
        self._socket: socket.socket | None = None
        self._ask_first = False
        self._torn = False

    def write(self, data: bytes) -> None:
        """Write one line, or count it as lost; never raises."""
        try:
            self._open(sys.stderr.fileno())
            if self.lost or self._torn:
                head = b"\n" if self._torn else b""
                data = head + (f"[{self.lost} log lines lost]\n".encode() if self.lost else b"") + data
            written = self._put(data)
        except (OSError, ValueError):  # closed, or full: the breadcrumb stays
            self.lost += 1
            return
        self.lost, self._torn = 0, written < len(data)

    def _put(self, data: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        if self._ask_first:
            room = select.poll()
            room.register(self._fd, select.POLLOUT)
            if not room.poll(0):
                raise BlockingIOError(errno.EAGAIN, "no room")
        return os.write(self._fd, data)

    def _open(self, fd: int) -> None:
        found = os.fstat(fd)
        if self._opened == (fd, found.st_dev, found.st_ino):
            return
        self._fd, self._socket, self._ask_first = fd, None, False
        if stat.S_ISSOCK(found.st_mode):
            self._socket = socket.socket(fileno=os.dup(fd))
        elif stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode):
            try:
                self._fd = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            except OSError:
                self._ask_first = True
        self._opened = (fd, found.st_dev, found.st_ino)


_OUTLET = Outlet()


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
        _OUTLET.write(line.encode() + b"\n")

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
