"""How many requests went out in the last hour, on the disk: a restart must not forget what the venue counts.

One slot of eight bytes per second of an hour, written in place when a request goes out. The page cache survives
SIGKILL, so no fsync is needed; after a crash of the host a few seconds may be missing.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from actors import durable
from actors.clock import NS_PER_S

SLOTS = 3601
_SLOT = struct.Struct("<II")
_BYTES = SLOTS * _SLOT.size


class DamagedHoursError(Exception):
    """The file says something impossible: how much of the hour is used, nobody knows."""


class RequestHours:
    """The open file; one process at a time (the holder of the gateway's lock). Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._fd = durable.open_or_read(path)  # read-only where the disk is: what was noted still counts
        self._second = 0
        self._count = 0

    def read(self, now_utc_ns: int) -> dict[int, int]:
        """Requests by their age in whole seconds, 0 to 3600. Raises DamagedHoursError.

        A slot from the future (the clock was set back) counts as now: it is forgotten later, never sooner.
        """
        data = os.pread(self._fd, _BYTES + 1, 0)
        if len(data) > _BYTES or len(data) % _SLOT.size:
            raise DamagedHoursError(f"{len(data)} bytes, expected {_BYTES}")
        now = now_utc_ns // NS_PER_S
        found: dict[int, int] = {}
        for place, (second, count) in enumerate(_SLOT.iter_unpack(data)):
            if count and second % SLOTS != place:
                raise DamagedHoursError(f"slot {place} holds second {second}")
            age = max(0, now - second)
            if count and age < SLOTS:
                found[age] = found.get(age, 0) + count
        self._second = now
        self._count = found.get(0, 0)
        return found

    def clear(self) -> None:
        """Begin anew after damage."""
        os.ftruncate(self._fd, 0)

    def note(self, now_utc_ns: int) -> None:
        """One request goes out now."""
        second = now_utc_ns // NS_PER_S
        if second != self._second:
            self._second, self._count = second, 0
        self._count += 1
        os.pwrite(self._fd, _SLOT.pack(second, self._count), second % SLOTS * _SLOT.size)

    def close(self) -> None:
        os.close(self._fd)
