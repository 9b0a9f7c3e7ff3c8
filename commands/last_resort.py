"""When the tree is gone: cancel the own resting entries straight at the exchange, leave protection where it is.

Runs in the outer ring after the kernel has killed every actor, under the gateway's lock, so that there are never
two doors. It needs the key and the network, no actor and no ledger: own orders are known by their client ids.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from actors.log import Log
from config.settings import Settings

TIMEOUT_S = 3.0
DEADLINE_S = 10.0
ROUNDS = 3
RESTING = ("OPEN", "PENDING", "QUEUED")


@dataclass(frozen=True, slots=True)
class LastResort:
    """What was done. ``proven``: the last listing showed no own entry any more."""

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
            return _sweep(settings, log)
    except Exception as error:
        return LastResort(0, (), False, f"{type(error).__name__}: {error}")


def _sweep(settings: Settings, log: Log) -> LastResort:
    from coinbase.rest import RESTClient

    venue = settings.venue
    client = RESTClient(key_file=str(venue.key_file), base_url=venue.rest, timeout=TIMEOUT_S)
    client.session.trust_env = False
    if venue.ca_file is not None:
        client.session.verify = str(venue.ca_file)
    deadline = time.monotonic() + DEADLINE_S
    cancelled: set[str] = set()
    own: dict[str, str] = {}
    for _ in range(ROUNDS):
        own = _own_entries(client, settings)
        if not own or time.monotonic() > deadline:
            break
        log.warning("last_resort_cancel", entries=sorted(own.values()))
        client.cancel_orders(order_ids=list(own))
        cancelled |= set(own)
        time.sleep(min(venue.visibility_delay_s, 1.0))
    if cancelled and own:
        own = _own_entries(client, settings)
    return LastResort(len(cancelled), tuple(own.values()), not own)


def _own_entries(client: object, settings: Settings) -> dict[str, str]:
    """order id -> client order id of every resting own BUY, all pages."""
    prefix = f"{settings.orders.family}-{settings.orders.instance}-"
    found: dict[str, str] = {}
    for status in RESTING:
        cursor: str | None = None
        while True:
            page = client.list_orders(order_status=[status], order_side="BUY", cursor=cursor, limit=250).to_dict()  # type: ignore[attr-defined]
            for order in page.get("orders") or ():
                name = str(order.get("client_order_id", ""))
                if name.startswith(prefix) and order.get("side") == "BUY":
                    found[str(order["order_id"])] = name
            cursor = page.get("cursor") or None
            if not page.get("has_next") or cursor is None:
                break
    return found


@contextlib.contextmanager
def _gateway_lock(path: Path) -> Iterator[None]:
    """Hold the gateway's lock; its holder was killed just now, so it is free within moments."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + TIMEOUT_S
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
