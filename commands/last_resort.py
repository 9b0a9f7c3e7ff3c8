"""When the tree is gone: cancel the own resting entries straight at the exchange, leave protection where it is.

Runs in the outer ring after the kernel has killed every actor, under the gateway's lock, so that there are never
two doors. What it does at the exchange is what ``run.py panic`` does, narrowed to the entries of this instance.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from actors import durable
from actors.clock import SystemClock
from actors.log import Log
from config.settings import Settings

LOCK_S = 3.0
DEADLINE_S = 10.0
LOOK_BACK_S = 3600
"""Entries never rest for more than a minute; an hour of listings is plenty."""


@dataclass(frozen=True, slots=True)
class LastResort:
    """What was done. ``proven``: two looks apart showed no own entry any more."""

    cancelled: int
    still_open: tuple[str, ...]
    proven: bool
    error: str = ""


def cancel_entries(settings: Settings, log: Log) -> LastResort:
    """Cancel every own BUY that rests; at most DEADLINE_S. Never raises: the daemon is ending anyway."""
    if settings.venue.key_file is None or settings.mode == "dry_run":
        return LastResort(0, (), True)
    try:
        with _gateway_lock(settings.store_dir / "gateway.lock"):
            return _sweep(settings, settings.venue.key_file, log)
    except Exception as error:
        return LastResort(0, (), False, f"{type(error).__name__}: {error}")


def _sweep(settings: Settings, key_file: Path, log: Log) -> LastResort:
    from commands.exchange import Exchange, Place
    from commands.sweep import Rule, Tally

    venue, orders = settings.venue, settings.orders
    place = Place(venue.rest, key_file, venue.ca_file, venue.visibility_delay_s)
    exchange = Exchange(place, DEADLINE_S, lambda text: log.warning("last_resort_waits", why=text))
    tally = Tally(Rule(orders.family, orders.instance, entries_only=True), venue.visibility_delay_s)
    exchange.clear(tally, SystemClock().utc_ns() - LOOK_BACK_S * 10**9)
    still_open = tuple(str(one.made) for one in tally.still_open())
    cancelled = sum(1 for one in tally.own() if one.order_id in tally.asked and not one.open)
    return LastResort(cancelled, still_open, tally.proven, exchange.hindrance)


@contextlib.contextmanager
def _gateway_lock(path: Path) -> Iterator[None]:
    """Hold the gateway's lock; its holder was killed just now, so it is free within moments."""
    fd = durable.open_or_read(path)
    try:
        deadline = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        yield
    finally:
        os.close(fd)
