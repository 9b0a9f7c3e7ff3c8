"""A store that was damaged, deleted or rolled back: HALTED with a clear word.

Protection stays at the venue, cancels go on, nothing is invented, no client order id comes twice, and a restore lifts
nothing. Each drill compares with the venue's truth.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.drills.daemon import Daemon, Json, SimulatorApart, Venue, against, config_folder, wait_for
from tests.drills.test_kill_switch import HELD, MANY, open_orders

SYMBOLS = ",".join((*HELD[:2], "X01-USD", "X02-USD", "X03-USD"))


class Trade:
    """A daemon with two protected positions and resting entries at a venue that outlives it."""

    def __init__(self, folder: Path) -> None:
        self.simulator = SimulatorApart(folder / "venue", "--symbols", SYMBOLS, "--frozen")
        self.venue = Venue(self.simulator.control_url)
        strategist = {**MANY["strategist"], "params": {"held": ",".join(HELD[:2])}}
        watchdog = {**MANY.get("watchdog", {}), "disk_free_bytes": 1_000_000}
        changed = {"strategist": strategist, "supervision": {"unclean_starts": 100}, "watchdog": watchdog}
        config = config_folder(folder / "config", **{**MANY, **changed})
        self.daemon = Daemon(
            folder / "daemon", *against(self.simulator), "--symbols", SYMBOLS, config=config, wait=False
        )

    @property
    def store(self) -> Path:
        return self.daemon.data / "demo"

    def established(self) -> None:
        """Two positions are protected, entries rest."""
        self.daemon.wait_run()
        self.daemon.wait_status(
            lambda s: len(s["positions"]) == 2 and all(p["protection"] == "PROTECTED" for p in s["positions"]),
            "2 protected positions",
            90,
        )
        wait_for(lambda: len(self.bids()) >= 2, "resting entries", 60)

    def bids(self) -> list[Json]:
        return open_orders(self.venue, "BUY")

    def stops(self) -> set[str]:
        """Order ids of resting protection."""
        return {order["order_id"] for order in open_orders(self.venue, "SELL")}

    def names(self) -> list[str]:
        """Client order ids of all own orders that the venue ever had."""
        return [one["client_order_id"] for one in self.venue.truth()["orders"] if one["client_order_id"][:3] == "td-"]

    def halted(self, *says: str, state: str = "HALTED", seconds: float = 60) -> Json:
        """The status once trading is stopped and the reasons or problems say why."""

        def told(status: Json) -> bool:
            text = f"{status['reasons']} {status['problems']} {[b['reason'] for b in status['breakers']]}"
            return status["trading_state"] == state and all(word in text for word in says)

        return self.daemon.wait_status(told, f"{state}, saying {says}", seconds)

    def killed(self) -> None:
        """A kill cancels every entry and leaves protection."""
        stops = self.stops()
        self.daemon.run("kill", "--reason", "drill")
        wait_for(lambda: not self.bids(), "no entry to rest", 30)
        assert self.stops() == stops

    def close(self) -> None:
        self.daemon.close()
        self.simulator.stop()


@pytest.fixture(scope="module")
def trade(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trade]:
    one = Trade(tmp_path_factory.mktemp("ledger"))
    one.established()
    yield one
    one.close()


@pytest.fixture(scope="module")
def good(trade: Trade, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store as it was after an orderly stop; the daemon is down."""
    trade.daemon.terminate()
    folder = tmp_path_factory.mktemp("good") / "demo"
    shutil.copytree(trade.store, folder)
    return folder


def put_back(copy: Path, store: Path) -> None:
    shutil.rmtree(store)
    shutil.copytree(copy, store)


# --- damaged while nothing ran ---------------------------------------------------------------------------------


