"""Speaks to the admin actor's socket. Never starts an actor system: no socket means that nothing runs."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson

from config.paths import admin_socket
from supervision.transport_process import peer_credentials

Json = dict[str, object]


class NotRunningError(Exception):
    """No daemon answers for this data folder."""


def ask(data_dir: Path, request: Mapping[str, object], timeout_s: float) -> Iterator[Json]:
    """Send one request and yield the answers, the last one included.

    Raises NotRunningError when nobody listens, TimeoutError when nothing comes for ``timeout_s``, PermissionError when
    whoever listens is a stranger.
    """
    path = admin_socket(data_dir)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            raise NotRunningError(f"no daemon runs on {data_dir} (nobody listens at {path})") from None
        _refuse_strangers(connection, data_dir, path)
        connection.sendall(orjson.dumps({"operator": operator(), **request}) + b"\n")
        with connection.makefile("rb") as lines:
            for line in lines:
                answer = orjson.loads(line)
                if isinstance(answer, dict):
                    yield answer


def ask_once(data_dir: Path, request: Mapping[str, object], timeout_s: float) -> Json:
    """The last answer to a request; raises as ``ask`` does, and ConnectionError when the daemon hung up."""
    last: Json | None = None
    for answer in ask(data_dir, request, timeout_s):
        last = answer
    if last is None:
        raise ConnectionError("the daemon hung up without an answer")
    return last


def say(data_dir: Path, request: Mapping[str, object]) -> None:
    """Send one request and do not wait for what comes of it. Raises NotRunningError, OSError."""
    path = admin_socket(data_dir)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunningError(f"nobody listens at {path}") from None
        _refuse_strangers(connection, data_dir, path)
        connection.sendall(orjson.dumps(request) + b"\n")


def _refuse_strangers(connection: socket.socket, data_dir: Path, path: Path) -> None:
    """Sockets live where everybody may make a folder: another user's program must not pass for the daemon."""
    _pid, uid = peer_credentials(connection)
    trusted = {0, os.geteuid()}
    with contextlib.suppress(OSError):  # a disk that answers nothing must not keep a kill from the daemon
        trusted.add(data_dir.stat().st_uid)
    if uid not in trusted:
        raise PermissionError(f"at {path} listens a program of uid {uid}: it is not this folder's daemon")


def operator() -> str:
    """Who is asking: the login name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
