"""What an actor in virtual time has instead of the kernel: threads, events from threads, timers, children.

The contracts are those of actors/ports.py and supervision/transport.py; nothing here is concurrent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol

from thespian.actors import WatchMessage

from supervision.transport import UnixAddress
from supervision.transport_children import ChildProcess

Work = Callable[[], object]
Done = Callable[[object, BaseException | None], None]
Steps = Generator[float, None, object]
"""A call that takes time: yields seconds, during which the rest of the world goes on; its value is the result."""

VIRTUAL_FD = -1
REMEMBERED_DEAD = 64


class VirtualClock:
    """Stands still until the system moves it to the next moment at which something happens."""

    def __init__(self, utc_ns: int, boot_ns: int) -> None:
        self._utc_ns = utc_ns
        self._boot_ns = boot_ns

    def utc_ns(self) -> int:
        return self._utc_ns

    def boot_ns(self) -> int:
        return self._boot_ns

    def advance_to(self, boot_ns: int) -> None:
        """Never back."""
        ahead = boot_ns - self._boot_ns
        if ahead > 0:
            self._boot_ns += ahead
            self._utc_ns += ahead

    def step_wall(self, seconds: float) -> None:
        """Step the wall clock alone, as NTP or an operator does."""
        self._utc_ns += round(seconds * 1e9)


class Agenda(Protocol):
    """Where a process in virtual time puts what happens to it later."""

    def later(self, seconds: float, happen: Callable[[], None]) -> None:
        """``happen`` while this process lives."""

    def deliver_event(self, message: object) -> None:
        """Let the mailbox handle ``message``, which this process tells itself."""

    def work_s(self, name: str) -> float:
        """How long the next call in the thread ``name`` takes to begin."""


class VirtualEvents:
    """``EventPort`` without an eventfd."""

    fd = VIRTUAL_FD

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._items: deque[Callable[[], None]] = deque()

    def put(self, handler: Callable[[], None]) -> None:
        """Let the mailbox call ``handler``."""
        self._items.append(handler)
        if len(self._items) == 1:
            self._agenda.deliver_event(WatchMessage([VIRTUAL_FD]))

    def drain(self) -> list[Callable[[], None]]:
        """Everything put since the last call, oldest first."""
        taken = list(self._items)
        self._items.clear()
        return taken


@dataclass(slots=True, eq=False)
class _Call:
    work: Work
    done: Done
    running: bool = False
    settled: bool = False

    def settle(self, result: object, error: BaseException | None) -> None:
        if not self.settled:
            self.settled = True
            self.done(result, error)


class VirtualWorker:
    """``Worker`` without a thread: calls run one after another, each at a moment of its own.

    A call that returns ``Steps`` goes on over virtual time. One that passes its deadline is abandoned as in
    ``Worker``: the mailbox hears TimeoutError, the call itself goes on to its end and its result is dropped.
    """

    def __init__(
        self, name: str, events: VirtualEvents, timer: Callable[[float, Callable[[], None]], None], agenda: Agenda
    ) -> None:
        self.name = name
        self.abandoned = 0
        self._events = events
        self._timer = timer
        self._agenda = agenda
        self._waiting: deque[_Call] = deque()
        self._current: _Call | None = None

    def submit(self, work: Work, done: Done, deadline_s: float) -> None:
        """Run ``work``; ``done(result, error)`` runs in the mailbox exactly once, by ``deadline_s``."""
        call = _Call(work, done)
        self._waiting.append(call)
        self._timer(deadline_s, lambda: self._expire(call))
        self._next()

    def queued(self) -> int:
        return len(self._waiting)

    def _next(self) -> None:
        if self._current is not None or not self._waiting:
            return
        call = self._current = self._waiting.popleft()
        self._agenda.later(self._agenda.work_s(self.name), lambda: self._begin(call))

    def _begin(self, call: _Call) -> None:
        if call.settled:  # its deadline passed before its turn came
            self._ended(call)
            return
        call.running = True
        try:
            result = call.work()
        except BaseException as error:
            self._answer(call, None, error)
            return
        if isinstance(result, Generator):
            self._step(call, result)
        else:
            self._answer(call, result, None)

    def _step(self, call: _Call, steps: Steps) -> None:
        try:
            wait_s = next(steps)
        except StopIteration as ended:
            self._answer(call, ended.value, None)
        except BaseException as error:
            self._answer(call, None, error)
        else:
            self._agenda.later(wait_s, lambda: self._step(call, steps))

    def _answer(self, call: _Call, result: object, error: BaseException | None) -> None:
        self._events.put(lambda: call.settle(result, error))
        self._ended(call)

    def _ended(self, call: _Call) -> None:
        if self._current is call:
            self._current = None
            self._next()

    def _expire(self, call: _Call) -> None:
        if call.settled:
            return
        if call.running:
            self.abandoned += 1
        call.settle(None, TimeoutError(f"{self.name}: no answer by the deadline"))
        self._ended(call)  # as a thread that hangs is replaced


@dataclass(frozen=True, slots=True)
class VirtualStats:
    """Nothing waits in virtual time: a message is handled when it arrives."""

    queued_in: int = 0
    queued_out: int = 0


class VirtualChildren:
    """``Children`` of one process; ``kill`` is the SIGKILL of the virtual world."""

    def __init__(self, kill: Callable[[UnixAddress], bool]) -> None:
        self._kill = kill
        self._alive: dict[UnixAddress, ChildProcess] = {}
        self._dead: deque[ChildProcess] = deque(maxlen=REMEMBERED_DEAD)

    def add(self, address: UnixAddress, pid: int) -> None:
        self._alive[address] = ChildProcess(address, pid)

    def ended(self, address: UnixAddress, status: int) -> None:
        child = self._alive.pop(address, None)
        if child is not None:
            self._dead.append(ChildProcess(address, child.pid, status))

    def kill(self, address: UnixAddress) -> bool:
        """False when the child is dead already."""
        return address in self._alive and self._kill(address)

    def addresses(self) -> tuple[UnixAddress, ...]:
        return tuple(self._alive)

    def listed(self) -> list[ChildProcess]:
        """The living and the latest dead."""
        return [*self._alive.values(), *self._dead]


class VirtualTransport:
    """What an actor and its supervisor use of the transport beneath them."""

    def __init__(self, children: VirtualChildren) -> None:
        self.last_sent_boot_ns = 0
        self.children = children

    def watch(self, fd: int) -> None:
        """The only descriptor there is, VIRTUAL_FD, is always watched."""

    def unwatch(self, fd: int) -> None:
        """See ``watch``."""

    def stats(self) -> VirtualStats:
        return VirtualStats()
