"""The embedded simulator: its own process session, started before the tree and stopped after it."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
READY_S = 15.0
STOP_S = 5.0


class SimulatorError(Exception):
    """The simulator did not start, or the one that was named cannot be reached."""


@dataclass(frozen=True, slots=True)
class VenueAt:
    """Where a simulated venue is."""

    rest: str
    ws: str
    ws_user: str
    control_url: str
    ca_file: Path
    key_file: Path


class EmbeddedSimulator:
    """``python -m simulator`` as a child that dies with us; its books stay in the data folder."""

    def __init__(self, folder: Path, source: str, symbols: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._ready_file = folder / "ready.json"
        self._ready_file.unlink(missing_ok=True)
        self._log = (folder / "simulator.log").open("ab")
        command = [sys.executable, "-m", "simulator", "--source", source, "--data-dir", str(folder)]
        command += ["--ready-file", str(self._ready_file), "--die-with-parent", str(os.getpid())]
        command += ["--replay-time", "wall"]
        if source.startswith("synthetic"):
            command += ["--symbols", ",".join(symbols)]
        self.process = subprocess.Popen(
            command,
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def wait_ready(self) -> VenueAt:
        """Where it is; raises SimulatorError when it ended or took longer than READY_S."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self._ready_file.exists():
                return venue_from(json.loads(self._ready_file.read_text()))
            if self.process.poll() is not None:
                raise SimulatorError(f"the simulator ended with {self.process.returncode}: see {self._log.name}")
            time.sleep(0.01)
        self.stop()
        raise SimulatorError(f"the simulator was not ready within {READY_S:g} s: see {self._log.name}")

    def stop(self) -> None:
        """SIGTERM, then SIGKILL."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._log.close()


def find_simulator(url: str, ca_file: Path | None) -> VenueAt:
    """Ask a simulator that runs apart where everything is; raises SimulatorError."""
    context = None
    if url.startswith("https://"):
        if ca_file is None:
            raise SimulatorError(f"--simulator-url {url}: --simulator-ca FILE is needed to verify it")
        try:
            context = ssl.create_default_context(cafile=os.fspath(ca_file))
        except (OSError, ssl.SSLError) as error:
            raise SimulatorError(f"--simulator-ca {ca_file}: {error}") from error
    elif not url.startswith("http://"):
        raise SimulatorError(f"--simulator-url {url}: expected http://HOST:PORT (control) or https://HOST:PORT")
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/control/info", timeout=5, context=context) as answer:  # noqa: S310
            found = venue_from(json.load(answer))
    except (urllib.error.URLError, OSError, ValueError, KeyError) as error:
        raise SimulatorError(f"--simulator-url {url}: no simulator answers there: {error}") from error
    if ca_file is None:
        return found
    return VenueAt(found.rest, found.ws, found.ws_user, found.control_url, ca_file, found.key_file)


def venue_from(ready: dict[str, object]) -> VenueAt:
    """The simulator's ready line; raises KeyError for a missing field."""
    return VenueAt(
        rest=str(ready["rest"]),
        ws=str(ready["ws"]),
        ws_user=str(ready["ws_user"]),
        control_url=str(ready["control_url"]),
        ca_file=Path(str(ready["ca_file"])),
        key_file=Path(str(ready["key_file"])),
    )
