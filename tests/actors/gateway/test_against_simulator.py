"""The gateway against the simulator: real TLS, the official SDK, real threads."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from actors.clock import NS_PER_S
from actors.egress import boot_id, read_records
from actors.messages.base import Stamp
from actors.messages.health import Alert, BreakerName, BreakerSignal, TradingState
from actors.messages.market import Side
from actors.messages.orders import CancelOutcome, EditOutcome, OrderKind, OutcomeKind, OutcomeTaken, Role, SubmitOrder
from actors.messages.venue import QueryKind, VenueQuery
from simulator.testing import SimulatorProcess
from tests.actors.gateway.venue import LiveHarness, buy, cancel, edit, intent, sell, settings_for


@pytest.fixture(scope="module")
def running() -> Iterator[SimulatorProcess]:
    arguments = ["--public-rate", "0", "--private-rate", "0"]  # many gateways, one address
    with SimulatorProcess(frozen=True, balances={"USD": "10000", "BTC": "1"}, arguments=arguments) as simulator:
        yield simulator


@pytest.fixture
def venue(running: SimulatorProcess) -> Iterator[SimulatorProcess]:
    running.clear_faults()
    running.price("BTC-USD", "60000")
    yield running
    running.clear_faults()


@pytest.fixture
def gateway(venue: SimulatorProcess, tmp_path: Path) -> Iterator[LiveHarness]:
    harness = LiveHarness(settings_for(venue, tmp_path, clock_interval_s=600)).checked()
    yield harness
    harness.close()


_serial = iter(range(1, 10_000))


def name(role: str = "e") -> str:
    return f"td-a-1-{role}-{next(_serial)}"


def creates(venue: SimulatorProcess, client_order_id: str) -> int:
    return sum(
        row["client_order_id"] == client_order_id and row["method"] == "POST" for row in venue.requests("/orders")
    )


def booked(venue: SimulatorProcess, client_order_id: str) -> list[dict[str, object]]:
    return [order for order in venue.truth()["orders"] if order["client_order_id"] == client_order_id]


def stop_order(name_: str, size: str = "0.01") -> object:
    return intent(
        name_,
        side=Side.SELL,
        role=Role.PROTECTION,
        kind=OrderKind.STOP_LIMIT_GTC,
        size=size,
        limit="49000",
        stop="50000",
    )


def test_an_order_is_sent_filled_and_seen_in_every_listing(gateway: LiveHarness, venue: SimulatorProcess) -> None:
    mine = name()
    outcome = gateway.submit(buy(gateway.clock.boot_ns(), mine, limit="60500"))
    assert outcome.kind is OutcomeKind.DONE
    assert outcome.wire_boot_ns is not None
    assert [order["order_id"] for order in booked(venue, mine)] == [outcome.order_id]
    order = gateway.ask(QueryKind.ORDER, order_id=outcome.order_id).orders[0]
    assert (order.client_order_id, order.status, order.filled_size) == (mine, "FILLED", Decimal("0.001"))
    found = gateway.ask(QueryKind.ORDER, client_order_id=mine)
    assert [order.order_id for order in found.orders] == [outcome.order_id]
    fills = gateway.ask(QueryKind.FILLS_OF_ORDER, order_id=outcome.order_id).fills
    assert sum(fill.size for fill in fills) == Decimal("0.001")
    assert all(fill.commission > 0 for fill in fills)
    assert outcome.order_id in {f.order_id for f in gateway.ask(QueryKind.FILLS_SINCE).fills}


def test_an_order_the_venue_does_not_have_is_an_empty_answer_not_an_error(gateway: LiveHarness) -> None:
    answer = gateway.ask(QueryKind.ORDER, order_id="00000000-0000-0000-0000-000000000000")
    assert (answer.ok, answer.orders) == (True, ())


def test_every_kind_of_order_is_accepted_by_the_venue(gateway: LiveHarness, venue: SimulatorProcess) -> None:
    now = gateway.clock.boot_ns()
    gtd_end = gateway.clock.utc_ns() + 30 * NS_PER_S
    commands = [
        buy(now, name(), kind=OrderKind.LIMIT_GTD, limit="55000", end_utc_ns=gtd_end),  # type: ignore[arg-type]
        sell(now, stop_order(name("p"))),  # type: ignore[arg-type]
        sell(now, intent(name("x"), side=Side.SELL, role=Role.EXIT, kind=OrderKind.LIMIT_GTC, limit="70000")),
        sell(
            now,
            intent(
                name("p"), side=Side.SELL, role=Role.PROTECTION, kind=OrderKind.BRACKET_GTC, limit="70000", stop="50000"
            ),
        ),
    ]
    outcomes = [gateway.submit(command) for command in commands]
    assert [(o.kind, o.reason) for o in outcomes] == [(OutcomeKind.DONE, "")] * 4
    opened = {order.client_order_id: order for order in gateway.ask(QueryKind.OPEN_ORDERS).orders}
    for command in commands:
        shown = opened[command.intent.client_order_id]
        assert (shown.base_size, shown.limit_price) == (command.intent.base_size, command.intent.limit_price)
        assert shown.stop_price == command.intent.stop_price
    assert opened[commands[0].intent.client_order_id].end_utc_ns == pytest.approx(gtd_end, abs=1_000_000)


def test_a_refusal_carries_the_venues_reason(gateway: LiveHarness) -> None:
    outcome = gateway.submit(buy(gateway.clock.boot_ns(), name(), size="10"))
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "INSUFFICIENT_FUND")


def test_a_cancel_and_an_edit_reach_the_order(gateway: LiveHarness, venue: SimulatorProcess) -> None:
    mine = name("p")
    done = gateway.submit(sell(gateway.clock.boot_ns(), stop_order(mine)))  # type: ignore[arg-type]
    assert done.order_id is not None
    gateway.deliver(edit(mine, done.order_id, "0.01", "48000", "48500"))
    gateway.until(lambda: [m for m in gateway.sent["tracker"] if isinstance(m, EditOutcome)])
    edited = next(m for m in gateway.sent["tracker"] if isinstance(m, EditOutcome))
    assert (edited.kind, edited.reason) == (OutcomeKind.DONE, "")
    gateway.deliver(cancel(mine, done.order_id))
    gateway.until(lambda: [m for m in gateway.sent["tracker"] if isinstance(m, CancelOutcome)])
    gateway.until(lambda: booked(venue, mine)[0]["status"] == "CANCELLED")


def test_an_exit_is_not_edited_while_the_kill_latch_is_there(gateway: LiveHarness) -> None:
    gateway.settings.kill_file.touch()
    gateway.deliver(edit(name("x"), "v-1", "0.01", "48000"))
    gateway.until(lambda: [m for m in gateway.sent["tracker"] if isinstance(m, EditOutcome)])
    edited = next(m for m in gateway.sent["tracker"] if isinstance(m, EditOutcome))
    assert (edited.kind, edited.reason) == (OutcomeKind.NOT_SENT, "state_halted")


def test_a_flood_of_cancels_goes_out_in_few_requests_and_each_is_answered(
    gateway: LiveHarness, venue: SimulatorProcess
) -> None:
    orders = {name("p"): "" for _ in range(12)}
    for each in orders:
        done = gateway.submit(sell(gateway.clock.boot_ns(), stop_order(each, "0.001")))  # type: ignore[arg-type]
        orders[each] = str(done.order_id)
    before = len(venue.requests("batch_cancel"))
    for each, order_id in orders.items():
        gateway.deliver(cancel(each, order_id))
    gateway.deliver(cancel("td-a-1-p-8888", "00000000-0000-0000-0000-000000000000"))

    def outcomes() -> dict[str, OutcomeKind]:
        return {m.client_order_id: m.kind for m in gateway.sent["tracker"] if isinstance(m, CancelOutcome)}

    gateway.until(lambda: len(outcomes()) == 13)
    assert {outcomes()[each] for each in orders} == {OutcomeKind.DONE}
    assert outcomes()["td-a-1-p-8888"] is OutcomeKind.REFUSED
    assert len(venue.requests("batch_cancel")) - before <= 2


def test_a_cancel_of_an_unknown_order_is_refused_with_the_reason(gateway: LiveHarness) -> None:
    gateway.deliver(cancel("td-a-1-e-9999", "00000000-0000-0000-0000-000000000000"))
    gateway.until(lambda: [m for m in gateway.sent["tracker"] if isinstance(m, CancelOutcome)])
    outcome = next(m for m in gateway.sent["tracker"] if isinstance(m, CancelOutcome))
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "UNKNOWN_CANCEL_ORDER")


def test_a_cut_after_booking_is_unknown_and_then_found(gateway: LiveHarness, venue: SimulatorProcess) -> None:
    venue.fault("cut_after_booking", match={"path": "/orders"})
    mine = name()
    outcome = gateway.submit(buy(gateway.clock.boot_ns(), mine, limit="60500"))
    assert outcome.kind is OutcomeKind.UNKNOWN
    assert outcome.wire_boot_ns is not None
    found = gateway.ask(QueryKind.ORDER, client_order_id=mine).orders
    assert [order.client_order_id for order in found] == [mine]


def test_a_cut_before_booking_is_unknown_too(gateway: LiveHarness, venue: SimulatorProcess) -> None:
    venue.fault("cut_before_booking", match={"path": "/orders"})
    mine = name()
    assert gateway.submit(buy(gateway.clock.boot_ns(), mine)).kind is OutcomeKind.UNKNOWN
    assert gateway.ask(QueryKind.ORDER, client_order_id=mine).orders == ()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "status", "status": 401}, OutcomeKind.REFUSED),
        ({"kind": "status", "status": 403}, OutcomeKind.REFUSED),
        ({"kind": "status", "status": 429}, OutcomeKind.REFUSED),
        ({"kind": "status", "status": 500}, OutcomeKind.UNKNOWN),
        ({"kind": "status", "status": 503}, OutcomeKind.UNKNOWN),
        ({"kind": "html_200"}, OutcomeKind.UNKNOWN),
        ({"kind": "order_configuration_null"}, OutcomeKind.DONE),
    ],
)
def test_each_bad_answer_proves_only_what_it_proves(
    gateway: LiveHarness, venue: SimulatorProcess, fault: dict[str, object], expected: OutcomeKind
) -> None:
    venue.fault(**fault, match={"path": "/orders"})  # type: ignore[arg-type]
    mine = name()
    outcome = gateway.submit(buy(gateway.clock.boot_ns(), mine, limit="60500"))
    assert outcome.kind is expected
    if expected is OutcomeKind.REFUSED:
        assert booked(venue, mine) == []
    if expected is OutcomeKind.DONE:
        assert booked(venue, mine)[0]["order_id"] == outcome.order_id


def test_an_answer_that_never_comes_is_unknown_and_cancels_go_on(venue: SimulatorProcess, tmp_path: Path) -> None:
    harness = LiveHarness(settings_for(venue, tmp_path, read_timeout_s=0.4, call_deadline_s=3.0, workers=1)).checked()
    resting = name("p")
    done = harness.submit(sell(harness.clock.boot_ns(), stop_order(resting)))  # type: ignore[arg-type]
    venue.fault("slow", delay_s=2.0, when="after", match={"path": "/orders"})
    mine = name()
    harness.deliver(buy(harness.clock.boot_ns(), mine, limit="60500"))
    assert done.order_id is not None
    harness.deliver(cancel(resting, done.order_id))
    harness.until(lambda: [m for m in harness.sent["tracker"] if isinstance(m, CancelOutcome)], 2.0)
    harness.until(lambda: harness.outcomes(mine))
    assert harness.outcomes(mine)[-1].kind is OutcomeKind.UNKNOWN
    harness.close()


@pytest.mark.parametrize(
    ("state", "age_s", "reason"),
    [
        (TradingState.RUN, 3.0, "lease_stale"),
        (TradingState.REDUCE_ONLY, 0.0, "state_reduce_only"),
        (TradingState.HALTED, 0.0, "state_halted"),
        (TradingState.KILLED, 0.0, "state_killed"),
    ],
)
def test_an_entry_without_a_running_fresh_lease_never_reaches_the_wire(
    gateway: LiveHarness, venue: SimulatorProcess, state: TradingState, age_s: float, reason: str
) -> None:
    gateway.lease(state, age_s)
    mine = name()
    outcome = gateway.submit(buy(gateway.clock.boot_ns(), mine))
    assert (outcome.kind, outcome.reason, creates(venue, mine)) == (OutcomeKind.NOT_SENT, reason, 0)


def test_the_kill_file_blocks_entries_and_lets_protection_pass(gateway: LiveHarness, venue: SimulatorProcess) -> None:
    gateway.settings.kill_file.touch()
    mine, protection, exit_ = name(), name("p"), name("x")
    assert gateway.submit(buy(gateway.clock.boot_ns(), mine)).reason == "killed"
    order = intent(exit_, side=Side.SELL, role=Role.EXIT, limit="59000")
    assert gateway.submit(sell(gateway.clock.boot_ns(), order)).reason == "state_killed"
    assert gateway.submit(sell(gateway.clock.boot_ns(), stop_order(protection))).kind is OutcomeKind.DONE  # type: ignore[arg-type]
    assert (creates(venue, mine), creates(venue, exit_)) == (0, 0)


def test_the_last_check_runs_after_the_connection_is_there(venue: SimulatorProcess, tmp_path: Path) -> None:
    """The kill file appears while the request waits for its connection: nothing may leave any more."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    upstream = ("127.0.0.1", int(venue.rest.rsplit(":", 1)[1]))
    killed = tmp_path / "KILL"

    def forward() -> None:
        while True:
            client, _ = listener.accept()
            if armed.is_set():
                killed.touch()  # after the TCP connect, before the TLS handshake ends
            server = socket.create_connection(upstream)
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=_copy, args=(source, target), daemon=True).start()

    armed = threading.Event()
    threading.Thread(target=forward, daemon=True).start()
    settings = settings_for(venue, tmp_path, idle_max_s=0.001)  # every request connects anew
    where = settings.venue.model_copy(update={"rest": f"localhost:{port}"})
    harness = LiveHarness(settings.model_copy(update={"venue": where})).checked()
    armed.set()
    mine = name()
    outcome = harness.submit(buy(harness.clock.boot_ns(), mine))
    assert (outcome.kind, outcome.reason) == (OutcomeKind.NOT_SENT, "killed")
    assert creates(venue, mine) == 0
    assert mine not in {r.client_order_id for r in read_records(harness.settings.store_dir / "egress.log").records}
    harness.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    finally:
        target.close()


