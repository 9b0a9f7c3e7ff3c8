"""TradingActor: what every actor of the daemon has in common.

At most once: whatever a handler raises becomes a crash record and the process leaves with exit code 70; no
handler runs twice, no half-changed state survives. A handler therefore persists first and sends last.
"""

from __future__ import annotations

import heapq
import os
import re
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, NoReturn, cast
from zlib import crc32

from thespian.actors import (
    Actor,
    ActorExitRequest,
    ChildActorExited,
    DeadEnvelope,
    PoisonMessage,
    WakeupMessage,
    WatchMessage,
)

from actors import crash
from actors.clock import NS_PER_MS, NS_PER_S, Clock, SystemClock
from actors.instruments import HandlerWatch, Meter, resident_bytes
from actors.log import Log
from actors.messages.base import Command, Stamp
from actors.messages.control import OperatorAnswer, OperatorRequest
from actors.messages.delivery import Undelivered
from actors.messages.health import (
    Directory,
    Heartbeat,
    Initialize,
    Peer,
    Started,
    StartFailed,
    StartIgnored,
    StopChild,
)
from actors.ports import EventPort, TransportPort, Worker
from config.settings import Settings

CRASH_EXIT = 70
US_NS = 1_000
BEAT_GRID_NS = 250 * NS_PER_MS
MAX_STASHED = 10_000
"""Messages that may wait for ``restore``; more means that starting hangs, and the actor crashes instead."""

MAX_REASON = 300
"""Characters of a failed start's reason that the supervisor hears; the crash record has all of it."""

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


class UnknownMessageError(TypeError):
    """A message arrived for which the actor has no handler: a crash, not a silence."""


class IgnoreStart(Exception):  # noqa: N818 - not an error: OTP's ``ignore``
    """Raised by ``restore``: there is nothing to do for this actor. It leaves with 0 and is not restarted."""


if TYPE_CHECKING:

    class _Base:
        """What is used of Thespian's untyped Actor: without it no attribute of any actor would be checked."""

        def send(self, address: object, message: object) -> None: ...
        def wakeupAfter(self, period: timedelta, payload: object = None) -> None: ...  # noqa: N802 - Thespian's name
        def createActor(self, of: str, **options: object) -> object: ...  # noqa: N802 - Thespian's name
        @property
        def myAddress(self) -> object: ...  # noqa: N802 - Thespian's name

        _myRef: Any  # noqa: N815 - Thespian's name
else:
    _Base = Actor


