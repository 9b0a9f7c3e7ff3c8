"""The unit file is one that systemd understands whole."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parents[2] / "deploy" / "trading-daemon.service"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_systemd_understands_every_key(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    # verify also looks for the program, which is installed on the target only
    unit.write_text(UNIT.read_text().replace("/opt/trading-daemon/.venv/bin/python", "/bin/sh"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert complaints == []  # exit code 0 alone proves nothing: a misspelt key is only a warning


def test_the_unit_stops_in_order_and_does_not_repeat_refusals() -> None:
    text = UNIT.read_text()
    for line in ("Type=notify", "KillMode=mixed", "RestartPreventExitStatus=2 3"):
        assert line in text
