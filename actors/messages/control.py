"""What an operator says, through the admin actor, and what comes back as proof."""

from __future__ import annotations

import re
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


class RequestVerb(StrEnum):
    """What an operator asks of one part, by name; which part that is, the admin knows."""

    RESOLVE = "resolve"
    PROTECT = "protect"
    FLATTEN = "flatten"
    RECONCILE = "reconcile"
    FLOWS_ACCEPT = "flows_accept"
    BASELINE_ACCEPT = "baseline_accept"


@dataclass(frozen=True, slots=True)
class OperatorRequest(Message):
    """admin -> one part: do this now. Repeated until a final answer comes, so it is done once per ``request_id``,
    also when the part restarts in between.

    ``target``: the order or symbol, empty where the verb has none. ``arguments``: name and text, by verb.
    """

    urgent: ClassVar[bool] = True
    request_id: str
    verb: RequestVerb
    target: str
    arguments: tuple[tuple[str, str], ...]
    reason: str
    operator: str

    def argument(self, name: str) -> str:
        """The text given for ``name``, empty when it was not given."""
        return dict(self.arguments).get(name, "")


@dataclass(frozen=True, slots=True)
class OperatorAnswer(Message):
    """part -> admin: how a request stands. ``done`` False is progress; ``ok`` counts at the end only.

    ``details``: name and text, shown to the operator as they are and kept in the audit file.
    """

    request_id: str
    done: bool
    ok: bool
    text: str
    details: tuple[tuple[str, str], ...] = ()


_REQUEST_ID = re.compile(r"op-(\d+)-(\d+)-(\d+)")


def request_id(epoch: int, incarnation: int, number: int) -> str:
    """The name of an operator's word: it grows from one to the next, over restarts of the admin and of the daemon."""
    return f"op-{epoch}-{incarnation}-{number}"


def is_overruled(asked: str, by: str) -> bool:
    """Whether ``by`` was said after ``asked``, or is the same word; False when either is not an operator's.

    By the numbers alone: the clock may be set back between the two.
    """
    first, later = _REQUEST_ID.fullmatch(asked), _REQUEST_ID.fullmatch(by)
    if first is None or later is None:
        return False
    return [int(one) for one in first.groups()] <= [int(one) for one in later.groups()]


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
    """How one position stands. ``stop_price``: of the order that covers it at the venue, not the planned one; the
    lowest of several (``stops`` counts them), None when nothing covers it. ``open_protection_size``: base units
    that they cover."""

    symbol: str
    quantity: str
    protection: str
    stop_price: str | None
    open_protection_size: str
    stops: int = 0


@dataclass(frozen=True, slots=True)
class CancelProof(Message):
    """tracker -> admin: progress and end of a kill, stop or flatten, and what a release has left unsold.

    ``complete`` only when two listings, further apart than the venue's visibility delay, show none of the
    orders to be cancelled and every intent sent before the command is terminal; ``unproven`` counts the rest.
    ``ended``: why the command is over without being done.
    """

    request_id: str
    complete: bool
    cancelled: int
    unproven: int
    still_open: tuple[str, ...]
    positions: tuple[PositionProof, ...]
    text: str = ""
    ended: str = ""


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
    """What trading waits for: parts that have not beaten, the ledger, the venue, the first comparison."""
    missing_parts: tuple[str, ...] = field(default=())
    """Of these, parts of the tree."""
