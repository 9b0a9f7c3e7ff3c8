"""The ledger: a start on 100,000 events with everything compared, and what one commit costs with its fsync.

``python -m benchmarks.ledger`` prints; ``run()`` gives the figures. The events are those of round trips: intent,
proposal, acceptance, fill and hand-over of each order.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from actors.messages.market import Side
from actors.orders import machine, verification
from actors.orders.ledger import Ledger
from tests.actors.orders.factories import fill, order

EVENTS = 100_000
COMMITS = 500
SIZE = "0.123"


def run() -> dict[str, object]:
    """Starts in seconds, commits in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        _fill_up(path)
        first = _timed(lambda: Ledger.open(path).close())
        second = min(_timed(lambda: Ledger.open(path).close()) for _ in range(3))
        whole = _timed(lambda: _verify(path))
        commits = sorted(_commits(path))
        return {
            "events": EVENTS,
            "file_mb": path.stat().st_size / 1e6,
            "ledger_start_without_snapshot_s": first,
            "ledger_start_s": second,
            "verify_whole_s": whole,
            "commit_p50_ms": commits[len(commits) // 2],
            "commit_p99_ms": commits[len(commits) * 99 // 100],
        }


def _fill_up(path: Path) -> None:
    ledger = Ledger.open(path)
    with ledger.transaction(1, 1, 1, "0123456789") as tx:
        while tx.newest_event < EVENTS:
            _live(tx, tx.next_n())
    ledger.close()


def _live(tx: Ledger, n: int) -> None:
    """One order from its intent to its end."""
    record = order(n, Side.BUY if n % 2 else Side.SELL, SIZE)
    tx.add_order(record)
    tx.handle_proposal(f"p-{n}", record.id)
    taken = record.updated(replace(record.facts, order_id=f"v-{n}"), n)
    tx.change_order(record, taken, "outcome:done")
    tx.put_document("handovers", "BTC-USD", "{}")
    tx.put_document("handovers", "BTC-USD", None)
    filled = taken.updated(machine.with_fill(taken.facts, Decimal(SIZE)), n)
    tx.add_fill(fill(record, f"e-{n}", "100.5", SIZE, n * 10**12), "FILL", booked=True)
    tx.change_order(taken, filled, "fill")


def _commits(path: Path) -> list[float]:
    """An intent with its proposal, on the disk: what stands between an approval and the wire."""
    ledger = Ledger.open(path)
    found = []
    for _ in range(COMMITS):
        begun = time.perf_counter()
        with ledger.transaction(1, 1, 1, "0123456789") as tx:
            record = order(tx.next_n(), Side.BUY, SIZE)
            tx.add_order(record)
            tx.handle_proposal(record.proposal_id, record.id)
        found.append((time.perf_counter() - begun) * 1e3)
    ledger.close()
    return found


def _verify(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        verification.verify(db, whole=True)


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name}: {value}")
