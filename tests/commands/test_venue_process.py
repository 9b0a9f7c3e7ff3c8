"""The embedded simulator never outlives whoever started it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.drills.daemon import PROJECT, is_gone, wait_for

DIES_AT_ONCE = """
import os, signal, sys
from pathlib import Path
from commands.venue_process import EmbeddedSimulator
print(EmbeddedSimulator(Path(sys.argv[1]), "synthetic:1", ["BTC-USD"]).process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_simulator_whose_parent_died_before_it_could_look_ends_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DIES_AT_ONCE, str(tmp_path)], cwd=PROJECT, capture_output=True, text=True, timeout=30
    )
    pid = int(done.stdout)
    try:
        wait_for(lambda: is_gone(pid), "the simulator to end", 20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not (tmp_path / "ready.json").exists()
