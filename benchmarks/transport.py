"""Round trip, one-way rate and restart time of our transport, beside stock ``multiprocTCPBase`` in the same run.

``python -m benchmarks.transport`` prints; ``run()`` gives the figures. Stock listens on 0.0.0.0 and unpickles what
comes, so it runs in a network namespace of its own; where that is not allowed it is skipped, visibly.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Protocol

from thespian.actors import Actor, ActorSystem, ChildActorExited, WakeupMessage

ROUND_TRIPS = 2000
BURST = 20_000
STOCK_BURST = 2_000
BATCH = 500
RESTARTS = 30
BUDGET = {"round_trip_p50_us": 100.0, "loaded_p99_us": 2000.0, "burst_per_s": 20_000.0, "restart_p50_ms": 60.0,
          "restart_p99_ms": 250.0, "burst_ratio": 20.0, "round_trip_ratio": 10.0}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tick:
    delivery: ClassVar[str] = "acknowledged"
    symbol: str
    price: str
    size: str
    sequence: int

    def __str__(self) -> str:
        return "Tick"


@dataclass(frozen=True, slots=True)
class Ping:
    delivery: ClassVar[str] = "acknowledged"
    number: int


@dataclass(frozen=True, slots=True)
class Begin:
    what: str
    count: int
    target: object
    pause_s: float = 0.0


class Sink(Actor):
    """Answers a ping, counts ticks and reports every full batch."""

    def __init__(self) -> None:
        self.ticks = 0

    def receiveMessage(self, message: object, sender: object) -> None:  # noqa: N802 - Thespian's name
        if isinstance(message, Tick):
            self.ticks += 1
            if self.ticks % BATCH == 0:
                self.send(sender, ("batch", self.ticks))
        elif isinstance(message, Ping):
            self.send(sender, message)


class Source(Actor):
    """Measures round trips and bursts to a sink, and makes background load."""

    def receiveMessage(self, message: object, sender: object) -> None:  # noqa: N802 - Thespian's name
        if isinstance(message, Begin):
            self.boss, self.job, self.times, self.sent = sender, message, [], 0
            self.began = time.perf_counter()
            if message.what == "round_trips":
                self.ping()
            elif message.what == "burst":
                self.batch()
                self.batch()
            else:
                self.load()
        elif isinstance(message, Ping):
            self.times.append(time.perf_counter() - self.at)
            if len(self.times) == self.job.count:
                self.send(self.boss, sorted(self.times))
            elif self.job.pause_s:
                self.wakeupAfter(timedelta(seconds=self.job.pause_s), "ping")
            else:
                self.ping()
        elif isinstance(message, tuple) and self.job.what == "burst":
            if message[1] >= self.job.count:
                self.send(self.boss, self.job.count / (time.perf_counter() - self.began))
            else:
                self.batch()
        elif isinstance(message, WakeupMessage):
            self.ping() if message.payload == "ping" else self.load()

    def ping(self) -> None:
        self.at = time.perf_counter()
        self.send(self.job.target, Ping(len(self.times)))

    def batch(self) -> None:
        for _ in range(min(BATCH, self.job.count - self.sent)):
            self.sent += 1
            self.send(self.job.target, Tick("BTC-USD", "64250.01", "0.00012", self.sent))

    def load(self) -> None:
        """1,000 ticks a second, ten at a time."""
        due = int((time.perf_counter() - self.began) * 1000)
        while self.sent < min(due, self.job.count):
            self.sent += 1
            self.send(self.job.target, Tick("BTC-USD", "64250.01", "0.00012", self.sent))
        if self.sent < self.job.count:
            self.wakeupAfter(timedelta(milliseconds=10), "load")


class Restarter(Actor):
    """Kills its child and times the first message that the replacement handles."""

    def receiveMessage(self, message: object, sender: object) -> None:  # noqa: N802 - Thespian's name
        if isinstance(message, Begin):
            self.boss, self.left, self.times, self.killed = sender, message.count, [], 0.0
            self.start_child()
        elif isinstance(message, tuple):
            if self.killed:
                self.times.append(time.perf_counter() - self.killed)
            if len(self.times) == self.left:
                self.send(self.boss, sorted(self.times))
                return
            self.pid = message[1]
            self.wakeupAfter(timedelta(milliseconds=20))
        elif isinstance(message, WakeupMessage):
            self.killed = time.perf_counter()
            os.kill(self.pid, signal.SIGKILL)
        elif isinstance(message, ChildActorExited):
            self.start_child()

    def start_child(self) -> None:
        self.send(self.createActor(Sleeper), "who")


class Sleeper(Actor):
    def receiveMessage(self, message: object, sender: object) -> None:  # noqa: N802 - Thespian's name
        if message == "who":
            self.send(sender, ("pid", os.getpid()))


class System(Protocol):
    def create_actor(self, actor_class: type) -> object: ...
    def ask(self, target: object, message: object, timeout_s: float) -> object: ...


def measure(system: System, burst: int, round_trips: int) -> dict[str, float]:
    """All figures of one system base."""
    sink, source, loader = (system.create_actor(kind) for kind in (Sink, Source, Source))
    asked = _asking(system)
    asked(sink, Ping(0), 10)
    idle = asked(source, Begin("round_trips", round_trips, sink), 60)
    rate = asked(source, Begin("burst", burst, sink), 120)
    quiet = system.create_actor(Sink)
    asked(quiet, Ping(0), 10)
    system.ask(loader, Begin("load", 3000, sink), 0.0)
    loaded = asked(source, Begin("round_trips", 200, quiet, 0.01), 120)
    restarts = asked(system.create_actor(Restarter), Begin("restart", RESTARTS, None), 60)
    return {
        "round_trip_p50_us": _percentile(idle, 50) * 1e6,
        "round_trip_p99_us": _percentile(idle, 99) * 1e6,
        "loaded_p50_us": _percentile(loaded, 50) * 1e6,
        "loaded_p99_us": _percentile(loaded, 99) * 1e6,
        "burst_per_s": float(rate),
        "restart_p50_ms": _percentile(restarts, 50) * 1e3,
        "restart_p99_ms": _percentile(restarts, 99) * 1e3,
    }


def _asking(system: System) -> Callable[[object, object, float], object]:
    def asked(target: object, message: object, timeout_s: float) -> object:
        answer = system.ask(target, message, timeout_s)
        if answer is None:
            raise RuntimeError(f"no answer to {message} within {timeout_s} s")
        return answer

    return asked


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


class _Stock:
    """Stock Thespian behind the same two calls."""

    def __init__(self) -> None:
        self._system = ActorSystem("multiprocTCPBase", {"Admin Port": 19_755}, logDefs={"version": 1})

    def create_actor(self, actor_class: type) -> object:
        return self._system.createActor(actor_class)

    def ask(self, target: object, message: object, timeout_s: float) -> object:
        if not timeout_s:
            return self._system.tell(target, message)
        return self._system.ask(target, message, timedelta(seconds=timeout_s))

    def close(self) -> None:
        self._system.shutdown()


def _stock_main() -> None:
    with socket.socket() as probe:  # lo is down in a new network namespace
        fcntl.ioctl(probe, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS: IFF_UP | IFF_RUNNING
    stock = _Stock()
    try:
        print(json.dumps(measure(stock, STOCK_BURST, 500)))
    finally:
        stock.close()


def _run_stock() -> dict[str, float] | dict[str, str]:
    unshare = shutil.which("unshare")
    if unshare is None:
        return {"skipped": "unshare is not installed"}
    environment = dict(os.environ, THESPIAN_BASE_IPADDR="127.0.0.1", THESPLOG_FILE=os.devnull)
    command = [unshare, "-n", "-p", "-f", "--kill-child", sys.executable, "-m", "benchmarks.transport", "--stock"]
    root = Path(__file__).resolve().parent.parent
    try:
        done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=180)
        return json.loads(done.stdout.strip().splitlines()[-1])
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        return {"skipped": f"{type(error).__name__}: {error}"[:300]}


def run() -> dict[str, object]:
    """Measure both bases; keys ``ours``, ``stock`` (or its ``skipped`` reason), ``ratios``, ``budget``."""
    from supervision.system import start_system

    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    with start_system(directory) as system:
        ours = measure(system, BURST, ROUND_TRIPS)  # type: ignore[arg-type]
    shutil.rmtree(directory, ignore_errors=True)
    stock = _run_stock()
    ratios = {}
    if "skipped" not in stock:
        ratios = {
            "burst_ratio": ours["burst_per_s"] / float(stock["burst_per_s"]),
            "round_trip_ratio": float(stock["round_trip_p50_us"]) / ours["round_trip_p50_us"],
        }
    return {"ours": ours, "stock": stock, "ratios": ratios, "budget": BUDGET}


def main() -> None:
    if "--stock" in sys.argv:
        _stock_main()
        return
    result = run()
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    # Actors must be importable under their module's name, not as __main__.
    from benchmarks.transport import main as imported_main

    imported_main()
