"""Start the venue as a child process from a test or a drill, and hold its strings.

    with SimulatorProcess(frozen=True) as venue:
        venue.price("BTC-USD", "60000")
        venue.fault("status", status=429, match={"path": "/orders"})
        assert venue.truth()["fills"] == []
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import cast

from simulator.values import Json

START_DEADLINE_S = 30.0
STOP_DEADLINE_S = 10.0
ROOT = Path(__file__).resolve().parent.parent


class SimulatorFailedError(RuntimeError):
    """The simulator did not start, or refused a control request."""


class SimulatorProcess:
    """One `python -m simulator` child with a data directory that outlives its restarts.

    `source` is as on the command line; `balances` are given to the first start; `arguments` are further
    options. `restart` gives it the same ports again. Without `data_dir` a temporary one is made and removed.
    """

    def __init__(
        self,
        source: str = "synthetic:1",
        *,
        symbols: Sequence[str] = ("BTC-USD", "ETH-USD"),
        balances: dict[str, str] | None = None,
        data_dir: Path | None = None,
        frozen: bool = False,
        arguments: Sequence[str] = (),
    ) -> None:
        self._temporary = None if data_dir else tempfile.TemporaryDirectory(prefix="simulator-test-")
        self.data_dir = data_dir or Path(cast("tempfile.TemporaryDirectory[str]", self._temporary).name)
        self._options = ["--source", source, "--symbols", ",".join(symbols), *arguments]
        if frozen:
            self._options.append("--frozen")
        for currency, amount in (balances or {"USD": "10000"}).items():
            self._options += ["--balance", f"{currency}={amount}"]
        self._child: subprocess.Popen[bytes] | None = None
        self._ports: tuple[str, str] = ("0", "0")
        self._where: dict[str, str] = {}
        self.log_file = self.data_dir / "simulator.log"

    # -- life

    def start(self) -> SimulatorProcess:
        """Start the child and wait until it serves; raises SimulatorFailedError with its log."""
        ready = self.data_dir / "ready.json"
        ready.unlink(missing_ok=True)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, "-m", "simulator", "--data-dir", str(self.data_dir), "--ready-file", str(ready),
            "--listen", f"127.0.0.1:{self._ports[0]}", "--control-port", self._ports[1], *self._options,
        ]
        with self.log_file.open("ab") as log:
            self._child = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + START_DEADLINE_S
        while not ready.exists():
            if self._child.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise SimulatorFailedError(f"no start: {self.log_file.read_text()[-3000:]}")
            time.sleep(0.02)
        self._where = json.loads(ready.read_text())
        self._ports = (self.rest.rsplit(":", 1)[1], self.control_url.rsplit(":", 1)[1])
        return self

    def kill(self) -> None:
        """SIGKILL the child, as a power cut would."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._child = None

    def stop(self) -> int:
        """SIGTERM the child; returns its exit code (0 is an orderly stop)."""
        if self._child is None:
            return 0
        self._child.send_signal(signal.SIGTERM)
        try:
            code = self._child.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise SimulatorFailedError("no orderly stop") from None
        self._child = None
        return code

    def restart(self) -> SimulatorProcess:
        """Start again on the same ports and data; stops it first if it runs."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """End the child whatever it does, and remove a temporary data directory."""
        self.kill()
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> SimulatorProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- where it is

    @property
    def rest(self) -> str:
        """Return host:port of REST, the SDK's `base_url`."""
        return self._where["rest"]

    @property
    def ws(self) -> str:
        """Return the market feed's URL."""
        return self._where["ws"]

    @property
    def ws_user(self) -> str:
        """Return the user feed's URL."""
        return self._where["ws_user"]

    @property
    def control_url(self) -> str:
        """Return the control API's URL."""
        return self._where["control_url"]

    @property
    def ca_file(self) -> str:
        """Return the CA's certificate file, for REQUESTS_CA_BUNDLE."""
        return self._where["ca_file"]

    @property
    def key_file(self) -> str:
        """Return the API key file, the SDK's `key_file`."""
        return self._where["key_file"]

    @property
    def pid(self) -> int:
        """Return the child's process id."""
        return int(self._where["pid"])

    # -- its strings

    def control(self, method: str, path: str, body: Json | None = None) -> Json:
        """Ask the control API; raises SimulatorFailedError with its message."""
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.control_url}/control/{path}"
        request = urllib.request.Request(url, data=data, method=method)  # noqa: S310 - loopback http, our own
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with contextlib.closing(opener.open(request, timeout=60)) as answer:
                return cast("Json", json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            raise SimulatorFailedError(f"{method} {path}: {error.read().decode()}") from None

    def truth(self) -> dict[str, list[Json]]:
        """Return the venue's orders, fills and balances."""
        return cast("dict[str, list[Json]]", self.control("GET", "truth"))

    def balances(self) -> dict[str, dict[str, Decimal]]:
        """Return the true balances: currency -> available and hold."""
        rows = cast("dict[str, dict[str, str]]", self.control("GET", "truth")["balances"])
        return {currency: {name: Decimal(v) for name, v in row.items()} for currency, row in rows.items()}

    def requests(self, path: str = "") -> list[Json]:
        """Return the requests that reached the venue, of paths that contain `path`."""
        rows = cast("list[Json]", self.control("GET", "requests")["requests"])
        return [row for row in rows if path in str(row["path"])]

    def connections(self) -> list[Json]:
        """Return the open websocket connections."""
        return cast("list[Json]", self.control("GET", "connections")["connections"])

    def price(self, symbol: str, price: str | Decimal, ramp_s: float = 0.0) -> None:
        """Take a synthetic market to a price; returns when it is there."""
        self.control("POST", "price", {"symbol": symbol, "price": str(price), "ramp_s": ramp_s})

    def freeze(self, symbol: str, frozen: bool = True) -> None:
        """Stop or resume a market's walk."""
        self.control("POST", "market", {"symbol": symbol, "frozen": frozen})

    def balance(self, currency: str, available: str | Decimal) -> None:
        """Set what is available of a currency."""
        self.control("POST", "balance", {"currency": currency, "available": str(available)})

    def order(self, **body: object) -> Json:
        """Place an order as the account's owner would by hand; returns it."""
        return cast("Json", self.control("POST", "order", body)["order"])

    def rules(self, **rules: object) -> None:
        """Change how the venue behaves where more than one reading is possible."""
        self.control("POST", "rules", rules)

    def fault(self, kind: str, **params: object) -> Json:
        """Switch a fault on; count, seconds and match are parameters like the kind's own."""
        return self.control("POST", "faults", {"kind": kind, **params})

    def clear_faults(self) -> None:
        """Switch all faults off."""
        self.control("DELETE", "faults")

    def struck(self, kind: str) -> int:
        """Return how often a kind of fault has struck."""
        return cast("dict[str, int]", self.control("GET", "faults")["struck"]).get(kind, 0)

    def suspend(self) -> None:
        """SIGSTOP the child: the venue hangs."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT the child."""
        os.kill(self.pid, signal.SIGCONT)
