"""Every length of a data folder's path has a socket folder that the actor system takes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from config.paths import run_dir
from supervision.transport_process import MAX_NAME, SUN_PATH_MAX


@pytest.mark.parametrize("length", range(50, 90))
def test_a_socket_name_fits_into_the_run_folder(length: int) -> None:
    data_dir = Path("/" + "d" * (length - 1))
    assert len(os.fsencode(run_dir(data_dir))) + 1 + MAX_NAME <= SUN_PATH_MAX
