"""Actors and messages that the transport's tests drive from outside."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from thespian.actors import Actor, ChildActorExited

from actors.messages.delivery import Undelivered


@dataclass(frozen=True)
class Run:
    """Call ``function(actor, *args)`` in the actor and send its result back, unless it is None."""

    function: Callable[..., object]
    args: tuple[object, ...] = ()


@dataclass(frozen=True)
class Plain:
    number: int = 0
    payload: bytes = b""


@dataclass(frozen=True)
class Acked:
    delivery: ClassVar[str] = "acknowledged"
    number: int = 0
    payload: bytes = b""


@dataclass(frozen=True)
class Urgent:
    delivery: ClassVar[str] = "acknowledged"
    urgent: ClassVar[bool] = True
    number: int = 0


@dataclass(frozen=True)
class Quote:
    delivery: ClassVar[str] = "credit"
    conflation_key: str | None
    number: int
    merged: int = 0


@dataclass(frozen=True)
class Trade:
    """Merges by its own rule: keeps the numbers of those it replaced."""

    delivery: ClassVar[str] = "credit"
    conflation_key: str
    numbers: tuple[int, ...]

    def merge_from(self, older: Trade) -> Trade:
        return Trade(self.conflation_key, older.numbers + self.numbers)


class Probe(Actor):
    """Does what it is told and remembers everything else it gets."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        self.children: list[object] = []

    def receiveMessage(self, message: object, sender: object) -> object:  # noqa: N802 - Thespian's name
        if isinstance(message, Run):
            result = message.function(self, *message.args)
            if result is not None:
                self.send(sender, result)
            return None
        self.seen.append(message)
        return None

    @property
    def exits(self) -> list[ChildActorExited]:
        return [one for one in self.seen if isinstance(one, ChildActorExited)]

    @property
    def undelivered(self) -> list[Undelivered]:
        return [one for one in self.seen if isinstance(one, Undelivered)]


class DiesInInit(Actor):
    def __init__(self) -> None:
        raise RuntimeError("planted in __init__")


class VanishesInInit(Actor):
    def __init__(self) -> None:
        os._exit(3)


def pid(_actor: Probe) -> int:
    return os.getpid()


def add_child(actor: Probe, kind: type = Probe) -> tuple[object, int]:
    """The child's address, and its pid as the parent knows it at once."""
    from supervision.transport import child_processes

    address = actor.createActor(kind)
    actor.children.append(address)
    return address, next(one.pid for one in child_processes() if one.address == address)


def stop_self(_actor: Probe) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def spin(_actor: Probe) -> None:
    while True:
        pass


def is_gone(pid: int) -> bool:
    """Dead: no such process, or a zombie that waits for its parent."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until(condition: Callable[[], bool], deadline_s: float = 5.0) -> bool:
    """Poll a condition of other processes; False when it did not come true in time."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return condition()
