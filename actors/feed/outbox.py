"""What the connection thread hands to the mailbox: at most one waiting update per product, trades all kept.

However slow the mailbox is, the thread never waits for it and never piles up more than the newest state, the
trades and the user's orders.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from actors.messages.market import ConnectionHealth, MarketUpdate, SymbolHealth, UserOrderEvent


@dataclass(frozen=True, slots=True)
class ConnectionNote:
    """A connection changed its state."""

    connection: str
    state: str
    epoch: int
    reason: str
    boot_ns: int


@dataclass(slots=True)
class Batch:
    """Everything handed over since the last take. ``notes`` and ``orders`` in the order they happened."""

    updates: dict[str, MarketUpdate] = field(default_factory=dict)
    user: list[UserOrderEvent | ConnectionNote] = field(default_factory=list)
    notes: list[ConnectionNote] = field(default_factory=list)
    counts: dict[tuple[str, tuple[tuple[str, str], ...]], int] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        return not (self.updates or self.user or self.notes or self.counts)


class Outbox:
    """``wake`` is called (by the thread) when something waits and the mailbox was not told yet."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._wake = wake
        self._told = False
        self._batch = Batch()
        self.connections: tuple[ConnectionHealth, ...] = ()
        self.symbols: tuple[SymbolHealth, ...] = ()
        self.pulse_boot_ns = 0
        """When the thread last showed that its loop turns."""

    def offer_update(self, update: MarketUpdate) -> None:
        with self._lock:
            older = self._batch.updates.get(update.symbol)
            self._batch.updates[update.symbol] = update if older is None else update.merge_from(older)
        self._tell()

    def offer_order(self, event: UserOrderEvent) -> None:
        with self._lock:
            self._batch.user.append(event)
        self._tell()

    def offer_note(self, note: ConnectionNote) -> None:
        with self._lock:
            (self._batch.user if note.connection == "user" else self._batch.notes).append(note)
        self._tell()

    def count(self, name: str, **labels: str) -> None:
        """A metric's increment; does not wake the mailbox by itself."""
        key = (name, tuple(sorted(labels.items())))
        with self._lock:
            self._batch.counts[key] = self._batch.counts.get(key, 0) + 1

    def take(self) -> Batch:
        """Everything waiting; the mailbox will be told anew of what comes later."""
        with self._lock:
            batch, self._batch = self._batch, Batch()
            self._told = False
        return batch

    def _tell(self) -> None:
        with self._lock:
            if self._told:
                return
            self._told = True
        self._wake()
