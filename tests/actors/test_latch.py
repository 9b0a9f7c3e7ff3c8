"""The kill latch survives a power cut from the moment that it is told as set, whoever sets it and how often."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from actors import durable
from actors.latch import create_latch, latch_exists, read_latch, remove_latch

UTC_NS = 1_786_309_548_000_000_000


def test_the_file_is_synced_before_its_name_and_both_before_it_is_told_as_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")).name)
        real(fd)

    monkeypatch.setattr(durable.os, "fsync", fsync)
    assert create_latch(tmp_path / "KILL", "drill", "me", UTC_NS)
    assert synced == ["KILL", tmp_path.name]
    assert read_latch(tmp_path / "KILL") == "drill (by me)"


def test_a_latch_whose_maker_died_before_syncing_is_synced_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "KILL").touch()
    synced: list[Path] = []
    monkeypatch.setattr(durable, "sync_folder", synced.append)
    assert not create_latch(tmp_path / "KILL", "again", "me", UTC_NS)
    assert synced == [tmp_path]
    assert read_latch(tmp_path / "KILL") == ""


def test_a_latch_whose_words_find_no_room_latches_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, body: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable.os, "write", full)
    assert create_latch(tmp_path / "KILL", "drill", "me", UTC_NS)
    assert latch_exists(tmp_path / "KILL")
    assert read_latch(tmp_path / "KILL") == ""


def test_a_replaced_file_is_whole_or_the_old_one_on_a_disk_that_takes_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    durable.replace(tmp_path / "epoch", b"12345")
    real, room = os.write, [3]

    def nearly_full(fd: int, body: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real(fd, body[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(durable.os, "write", nearly_full)
    with pytest.raises(OSError, match="No space"):
        durable.replace(tmp_path / "epoch", b"67890")
    assert (tmp_path / "epoch").read_bytes() == b"12345"


def test_a_lock_on_a_read_only_disk_is_one_that_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = durable.open_or_read(tmp_path / "gateway.lock")
    real = os.open

    def read_only(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return real(path, flags, mode)

    monkeypatch.setattr(durable.os, "open", read_only)
    second = durable.open_or_read(tmp_path / "gateway.lock")
    fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with pytest.raises(BlockingIOError):
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(second)
    os.close(first)


def test_a_latch_that_cannot_be_looked_at_counts_as_set(tmp_path: Path) -> None:
    assert not latch_exists(tmp_path / "KILL")
    assert latch_exists(tmp_path / "gone" / "KILL")
    (tmp_path / "file").touch()
    assert latch_exists(tmp_path / "file" / "KILL")


def test_a_latch_made_by_hand_is_read_as_it_is_and_removed(tmp_path: Path) -> None:
    (tmp_path / "KILL").write_text("stop it\n")
    assert read_latch(tmp_path / "KILL") == "stop it"
    remove_latch(tmp_path / "KILL")
    remove_latch(tmp_path / "KILL")
    assert not latch_exists(tmp_path / "KILL")
