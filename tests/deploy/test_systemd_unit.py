"""What deploys the daemon fits it: the unit file, the Dockerfile, the README's words on containers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from commands.aftermath import LAST_RESORT_S
from commands.options import make_parser
from commands.pager import TRY_S
from commands.tree_life import STOP_PROOF_S, TREE_STOP_S

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy" / "trading-daemon.service"
LONGEST_STOP_S = 2 * STOP_PROOF_S + TREE_STOP_S + LAST_RESORT_S + TRY_S + 1


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


def test_nobody_kills_the_daemon_while_it_still_proves_its_stop() -> None:
    unit = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    container = re.search(r"--stop-timeout (\d+)", (ROOT / "README.md").read_text())
    assert unit is not None and container is not None
    assert int(unit[1]) >= LONGEST_STOP_S
    assert int(container[1]) >= LONGEST_STOP_S


def test_the_commands_of_unit_and_image_are_ones_that_the_command_line_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    words = re.search(r"^ExecStart=\S+ run\.py (.+)$", UNIT.read_text(), re.MULTILINE)
    assert words is not None and make_parser().parse_args(words[1].split()).mode == "dry_run"
    image = (ROOT / "Dockerfile").read_text()
    assert 'CMD ["python", "run.py", "status", "--live"]' in image and "STOPSIGNAL SIGTERM" in image
    monkeypatch.setenv("TRADING_DAEMON_DATA", "/data")
    assert "TRADING_DAEMON_DATA=/data" in image
    assert make_parser().parse_args(["status", "--live"]).data_dir == Path("/data")


def test_the_image_holds_every_package_that_the_daemon_imports() -> None:
    image = (ROOT / "Dockerfile").read_text()
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert packages and [name for name in packages if f"COPY {name} ./{name}" not in image] == []
