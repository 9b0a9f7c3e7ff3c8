"""The strategy's process seen from outside: started, asked with a deadline, killed when it does not answer.

All calls block up to their deadline and belong in one worker thread; only ``strike`` may be called from elsewhere.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import orjson

import actors
from actors.clock import NS_PER_MS, NS_PER_S, Clock, SystemClock
from actors.strategist import wire
from actors.strategist.api import Idea, MarketView
from config.sections.strategist import StrategistSettings
from config.settings import ConfigError

_KEPT_ENVIRONMENT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV", "PYTHONHASHSEED")
"""The strategy's process sees these variables and no others: keys may be in the environment."""


class FaultKind(StrEnum):
    """How a strategy can fail: a closed list."""

    START = "start"
    CRASH = "crash"
    OVERRUN = "overrun"
    DIED = "died"
    GARBAGE = "garbage"
    DEMO_ONLY = "demo_only"


class StrategyFaultError(Exception):
    """The strategy gave no usable answer; its process is gone and will be started anew."""

    def __init__(self, kind: FaultKind, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Decision:
    """The ideas of one decision and how long the strategy took."""

    ideas: tuple[Idea, ...]
    took_s: float


class StrategyProcess:
    """One strategy in a process of its own, with no inherited secrets.

    It stays in the daemon's process group, so that whatever it leaves behind ends with the daemon at the latest.
    """

    def __init__(self, settings: StrategistSettings, log_path: Path, *, live: bool, clock: Clock | None = None) -> None:
        self._settings = settings
        self._log_path = log_path
        self._live = live
        self._clock = clock or SystemClock()
        self._process: subprocess.Popen[bytes] | None = None
        self._to_child = -1
        self._from_child = -1
        self.starts = 0

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def decide(self, view: MarketView) -> Decision:
        """Ask for one decision, starting the process if need be; raises StrategyFaultError."""
        try:
            if self._process is None:
                self._start()
            began = self._clock.boot_ns()
            deadline = began + round(self._settings.decide_timeout_s * NS_PER_S)
            payload = pickle.dumps(view, protocol=pickle.HIGHEST_PROTOCOL)
            self._write(wire.frame(payload), deadline)
            answer = self._read(deadline)
            if "ideas" not in answer:
                raise self._told(answer)
            return Decision(wire.ideas_from_json(answer["ideas"]), (self._clock.boot_ns() - began) / NS_PER_S)
        except wire.AnswerError as error:
            self.kill()
            raise StrategyFaultError(FaultKind.GARBAGE, str(error)) from error
        except BaseException:
            self.kill()
            raise

    def start(self) -> bool:
        """Start and make the strategy without asking it anything; True when it is demo-only."""
        try:
            return self._start()
        except BaseException:
            self.kill()
            raise

    def strike(self) -> None:
        """Kill the process without waiting; the thread that asked it cleans up after it."""
        process = self._process
        if process is not None:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it is dead already

    def kill(self) -> None:
        """End the process and close the pipes."""
        self.strike()
        process, self._process = self._process, None
        if process is not None:
            try:
                process.wait(timeout=1.0)
            except subprocess.TimeoutExpired:
                pass  # in an uninterruptible sleep: it dies when it wakes
        for fd in (self._to_child, self._from_child):
            if fd >= 0:
                os.close(fd)
        self._to_child = self._from_child = -1

    def _start(self) -> bool:
        self._spawn()
        deadline = self._clock.boot_ns() + round(self._settings.start_timeout_s * NS_PER_S)
        self._write(wire.frame(orjson.dumps(dict(self._settings.params))), deadline)
        answer = self._read(deadline)
        if answer.get("ready") is not True:
            fault = self._told(answer)
            raise StrategyFaultError(FaultKind.START, fault.detail)
        demo_only = answer.get("demo_only")
        if not isinstance(demo_only, bool):
            raise StrategyFaultError(FaultKind.GARBAGE, "demo_only is no truth value")
        if demo_only and self._live:
            raise StrategyFaultError(FaultKind.DEMO_ONLY, f"{self._settings.strategy} is demo-only, never for money")
        return demo_only

    def _spawn(self) -> None:
        child_in, self._to_child = os.pipe2(os.O_CLOEXEC)
        self._from_child, child_out = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._to_child, False)
        os.set_blocking(self._from_child, False)
        settings = self._settings
        command = [sys.executable, "-m", "actors.strategist.host", settings.strategy, str(child_in), str(child_out)]
        command += [str(settings.memory_mb), str(os.getpid())]
        try:
            self._log_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._log_path.open("wb") as log:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(child_in, child_out),
                    env=_environment(os.environ),
                )
        except OSError as error:
            raise StrategyFaultError(FaultKind.START, f"no process: {error}") from error
        finally:
            os.close(child_in)
            os.close(child_out)
        self.starts += 1

    def _write(self, data: bytes, deadline: int) -> None:
        rest = memoryview(data)
        while rest:
            self._wait(self._to_child, select.POLLOUT, deadline)
            try:
                rest = rest[os.write(self._to_child, rest) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                return  # its last words, or its exit status, are read next

    def _read(self, deadline: int) -> dict[str, object]:
        size = wire.HEADER.unpack(self._read_exactly(wire.HEADER.size, deadline))[0]
        if size > wire.MAX_ANSWER:
            raise StrategyFaultError(FaultKind.GARBAGE, f"an answer of {size} bytes, at most {wire.MAX_ANSWER}")
        try:
            answer = orjson.loads(self._read_exactly(size, deadline))
        except orjson.JSONDecodeError as error:
            raise StrategyFaultError(FaultKind.GARBAGE, f"not JSON: {error}") from error
        if not isinstance(answer, dict):
            raise StrategyFaultError(FaultKind.GARBAGE, "no JSON object")
        return answer

    def _read_exactly(self, count: int, deadline: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            self._wait(self._from_child, select.POLLIN, deadline)
            try:
                part = os.read(self._from_child, count - len(parts))
            except BlockingIOError:
                continue
            if not part:
                raise StrategyFaultError(FaultKind.DIED, f"its process ended ({self._exit_text()})")
            parts += part
        return bytes(parts)

    def _wait(self, fd: int, event: int, deadline: int) -> None:
        left_ns = deadline - self._clock.boot_ns()
        poll = select.poll()
        poll.register(fd, event)
        if left_ns <= 0 or not poll.poll(left_ns / NS_PER_MS):
            raise StrategyFaultError(FaultKind.OVERRUN, "no answer within its time; killed")

    def _exit_text(self) -> str:
        """How it ended, without reaping it: its pid must stay its own until ``kill``."""
        assert self._process is not None
        pid = self._process.pid
        pidfd = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            if not poll.poll(500):
                return "it closed its pipe"
        finally:
            os.close(pidfd)
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if ended is None:
            return "unknown"
        return f"{'exit code' if ended.si_code == os.CLD_EXITED else 'signal'} {ended.si_status}"

    def _told(self, answer: Mapping[str, object]) -> StrategyFaultError:
        kind = FaultKind.CRASH if answer.get("kind") == "crash" else FaultKind.GARBAGE
        return StrategyFaultError(kind, str(answer.get("error", "an answer without ideas"))[: wire.MAX_TEXT * 4])


def _environment(whole: Mapping[str, str]) -> dict[str, str]:
    kept = {name: whole[name] for name in _KEPT_ENVIRONMENT if name in whole}
    root = str(Path(actors.__file__).resolve().parent.parent)
    kept["PYTHONPATH"] = os.pathsep.join(part for part in (root, kept.get("PYTHONPATH", "")) if part)
    return kept


def check_strategy(settings: StrategistSettings, log_path: Path, *, live: bool) -> bool:
    """Start the configured strategy once and end it; True when it is demo-only. Raises ConfigError."""
    process = StrategyProcess(settings, log_path, live=live)
    try:
        return process.start()
    except StrategyFaultError as fault:
        raise ConfigError(f"policy.yaml: strategist.strategy: {settings.strategy}: {fault.detail}") from fault
    finally:
        process.kill()
