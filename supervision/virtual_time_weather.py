"""What virtual time does to messages and processes: how long they travel, what is lost, who dies when."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from supervision.virtual_time import VirtualProcess


class Weather(Protocol):
    """What the world does to messages and processes. Asked in the order of the run; may draw from a seed."""

    def travel_ns(self, sender: VirtualProcess | None, target: VirtualProcess, message: object) -> int:
        """How long this message travels."""

    def loses(self, sender: VirtualProcess | None, target: VirtualProcess, message: object) -> bool:
        """Whether this ``plain`` message never arrives."""

    def work_s(self, process: VirtualProcess, thread: str) -> float:
        """How long until a call begins in this thread."""

    def start_ns(self) -> int:
        """From the fork of a process to its first message."""

    def exit_ns(self) -> int:
        """From a death to its notice."""

    def strikes(self, process: VirtualProcess, boundary: str, message: object) -> bool:
        """Whether ``process`` dies now: ``before`` or ``after`` handling ``message``, or having sent it (``send``)."""


class FairWeather:
    """Short, seeded ways and no faults; the base of other weathers."""

    def __init__(self, seed: int | str) -> None:
        self.random = random.Random(f"weather:{seed}")

    def travel_ns(self, sender: VirtualProcess | None, target: VirtualProcess, message: object) -> int:
        return self.random.randrange(50_000, 500_000)

    def loses(self, sender: VirtualProcess | None, target: VirtualProcess, message: object) -> bool:
        return False

    def work_s(self, process: VirtualProcess, thread: str) -> float:
        return self.random.uniform(0.0001, 0.001)

    def start_ns(self) -> int:
        return self.random.randrange(5_000_000, 20_000_000)

    def exit_ns(self) -> int:
        return self.random.randrange(200_000, 5_000_000)

    def strikes(self, process: VirtualProcess, boundary: str, message: object) -> bool:
        return False
