"""The supervisor actor under random schedules of starts, deaths, stops and verbs, in moved time, without processes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from thespian.actors import ActorAddress, ChildActorExited

from actors.messages.health import ChildState, Heartbeat, Initialize, Started, StopChild
from supervision.administration import DeleteChild, RestartChild, StartChild, TerminateChild
from supervision.children import Child
from supervision.restart import ChildSpec, GiveUp, Intensity, Restart, Strategy, SupervisorSpec
from supervision.supervisor import ESCALATED_EXIT, GAVE_UP_EXIT, START_FAILED_EXIT, SupervisorActor
from tests.actors.harness import ActorHarness, ActorLeftError, test_settings
from tests.supervision.factories import beat

SEEDS = 30
STEPS = 100


@dataclass
class Process:
    """A child's process as the kernel would know it."""

    address: ActorAddress
    name: str = ""
    incarnation: int = 0
    up: bool = False
    status: int | None = None
    killed: bool = False


@dataclass
class World:
    """All processes ever made, and what the supervisor did to them."""

    rng: random.Random
    made: list[Process] = field(default_factory=list)

    def of(self, address: object) -> Process:
        return next(process for process in self.made if process.address == address)

    def living(self) -> list[Process]:
        return [process for process in self.made if process.status is None]


class Supervisor(SupervisorActor):
    """On a world instead of an operating system: all that it asks of one is overridden."""

    world: World

    def createActor(self, path: str) -> ActorAddress:  # noqa: N802
        process = Process(ActorAddress(f"p{len(self.world.made)}"))
        self.world.made.append(process)
        return process.address

    def _child_pid(self, address: ActorAddress) -> int:
        return 1000 + self.world.made.index(self.world.of(address))

    def _child_status(self, address: ActorAddress) -> int | None:
        return self.world.of(address).status

    def _kill_child(self, address: ActorAddress) -> None:
        self.world.of(address).killed = True

    def _spread(self, limit_s: float) -> float:
        return self.world.rng.uniform(0.0, limit_s)

    def _file_crash(self, child: Child, status: int | None) -> None:
        """No disk here."""


