"""Crash records reach a Sentry-compatible server (kent, started here), also after it was down."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.drills.daemon import Daemon, config_folder, wait_for

KENT = Path(sys.executable).parent / "kent-server"
pytestmark = pytest.mark.skipif(not KENT.exists(), reason="kent is not installed (make install does it)")


class Kent:
    """``kent-server`` on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self._log = (folder / "kent.log").open("ab")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.dsn = f"http://public@127.0.0.1:{self.port}/1"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [str(KENT), "run", "-h", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log)
        wait_for(lambda: self._get("/api/eventlist/") is not None, "kent to answer", 20)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)

    def events(self) -> list[str]:
        """Every stored event as text."""
        listed = self._get("/api/eventlist/") or {"events": []}
        ids = [event["event_id"] if isinstance(event, dict) else event for event in listed["events"]]
        return [json.dumps(self._get(f"/api/event/{one}")) for one in ids]

    def _get(self, path: str) -> dict | None:  # type: ignore[type-arg]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return json.load(answer)
        except OSError:
            return None


@pytest.fixture
def kent(tmp_path: Path) -> Iterator[Kent]:
    server = Kent(tmp_path)
    yield server
    server.stop()


def test_a_killed_actor_is_reported_once_the_server_is_back_and_no_secret_goes_along(
    daemon: Callable[..., Daemon], kent: Kent, tmp_path: Path
) -> None:
    config = config_folder(tmp_path / "config", sentry={"upload_interval_s": 0.5})
    one = daemon(config=config, environment={"SENTRY_DSN": kent.dsn})
    one.wait_run()
    pid = one.actor("risk")["pid"]
    os.kill(pid, signal.SIGKILL)  # the server is down: the record has to wait on disk
    wait_for(lambda: list((one.data / "crash").glob("*-risk-*.json")), "the crash record", 10)
    one.wait_run()
    kent.start()
    found = wait_for(lambda: [event for event in kent.events() if "risk" in event], "the event at the server", 60, 0.5)
    assert "signal 9" in found[0]
    assert "PRIVATE KEY" not in "".join(kent.events())
    wait_for(lambda: list((one.data / "crash" / "sent").glob("*-risk-*.json")), "the record to be filed as sent", 20)
