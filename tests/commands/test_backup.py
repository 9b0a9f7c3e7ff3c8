"""A backup is whole or not there; a restore puts the ledger back, lifts no halt, deletes nothing, and starts HALTED."""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from actors.clock import NS_PER_S, SystemClock
from actors.messages.health import TradingState
from actors.orders.ledger import Ledger
from commands import backup as backups
from commands import restore as restores
from commands.backup import BackupError
from commands.prepare import next_epoch
from run import main
from supervision.control_store import ControlStore, OperatorStanding
from tests.actors.orders.factories import order, tamper

V2 = Path(__file__).parents[1] / "actors" / "orders" / "fixtures" / "ledger-v2.db.gz"


class Store:
    """A stopped daemon's data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.path = data / "demo"
        self.path.mkdir(parents=True)
        self.write_orders(3)
        self.stand(TradingState.RUN)
        (self.path / "epoch").write_text("7\n")
        (self.path / "egress.log").write_bytes(b"sent")
        (self.path / "audit.jsonl").write_text('{"verb":"halt"}\n')
        (self.path / "starts.json").write_text("[]")
        with closing(sqlite3.connect(self.path / "risk.db")) as db:
            db.execute("PRAGMA user_version=1")
            db.execute("CREATE TABLE cooldowns (scope TEXT)")
            db.commit()

    def write_orders(self, count: int) -> None:
        ledger = Ledger.open(self.path / "ledger.db")
        for _ in range(count):
            with ledger.transaction(1, 7, 1, "h") as tx:
                tx.add_order(order(tx.next_n()))
        ledger.close()

    def head(self) -> int:
        ledger = Ledger.open(self.path / "ledger.db")
        try:
            return ledger.head
        finally:
            ledger.close()

    def stand(self, state: TradingState) -> None:
        control = ControlStore(self.path / "control.db", epoch=7)
        control.write_standing(OperatorStanding(state, "drill", "ann", 1))
        control.close()

    def standing(self) -> OperatorStanding:
        control = ControlStore(self.path / "control.db", epoch=99)
        try:
            found = control.read_standing()
            assert found is not None
            return found
        finally:
            control.close()

    def backup(self) -> Path:
        folder, _ = backups.backup(self.path, self.data / "backups", "build")
        return folder

    def restore(self, folder: Path) -> restores.Restored:
        return restores.restore(folder, self.data, "drill")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_backup_holds_the_whole_store_and_says_what_it_is(store: Store) -> None:
    folder = store.backup()
    manifest = backups.check(folder)
    assert {entry.name for entry in manifest.files} == {
        "ledger.db", "control.db", "control.made", "risk.db", "epoch", "egress.log", "audit.jsonl", "starts.json",
    }  # fmt: skip
    assert (manifest.mode, manifest.head, manifest.epoch, manifest.build) == ("demo", 3, 7, "build")
    assert manifest.files[-1].name == "ledger.db"  # nothing beside it is younger
    assert not list(folder.parent.glob("*.partial"))


def test_what_comes_and_goes_while_a_store_is_copied_is_no_part_of_it(store: Store) -> None:
    (store.path / "disk.probe").write_bytes(b"\0")  # the watchdog's, gone a moment later
    _, manifest = backups.backup(store.path, store.data / "backups", "b")
    assert "disk.probe" not in {entry.name for entry in manifest.files}


def test_a_backup_of_the_build_before_is_proven_and_restored_as_it_is(store: Store, tmp_path: Path) -> None:
    ledger = store.path / "ledger.db"
    ledger.with_suffix(".lock").unlink()
    ledger.write_bytes(gzip.decompress(V2.read_bytes()))
    folder, manifest = backups.backup(store.path, store.data / "backups", "b")
    restores.restore(folder, tmp_path / "new", "drill")
    with closing(sqlite3.connect(tmp_path / "new" / "demo" / "ledger.db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
    brought = Ledger.open(tmp_path / "new" / "demo" / "ledger.db")
    assert brought.head == manifest.head
    brought.close()
    tamper(ledger, "UPDATE positions SET quantity='9'")
    with pytest.raises(BackupError, match="positions"):
        backups.backup(store.path, store.data / "backups", "b")


def test_a_ledger_that_is_being_written_is_backed_up_as_of_one_moment(store: Store) -> None:
    ledger = Ledger.open(store.path / "ledger.db")
    with ledger.transaction(1, 7, 1, "h") as tx:
        tx.add_order(order(tx.next_n()))
        folder = store.backup()
    ledger.close()
    assert backups.check(folder).head == 3
    assert store.head() == 4


@pytest.mark.parametrize("name", ["ledger.db", "control.db", "egress.log"])
def test_a_backup_that_was_changed_is_refused_and_nothing_is_touched(store: Store, name: str) -> None:
    folder = store.backup()
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    before = contents(store.path)
    with pytest.raises(BackupError, match="not what was backed up"):
        store.restore(folder)
    assert contents(store.path) == before


def test_a_backup_without_a_manifest_or_with_one_that_leads_elsewhere_is_refused(store: Store) -> None:
    folder = store.backup()
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"epoch"', '"../epoch"', 1))
    with pytest.raises(BackupError):
        store.restore(folder)
    manifest.unlink()
    with pytest.raises(BackupError, match="manifest"):
        store.restore(folder)


def test_a_damaged_ledger_makes_no_backup_and_leaves_no_folder(store: Store) -> None:
    tamper(store.path / "ledger.db", "UPDATE orders SET limit_price='1' WHERE n=2")
    with pytest.raises(BackupError, match="td-a-1-e-2: limit_price"):
        store.backup()
    assert not list((store.data / "backups").iterdir())


def test_a_restore_takes_the_ledger_and_what_is_damaged_and_keeps_what_is_younger(store: Store) -> None:
    folder = store.backup()
    store.write_orders(2)
    (store.path / "egress.log").write_bytes(b"sent more")
    (store.path / "risk.db").write_bytes(b"torn")
    (store.path / "starts.json").unlink()
    there = contents(store.path)
    done = store.restore(folder)
    assert set(done.taken) == {"ledger.db", "risk.db", "starts.json"}
    assert store.head() == 3
    assert (store.path / "egress.log").read_bytes() == b"sent more"
    assert (done.aside / "ledger.db").read_bytes() == there["ledger.db"]
    assert (done.aside / "risk.db").read_bytes() == b"torn"


def test_after_a_restore_the_store_is_halted_by_itself_and_the_epoch_is_beyond_all(store: Store) -> None:
    folder = store.backup()
    (store.path / "epoch").write_text("9\n")
    before = SystemClock().utc_ns() // NS_PER_S
    done = store.restore(folder)
    assert store.standing().state is TradingState.HALTED
    assert "restored from the backup" in store.standing().reason
    assert done.epoch > max(9, before)
    assert next_epoch(store.path, 0) == done.epoch + 1
    assert '"verb":"restore"' in (store.path / "audit.jsonl").read_text()


@pytest.mark.parametrize("younger", [True, False])
def test_a_restore_lifts_no_kill(store: Store, younger: bool) -> None:
    """Not the latch, not a kill that stands in the control store alone, not one that the backup holds."""
    folder = store.backup()
    store.stand(TradingState.KILLED)
    if not younger:
        (store.path / "epoch").write_text("1\n")  # an older copy was put back: all of the backup is taken
    done = store.restore(folder)
    assert ("control.db" in done.taken) is not younger
    assert (store.data / "KILL").exists()
    store.stand(TradingState.KILLED)
    (store.path / "epoch").write_text("8\n")
    killed = store.backup()
    store.stand(TradingState.RUN)
    store.restore(killed)
    assert (store.data / "KILL").exists()
    assert store.standing().state is not TradingState.RUN


def test_a_restore_into_an_empty_folder_is_a_whole_store(store: Store, tmp_path: Path) -> None:
    folder = store.backup()
    done = restores.restore(folder, tmp_path / "other", "a new host")
    assert not done.kept
    other = Ledger.open(tmp_path / "other" / "demo" / "ledger.db")
    assert other.head == 3
    other.close()
    (tmp_path / "other" / "demo" / "ledger.db").unlink()
    with pytest.raises(Exception, match="was deleted"):
        Ledger.open(tmp_path / "other" / "demo" / "ledger.db")


@pytest.mark.parametrize("step", ["_set_aside", "_place", "_halt", "_note"])
def test_a_restore_that_dies_anywhere_refuses_the_start_and_is_done_again(
    store: Store, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store.backup()
    store.write_orders(2)
    store.stand(TradingState.KILLED)
    (store.path / "epoch").write_text("1\n")  # so that everything is taken, the control store too

    def die(*_: object) -> None:
        raise OSError("the power failed")

    with monkeypatch.context() as broken:
        broken.setattr(restores, step, die)
        with pytest.raises(OSError, match="power"):
            store.restore(folder)
    assert "interrupted" in restores.unfinished(store.path)
    store.restore(folder)
    assert restores.unfinished(store.path) == ""
    assert store.head() == 3
    assert store.standing().state is TradingState.HALTED
    assert (store.data / "KILL").exists()


def test_the_command_line_backs_up_verifies_and_restores(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data-dir", str(store.data)]
    assert main(["backup", *data]) == 0
    folder = capsys.readouterr().out.strip()
    assert main(["ledger", "verify", *data]) == 0
    assert "events make 3 orders" in capsys.readouterr().out
    tamper(store.path / "ledger.db", "UPDATE orders SET limit_price='1' WHERE n=2")
    assert main(["ledger", "verify", *data]) == 1
    assert "limit_price" in capsys.readouterr().err
    assert main(["restore", folder, "--reason", "drill", *data]) == 0
    assert "next start is HALTED" in capsys.readouterr().out
    assert main(["ledger", "verify", *data]) == 0


def test_the_epoch_never_falls_below_the_clock_whatever_copy_is_put_back(tmp_path: Path) -> None:
    assert next_epoch(tmp_path, 1000 * NS_PER_S) == 1000
    assert next_epoch(tmp_path, 1000 * NS_PER_S) == 1001
    (tmp_path / "epoch").write_text("3\n")
    assert next_epoch(tmp_path, 2000 * NS_PER_S) == 2000
