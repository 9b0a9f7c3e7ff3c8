"""Whether the disk of the data folder takes writes and has room: asked in a thread, since a disk may also hang."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from actors.ports import Worker

PROBE_BYTES = 4096
"""One block, newly allocated each time: what is overwritten in place needs no room, and would not see a full disk."""


def look_at_disk(folder: Path, free_limit_bytes: int) -> str:
    """Write, sync and remove a small file in ``folder``; why the disk is not to be relied upon, or nothing."""
    probe = folder / "disk.probe"
    try:
        found = os.statvfs(folder)
        fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            taken = os.write(fd, bytes(PROBE_BYTES))
            if taken < PROBE_BYTES:  # the room ends within the block
                return f"{folder} cannot be written: it took {taken} of {PROBE_BYTES} bytes"
            os.fsync(fd)
        finally:
            os.close(fd)
            probe.unlink(missing_ok=True)
    except OSError as error:
        return f"{folder} cannot be written: {error}"
    free = found.f_bavail * found.f_frsize
    return f"{free} bytes free, limit {free_limit_bytes}" if free < free_limit_bytes else ""


class DiskWatch:
    """One look at a time. One that does not come back is not repeated: each would leave one more thread hanging.

    ``tell`` is called in the mailbox with why the disk is not to be relied upon, or with nothing.
    """

    def __init__(
        self, worker: Worker, look: Callable[[], str], deadline_s: float, tell: Callable[[str], None]
    ) -> None:
        self._worker = worker
        self._look = look
        self._deadline_s = deadline_s
        self._tell = tell
        self._under_way = self._has_begun = False

    def start(self) -> None:
        """Begin a look, unless the last one has not come back."""
        if self._under_way:
            return
        self._under_way, self._has_begun = True, False
        self._worker.submit(self._run, self._take, self._deadline_s)

    def _run(self) -> str:
        self._has_begun = True
        try:
            return self._look()
        finally:
            self._under_way = False

    def _take(self, result: object, error: BaseException | None) -> None:
        if isinstance(error, TimeoutError):
            self._under_way = self._under_way and self._has_begun  # one that never began will not come back
            self._tell(f"no write came back within {self._deadline_s:g} s")
        else:
            self._tell(str(result) if error is None else f"{type(error).__name__}: {error}")
