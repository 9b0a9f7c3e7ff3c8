"""What an operator says, through the admin actor, and what comes back as proof."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from actors.messages.base import Message
from actors.messages.health import BreakerStatus, Lease, TradingState


class OperatorVerb(StrEnum):
    KILL = "kill"
    HALT = "halt"
    REDUCE = "reduce"
    RESUME = "resume"
    RELEASE = "release"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class OperatorCommand(Message):
    """admin -> watchdog (state) and, for KILL and STOP, tracker (orders).

    ``flatten``: sell own positions too. ``cancel_all``: cancel protection too.
    """

    urgent: ClassVar[bool] = True
    request_id: str
    verb: OperatorVerb
    reason: str
    operator: str
    flatten: bool = False
    cancel_all: bool = False


@dataclass(frozen=True, slots=True)
class StateChanged(Message):
    """watchdog -> admin: the state is persisted and leased (or why the command is refused)."""

    request_id: str
    accepted: bool
    state: TradingState
    reasons: tuple[str, ...]
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class PositionProof:
    symbol: str
    quantity: str
    protection: str
    stop_price: str | None
    open_protection_size: str


@dataclass(frozen=True, slots=True)
class CancelProof(Message):
    """tracker -> admin: progress and end of a kill, stop or flatten.

    ``complete`` only when two listings, further apart than the venue's visibility delay, show none of the
    orders to be cancelled and every intent sent before the command is terminal; ``unproven`` counts the rest.
    """

    request_id: str
    complete: bool
    cancelled: int
    unproven: int
    still_open: tuple[str, ...]
    positions: tuple[PositionProof, ...]
    text: str = ""


@dataclass(frozen=True, slots=True)
class ControlReport(Message):
    """watchdog -> admin, metrics: the state and the breakers, once a second and on change."""

    delivery: ClassVar[str] = "plain"
    lease: Lease
    breakers: tuple[BreakerStatus, ...]
    operator_state: TradingState
    operator_reason: str
    latched: bool
    waiting_for: tuple[str, ...] = field(default=())
    """Trading parts that have not beaten or reconciled yet."""
