"""Whatever is stored follows from the events, is compared with them at every start, and nothing is made up."""

from __future__ import annotations

import gzip
import os
import signal
import sqlite3
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.messages.market import Side
from actors.orders import machine, migration, projections, schema, snapshots, verification
from actors.orders.killing import StopRun
from actors.orders.ledger import Ledger, LedgerCorruptError
from actors.orders.reads import Plan
from tests.actors.orders.desk import Desk
from tests.actors.orders.factories import fill, order, tamper
from tests.actors.orders.test_machine import view
from tests.actors.orders.venue import rules

STOP = StopRun("r", False, False, 3, 1, 1, 0, complete=True).to_json()
V1 = Path(__file__).parent / "fixtures" / "ledger-v1.db.gz"
V2 = Path(__file__).parent / "fixtures" / "ledger-v2.db.gz"


def busy(folder: Path) -> Path:
    """A ledger in which everything happened: entries, exits, a plan, a hand-over, a stop, dust, a proposal refused."""
    desk = Desk(folder)
    desk.buy("1")
    desk.pass_time(5)
    desk.harness.deliver(desk.exit_approval())
    desk.pass_time(60)
    desk.buy("0.5")
    desk.tracker.write(lambda ledger: ledger.close_trip("BTC-USD"))
    desk.tracker.write(lambda ledger: ledger.put_document("stops", "r", STOP))
    desk.approve("0")
    desk.settle()
    desk.kill()
    path: Path = desk.settings.store_dir / "ledger.db"
    with closing(sqlite3.connect(path)) as db:
        for table in (*projections.COLUMNS.keys() - {"head", "handovers"}, "events"):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] > 0, f"{table} is empty"
    return path


def problem(path: Path) -> str:
    """Why the ledger cannot be opened, or nothing."""
    try:
        Ledger.open(path).close()
    except LedgerCorruptError as error:
        return str(error)
    return ""


def test_every_table_but_the_events_themselves_is_compared() -> None:
    db = sqlite3.connect(":memory:")
    db.executescript(schema.TABLES + schema.SNAPSHOTS)
    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    compared = projections.COLUMNS.keys() - {"head"}
    assert tables - {"events", "snapshots", "meta", "sqlite_sequence"} == compared
    for name in compared:
        columns = tuple(row[1] for row in db.execute(f"PRAGMA table_info({name})"))
        assert projections.COLUMNS[name] == columns


def test_a_whole_life_follows_from_its_events(tmp_path: Path) -> None:
    path = busy(tmp_path)
    with closing(sqlite3.connect(path)) as db:
        verified = verification.verify(db, whole=True)
    assert (verified.first, verified.notes) == (0, ())
    assert problem(path) == ""


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("UPDATE positions SET quantity='2'", "positions BTC-USD: quantity is '2', its events make it '0.5'"),
        ("UPDATE positions SET trip_start='7'", "positions BTC-USD: trip_start"),
        ("UPDATE orders SET filled='0.5' WHERE filled='1'", "filled is '0.5'"),
        ("UPDATE orders SET state='OPEN' WHERE n=1", "orders td-a-1-e-1: state is 'OPEN'"),
        ("UPDATE meta SET value='1' WHERE key='head'", "head head: value is '1'"),
        ("UPDATE meta SET value='99' WHERE key='head'", "head head: value is '99'"),
        ("DELETE FROM fills", "fills f-1 is missing"),
        ("DELETE FROM plans", "plans BTC-USD is missing"),
        ("UPDATE plans SET stop_price='1'", "plans BTC-USD: stop_price"),
        ("UPDATE pnl SET realized='100'", "pnl BTC-USD"),
        ("DELETE FROM proposals WHERE seq=1", "proposals p-1 is missing"),
        ("UPDATE rules SET body=replace(body, '0.01', '0.1')", "rules BTC-USD: body"),
        ("INSERT INTO handovers VALUES ('BTC-USD', '{}')", "handovers BTC-USD follows from no event"),
        ("DELETE FROM stops", "stops r is missing"),
        ("UPDATE events SET body=replace(body, '100.00', '100.01')", "(order_intent td-a-1-e-1) or one before it"),
        ("DELETE FROM events WHERE n=5", "event 5 is missing"),
        ("DELETE FROM events WHERE n=(SELECT max(n) FROM events)", "the events end at"),
        ("UPDATE events SET chain=NULL WHERE n=6", "event 6 (order_changed"),
    ],
)
def test_what_differs_is_named_and_the_ledger_refused(tmp_path: Path, damage: str, says: str) -> None:
    path = busy(tmp_path)
    tamper(path, damage)
    assert says in problem(path)
    assert "restore a backup" in problem(path)


