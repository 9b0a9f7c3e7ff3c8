"""The reconciler's questions, answered by the real gateway from the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from actors.clock import SystemClock
from actors.messages.orders import OrderState, OutcomeKind
from actors.messages.reconcile import ReadLedger, ReconcileReport, VenueEvidence
from actors.messages.venue import VenueAnswer, VenueQuery
from actors.reconciler.actor import ReconcilerActor
from simulator.testing import SimulatorProcess
from tests.actors.gateway.venue import LiveHarness, buy, settings_for
from tests.actors.harness import ActorHarness
from tests.actors.reconciler.facts import facts, ledger_order


@pytest.fixture(scope="module")
def venue() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(frozen=True, arguments=["--public-rate", "0", "--private-rate", "0"]) as simulator:
        simulator.price("BTC-USD", "60000")
        yield simulator


@pytest.fixture
def rooms(venue: SimulatorProcess, tmp_path: Path) -> Iterator[tuple[LiveHarness, ActorHarness]]:
    settings = settings_for(venue, tmp_path)
    gateway = LiveHarness(settings).checked()
    peers = ("tracker", "gateway", "watchdog", "admin", "alerts")
    reconciler = ActorHarness(ReconcilerActor, settings=settings, peers=peers, name="reconciler", clock=SystemClock())  # type: ignore[arg-type]
    reconciler.start()
    yield gateway, reconciler
    gateway.close()


def compare(rooms: tuple[LiveHarness, ActorHarness], **ledger: object) -> ReconcileReport:
    gateway, reconciler = rooms
    reconciler.actor._begin()  # type: ignore[attr-defined]
    ask = reconciler.take("tracker", ReadLedger)[0]
    assert isinstance(ask, ReadLedger)
    reconciler.deliver(facts(ask.request_id, epoch=1, **ledger))
    queries = reconciler.take("gateway", VenueQuery)
    for query in queries:
        gateway.deliver(query)

    def answers() -> list[object]:
        return [m for m in gateway.sent["reconciler"] if isinstance(m, VenueAnswer)]

    gateway.until(lambda: len(answers()) == len(queries), 10.0)
    for answer in gateway.take("reconciler", VenueAnswer):
        reconciler.deliver(answer)
    reconciler.run_workers()
    for again in reconciler.take("tracker", ReadLedger):
        assert isinstance(again, ReadLedger)
        reconciler.deliver(facts(again.request_id, epoch=1, **ledger))
    report = reconciler.take("watchdog", ReconcileReport)[-1]
    assert isinstance(report, ReconcileReport)
    return report


def test_the_venue_is_read_whole_and_differences_are_true(
    rooms: tuple[LiveHarness, ActorHarness], venue: SimulatorProcess
) -> None:
    gateway, reconciler = rooms
    assert compare(rooms, head=0).ok
    outcome = gateway.submit(buy(gateway.clock.boot_ns(), "td-a-1-e-1", limit="60500"))
    assert outcome.kind is OutcomeKind.DONE
    filled = ledger_order(
        "td-a-1-e-1",
        OrderState.FILLED,
        order_id=outcome.order_id,
        filled_size=Decimal("0.001"),
        created_utc_ns=gateway.clock.utc_ns(),
    )
    entries = tuple(str(fill["entry_id"]) for fill in venue.truth()["fills"])
    agreed = compare(rooms, orders=(filled,), fills=entries)
    assert (agreed.ok, agreed.differences, agreed.compared_fills) == (True, (), len(entries))

    unaware = compare(rooms, head=0)
    assert {d.kind for d in unaware.differences} >= {"beyond_head", "missing_fill"}
    evidence = reconciler.take("tracker", VenueEvidence)[-1]
    assert isinstance(evidence, VenueEvidence)
    assert {fill.entry_id for fill in evidence.fills} == set(entries)

    venue.order(
        client_order_id="td-b-1-e-1",
        product_id="BTC-USD",
        side="BUY",
        order_configuration={"limit_limit_gtc": {"base_size": "0.001", "limit_price": "50000", "post_only": False}},
    )
    second_host = compare(rooms, orders=(filled,), fills=entries)
    assert not second_host.ok
    assert [d.kind for d in second_host.differences if d.beyond_tolerance] == ["foreign_host"]
