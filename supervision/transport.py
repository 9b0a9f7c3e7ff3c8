"""Thespian's transport on private Unix sockets: one SEQPACKET connection per pair and direction, one epoll per actor.

Used from the main thread only. A slow, stopped or dead receiver never blocks the sender and never delays another
target. Delivery classes are read from the message class (``delivery``, ``urgent``); Thespian's own are plain.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from thespian.actors import ActorAddress, ChildActorExited, WakeupMessage, WatchMessage
from thespian.system.transport import (
    ReceiveEnvelope,
    SendStatus,
    Thespian__Run_Expired,
    Thespian__Run_HandlerResult,
    Thespian__Run_Terminated,
    Thespian__UpdateWork,
    TransmitOnly,
)

from actors.messages.delivery import Undelivered
from supervision.transport_children import ChildProcess, Children
from supervision.transport_link import LinkLimits, Lost, OutboundLink, Reassembly, conflation_key
from supervision.transport_mailbox import Delivery, Mailbox, Timers
from supervision.transport_process import connect_to, peer_credentials
from supervision.transport_wire import (
    ACK,
    ACKNOWLEDGE,
    CREDIT,
    DATA,
    HELLO,
    MAX_PACKET,
    URGENT,
    WireError,
    decode,
    decode_acks,
    encode_acks,
    encode_hello,
)

_POLL_EVERY = 16  # handled messages
_READS_PER_TURN = 64  # packets of one connection, at most; few while there is little, to save the futile last read
_EVERYTHING = 1_000_000
_RESETS = 2
_CREDIT_ACKS_TOGETHER = 8
_MAILBOX_LIMIT = 50_000  # above it, messages stay in the kernel and the senders feel it
_LONGEST_SLEEP_S = 1.0  # epoll does not count suspended time, the timers do
_NS = 1_000_000_000


class WrongThread(RuntimeError):  # noqa: N818 - says what is wrong
    """The transport was used outside the thread that owns it."""


class UnixAddress(ActorAddress):  # type: ignore[misc]
    """An actor's address: the name of its socket. Hashable, never reused, the same in every process."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnixAddress) and other.name == self.name

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> tuple[type[UnixAddress], tuple[str]]:
        return UnixAddress, (self.name,)


@dataclass(frozen=True, slots=True)
class Envelope:
    """About the message now being handled: boot-clock times of send and of dequeue, messages left behind it."""

    sent_boot_ns: int
    received_boot_ns: int
    queue_depth: int


@dataclass(frozen=True, slots=True)
class TransportStats:
    """Counts of one process. ``queued_*`` and ``unacknowledged`` are now, the others since it started."""

    queued_in: int
    queued_out: int
    merged: int
    dropped: int
    unacknowledged: int
    handled: int
    undelivered: int
    refused_peers: int
    bad_packets: int


class _Outbound:
    """A connection we send on; acknowledgements come back on it."""

    __slots__ = ("address", "blocked", "reads", "sock", "state")

    def __init__(self, sock: socket.socket, address: UnixAddress, limits: LinkLimits) -> None:
        self.sock = sock
        self.address = address
        self.state = OutboundLink(limits)
        self.blocked = False
        self.reads = 1


class _Inbound:
    """A connection somebody sends to us on. ``acks`` are owed to the sender."""

    __slots__ = ("acks", "blocked", "closed", "peer_pid", "reads", "reassembly", "sender", "sock")

    def __init__(self, sock: socket.socket, peer_pid: int) -> None:
        self.sock = sock
        self.peer_pid = peer_pid
        self.sender: UnixAddress | None = None
        self.acks: list[int] = []
        self.reassembly = Reassembly()
        self.blocked = False
        self.closed = False
        self.reads = 4


_current: UnixTransport | None = None


def current_transport() -> UnixTransport | None:
    """The transport of the actor that this process is; None elsewhere."""
    return _current


def child_processes() -> list[ChildProcess]:
    """The children of the actor that this process is, the dead ones with their exit status."""
    return _current.children.listed() if _current is not None else []


