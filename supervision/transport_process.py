"""What every process of the tree does to itself, and where its sockets may live."""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import socket
import stat
import struct
from pathlib import Path

EX_SOFTWARE = 70
"""Exit code of a process that an exception ended."""
EX_OSERR = 71
"""Exit code of a process whose parent was gone before it could tie itself to it."""

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_IGNORED = (
    signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
    signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP,
)  # fmt: skip
_DEFAULT = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGCHLD)
_PEER_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid

SUN_PATH_MAX = 107
"""Bytes of an AF_UNIX path, without the closing zero."""
MAX_NAME = 40
"""Bytes of the longest socket name that ``new_socket_name`` makes."""
BACKLOG = 512
SEND_BUFFER = 212_992
"""SO_SNDBUF of every link: the kernel's default limit, so that no host setting changes how much waits there."""

_libc = ctypes.CDLL(None, use_errno=True)  # loaded here, before any fork
_serial = itertools.count()


class SocketDirectoryError(Exception):
    """The socket directory is unsafe or its path is too long."""


def die_with_parent(expected_parent: int) -> None:
    """Let the kernel kill this process when the thread that forked it dies; leave if it is dead already.

    First call after fork. A lifeline pipe would not do: a stopped actor never reads it.
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0 or os.getppid() != expected_parent:
        os._exit(EX_OSERR)


def become_subreaper() -> None:
    """Adopt orphaned descendants, so that they can be reaped here."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def shield_from_signals() -> None:
    """Ignore what a terminal or systemd sends to everybody; keep crashes deadly.

    The tree is stopped by messages and SIGKILL. A Python handler for SIGSEGV would repeat the faulting instruction
    for ever.
    """
    signal.set_wakeup_fd(-1)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    for number in _DEFAULT:
        signal.signal(number, signal.SIG_DFL)


def private_directory(path: Path) -> Path:
    """Create or verify a directory that only we can enter and whose socket names fit; raises SocketDirectoryError."""
    longest = len(os.fsencode(path)) + 1 + MAX_NAME
    if longest > SUN_PATH_MAX:
        raise SocketDirectoryError(
            f"socket directory {path} is too long: with a socket name it takes {longest} bytes,"
            f" Unix sockets allow {SUN_PATH_MAX}; choose a path of at most {SUN_PATH_MAX - MAX_NAME - 1} bytes"
        )
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise SocketDirectoryError(f"{path} is not a directory")
    if found.st_uid != os.geteuid():
        raise SocketDirectoryError(f"{path} belongs to uid {found.st_uid}, not to uid {os.geteuid()}")
    if stat.S_IMODE(found.st_mode) != 0o700:
        raise SocketDirectoryError(f"{path} has mode {stat.S_IMODE(found.st_mode):o}, it must be 700")
    return path


def new_socket_name() -> str:
    """A name no other actor has or had: maker's pid, a serial number, random bits against reused pids."""
    return f"{os.getpid():x}.{next(_serial):x}.{os.urandom(4).hex()}"


def listen_at(path: Path) -> socket.socket:
    """Bind and listen. From here on messages can be sent there, before the actor behind it even runs."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        listener.setblocking(False)
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def connect_to(path: str) -> socket.socket:
    """Connect without blocking; raises OSError when nobody listens or the backlog is full."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        link.setblocking(False)
        link.connect(path)
    except OSError:
        link.close()
        raise
    return link


def peer_credentials(link: socket.socket) -> tuple[int, int]:
    """Pid and uid of the process at the other end, as the kernel saw it connect."""
    raw = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    pid, uid, _gid = _PEER_CREDENTIALS.unpack(raw)
    return pid, uid


def remove_stale_sockets(directory: Path) -> int:
    """Unlink the sockets whose maker is dead (an actor dies with the maker of its socket); how many."""
    removed = 0
    if not directory.exists():
        return removed  # somebody removed the folder itself
    for entry in directory.iterdir():
        maker = entry.name.partition(".")[0]
        try:
            os.kill(int(maker, 16), 0)
        except (ValueError, PermissionError):
            continue  # not one of ours
        except ProcessLookupError:
            entry.unlink(missing_ok=True)
            removed += 1
    return removed