def test_a_repeated_command_is_sent_once_and_answered_again(gateway: LiveHarness, venue: SimulatorProcess) -> None:
    mine = name()
    command = buy(gateway.clock.boot_ns(), mine, limit="60500")
    gateway.deliver(command)
    gateway.deliver(command)
    gateway.until(lambda: gateway.outcomes(mine))
    gateway.deliver(command)
    assert len(gateway.outcomes(mine)) >= 2
    assert len({(o.kind, o.order_id) for o in gateway.outcomes(mine)}) == 1
    assert creates(venue, mine) == 1


@pytest.mark.parametrize(("refusing", "kind"), [(False, OutcomeKind.DONE), (True, OutcomeKind.UNKNOWN)])
def test_an_id_that_the_venue_has_already_makes_no_second_order_under_either_of_its_readings(
    gateway: LiveHarness, venue: SimulatorProcess, refusing: bool, kind: OutcomeKind
) -> None:
    mine = name()
    limit = {"base_size": "0.001", "limit_price": "55000", "post_only": False}
    first = venue.order(
        client_order_id=mine, product_id="BTC-USD", side="BUY", order_configuration={"limit_limit_gtc": limit}
    )
    if refusing:
        venue.fault("duplicate_client_order_id", match={"symbol": "BTC-USD"})
    outcome = gateway.submit(buy(gateway.clock.boot_ns(), mine, limit="55000"))
    assert outcome.kind is kind, outcome
    assert [order["order_id"] for order in booked(venue, mine)] == [first["order_id"]]
    found = gateway.ask(QueryKind.ORDER, client_order_id=mine).orders
    assert [order.order_id for order in found] == [first["order_id"]], "what the tracker's search will find"
    assert outcome.order_id in (None, first["order_id"])


