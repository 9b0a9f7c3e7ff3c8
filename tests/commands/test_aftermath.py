"""What follows the death of a tree, on real processes: orphans end, the old gateway is proven gone, signals count."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from actors.log import Log
from commands import aftermath
from commands.ring_signals import Signals
from config.settings import InstrumentSettings, Settings
from tests.drills.daemon import PROJECT, is_gone

ORPHANS = """
import os, subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from actors.log import Log
from commands.aftermath import end_adopted
from supervision.transport_process import become_subreaper
become_subreaper()
known = subprocess.Popen(["sleep", "60"])
read, write = os.pipe()
middle = os.fork()
if middle == 0:
    orphan = os.fork()
    if orphan == 0:
        os.setsid()
        time.sleep(60)
    os.write(write, str(orphan).encode())
    os._exit(0)
orphan = int(os.read(read, 20))
ended = end_adopted({known.pid}, Log("run"))
print(ended, orphan, known.poll() is None)
known.kill()
known.wait()
"""


def settings(folder: Path) -> Settings:
    return Settings(data_dir=folder, instruments=(InstrumentSettings(symbol="BTC-USD"),), epoch=7)


@pytest.fixture
def signals() -> Iterator[Signals]:
    before = {number: signal.getsignal(number) for number in (*signal.valid_signals(),)}
    made = Signals()
    made.catch()
    yield made
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, before[number])


def test_an_orphan_that_left_the_process_group_is_killed_and_reaped_a_known_child_is_not() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ORPHANS, str(PROJECT)], capture_output=True, text=True, timeout=30, check=True
    )
    ended, orphan, known_lives = done.stdout.split()
    assert (ended, known_lives) == ("True", "True")
    assert is_gone(int(orphan))


def test_a_gateway_that_holds_its_lock_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aftermath, "GONE_S", 0.1)
    made = settings(tmp_path)
    assert aftermath.old_gateway_is_gone(made, Log("run"))
    with (made.store_dir / "gateway.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not aftermath.old_gateway_is_gone(made, Log("run"))
    assert aftermath.old_gateway_is_gone(made, Log("run"))


def test_what_cannot_be_looked_at_is_no_proof_and_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable() -> set[int]:
        raise FileNotFoundError("/proc/1/task/1/children")

    monkeypatch.setattr(aftermath, "_children", unreadable)
    assert not aftermath.end_adopted(set(), Log("run"))
    made = settings(tmp_path)
    (made.store_dir / "gateway.lock").mkdir(parents=True)  # opens for nobody to write
    assert not aftermath.old_gateway_is_gone(made, Log("run"))


def test_without_a_key_there_is_nothing_to_cancel_and_the_answer_comes_from_the_other_process(
    tmp_path: Path, signals: Signals
) -> None:
    done = aftermath.cancel_in_child(settings(tmp_path), Log("run", "demo"), signals, signals.take)
    assert done.proven and done.cancelled == 0 and not done.error


def test_a_cancel_that_crashes_or_hangs_ends_its_process_alone_and_signals_are_heeded_meanwhile(
    tmp_path: Path, signals: Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aftermath, "cancel_entries", lambda *_: os.kill(os.getpid(), signal.SIGSEGV))
    done = aftermath.cancel_in_child(settings(tmp_path), Log("run", "demo"), signals, signals.take)
    assert not done.proven and f"status {int(signal.SIGSEGV)}" in done.error

    heard: list[int] = []
    parent = os.getpid()

    def tell_and_hang(*_: object) -> None:
        os.kill(parent, signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGSTOP)

    monkeypatch.setattr(aftermath, "cancel_entries", tell_and_hang)
    monkeypatch.setattr(aftermath, "LAST_RESORT_S", 1.0)
    done = aftermath.cancel_in_child(
        settings(tmp_path), Log("run", "demo"), signals, lambda: heard.extend(signals.take())
    )
    assert not done.proven and "status 9" in done.error
    assert heard == [signal.SIGUSR1]


def test_the_root_gets_a_crash_record_from_its_parent_even_without_a_heartbeat(tmp_path: Path) -> None:
    aftermath.record_death(settings(tmp_path), Log("run", "demo"), "the tree ended with signal 9", 2, None)
    (path,) = (tmp_path / "crash").glob("*-root-2.json")
    record = orjson.loads(path.read_bytes())
    assert record["cause"]["text"] == "the tree ended with signal 9"
    assert record["extra"] == {"recorded_by": "run", "epoch": 7, "last_beat": {}}
