"""What the transport itself tells an actor about its own messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from actors.messages.base import Message


@dataclass(frozen=True, slots=True)
class Undelivered(Message):
    """``message`` to ``target`` (an actor address) was maybe not delivered; the transport never sends it again.

    ``reason``: ``closed`` (the receiver died with it unacknowledged), ``timeout`` (no acknowledgement in time),
    ``refused`` (nobody listens there, or too much is waiting: surely not handled) or ``overflow`` (messages to
    that target were dropped, this is one of them).
    """

    target: object
    message: object
    reason: str

    delivery: ClassVar[str] = "plain"