def scribble(path: Path, at: int | None = None) -> None:
    """Overwrite a page in the middle, as a failing disk does."""
    data = bytearray(path.read_bytes())
    start = (len(data) // 2) // 4096 * 4096 if at is None else at
    data[start : start + 4096] = b"\x5a" * min(4096, len(data) - start)
    path.write_bytes(data)


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: -(path.stat().st_size // 3)])


DAMAGES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "a page of the ledger": (lambda s: scribble(s / "ledger.db"), ("ledger", "restore a backup")),
    "the ledger is cut short": (lambda s: tear(s / "ledger.db"), ("ledger", "restore a backup")),
    "the ledger is deleted": (lambda s: (s / "ledger.db").unlink(), ("was deleted", "restore a backup")),
    "control and risk stores": (
        lambda s: (scribble(s / "control.db", 0), scribble(s / "risk.db", 0)),
        ("control store",),
    ),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_store_is_halted_with_a_clear_word_keeps_protection_and_cancels(
    trade: Trade, good: Path, what: str
) -> None:
    damage, says = DAMAGES[what]
    put_back(good, trade.store)
    damage(trade.store)
    stops, names = trade.stops(), trade.names()
    assert len(stops) == 2
    trade.daemon.start(wait=False)
    trade.halted(*says)
    trade.killed()
    assert trade.stops() == stops
    assert trade.names() == names, "nothing was ordered on books that nobody can read"
    trade.daemon.kill()
    (trade.daemon.data / "KILL").unlink(missing_ok=True)


def test_a_torn_journal_egress_log_and_half_written_files_cost_nothing_that_was_committed(
    trade: Trade, good: Path
) -> None:
    """What SQLite's journal loses at its torn end was never committed; a torn egress record proves nothing."""
    put_back(good, trade.store)
    trade.daemon.start()
    trade.daemon.wait_status(lambda s: s["ready"], "ready")
    trade.daemon.kill()
    with (trade.store / "ledger.db-wal").open("ab") as journal:
        journal.write(b"\x11" * 1000)
    with (trade.store / "egress.log").open("ab") as log:
        log.write(b"TDE1C torn")
    (trade.store / "epoch.partial").write_bytes(b"9")
    stops = trade.stops()
    trade.daemon.start()
    status = trade.daemon.wait_status(lambda s: s["ready"] and len(s["positions"]) == 2, "the books")
    assert all(position["protection"] == "PROTECTED" for position in status["positions"])
    assert trade.stops() == stops
    trade.daemon.kill()
    (trade.store / "epoch").write_text("garbage")
    done = trade.daemon.run("start", "--mode", "demo", timeout_s=60)
    assert done.returncode == 2 and "expected a number" in done.stderr


# --- rolled back -----------------------------------------------------------------------------------------------


def test_a_copy_put_back_behind_the_daemons_back_is_found_and_a_backup_restored_halted(
    trade: Trade, good: Path
) -> None:
    put_back(good, trade.store)
    trade.daemon.start()
    trade.established()
    made = trade.daemon.run("backup")
    assert made.returncode == 0, made.stderr
    backup = made.stdout.strip()
    running = trade.daemon.run("restore", backup, "--reason", "drill")
    assert running.returncode == 3 and "another daemon" in running.stderr
    trade.daemon.kill()  # entries rest at the venue which the older copy does not know
    names, stops = trade.names(), trade.stops()
    put_back(good, trade.store)
    trade.daemon.start(wait=False)
    trade.halted("beyond")
    assert trade.stops() == stops, "what protects is left alone"
    trade.killed()
    trade.daemon.terminate()
    assert len(trade.names()) == len(set(trade.names())), "no client order id came twice"
    assert trade.names()[: len(names)] == names

    restored = trade.daemon.run("restore", backup, "--reason", "the disk was rolled back")
    assert restored.returncode == 0, restored.stderr
    trade.daemon.start(wait=False)
    trade.halted(state="KILLED")  # it was killed before the restore
    assert trade.daemon.run("release", "--reason", "drill").returncode == 0
    status = trade.halted("release")
    assert len(status["positions"]) == 2
    assert all(position["protection"] == "PROTECTED" for position in status["positions"])
    assert trade.stops() == stops
    trade.daemon.kill()
