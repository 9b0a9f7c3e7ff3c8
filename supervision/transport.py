"""Thespian's transport on private Unix sockets: mailbox loop, timers, watched descriptors, children.

A slow, stopped or dead receiver never blocks the sender and never delays another target. Delivery classes are read
from the message class (``delivery``, ``urgent``); Thespian's own messages are plain.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from thespian.actors import ChildActorExited, WakeupMessage, WatchMessage
from thespian.system.transport import (
    ReceiveEnvelope,
    SendStatus,
    Thespian__Run_Expired,
    Thespian__Run_HandlerResult,
    Thespian__Run_Terminated,
    Thespian__UpdateWork,
    TransmitOnly,
)

from supervision.transport_children import ChildProcess, Children
from supervision.transport_mailbox import Delivery, Timers
from supervision.transport_sockets import (
    NS_PER_S,
    SocketLinks,
    TransportStats,
    UnixAddress,
    WrongThread,
    boot_ns,
)

__all__ = [
    "UnixTransport", "UnixAddress", "Envelope", "TransportStats", "WrongThread", "ChildProcess",
    "current_transport", "child_processes",
]  # fmt: skip

_POLL_EVERY = 16  # handled messages
_LONGEST_SLEEP_S = 1.0  # epoll does not count suspended time, the timers do


@dataclass(frozen=True, slots=True)
class Envelope:
    """About the message now being handled: boot-clock times of send and of dequeue, messages left behind it."""

    sent_boot_ns: int
    received_boot_ns: int
    queue_depth: int


_current: UnixTransport | None = None


def current_transport() -> UnixTransport | None:
    """The transport of the actor that this process is; None elsewhere."""
    return _current


def child_processes() -> list[ChildProcess]:
    """The children of the actor that this process is, the dead ones with their exit status."""
    return _current.children.listed() if _current is not None else []


class UnixTransport(SocketLinks):
    """What Thespian's actor and admin classes run on."""

    def __init__(self, directory: Path, name: str, listener: socket.socket) -> None:
        super().__init__(directory, name, listener)
        self.children = Children(directory)
        self.last_sent_boot_ns = 0
        self._dequeued_boot_ns = 0
        self._timers = Timers()
        self._watched: set[int] = set()
        self._watched_by_return: set[int] = set()
        self._watch_queued: set[int] = set()
        self._since_poll = 0
        self._aborted = False

    def become_current(self) -> None:
        """Make this the transport that ``current_transport`` gives in this process."""
        global _current
        _current = self

    @property
    def last_envelope(self) -> Envelope | None:
        """About the message now being handled; None before the first."""
        if not self._handled:
            return None
        return Envelope(self.last_sent_boot_ns, self._dequeued_boot_ns, len(self._mailbox))

    # --- descriptors and children ---

    def watch(self, fd: int) -> None:
        """Deliver ``WatchMessage([fd])`` whenever ``fd`` is readable, until ``unwatch``: call it before closing."""
        self._check_thread()
        self._watched.add(fd)
        self._register(fd, select.EPOLLIN, self._watch_ready)

    def unwatch(self, fd: int) -> None:
        """Stop watching ``fd``."""
        self._check_thread()
        if fd in self._watched:
            self._watched.discard(fd)
            self._watched_by_return.discard(fd)
            self._watch_queued.discard(fd)
            self._unregister(fd)

    def set_watch(self, filenos: Iterable[int]) -> None:
        """Watch what a handler returned in ThespianWatch, instead of what an earlier one returned."""
        wanted = set(filenos)
        for fd in self._watched_by_return - wanted:
            self.unwatch(fd)
        for fd in wanted - self._watched:
            self.watch(fd)
            self._watched_by_return.add(fd)

    def _watch_ready(self, fd: int) -> None:
        if fd not in self._watch_queued:
            self._watch_queued.add(fd)
            self._event(WatchMessage([fd]))

    def add_child(self, pid: int, address: UnixAddress) -> None:
        """Take charge of a forked child: its death becomes exactly one ChildActorExited."""
        self._register(self.children.add(pid, address), select.EPOLLIN, self._child_ended)

    def _child_ended(self, pidfd: int) -> None:
        child = self.children.reap(pidfd)
        if child is None:
            return
        self._unregister(pidfd)
        self.children.forget(pidfd)
        self._accept(self._listener.fileno())
        for link in [one for one in self._in.values() if one.peer_pid == child.pid]:
            while not link.closed and self._read_some(link):
                pass  # its last words come before the notice
        self._mailbox.put(Delivery(self.myAddress, ChildActorExited(child.address), boot_ns()))

    # --- the loop ---

    def run(self, handler: object, maximumDuration: object = None) -> object:  # noqa: N803 - Thespian's name
        """Handle messages until aborted, until the handler says stop, or until the time (timedelta, seconds) is up.

        ``handler`` None: return the first envelope. TransmitOnly: only hand to the kernel what may go; the number of
        links that could not.
        """
        self._check_thread()
        deadline_ns = None if maximumDuration is None else boot_ns() + round(_seconds(maximumDuration) * NS_PER_S)
        if handler is TransmitOnly or isinstance(handler, TransmitOnly):
            return self._drain(deadline_ns)
        self._aborted = False
        while not self._aborted:
            delivery = None
            if self._since_poll < _POLL_EVERY:
                delivery = self._mailbox.take()
            if delivery is None:
                self._since_poll = 0
                self._poll(None if self._mailbox else deadline_ns, wait=not self._mailbox)
                if not self._mailbox and deadline_ns is not None and boot_ns() >= deadline_ns:
                    return Thespian__Run_Expired()
                continue
            envelope = self._begin(delivery)
            if handler is None:
                return envelope
            result = handler(envelope)  # type: ignore[operator]
            if not result:
                return Thespian__Run_HandlerResult(result)
        return Thespian__Run_Terminated()

    def _begin(self, delivery: Delivery) -> ReceiveEnvelope:
        self._since_poll += 1
        self._handled += 1
        if delivery.link is not None:
            self._acknowledge(delivery)
        message = delivery.message
        if isinstance(message, WatchMessage):
            self._watch_queued.difference_update(message.ready)
        self.last_sent_boot_ns = delivery.sent_boot_ns
        self._dequeued_boot_ns = boot_ns()
        return ReceiveEnvelope(delivery.sender, message)

    def _poll(self, deadline_ns: int | None, wait: bool) -> None:
        if self._acks_due:
            for link in tuple(self._acks_due):
                self._send_acks(link)
        timeout_s = self._sleep_s(deadline_ns) if wait else 0.0
        ended = []
        for fd, _event in self._epoll.poll(timeout_s, 256):
            if self.children.is_child(fd):
                ended.append(fd)  # after everything else that is readable
            elif (on_ready := self._on_ready.get(fd)) is not None:
                on_ready(fd)
        for fd in ended:
            self._child_ended(fd)
        now = boot_ns()
        if self._ack_deadline_ns is not None and now >= self._ack_deadline_ns:
            self._expire_acks(now)
        for due_ns, period, payload in self._timers.pop_due(now):
            self._mailbox.put_event(Delivery(self.myAddress, WakeupMessage(period, payload), due_ns))

    def _sleep_s(self, deadline_ns: int | None) -> float:
        nearest = self._timers.next_due_ns()
        for other in (deadline_ns, self._ack_deadline_ns):
            if other is not None and (nearest is None or other < nearest):
                nearest = other
        if nearest is None:
            return _LONGEST_SLEEP_S
        return min(max(nearest - boot_ns(), 0) / NS_PER_S, _LONGEST_SLEEP_S)

    def _drain(self, deadline_ns: int | None) -> int:
        while waiting := sum(link.state.sendable for link in self._out.values()):
            if deadline_ns is not None and boot_ns() >= deadline_ns:
                return waiting
            self._poll(deadline_ns, wait=True)
        return 0

    # --- what else Thespian asks of a transport ---

    def addWakeup(self, period: object, payload: object) -> None:  # noqa: N802 - Thespian's name
        """Arm a WakeupMessage."""
        self._timers.add(boot_ns(), period, payload)  # type: ignore[arg-type]

    def scheduleTransmit(self, _manager: object, intent: object, has_exclusive_flag: bool = False) -> None:  # noqa: N802
        """Send one of Thespian's own intents."""
        message = intent.message  # type: ignore[attr-defined]
        sent = isinstance(message, Thespian__UpdateWork) or self.send(intent.targetAddr, message)  # type: ignore[attr-defined]
        intent.tx_done(SendStatus.Sent if sent else SendStatus.DeadTarget)  # type: ignore[attr-defined]

    def abort_run(self, drain: bool = False) -> None:
        """End ``run`` after the message in hand."""
        self._aborted = True

    def setAddressManager(self, _manager: object) -> None:  # noqa: N802
        """Addresses here are final from the start."""

    def deadAddress(self, _manager: object, address: object) -> None:  # noqa: N802
        """The end of the connection said it already."""

    def enableRXPauseFlowControl(self, enable: bool = True) -> None:  # noqa: N802
        """Nothing here ever stops receiving in order to send."""

    def _close_descriptors(self) -> None:
        super()._close_descriptors()
        self.children.close()


def _seconds(duration: object) -> float:
    total = getattr(duration, "total_seconds", None)
    return float(total()) if total is not None else float(duration)  # type: ignore[arg-type]
