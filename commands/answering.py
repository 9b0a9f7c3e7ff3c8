"""What a disk may never answer is asked in a process of its own: one that hangs in the kernel cannot even be killed.

A thread would not do: a process does not end while one of its threads hangs there.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import time
from collections.abc import Callable
from typing import NoReturn, TypeVar

Answer = TypeVar("Answer")
READ_BYTES = 65_536


def within(seconds: float, work: Callable[[], Answer]) -> Answer:
    """What ``work`` gives, a picklable thing; call it before any thread runs.

    Raises the OSError that it raised, and TimeoutError (an OSError) when it did not answer: it goes on by itself then.
    """
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _answer(work, write_end)
    os.close(write_end)
    deadline = time.monotonic() + seconds
    body = b""
    try:
        while select.select([read_end], [], [], max(0.0, deadline - time.monotonic()))[0]:
            part = os.read(read_end, READ_BYTES)
            if not part:
                break
            body += part
        else:
            raise TimeoutError(f"the disk did not answer within {seconds:g} s")
    finally:
        os.close(read_end)
    os.waitpid(pid, 0)
    if not body:
        raise OSError("the process that asked the disk died")
    error, answer = pickle.loads(body)  # noqa: S301 - from our own child
    if error is not None:
        raise error
    return answer  # type: ignore[no-any-return]


def _answer(work: Callable[[], object], write_end: int) -> NoReturn:
    """In the child, which never returns. Nobody who reads our output may wait for it, no Ctrl-C may end it."""
    with contextlib.suppress(BaseException):
        os.setsid()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        try:
            body = pickle.dumps((None, work()))
        except OSError as error:
            body = pickle.dumps((error, None))
        os.write(write_end, body)
    os._exit(0)