def test_a_tracker_on_a_contradicting_ledger_orders_nothing_and_pages_what_differs(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.buy("1")
    desk.kill()
    tamper(desk.settings.store_dir / "ledger.db", "UPDATE positions SET quantity='2'")
    desk = Desk(tmp_path)
    before = list(desk.venue.history)
    desk.approve()
    desk.pass_time(5)
    assert desk.venue.history == before
    assert not desk.snapshot().ready
    assert desk.snapshot().positions == ()  # nothing is invented
    assert any("positions BTC-USD: quantity is '2'" in getattr(one, "text", "") for one in desk.harness.sent["alerts"])
    assert any("positions BTC-USD" in getattr(one, "reason", "") for one in desk.harness.sent["watchdog"])


# --- snapshots -------------------------------------------------------------------------------------------------


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "EVERY", 5)


def made_at(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as db:
        return [row[0] for row in db.execute("SELECT n FROM snapshots ORDER BY n")]


@pytest.mark.usefixtures("often")
def test_a_start_computes_only_what_came_after_the_snapshot_that_the_start_before_it_wrote(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    path = desk.settings.store_dir / "ledger.db"
    for _ in range(3):
        desk.buy("1")
        desk.pass_time(5)
        desk.harness.deliver(desk.exit_approval())
        desk.pass_time(60)
        desk.restart()
        desk.settle()
    desk.kill()
    assert len(made_at(path)) == snapshots.KEPT
    with closing(sqlite3.connect(path)) as db:
        short, whole = verification.verify(db), verification.verify(db, whole=True)
        assert short.first == made_at(path)[-1]
        assert (short.n, short.chain, short.tables) == (whole.n, whole.chain, whole.tables)


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("UPDATE snapshots SET body=substr(body, 1, length(body) - 1)", "is damaged"),
        ("UPDATE snapshots SET chain=zeroblob(16)", "is damaged"),
        ("UPDATE snapshots SET n=n-1", "is damaged"),
    ],
)
def test_a_damaged_snapshot_is_said_and_everything_is_computed(tmp_path: Path, damage: str, says: str) -> None:
    path = busy(tmp_path)
    Ledger.open(path).close()
    (before,) = made_at(path)
    tamper(path, damage)
    ledger = Ledger.open(path)
    assert any(says in note for note in ledger.notes)
    ledger.close()
    assert before in made_at(path)  # a good one was written


@pytest.mark.usefixtures("often")
def test_a_snapshot_of_other_events_is_not_believed(tmp_path: Path) -> None:
    one, other = busy(tmp_path / "one"), busy(tmp_path / "other")
    tamper(other, "UPDATE events SET config_hash='x' WHERE n=1")
    Ledger.open(one).close()
    with closing(sqlite3.connect(one)) as db:
        (row,) = db.execute("SELECT * FROM snapshots").fetchall()
        last = db.execute("SELECT max(n) FROM events").fetchone()[0]
    tamper(other, f"UPDATE events SET chain=zeroblob(16) WHERE n={last}")
    with closing(sqlite3.connect(other)) as db:
        db.execute("INSERT INTO snapshots VALUES (?,?,?,?,?)", row)
        db.commit()
        assert "made of other events" in snapshots.newest(db, b"").doubts[0]
    assert "is not what was written" in problem(other)


@pytest.mark.usefixtures("often")
def test_a_projection_changed_after_a_snapshot_is_found_too(tmp_path: Path) -> None:
    path = busy(tmp_path)
    Ledger.open(path).close()
    tamper(path, "UPDATE orders SET limit_price='1' WHERE n=1")
    assert "orders td-a-1-e-1: limit_price is '1'" in problem(path)


# --- any sequence ----------------------------------------------------------------------------------------------

