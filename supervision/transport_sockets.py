"""The sockets beneath one actor: a connection per pair and direction, all of them in one epoll.

Used from the main thread only. Nothing here blocks: what the kernel does not take waits in its link.
"""

from __future__ import annotations

import contextlib
import functools
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

from thespian.actors import ActorAddress

from actors.messages.delivery import Undelivered
from supervision.transport_link import LinkLimits, Lost, OutboundLink, Reassembly, conflation_key
from supervision.transport_mailbox import Delivery, Mailbox
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

_READS_PER_TURN = 64  # packets of one connection, at most; few while there is little, to save the futile last read
_EVERYTHING = 1_000_000
_RESETS = 2
_SENDS_BETWEEN_ACKS = 32
_CREDIT_ACKS_TOGETHER = 8
_MAILBOX_LIMIT = 50_000  # above it, messages stay in the kernel and the senders feel it
NS_PER_S = 1_000_000_000

boot_ns = functools.partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)
"""The boot clock, nanoseconds; a partial because every message reads it several times."""


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

    __slots__ = ("address", "blocked", "events", "sends", "sock", "state")

    def __init__(self, sock: socket.socket, address: UnixAddress, limits: LinkLimits) -> None:
        self.sock = sock
        self.address = address
        self.state = OutboundLink(limits)
        self.blocked = False
        self.events = select.EPOLLRDHUP
        self.sends = 0  # since acknowledgements were read


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


class SocketLinks:
    """Sends and receives for one actor: its listener, its links both ways, its mailbox."""

    ACK_TIMEOUT_S: ClassVar[float] = 0.5
    CREDIT: ClassVar[int] = 32
    WAITING: ClassVar[int] = 4096
    PLAIN_WAITING: ClassVar[int] = 1024

    def __init__(self, directory: Path, name: str, listener: socket.socket) -> None:
        self.directory = directory
        self.name = name
        self.myAddress = UnixAddress(name)
        self._listener = listener
        self._owner = threading.get_ident()
        self._limits = LinkLimits(
            credit=self.CREDIT,
            waiting=self.WAITING,
            plain=self.PLAIN_WAITING,
            ack_timeout_ns=round(self.ACK_TIMEOUT_S * NS_PER_S),
        )
        self._mailbox = Mailbox()
        self._epoll = select.epoll()
        self._on_ready: dict[int, Callable[[int], None]] = {}
        self._out: dict[str, _Outbound] = {}
        self._in: dict[int, _Inbound] = {}
        self._acks_due: set[_Inbound] = set()
        self._ack_deadline_ns: int | None = None  # never later than the earliest one
        self._handled = self._undelivered = self._refused_peers = self._bad_packets = 0
        self._merged = self._dropped = 0  # of links that are closed
        self._buffer = bytearray(MAX_PACKET)
        self._view = memoryview(self._buffer)
        self._register(listener.fileno(), select.EPOLLIN, self._accept)

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

    # --- sending ---

    def send(self, target: UnixAddress, message: object) -> bool:
        """Send as the message's class says. False: nobody listens there and the message was plain."""
        self._check_thread()
        now = boot_ns()
        if target.name == self.name:
            self._mailbox.put(Delivery(target, message, now), bool(getattr(message, "urgent", False)))
            return True
        link = self._out.get(target.name)
        if link is not None and not self._read_acks_in_passing(link):
            self._close_outbound(link)
            link = None
        link = link or self._open(target)
        if link is None:
            return self._nobody_listens(target, message)
        if lost := link.state.submit(message, now):
            self._tell_lost(target, lost)
        if self._ack_deadline_ns is None:
            self._ack_deadline_ns = link.state.next_deadline_ns()
        link.sends += 1
        self._flush(link)
        return True

    def _read_acks_in_passing(self, link: _Outbound) -> bool:
        wanted = link.sends >= _SENDS_BETWEEN_ACKS or link.state.out_of_credit
        return not wanted or self._read_acks(link, _READS_PER_TURN)

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
        self._register(sock.fileno(), link.events, lambda _fd: self._outbound_ready(link))
        return link

    def _flush(self, link: _Outbound) -> None:
        state = link.state
        link.blocked = False
        while (packet := state.head()) is not None:
            try:
                link.sock.send(packet)
            except BlockingIOError:
                link.blocked = True
                break
            except OSError:
                self._close_outbound(link)
                return
            state.advance()
        self._arm(link)

    def _arm(self, link: _Outbound) -> None:
        # An acknowledgement wakes nobody unless credit is wanted: that alone would double the cost of a message.
        # They are read in passing, and before anything is called overdue. The end of the link always wakes.
        events = select.EPOLLRDHUP
        if link.blocked:
            events |= select.EPOLLOUT
        if link.state.starved:
            events |= select.EPOLLIN
        if events != link.events:
            link.events = events
            self._epoll.modify(link.sock.fileno(), events)

    def _outbound_ready(self, link: _Outbound) -> None:
        if not self._read_acks(link, _READS_PER_TURN):
            self._close_outbound(link)
        else:
            self._flush(link)  # the kernel has room again, or acknowledgements freed credit

    def _read_acks(self, link: _Outbound, most: int) -> bool:
        """Take in up to ``most`` packets; False at the end of the connection."""
        resets = link.sends = 0
        for _ in range(most):
            try:
                size = link.sock.recv_into(self._buffer)
            except BlockingIOError:
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

    def _want_write(self, link: _Inbound, wanted: bool) -> None:
        if link.blocked != wanted:
            link.blocked = wanted
            self._epoll.modify(link.sock.fileno(), select.EPOLLIN | (select.EPOLLOUT if wanted else 0))

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
        try:
            for packet in encode_acks(link.acks):
                link.sock.send(packet)
        except BlockingIOError:
            self._want_write(link, True)  # the sender does not read; an acknowledgement sent twice is harmless
            return
        except OSError:
            link.acks.clear()  # it died; the read side will see the end
            return
        link.acks.clear()
        if link.blocked:
            self._want_write(link, False)

    def _event(self, message: object) -> None:
        self._mailbox.put_event(Delivery(self.myAddress, message, boot_ns()))

    def _check_thread(self) -> None:
        if threading.get_ident() != self._owner:
            raise WrongThread(
                "only the actor's main thread may use the transport; hand the result to the mailbox with an EventPort"
            )

    def stats(self) -> TransportStats:
        """Counts for the heartbeat."""
        for link in list(self._out.values()):
            # Where nothing is awaited there is nothing to read; the end of a link wakes by itself.
            if link.state.unacknowledged and not self._read_acks(link, _EVERYTHING):
                self._close_outbound(link)
            elif link.state.sendable:
                self._flush(link)
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
