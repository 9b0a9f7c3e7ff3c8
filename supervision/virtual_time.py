"""A second Thespian system base: every actor in this one process, on virtual time, in a seeded order.

The actor classes are the daemon's own. What differs is beneath them: messages are pickled and travel for as long
as the ``Weather`` says, processes die where it says, and a second costs what its messages cost. Links keep the
order of their messages (urgent ones apart), a message to a dead process comes back as ``Undelivered``, a death is
told once to the parent and takes the subtree along: as on the Unix transport. The same seed gives the same run.
"""

from __future__ import annotations

import hashlib
import heapq
import pickle
from collections import deque
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import cast

from thespian.actors import Actor, ActorExitRequest, ActorSystemMessage, ChildActorExited, WakeupMessage
from thespian.system.utilis import actualActorClass

from actors.actor import TradingActor
from actors.clock import NS_PER_S
from actors.messages.delivery import Undelivered
from actors.messages.health import Initialize
from actors.ports import EventPort, Worker
from supervision.transport import UnixAddress, UnixTransport
from supervision.transport_link import conflation_key, merge
from supervision.transport_pickle import dumps
from supervision.virtual_time_ports import VirtualChildren, VirtualClock, VirtualEvents, VirtualTransport, VirtualWorker
from supervision.virtual_time_weather import Weather

OUTSIDE = UnixAddress("outside")
ACK_TIMEOUT_NS = 500_000_000
EVENT_NS = 20_000
FIRST_PID = 100_000
START_UTC_NS = 1_786_309_548 * NS_PER_S
START_BOOT_NS = 1_000 * NS_PER_S
SIGKILL_STATUS = -9
CRASH_STATUS = 70

Factory = Callable[[], Actor]


class Killed(SystemExit):
    """The process ends here, in the middle of a handler, as SIGKILL would end it: nothing of it runs on."""


class VirtualProcess:
    """One actor's process; the actor sees it as ``_myRef``."""

    globalName = None  # noqa: N815 - Thespian's name

    def __init__(self, system: VirtualSystem, number: int, parent: VirtualProcess | None) -> None:
        self.system = system
        self.parent = parent
        self.pid = FIRST_PID + number
        self.address = UnixAddress(f"v{number}")
        self.label = f"v{number}"
        self.state = "new"
        self.actor: Actor | None = None
        self.events = VirtualEvents(self)
        self.transport = VirtualTransport(VirtualChildren(system.kill))
        self.waiting: deque[tuple[UnixAddress, object, int, int]] = deque()
        """(sender, message, sent, ticket; 0 for what this process tells itself)"""
        self.stopped: list[Callable[[], None]] = []
        """What its threads would have done while it is stopped: they do it when it goes on."""

    @property
    def alive(self) -> bool:
        return self.state != "dead"

    # --- what Thespian's Actor calls -------------------------------------------------------------------

    def actor_send(self, target: UnixAddress, message: object) -> None:
        self.system.send(self, target, message)
        if self.system.weather.strikes(self, "send", message):
            raise Killed(CRASH_STATUS)

    def createActor(  # noqa: N802 - Thespian's names
        self,
        newActorClass: type | str,  # noqa: N803
        targetActorRequirements: object = None,  # noqa: N803
        globalName: str | None = None,  # noqa: N803
        sourceHash: str | None = None,  # noqa: N803
    ) -> UnixAddress:
        if targetActorRequirements or globalName or sourceHash:
            raise ValueError("requirements, global names and loaded sources are not part of this system")
        return self.system.fork(newActorClass, self).address

    def wakeupAfter(self, period: timedelta, payload: object = None) -> None:  # noqa: N802
        microseconds = (period.days * 86_400 + period.seconds) * 1_000_000 + period.microseconds
        due = self.system.clock.boot_ns() + microseconds * 1000
        wakeup = WakeupMessage(period, payload)
        self.system.at(due, lambda: self.system.hand_over(self, self.address, wakeup, due))

    def handleDeadLetters(self, address: UnixAddress, enabled: bool) -> None:  # noqa: N802
        raise ValueError("dead letters are counted by the base")

    # --- what its ports call ---------------------------------------------------------------------------

    def later(self, seconds: float, happen: Callable[[], None]) -> None:
        due = self.system.clock.boot_ns() + round(seconds * NS_PER_S)
        self.system.at(due, lambda: self._do(happen))

    def _do(self, happen: Callable[[], None]) -> None:
        if self.state == "hung":
            self.stopped.append(happen)
        elif self.alive:
            happen()

    def deliver_event(self, message: object) -> None:
        due = self.system.clock.boot_ns() + EVENT_NS
        self.system.at(due, lambda: self.system.hand_over(self, self.address, message, due))

    def work_s(self, name: str) -> float:
        return self.system.weather.work_s(self, name)

    def worker(self, name: str) -> VirtualWorker:
        """Stands where ``TradingActor.worker`` makes a thread."""
        actor = cast(TradingActor, self.actor)
        return VirtualWorker(f"{self.label}:{name}", self.events, actor._later, self)


