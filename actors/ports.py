"""The ports through which a room touches the world: threads, events from threads, and leaving the process.

Worker threads reach the mailbox only through an ``EventPort`` and never send a message themselves.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol


class TransportPort(Protocol):
    """What the base uses of the transport beneath an actor."""

    last_sent_boot_ns: int

    def watch(self, fd: int) -> None: ...

    def unwatch(self, fd: int) -> None: ...


class EventPort:
    """Carries items from threads into the mailbox: a deque and an eventfd that the transport watches.

    ``put`` may be called by any thread; ``drain`` only by the mailbox.
    """

    def __init__(self, limit: int = 100_000) -> None:
        self._items: deque[Callable[[], None]] = deque()
        self._limit = limit
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def put(self, handler: Callable[[], None]) -> None:
        """Let the mailbox call ``handler``; raises BufferError when the mailbox is ``limit`` items behind."""
        if len(self._items) >= self._limit:
            raise BufferError(f"the mailbox is {self._limit} events behind")
        self._items.append(handler)
        os.eventfd_write(self.fd, 1)

    def drain(self) -> list[Callable[[], None]]:
        """Everything put since the last call, oldest first."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            pass  # another drain was faster
        taken = []
        for _ in range(len(self._items)):
            taken.append(self._items.popleft())
        return taken


def start_thread(name: str, run: Callable[[], None]) -> threading.Thread:
    """Start a daemon thread that receives no signal."""

    def shielded() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        run()

    thread = threading.Thread(target=shielded, name=name, daemon=True)
    thread.start()
    return thread


class Worker:
    """One thread that runs calls in order. ``submit`` answers in the mailbox, by ``deadline_s`` at the latest.

    A call that passes its deadline is abandoned: the mailbox hears ``TimeoutError``, a late result is dropped,
    and the thread is replaced, so that the calls behind it go on. ``abandoned`` counts them.
    """

    def __init__(self, name: str, events: EventPort, later: Callable[[float, Callable[[], None]], None]) -> None:
        self.name = name
        self.abandoned = 0
        self._events = events
        self._later = later
        self._queue: queue.SimpleQueue[tuple[Callable[[], object], _Ticket]] = queue.SimpleQueue()
        self._generation = 0
        self._start()

    def submit(
        self,
        work: Callable[[], object],
        done: Callable[[object, BaseException | None], None],
        deadline_s: float,
    ) -> None:
        """Run ``work`` in the thread; ``done(result, error)`` runs in the mailbox exactly once."""
        ticket = _Ticket(done)
        self._queue.put((work, ticket))
        self._later(deadline_s, lambda: self._expire(ticket))

    def queued(self) -> int:
        return self._queue.qsize()

    def _start(self) -> None:
        self._generation += 1
        generation = self._generation
        start_thread(f"{self.name}-{generation}", lambda: self._run(generation))

    def _run(self, generation: int) -> None:
        while generation == self._generation:
            work, ticket = self._queue.get()
            if generation != self._generation:
                self._queue.put((work, ticket))
                return
            if ticket.settled:
                continue
            ticket.running = True
            result: object = None
            error: BaseException | None = None
            try:
                result = work()
            except BaseException as caught:
                error = caught
            self._events.put(lambda t=ticket, r=result, e=error: t.settle(r, e))  # type: ignore[misc]

    def _expire(self, ticket: _Ticket) -> None:
        if ticket.settled:
            return
        was_running = ticket.running
        if was_running:
            self.abandoned += 1
            self._start()
        ticket.settle(None, TimeoutError(f"{self.name}: no answer by the deadline"))


class _Ticket:
    """One call; settles once, in the mailbox."""

    __slots__ = ("_done", "running", "settled")

    def __init__(self, done: Callable[[object, BaseException | None], None]) -> None:
        self._done = done
        self.settled = False
        self.running = False

    def settle(self, result: object, error: BaseException | None) -> None:
        if not self.settled:
            self.settled = True
            self._done(result, error)