def test_the_hours_requests_count_over_the_death_of_the_gateway(gateway: LiveHarness) -> None:
    for _ in range(20):
        assert gateway.ask(QueryKind.OPEN_ORDERS).ok
    left = gateway.actor._budget.left(gateway.clock.boot_ns())[1]  # type: ignore[attr-defined]
    gateway.close()
    second = LiveHarness(gateway.settings, incarnation=2).start()
    assert second.actor._budget.left(second.clock.boot_ns())[1] <= left  # type: ignore[attr-defined]
    second.close()
    (gateway.settings.store_dir / "requests.hours").write_bytes(b"garbage")
    third = LiveHarness(gateway.settings, incarnation=3).start()
    limit = gateway.settings.gateway.requests_per_hour
    assert third.actor._budget.left(third.clock.boot_ns())[1] <= limit * 0.16  # type: ignore[attr-defined]
    third.close()


def test_a_new_gateway_never_sends_what_its_predecessor_was_about_to_send(
    gateway: LiveHarness, venue: SimulatorProcess
) -> None:
    mine = name()
    command = buy(gateway.clock.boot_ns(), mine, limit="60500")
    gateway.submit(command)
    gateway.close()
    second = LiveHarness(gateway.settings, incarnation=2).checked()
    outcome = second.submit(command)
    assert (outcome.kind, creates(venue, mine)) == (OutcomeKind.UNKNOWN, 1)
    second.close()