class Schedule:
    """One seeded run."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.rng = random.Random(seed)
        self.world = World(self.rng)
        strategy = self.rng.choice(list(Strategy))
        count = 1 if strategy is Strategy.SIMPLE_ONE_FOR_ONE else self.rng.randint(1, 5)
        children = tuple(self._spec(f"c{n}") for n in range(count))
        limits = Intensity(self.rng.randint(0, 6), 5.0, 0.05, 1.0, retry_s=10.0)
        spec = SupervisorSpec("sup", children, strategy, limits)
        self.harness = ActorHarness(
            Supervisor, settings=test_settings(folder, log={"level": "critical"}), name="sup", args={"spec": spec}
        )
        self.harness.actor.world = self.world
        self.supervisor = self.harness.actor
        assert isinstance(self.supervisor, Supervisor)
        self.left: int | None = None
        self.stopping = False
        self.added = 0

    def _spec(self, name: str) -> ChildSpec:
        give_up = self.rng.choice([GiveUp.LEAVE_DOWN, GiveUp.LEAVE_DOWN, GiveUp.ESCALATE, GiveUp.END_DAEMON])
        restart = self.rng.choice([Restart.PERMANENT, Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY])
        stop_s = self.rng.choice([0.0, 0.5, None])
        return ChildSpec(name, "x.Y", restart=restart, give_up=give_up, shutdown_s=stop_s, start_deadline_s=2.0)

    def run(self) -> None:
        self._guarded(self.harness.start)
        for _ in range(STEPS):
            if self.left is not None:
                break
            self._guarded(self._step)
        if self.left is None:
            self._settle()
        if self.left is None:
            self.stopping = True
            before = len(self.world.made)
            self._guarded(lambda: self.harness.deliver(StopChild("test", 5.0), "parent"))
            self._settle(60)
            assert self.left == 0, f"it stopped with {self.left}"
            assert len(self.world.made) == before, "something was started while stopping"
        assert self.left in (0, ESCALATED_EXIT, GAVE_UP_EXIT, START_FAILED_EXIT)
        assert not self.world.living(), "it left before its children were gone"

    def _guarded(self, step: object) -> None:
        if self.left is not None:
            return
        try:
            step()  # type: ignore[operator]
        except ActorLeftError as left:
            self.left = left.code
        self._learn()
        names = [process.name for process in self.world.living()]
        assert len(set(names)) == len(names), f"two processes of one child: {names}"

    def _learn(self) -> None:
        for process in self.world.made:
            if process.name:
                continue
            for message in self.harness.sent[str(process.address.addressDetails)]:
                if isinstance(message, Initialize):
                    process.name, process.incarnation = message.name, message.incarnation

    def _asked_to_stop(self, process: Process) -> bool:
        sent = self.harness.sent[str(process.address.addressDetails)]
        return any(isinstance(message, StopChild) for message in sent)

    def _step(self) -> None:
        living = self.world.living()
        choice = self.rng.random()
        if living and choice < 0.35:
            self._develop(self.rng.choice(living))
        elif living and choice < 0.5:
            self._end(self.rng.choice(living), self.rng.choice([0, 70, -9]))
        elif choice < 0.6:
            self._verb()
        else:
            self._pass(self.rng.choice([0.01, 0.1, 0.3]))

    def _develop(self, process: Process) -> None:
        """What a healthy process does next."""
        if process.killed:
            self._end(process, -9)
        elif self._asked_to_stop(process):
            self._end(process, 0)
        elif not process.up:
            process.up = True
            pid = 1000 + self.world.made.index(process)
            self.harness.deliver(Started(process.name, process.incarnation, pid, process.address), process.address)

    def _end(self, process: Process, status: int) -> None:
        process.status = -9 if process.killed else status
        self.harness.deliver(ChildActorExited(process.address), process.address)

    def _verb(self) -> None:
        assert isinstance(self.supervisor, Supervisor)
        known = list(self.supervisor.children)
        name = self.rng.choice([*known, "unknown"])
        child = self.supervisor.children.get(name)
        if self.supervisor.spec.is_dynamic and self.rng.random() < 0.5:
            request: object = StartChild(request_id="x", supervisor="sup")
        elif self.rng.random() < 0.3:
            self.added += 1
            request = StartChild(request_id="x", supervisor="sup", spec=self._spec(f"added{self.added % 3}"))
        elif self.rng.random() < 0.5:
            request = TerminateChild(request_id="x", supervisor="sup", name=name, pid=child.pid if child else 0)
        elif self.rng.random() < 0.7:
            request = RestartChild(request_id="x", supervisor="sup", name=name)
        else:
            request = DeleteChild(request_id="x", supervisor="sup", name=name)
        self.harness.deliver(request, "parent")

    def _pass(self, seconds: float) -> None:
        """Time goes by, and everybody who is up beats."""
        for process in self.world.living():
            if process.up and not process.killed:
                message: Heartbeat = beat(process.name, self.harness.clock.boot_ns(), incarnation=process.incarnation)
                self.harness.deliver(message, process.address)
        self.harness.advance(seconds)

    def _settle(self, rounds: int = 120) -> None:
        """Everything is healthy from here on: what shall run, must run in the end."""
        for _ in range(rounds):
            for process in self.world.living():
                self._guarded(lambda process=process: self._develop(process) if process.status is None else None)
            self._guarded(lambda: self._pass(0.3))
            if self.left is not None:
                return
        if self.stopping:
            return
        assert isinstance(self.supervisor, Supervisor)
        assert not self.supervisor.operations.current(), "nothing is left half done"
        assert self.supervisor._ready
        for name, child in self.supervisor.children.items():
            assert child.state in (ChildState.RUNNING, ChildState.STOPPED), f"{name} is {child.state}"
            assert not child.restarting
            assert (child.state is ChildState.RUNNING) == child.alive
            assert not child.stopped_by and child.added_by is None, f"{name}: somebody waits for an answer"


@pytest.mark.parametrize("block", range(5))
def test_random_schedules_leave_nothing_half_done_and_nothing_alive(block: int, tmp_path: Path) -> None:
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        try:
            Schedule(seed, tmp_path).run()
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {error}") from error
