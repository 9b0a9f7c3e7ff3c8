"""Lanes, deadlines and the record before the first byte, without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from coinbase.rest import RESTClient

from actors.clock import NS_PER_S, MovedClock
from actors.egress import EgressWriter, Verb, read_records
from actors.gateway.budget import CANCEL, ENTER, PROTECT, Budget
from actors.gateway.dispatch import Dispatcher, Job, Lane, LaneKind, StuckCallsError
from actors.gateway.wire import HeldBackError, Recorded, WireCall, WireResult
from actors.instruments import Meter
from tests.actors.harness import InlineWorker


class QuietDoor:
    """A door whose venue says 200 to everything."""

    def __init__(self, clock: MovedClock) -> None:
        self.clock = clock

    def call(self, call: WireCall, request: Callable[[RESTClient], object]) -> WireResult:
        kind, error = "answer", ""
        try:
            call.before_first_byte(b"{}")
        except HeldBackError as held:
            kind, error = "held_back", str(held)
        call.finished = True
        status = 200 if call.wrote else None
        now = self.clock.boot_ns()
        return WireResult(call.wrote, status, {}, b"{}", error, kind, call.wire_boot_ns, call.wire_utc_ns, now, now)

    def warm(self) -> None: ...


class Bench:
    """A dispatcher with one lane of each kind; results by job name."""

    def __init__(self, budget: Budget | None = None) -> None:
        self.clock = MovedClock()
        self.workers = {kind: InlineWorker(kind.value) for kind in LaneKind}
        self.results: dict[str, WireResult] = {}
        self.order: list[str] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.dispatcher = Dispatcher(
            clock=self.clock,
            budget=budget or Budget(100, 9000),
            lanes=[Lane(kind.value, kind, self.workers[kind], QuietDoor(self.clock)) for kind in LaneKind],
            make_door=lambda: QuietDoor(self.clock),
            later=lambda seconds, handler: self.timers.append((seconds, handler)),
            meter=Meter(),
            deadline_s=8.0,
            on_result=lambda job, result: None,
        )

    def put(self, name: str, kind: LaneKind = LaneKind.ORDER, priority: int = PROTECT, **fields: object) -> WireCall:
        call = WireCall(self.clock)

        def done(result: WireResult) -> None:
            assert name not in self.results, "answered twice"
            self.results[name] = result
            self.order.append(name)

        now = self.clock.boot_ns()
        self.dispatcher.put(Job(kind, priority, name, lambda client: None, call, done, now, **fields))  # type: ignore[arg-type]
        return call

    def run(self) -> None:
        while sum(worker.run() for worker in self.workers.values()):
            pass


def test_a_deadline_before_the_first_byte_is_proof_that_nothing_left() -> None:
    bench = Bench()
    call = bench.put("stop")
    bench.workers[LaneKind.ORDER].time_out()
    assert (bench.results["stop"].wrote, bench.results["stop"].kind) == (False, "held_back")
    with pytest.raises(HeldBackError):  # the thread that hangs comes to life and may not write any more
        call.before_first_byte(b"{}")


def test_a_deadline_after_the_first_byte_is_no_answer() -> None:
    bench = Bench()
    call = bench.put("stop")
    call.before_first_byte(b"{}")
    bench.workers[LaneKind.ORDER].time_out()
    assert (bench.results["stop"].wrote, bench.results["stop"].status) == (True, None)


def test_a_hanging_lane_gets_a_new_door_and_goes_on() -> None:
    bench = Bench()
    old = bench.dispatcher.lanes[1].door
    bench.put("first")
    bench.put("second")
    bench.workers[LaneKind.ORDER].time_out()
    assert bench.dispatcher.lanes[1].door is not old
    bench.run()
    assert bench.results["second"].status == 200


def test_two_calls_that_still_hang_end_the_gateway_after_their_answers() -> None:
    bench = Bench()
    bench.put("first")
    bench.put("second")
    bench.workers[LaneKind.ORDER].time_out()
    with pytest.raises(StuckCallsError):
        bench.workers[LaneKind.ORDER].time_out()
    assert set(bench.results) == {"first", "second"}


def test_a_hang_that_ended_is_not_held_against_the_gateway() -> None:
    bench = Bench()
    first = bench.put("first")
    bench.put("second")
    bench.workers[LaneKind.ORDER].time_out()
    first.finished = True
    bench.workers[LaneKind.ORDER].time_out()
    assert bench.dispatcher.abandoned == 2


def test_a_cancel_overtakes_everything_that_waits() -> None:
    bench = Bench(Budget(2, 9000))
    bench.put("a", priority=ENTER)
    bench.run()
    bench.put("entry", priority=ENTER)
    bench.put("cancel", LaneKind.CANCEL, CANCEL)
    bench.run()
    assert bench.order == ["a", "cancel"]
    bench.clock.advance(1.1)
    bench.timers[-1][1]()
    bench.run()
    assert bench.order == ["a", "cancel", "entry"]


def test_what_expires_in_the_queue_is_answered_and_never_starts() -> None:
    bench = Bench()
    bench.put("running")
    bench.put("late", expires_boot_ns=bench.clock.boot_ns() + NS_PER_S)
    bench.clock.advance(1.5)
    bench.dispatcher.sweep()
    assert (bench.results["late"].wrote, bench.results["late"].error) == (False, "expired")
    bench.run()
    assert bench.order == ["late", "running"]


def test_dropped_commands_never_write_even_when_they_had_started() -> None:
    bench = Bench()
    bench.put("started", commander_incarnation=1)
    bench.put("queued", commander_incarnation=1)
    bench.put("of_the_new_one", commander_incarnation=2)
    bench.put("read", LaneKind.READ)
    bench.dispatcher.drop(lambda job: job.commander_incarnation == 1, "tracker_restarted")
    bench.run()
    wrote = {name: result.wrote for name, result in bench.results.items()}
    assert wrote == {"started": False, "queued": False, "of_the_new_one": True, "read": True}


def test_a_request_that_would_be_written_twice_is_held_back() -> None:
    call = WireCall(MovedClock())
    call.before_first_byte(b"{}")
    with pytest.raises(HeldBackError):
        call.before_first_byte(b"{}")


def test_the_record_is_on_file_before_the_first_byte_and_not_when_the_gate_says_no(tmp_path: Path) -> None:
    writer = EgressWriter(tmp_path / "egress.log", "boot", 1)
    clock = MovedClock()
    good = WireCall(clock, lambda: None, Recorded(Verb.CREATE, "yes"), writer)
    good.before_first_byte(b"{}")
    bad = WireCall(clock, lambda: "killed", Recorded(Verb.CREATE, "no"), writer)
    with pytest.raises(HeldBackError, match="killed"):
        bad.before_first_byte(b"{}")
    assert read_records(tmp_path / "egress.log").created("boot") == {"yes"}
    assert (good.wrote, bad.wrote) == (True, False)