def test_outcomes_are_repeated_until_taken(gateway: LiveHarness) -> None:
    mine = name()
    gateway.submit(buy(gateway.clock.boot_ns(), mine, size="10"))
    gateway.until(lambda: len(gateway.outcomes(mine)) >= 2, 3.0)
    gateway.deliver(OutcomeTaken(mine, "submit"))
    told = len(gateway.outcomes(mine))
    gateway.actor._repeat_outcomes()  # type: ignore[attr-defined]
    assert len(gateway.outcomes(mine)) == told


def test_a_second_gateway_does_not_start_while_the_first_lives(gateway: LiveHarness) -> None:
    second = LiveHarness(
        gateway.settings.model_copy(
            update={"gateway": gateway.settings.gateway.model_copy(update={"lock_wait_s": 0.2})}
        )
    )
    second.start()
    assert not second.background
    with pytest.raises(RuntimeError, match="held by another process"):
        second.until(lambda: False, 2.0)


def test_a_gateway_whose_lock_file_was_replaced_sends_nothing(gateway: LiveHarness, venue: SimulatorProcess) -> None:
    (gateway.settings.store_dir / "gateway.lock").unlink()
    mine = name()
    assert gateway.submit(buy(gateway.clock.boot_ns(), mine)).reason == "lock_lost"
    assert creates(venue, mine) == 0


