"""The watchdog's mailbox: from messages to the lease."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from actors.clock import MovedClock
from actors.latch import read_latch
from actors.messages.control import ControlReport, OperatorCommand, OperatorVerb, StateChanged
from actors.messages.health import (
    Alert,
    BreakerName,
    BreakerSignal,
    BreakerState,
    ChildState,
    ChildStatus,
    HangSuspected,
    Lease,
    PartLost,
    Severity,
    TradingState,
    TreeReport,
)
from actors.messages.market import ProductsRead
from actors.messages.reconcile import Difference, OpenFlow, ReconcileNow, ReconcileReport
from actors.messages.venue import GatewayReport, QueryKind, VenueAnswer, VenueQuery
from supervision.control_store import ControlStore, acknowledged_before
from supervision.watchdog import WatchdogActor
from tests.actors.harness import ActorHarness, test_settings
from tests.supervision.factories import beat, connection, feed_health, reconciled, rules, snapshot

RUN, REDUCE, HALTED, KILLED = TradingState
PARTS = ("tracker", "gateway", "risk", "reconciler", "feed", "strategist", "guard.BTC-USD", "guard.ETH-USD")
PEERS = (*PARTS, "admin", "metrics", "alerts")


class Daemon:
    """A watchdog whose parts beat when told."""

    def __init__(self, folder: Path, *, clock: MovedClock | None = None, incarnation: int = 1, **options) -> None:  # type: ignore[no-untyped-def]
        mode = options.pop("mode", "demo")
        args, epoch = options.pop("args", None), options.pop("epoch", 1)
        settings = test_settings(folder, mode=mode, **options)
        self.harness = ActorHarness(
            WatchdogActor,
            settings=settings,
            peers=PEERS,
            name="watchdog",
            clock=clock,
            incarnation=incarnation,
            args=args,
            epoch=epoch,
        ).start()
        self.clock = self.harness.clock
        self.incarnation, self.orders, self.said = incarnation, 0, ""
        self.incarnations = dict.fromkeys((*PARTS, "alerts"), 1)
        self.silent: set[str] = set()
        self.modes: dict[str, dict[str, object]] = {"BTC-USD": {}, "ETH-USD": {}}

    def beat(self, name: str, **changed: object) -> None:
        self.harness.deliver(beat(name, self.clock.boot_ns(), incarnation=self.incarnations[name], **changed))

    def answer_modes(self, *, ok: bool = True) -> None:
        for query in self.harness.take("gateway", VenueQuery):
            assert query.kind is QueryKind.PRODUCTS
            found = (
                tuple(rules(name, **self.modes[name]) for name in query.products if name in self.modes) if ok else ()
            )
            self.harness.deliver(
                VenueAnswer(query.request_id, query.kind, ok, "" if ok else "timeout", 0, 0, 0, 1, rules=found)
            )

    def run(self, seconds: float, *, modes: bool = True) -> None:
        for _ in range(round(seconds * 4)):
            for name in self.incarnations:
                if name not in self.silent:
                    self.beat(name)
            self.harness.advance(0.25)
            self.harness.run_workers()
            if modes:
                self.answer_modes()

    def books(self) -> None:
        self.harness.deliver(snapshot(self.clock.boot_ns()))
        self.harness.deliver(reconciled(self.clock.boot_ns()))

    def ready(self) -> Daemon:
        self.books()
        self.run(2)
        assert self.lease.state is RUN, self.lease.reasons
        return self

    def restart(self, name: str) -> None:
        self.harness.deliver(PartLost(name, self.incarnations[name], "signal 9", False))
        self.incarnations[name] += 1
        self.clock.advance(0.05)
        self.beat(name)

    @property
    def lease(self) -> Lease:
        return [one for one in self.harness.sent["gateway"] if isinstance(one, Lease)][-1]

    @property
    def alerts(self) -> list[Alert]:
        return [one for one in self.harness.sent["alerts"] if isinstance(one, Alert)]

    def order(self, verb: OperatorVerb, reason: str = "drill", operator: str = "ada") -> StateChanged:
        self.orders += 1
        self.said = f"op-1-{self.incarnation}-{self.orders}"
        self.harness.deliver(OperatorCommand(self.said, verb, reason, operator))
        return self.harness.take("admin", StateChanged)[-1]  # type: ignore[return-value]

    def signal(self, breaker: BreakerName, scope: str, *, tripped: bool = True, by: str = "risk") -> None:
        self.harness.deliver(BreakerSignal(breaker, scope, tripped, "because", by))
        self.harness.advance(0.03)  # a storm of signals makes one lease and one commit


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(tmp_path).ready()


# --- start ---------------------------------------------------------------------------------------------------


def test_it_halts_until_every_part_has_beaten_the_books_are_ready_and_reconciled(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.silent = {"risk"}
    daemon.run(1)
    assert daemon.lease.state is HALTED
    assert "risk" in daemon.lease.reasons[0]
    assert "reconciliation" in daemon.lease.reasons[0]
    daemon.silent = set()
    daemon.harness.deliver(snapshot(0, ready=False))
    daemon.harness.deliver(reconciled(daemon.clock.boot_ns()))
    daemon.run(1)
    assert daemon.lease.state is HALTED
    daemon.harness.deliver(snapshot(0))
    assert daemon.lease.state is RUN


@pytest.mark.parametrize("report", [{"complete": False, "ok": False}])
def test_an_incomplete_comparison_does_not_start_trading_and_trips_nothing(tmp_path: Path, report: dict) -> None:  # type: ignore[type-arg]
    daemon = Daemon(tmp_path)
    daemon.harness.deliver(snapshot(0))
    daemon.harness.deliver(reconciled(0, **report))
    daemon.run(2)
    assert daemon.lease.state is HALTED
    assert daemon.lease.reasons == ("waiting for reconciliation",)


def test_a_snapshot_of_another_epoch_is_not_taken(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.harness.deliver(snapshot(0, epoch=7))
    daemon.harness.deliver(reconciled(daemon.clock.boot_ns()))
    daemon.run(1)
    assert daemon.lease.reasons == ("waiting for tracker snapshot",)


def test_it_halts_until_the_product_modes_were_read_once(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.books()
    daemon.run(3, modes=False)
    assert daemon.lease.reasons == ("waiting for product modes",)
    daemon.answer_modes(ok=False)
    assert daemon.lease.state is HALTED
    daemon.run(1.5)
    assert daemon.lease.state is RUN


def test_the_first_live_start_waits_for_resume(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, mode="live")
    daemon.books()
    daemon.run(2)
    assert daemon.lease.state is HALTED
    assert daemon.order(OperatorVerb.RESUME).accepted
    assert daemon.lease.state is RUN


def test_a_halt_reason_of_the_start_holds_once_per_epoch(tmp_path: Path) -> None:
    args = {"halt_reason": "three unclean starts"}
    daemon = Daemon(tmp_path, args=args)
    daemon.books()
    daemon.run(2)
    assert daemon.lease.reasons == ("operator: three unclean starts",)
    daemon.order(OperatorVerb.RESUME)
    assert Daemon(tmp_path, args=args, incarnation=2).ready().lease.state is RUN


def test_only_a_resume_acknowledges_the_starts_before_it_and_durably(tmp_path: Path) -> None:
    store = tmp_path / "demo" / "control.db"
    assert acknowledged_before(store) == 0, "no store: every start counts"
    daemon = Daemon(tmp_path, epoch=7)
    for verb in (OperatorVerb.HALT, OperatorVerb.KILL, OperatorVerb.RELEASE):
        assert daemon.order(verb).accepted
        assert acknowledged_before(store) == 0, verb
    assert not daemon.order(OperatorVerb.RESUME, operator="").accepted
    assert acknowledged_before(store) == 0, "refused"
    assert daemon.order(OperatorVerb.RESUME).accepted
    assert acknowledged_before(store) == 7, "read beside the watchdog's open store"
    daemon.harness.actor._desk.close()
    assert acknowledged_before(store) == 7
    store.write_bytes(b"nonsense" * 1000)
    assert acknowledged_before(store) == 0, "what cannot be read acknowledges nothing"


def test_the_lease_is_renewed_every_250_ms_and_stamped(daemon: Daemon) -> None:
    daemon.harness.take("tracker")
    daemon.run(1)
    leases = daemon.harness.take("tracker", Lease)
    assert len(leases) == 4
    assert leases[-1].issued_boot_ns - leases[0].issued_boot_ns == 750_000_000
    assert [one.sequence for one in leases] == sorted({one.sequence for one in leases})
    for name in ("risk", "gateway", "strategist", "admin", "metrics"):
        assert any(isinstance(one, Lease) for one in daemon.harness.sent[name])


# --- parts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "state"), [("tracker", HALTED), ("gateway", HALTED), ("feed", HALTED), ("strategist", REDUCE)]
)
def test_a_lost_part_stops_trading_at_once(daemon: Daemon, name: str, state: TradingState) -> None:
    daemon.harness.deliver(PartLost(name, 1, "signal 9", False))
    assert daemon.lease.state is state


def test_after_a_restart_of_the_tracker_entries_wait_for_books_and_a_comparison(daemon: Daemon) -> None:
    daemon.restart("tracker")
    assert daemon.lease.state is HALTED  # its books are not ready yet
    daemon.harness.deliver(snapshot(0))
    assert daemon.lease.state is REDUCE
    assert daemon.harness.take("reconciler", ReconcileNow)
    daemon.harness.deliver(reconciled(daemon.clock.boot_ns() - 1_000_000_000))
    assert daemon.lease.state is REDUCE  # that comparison is older than the restart
    daemon.run(1)
    daemon.harness.deliver(reconciled(daemon.clock.boot_ns()))
    assert daemon.lease.state is RUN


def test_the_dead_ones_last_beat_does_not_bring_it_back(daemon: Daemon) -> None:
    sent = daemon.clock.boot_ns()
    daemon.clock.advance(0.01)
    daemon.harness.deliver(PartLost("risk", 1, "signal 9", False))
    daemon.harness.deliver(beat("risk", sent))
    daemon.harness.advance(0.25)
    assert daemon.lease.state is HALTED


def test_a_given_up_guard_halts_its_symbol_alone_and_pages(daemon: Daemon) -> None:
    daemon.harness.deliver(PartLost("guard.ETH-USD", 1, "gave up", True))
    assert daemon.lease.state is RUN
    assert daemon.lease.state_of("ETH-USD") is HALTED
    assert daemon.lease.state_of("BTC-USD") is RUN
    assert daemon.alerts[-1].severity is Severity.PAGE


def test_a_given_up_metrics_actor_pages_and_trading_goes_on(daemon: Daemon) -> None:
    daemon.harness.deliver(PartLost("metrics", 1, "gave up", True))
    assert daemon.lease.state is RUN
    assert daemon.alerts[-1].key == "gave_up:metrics"


def test_a_new_watchdog_learns_of_given_up_parts_from_the_tree(daemon: Daemon) -> None:
    child = ChildStatus("strategist", "decisions", "worker", 0, 9, 9, ChildState.GIVEN_UP, "exit 70", 0)
    daemon.harness.deliver(TreeReport("decisions", 1, (child,)))
    assert daemon.lease.state is REDUCE


@pytest.mark.parametrize("name", ["gateway", "tracker"])
def test_a_suspected_hang_stops_entries_before_the_kill_and_a_beat_lifts_it(daemon: Daemon, name: str) -> None:
    daemon.harness.deliver(HangSuspected(name, 1, 1.3, 1.7))
    assert daemon.lease.state is REDUCE
    daemon.run(0.5)
    assert daemon.lease.state is RUN


def test_alerts_silent_for_a_minute_stop_entries(daemon: Daemon) -> None:
    daemon.silent = {"alerts"}
    daemon.run(59)
    daemon.harness.deliver(reconciled(daemon.clock.boot_ns()))
    assert daemon.lease.state is RUN
    daemon.run(2)
    assert daemon.lease.state is REDUCE


def test_a_late_guard_stops_its_symbol_and_a_late_tracker_everything(daemon: Daemon) -> None:
    daemon.beat("guard.ETH-USD", lag_ms=3000.0)
    daemon.harness.advance(0.25)
    assert daemon.lease.state is RUN
    assert daemon.lease.state_of("ETH-USD") is REDUCE
    daemon.beat("tracker", lag_ms=3000.0)
    daemon.harness.advance(0.25)
    assert daemon.lease.state is REDUCE
    daemon.run(7)
    assert daemon.lease.state is REDUCE  # hold 5 s, probe 2 s, from when the cause was gone
    daemon.run(1.5)
    assert daemon.lease.state is RUN
    assert daemon.lease.per_symbol == ()


def test_a_silent_tracker_trips_and_a_late_strategist_does_not(daemon: Daemon) -> None:
    daemon.beat("strategist", lag_ms=3000.0)
    daemon.harness.advance(0.25)
    assert daemon.lease.state is RUN
    daemon.silent = {"tracker"}
    daemon.run(1.5)
    assert daemon.lease.state is REDUCE


def test_a_stop_of_the_whole_tree_judges_nobody(daemon: Daemon) -> None:
    daemon.clock.advance(5)  # SIGSTOP, SIGCONT: every timer and beat is late by the same five seconds
    daemon.harness.advance(0)
    for name in PARTS:
        daemon.beat(name, lag_ms=5000.0)
    daemon.run(2)
    assert daemon.lease.state is RUN
    assert daemon.alerts == []


# --- breakers ------------------------------------------------------------------------------------------------


def test_a_signalled_breaker_works_in_its_scope_and_is_counted_and_told(daemon: Daemon) -> None:
    daemon.signal(BreakerName.VOLATILITY, "BTC-USD", by="guard.BTC-USD")
    assert daemon.lease.state_of("BTC-USD") is REDUCE
    assert daemon.lease.state is RUN
    assert daemon.alerts[-1].severity is Severity.WARNING
    report = daemon.harness.take("admin", ControlReport)[-1]
    assert [(one.breaker, one.state, one.trips) for one in report.breakers if one.state is BreakerState.OPEN] == [
        (BreakerName.VOLATILITY, BreakerState.OPEN, 1)
    ]


def test_a_latched_breaker_survives_the_watchdog_and_a_resume_resets_it(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path).ready()
    daemon.signal(BreakerName.DAILY_LOSS, "*")
    assert Severity.PAGE in {alert.severity for alert in daemon.alerts}
    successor = Daemon(tmp_path, clock=daemon.clock, incarnation=2)
    successor.books()
    successor.run(60)
    assert successor.lease.state is REDUCE
    assert not successor.order(OperatorVerb.RESUME, operator="").accepted
    assert successor.order(OperatorVerb.RESUME).accepted
    assert successor.lease.state is RUN


def test_a_difference_beyond_tolerance_latches(daemon: Daemon) -> None:
    difference = Difference("foreign_host", "td-b-9-e-1", "", "OPEN", True)
    daemon.harness.deliver(reconciled(1, ok=False, differences=(difference,)))
    daemon.harness.deliver(reconciled(2))
    daemon.run(60)
    assert daemon.lease.state is HALTED
    assert "foreign_host" in daemon.lease.reasons[0]


def test_comparisons_that_stop_coming_stop_entries(daemon: Daemon) -> None:
    daemon.run(118)
    assert daemon.lease.state is RUN
    daemon.run(3)
    assert daemon.lease.state is REDUCE


def test_a_lost_user_channel_stops_entries_and_its_first_connecting_does_not(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.harness.deliver(feed_health(connection("market"), connection("user", "connecting")))
    daemon.ready()
    daemon.harness.deliver(feed_health(connection("market"), connection("user")))
    daemon.harness.deliver(feed_health(connection("market"), connection("user", "waiting")))
    daemon.run(1)
    assert daemon.lease.state is RUN
    daemon.run(2)
    assert daemon.lease.state is REDUCE
    assert "user_channel" in daemon.lease.reasons[0]


def test_a_gap_trips_and_heals(daemon: Daemon) -> None:
    daemon.harness.deliver(feed_health(connection("market")))
    daemon.harness.deliver(feed_health(connection("market", gaps=1)))
    daemon.harness.advance(0.03)
    assert "book_gap" in daemon.lease.reasons[0]
    daemon.run(8)
    assert daemon.lease.state is RUN


def test_an_offset_beyond_the_round_trips_own_error_trips_the_clock(daemon: Daemon) -> None:
    def report(offset_ms: float | None, error_ms: float | None) -> GatewayReport:
        return GatewayReport(0, 0, 0, 0, offset_ms, error_ms, 20.0, 9000, True, True)

    daemon.harness.deliver(report(None, None))
    daemon.harness.deliver(report(-190.0, 50.0))
    assert daemon.lease.state is RUN
    daemon.harness.deliver(report(-210.0, 50.0))
    assert daemon.lease.state is REDUCE


def test_product_modes_close_their_symbol_and_missing_ones_too(daemon: Daemon) -> None:
    daemon.modes = {"BTC-USD": {"post_only": True}}
    daemon.run(11)
    assert daemon.lease.state is RUN
    assert daemon.lease.state_of("BTC-USD") is REDUCE
    assert daemon.lease.state_of("ETH-USD") is HALTED
    daemon.modes = {"BTC-USD": {}, "ETH-USD": {}}
    daemon.run(20)
    assert daemon.lease.per_symbol == ()


def test_who_goes_by_product_rules_hears_what_it_read_before_the_lease_that_follows(daemon: Daemon) -> None:
    for name in ("risk", "tracker"):
        daemon.harness.sent[name].clear()
    daemon.modes = {"BTC-USD": {"post_only": True}, "ETH-USD": {}}
    daemon.run(11)
    for name in ("risk", "tracker"):
        heard = daemon.harness.sent[name]
        read = next(at for at, one in enumerate(heard) if isinstance(one, ProductsRead))
        closed = next(at for at, one in enumerate(heard) if isinstance(one, Lease) and one.per_symbol)
        assert read < closed
        assert [one.post_only for one in heard[read].rules] == [True, False]  # type: ignore[attr-defined]
    daemon.answer_modes()
    for name in ("risk", "tracker"):
        daemon.harness.sent[name].clear()
    daemon.run(11, modes=False)
    daemon.answer_modes(ok=False)
    told = [one for one in daemon.harness.sent["risk"] if isinstance(one, ProductsRead)]
    assert not told, "a failed read is no rules"


def test_product_modes_that_cannot_be_read_stop_entries(daemon: Daemon) -> None:
    daemon.run(45, modes=False)
    daemon.answer_modes(ok=False)
    assert daemon.lease.state is REDUCE
    assert "product modes not read" in daemon.lease.reasons[0]


def test_a_full_disk_stops_entries(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, watchdog={"disk_free_bytes": 1 << 62})
    daemon.books()
    daemon.run(2)
    assert daemon.lease.state is REDUCE
    assert "disk" in daemon.lease.reasons[0]


def test_a_disk_that_takes_no_write_stops_entries_before_anything_is_to_be_written(daemon: Daemon) -> None:
    probe = daemon.harness.settings.store_dir / "disk.probe"
    probe.mkdir()
    daemon.run(3.5)
    assert daemon.lease.state is REDUCE
    assert "cannot be written" in daemon.lease.reasons[0]
    probe.rmdir()
    daemon.run(15)
    assert daemon.lease.state is RUN, "it heals"


# --- operators -----------------------------------------------------------------------------------------------


def test_kill_creates_the_latch_leases_killed_and_holds_over_restarts_until_release(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path).ready()
    assert daemon.order(OperatorVerb.KILL).state is KILLED
    assert read_latch(tmp_path / "KILL") == "drill (by ada)"
    assert (daemon.lease.state, daemon.lease.reasons) == (KILLED, ("killed: kill: drill",))  # said once
    assert not daemon.order(OperatorVerb.RESUME).accepted
    assert not daemon.order(OperatorVerb.REDUCE).accepted
    (tmp_path / "KILL").unlink()  # by hand: only release lifts it
    successor = Daemon(tmp_path, clock=daemon.clock, incarnation=2)
    successor.run(1)
    assert successor.lease.state is KILLED
    assert (tmp_path / "KILL").exists()
    assert not successor.order(OperatorVerb.RELEASE, reason="").accepted
    assert successor.order(OperatorVerb.RELEASE).accepted
    assert not (tmp_path / "KILL").exists()
    successor.run(1)
    assert successor.lease.state is HALTED  # released is not resumed
    third = Daemon(tmp_path, clock=daemon.clock, incarnation=3)
    third.run(1)
    told = [daemon.lease.released_by, successor.lease.released_by, third.lease.released_by]
    assert told == ["", successor.said, successor.said], "every lease says who released, over restarts"


def test_a_release_that_is_not_durable_ends_nothing(daemon: Daemon, tmp_path: Path) -> None:
    daemon.order(OperatorVerb.KILL)
    daemon.harness.actor._desk._store._db.close()
    assert not daemon.order(OperatorVerb.RELEASE).accepted
    daemon.run(1)
    assert (daemon.lease.state, daemon.lease.released_by) == (KILLED, "")
    assert (tmp_path / "KILL").exists()


def test_a_kill_file_is_seen_within_one_tick(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "KILL").write_text("by hand")
    daemon.harness.advance(0.25)
    assert daemon.lease.state is KILLED
    assert "by hand" in daemon.lease.reasons[0]
    assert daemon.alerts[-1].severity is Severity.PAGE


def test_kill_works_when_neither_latch_nor_store_can_be_written(daemon: Daemon, tmp_path: Path) -> None:
    daemon.harness.actor._desk._settings = daemon.harness.settings.model_copy(update={"data_dir": tmp_path / "x" / "y"})
    (tmp_path / "x").write_text("a file where a folder should be")
    daemon.harness.actor._desk._store._db.close()
    changed = daemon.order(OperatorVerb.KILL)
    assert changed.accepted
    assert daemon.lease.state is KILLED


def test_halt_and_reduce_are_durable_and_resume_runs(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path).ready()
    for verb, state in ((OperatorVerb.HALT, HALTED), (OperatorVerb.REDUCE, REDUCE)):
        assert daemon.order(verb).state is state
        successor = Daemon(tmp_path, clock=daemon.clock, incarnation=2)
        successor.books()
        successor.run(2)
        assert successor.lease.state is state
    assert successor.order(OperatorVerb.RESUME).state is RUN


def test_stop_halts_but_not_the_next_start(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path).ready()
    assert daemon.order(OperatorVerb.STOP).state is HALTED
    assert "stopping" in daemon.lease.reasons[0]
    assert not daemon.order(OperatorVerb.RESUME).accepted
    Daemon(tmp_path, clock=daemon.clock, incarnation=2).ready()


def test_a_resume_that_is_said_twice_resets_only_what_was_open_the_first_time(daemon: Daemon) -> None:
    resume = OperatorCommand("op-1-1-7", OperatorVerb.RESUME, "drill", "ada")
    for _ in range(2):
        daemon.harness.deliver(resume)
        daemon.signal(BreakerName.DAILY_LOSS, "*")
        daemon.harness.deliver(resume)
        assert daemon.lease.state is REDUCE
        told = daemon.harness.take("admin", StateChanged)
        assert told and all(one.accepted for one in told)  # type: ignore[attr-defined]
    successor = Daemon(daemon.harness.settings.data_dir, clock=daemon.clock, incarnation=2)
    successor.books()
    successor.run(2)
    successor.harness.deliver(resume)
    assert successor.lease.state is REDUCE


def test_every_command_is_audited_the_refused_too(daemon: Daemon, tmp_path: Path) -> None:
    daemon.order(OperatorVerb.RELEASE)
    daemon.order(OperatorVerb.HALT, reason="lunch")
    lines = ControlStore(tmp_path / "demo" / "control.db", epoch=1).audit_lines()
    assert lines == [("release", "ada", "drill", False), ("halt", "ada", "lunch", True)]


# --- the store -----------------------------------------------------------------------------------------------


def spoil_bytes(path: Path) -> None:
    path.write_bytes(b"not a database, however you look at it" * 100)


def spoil_state(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE operator SET state = 'FINE'")


def spoil_schema(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")


def spoil_length(path: Path) -> None:
    path.write_bytes(b"")
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def spoil_by_loss(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("spoil", [spoil_bytes, spoil_state, spoil_schema, spoil_length, spoil_by_loss])
def test_a_damaged_store_halts_pages_and_is_replaced_only_by_a_resume(tmp_path: Path, spoil) -> None:  # type: ignore[no-untyped-def]
    first = Daemon(tmp_path).ready()
    first.harness.actor._desk.close()
    spoil(tmp_path / "demo" / "control.db")
    daemon = Daemon(tmp_path, incarnation=2)
    daemon.books()
    daemon.run(2)
    assert daemon.lease.state is HALTED
    assert daemon.alerts[0].severity is Severity.PAGE
    assert "control store" in daemon.alerts[0].text
    assert daemon.order(OperatorVerb.RESUME).accepted
    assert daemon.lease.state is RUN
    daemon.harness.actor._desk.close()
    Daemon(tmp_path, incarnation=3).ready()


def test_a_kill_over_a_damaged_store_can_be_released_and_resumed(tmp_path: Path) -> None:
    Daemon(tmp_path).harness.actor._desk.close()
    spoil_bytes(tmp_path / "demo" / "control.db")
    daemon = Daemon(tmp_path, incarnation=2)
    assert daemon.order(OperatorVerb.KILL).state is KILLED
    assert daemon.order(OperatorVerb.RELEASE).state is HALTED
    assert daemon.order(OperatorVerb.RESUME).accepted


def test_a_store_that_refuses_writes_halts_until_it_takes_them(daemon: Daemon, tmp_path: Path) -> None:
    blocker = sqlite3.connect(tmp_path / "demo" / "control.db", isolation_level=None)
    daemon.harness.actor._desk._store._db.execute("PRAGMA busy_timeout = 0")
    blocker.execute("BEGIN IMMEDIATE")
    daemon.signal(BreakerName.VOLATILITY, "BTC-USD", by="guard.BTC-USD")
    assert daemon.lease.state is HALTED
    assert not daemon.order(OperatorVerb.RESUME).accepted
    blocker.execute("COMMIT")
    daemon.run(0.5)
    assert daemon.lease.state is RUN
    assert daemon.lease.state_of("BTC-USD") is REDUCE


# --- a start is no fault -------------------------------------------------------------------------------------


def test_a_connection_that_was_not_there_yet_holds_up_the_start_no_longer_than_it_takes(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.signal(BreakerName.USER_CHANNEL, "*", by="feed")
    daemon.books()
    daemon.run(2)
    assert daemon.lease.state is REDUCE
    daemon.signal(BreakerName.USER_CHANNEL, "*", tripped=False, by="feed")
    daemon.run(0.5)
    assert daemon.lease.state is RUN


@pytest.mark.parametrize(("incarnation", "seconds"), [(1, 20.0), (2, 1.0)])
def test_the_same_loss_later_or_under_a_restarted_watchdog_waits_out_its_hold(
    tmp_path: Path, incarnation: int, seconds: float
) -> None:
    daemon = Daemon(tmp_path, incarnation=incarnation).ready()
    daemon.run(seconds)
    daemon.signal(BreakerName.USER_CHANNEL, "*", by="feed")
    daemon.signal(BreakerName.USER_CHANNEL, "*", tripped=False, by="feed")
    daemon.run(6)
    assert daemon.lease.state is REDUCE
    daemon.run(2)
    assert daemon.lease.state is RUN


def test_a_latched_breaker_and_a_late_actor_are_not_settled_by_the_start(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    daemon.signal(BreakerName.EGRESS, "*", by="tracker")
    daemon.signal(BreakerName.EGRESS, "*", tripped=False, by="tracker")
    daemon.books()
    daemon.run(14)
    assert daemon.lease.state is HALTED


def test_a_halt_that_the_disk_refused_survives_the_death_of_the_watchdog(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path).ready()
    blocker = sqlite3.connect(tmp_path / "demo" / "control.db", isolation_level=None)
    daemon.harness.actor._desk._store._db.execute("PRAGMA busy_timeout = 0")
    blocker.execute("BEGIN EXCLUSIVE")
    assert daemon.order(OperatorVerb.HALT).accepted
    blocker.execute("ROLLBACK")  # the disk has room again before the next watchdog looks

    successor = Daemon(tmp_path, clock=daemon.clock, incarnation=2)
    successor.books()
    successor.run(2)
    assert successor.lease.state is HALTED
    assert "refused" in successor.lease.reasons[0]

    third = Daemon(tmp_path, clock=daemon.clock, incarnation=3)
    third.books()
    third.run(2)
    assert third.lease.state is HALTED  # by then it is on the disk
    assert third.order(OperatorVerb.RESUME).accepted
    third.run(1)
    assert third.lease.state is RUN


def test_a_store_that_vanished_while_something_was_unsaved_is_no_first_start(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path).ready()
    path = tmp_path / "demo" / "control.db"
    blocker = sqlite3.connect(path, isolation_level=None)
    daemon.harness.actor._desk._store._db.execute("PRAGMA busy_timeout = 0")
    blocker.execute("BEGIN EXCLUSIVE")
    daemon.order(OperatorVerb.HALT)
    for part in path.parent.glob("control.db*"):
        part.unlink()
    successor = Daemon(tmp_path, clock=daemon.clock, incarnation=2)
    successor.books()
    successor.run(2)
    assert successor.lease.state is HALTED


def test_differences_that_are_only_young_condemn_nobody_and_clear_nobody(daemon: Daemon) -> None:
    young = Difference("missing_fill", "f1", "nothing", "0.1", False)
    daemon.restart("tracker")
    daemon.harness.deliver(snapshot(daemon.clock.boot_ns()))
    daemon.harness.deliver(reconciled(daemon.clock.boot_ns(), ok=False, differences=(young,)))
    daemon.run(1)
    assert daemon.lease.state is REDUCE, "the restart waits for a comparison that agrees"
    daemon.harness.deliver(reconciled(daemon.clock.boot_ns()))
    daemon.run(1)
    assert daemon.lease.state is RUN, daemon.lease.reasons


# --- flows ---------------------------------------------------------------------------------------------------


def unexplained(at: int, *flows: OpenFlow, complete: bool = True) -> ReconcileReport:
    return replace(reconciled(at), flows=flows, complete=complete, ok=complete)


def test_an_unexplained_flow_stops_entries_alone_and_no_resume_lifts_it(daemon: Daemon) -> None:
    flow = OpenFlow("flow-1", "USD", Decimal(-500), Decimal(1000), Decimal(500), 0)
    daemon.harness.deliver(unexplained(daemon.clock.boot_ns(), flow))
    assert daemon.lease.state is REDUCE
    assert "run.py flows accept" in daemon.lease.reasons[0]
    daemon.order(OperatorVerb.RESUME)
    daemon.harness.deliver(unexplained(daemon.clock.boot_ns(), flow, complete=False))
    daemon.run(1)
    assert daemon.lease.state is REDUCE
    daemon.harness.deliver(replace(unexplained(daemon.clock.boot_ns(), complete=False), flows=None))
    assert daemon.lease.state is REDUCE  # what cannot be read is not nothing
    daemon.harness.deliver(unexplained(daemon.clock.boot_ns()))
    assert daemon.lease.state is RUN
