"""State of one link between two actors, without sockets: what may leave now, what waits, what is lost.

A link carries messages one way. Its kernel buffer is not a delivery, so ``acknowledged`` messages are kept until
the receiving base took them out of its mailbox, and ``credit`` messages leave only while fewer than
``credit_limit`` of them are unacknowledged; those that wait are merged by their conflation key.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Literal, Protocol, cast

from supervision.transport_pickle import dumps
from supervision.transport_wire import (
    ACKNOWLEDGE,
    CREDIT,
    LAST,
    MAX_MESSAGE,
    URGENT,
    Packet,
    WireError,
    encode_message,
)

Reason = Literal["closed", "timeout", "refused", "overflow"]


@dataclass(frozen=True, slots=True)
class Lost:
    """A message the sender must be told about, and why."""

    message: object
    reason: Reason


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """Bounds of one link. ``credit``: unacknowledged credit messages; ``waiting``: credit messages without a key
    that wait for credit; ``plain``: plain messages that wait for the kernel; ``acknowledged``: unacknowledged ones.
    """

    credit: int = 32
    waiting: int = 4096
    plain: int = 1024
    acknowledged: int = 65_536
    ack_timeout_ns: int = 500_000_000


@dataclass(slots=True)
class LinkCounters:
    """What one link did since it was opened."""

    merged: int = 0
    dropped: int = 0


@dataclass(slots=True, eq=False)
class _Outgoing:
    message: object
    flags: int
    sent_boot_ns: int
    sequence: int = 0
    packets: deque[bytes] = field(default_factory=deque)


class _Merging(Protocol):
    def merge_from(self, older: object) -> object: ...


def conflation_key(message: object) -> Hashable | None:
    """The key under which a newer message may replace this one while it waits; None: keep it."""
    key: Hashable | Callable[[], Hashable] | None = getattr(message, "conflation_key", None)
    return key() if callable(key) else key


def merge(newer: object, older: object) -> object:
    """``newer`` with what it must keep of ``older``, by its ``merge_from``, else with its ``merged`` count raised."""
    if hasattr(newer, "merge_from"):
        return cast(_Merging, newer).merge_from(older)
    merged = getattr(newer, "merged", None)
    if isinstance(merged, int) and is_dataclass(newer) and not isinstance(newer, type):
        return replace(newer, merged=merged + int(getattr(older, "merged", 0)) + 1)
    return newer


class OutboundLink:
    """The sending half. ``submit`` messages, ``head``/``advance`` packets to the kernel, feed ``acknowledge``.

    Methods that can lose messages return them as ``Lost``; nothing is ever sent a second time.
    """

    def __init__(self, limits: LinkLimits) -> None:
        self._limits = limits
        self._next_sequence = 1
        self._current: _Outgoing | None = None  # its first packet went, the rest must follow before anything else
        self._urgent: deque[_Outgoing] = deque()
        self._ready: deque[_Outgoing] = deque()
        self._plain_ready = 0
        self._awaiting_ack: OrderedDict[int, _Outgoing] = OrderedDict()
        self._in_credit: dict[int, _Outgoing] = {}
        self._waiting: OrderedDict[Hashable, _Outgoing] = OrderedDict()
        self._unkeyed_waiting = 0
        self._unkeyed_serial = 0
        self.counters = LinkCounters()

    # --- in ---

    def submit(self, message: object, sent_boot_ns: int) -> list[Lost]:
        """Accept a message of any delivery class; it is serialized before it can leave. Raises on a bad pickle."""
        delivery = getattr(message, "delivery", "plain")
        flags = URGENT if getattr(message, "urgent", False) else 0
        if delivery == "plain":
            self._make_ready(_Outgoing(message, flags, sent_boot_ns))
            return self._bound_plain()
        if delivery == "acknowledged":
            if len(self._awaiting_ack) >= self._limits.acknowledged:
                self.counters.dropped += 1
                return [Lost(message, "refused")]
            item = _Outgoing(message, flags | ACKNOWLEDGE, sent_boot_ns)
            self._make_ready(item)
            self._awaiting_ack[item.sequence] = item
            return []
        if delivery == "credit":
            return self._submit_credit(_Outgoing(message, flags | CREDIT, sent_boot_ns))
        raise ValueError(f"{type(message).__name__}.delivery is {delivery!r}, not plain, acknowledged or credit")

    def _submit_credit(self, item: _Outgoing) -> list[Lost]:
        if not self._waiting and len(self._in_credit) < self._limits.credit:
            self._spend_credit(item)
            return []
        key = conflation_key(item.message)
        if key is None:
            if self._unkeyed_waiting >= self._limits.waiting:
                self.counters.dropped += len(self._waiting) + 1
                self._waiting.clear()
                self._unkeyed_waiting = 0
                return [Lost(item.message, "overflow")]
            self._unkeyed_serial += 1
            self._unkeyed_waiting += 1
            self._waiting[(None, self._unkeyed_serial)] = item
            return []
        older = self._waiting.get(("key", key))
        if older is not None:
            # The newer one keeps the older one's place: a symbol that changes often must not be starved by it.
            item.message = merge(item.message, older.message)
            self.counters.merged += 1
        self._waiting[("key", key)] = item
        return []

    def _spend_credit(self, item: _Outgoing) -> None:
        self._make_ready(item)
        self._in_credit[item.sequence] = item

    def _make_ready(self, item: _Outgoing) -> None:
        payload = dumps(item.message)
        packets = encode_message(payload, item.flags, self._next_sequence, item.sent_boot_ns)
        item.sequence = self._next_sequence
        self._next_sequence += 1
        item.packets.extend(packets)
        if item.flags & URGENT:
            self._urgent.append(item)
        else:
            self._ready.append(item)
        if not item.flags & (ACKNOWLEDGE | CREDIT):
            self._plain_ready += 1

    def _bound_plain(self) -> list[Lost]:
        if self._plain_ready > self._limits.plain:
            for queue in (self._ready, self._urgent):
                for item in queue:
                    if not item.flags & (ACKNOWLEDGE | CREDIT):
                        queue.remove(item)
                        self._plain_ready -= 1
                        self.counters.dropped += 1
                        return []
        return []

    # --- out ---

    def head(self) -> bytes | None:
        """The packet to hand to the kernel next."""
        if self._current is None:
            queue = self._urgent or self._ready
            return queue[0].packets[0] if queue else None
        return self._current.packets[0]

    def advance(self) -> None:
        """The kernel took the packet that ``head`` gave."""
        if self._current is None:
            self._current = (self._urgent or self._ready).popleft()
            if not self._current.flags & (ACKNOWLEDGE | CREDIT):
                self._plain_ready -= 1
        self._current.packets.popleft()
        if not self._current.packets:
            self._current = None

    def acknowledge(self, sequences: Iterable[int]) -> None:
        """The receiver took these out of its mailbox. Unknown or late ones are ignored."""
        for sequence in sequences:
            if self._awaiting_ack.pop(sequence, None) is None:
                self._in_credit.pop(sequence, None)
        while self._waiting and len(self._in_credit) < self._limits.credit:
            key, item = self._waiting.popitem(last=False)
            if isinstance(key, tuple) and key[0] is None:
                self._unkeyed_waiting -= 1
            self._spend_credit(item)

    # --- lost ---

    def next_deadline_ns(self) -> int | None:
        """Boot-clock time at which the oldest unacknowledged message is overdue."""
        if not self._awaiting_ack:
            return None
        oldest = next(iter(self._awaiting_ack.values()))
        return oldest.sent_boot_ns + self._limits.ack_timeout_ns

    def expire(self, now_boot_ns: int) -> list[Lost]:
        """Give up messages that were not acknowledged in time; those still here do not leave any more."""
        lost = []
        while self._awaiting_ack:
            sequence, item = next(iter(self._awaiting_ack.items()))
            if item.sent_boot_ns + self._limits.ack_timeout_ns > now_boot_ns:
                break
            del self._awaiting_ack[sequence]
            queue = self._urgent if item.flags & URGENT else self._ready
            if item is not self._current and item.packets:
                queue.remove(item)
            lost.append(Lost(item.message, "timeout"))
        return lost

    def close(self, reason: Reason) -> list[Lost]:
        """Empty the link. Every unacknowledged message is lost; of credit messages without a key one stands for all."""
        lost = [Lost(item.message, reason) for item in self._awaiting_ack.values()]
        credit = [*self._in_credit.values(), *self._waiting.values()]
        self.counters.dropped += len(credit) + self._plain_ready
        hole = next((item for item in credit if conflation_key(item.message) is None), None)
        if hole is not None:
            lost.append(Lost(hole.message, reason))
        for queue in (self._urgent, self._ready):
            queue.clear()
        self._current = None
        self._awaiting_ack.clear()
        self._in_credit.clear()
        self._waiting.clear()
        self._unkeyed_waiting = self._plain_ready = 0
        return lost

    @property
    def sendable(self) -> bool:
        """Something waits for the kernel, not for credit."""
        return bool(self._current or self._urgent or self._ready)

    @property
    def out_of_credit(self) -> bool:
        """The next credit message would have to wait, unless acknowledgements are there to be read."""
        return len(self._in_credit) >= self._limits.credit

    @property
    def starved(self) -> bool:
        """Messages wait for credit: acknowledgements are wanted at once."""
        return bool(self._waiting)

    @property
    def queued(self) -> int:
        """Messages that are still on this side of the kernel."""
        return len(self._urgent) + len(self._ready) + len(self._waiting) + (self._current is not None)

    @property
    def unacknowledged(self) -> int:
        """Acknowledged and credit messages in flight."""
        return len(self._awaiting_ack) + len(self._in_credit)


class Reassembly:
    """The receiving half: puts the chunks of one large message together, bounded by MAX_MESSAGE."""

    def __init__(self) -> None:
        self._sequence: int | None = None
        self._parts = bytearray()

    def add(self, packet: Packet) -> bytearray | None:
        """The whole payload when ``packet`` is the last chunk of it; raises WireError."""
        if self._sequence is None:
            self._sequence = packet.sequence
        elif packet.sequence != self._sequence:
            raise WireError(f"chunk of message {packet.sequence} inside message {self._sequence}")
        if len(self._parts) + len(packet.body) > MAX_MESSAGE:
            raise WireError(f"message {packet.sequence} exceeds {MAX_MESSAGE} bytes")
        self._parts += packet.body
        if not packet.flags & LAST:
            return None
        whole, self._parts, self._sequence = self._parts, bytearray(), None
        return whole
