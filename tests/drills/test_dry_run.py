"""dry_run: the public feed without a key, everything decided, nothing sent."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.drills.daemon import Daemon, SimulatorApart, Venue, config_folder, wait_for


def test_dry_run_without_a_key_decides_and_logs_but_sends_no_order(
    daemon: Callable[..., Daemon], simulator: Callable[..., SimulatorApart], tmp_path: Path
) -> None:
    venue = simulator()
    where = venue.where
    urls = {"rest": where["rest"], "ws": where["ws"], "ws_user": where["ws_user"], "ca_file": where["ca_file"]}
    config = config_folder(
        tmp_path / "config",
        venue=urls,
        strategist={"strategy": "tests.drills.strategies:Churn", "cycle_s": 1},
        risk={"cooldown_symbol_s": 1},
    )
    one = daemon(config=config, mode="dry_run")
    status = one.wait_run(60)
    assert status["mode"] == "dry_run"
    assert status["simulated"] is True
    wait_for(
        lambda: [line for line in one.log_lines() if line.get("event") == "would_send"], "a would-be order", 60, 0.5
    )
    requests = Venue(venue.control_url).requests()
    assert requests, "the public endpoints were read"
    assert not [r for r in requests if r["method"] == "POST"], "nothing that could change anything was sent"
    assert not [r for r in requests if "/market/" not in r["path"] and "/time" not in r["path"]], "public paths only"
    assert one.export()["fills"] == []
    assert one.terminate() == 0, one.tail()


def test_status_live_answers_fast_and_by_the_health_file_alone(tmp_path: Path) -> None:
    """No timing here: that it imports nothing heavy is what makes it fast."""
    import sys

    (tmp_path / "health").touch()
    code = (
        "import sys, runpy; sys.argv = ['run.py', 'status', '--live', '--data-dir', sys.argv[1]];\n"
        "try: runpy.run_path('run.py', run_name='__main__')\n"
        "except SystemExit as end: print(end.code, [m for m in ('pydantic', 'thespian', 'orjson') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert "0 []" in done.stdout, done.stdout + done.stderr
