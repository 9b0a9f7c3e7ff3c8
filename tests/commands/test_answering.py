"""A disk that hangs keeps nobody waiting: neither for its answer nor for the end of the process that asked it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from commands.answering import within
from tests.drills.daemon import PROJECT, wait_for

ASKS = """
import sys, time
from pathlib import Path
from commands.answering import within
def work():
    while not Path(sys.argv[1], "thawed").exists():
        time.sleep(0.01)
    Path(sys.argv[1], "KILL").touch()
try:
    within(0.2, work)
except TimeoutError as error:
    print(error)
"""


def test_what_was_asked_is_answered_or_raised() -> None:
    assert within(30.0, lambda: ("made", 1)) == ("made", 1)

    def refuse() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught:
        within(30.0, refuse)
    assert caught.value.errno == 28


def test_one_that_hangs_is_left_behind_holds_no_output_and_goes_on_by_itself(tmp_path: Path) -> None:
    asked = subprocess.run(
        [sys.executable, "-c", ASKS, str(tmp_path)], cwd=PROJECT, capture_output=True, text=True, timeout=30
    )
    assert asked.stdout == "the disk did not answer within 0.2 s\n"
    assert not (tmp_path / "KILL").exists()
    (tmp_path / "thawed").touch()
    wait_for((tmp_path / "KILL").exists, "the disk to do what it was asked", 20)
