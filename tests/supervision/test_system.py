"""The tree of processes: dying together, crashes seen once, nothing left behind."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from thespian.actors import ActorExitRequest

from supervision.system import ADMIN_NAME, DaemonSystem, SystemRunning, start_system
from supervision.transport import WrongThread, child_processes, current_transport
from supervision.transport_process import SocketDirectoryError
from tests.supervision.transport_probe import (
    Acked,
    DiesInInit,
    Probe,
    Run,
    VanishesInInit,
    add_child,
    is_gone,
    pid,
    spin,
    stop_self,
    until,
)


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sys-") as path:  # pytest's own are too long for a socket
        os.chmod(path, 0o700)
        yield Path(path)


@pytest.fixture
def system(directory: Path) -> Iterator[DaemonSystem]:
    with start_system(directory) as running:
        yield running
    assert _group(running.admin_pid) == []


def _group(group: int) -> list[int]:
    """Everything of the process group, zombies included."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == group:
                    members.append(int(entry.name))
            except ProcessLookupError:
                continue
    return members


def _tree(system: DaemonSystem) -> tuple[object, int, object, int, list[int]]:
    """root -> middle -> {sleeping, stopped, spinning}: addresses and pids of root and middle, pids of the leaves."""
    root = system.create_root(Probe)
    root_pid = system.ask(root, Run(pid), 5)
    middle, middle_pid = system.ask(root, Run(add_child), 5)
    leaves = []
    for burden in (None, stop_self, spin):
        leaf, leaf_pid = system.ask(middle, Run(add_child), 5)
        assert system.ask(leaf, Run(pid), 5) == leaf_pid
        leaves.append(leaf_pid)
        if burden is not None:
            system.tell(leaf, Run(burden))
    assert until(lambda: _state(leaves[1]) == "T" and _state(leaves[2]) == "R")
    return root, root_pid, middle, middle_pid, leaves


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _exits(actor: Probe) -> list[tuple[bool, int | None]]:
    """For each notice: is it about a child of mine, and the exit status the base knows."""
    statuses = {child.address: child.status for child in child_processes()}
    return [(one.childAddress in actor.children, statuses.get(one.childAddress)) for one in actor.exits]


def _settled_exits(system: DaemonSystem, parent: object) -> list[tuple[bool, int | None]]:
    assert until(lambda: bool(system.ask(parent, Run(_exits), 5)))
    time.sleep(0.05)  # a second notice would come within a few milliseconds
    return system.ask(parent, Run(_exits), 5)


def _boom(_actor: Probe, path: str) -> None:
    with open(path, "a") as calls:
        calls.write("called\n")
    raise RuntimeError("planted in a handler")


def _write_errors_to(_actor: Probe, path: str) -> bool:
    sys.stderr = open(path, "a", buffering=1)  # noqa: SIM115 - pytest's capture does not see what a forked process writes
    return True


def _segfault(_actor: Probe) -> None:
    ctypes.string_at(0)


def _exit_with(_actor: Probe, code: int) -> None:
    raise SystemExit(code)


# --- dying together ---


def test_killing_the_admin_takes_stopped_and_spinning_actors_along(system: DaemonSystem) -> None:
    _, root_pid, _, middle_pid, leaves = _tree(system)
    os.kill(system.admin_pid, signal.SIGKILL)
    assert until(lambda: all(map(is_gone, [root_pid, middle_pid, *leaves])), 1.0)
    assert system.wait(1.0) == -signal.SIGKILL
    assert system.stop(0) == -signal.SIGKILL


def test_killing_a_middle_parent_takes_its_subtree_and_nothing_else(system: DaemonSystem) -> None:
    root, root_pid, _, middle_pid, leaves = _tree(system)
    os.kill(middle_pid, signal.SIGKILL)
    assert until(lambda: all(map(is_gone, [middle_pid, *leaves])), 1.0)
    assert _settled_exits(system, root) == [(True, -signal.SIGKILL)]
    assert not is_gone(root_pid)
    assert system.poll() is None