class TradingActor(_Base):
    """Base of all actors. A room overrides ``restore``, ``on_<message>``, ``progress``, ``on_stop``.

    Services: ``tell``/``reply``, ``every``/``after``/``cancel_timer``, ``worker``/``events`` (threads),
    ``log``, ``meter``, ``clock``, ``settings``, ``stamp``, ``peers``.
    """

    beat_interval_s: float = 0.25
    handles_while_starting: bool = False
    """Supervisors only: messages are handled before ``ready``, since starting is their work."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "?"
        self.incarnation = 0
        self.epoch = 0
        self.settings: Settings = cast(Settings, None)
        self.args: dict[str, object] = {}
        self.parent: object = None
        self.clock: Clock = SystemClock()
        self.log = Log("?")
        self.meter = Meter()
        self.peers: dict[str, Peer] = {}
        self.state = "starting"
        self._started_by: Initialize | None = None
        self._ready = False
        self._stash: deque[tuple[object, object]] = deque()
        self._handlers: dict[type, Callable[[object, object], None]] = {}
        self._watch = HandlerWatch()
        self._timers: dict[str, tuple[int, int, float | None, Callable[[], None]]] = {}
        self._timer_heap: list[tuple[int, int, str]] = []
        self._wakeups: list[int] = []
        self._serial = count(1)
        self._events: EventPort | None = None
        self._beats = 0
        self._beat_lateness_ms = 0.0
        self._memory = 0
        self._directory_version = -1

    # --- what a room overrides -------------------------------------------------------------------------

    def restore(self) -> bool:
        """Rebuild state from its owner, before the first message. False: ``ready()`` is called later."""
        return True

    def started(self) -> None:
        """Called once, after restore, when the actor is ready: set timers here."""

    def progress(self) -> dict[str, int]:
        """What was last achieved: name -> boot-clock ns (or ``*_count`` -> number)."""
        return {}

    def peers_changed(self) -> None:
        """The directory changed."""

    def on_stop(self, reason: str, deadline_s: float) -> None:
        """Put things in order; call ``leave(0)`` when done (the default does so at once)."""
        self.leave(0)

    # --- services --------------------------------------------------------------------------------------

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.name, self.incarnation)

    @property
    def transport(self) -> TransportPort:
        return cast(TransportPort, self._myRef.transport)

    @property
    def events(self) -> EventPort:
        """The port through which threads reach this mailbox; made at first use."""
        if self._events is None:
            self._events = EventPort()
            self.transport.watch(self._events.fd)
        return self._events

    def tell(self, name: str, message: object) -> bool:
        """Send to the peer called ``name``; False when the directory does not know it (nothing was sent)."""
        peer = self.peers.get(name)
        if peer is None:
            self.meter.count("messages_without_peer", peer=name)
            return False
        self.send(peer.address, message)
        return True

    def reply(self, sender: object, message: object) -> None:
        self.send(sender, message)

    def answer(self, name: str, sender: object, message: object) -> None:
        """Answer the peer called ``name``; one that just started and is not in the directory yet, at its address."""
        if not self.tell(name, message):
            self.reply(sender, message)

    def worker(self, name: str) -> Worker:
        """A thread of its own for blocking calls."""
        return Worker(f"{self.name}:{name}", self.events, lambda s, call: self._later(s, call))

    def every(self, key: str, seconds: float, handler: Callable[[], None], *, first_s: float | None = None) -> None:
        """Call ``handler`` every ``seconds``; a later call with the same key replaces it."""
        self._set_timer(key, seconds if first_s is None else first_s, seconds, handler)

    def after(self, key: str, seconds: float, handler: Callable[[], None]) -> None:
        """Call ``handler`` once, in ``seconds``; a later call with the same key replaces it."""
        self._set_timer(key, seconds, None, handler)

    def cancel_timer(self, key: str) -> None:
        self._timers.pop(key, None)

    def ready(self) -> None:
        """State is restored: tell the supervisor, handle what waited."""
        if self._ready:
            return
        self._ready = True
        self.state = "running"
        assert self._started_by is not None
        self.started()
        self.beat_interval_s = self.settings.watchdog.limits_for(self.name).beat_s or self.beat_interval_s
        self.after("heartbeat", 0.0, self._beat)
        to_beat_s = self._until_next_beat_s(self.clock.boot_ns())  # with a beat: no wake-up of its own
        self.every("metrics", 1.0, self._report_metrics, first_s=to_beat_s)
        self.send(self.parent, Started(self.name, self.incarnation, os.getpid(), self.myAddress))
        while self._stash:
            self._dispatch(*self._stash.popleft())

    def leave(self, code: int) -> NoReturn:
        """End this process with an exit code: nothing of the room runs after it, what was sent still goes out."""
        raise SystemExit(code)

    # --- Thespian's entrance ---------------------------------------------------------------------------

    def receiveMessage(self, message: object, sender: object) -> None:  # noqa: N802 - Thespian's name
        try:
            self._receive(message, sender)
        except SystemExit:
            raise
        except BaseException as error:
            self._crash(error, message)

    def _receive(self, message: object, sender: object) -> None:
        if isinstance(message, WakeupMessage):
            self._fire_timers()
        elif isinstance(message, WatchMessage):
            self._drain_events()
        elif isinstance(message, Initialize):
            self._initialize(message)
        elif isinstance(message, Directory):
            self._on_directory(message)
        elif isinstance(message, StopChild):
            self.state = "stopping"
            self.on_stop(message.reason, message.deadline_s)
        elif isinstance(message, ActorExitRequest):
            self.leave(0)
        elif isinstance(message, ChildActorExited):
            self.on_child_actor_exited(message)
        elif isinstance(message, PoisonMessage):
            raise UnknownMessageError(f"{self.name} got poison back: {message.details}")
        elif isinstance(message, DeadEnvelope):
            self.meter.count("dead_letters")
        elif not self._ready and not self.handles_while_starting:
            if len(self._stash) >= MAX_STASHED:
                raise BufferError(f"{self.name}: {MAX_STASHED} messages wait for restore")
            self._stash.append((message, sender))
        else:
            self._dispatch(message, sender)

    def on_child_actor_exited(self, message: ChildActorExited) -> None:
        """Only supervisors have children."""
        raise UnknownMessageError(f"{self.name} has no children, yet one exited: {message.childAddress}")

    def on_undelivered(self, message: Undelivered, sender: object) -> None:
        """A message may be lost. Rooms whose messages matter override this."""
        self.meter.count("undelivered", message=type(message.message).__name__, reason=message.reason)
        self.log.warning("undelivered", message=type(message.message).__name__, reason=message.reason)

    def on_operator_request(self, message: OperatorRequest, sender: object) -> None:
        """An operator asks this part for something. Parts that can do something override this."""
        text = f"{message.verb} is not known to {self.name}"
        self.answer("admin", sender, OperatorAnswer(message.request_id, done=True, ok=False, text=text))

    def on_stale_command(self, message: Command) -> None:
        """A command of an older incarnation was refused."""
        self.meter.count("stale_commands", message=type(message).__name__)
        self.log.warning("stale_command_refused", message=type(message).__name__, by=message.stamp.name)

    def _dispatch(self, message: object, sender: object) -> None:
        if isinstance(message, Command) and self._is_stale(message):
            self.on_stale_command(message)
            return
        handler = self._handlers.get(type(message)) or self._find_handler(type(message))
        now = self.clock.boot_ns()
        sent = self.transport.last_sent_boot_ns
        handler(message, sender)
        self._watch.note(type(message).__name__, self.clock.boot_ns() - now, now - sent if sent else 0)

    def _find_handler(self, kind: type) -> Callable[[object, object], None]:
        name = "on_" + _CAPITAL.sub("_", kind.__name__).lower()
        handler = getattr(self, name, None)
        if handler is None:
            raise UnknownMessageError(f"{self.name} ({type(self).__name__}) has no {name}")
        self._handlers[kind] = handler
        return cast(Callable[[object, object], None], handler)

    def _is_stale(self, message: Command) -> bool:
        known = self.peers.get(message.stamp.name)
        return known is not None and message.stamp.incarnation < known.incarnation

    # --- starting --------------------------------------------------------------------------------------

    def _initialize(self, message: Initialize) -> None:
        if self._started_by is not None:
            return  # a second copy changes nothing
        self._started_by = message
        self.name, self.incarnation, self.epoch = message.name, message.incarnation, message.epoch
        self.settings, self.args, self.parent = message.settings, message.args, message.parent
        app = self.settings
        self.log = Log(self.name, app.mode, app.log.form, app.log.level, self.clock)
        self.peers.update({peer.name: peer for peer in message.peers})
        self._watch.since_boot_ns = self.clock.boot_ns()
        _name_process(self.name)
        try:
            complete = self.restore()
        except IgnoreStart as ignored:
            self.send(self.parent, StartIgnored(self.name, self.incarnation, str(ignored)))
            self.leave(0)
        if complete:
            self.ready()

    def _on_directory(self, message: Directory) -> None:
        if message.version <= self._directory_version:
            return
        self._directory_version = message.version
        self.peers = {peer.name: peer for peer in message.peers}
        if self._ready:
            self.peers_changed()

    # --- timers and threads ----------------------------------------------------------------------------

    def _set_timer(self, key: str, seconds: float, interval: float | None, handler: Callable[[], None]) -> None:
        due = self.clock.boot_ns() + round(seconds * NS_PER_S)
        serial = next(self._serial)
        self._timers[key] = (due, serial, interval, handler)
        heapq.heappush(self._timer_heap, (due, serial, key))
        self._arm()

    def _later(self, seconds: float, handler: Callable[[], None]) -> None:
        self.after(f"call-{next(self._serial)}", seconds, handler)

    def _arm(self) -> None:
        while self._timer_heap and self._is_dead_timer(self._timer_heap[0]):
            heapq.heappop(self._timer_heap)
        if not self._timer_heap:
            return
        due = self._timer_heap[0][0]
        if not self._wakeups or self._wakeups[0] > due + US_NS:
            # Rounded up: a wake-up even a fraction of a microsecond early would find nothing due and not come again.
            now = self.clock.boot_ns()
            wait_us = max(0, -((now - due) // US_NS))
            heapq.heappush(self._wakeups, now + wait_us * US_NS)
            self.wakeupAfter(timedelta(microseconds=wait_us))

    def _is_dead_timer(self, entry: tuple[int, int, str]) -> bool:
        timer = self._timers.get(entry[2])
        return timer is None or timer[1] != entry[1]

    def _fire_timers(self) -> None:
        now = self.clock.boot_ns()
        # Each wake-up that was asked for is counted until its moment: one that finds nothing due must not ask for
        # another while a later one is under way, or every earlier timer would leave one more behind for ever.
        while self._wakeups and self._wakeups[0] <= now:
            heapq.heappop(self._wakeups)
        ripe = []
        while self._timer_heap and self._timer_heap[0][0] <= now:
            entry = heapq.heappop(self._timer_heap)
            if not self._is_dead_timer(entry):
                ripe.append(entry)
        for entry in ripe:
            if not self._is_dead_timer(entry):
                self._fire(entry)
        self._arm()

    def _fire(self, entry: tuple[int, int, str]) -> None:
        due, _, key = entry
        _, _, interval, handler = self._timers[key]
        started = self.clock.boot_ns()
        late_ns = started - due
        if key == "heartbeat":
            self._beat_lateness_ms = late_ns / NS_PER_MS
        if interval is None:
            del self._timers[key]
        else:
            # After a suspend the missed turns are not made up for: the next one is a full interval away.
            step = round(interval * NS_PER_S)
            next_due = due + step if due + step > started else started + step
            serial = next(self._serial)
            self._timers[key] = (next_due, serial, interval, handler)
            heapq.heappush(self._timer_heap, (next_due, serial, key))
        handler()
        self._watch.note("timer", self.clock.boot_ns() - started, late_ns)

    def _drain_events(self) -> None:
        if self._events is None:
            return
        for handler in self._events.drain():
            started = self.clock.boot_ns()
            handler()
            self._watch.note("event", self.clock.boot_ns() - started, 0)

    # --- heartbeats, metrics, death --------------------------------------------------------------------

    def _beat(self) -> None:
        now = self.clock.boot_ns()
        self._beats += 1
        if self._beats % 8 == 1:
            self._memory = resident_bytes()
        beat = self._make_beat(now)
        self._watch.reset(now)
        self.send(self.parent, beat)
        self.tell("watchdog", replace(beat, handlers=()))  # it judges; the times by message are for the status
        self.after("heartbeat", self._until_next_beat_s(now), self._beat)

    def _until_next_beat_s(self, now: int) -> float:
        """To the next point of a grid that siblings share: a parent and the watchdog wake once for all their beats.

        Waking is most of what an idle heartbeat costs. Those that beat more slowly are spread over the grid.
        """
        step, grid = round(self.beat_interval_s * NS_PER_S), BEAT_GRID_NS
        assert self._started_by is not None
        phase = crc32(self._started_by.supervisor.encode()) % (grid // NS_PER_MS) * NS_PER_MS
        if step > grid:
            phase += crc32(self.name.encode()) % (step // grid) * grid
        return (step - (now - phase) % step) / NS_PER_S

    def _make_beat(self, now: int) -> Heartbeat:
        p50, p95, p99, handlers = self._watch.summary()
        span = max(1, now - self._watch.since_boot_ns)
        stats = self._transport_stats()
        return Heartbeat(
            name=self.name,
            incarnation=self.incarnation,
            pid=os.getpid(),
            sequence=self._beats,
            sent_boot_ns=now,
            interval_s=self.beat_interval_s,
            own_lateness_ms=self._beat_lateness_ms,
            lag_ms=self._watch.max_lag_ns / NS_PER_MS,
            handler_p50_ms=p50,
            handler_p99_ms=p99,
            busy_share=min(1.0, self._watch.busy_ns / span),
            queued_in=stats[0],
            queued_out=stats[1],
            memory_bytes=self._memory,
            handled=self._watch.handled,
            state=self.state,
            progress=tuple(self.progress().items()),
            handlers=handlers,
            handler_p95_ms=p95,
        )

    def _transport_stats(self) -> tuple[int, int]:
        read = getattr(self.transport, "stats", None)
        if read is None:
            return 0, 0
        stats = read()
        return stats.queued_in, stats.queued_out

    def _report_metrics(self) -> None:
        if "metrics" not in self.peers:
            return  # the deltas stay until there is somebody to tell
        report = self.meter.take(self.name, self.incarnation)
        if report is not None:
            self.tell("metrics", report)

    def _crash(self, error: BaseException, message: object) -> None:
        """Leave a record and the process. Nothing here may raise, and nothing waits for a network."""
        kind = type(message).__name__
        try:
            self.log.critical("crash", message=kind, error=crash.bounded(f"{type(error).__name__}: {error}"))
            if self._started_by is not None and not self._ready:
                why = crash.bounded(f"{type(error).__name__}: {error}")[:MAX_REASON]
                self.send(self.parent, StartFailed(self.name, self.incarnation, why))
            settings = self.settings
            if settings is not None:
                crash.write_record(
                    settings.crash_dir,
                    utc_ns=self.clock.utc_ns(),
                    name=self.name,
                    incarnation=self.incarnation,
                    pid=os.getpid(),
                    cause=crash.describe(error),
                    message_type=kind,
                    correlation_id=str(getattr(message, "correlation_id", "")),
                    breadcrumbs=tuple(self.log.breadcrumbs),
                    config_hash=settings.config_hash,
                    build=settings.build,
                    mode=settings.mode,
                )
        except BaseException as second:
            os.write(2, f"{self.name}: no crash record: {second!r}\n".encode())
        finally:
            self.leave(CRASH_EXIT)


def _name_process(name: str) -> None:
    """Show the actor's name in ps (the kernel keeps 15 bytes)."""
    try:
        with open("/proc/self/comm", "w") as file:  # noqa: PTH123 - a kernel file
            file.write(name[:15])
    except OSError:
        pass  # a name is a convenience