class UnixTransport:
    """What Thespian's actor and admin classes run on. Owns the mailbox, the links, the timers and the children."""

    ACK_TIMEOUT_S: ClassVar[float] = 0.5
    CREDIT: ClassVar[int] = 32
    WAITING: ClassVar[int] = 4096
    PLAIN_WAITING: ClassVar[int] = 1024

    def __init__(self, directory: Path, name: str, listener: socket.socket) -> None:
        self.directory = directory
        self.name = name
        self.myAddress = UnixAddress(name)
        self.children = Children(directory)
        self.last_sent_boot_ns = 0
        self._dequeued_boot_ns = 0
        self._listener = listener
        self._owner = threading.get_ident()
        self._limits = LinkLimits(
            credit=self.CREDIT,
            waiting=self.WAITING,
            plain=self.PLAIN_WAITING,
            ack_timeout_ns=round(self.ACK_TIMEOUT_S * _NS),
        )
        self._mailbox = Mailbox()
        self._timers = Timers()
        self._epoll = select.epoll()
        self._on_ready: dict[int, Callable[[int], None]] = {}
        self._out: dict[str, _Outbound] = {}
        self._in: dict[int, _Inbound] = {}
        self._acks_due: set[_Inbound] = set()
        self._ack_deadline_ns: int | None = None  # never later than the earliest one
        self._watched: set[int] = set()
        self._watched_by_return: set[int] = set()
        self._watch_queued: set[int] = set()
        self._since_poll = 0
        self._aborted = False
        self._reading_paused = False
        self._handled = self._undelivered = self._refused_peers = self._bad_packets = 0
        self._merged = self._dropped = 0  # of links that are closed
        self._buffer = bytearray(MAX_PACKET)
        self._view = memoryview(self._buffer)
        self._register(listener.fileno(), select.EPOLLIN, self._accept)

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

    # --- descriptors ---

    def fileno(self) -> int:
        """A descriptor that is readable when ``run`` has something to do; for a caller with a loop of its own."""
        return self._epoll.fileno()

    def _register(self, fd: int, events: int, on_ready: Callable[[int], None]) -> None:
        try:
            self._epoll.register(fd, events)
        except FileExistsError:
            self._epoll.modify(fd, events)
        self._on_ready[fd] = on_ready

    def _unregister(self, fd: int) -> None:
        self._on_ready.pop(fd, None)
        # Closed already: the kernel has forgotten it too.
        with contextlib.suppress(OSError, ValueError):
            self._epoll.unregister(fd)

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
        self._mailbox.put(Delivery(self.myAddress, ChildActorExited(child.address), _boot_ns()))

    # --- sending ---

    def send(self, target: UnixAddress, message: object) -> bool:
        """Send as the message's class says. False: nobody listens there and the message was plain."""
        self._check_thread()
        now = _boot_ns()
        if target.name == self.name:
            self._mailbox.put(Delivery(target, message, now), bool(getattr(message, "urgent", False)))
            return True
        link = self._out.get(target.name) or self._open(target)
        if link is None:
            return self._nobody_listens(target, message)
        self._tell_lost(target, link.state.submit(message, now))
        if self._ack_deadline_ns is None:
            self._ack_deadline_ns = link.state.next_deadline_ns()
        self._flush(link)
        return True

    def _nobody_listens(self, target: UnixAddress, message: object) -> bool:
        delivery = getattr(message, "delivery", "plain")
        self._dropped += 1
        if delivery == "plain":
            return False
        if delivery == "acknowledged" or conflation_key(message) is None:
            self._tell_lost(target, [Lost(message, "refused")])
        return True

    def _open(self, target: UnixAddress) -> _Outbound | None:
        try:
            sock = connect_to(os.path.join(self.directory, target.name))  # noqa: PTH118 - hot path
            sock.send(encode_hello(self.name))
        except OSError:
            return None
        link = _Outbound(sock, target, self._limits)
        self._out[target.name] = link
        self._register(sock.fileno(), select.EPOLLIN, lambda _fd: self._outbound_ready(link))
        return link

    def _flush(self, link: _Outbound) -> None:
        state = link.state
        while (packet := state.head()) is not None:
            try:
                link.sock.send(packet)
            except BlockingIOError:
                self._want_write(link, True)
                return
            except OSError:
                self._close_outbound(link)
                return
            state.advance()
        self._want_write(link, False)

    def _want_write(self, link: _Outbound | _Inbound, wanted: bool) -> None:
        if link.blocked != wanted:
            link.blocked = wanted
            self._epoll.modify(link.sock.fileno(), select.EPOLLIN | (select.EPOLLOUT if wanted else 0))

    def _outbound_ready(self, link: _Outbound) -> None:
        if not self._read_acks(link, link.reads):
            self._close_outbound(link)
        else:
            self._flush(link)  # acknowledgements may have freed credit

    def _read_acks(self, link: _Outbound, most: int) -> bool:
        """Take in up to ``most`` packets; False at the end of the connection."""
        resets = 0
        for turn in range(most):
            try:
                size = link.sock.recv_into(self._buffer)
            except BlockingIOError:
                link.reads = max(turn, 1)
                return True
            except ConnectionResetError:
                # The peer died with unread messages; what it had sent before is still to be read, after this error.
                resets += 1
                if resets > _RESETS:
                    return False
                continue
            except OSError:
                return False
            if not size:
                return False
            try:
                packet = decode(self._view[:size])
                if packet.kind != ACK:
                    raise WireError(f"packet kind {packet.kind} on the way back")
                link.state.acknowledge(decode_acks(packet))
            except WireError as error:
                self._bad_packet(str(error))
                return False
        link.reads = min(2 * link.reads, _READS_PER_TURN)
        return True

    def _close_outbound(self, link: _Outbound) -> None:
        if self._out.get(link.address.name) is not link:
            return
        del self._out[link.address.name]
        self._read_acks(link, _EVERYTHING)
        self._unregister(link.sock.fileno())
        link.sock.close()
        lost = link.state.close("closed")
        self._merged += link.state.counters.merged
        self._dropped += link.state.counters.dropped
        self._tell_lost(link.address, lost)

    def _tell_lost(self, target: UnixAddress, lost: Iterable[Lost]) -> None:
        for one in lost:
            self._undelivered += 1
            if not isinstance(one.message, Undelivered):
                self._event(Undelivered(target, one.message, one.reason))

    def _expire_acks(self, now_boot_ns: int) -> None:
        # What was acknowledged while this actor was busy or stopped is not overdue.
        for link in list(self._out.values()):
            if self._read_acks(link, _EVERYTHING):
                self._tell_lost(link.address, link.state.expire(now_boot_ns))
                self._flush(link)
            else:
                self._close_outbound(link)
        deadlines = [link.state.next_deadline_ns() for link in self._out.values()]
        self._ack_deadline_ns = min((one for one in deadlines if one is not None), default=None)

    # --- receiving ---

    def _accept(self, _fd: int) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return  # none left, or the one there has gone
            pid, uid = peer_credentials(sock)
            if uid != os.geteuid():
                self._refused_peers += 1
                sock.close()
                continue
            sock.setblocking(False)
            link = _Inbound(sock, pid)
            self._in[sock.fileno()] = link
            self._register(sock.fileno(), select.EPOLLIN, lambda _fd, link=link: self._inbound_ready(link))  # type: ignore[misc]
            self._inbound_ready(link)  # its first message is there already, mostly

    def _inbound_ready(self, link: _Inbound) -> None:
        if link.blocked:
            self._send_acks(link)
        if not link.closed and len(self._mailbox) < _MAILBOX_LIMIT:
            self._read_some(link)

    def _read_some(self, link: _Inbound) -> bool:
        """Take in some packets; True when there may be more."""
        resets = 0
        for turn in range(link.reads):
            try:
                size = link.sock.recv_into(self._buffer)
            except BlockingIOError:
                link.reads = max(turn, 1)
                return False
            except ConnectionResetError:
                resets += 1  # the sender died with unread acknowledgements; its last messages follow
                if resets > _RESETS:
                    break
                continue
            except OSError:
                break
            if not size:
                break
            try:
                self._take_packet(link, size)
            except WireError as error:
                self._bad_packet(str(error))
                break
        else:
            link.reads = min(2 * link.reads, _READS_PER_TURN)
            return True
        self._close_inbound(link)
        return False

    def _take_packet(self, link: _Inbound, size: int) -> None:
        packet = decode(self._view[:size])
        if packet.kind == HELLO:
            link.sender = UnixAddress(str(packet.body, "ascii"))
            return
        if link.sender is None or packet.kind == ACK:
            raise WireError(f"packet kind {packet.kind} before the sender's name")
        payload = packet.body if packet.kind == DATA else link.reassembly.add(packet)
        if payload is None:
            return
        wants_ack = packet.flags & (ACKNOWLEDGE | CREDIT)
        try:
            message = pickle.loads(payload)  # noqa: S301 - from our own uid, through a directory only we can enter
        except Exception as error:
            self._bad_packet(f"message of {link.sender} cannot be unpickled: {error!r}")
            if packet.flags & CREDIT:
                link.acks.append(packet.sequence)
                self._acks_due.add(link)
            return
        self._mailbox.put(
            Delivery(
                link.sender,
                message,
                packet.sent_boot_ns,
                link if wants_ack else None,
                packet.sequence,
                bool(packet.flags & ACKNOWLEDGE),
            ),
            bool(packet.flags & URGENT),
        )

    def _close_inbound(self, link: _Inbound) -> None:
        if not link.closed:
            link.closed = True
            self._acks_due.discard(link)
            del self._in[link.sock.fileno()]
            self._unregister(link.sock.fileno())
            link.sock.close()

    def _bad_packet(self, why: str) -> None:
        self._bad_packets += 1
        print(f"transport {self.name}: {why}", file=sys.stderr, flush=True)  # noqa: T201 - below the logger

    def _acknowledge(self, delivery: Delivery) -> None:
        link = delivery.link
        assert isinstance(link, _Inbound)
        if link.closed:
            return
        link.acks.append(delivery.sequence)
        if delivery.at_once or len(link.acks) >= _CREDIT_ACKS_TOGETHER:
            self._send_acks(link)
        else:
            self._acks_due.add(link)

    def _send_acks(self, link: _Inbound) -> None:
        self._acks_due.discard(link)
        if not link.acks:
            self._want_write(link, False)
            return
        packets = encode_acks(link.acks)
        try:
            for packet in packets:
                link.sock.send(packet)
        except BlockingIOError:
            self._want_write(link, True)  # the sender does not read; an acknowledgement sent twice is harmless
            return
        except OSError:
            link.acks.clear()  # it died; the read side will see the end
            return
        link.acks.clear()
        self._want_write(link, False)

    # --- the loop ---

    def run(self, handler: object, maximumDuration: object = None) -> object:  # noqa: N803 - Thespian's name
        """Handle messages until aborted, until the handler says stop, or until the time (timedelta, seconds) is up.

        ``handler`` None: return the first envelope. TransmitOnly: only hand to the kernel what may go; the number of
        links that could not.
        """
        self._check_thread()
        deadline_ns = None if maximumDuration is None else _boot_ns() + round(_seconds(maximumDuration) * _NS)
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
                if not self._mailbox and deadline_ns is not None and _boot_ns() >= deadline_ns:
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
        self._dequeued_boot_ns = _boot_ns()
        return ReceiveEnvelope(delivery.sender, message)

    def _poll(self, deadline_ns: int | None, wait: bool) -> None:
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
        now = _boot_ns()
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
        return min(max(nearest - _boot_ns(), 0) / _NS, _LONGEST_SLEEP_S)

    def _drain(self, deadline_ns: int | None) -> int:
        while waiting := sum(link.state.sendable for link in self._out.values()):
            if deadline_ns is not None and _boot_ns() >= deadline_ns:
                return waiting
            self._poll(deadline_ns, wait=True)
        return 0

    def _event(self, message: object) -> None:
        self._mailbox.put_event(Delivery(self.myAddress, message, _boot_ns()))

    def _check_thread(self) -> None:
        if threading.get_ident() != self._owner:
            raise WrongThread(
                "only the actor's main thread may use the transport; hand the result to the mailbox with an EventPort"
            )

    def stats(self) -> TransportStats:
        """Counts for the heartbeat."""
        links = [link.state for link in self._out.values()]
        return TransportStats(
            queued_in=len(self._mailbox),
            queued_out=sum(link.queued for link in links),
            merged=self._merged + sum(link.counters.merged for link in links),
            dropped=self._dropped + sum(link.counters.dropped for link in links),
            unacknowledged=sum(link.unacknowledged for link in links),
            handled=self._handled,
            undelivered=self._undelivered,
            refused_peers=self._refused_peers,
            bad_packets=self._bad_packets,
        )

    # --- what else Thespian asks of a transport ---

    def addWakeup(self, period: object, payload: object) -> None:  # noqa: N802 - Thespian's name
        """Arm a WakeupMessage."""
        self._timers.add(_boot_ns(), period, payload)  # type: ignore[arg-type]

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

    def close(self) -> None:
        """Close everything and remove the socket."""
        self._close_descriptors()
        (self.directory / self.name).unlink(missing_ok=True)

    def close_after_fork(self) -> None:
        """In a child: close the parent's descriptors and touch nothing else."""
        self._close_descriptors()

    def _close_descriptors(self) -> None:
        for sock in [link.sock for link in self._out.values()] + [link.sock for link in self._in.values()]:
            sock.close()
        self._out.clear()
        self._in.clear()
        self._listener.close()
        self._epoll.close()
        self.children.close()


def _boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _seconds(duration: object) -> float:
    total = getattr(duration, "total_seconds", None)
    return float(total()) if total is not None else float(duration)  # type: ignore[arg-type]
