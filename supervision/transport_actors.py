"""Thespian's actor and admin processes on our transport: one fork each, tied to the parent, one call per message.

No logger process exists: actors write to stderr themselves, so that no log record travels as a message.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

from thespian.actors import (
    ActorAddress,
    ActorExitRequest,
    ActorSystemMessage,
    ChildActorExited,
    DeadEnvelope,
    PoisonMessage,
    ThespianWatch,
    WakeupMessage,
    WatchMessage,
)
from thespian.system.actorManager import ActorManager
from thespian.system.admin.globalNames import GlobalNamesAdmin
from thespian.system.messages.admin import PendingActor
from thespian.system.transport import TransmitIntent, TransmitOnly
from thespian.system.utilis import actualActorClass, thesplog_control

from supervision.transport import UnixAddress, UnixTransport
from supervision.transport_process import (
    EX_SOFTWARE,
    die_with_parent,
    listen_at,
    new_socket_name,
    shield_from_signals,
)

_LAST_WORDS = timedelta(seconds=1)  # to hand what is queued to the kernel before the exit
_CRASHED_LAST_WORDS = timedelta(milliseconds=20)  # a crash must not wait: its replacement does
_CHILDREN_GRACE = timedelta(seconds=1)  # for a recursive exit request; after it the kernel kills them
_FOR_ACTORS = (ActorExitRequest, ChildActorExited, PoisonMessage, WakeupMessage, WatchMessage, DeadEnvelope)
_NO_REPLICATION = None, None  # Thespian's logging definitions and concurrency context


class RootActor(PendingActor):  # type: ignore[misc]
    """Ask the admin for the root of the tree. When it ends, the admin ends with its exit code."""


class _ChildrenGraceOver:
    """Timer payload: children did not leave in time."""


def fork_process(body: Callable[[], int], close_inherited: Callable[[], None]) -> int:
    """Fork on the main thread; the child dies with us, runs ``body`` and exits with its result. Gives the pid."""
    parent = os.getpid()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()  # or the child would write it again
    pid = os.fork()
    if pid:
        return pid
    code = EX_SOFTWARE
    try:
        die_with_parent(parent)
        shield_from_signals()
        close_inherited()
        code = body()
    except SystemExit as leaving:
        code = _exit_code(leaving)
    except BaseException:
        traceback.print_exc()
    finally:
        _leave(code)


def _exit_code(leaving: SystemExit) -> int:
    if leaving.code is None:
        return 0
    if isinstance(leaving.code, int):
        return leaving.code & 0xFF
    print(leaving.code, file=sys.stderr)  # noqa: T201 - as the interpreter does
    return 1


def _leave(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)


class _Process:
    """What actors and the admin share: forking children with final addresses, and sending without Thespian's brakes."""

    transport: UnixTransport
    capabilities: dict[str, object]
    _adminAddr: UnixAddress  # noqa: N815 - Thespian's name

    def init_replicator(self, transport: UnixTransport, concurrency_context: object) -> None:
        """Thespian's replicator is not used: this class forks by itself."""

    def _handleReplicatorMessages(self, envelope: object) -> tuple[bool, bool]:  # noqa: N802 - Thespian's name
        return False, True

    def _childExited(self, address: object) -> None:  # noqa: N802
        """Reaped already, by the transport."""

    def _send_intent(self, intent: TransmitIntent, curtime: object = None) -> None:
        self.transport.scheduleTransmit(None, intent)

    def fork_actor(self, actor_class: type | str) -> UnixAddress:
        """Fork an actor. Its socket exists before it does, so it can be written to at once. Raises OSError."""
        transport = self.transport
        name = new_socket_name()
        listener = listen_at(transport.directory / name)
        address = UnixAddress(name)

        def body() -> int:
            child = UnixTransport(transport.directory, name, listener)
            return run_actor(child, actor_class, transport.myAddress, self._adminAddr, self.capabilities)

        try:
            pid = fork_process(body, transport.close_after_fork)
        except OSError:
            (transport.directory / name).unlink(missing_ok=True)
            raise
        finally:
            listener.close()
        transport.add_child(pid, address)
        return address


