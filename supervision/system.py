"""The daemon's actor system as its starting process sees it: start, root actor, death of the admin, stop.

The whole tree is one process group of its own (a terminal's Ctrl-C does not reach it) and dies with this process.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType

from thespian.actors import ActorSystemMessage
from thespian.system.messages.admin import PendingActor, PendingActorResponse, QueryAck, QueryExists
from thespian.system.transport import ReceiveEnvelope, TransmitOnly

from supervision.transport import UnixAddress, UnixTransport, WrongThread
from supervision.transport_actors import RootActor, fork_process, run_admin
from supervision.transport_process import (
    become_subreaper,
    connect_to,
    listen_at,
    new_socket_name,
    private_directory,
    remove_stale_sockets,
    shield_from_signals,
)

ADMIN_NAME = "admin"
_START_DEADLINE_S = 5.0
_REAP_DEADLINE_S = 5.0


class SystemRunning(Exception):  # noqa: N818 - says what is wrong
    """Another actor system lives in this socket directory."""


class SystemFailed(Exception):  # noqa: N818 - says what is wrong
    """The actor system did not start, or did not do what was asked in time."""


class DaemonSystem:
    """A running tree. Main thread only. There is no logger process: ``logger_pid`` is None.

    Wait on ``descriptors()`` with select or poll, then ask ``poll()``.
    """

    logger_pid: int | None = None

    def __init__(self, transport: UnixTransport, admin_pid: int, admin: UnixAddress) -> None:
        self.admin_pid = admin_pid
        self.root: UnixAddress | None = None
        self._transport = transport
        self._admin = admin
        self._admin_pidfd = os.pidfd_open(admin_pid)
        self._stopped: int | None = None
        self._early: deque[object] = deque()  # came while we waited for the admin
        self.admin_answers = 0
        """How often the admin has answered ``probe_admin``."""

    # --- talking ---

    @property
    def address(self) -> UnixAddress:
        """Where the tree can write to this process."""
        return self._transport.myAddress

    def create_root(self, actor_class: type | str, message: object | None = None) -> UnixAddress:
        """Create the actor whose end is the end of the tree, and send it its first message; raises SystemFailed."""
        self.root = self._create(RootActor, actor_class)
        if message is not None:
            self.tell(self.root, message)
        return self.root

    def create_actor(self, actor_class: type | str) -> UnixAddress:
        """Create another actor below the admin; its end is nobody's business."""
        return self._create(PendingActor, actor_class)

    def _create(self, request: type[PendingActor], actor_class: type | str) -> UnixAddress:
        name = actor_class if isinstance(actor_class, str) else f"{actor_class.__module__}.{actor_class.__qualname__}"
        self._transport.send(self._admin, request(name, None, 1, None, globalName=None))
        deadline = time.monotonic() + _START_DEADLINE_S
        while (left := deadline - time.monotonic()) > 0:
            answer = self._next(left)
            if isinstance(answer, PendingActorResponse):
                if isinstance(answer.actualAddress, UnixAddress):
                    return answer.actualAddress
                raise SystemFailed(f"{name} was not created: {answer.errorStr or answer.errorCode}")
            if answer is not None:
                self._early.append(answer)
        raise SystemFailed(f"{name} was not created within {_START_DEADLINE_S} s")

    def tell(self, target: UnixAddress, message: object) -> None:
        """Send, and hand it to the kernel before returning (1 s at most)."""
        self._transport.send(target, message)
        self._transport.run(TransmitOnly, 1.0)

    def probe_admin(self) -> None:
        """Ask the admin for a sign of life; ``receive`` counts the answer in ``admin_answers``."""
        self._transport.send(self._admin, QueryExists())

    def receive(self, timeout_s: float) -> object | None:
        """The next message to this process, Undelivered notices included; None when none came in time."""
        deadline = time.monotonic() + timeout_s
        while True:
            answer = self._early.popleft() if self._early else self._next(max(deadline - time.monotonic(), 0.0))
            if answer is None or not isinstance(answer, ActorSystemMessage):
                return answer

    def ask(self, target: UnixAddress, message: object, timeout_s: float) -> object | None:
        """Send and wait for whatever message comes next."""
        self._transport.send(target, message)
        return self.receive(timeout_s)

    def _next(self, timeout_s: float) -> object | None:
        envelope = self._transport.run(None, timeout_s)
        message = envelope.message if isinstance(envelope, ReceiveEnvelope) else None
        self.admin_answers += isinstance(message, QueryAck)
        return message

    def has_sockets(self) -> bool:
        """Whether new connections find anybody: links that are open outlive their folder, and nothing else does."""
        try:
            (self._transport.directory / ADMIN_NAME).stat()
        except FileNotFoundError:
            return False
        except OSError:
            pass  # a file system that does not answer has removed nothing
        return True

    # --- life and death ---

    def descriptors(self) -> list[int]:
        """Readable when the admin has died (first) or a message for this process has come (second)."""
        return [self._admin_pidfd, self._transport.fileno()]

    def poll(self) -> int | None:
        """None while the admin lives; then its exit code, the root's if that ended it, or minus its signal.

        Its actors are dead or dying then; ``stop`` collects them.
        """
        if self._stopped is not None:
            return self._stopped
        found = os.waitid(os.P_PID, self.admin_pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the end of the admin; its status as ``poll`` gives it."""
        waiting = select.poll()
        waiting.register(self._admin_pidfd, select.POLLIN)
        waiting.poll(max(timeout_s, 0.0) * 1000)
        return self.poll()

    def stop(self, deadline_s: float, message: object | None = None) -> int:
        """Tell the root ``message``, give the tree ``deadline_s`` to end by itself, then kill and reap all of it.

        Gives the admin's status as ``poll`` does. Nothing of the tree is left on return; raises SystemFailed else.
        """
        if self._stopped is not None:
            return self._stopped
        if message is not None and self.root is not None:
            self.tell(self.root, message)
        status = self.wait(deadline_s)
        # The admin is not reaped yet, so its pid and group still belong to this tree.
        _kill_group(self.admin_pid)
        ended = _reap_group(self.admin_pid, time.monotonic() + _REAP_DEADLINE_S)
        if not ended:
            raise SystemFailed(f"processes of group {self.admin_pid} survived SIGKILL")
        self._stopped = -signal.SIGKILL if status is None else status
        os.close(self._admin_pidfd)
        self._transport.close()
        remove_stale_sockets(self._transport.directory)
        (self._transport.directory / ADMIN_NAME).unlink(missing_ok=True)
        return self._stopped

    def __enter__(self) -> DaemonSystem:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop(0.0)


def start_system(socket_dir: Path, capabilities: dict[str, object] | None = None) -> DaemonSystem:
    """Fork the admin below this process, the only one that may start it; main thread only.

    Raises SocketDirectoryError, SystemRunning, SystemFailed.
    """
    if threading.current_thread() is not threading.main_thread():
        raise WrongThread("the tree dies with the thread that forks it: start it on the main thread")
    directory = private_directory(Path(socket_dir))
    admin_path = directory / ADMIN_NAME
    _refuse_second(admin_path)
    remove_stale_sockets(directory)
    admin_path.unlink(missing_ok=True)
    become_subreaper()
    listener = listen_at(admin_path)
    name = new_socket_name()
    transport = UnixTransport(directory, name, listen_at(directory / name))
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

    def body() -> int:
        os.setpgid(0, 0)
        shield_from_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
        return run_admin(directory, ADMIN_NAME, listener, capabilities or {})

    try:
        pid = fork_process(body, transport.close_after_fork)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
        listener.close()
    _make_group(pid)
    system = DaemonSystem(transport, pid, UnixAddress(ADMIN_NAME))
    transport.send(system._admin, QueryExists())
    deadline = time.monotonic() + _START_DEADLINE_S
    while not isinstance(answer := system._next(max(deadline - time.monotonic(), 0.0)), QueryAck):
        if answer is None:
            system.stop(0.0)
            raise SystemFailed(f"the admin did not answer within {_START_DEADLINE_S} s")
    return system


def _refuse_second(admin_path: Path) -> None:
    try:
        connect_to(str(admin_path)).close()
    except OSError:
        return
    raise SystemRunning(f"an actor system is running at {admin_path.parent}; stop it first")


def _make_group(pid: int) -> None:
    # The child does the same: whoever comes first, the group exists before anybody needs it.
    try:
        os.setpgid(pid, pid)
    except (ProcessLookupError, PermissionError):
        pass  # it has ended


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass  # the admin is a zombie and alone


def _reap_group(group: int, deadline: float) -> bool:
    """Reap the admin and everything that falls to us as its subreaper; True when the group is empty."""
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-group, os.WNOHANG)
        except ChildProcessError:
            return True  # whoever still lived would be below one of our children
        if pid == 0:
            _kill_group(group)
            time.sleep(0.001)
    return False
