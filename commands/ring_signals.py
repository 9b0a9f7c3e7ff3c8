"""The signals of the outer ring: noted at once, acted upon between two steps; a waiting select wakes up."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable, Sequence

CAUGHT = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
ENDING = frozenset({signal.SIGTERM, signal.SIGINT})


def keep_until_caught() -> None:
    """What comes while a start loads its code waits: as PID 1 it would be lost, else it would leave half a start."""
    signal.pthread_sigmask(signal.SIG_BLOCK, CAUGHT)


class Signals:
    """One per process, main thread only."""

    def __init__(self) -> None:
        self._taken: list[int] = []
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def catch(self) -> None:
        signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        for number in CAUGHT:
            signal.signal(number, lambda received, _frame: self._taken.append(received))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, CAUGHT)

    def call(self, number: int, act: Callable[[], None]) -> None:
        """From here on ``act`` at once in the handler: nobody takes any more, and none may be lost until the exit."""
        signal.signal(number, lambda _received, _frame: act())

    def take(self) -> list[int]:
        """What came since the last call, oldest first."""
        taken, self._taken = self._taken, []
        return taken

    def wait(self, timeout_s: float, also: Sequence[int] = ()) -> bool:
        """Until a signal came or one of ``also`` is readable; False when nothing did within ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_r, selectors.EVENT_READ)
            for descriptor in also:
                selector.register(descriptor, selectors.EVENT_READ)
            while not self._taken:
                found = [key.fd for key, _ in selector.select(max(0.0, deadline - time.monotonic()))]
                self._drain()
                if any(fd != self._wake_r for fd in found):
                    return True
                if time.monotonic() >= deadline:
                    return bool(self._taken)
        return True

    def _drain(self) -> None:
        try:
            os.read(self._wake_r, 4096)
        except BlockingIOError:
            pass  # nothing came