class ActorProcess(_Process, ActorManager):  # type: ignore[misc]
    """One actor in its process. An exception that leaves ``receiveMessage`` or ``__init__`` ends it, exit code 70."""

    _children: list[UnixAddress]

    def run(self) -> None:
        """Make the actor and handle its messages until it is asked to leave."""
        atexit.unregister(self._shutdownActor)
        self._leaving = False
        actor_class = actualActorClass(self._actorClass)
        self.actorInst = actor_class()
        self.actorInst._myRef = self
        last_words = _CRASHED_LAST_WORDS
        try:
            self.transport.run(self.handleMessages)
            last_words = _LAST_WORDS
        except SystemExit as leaving:
            last_words = _CRASHED_LAST_WORDS if leaving.code else _LAST_WORDS
            raise
        finally:
            self.transport.run(TransmitOnly, last_words)

    def handleMessages(self, envelope: object) -> bool:  # noqa: N802
        """Call the actor once."""
        message = envelope.message  # type: ignore[attr-defined]
        if isinstance(message, ActorSystemMessage) and not isinstance(message, _FOR_ACTORS):
            return True  # conventions, capabilities, sources: not part of this system
        if isinstance(message, ChildActorExited):
            self._children = [child for child in self._children if child != message.childAddress]
        if self._leaving:
            return self._wait_for_children(message)
        result = self.actorInst.receiveMessage(message, envelope.sender)  # type: ignore[attr-defined]
        if isinstance(result, ThespianWatch):
            self.transport.set_watch(result.filenos)
        if isinstance(message, ActorExitRequest):
            return self._start_leaving(message.isRecursive)
        return True

    def _start_leaving(self, recursive: bool) -> bool:
        self._leaving = True
        if not (recursive and self._children):
            return False
        for child in self._children:
            self.transport.send(child, ActorExitRequest(recursive=True))
        self.transport.addWakeup(_CHILDREN_GRACE, _ChildrenGraceOver())
        return True

    def _wait_for_children(self, message: object) -> bool:
        over = isinstance(message, WakeupMessage) and isinstance(message.payload, _ChildrenGraceOver)
        return bool(self._children) and not over

    def actor_send(self, targetAddr: UnixAddress, msg: object) -> None:  # noqa: N803 - Thespian's names
        """Send; a plain message to nobody becomes a dead letter."""
        if not self.transport.send(targetAddr, msg) and not isinstance(msg, DeadEnvelope | ActorSystemMessage):
            self.transport.send(self._adminAddr, DeadEnvelope(targetAddr, msg))

    def createActor(  # noqa: N802
        self,
        newActorClass: type | str,  # noqa: N803
        targetActorRequirements: object = None,  # noqa: N803
        globalName: str | None = None,  # noqa: N803
        sourceHash: str | None = None,  # noqa: N803
    ) -> UnixAddress:
        """Fork a child; its address is final and its pid is in ``child_processes`` on return. Raises OSError."""
        if targetActorRequirements or globalName or sourceHash:
            raise ValueError("requirements, global names and loaded sources are not part of this system")
        address = self.fork_actor(newActorClass)
        self._registerChild(address)
        return address


class AdminProcess(_Process, GlobalNamesAdmin):  # type: ignore[misc]
    """Thespian's admin: parent of the root, receiver of dead letters."""

    _root: UnixAddress | None = None
    _children: list[UnixAddress]

    def run(self) -> None:
        """Serve until the root has ended or a shutdown was asked for; an exception ends the process."""
        self.transport.run(self.handleIncoming)

    def h_RootActor(self, envelope: object) -> bool:  # noqa: N802
        before = set(self._children)
        self.h_PendingActor(envelope)
        self._root = next(iter(set(self._children) - before), None)
        return True

    def _startChildActor(self, childAddr: ActorAddress, childClass: type | str, *_: object, **__: object) -> None:  # noqa: N802, N803
        address = self.fork_actor(childClass)
        self._pendingActorReady(childAddr.addressDetails.addressInstanceNum, address)

    def _handleChildExited(self, childAddress: UnixAddress) -> bool:  # noqa: N802, N803
        if childAddress == self._root:
            status = self.transport.children.status(childAddress)
            self.transport.run(TransmitOnly, timedelta(0))
            raise SystemExit(EX_SOFTWARE if status is None else status if status >= 0 else 128 - status)
        return bool(super()._handleChildExited(childAddress))

    def _cleanupAdmin(self, finish_cleanup: Callable[[], None]) -> None:  # noqa: N802
        finish_cleanup()  # there is no logger to stop


def run_actor(
    transport: UnixTransport,
    actor_class: type | str,
    parent: UnixAddress,
    admin: UnixAddress,
    capabilities: dict[str, object],
) -> int:
    """Be an actor until it ends; its exit code."""
    transport.become_current()
    thesplog_control(100, False, 0)
    process = ActorProcess(
        actor_class, None, transport, None, None, parent, admin, None, capabilities, *reversed(_NO_REPLICATION)
    )
    process.run()
    return 0


def run_admin(directory: Path, name: str, listener: object, capabilities: dict[str, object]) -> int:
    """Be the admin until it ends; its exit code."""
    transport = UnixTransport(directory, name, listener)  # type: ignore[arg-type]
    transport.become_current()
    thesplog_control(100, False, 0)
    process = AdminProcess(transport, transport.myAddress, capabilities, *_NO_REPLICATION)
    process._activate()
    process.run()
    transport.run(TransmitOnly, _LAST_WORDS)
    transport.close()
    return 0
