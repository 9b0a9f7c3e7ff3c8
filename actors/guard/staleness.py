"""How old is what we know? Ages on the boot clock, from the exchange's own times.

A quote is as fresh as the later of its own arrival and the newest heartbeat on the same gap-free connection:
silence in a gapless sequence proves that nothing changed. Either counts from when the *exchange* said it: a frame
that was delayed on its way is older than its arrival. The normal transit is learnt per connection as the least
difference between arrival and exchange time, so no clock needs to be right, only to run evenly.
"""

from __future__ import annotations

from actors.clock import NS_PER_S
from actors.messages.market import MarketUpdate

WINDOW_NS = 300 * NS_PER_S
"""The least transit is forgotten after one to two windows, since two clocks drift apart."""
TOLERANCE_NS = NS_PER_S // 5
"""Lag within this is the jitter of batching and decoding."""


class Transit:
    """The least (arrival - exchange time) of one connection, over one to two windows."""

    __slots__ = ("_before", "_least", "_since_boot_ns", "epoch")

    def __init__(self) -> None:
        self.epoch: int | None = None
        self._least: int | None = None
        self._before: int | None = None
        self._since_boot_ns = 0

    def lag_ns(self, epoch: int, exchange_utc_ns: int, arrived_boot_ns: int) -> int:
        """How much later than usual this arrived, ns (0 within the tolerance)."""
        if epoch != self.epoch:
            self.epoch, self._least, self._before, self._since_boot_ns = epoch, None, None, arrived_boot_ns
        elif arrived_boot_ns - self._since_boot_ns > WINDOW_NS:
            self._before, self._least, self._since_boot_ns = self._least, None, arrived_boot_ns
        took = arrived_boot_ns - exchange_utc_ns
        self._least = took if self._least is None else min(self._least, took)
        least = self._least if self._before is None else min(self._least, self._before)
        lag = took - least
        return lag if lag > TOLERANCE_NS else 0


class Freshness:
    """When the newest state of one symbol was last known to be true."""

    __slots__ = ("_transit", "as_of_boot_ns")

    def __init__(self) -> None:
        self._transit = Transit()
        self.as_of_boot_ns = 0
        """0: not known."""

    def note(self, update: MarketUpdate) -> None:
        """Take one update; an update without a verified book makes the state unknown."""
        if not update.fresh:
            self.as_of_boot_ns = 0
            return
        epoch = update.connection_epoch
        as_of = update.received_boot_ns - self._transit.lag_ns(epoch, update.exchange_utc_ns, update.received_boot_ns)
        if update.heartbeat_boot_ns:
            lag = self._transit.lag_ns(epoch, update.heartbeat_utc_ns, update.heartbeat_boot_ns)
            as_of = max(as_of, update.heartbeat_boot_ns - lag)
        self.as_of_boot_ns = as_of

    def age_s(self, now: int) -> float | None:
        """Seconds since the state was last known to be true; None when it is not known."""
        return (now - self.as_of_boot_ns) / NS_PER_S if self.as_of_boot_ns else None
