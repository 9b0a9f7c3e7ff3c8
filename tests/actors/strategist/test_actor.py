"""The strategist's mailbox, with the strategy in its real process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from actors.messages.books import Position, RoundTripClosed
from actors.messages.health import Alert, TradingState
from actors.messages.market import Bar, Side, TickRefusal
from actors.messages.orders import Proposal, Protection, Refusal, Role
from actors.strategist.actor import StrategistActor
from tests.actors.harness import ActorHarness, test_settings
from tests.actors.strategist.factories import D, guarded, lease, snapshot

ROOM = "tests.actors.strategist.strategies"
Start = Callable[..., ActorHarness]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[ActorHarness] = []

    def build(strategy: str, peers: tuple[str, ...] = ("risk", "alerts"), **values: object) -> ActorHarness:
        section = {"strategy": strategy, "decide_timeout_s": 0.5, **values}
        harness = ActorHarness(
            StrategistActor,
            settings=test_settings(tmp_path, strategist=section),
            peers=peers,
            name="strategist",
        )
        made.append(harness)
        return harness.start()

    yield build
    for harness in made:
        harness.actor.strategy.kill()


def feed(harness: ActorHarness, state: TradingState = TradingState.RUN, bid: str = "100") -> None:
    now = harness.clock.boot_ns()
    harness.deliver(lease(now, state))
    harness.deliver(snapshot(now, sequence=now))
    harness.deliver(guarded(at_boot_ns=now, bid=bid))


def cycle(harness: ActorHarness, **inputs: object) -> list[object]:
    """Let one decision happen; returns the proposals sent."""
    count = harness.actor.cycle
    while harness.actor.cycle == count:
        feed(harness, **inputs)  # type: ignore[arg-type]
        harness.advance(0.5)
    harness.run_workers()
    return harness.take("risk", Proposal)


def counted(harness: ActorHarness, name: str) -> dict[str, float]:
    """Counts by the value of the metric's only label."""
    report = harness.actor.meter.take("strategist", 1)
    return {} if report is None else {k[1][0][1]: v for k, v in report.counters.items() if k[0] == name}


def test_an_idea_becomes_a_proposal_with_its_quote_and_identity(start: Start) -> None:
    harness = start(f"{ROOM}:Good")
    first, second = cycle(harness), cycle(harness)
    assert len(first) == len(second) == 1
    proposal, later = first[0], second[0]
    assert isinstance(proposal, Proposal)
    assert isinstance(later, Proposal)
    assert (proposal.symbol, proposal.side, proposal.role) == ("BTC-USD", Side.BUY, Role.ENTRY)
    assert proposal.notional == D("30")
    assert proposal.stop_price == D("98.00")
    assert proposal.quote.bid == D("100")
    assert proposal.correlation_id.startswith("tick-1.")
    assert proposal.proposal_id != later.proposal_id
    assert proposal.stamp.name == "strategist"


@pytest.mark.parametrize(
    ("name", "kind"), [("Raising", "crash"), ("Spinning", "overrun"), ("Leaving", "died"), ("Babbling", "garbage")]
)
def test_a_failing_strategy_costs_its_cycle_and_nothing_else(start: Start, name: str, kind: str) -> None:
    harness = start(f"{ROOM}:{name}")
    assert cycle(harness) == []
    reasons = counted(harness, "no_trade_total")
    assert reasons == {f"strategy_{kind}": 1}
    alerts = harness.take("alerts", Alert)
    assert [alert.key for alert in alerts if isinstance(alert, Alert)] == [f"strategy:{kind}"]
    cycle(harness)
    assert harness.actor.strategy.starts == 2


@pytest.mark.parametrize(("state", "reason"), [(TradingState.HALTED, "halted"), (TradingState.KILLED, "halted")])
def test_a_halted_daemon_does_not_ask(start: Start, state: TradingState, reason: str) -> None:
    harness = start(f"{ROOM}:Good")
    assert cycle(harness, state=state) == []
    assert counted(harness, "no_trade_total") == {reason: 1}


def test_without_a_risk_manager_nothing_is_asked(start: Start) -> None:
    harness = start(f"{ROOM}:Good", peers=())
    cycle(harness)
    assert counted(harness, "no_trade_total") == {"no_risk": 1}


def test_a_decision_that_is_still_running_is_not_asked_twice(start: Start) -> None:
    harness = start(f"{ROOM}:Good")
    while harness.actor.cycle < 2:
        feed(harness)
        harness.advance(0.5)
    assert len(harness.workers["strategy"].waiting) == 1
    assert counted(harness, "no_trade_total") == {"busy": 1}


