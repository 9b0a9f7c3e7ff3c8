"""Every length of a data folder's path has a socket folder that the actor system takes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from config.paths import MEMORY, run_dir
from supervision.transport_process import MAX_NAME, SUN_PATH_MAX


@pytest.mark.parametrize("length", range(50, 90))
@pytest.mark.parametrize("memory", [MEMORY, Path("/no/such/folder")])
def test_a_socket_name_fits_into_the_run_folder(length: int, memory: Path) -> None:
    data_dir = Path("/" + "d" * (length - 1))
    assert len(os.fsencode(run_dir(data_dir, memory))) + 1 + MAX_NAME <= SUN_PATH_MAX


def test_sockets_are_apart_from_the_data_folder_and_each_has_its_own(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert run_dir(one, tmp_path) != run_dir(other, tmp_path)
    assert not run_dir(one, tmp_path).is_relative_to(one)
    (tmp_path / "link").symlink_to(one)
    assert run_dir(tmp_path / "link", tmp_path) == run_dir(one, tmp_path)


def test_without_a_file_system_in_memory_sockets_live_in_the_data_folder_when_they_fit(tmp_path: Path) -> None:
    assert run_dir(Path("/srv/data"), tmp_path / "none") == Path("/srv/data/run")


def test_containers_that_share_memory_and_call_their_folders_alike_do_not_share_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = run_dir(Path("/srv/data"), tmp_path)
    monkeypatch.setattr(os, "readlink", lambda _path: "pid:[1]")
    assert run_dir(Path("/srv/data"), tmp_path) != here