def test_killing_the_starter_leaves_nothing(directory: Path) -> None:
    script = (
        "import sys, pathlib\n"
        "from supervision.system import start_system\n"
        "from tests.supervision.test_system import _tree\n"
        "system = start_system(pathlib.Path(sys.argv[1]))\n"
        "_, root, _, middle, leaves = _tree(system)\n"
        "print(system.admin_pid, root, middle, *leaves, flush=True)\n"
        "sys.stdin.read()\n"
    )
    repository = Path(__file__).resolve().parents[2]
    starter = subprocess.Popen(
        [sys.executable, "-c", script, str(directory)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=repository,
    )  # fmt: skip
    pids = [int(one) for one in starter.stdout.readline().split()]
    assert len(pids) == 6
    starter.kill()
    starter.wait()
    assert until(lambda: all(map(is_gone, pids)), 1.0)
    starter.stdin.close()
    starter.stdout.close()


def test_stop_reaps_everything_and_reports_how_the_admin_ended(system: DaemonSystem) -> None:
    _tree(system)
    assert system.stop(0.0) == -signal.SIGKILL
    assert _group(system.admin_pid) == []
    assert list(system._transport.directory.iterdir()) == []


def test_the_end_of_the_root_ends_the_tree_with_its_exit_code(system: DaemonSystem) -> None:
    root = system.create_root(Probe)
    system.tell(root, Run(_exit_with, (43,)))
    assert system.wait(2.0) == 43


def test_a_root_killed_by_a_signal_is_told_apart(system: DaemonSystem) -> None:
    root = system.create_root(Probe)
    os.kill(system.ask(root, Run(pid), 5), signal.SIGKILL)
    assert system.wait(2.0) == 128 + signal.SIGKILL


def test_stop_with_a_message_lets_the_root_end_by_itself(system: DaemonSystem) -> None:
    system.create_root(Probe)
    assert system.stop(5.0, Run(_exit_with, (0,))) == 0


# --- crashes of a child ---


def test_an_exception_ends_the_process_after_one_call(system: DaemonSystem, directory: Path) -> None:
    root = system.create_root(Probe)
    child, _ = system.ask(root, Run(add_child), 5)
    calls, errors = directory / "calls", directory / "errors"
    system.ask(child, Run(_write_errors_to, (str(errors),)), 5)
    system.tell(child, Run(_boom, (str(calls),)))
    assert _settled_exits(system, root) == [(True, 70)]
    assert calls.read_text() == "called\n"
    assert "RuntimeError: planted in a handler" in errors.read_text()


@pytest.mark.parametrize(("kind", "status"), [(DiesInInit, 70), (VanishesInInit, 3)])
def test_a_child_that_dies_before_it_connects_is_reported_once(system: DaemonSystem, kind: type, status: int) -> None:
    root = system.create_root(Probe)
    system.ask(root, Run(add_child, (kind,)), 5)
    assert _settled_exits(system, root) == [(True, status)]


def test_a_real_segfault_is_a_death(system: DaemonSystem) -> None:
    root = system.create_root(Probe)
    child, _ = system.ask(root, Run(add_child), 5)
    system.tell(child, Run(_segfault))
    assert _settled_exits(system, root) == [(True, -signal.SIGSEGV)]


def test_a_graceful_exit_is_reported_once_and_takes_grandchildren(system: DaemonSystem) -> None:
    root = system.create_root(Probe)
    child, _ = system.ask(root, Run(add_child), 5)
    _, grandchild_pid = system.ask(child, Run(add_child), 5)
    system.tell(child, ActorExitRequest())
    assert _settled_exits(system, root) == [(True, 0)]
    assert until(lambda: is_gone(grandchild_pid), 1.0)


def test_an_exit_request_does_not_wait_for_a_stopped_grandchild(system: DaemonSystem) -> None:
    root = system.create_root(Probe)
    child, _ = system.ask(root, Run(add_child), 5)
    grandchild, grandchild_pid = system.ask(child, Run(add_child), 5)
    system.tell(grandchild, Run(stop_self))
    assert until(lambda: _state(grandchild_pid) == "T")
    system.tell(child, ActorExitRequest())
    assert _settled_exits(system, root) == [(True, 0)]
    assert until(lambda: is_gone(grandchild_pid), 1.0)


def _crash_after_last_words(actor: Probe, boss: object) -> None:
    for number in range(50):
        actor.send(boss, Acked(number))
    raise SystemExit(70)


def _nap(_actor: Probe) -> None:
    time.sleep(0.1)


def _order_of_events(actor: Probe) -> list[str]:
    return [type(one).__name__ for one in actor.seen]


def test_the_last_words_of_a_child_come_before_the_notice(system: DaemonSystem) -> None:
    root = system.create_root(Probe)
    child, _ = system.ask(root, Run(add_child), 5)
    system.tell(root, Run(_nap))  # so that words and death are both there when it looks
    system.tell(child, Run(_crash_after_last_words, (root,)))
    assert _settled_exits(system, root) == [(True, 70)]
    assert system.ask(root, Run(_order_of_events), 5) == ["Acked"] * 50 + ["ChildActorExited"]


def _kill_child(actor: Probe, address: object) -> bool:
    transport = current_transport()
    assert transport is not None
    return transport.children.kill(address)


def test_a_child_can_be_killed_only_while_it_is_unreaped(system: DaemonSystem) -> None:
    root = system.create_root(Probe)
    child, _ = system.ask(root, Run(add_child), 5)
    assert system.ask(root, Run(_kill_child, (child,)), 5) is True
    assert _settled_exits(system, root) == [(True, -signal.SIGKILL)]
    assert system.ask(root, Run(_kill_child, (child,)), 5) is False


# --- what every process has ---


def test_actors_ignore_the_signals_that_a_terminal_or_systemd_sends_to_all(system: DaemonSystem) -> None:
    root = system.create_root(Probe)
    root_pid = system.ask(root, Run(pid), 5)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1):
        os.kill(root_pid, number)
        os.kill(system.admin_pid, number)
    assert system.ask(root, Run(pid), 5) == root_pid
    assert system.poll() is None


