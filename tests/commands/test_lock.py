"""The lock on a data folder: a full disk is a refusal with its reason, and holds nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