STEP_KINDS = (
    "buy", "sell", "late", "dust", "plan", "proposal", "rules", "document", "drop", "cancel", "withdraw",
)  # fmt: skip
STEPS = st.lists(
    st.tuples(
        st.sampled_from(STEP_KINDS),
        st.integers(1, 5),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_any_sequence_of_writes_is_made_again_by_its_events(steps: list[tuple[str, int]]) -> None:
    ledger = Ledger.in_memory()
    for at, (step, amount) in enumerate(steps, start=10):
        with ledger.transaction(at, 1, 1, "hash") as tx:
            _write(tx, step, amount, at)
    db = ledger._db
    whole = verification.verify(db, whole=True)
    assert (whole.n, whole.chain) == (ledger._n, ledger._chain)
    assert projections.Projections.of(whole.tables).tables() == whole.tables


def _write(tx: Ledger, step: str, amount: int, at: int) -> None:
    if step in ("buy", "sell", "late"):
        record = order(tx.next_n(), Side.SELL if step == "sell" else Side.BUY, str(amount), f"S{amount % 2}-USD")
        tx.add_order(record)
        when = at * 40_000 * 10**9 if step != "late" else at
        filled = replace(machine.with_fill(record.facts, Decimal(amount) / 2), order_id=f"v-{record.n}")
        tx.add_fill(fill(record, f"e{at}", f"{90 + amount}.5", str(Decimal(amount) / 2), when), "FILL", booked=True)
        tx.change_order(record, record.updated(filled, at), "fill")
        tx.add_fill(fill(record, f"r{at}", "1", "1", when), "REVERSAL", booked=False)
    elif step == "dust":
        if tx.books():
            tx.close_trip(tx.books()[0].symbol)
    elif step == "plan":
        tx.put_plan(Plan(f"S{amount}", Decimal(amount), None, at if amount > 2 else None, "c", "k"))
    elif step == "proposal":
        tx.handle_proposal(f"q-{at}", "refused:x")
    elif step == "rules":
        tx.put_rules(rules(f"S{amount}-USD", base_min_size=Decimal(at)))
    elif step == "withdraw":
        symbol = f"S{amount % 2}-USD"
        for taken in tx.fills_of_symbol(symbol)[:1]:
            record = tx.order(taken.client_order_id)
            assert record is not None
            tx.withdraw_fill(record, taken, "drill", at)
    elif step == "cancel":
        for one in tx.working()[:1]:
            tx.change_order(one, one.updated(machine.with_cancel(one.facts), at), "cancel")
            tx.event("anomaly", one.id, text="a record that no table follows from")
    else:
        tx.put_document("stops", f"r-{amount}", "{}" if step == "document" else None)


def test_a_transaction_that_is_rolled_back_leaves_the_chain_where_it_was() -> None:
    ledger = Ledger.in_memory()
    with ledger.transaction(1, 1, 1, "") as tx:
        tx.handle_proposal("a", "x")
    with pytest.raises(ZeroDivisionError), ledger.transaction(1, 1, 1, "") as tx:
        tx.handle_proposal("b", "x")
        raise ZeroDivisionError
    with ledger.transaction(1, 1, 1, "") as tx:
        tx.handle_proposal("c", "x")
    assert verification.verify(ledger._db, whole=True).n == 2


# --- schema 1 --------------------------------------------------------------------------------------------------


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    """A ledger that the last build of schema 1 wrote."""
    path = tmp_path / "demo" / "ledger.db"
    path.parent.mkdir()
    path.write_bytes(gzip.decompress(V1.read_bytes()))
    return path


def test_a_ledger_of_schema_1_is_brought_here_whole_and_kept_aside(version_1: Path) -> None:
    with closing(sqlite3.connect(version_1)) as db:
        tables = ("orders", "fills", "positions", "plans", "pnl", "proposals", "rules", "stops")
        before = {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
    ledger = Ledger.open(version_1)
    assert any("schema 1" in note for note in ledger.notes)
    ledger.close()
    with closing(sqlite3.connect(version_1)) as db:
        after = {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
        after["orders"] = [row[: -len(schema.ADDED_TO_ORDERS)] for row in after["orders"]]
        assert after == before
        assert verification.verify(db, whole=True).notes == ()
    with closing(sqlite3.connect(version_1.with_name("ledger.db.schema-1"))) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert problem(version_1) == ""


def test_a_ledger_of_schema_1_goes_on_being_written(version_1: Path) -> None:
    desk = Desk(version_1.parents[1])
    assert not desk.tracker.unusable
    head = desk.tracker.ledger.head
    desk.tracker.write(lambda ledger: ledger.add_order(replace(order(head + 1), proposal_id="new")))
    desk.kill()
    assert problem(version_1) == ""
    with closing(sqlite3.connect(version_1)) as db:
        verification.verify(db, whole=True)


@pytest.mark.parametrize(
    "damage",
    ["UPDATE orders SET filled='9' WHERE n=1", "UPDATE positions SET quantity='9'", "DELETE FROM events WHERE n=3"],
)
def test_a_ledger_of_schema_1_that_contradicts_itself_is_refused_and_left_as_it_is(
    version_1: Path, damage: str
) -> None:
    tamper(version_1, damage)
    assert problem(version_1)
    with closing(sqlite3.connect(version_1)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    assert problem(version_1)


def test_events_of_schema_1_changed_after_they_were_brought_here_are_found(version_1: Path) -> None:
    Ledger.open(version_1).close()
    tamper(version_1, "UPDATE events SET config_hash='x' WHERE n=2")
    assert "is not what was written" in problem(version_1)


# --- schema 2 --------------------------------------------------------------------------------------------------


@pytest.fixture
def version_2(tmp_path: Path) -> Path:
    """A ledger that the last build of schema 2 had brought from schema 1 and kept a snapshot of."""
    path = tmp_path / "demo" / "ledger.db"
    path.parent.mkdir()
    path.write_bytes(gzip.decompress(V2.read_bytes()))
    return path


def test_a_ledger_of_schema_2_is_brought_here_whole_and_kept_aside(version_2: Path) -> None:
    tables = ("orders", "fills", "positions", "plans", "pnl", "proposals", "rules", "stops", "events", "snapshots")
    with closing(sqlite3.connect(version_2)) as db:
        before = {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
    ledger = Ledger.open(version_2)
    assert ledger.notes == ["brought from schema 2 to 3; a copy of it as it was is beside it"]
    ledger.close()
    with closing(sqlite3.connect(version_2)) as db:
        after = {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
        assert {row[-2:] for row in after["orders"]} == {(0, 0)}
        after["orders"] = [row[:-2] for row in after["orders"]]
        assert after == before
        assert verification.verify(db).first > 0, "the snapshot of schema 2 is of use"
        assert verification.verify(db, whole=True).notes == ()
    with closing(sqlite3.connect(version_2.with_name("ledger.db.schema-2"))) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
    assert problem(version_2) == ""


def test_a_death_while_the_copy_is_made_leaves_no_part_of_it_in_the_name_of_the_whole(
    version_2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = version_2.with_name("ledger.db.schema-2")
    pid = os.fork()
    if pid == 0:
        with closing(sqlite3.connect(version_2)) as db:
            monkeypatch.setattr(migration, "closing", lambda copy: _DiesInTheMiddle(copy))
            migration.from_2(db, version_2)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert not aside.exists()
    Ledger.open(version_2).close()
    with closing(sqlite3.connect(aside)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert not list(aside.parent.glob("*.partial*"))


class _DiesInTheMiddle:
    """A copy to which some pages have come when its process is killed."""

    def __init__(self, copy: sqlite3.Connection) -> None:
        self._copy = copy

    def __enter__(self) -> sqlite3.Connection:
        self._copy.execute("CREATE TABLE half (way TEXT)")
        os.kill(os.getpid(), signal.SIGKILL)
        return self._copy

    def __exit__(self, *_: object) -> None: ...


def test_a_ledger_of_schema_2_that_contradicts_itself_is_refused_and_left_as_it_is(version_2: Path) -> None:
    tamper(version_2, "UPDATE positions SET quantity='9'")
    assert "positions" in problem(version_2)
    with closing(sqlite3.connect(version_2)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)


def test_an_order_that_vanished_and_returned_follows_from_its_events(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger.open(path)
    with ledger.transaction(1, 1, 1, "") as tx:
        record = order(1)
        tx.add_order(record)
        for _ in range(2):
            shown = record.updated(machine.with_view(record.facts, view("OPEN")), 2)
            tx.change_order(record, shown, "venue:OPEN")
            record = shown.updated(machine.with_vanishing(shown.facts), 3, "vanished")
            tx.change_order(shown, record, "proven_gone")
    stored = ledger.order(record.id)
    assert stored is not None
    assert (stored.facts.vanished, stored.facts.returned, stored.state.value) == (2, 1, "CANCELLED")
    ledger.close()
    assert problem(path) == ""
    tamper(path, "UPDATE orders SET vanished=3")
    assert "vanished is 3, its events make it 2" in problem(path)