def test_nothing_leaves_when_the_egress_record_cannot_be_written(gateway: LiveHarness, venue: SimulatorProcess) -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), gateway.actor._egress._fd)  # type: ignore[attr-defined]
    mine = name()
    outcome = gateway.submit(buy(gateway.clock.boot_ns(), mine))
    assert (outcome.kind, creates(venue, mine)) == (OutcomeKind.NOT_SENT, 0)
    signals = [m for m in gateway.sent["watchdog"] if isinstance(m, BreakerSignal)]
    assert [s.tripped for s in signals if s.breaker is BreakerName.EGRESS] == [True]


def test_a_venue_that_refuses_connections_leaves_the_order_unsent(venue: SimulatorProcess, tmp_path: Path) -> None:
    harness = LiveHarness(settings_for(venue, tmp_path)).checked()
    dead = socket.create_server(("127.0.0.1", 0))
    port = dead.getsockname()[1]
    dead.close()
    for lane in harness.actor._dispatcher.lanes:  # type: ignore[attr-defined]
        lane.door.client.base_url = f"localhost:{port}"
    outcome = harness.submit(buy(harness.clock.boot_ns(), name()))
    assert outcome.kind is OutcomeKind.NOT_SENT
    assert "Connection" in outcome.reason
    harness.close()


