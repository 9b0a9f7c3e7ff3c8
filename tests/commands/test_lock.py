"""The lock on a data folder: a full disk is a refusal with its reason, and holds nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from actors.gateway.lock import GatewayLock
from commands.prepare import LockedError, Refused, lock_data_dir


def test_a_full_disk_refuses_the_start_and_leaves_the_lock_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("commands.prepare.os.pwrite", full)
        with pytest.raises(Refused, match="No space left"):
            lock_data_dir(tmp_path)
    os.close(lock_data_dir(tmp_path))


def test_a_held_folder_names_its_holder(tmp_path: Path) -> None:
    held = lock_data_dir(tmp_path)
    with pytest.raises(LockedError, match=str(os.getpid())):
        lock_data_dir(tmp_path)
    os.close(held)


def test_a_disk_that_turned_read_only_still_lets_the_one_gateway_hold_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, really = tmp_path / "gateway.lock", os.open
    first = GatewayLock(path)
    assert first.try_acquire()

    def read_only(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & (os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, "Read-only file system")
        return really(path, flags, mode)

    monkeypatch.setattr("actors.durable.os.open", read_only)
    second = GatewayLock(path)
    assert not second.try_acquire()
    first.release()
    assert second.try_acquire() and second.held()
    second.release()
    with pytest.raises(OSError, match="Read-only"):
        GatewayLock(tmp_path / "never-made.lock").try_acquire()
