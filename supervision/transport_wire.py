"""The packet: a fixed header, then a pickle or a part of one. One SEQPACKET datagram is one packet.

A link opens with HELLO (the sender's socket name). DATA travels one way, ACK back on the same connection.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

HELLO, DATA, CHUNK, ACK = 1, 2, 3, 4
URGENT, ACKNOWLEDGE, CREDIT, LAST = 1, 2, 4, 8

# kind, flags, link sequence number, boot-clock nanoseconds at which the actor sent the message
_HEADER = struct.Struct("<BBQQ")
_SEQUENCE = struct.Struct("<Q")
HEADER_SIZE = _HEADER.size

MAX_PACKET = 128 * 1024
"""Largest packet in bytes. The kernel's default limit of SO_SNDBUF (212,992) must hold at least one."""

MAX_MESSAGE = 64 * 1024 * 1024
"""Largest pickled message in bytes; both sides refuse a larger one."""

_PART = MAX_PACKET - HEADER_SIZE
_ACKS_PER_PACKET = _PART // _SEQUENCE.size


class WireError(ValueError):
    """A packet that this transport did not write."""


class MessageTooLarge(ValueError):  # noqa: N818 - says what is wrong
    """A message whose pickle exceeds MAX_MESSAGE."""


class Packet(NamedTuple):
    """One received packet, its header decoded. ``body`` is only valid until the next packet is read."""

    kind: int
    flags: int
    sequence: int
    sent_boot_ns: int
    body: memoryview


def decode(packet: bytes | memoryview) -> Packet:
    """Split one packet into header and body; raises WireError."""
    try:
        kind, flags, sequence, sent_boot_ns = _HEADER.unpack_from(packet)
    except struct.error as error:
        raise WireError(f"a packet of {len(packet)} bytes is shorter than its header") from error
    if not HELLO <= kind <= ACK:
        raise WireError(f"unknown packet kind {kind}")
    return Packet(kind, flags, sequence, sent_boot_ns, memoryview(packet)[HEADER_SIZE:])


def encode_hello(name: str) -> bytes:
    """The first packet of a connection: who sends on it."""
    return _HEADER.pack(HELLO, 0, 0, 0) + name.encode("ascii")


def encode_message(payload: bytes, flags: int, sequence: int, sent_boot_ns: int) -> list[bytes]:
    """The packets of one message, one unless it is large; raises MessageTooLarge."""
    if len(payload) <= _PART:
        return [_HEADER.pack(DATA, flags, sequence, sent_boot_ns) + payload]
    if len(payload) > MAX_MESSAGE:
        raise MessageTooLarge(f"a message of {len(payload)} bytes exceeds {MAX_MESSAGE}")
    packets = []
    for start in range(0, len(payload), _PART):
        last = LAST if start + _PART >= len(payload) else 0
        header = _HEADER.pack(CHUNK, flags | last, sequence, sent_boot_ns)
        packets.append(header + payload[start : start + _PART])
    return packets


def encode_acks(sequences: list[int]) -> list[bytes]:
    """Packets that acknowledge these link sequence numbers, in any order; a single one fits the header."""
    if len(sequences) == 1:
        return [_HEADER.pack(ACK, 0, sequences[0], 0)]
    return [
        _HEADER.pack(ACK, 0, 0, 0) + b"".join(map(_SEQUENCE.pack, sequences[start : start + _ACKS_PER_PACKET]))
        for start in range(0, len(sequences), _ACKS_PER_PACKET)
    ]


def decode_acks(packet: Packet) -> list[int]:
    """The sequence numbers in an ACK packet; raises WireError."""
    if not packet.body:
        return [packet.sequence]
    if len(packet.body) % _SEQUENCE.size:
        raise WireError(f"an acknowledgement of {len(packet.body)} bytes is cut")
    return [value for (value,) in _SEQUENCE.iter_unpack(packet.body)]