def test_the_tree_is_not_in_the_process_group_of_the_terminal(system: DaemonSystem) -> None:
    root = system.create_root(Probe)
    assert os.getpgid(system.ask(root, Run(pid), 5)) == system.admin_pid != os.getpgid(0)


def _open_sockets(_actor: Probe) -> int:
    return sum(os.readlink(f"/proc/self/fd/{fd}").startswith("socket:") for fd in _descriptors())


def _descriptors() -> list[str]:
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")]


def test_a_child_inherits_no_socket_of_its_parent(system: DaemonSystem) -> None:
    strays = sum(  # what earlier tests of this process left open is inherited by all and is not meant here
        os.readlink(f"/proc/self/fd/{fd}").startswith("socket:") for fd in _descriptors()
    )
    root = system.create_root(Probe)
    for _ in range(12):  # each leaves links in the parent
        child, _ = system.ask(root, Run(add_child), 5)
        system.tell(root, Run(_greet, (child,)))
        system.ask(child, Run(pid), 5)
    own = 4  # a listener, a link from us, one to us, one from its parent
    assert system.ask(root, Run(_open_sockets), 5) > own + strays + 6
    assert system.ask(child, Run(_open_sockets), 5) <= own + strays


def _greet(actor: Probe, child: object) -> None:
    actor.send(child, Acked(1))


def _log(_actor: Probe) -> bool:
    logging.getLogger().addHandler(logging.StreamHandler(sys.stderr))  # stock Thespian refuses a handler here
    logging.getLogger("room").warning("seen on stderr, %s", "not in a message")
    return True


def test_logging_in_an_actor_writes_to_stderr(system: DaemonSystem, directory: Path) -> None:
    root = system.create_root(Probe)
    system.ask(root, Run(_write_errors_to, (str(directory / "errors"),)), 5)
    assert system.ask(root, Run(_log), 5) is True
    assert until(lambda: "seen on stderr, not in a message" in (directory / "errors").read_text())


# --- starting ---


def test_a_second_system_in_the_same_directory_is_refused(system: DaemonSystem, directory: Path) -> None:
    with pytest.raises(SystemRunning, match="stop it first"):
        start_system(directory)
    assert system.ask(system.create_root(Probe), Run(pid), 5)


def test_sockets_of_dead_processes_are_removed_at_start(directory: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    stale = [directory / f"{dead.pid:x}.0.00000000", directory / ADMIN_NAME]
    for path in stale:
        path.touch()
    with start_system(directory) as system:
        assert not stale[0].exists()
        assert system.ask(system.create_root(Probe), Run(pid), 5)


def test_a_socket_path_that_would_be_cut_is_refused_with_its_length(directory: Path) -> None:
    with pytest.raises(SocketDirectoryError, match=r"takes \d+ bytes, Unix sockets allow 107"):
        start_system(directory / ("d" * 70))


def test_a_directory_that_others_can_enter_is_refused(directory: Path) -> None:
    directory.chmod(0o755)
    with pytest.raises(SocketDirectoryError, match="mode 755"):
        start_system(directory)
    directory.chmod(0o700)


def test_a_link_to_a_directory_is_refused(directory: Path) -> None:
    (directory / "real").mkdir(mode=0o700)
    (directory / "link").symlink_to(directory / "real")
    with pytest.raises(SocketDirectoryError, match="not a directory"):
        start_system(directory / "link")


def test_only_the_main_thread_may_start_a_system(directory: Path) -> None:
    errors: list[BaseException] = []

    def start() -> None:
        try:
            start_system(directory)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert [type(error) for error in errors] == [WrongThread]


def test_an_unknown_root_class_is_a_failed_tree_not_a_hang(system: DaemonSystem) -> None:
    system.create_root("tests.supervision.transport_probe.NoSuchActor")
    assert system.wait(2.0) == 70