class VirtualSystem:
    """The world of one run; also a Thespian system base (``ActorSystem(VirtualSystem(...))``).

    ``substitutes``: for an actor class by its path, what makes it instead (a subclass with other ports).
    ``watch``: sees every message as it is sent.
    ``at_death``: closes what the kernel would close for the dead (descriptors, locks).
    """

    def __init__(
        self,
        weather: Weather,
        *,
        clock: VirtualClock | None = None,
        substitutes: Mapping[str, Factory] | None = None,
        at_death: Callable[[VirtualProcess, int], None] | None = None,
        watch: Callable[[VirtualProcess | None, VirtualProcess, object], None] | None = None,
    ) -> None:
        self.clock = clock or VirtualClock(START_UTC_NS, START_BOOT_NS)
        self.weather = weather
        self.delivered = 0
        self.lost = 0
        self.received: list[object] = []
        self._substitutes = dict(substitutes or {})
        self._at_death = at_death
        self._watch = watch
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._serial = 0
        self._processes: dict[UnixAddress, VirtualProcess] = {}
        self._forks = 0
        self._arrivals: dict[tuple[str, str, bool], int] = {}
        self._in_flight: dict[VirtualProcess, dict[int, tuple[VirtualProcess | None, object]]] = {}
        self._trace = hashlib.blake2b(digest_size=16)
        self._pickled: tuple[object, bytes] = (None, b"")

    # --- Thespian's system base ------------------------------------------------------------------------

    def newPrimaryActor(  # noqa: N802 - Thespian's names
        self, actorClass: type | str, requirements: object = None, globalName: str | None = None, sourceHash: object = None  # noqa: N803, E501
    ) -> UnixAddress:
        return self.fork(actorClass, None).address

    def tell(self, target: UnixAddress, message: object) -> None:
        self.send(None, target, message)

    def listen(self, timeout: timedelta | float | None = None) -> object:
        """The next message to the outside within ``timeout`` of virtual time; None when none came."""
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        end = None if seconds is None else self.clock.boot_ns() + round(seconds * NS_PER_S)
        while not self.received and self._agenda and (end is None or self._agenda[0][0] <= end):
            self.step()
        return self.received.pop(0) if self.received else None

    def ask(self, target: UnixAddress, message: object, timeout: timedelta | float | None = None) -> object:
        self.tell(target, message)
        return self.listen(timeout)

    def shutdown(self) -> None:
        """End every process at once."""
        for process in [one for one in self._processes.values() if one.parent is None]:
            self.die(process, SIGKILL_STATUS)
        self._agenda.clear()

    # --- time ------------------------------------------------------------------------------------------

    def at(self, due_boot_ns: int, happen: Callable[[], None]) -> None:
        """Let something happen at a moment; what is due together happens in the order it was asked for."""
        self._serial += 1
        heapq.heappush(self._agenda, (due_boot_ns, self._serial, happen))

    def after(self, seconds: float, happen: Callable[[], None]) -> None:
        """Let something happen in ``seconds``, whoever lives."""
        self.at(self.clock.boot_ns() + round(seconds * NS_PER_S), happen)

    def step(self) -> None:
        """Go to the next moment at which something happens, and let it."""
        due, _, happen = heapq.heappop(self._agenda)
        self._move_to(due)
        happen()

    def run(self, seconds: float) -> None:
        end = self.clock.boot_ns() + round(seconds * NS_PER_S)
        while self._agenda and self._agenda[0][0] <= end:
            self.step()
        self._move_to(end)

    def _move_to(self, boot_ns: int) -> None:
        self.clock.advance_to(boot_ns)

    # --- processes -------------------------------------------------------------------------------------

    def fork(self, actor_class: type | str, parent: VirtualProcess | None) -> VirtualProcess:
        """A new process; it can be written to at once and runs a little later."""
        self._forks += 1
        process = VirtualProcess(self, self._forks, parent)
        self._processes[process.address] = process
        self._in_flight[process] = {}
        if parent is not None:
            parent.transport.children.add(process.address, process.pid)
        self.at(self.clock.boot_ns() + self.weather.start_ns(), lambda: self._start(process, actor_class))
        return process

    def _start(self, process: VirtualProcess, actor_class: type | str) -> None:
        if not process.alive:
            return
        path = actor_class if isinstance(actor_class, str) else f"{actor_class.__module__}.{actor_class.__qualname__}"
        make = self._substitutes.get(path) or actualActorClass(actor_class)
        try:
            actor = make()
        except Exception:
            self.die(process, CRASH_STATUS)
            return
        actor._myRef = process
        process.actor = actor
        if isinstance(actor, TradingActor):
            actor.clock = self.clock
            actor._events = cast(EventPort, process.events)
            actor.worker = cast(Callable[[str], Worker], process.worker)  # type: ignore[method-assign, assignment]
        process.state = "running"
        self._resume(process)

    def kill(self, address: UnixAddress) -> bool:
        """SIGKILL; False when it is dead already."""
        process = self._processes.get(address)
        if process is None or not process.alive:
            return False
        self.die(process, SIGKILL_STATUS)
        return True

    def hang(self, process: VirtualProcess) -> None:
        """SIGSTOP: it is there and does nothing."""
        if process.state == "running":
            process.state = "hung"

    def wake(self, process: VirtualProcess) -> None:
        """SIGCONT."""
        if process.state == "hung":
            process.state = "running"
            stopped, process.stopped = process.stopped, []
            for happen in stopped:
                process.later(0.0, happen)
            self._resume(process)

    def _resume(self, process: VirtualProcess) -> None:
        while process.waiting and process.state == "running":
            from_address, message, sent_boot_ns, ticket = process.waiting.popleft()
            self._take(process, ticket, from_address, message, sent_boot_ns)

    def die(self, process: VirtualProcess, status: int) -> None:
        """End a process and all below it; its parent hears of it, senders of what it did not take."""
        if not process.alive:
            return
        process.state = "dead"
        for address in process.transport.children.addresses():
            self.die(self._processes[address], SIGKILL_STATUS)
        self.note("death", process.label, str(status))
        if self._at_death is not None:
            self._at_death(process, status)
        process.actor = None
        process.waiting.clear()
        for sender, message in self._in_flight.pop(process).values():
            self._undelivered(sender, process, message, "closed")
        del self._processes[process.address]
        parent = process.parent
        if parent is not None:
            parent.transport.children.ended(process.address, status)
            if parent.alive:
                last_words = self._arrivals.get((process.label, parent.label, False), 0)
                due = max(self.clock.boot_ns() + self.weather.exit_ns(), last_words)
                notice = ChildActorExited(process.address)
                self.at(due, lambda: self.hand_over(parent, parent.address, notice, due))

    def processes(self) -> list[VirtualProcess]:
        """All that live, oldest first."""
        return list(self._processes.values())

    def find(self, label: str) -> VirtualProcess | None:
        """The living process of this name."""
        return next((one for one in reversed(self._processes.values()) if one.label == label), None)

    # --- messages --------------------------------------------------------------------------------------

    def send(self, sender: VirtualProcess | None, address: UnixAddress, message: object) -> None:
        """Carry a copy of ``message`` to ``address``; raises what pickling raises."""
        copy = self._copy(message)
        if address == OUTSIDE:
            self.received.append(copy)
            return
        target = self._processes.get(address)
        if target is None:
            if getattr(message, "delivery", "plain") != "plain" and sender is not None:
                self._tell_undelivered(sender, address, message, "refused")
            return
        if self._watch is not None:
            self._watch(sender, target, copy)
        delivery = getattr(message, "delivery", "plain")
        kept = delivery == "acknowledged"
        if delivery == "plain" and self.weather.loses(sender, target, message):
            self.lost += 1
            return
        now = self.clock.boot_ns()
        urgent = bool(getattr(message, "urgent", False))
        link = (sender.label if sender is not None else "outside", target.label, urgent)
        due = max(now + self.weather.travel_ns(sender, target, message), self._arrivals.get(link, 0))
        self._arrivals[link] = due
        self._serial += 1
        ticket = self._serial
        if kept:
            self._in_flight[target][ticket] = (sender, message)
            if due - now > ACK_TIMEOUT_NS:
                self.at(now + ACK_TIMEOUT_NS, lambda: self._time_out(target, ticket))
        from_address = sender.address if sender is not None else OUTSIDE
        self.at(due, lambda: self._arrive(target, ticket, from_address, copy, now))

    def _copy(self, message: object) -> object:
        """What the receiver will hold. One message told to many is pickled once; each receiver has its own copy."""
        if self._pickled[0] is not message:
            self._pickled = (message, dumps(message))
        return pickle.loads(self._pickled[1])  # noqa: S301 - our own bytes

    def _time_out(self, target: VirtualProcess, ticket: int) -> None:
        waiting = self._in_flight.get(target, {}).pop(ticket, None)
        if waiting is not None:
            self._undelivered(waiting[0], target, waiting[1], "timeout")  # it may still arrive

    def _arrive(
        self,
        target: VirtualProcess,
        ticket: int,
        from_address: UnixAddress,
        message: object,
        sent_boot_ns: int,
    ) -> None:
        if not target.alive:
            return
        if target.state == "running":
            self._take(target, ticket, from_address, message, sent_boot_ns)
            return
        self._queue(target, ticket, from_address, message, sent_boot_ns)
        if ticket in self._in_flight[target]:
            self.at(sent_boot_ns + ACK_TIMEOUT_NS, lambda: self._time_out(target, ticket))

    def _take(
        self, target: VirtualProcess, ticket: int, from_address: UnixAddress, message: object, sent_boot_ns: int
    ) -> None:
        self.hand_over(target, from_address, message, sent_boot_ns)
        if target.alive:
            self._in_flight[target].pop(ticket, None)

    def _queue(
        self, target: VirtualProcess, ticket: int, from_address: UnixAddress, message: object, sent_boot_ns: int
    ) -> None:
        key = conflation_key(message) if getattr(message, "delivery", "plain") == "credit" else None
        if key is not None:
            for index, (other_from, other, _, _) in enumerate(target.waiting):
                if other_from == from_address and type(other) is type(message) and conflation_key(other) == key:
                    target.waiting[index] = (from_address, merge(message, other), sent_boot_ns, 0)
                    return
        target.waiting.append((from_address, message, sent_boot_ns, ticket))

    def _undelivered(
        self, sender: VirtualProcess | None, target: VirtualProcess, message: object, reason: str
    ) -> None:
        if sender is not None and not isinstance(message, ActorSystemMessage):
            self._tell_undelivered(sender, target.address, message, reason)

    def _tell_undelivered(self, sender: VirtualProcess, address: UnixAddress, message: object, reason: str) -> None:
        if sender.alive:
            due = self.clock.boot_ns() + EVENT_NS
            said = Undelivered(address, message, reason)
            self.at(due, lambda: self.hand_over(sender, sender.address, said, due))

    def hand_over(self, target: VirtualProcess, from_address: UnixAddress, message: object, sent_boot_ns: int) -> None:
        """Let an actor handle one message now, once."""
        if not target.alive:
            return
        if target.state != "running":
            target.waiting.append((from_address, message, sent_boot_ns, 0))
            return
        if isinstance(message, Initialize):
            target.label = f"{message.name}"
        if self.weather.strikes(target, "before", message):
            self.die(target, SIGKILL_STATUS)
            return
        self.delivered += 1
        sender = self._processes.get(from_address)
        self.note(sender.label if sender is not None else str(from_address), target.label, type(message).__name__)
        target.transport.last_sent_boot_ns = sent_boot_ns
        # The supervisor asks for "the transport of the actor that this process is".
        UnixTransport.become_current(cast(UnixTransport, target.transport))
        assert target.actor is not None
        try:
            target.actor.receiveMessage(message, from_address)
        except Killed:
            self.die(target, SIGKILL_STATUS)
            return
        except SystemExit as leaving:
            self.die(target, leaving.code if isinstance(leaving.code, int) else 0)
            return
        if isinstance(message, ActorExitRequest):
            self.die(target, 0)
        elif self.weather.strikes(target, "after", message):
            self.die(target, SIGKILL_STATUS)

    # --- the record of the run -------------------------------------------------------------------------

    def note(self, *parts: str) -> None:
        """Put something into the trace."""
        self._trace.update(f"{self.clock.boot_ns()}|{'|'.join(parts)}\n".encode())

    @property
    def trace(self) -> str:
        """A hash over every delivery, death and note so far: equal for equal runs."""
        return self._trace.copy().hexdigest()
