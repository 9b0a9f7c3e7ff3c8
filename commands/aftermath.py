"""After a tree has died: nothing of it may live on, its own entries are cancelled, and its death is written down."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Callable, Collection
from pathlib import Path

import orjson

from actors import crash, durable
from actors.clock import SystemClock
from actors.log import Log
from actors.messages.health import Heartbeat
from commands.last_resort import LastResort, cancel_entries
from commands.ring_signals import Signals
from config.settings import Settings
from supervision.transport_actors import fork_process

LAST_RESORT_S = 20.0
"""For the cancelling process, its waits for the lock and the venue included; then it is killed."""
GONE_S = 5.0
MAX_REAPED = 100


def reap(known: Collection[int]) -> None:
    """Collect what fell to us as subreaper (or as PID 1): no zombie stays. Known children are not touched."""
    for _ in range(MAX_REAPED):
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is None or found.si_pid in known:
            return
        with contextlib.suppress(ChildProcessError):
            os.waitpid(found.si_pid, os.WNOHANG)


def end_adopted(known: Collection[int], log: Log) -> bool:
    """Kill and reap every child that is not known: orphans of the tree that left its process group.

    They are our unreaped children, so no stranger is hit. True when none is left, False when that is not sure.
    """
    deadline = time.monotonic() + GONE_S
    while True:
        try:
            strangers = _children() - set(known)
        except (OSError, ValueError) as error:
            log.critical("children_not_known", error=str(error))
            return False
        for pid in strangers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        if not strangers:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)


def _children() -> set[int]:
    """The children of this process, zombies included (it forks on its main thread alone)."""
    pid = os.getpid()
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def old_gateway_is_gone(settings: Settings, log: Log) -> bool:
    """Proof by its lock: the kernel frees an flock only when its last holder has ended. No look is no proof."""
    try:
        fd = durable.open_or_read(settings.store_dir / "gateway.lock")
    except OSError as error:
        log.critical("gateway_lock_not_opened", error=str(error))
        return False
    try:
        deadline = time.monotonic() + GONE_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.02)
    finally:
        os.close(fd)


def cancel_in_child(settings: Settings, log: Log, signals: Signals, heed: Callable[[], object]) -> LastResort:
    """Run the last-resort cancel in a process of its own, LAST_RESORT_S at most; ``heed`` acts on signals meanwhile.

    A crash or hang of the exchange's SDK then ends that process and not this one. Never raises.
    """
    try:
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        pid = fork_process(lambda: _cancel_and_tell(settings, log, write_end), lambda: os.close(read_end))
    except OSError as error:
        log.error("last_resort_not_apart", error=str(error))
        return cancel_entries(settings, log)
    os.close(write_end)
    deadline = time.monotonic() + LAST_RESORT_S
    os.set_blocking(read_end, False)
    body = b""
    try:
        while (left := deadline - time.monotonic()) > 0:
            signals.wait(left, (read_end,))
            heed()
            with contextlib.suppress(BlockingIOError):
                part = os.read(read_end, 65_536)
                if not part:
                    break
                body += part
    finally:
        os.close(read_end)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # it is our unreaped child; one that has told everything is done
        _, status = os.waitpid(pid, 0)
    try:
        told = orjson.loads(body)
        return LastResort(told["cancelled"], tuple(told["still_open"]), told["proven"], told["error"])
    except (ValueError, KeyError, TypeError):
        return LastResort(0, (), False, f"no answer from the cancelling process (status {status})")


def _cancel_and_tell(settings: Settings, log: Log, write_end: int) -> int:
    done = cancel_entries(settings, log)
    os.write(write_end, orjson.dumps(done))
    return 0


def record_death(settings: Settings, log: Log, why: str, incarnation: int, beat: Heartbeat | None) -> None:
    """The crash record of a root that died or hung, by its parent: with its last heartbeat."""
    clock = SystemClock()
    extra: dict[str, object] = {"recorded_by": "run", "epoch": settings.epoch}
    extra["last_beat"] = crash.describe_beat(beat, clock.boot_ns())
    try:
        crash.write_record(
            settings.crash_dir,
            utc_ns=clock.utc_ns(),
            name="root",
            incarnation=incarnation,
            pid=beat.pid if beat else 0,
            cause={"type": "Died", "text": why, "frames": []},
            config_hash=settings.config_hash,
            build=settings.build,
            mode=settings.mode,
            extra=extra,
        )
    except OSError as error:
        log.error("no_crash_record", child="root", error=str(error))
