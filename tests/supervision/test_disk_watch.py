"""Looking at the disk: what it takes, what it refuses, and a look that does not come back."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

from supervision.disk_watch import DiskWatch, look_at_disk
from tests.actors.harness import InlineWorker


def test_a_disk_that_takes_writes_and_has_room_is_fine_and_nothing_is_left_there(tmp_path: Path) -> None:
    (tmp_path / "disk.probe").write_bytes(b"of a daemon that died there")
    assert look_at_disk(tmp_path, 0) == ""
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_said_with_both_figures(tmp_path: Path) -> None:
    assert look_at_disk(tmp_path, 1 << 62).endswith(f"bytes free, limit {1 << 62}")


def test_what_refuses_the_write_is_said_with_its_folder(tmp_path: Path) -> None:
    assert "No such file" in look_at_disk(tmp_path / "gone", 0)
    (tmp_path / "disk.probe").mkdir()
    assert look_at_disk(tmp_path, 0).startswith(f"{tmp_path} cannot be written")


def test_room_that_ends_within_the_write_is_found(tmp_path: Path) -> None:
    """The kernel's own limit on a file's size stands for a quota: a part of the block is taken."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        os._exit(0 if "cannot be written" in look_at_disk(tmp_path, 0) else 1)
    assert os.waitpid(pid, 0)[1] == 0


def watch(answers: list[str]) -> tuple[DiskWatch, InlineWorker, list[str]]:
    worker, told = InlineWorker("disk"), list[str]()
    return DiskWatch(worker, lambda: answers.pop(0), 2.0, told.append), worker, told  # type: ignore[arg-type]


def test_each_look_is_told_the_good_ones_too() -> None:
    one, worker, told = watch(["full", ""])
    for _ in range(2):
        one.start()
        worker.run()
    assert told == ["full", ""]


def test_a_look_that_hangs_is_told_and_not_repeated_until_it_has_come_back() -> None:
    one, worker, told = watch([""])
    one.start()
    work, _ = worker.waiting[0]
    one._has_begun = True  # the thread is in the kernel by now
    worker.time_out()
    assert told == ["no write came back within 2 s"]
    one.start()
    assert worker.queued() == 0, "one thread hangs there already"
    work()
    one.start()
    assert worker.queued() == 1


def test_a_look_that_never_began_is_repeated() -> None:
    one, worker, told = watch([""])
    one.start()
    worker.time_out()
    assert told, "a thread that does not run is no proof of a good disk"
    one.start()
    assert worker.queued() == 1
