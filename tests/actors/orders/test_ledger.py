"""What was committed survives kill -9, what was not never happened, and a damaged ledger is refused."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from actors.orders import verification
from actors.orders.ledger import Ledger, LedgerCorruptError, LedgerError, LedgerLockedError, LedgerWriteError
from tests.actors.orders.desk import Desk
from tests.actors.orders.factories import order

CHILD = """
import sys
from pathlib import Path
from actors.orders.ledger import Ledger
from tests.actors.orders.factories import order
ledger = Ledger.open(Path(sys.argv[1]))
for n in range(1, 1000):
    with ledger.transaction(n, 1, 1, "") as tx:
        assert tx.next_n() == n
        tx.add_order(order(n))
        if n == 20:
            tx.handle_proposal("half", "x")
            print("inside", flush=True)
            sys.stdin.read()
        tx.handle_proposal(f"p-{n}", "order")
    print(n, flush=True)
"""


def test_kill_9_between_statements_keeps_every_commit_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    root = Path(__file__).parents[3]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, cwd=root, text=True
    )
    assert child.stdout is not None
    lines = [line.strip() for line in itertools.takewhile(lambda line: line != "inside\n", child.stdout)]
    with pytest.raises(LedgerLockedError):
        Ledger.open(path)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert lines[-1] == "19"
    ledger = Ledger.open(path)
    assert ledger.head == 19
    assert ledger.proposal_result("p-19") == "order"
    assert ledger.proposal_result("half") is None
    ledger.close()


def test_a_deleted_ledger_is_not_replaced_by_an_empty_one(tmp_path: Path) -> None:
    Ledger.open(tmp_path / "ledger.db").close()
    (tmp_path / "ledger.db").unlink()
    with pytest.raises(LedgerCorruptError, match="was deleted"):
        Ledger.open(tmp_path / "ledger.db")


def test_another_ledger_in_its_place_is_refused(tmp_path: Path) -> None:
    Ledger.open(tmp_path / "a" / "ledger.db").close()
    Ledger.open(tmp_path / "b" / "ledger.db").close()
    (tmp_path / "b" / "ledger.db").replace(tmp_path / "a" / "ledger.db")
    with pytest.raises(LedgerCorruptError, match="replaced"):
        Ledger.open(tmp_path / "a" / "ledger.db")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database, certainly not one" * 100)
    with pytest.raises(LedgerCorruptError):
        Ledger.open(tmp_path / "ledger.db")


def test_a_ledger_of_a_newer_build_is_refused(tmp_path: Path) -> None:
    Ledger.open(tmp_path / "ledger.db").close()
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(LedgerError, match="schema 99"):
        Ledger.open(tmp_path / "ledger.db")


def test_events_can_be_neither_changed_nor_deleted(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.buy("1")
    with sqlite3.connect(desk.settings.store_dir / "ledger.db") as db:
        for statement in ("DELETE FROM events", "UPDATE events SET kind='x'"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                db.execute(statement)


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.db")
    with pytest.raises(LedgerWriteError), ledger.transaction(1, 1, 1, "") as tx:
        tx.add_order(order(tx.next_n()))
        tx.handle_proposal("p", "a")
        tx.handle_proposal("p", "b")
    assert ledger.head == 0 and ledger.proposal_result("p") is None
    ledger.close()


def test_a_full_disk_refuses_entries_and_orders_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    pages = desk.tracker.ledger._db.execute("PRAGMA page_count").fetchone()[0]
    desk.tracker.ledger._db.execute(f"PRAGMA max_page_count={pages}")
    for _ in range(60):
        desk.approve()
        desk.settle()
        if desk.tracker.write_failing:
            break
    assert desk.tracker.write_failing
    before = list(desk.venue.history)
    desk.approve()
    desk.settle()
    assert desk.venue.history == before
    assert any(getattr(one, "key", "") == "ledger_write" for one in desk.harness.sent["alerts"])
    desk.tracker.ledger._db.execute("PRAGMA max_page_count=1000000")
    desk.pass_time(12)
    assert desk.tracker.ledger.book("BTC-USD").quantity == desk.venue.coins["BTC"]
    position = desk.position()
    assert position is not None and position.protection == "PROTECTED"


def test_a_disk_that_fills_up_or_turns_read_only_takes_nothing_half(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        ledger = Ledger.open(disk / "ledger.db")
        with ledger.transaction(1, 1, 1, "") as tx:
            tx.add_order(order(1))
        with contextlib.suppress(OSError), (disk / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(1 << 16))
        with pytest.raises(LedgerWriteError, match="full"):
            for _ in range(1000):
                with ledger.transaction(1, 1, 1, "") as tx:
                    tx.add_order(order(tx.next_n()))
        written = ledger.head
        assert verification.verify(ledger._db, whole=True).n == written
        (disk / "ballast").unlink()
        with ledger.transaction(1, 1, 1, "") as tx:
            tx.add_order(order(tx.next_n()))
        ledger.close()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(LedgerError, match="Read-only"):
            Ledger.open(disk / "ledger.db")
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        again = Ledger.open(disk / "ledger.db")
        assert again.head == written + 1
        again.close()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
