"""Runs one actor without processes: moved time, recorded sends, worker calls run when the test says so.

harness = ActorHarness(RiskActor, settings=settings, peers=["tracker", "strategist"])
harness.start()
harness.deliver(message)
harness.advance(1.0)            # fires the timers that come due, in order
assert harness.sent["tracker"] == [...]
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

from thespian.actors import ActorAddress, WakeupMessage

from actors.actor import TradingActor
from actors.clock import NS_PER_S, MovedClock
from actors.messages.health import Directory, Heartbeat, Initialize, MetricsReport, Peer, Started
from config.settings import Settings, make_settings


class ActorLeftError(Exception):
    """The actor ended its process with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the actor left with exit code {code}")
        self.code = code


class InlineWorker:
    """Stands where an actor's thread would be: calls wait until the test runs them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.abandoned = 0
        self.waiting: list[tuple[Callable[[], object], Callable[[object, BaseException | None], None]]] = []

    def submit(
        self,
        work: Callable[[], object],
        done: Callable[[object, BaseException | None], None],
        deadline_s: float,
    ) -> None:
        self.waiting.append((work, done))

    def queued(self) -> int:
        return len(self.waiting)

    def run(self) -> int:
        ran = 0
        while self.waiting:
            work, done = self.waiting.pop(0)
            ran += 1
            try:
                result = work()
            except Exception as error:
                done(None, error)
            else:
                done(result, None)
        return ran

    def time_out(self) -> None:
        """The oldest call passes its deadline."""
        _, done = self.waiting.pop(0)
        self.abandoned += 1
        done(None, TimeoutError(f"{self.name}: no answer by the deadline"))


class _Transport:
    def __init__(self) -> None:
        self.last_sent_boot_ns = 0
        self.watched: set[int] = set()

    def watch(self, fd: int) -> None:
        self.watched.add(fd)

    def unwatch(self, fd: int) -> None:
        self.watched.discard(fd)

    def stats(self) -> SimpleNamespace:
        return SimpleNamespace(queued_in=0, queued_out=0)


class _Ref:
    """What Thespian calls ``_myRef``."""

    def __init__(self, harness: ActorHarness) -> None:
        self.harness = harness
        self.transport = _Transport()
        self.address = ActorAddress("self")
        self.globalName = None

    def actor_send(self, target: object, message: object) -> None:
        self.harness.record(str(target.addressDetails), message)  # type: ignore[attr-defined]

    def wakeupAfter(self, period: timedelta, payload: object = None) -> None:  # noqa: N802 - Thespian's name
        due = self.harness.clock.boot_ns() + round(period.total_seconds() * NS_PER_S)
        self.harness.wakeups.append(due)


class ActorHarness:
    """One actor under test. ``sent[name]`` holds what it sent to the peer of that name, oldest first.

    Heartbeats, metric reports and ``Started`` are kept apart in ``background``.
    """

    def __init__(
        self,
        actor_class: type[TradingActor],
        *,
        settings: Settings,
        peers: Sequence[str] = (),
        name: str = "subject",
        incarnation: int = 1,
        epoch: int = 1,
        args: dict[str, object] | None = None,
        clock: MovedClock | None = None,
    ) -> None:
        self.clock = clock or MovedClock()
        self.settings = settings
        self.sent: dict[str, list[object]] = defaultdict(list)
        self.background: list[object] = []
        self.wakeups: list[int] = []
        self.workers: dict[str, InlineWorker] = {}
        self.directory_version = 0
        self.actor = actor_class()
        self.actor.clock = self.clock
        self.actor._myRef = _Ref(self)
        self.actor.worker = self._worker  # type: ignore[method-assign, assignment]
        self.actor.leave = self._leave  # type: ignore[method-assign]
        self.peers = {peer: Peer(peer, 1, 1000 + n, ActorAddress(peer)) for n, peer in enumerate(peers)}
        self._initialize = Initialize(
            name=name,
            incarnation=incarnation,
            supervisor="parent",
            parent=ActorAddress("parent"),
            settings=settings,
            args=args or {},
            peers=tuple(self.peers.values()),
            epoch=epoch,
        )

    def start(self) -> ActorHarness:
        """Initialize the actor (restore included)."""
        self.deliver(self._initialize)
        return self

    def deliver(self, message: object, sender: object = "tester") -> None:
        """Hand one message to the mailbox; what a handler raises comes out here instead of a crash."""
        self.actor._receive(message, ActorAddress(sender) if isinstance(sender, str) else sender)

    def advance(self, seconds: float) -> None:
        """Move time, firing timers at their due moments."""
        end = self.clock.boot_ns() + round(seconds * NS_PER_S)
        while True:
            due = min((at for at in self.wakeups if at <= end), default=None)
            if due is None:
                break
            self.wakeups.remove(due)
            if due > self.clock.boot_ns():
                self.clock.advance((due - self.clock.boot_ns()) / NS_PER_S)
            self.deliver(WakeupMessage(timedelta(0)), "self")
        if end > self.clock.boot_ns():
            self.clock.advance((end - self.clock.boot_ns()) / NS_PER_S)

    def run_workers(self) -> int:
        """Run every submitted worker call, those they cause included; returns how many ran."""
        total = 0
        while True:
            ran = sum(worker.run() for worker in self.workers.values())
            if not ran:
                return total
            total += ran

    def take(self, name: str, kind: type | None = None) -> list[object]:
        """What was sent to ``name`` (of class ``kind``) since the last take; removes it."""
        messages = self.sent[name]
        taken = [message for message in messages if kind is None or isinstance(message, kind)]
        self.sent[name] = [message for message in messages if not (kind is None or isinstance(message, kind))]
        return taken

    def restart_peer(self, name: str) -> None:
        """The peer comes back with the next incarnation (or appears for the first time)."""
        known = self.peers.get(name)
        incarnation = known.incarnation + 1 if known else 1
        self.peers[name] = Peer(name, incarnation, 2000 + incarnation, ActorAddress(name))
        self._publish()

    def remove_peer(self, name: str) -> None:
        self.peers.pop(name, None)
        self._publish()

    def record(self, target: str, message: object) -> None:
        if isinstance(message, Heartbeat | MetricsReport | Started):
            self.background.append(message)
        else:
            self.sent[target].append(message)

    def _publish(self) -> None:
        self.directory_version += 1
        self.deliver(Directory(self.directory_version, tuple(self.peers.values())))

    def _worker(self, name: str) -> InlineWorker:
        return self.workers.setdefault(name, InlineWorker(name))

    def _leave(self, code: int) -> NoReturn:
        raise ActorLeftError(code)


def test_settings(data_dir: Path, **sections: object) -> Settings:
    """Settings for tests: two instruments, everything else default unless given as raw sections."""
    raw: dict[str, object] = {"instruments": [{"symbol": "BTC-USD"}, {"symbol": "ETH-USD"}], **sections}
    return make_settings(raw, source="test", data_dir=data_dir)


test_settings.__test__ = False  # type: ignore[attr-defined]  # a factory, not a test
