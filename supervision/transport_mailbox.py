"""What waits to be handled in one actor: messages, timers and events, and the order in which they come out.

Urgent messages first, then timers and events of this process, then the rest in the order of arrival. None of
them can keep the next kind waiting: after 16 urgent messages in a row a timer has its turn (an actor flooded with
urgent messages still beats), after 16 timers or events one ordinary message.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

EVENTS_IN_A_ROW = 16
URGENT_IN_A_ROW = 16


class AckTarget(Protocol):
    """The link a message came on, to which its acknowledgement goes back."""

    acks: list[int]


@dataclass(slots=True, eq=False)
class Delivery:
    """One message in the mailbox. ``link`` is set when the sender wants to know that it was taken out."""

    sender: object
    message: object
    sent_boot_ns: int
    link: AckTarget | None = None
    sequence: int = 0
    at_once: bool = False


class Mailbox:
    """Three queues with one exit."""

    def __init__(self) -> None:
        self._urgent: deque[Delivery] = deque()
        self._events: deque[Delivery] = deque()
        self._ordinary: deque[Delivery] = deque()
        self._events_in_a_row = 0
        self._urgent_in_a_row = 0

    def __len__(self) -> int:
        return len(self._urgent) + len(self._events) + len(self._ordinary)

    def __bool__(self) -> bool:
        return bool(self._ordinary or self._urgent or self._events)

    def put(self, delivery: Delivery, urgent: bool = False) -> None:
        """Queue a message from an actor."""
        (self._urgent if urgent else self._ordinary).append(delivery)

    def put_event(self, delivery: Delivery) -> None:
        """Queue what this process tells itself: an expired timer, a readable descriptor, a lost message."""
        self._events.append(delivery)

    def take(self) -> Delivery | None:
        """The next to handle."""
        if self._urgent and (self._urgent_in_a_row < URGENT_IN_A_ROW or not self._events):
            self._urgent_in_a_row += 1
            return self._urgent.popleft()
        self._urgent_in_a_row = 0
        if self._events and (self._events_in_a_row < EVENTS_IN_A_ROW or not self._ordinary):
            self._events_in_a_row += 1
            return self._events.popleft()
        if self._ordinary:
            self._events_in_a_row = 0
            return self._ordinary.popleft()
        return None


class Timers:
    """Wakeups by boot-clock due time: never early, those that expired together oldest due time first."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, timedelta, object]] = []
        self._serial = 0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, now_boot_ns: int, period: timedelta | float, payload: object) -> None:
        """Arm one wakeup; ``period`` in seconds or a timedelta."""
        if not isinstance(period, timedelta):
            period = timedelta(seconds=period)
        microseconds = (period.days * 86_400 + period.seconds) * 1_000_000 + period.microseconds
        self._serial += 1
        heapq.heappush(self._heap, (now_boot_ns + microseconds * 1_000, self._serial, period, payload))

    def next_due_ns(self) -> int | None:
        """Boot-clock time of the earliest wakeup."""
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now_boot_ns: int) -> list[tuple[int, timedelta, object]]:
        """Due time, period and payload of all that expired, in order."""
        due = []
        while self._heap and self._heap[0][0] <= now_boot_ns:
            due_ns, _, period, payload = heapq.heappop(self._heap)
            due.append((due_ns, period, payload))
        return due
