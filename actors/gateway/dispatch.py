"""Queues and lanes: which request goes out next, on which thread, and what happens when it never comes back.

A lane is one thread with one session and has at most one request at a time. Cancels have a lane of their own.
All lanes share the account's request budget; the lowest priority number goes first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from coinbase.rest import RESTClient

from actors.clock import NS_PER_MS, NS_PER_S, Clock
from actors.gateway.budget import Budget, PriorityQueue
from actors.gateway.wire import WireCall, WireResult
from actors.instruments import Meter

MAX_STUCK = 2


class StuckCallsError(RuntimeError):
    """Two abandoned calls still hang: this process is no good any more, its supervisor starts a new one."""


class LaneKind(StrEnum):
    CANCEL = "cancel"
    ORDER = "order"
    READ = "read"


class DoorPort(Protocol):
    """What a lane uses of a door."""

    def call(self, call: WireCall, request: Callable[[RESTClient], object]) -> WireResult: ...

    def warm(self) -> None: ...


class WorkerPort(Protocol):
    """What a lane uses of a worker thread."""

    def submit(
        self, work: Callable[[], object], done: Callable[[object, BaseException | None], None], deadline_s: float
    ) -> None: ...


@dataclass(slots=True, eq=False)
class Job:
    """One request. ``done`` is called in the mailbox exactly once."""

    lane: LaneKind
    priority: int
    endpoint: str
    request: Callable[[RESTClient], object]
    call: WireCall
    done: Callable[[WireResult], None]
    queued_boot_ns: int
    expires_boot_ns: int | None = None
    commander_incarnation: int | None = None
    """Incarnation of the tracker that ordered it; None for reads and cancels."""
    starting: Callable[[], None] | None = None
    """Called in the mailbox right before it goes to its thread."""


@dataclass(slots=True)
class Lane:
    name: str
    kind: LaneKind
    worker: WorkerPort
    door: DoorPort
    job: Job | None = None
    warming: bool = False

    @property
    def idle(self) -> bool:
        return self.job is None and not self.warming


@dataclass(slots=True)
class Dispatcher:
    """Runs in the mailbox. ``later`` sets the one timer it needs; ``make_door`` replaces a stuck lane's door."""

    clock: Clock
    budget: Budget
    lanes: Sequence[Lane]
    make_door: Callable[[], DoorPort]
    later: Callable[[float, Callable[[], None]], None]
    meter: Meter
    deadline_s: float
    on_result: Callable[[Job, WireResult], None]
    on_take: Callable[[], None] = lambda: None
    """One request goes out now."""
    queues: dict[LaneKind, PriorityQueue[Job]] = field(
        default_factory=lambda: {kind: PriorityQueue[Job]() for kind in LaneKind}
    )
    abandoned: int = 0
    _stuck: list[WireCall] = field(default_factory=list)

    def put(self, job: Job) -> None:
        self.queues[job.lane].put(job.priority, job)
        self.pump()

    def pump(self) -> None:
        """Start whatever may start now."""
        while True:
            found = self._next()
            if found is None:
                return
            priority, lane = found
            now = self.clock.boot_ns()
            wait_ns = self.budget.wait_ns(now, priority)
            if wait_ns:
                self.later(wait_ns / NS_PER_S, self.pump)
                return
            job = self.queues[lane.kind].pop()
            if job.expires_boot_ns is not None and now > job.expires_boot_ns:
                job.done(self._held_back(job, "expired"))
                continue
            self.budget.take(now)
            self.on_take()
            self._start(lane, job, now)

    def sweep(self) -> None:
        """Answer the jobs whose time ran out in the queue."""
        now = self.clock.boot_ns()
        self.drop(lambda job: job.expires_boot_ns is not None and now > job.expires_boot_ns, "expired")

    def drop(self, condition: Callable[[Job], bool], reason: str) -> None:
        """Hold back every job that ``condition`` names and whose first byte has not gone out."""
        for queue in self.queues.values():
            gone = [job for job in queue.items() if condition(job)]
            queue.remove(gone)
            for job in gone:
                job.done(self._held_back(job, reason))
        for lane in self.lanes:
            if lane.job is not None and condition(lane.job):
                lane.job.call.revoke(reason)  # its own thread answers that it was held back

    def warm(self) -> None:
        """Keep a fresh connection on the first idle lane of orders and of cancels."""
        for kind in (LaneKind.CANCEL, LaneKind.ORDER):
            lane = next((lane for lane in self.lanes if lane.kind is kind), None)
            if lane is not None and lane.idle:
                self._warm(lane)

    def queued(self) -> int:
        return sum(len(queue) for queue in self.queues.values())

    def in_flight(self) -> int:
        return sum(lane.job is not None for lane in self.lanes)

    def _next(self) -> tuple[int, Lane] | None:
        found: tuple[int, Lane] | None = None
        for kind, queue in self.queues.items():
            first = queue.peek()
            if first is None or (found is not None and found[0] <= first[0]):
                continue
            lane = next((lane for lane in self.lanes if lane.kind is kind and lane.idle), None)
            if lane is not None:
                found = (first[0], lane)
        return found

    def _start(self, lane: Lane, job: Job, now: int) -> None:
        lane.job = job
        if job.starting is not None:
            job.starting()
        self.meter.observe("budget_wait_ms", (now - job.queued_boot_ns) / NS_PER_MS)
        door = lane.door
        lane.worker.submit(
            lambda: door.call(job.call, job.request),
            lambda result, error: self._ended(lane, job, result, error),
            self.deadline_s,
        )

    def _ended(self, lane: Lane, job: Job, result: object, error: BaseException | None) -> None:
        lane.job = None
        if isinstance(error, TimeoutError):
            self.abandoned += 1
            self._stuck = [call for call in self._stuck if not call.finished] + [job.call]
            lane.door = self.make_door()  # the old session belongs to the thread that hangs in it
            held = job.call.revoke("deadline")
            result = self._held_back(job, "no connection by the deadline") if held else self._lost(job)
        elif error is not None:
            raise error
        assert isinstance(result, WireResult)
        self.on_result(job, result)
        job.done(result)
        if sum(not call.finished for call in self._stuck) >= MAX_STUCK:
            raise StuckCallsError(f"{MAX_STUCK} calls hang past their deadline of {self.deadline_s:g} s")
        self.pump()

    def _warm(self, lane: Lane) -> None:
        lane.warming = True
        door = lane.door

        def ended(_: object, error: BaseException | None) -> None:
            lane.warming = False
            if isinstance(error, TimeoutError):
                lane.door = self.make_door()
            self.pump()  # a failed warm-up proves nothing: the next request connects by itself

        lane.worker.submit(door.warm, ended, self.deadline_s)

    def _held_back(self, job: Job, reason: str) -> WireResult:
        return self._no_answer(job, "held_back", reason, wrote=False)

    def _lost(self, job: Job) -> WireResult:
        return self._no_answer(job, "deadline", f"no answer within {self.deadline_s:g} s", wrote=True)

    def _no_answer(self, job: Job, kind: str, reason: str, *, wrote: bool) -> WireResult:
        return WireResult(
            wrote=wrote,
            status=None,
            headers={},
            body=b"",
            error=reason,
            kind=kind,
            wire_boot_ns=job.call.wire_boot_ns,
            wire_utc_ns=job.call.wire_utc_ns,
            answered_boot_ns=self.clock.boot_ns(),
            answered_utc_ns=self.clock.utc_ns(),
        )
