"""What every message is: a frozen, slotted dataclass whose text is its class name.

Thespian formats messages when it logs; a constant ``__str__`` keeps that free of cost and of secrets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class Message:
    """Base of all messages between actors.

    ``delivery`` is how the transport carries it: ``plain`` (sent once, may be lost), ``acknowledged``
    (the sender hears ``Undelivered`` when no acknowledgement came) or ``credit`` (market data: bounded in
    flight, newest wins per ``conflation_key``). ``urgent`` messages overtake those already queued.
    """

    __slots__ = ()
    delivery: ClassVar[str] = "acknowledged"
    urgent: ClassVar[bool] = False

    def __str__(self) -> str:
        return type(self).__name__


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who sent a command: name and incarnation. Commands of an older incarnation are refused."""

    name: str
    incarnation: int


class Command(Message):
    """A message that orders something to be done; carries ``stamp``, refused from an older incarnation."""

    __slots__ = ()
    stamp: Stamp
