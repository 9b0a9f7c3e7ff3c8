"""The strategy's process: ``python -m actors.strategist.host STRATEGY IN_FD OUT_FD MEMORY_MB PARENT_PID``.

Dies with its parent, holds no keys, has bounded memory. Reads views, answers ideas; an exception ends it, so that
no half-changed strategy goes on deciding.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import resource
import signal
import sys
import traceback

import orjson

from actors.strategist import wire
from actors.strategist.api import MarketView
from actors.strategist.loading import load

PR_SET_PDEATHSIG = 1
FILE_LIMIT = 64 * 1024 * 1024
"""Bytes that the strategy may write to a file, its own log included."""


def main(arguments: list[str]) -> int:
    """Serve decisions until the parent closes the pipe."""
    name, in_fd, out_fd, memory_mb, parent_pid = arguments
    _settle_in(int(memory_mb), int(parent_pid))
    source, sink = int(in_fd), int(out_fd)
    os.set_inheritable(source, False)
    os.set_inheritable(sink, False)
    try:
        params = orjson.loads(_read_frame(source))
        strategy = load(name)(params)
        _write(sink, {"ready": True, "demo_only": bool(type(strategy).demo_only)})
        while True:
            payload = _read_frame(source)
            view = pickle.loads(payload)  # noqa: S301 - written by the strategist, our parent
            assert isinstance(view, MarketView)
            os_write_all(sink, wire.frame(wire.ideas_to_json(strategy.decide(view))))
    except EOFError:
        return 0
    except BaseException as error:
        traceback.print_exc()
        last = traceback.extract_tb(error.__traceback__)[-1]
        kind = "garbage" if isinstance(error, wire.AnswerError) else "crash"
        text = f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"
        _write(sink, {"error": text[:2000], "kind": kind})
        return 1


def _settle_in(memory_mb: int, parent_pid: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(0)  # the parent died before the line above
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    limit = memory_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))


def _write(sink: int, value: dict[str, object]) -> None:
    os_write_all(sink, wire.frame(orjson.dumps(value)))


def os_write_all(sink: int, data: bytes) -> None:
    """Write everything; blocks."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(sink, rest) :]


def _read_frame(source: int) -> bytes:
    return _read_exactly(source, wire.HEADER.unpack(_read_exactly(source, wire.HEADER.size))[0])


def _read_exactly(source: int, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = os.read(source, count - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
