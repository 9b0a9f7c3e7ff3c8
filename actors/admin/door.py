"""The operator's door: a private Unix socket that takes one JSON line per connection and answers with lines.

Runs in threads of the admin process. Only the daemon's own user is served (SO_PEERCRED). A request that is not
whole after ``REQUEST_S`` is closed, so that nobody can hold the door.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson

from actors.ports import start_thread

REQUEST_S = 5.0
ANSWER_S = 150.0
MAX_REQUEST = 64 * 1024
MAX_WAITING = 32

Json = dict[str, object]


class Visit:
    """One connection: its request, and a queue of answers. ``say`` may be called by the mailbox only."""

    def __init__(self, request: Json) -> None:
        self.request = request
        self._answers: queue.SimpleQueue[Json | None] = queue.SimpleQueue()

    def say(self, answer: Mapping[str, object]) -> None:
        self._answers.put(dict(answer))

    def end(self, answer: Mapping[str, object]) -> None:
        """The last answer."""
        self.say(answer)
        self._answers.put(None)

    def next(self) -> Json | None:
        """The next answer, None at the end; raises queue.Empty after ANSWER_S."""
        return self._answers.get(timeout=ANSWER_S)


class Door:
    """Listens at ``path``; every whole request goes to ``receive`` (called in a thread)."""

    def __init__(self, path: Path, receive: Callable[[Visit], None]) -> None:
        self._path = path
        self._receive = receive
        self._busy = 0
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # of an admin that died; two daemons on one folder are excluded by its lock
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        earlier = os.umask(0o177)
        try:
            self._socket.bind(str(path))
        finally:
            os.umask(earlier)
        self._socket.listen(MAX_WAITING)

    def open(self) -> None:
        start_thread("door", self._listen)

    def _listen(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            if _peer_uid(connection) not in (0, os.getuid()) or self._busy >= MAX_WAITING:
                connection.close()
                continue
            self._busy += 1
            start_thread("visit", lambda c=connection: self._serve(c))  # type: ignore[misc]

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                self._converse(connection)
        except (OSError, queue.Empty):
            pass  # the visitor left, or nothing came for him: his own deadline tells him
        finally:
            self._busy -= 1

    def _converse(self, connection: socket.socket) -> None:
        try:
            visit = Visit(_read_request(connection))
        except ValueError as error:
            connection.sendall(orjson.dumps({"ok": False, "error": str(error)}) + b"\n")
            return
        self._receive(visit)
        while (answer := visit.next()) is not None:
            connection.sendall(orjson.dumps(answer, default=str) + b"\n")


def _read_request(connection: socket.socket) -> Json:
    """The whole request within REQUEST_S: one byte at a time does not hold the door either."""
    deadline = time.monotonic() + REQUEST_S
    data = b""
    while not data.endswith(b"\n"):
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        piece = connection.recv(4096)
        if not piece or len(data) > MAX_REQUEST:
            raise ValueError("a request is one line of JSON")
        data += piece
    connection.settimeout(REQUEST_S)
    request = orjson.loads(data)
    if not isinstance(request, dict) or not isinstance(request.get("verb"), str):
        raise ValueError("a request is an object with a verb")
    return request


def _peer_uid(connection: socket.socket) -> int:
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", packed)[1])