def test_cycles_keep_their_jittered_distance(start: Start) -> None:
    harness = start(f"{ROOM}:Silent", cycle_s=10)
    starts: list[int] = []
    for _ in range(1500):
        before = harness.actor.cycle
        harness.advance(0.1)
        if harness.actor.cycle != before:
            starts.append(harness.actor.last_cycle_boot_ns)
    gaps = [(b - a) / 1e9 for a, b in pairwise(starts)]
    assert len(gaps) >= 11
    assert all(8 <= gap <= 12 for gap in gaps)
    assert len(set(gaps)) > 5


def test_refusals_and_bars_reach_the_view_and_old_bars_do_not_come_twice(start: Start) -> None:
    harness = start(f"{ROOM}:Silent", history_bars=2)
    bars = [Bar("BTC-USD", 60, n * 60, (n + 1) * 60, D(1), D(1), D(1), D(1), D(1), 1, True) for n in (1, 2, 2, 1, 3)]
    for bar in bars:
        harness.deliver(bar)
    harness.deliver(Refusal("p", "c", "BTC-USD", "cooldown", "", "risk"))
    harness.deliver(RoundTripClosed("BTC-USD", D("-1"), "stop", 1, "c"))
    while not harness.workers["strategy"].waiting:
        feed(harness)
        harness.advance(0.5)
    work = harness.workers["strategy"].waiting[0][0]
    shown = next(cell.cell_contents for cell in work.__closure__ or () if hasattr(cell.cell_contents, "symbols"))
    assert [bar.start_utc_ns for bar in shown["BTC-USD"].bars] == [120, 180]
    assert shown["BTC-USD"].last_refusal == "cooldown"


def test_a_quote_too_old_is_not_shown(start: Start) -> None:
    harness = start(f"{ROOM}:Silent")
    harness.deliver(guarded(at_boot_ns=harness.clock.boot_ns()))
    for _ in range(30):
        now = harness.clock.boot_ns()
        harness.deliver(lease(now))
        harness.deliver(snapshot(now, sequence=now))
        harness.advance(0.5)
        harness.run_workers()
    assert counted(harness, "no_trade_total").get("no_quotes", 0) >= 1


def test_inputs_of_another_epoch_are_ignored(start: Start) -> None:
    harness = start(f"{ROOM}:Silent")
    harness.deliver(lease(harness.clock.boot_ns(), epoch=9))
    harness.deliver(snapshot(harness.clock.boot_ns(), epoch=9))
    assert harness.actor.lease is None
    assert harness.actor.snapshot is None


def test_the_demo_strategy_buys_with_stop_and_target_within_three_cycles(start: Start) -> None:
    harness = start("actors.strategist.demo:DemoStrategy")
    found: list[object] = []
    for _ in range(4):
        found += cycle(harness)
    assert found
    proposal = found[0]
    assert isinstance(proposal, Proposal)
    assert proposal.stop_price is not None
    assert proposal.target_price is not None
    assert proposal.stop_price < proposal.quote.bid < proposal.quote.ask < proposal.target_price
    assert proposal.max_hold_s == 120


def test_the_demo_strategy_does_not_buy_what_it_holds_or_what_is_blocked(start: Start) -> None:
    harness = start("actors.strategist.demo:DemoStrategy")
    position = Position("BTC-USD", "BTC", D(1), D(100), D(0), D(0), Protection.PROTECTED, 0, D(98), D(103), None)
    for n in range(8):
        now = harness.clock.boot_ns()
        harness.deliver(lease(now))
        held = (position,) if n < 4 else ()
        harness.deliver(snapshot(now, sequence=now, positions=held))
        harness.deliver(guarded(at_boot_ns=now, blocks=() if n < 4 else (TickRefusal.WIDE_SPREAD,)))
        before = harness.actor.cycle
        while harness.actor.cycle == before:
            harness.deliver(lease(harness.clock.boot_ns()))
            harness.advance(0.5)
        harness.run_workers()
    assert harness.take("risk", Proposal) == []
    assert Decimal(counted(harness, "no_trade_total")["no_ideas"]) == 8


def test_stopping_ends_the_strategys_process(start: Start) -> None:
    from actors.messages.health import StopChild
    from tests.actors.harness import ActorLeftError

    harness = start(f"{ROOM}:Good")
    cycle(harness)
    process = harness.actor.strategy._process
    assert process is not None
    with pytest.raises(ActorLeftError):
        harness.deliver(StopChild("test", 1.0))
    assert process.wait(timeout=5) == -9
