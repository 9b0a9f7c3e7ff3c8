"""The child processes of one actor: pid and exit status, reaped by their parent alone."""

from __future__ import annotations

import os
import signal
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

from thespian.actors import ActorAddress

from supervision.transport_process import remove_stale_sockets

_REMEMBERED_DEAD = 64


@dataclass(frozen=True, slots=True)
class ChildProcess:
    """``status``: None while it is unreaped (its pid is surely its own), then the exit code, or minus the signal."""

    address: ActorAddress
    pid: int
    status: int | None = None


class Children:
    """Children by pidfd: their death is an event of the parent's epoll, not a signal."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._alive: dict[int, ChildProcess] = {}
        self._dead: deque[ChildProcess] = deque(maxlen=_REMEMBERED_DEAD)

    def add(self, pid: int, address: ActorAddress) -> int:
        """Take charge of a forked child; the descriptor that gets readable when it dies."""
        pidfd = os.pidfd_open(pid)
        self._alive[pidfd] = ChildProcess(address, pid)
        return pidfd

    def is_child(self, fd: int) -> bool:
        return fd in self._alive

    def reap(self, pidfd: int) -> ChildProcess | None:
        """Collect the exit status; None when it has not ended."""
        child = self._alive[pidfd]
        pid, status = os.waitpid(child.pid, os.WNOHANG)
        if pid == 0:
            return None
        ended = replace(child, status=os.waitstatus_to_exitcode(status))
        self._alive[pidfd] = ended
        return ended

    def forget(self, pidfd: int) -> None:
        """Move a reaped child to the dead and remove the sockets it and its subtree left behind."""
        child = self._alive.pop(pidfd)
        self._dead.append(child)
        os.close(pidfd)
        (self._directory / str(child.address.addressDetails)).unlink(missing_ok=True)
        remove_stale_sockets(self._directory)

    def kill(self, address: ActorAddress) -> bool:
        """SIGKILL a child; False when it is reaped already, so that no stranger with its pid is ever hit."""
        for pidfd, child in self._alive.items():
            if child.address == address and child.status is None:
                try:
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                except ProcessLookupError:
                    return True  # ended, but not reaped yet: the notice is on its way
                return True
        return False

    def status(self, address: ActorAddress) -> int | None:
        """Exit status of a dead child; None when it lives or is unknown."""
        return next((child.status for child in reversed(self._dead) if child.address == address), None)

    def listed(self) -> list[ChildProcess]:
        """The living and the latest dead."""
        return [*self._alive.values(), *self._dead]

    def close(self) -> None:
        """Close the descriptors; the processes stay."""
        for pidfd in self._alive:
            os.close(pidfd)
        self._alive.clear()
