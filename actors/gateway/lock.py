"""Never two gateways: an flock that is held for life and asked about before every order."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from actors import durable


class GatewayLock:
    """The exclusive lock on ``path``; the kernel frees it when the process dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def try_acquire(self) -> bool:
        """True when this process holds the lock now; never waits."""
        fd = durable.open_or_read(self._path)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        if self.held():
            return True
        self.release()  # somebody replaced the file between open and flock
        return False

    def held(self) -> bool:
        """Whether the lock is held on the very file that a second gateway would open."""
        if self._fd is None:
            return False
        try:
            mine, theirs = os.fstat(self._fd), os.stat(self._path)  # noqa: PTH116 - beside fstat
        except OSError:
            return False
        return (mine.st_dev, mine.st_ino) == (theirs.st_dev, theirs.st_ino)

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