def test_a_venue_with_a_certificate_of_another_authority_gets_nothing(
    venue: SimulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", venue.ca_file)  # must not widen what is trusted
    settings = settings_for(venue, tmp_path)
    harness = LiveHarness(settings.model_copy(update={"venue": settings.venue.model_copy(update={"ca_file": None})}))
    harness.start()
    answer = harness.ask(QueryKind.BALANCES)
    assert not answer.ok
    assert "CERTIFICATE_VERIFY_FAILED" in answer.error
    harness.close()


def test_a_failed_read_is_never_an_empty_account(gateway: LiveHarness, venue: SimulatorProcess) -> None:
    for status in (401, 500):
        venue.fault("status", status=status, match={"path": "/accounts"})
        answer = gateway.ask(QueryKind.BALANCES)
        assert (answer.ok, answer.balances) == (False, ())
        assert str(status) in answer.error


def test_a_key_that_can_transfer_is_refused_in_live(venue: SimulatorProcess, tmp_path: Path) -> None:
    venue.fault("can_transfer")
    harness = LiveHarness(settings_for(venue, tmp_path, mode="live")).checked()
    outcome = harness.submit(buy(harness.clock.boot_ns(), name()))
    assert (outcome.kind, outcome.reason) == (OutcomeKind.NOT_SENT, "key_not_checked")
    assert any(isinstance(m, Alert) for m in harness.sent["alerts"])
    auth = [m for m in harness.sent["watchdog"] if isinstance(m, BreakerSignal) and m.breaker is BreakerName.AUTH]
    assert auth[-1].tripped
    harness.close()


def test_a_skewed_clock_trips_its_breaker(venue: SimulatorProcess, tmp_path: Path) -> None:
    venue.fault("clock_skew", offset_s=0.4)
    harness = LiveHarness(settings_for(venue, tmp_path))
    harness.start()
    harness.until(
        lambda: [m for m in harness.sent["watchdog"] if isinstance(m, BreakerSignal) and m.breaker is BreakerName.CLOCK]
    )
    signal_ = next(
        m for m in harness.sent["watchdog"] if isinstance(m, BreakerSignal) and m.breaker is BreakerName.CLOCK
    )
    assert signal_.tripped
    harness.close()


def test_dry_run_sends_nothing_and_says_what_it_would_send(venue: SimulatorProcess, tmp_path: Path) -> None:
    settings = settings_for(venue, tmp_path, mode="dry_run")
    harness = LiveHarness(settings.model_copy(update={"venue": settings.venue.model_copy(update={"key_file": None})}))
    harness.start()
    harness.lease()
    mine = name()
    outcome = harness.submit(buy(harness.clock.boot_ns(), mine))
    assert (outcome.kind, outcome.reason, creates(venue, mine)) == (OutcomeKind.REFUSED, "dry_run", 0)
    assert harness.ask(QueryKind.PRODUCTS, products=("BTC-USD",)).rules[0].product_id == "BTC-USD"
    assert harness.ask(QueryKind.BEST_BID_ASK, products=("BTC-USD",)).quotes[0].bid > 0
    assert harness.ask(QueryKind.FEES).fees.tier == "assumed"  # type: ignore[union-attr]
    assert harness.ask(QueryKind.BALANCES).balances[0].available == settings.capital.allotted
    harness.close()


def test_a_kill_after_the_write_leaves_the_egress_record(venue: SimulatorProcess, tmp_path: Path) -> None:
    venue.fault("slow", delay_s=5.0, when="before", match={"path": "/orders"})
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.actors.gateway.venue import *\n"
        "class Where:\n    rest, ca_file, key_file = sys.argv[1:4]\n"
        "h = LiveHarness(settings_for(Where(), Path(sys.argv[4]))).checked()\n"
        "h.deliver(buy(h.clock.boot_ns(), 'td-a-1-e-777'))\n"
        "h.until(lambda: h.actor._egress.count, 5.0)\n"
        "print('written', flush=True)\nimport time; time.sleep(30)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, venue.rest, venue.ca_file, venue.key_file, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"written\n"
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    child.stdout.close()
    assert "td-a-1-e-777" in read_records(tmp_path / "demo" / "egress.log").created(boot_id())


def test_a_new_tracker_gets_the_outcomes_and_the_old_ones_queue_ends(
    gateway: LiveHarness, venue: SimulatorProcess
) -> None:
    taken = name()
    gateway.submit(buy(gateway.clock.boot_ns(), taken, size="10"))
    held = name()
    gateway.actor._budget._block(gateway.clock.boot_ns(), 20.0)  # type: ignore[attr-defined]
    gateway.deliver(buy(gateway.clock.boot_ns(), held, life_s=20.0))
    told = len(gateway.outcomes(taken))
    gateway.restart_peer("tracker")
    outcome = gateway.outcomes(held)[-1]
    assert (outcome.kind, outcome.reason, creates(venue, held)) == (OutcomeKind.NOT_SENT, "tracker_restarted", 0)
    assert len(gateway.outcomes(taken)) > told


def test_a_stale_trackers_command_is_answered_not_sent(gateway: LiveHarness, venue: SimulatorProcess) -> None:
    gateway.restart_peer("tracker")
    mine = name()
    gateway.deliver(buy(gateway.clock.boot_ns(), mine))
    assert gateway.outcomes(mine)[-1].kind is OutcomeKind.NOT_SENT
    assert creates(venue, mine) == 0


def test_queries_wait_behind_nothing_but_their_budget(gateway: LiveHarness) -> None:
    for n in range(3):
        gateway.deliver(VenueQuery(f"n{n}", QueryKind.FEES, Stamp("risk", 1)))
    gateway.until(lambda: len(gateway.sent["risk"]) == 3, 5.0)
    assert isinstance(buy(0), SubmitOrder)
