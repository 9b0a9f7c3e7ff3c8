"""Starts the real daemon (and a simulator apart from it) for drills, and asks both what is true.

Every process started here is ended by its own pid. Conditions are waited for with a deadline.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from config.paths import admin_socket, run_dir

PROJECT = Path(__file__).resolve().parents[2]
RUN = [sys.executable, str(PROJECT / "run.py")]
READY_S = 40.0
Json = dict[str, Any]


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 30.0, step_s: float = 0.05) -> Any:
    """The first true value of ``condition``; fails with ``what`` after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}; last seen: {found!r}")
        time.sleep(step_s)


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment without exchange keys and certificate overrides."""
    dropped = ("COINBASE_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SENTRY_DSN", "TRADING_DAEMON_")
    return {key: value for key, value in os.environ.items() if not key.startswith(dropped)} | extra


class SimulatorApart:
    """``python -m simulator`` that outlives daemons."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.arguments = arguments
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "simulator", "--data-dir", str(self.folder), "--ready-file", str(ready)]
        with (self.folder / "simulator.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.arguments], cwd=PROJECT, stdout=log, stderr=log, env=clean_environment()
            )
        wait_for(ready.exists, "the simulator to be ready", 20)
        self.where: Json = json.loads(ready.read_text())
        self.control_url: str = self.where["control_url"]

    def come_back(self, *more: str) -> None:
        """Stop, and start again at the same ports over the same orders, with further options."""
        self.stop()
        port, control = self.where["rest"].rpartition(":")[2], self.control_url.rpartition(":")[2]
        self.arguments = (*self.arguments, "--listen", f"127.0.0.1:{port}", "--control-port", control, *more)
        self.start()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()


class Venue:
    """The simulator's control API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, path: str, body: Json | None = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data=data, method=method)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def truth(self) -> Json:
        return self.call("/control/truth")

    def price(self, symbol: str, price: object, **more: object) -> Any:
        return self.call("/control/price", {"symbol": symbol, "price": str(price), **more})

    def freeze(self, symbol: str, frozen: bool = True) -> Any:
        return self.call("/control/market", {"symbol": symbol, "frozen": frozen})

    def fault(self, kind: str, **parameters: object) -> Any:
        return self.call("/control/faults", {"kind": kind, **parameters})

    def clear_faults(self) -> Any:
        return self.call("/control/faults", method="DELETE")

    def requests(self) -> list[Json]:
        found = self.call("/control/requests")
        return found["requests"] if isinstance(found, dict) else found


class Daemon:
    """``python run.py start`` as a child, and the command line against it."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        config: Path | None = None,
        mode: str = "demo",
        wait: bool = True,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.environment = environment or {}
        self.mode = mode
        self.data = folder / "data"
        self.log = folder / "daemon.log"
        self.arguments = [*arguments]
        if config is not None:
            self.arguments += ["--config-dir", str(config)]
        self.process: subprocess.Popen[bytes] | None = None
        self.start(wait=wait)

    def start(self, *, wait: bool = True) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [*RUN, "start", "--mode", self.mode, "--data-dir", str(self.data), "--log-format", "json"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.arguments],
                stdout=log,
                stderr=log,
                env=clean_environment(**self.environment),
                cwd=PROJECT,
            )
        if wait:
            self.wait_ready()

    def wait_ready(self, seconds: float = READY_S) -> Json:
        def ready() -> Json | None:
            assert self.process is not None
            code = self.process.poll()
            assert code is None, f"the daemon ended with {code}:\n{self.tail()}"
            status = self.status()
            return status if status is not None and status["ready"] and status["metrics_url"] else None

        try:
            return wait_for(ready, "the daemon to be ready", seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def log_lines(self) -> list[Json]:
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return found

    # --- asking ---

    def status(self) -> Json | None:
        """The admin's answer, straight from its socket; None when nobody answers."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(3)
                connection.connect(str(admin_socket(self.data)))
                connection.sendall(b'{"verb":"status"}\n')
                text = connection.makefile("rb").readline()
        except OSError:
            return None
        answer = json.loads(text) if text else {}
        return answer.get("status")

    def run(self, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Another command of run.py on this daemon's data folder."""
        return subprocess.run(
            [*RUN, arguments[0], "--data-dir", str(self.data), *arguments[1:]],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=clean_environment(),
            cwd=PROJECT,
        )

    def export(self) -> Json:
        done = self.run("export", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def actor(self, name: str) -> Json:
        """One line of the tree; a restarted admin needs a moment to hear of everybody."""

        def find() -> Json | None:
            status = self.status() or {"actors": []}
            return next((actor for actor in status["actors"] if actor["name"] == name and actor["pid"]), None)

        return wait_for(find, f"{name} to be in the status", 15)

    def wait_status(self, condition: Callable[[Json], Any], what: str, seconds: float = 60.0) -> Json:
        """The first status for which ``condition`` holds."""

        def check() -> Json | None:
            assert self.process is not None and self.process.poll() is None, f"the daemon ended:\n{self.tail()}"
            status = self.status()
            return status if status is not None and condition(status) else None

        try:
            return wait_for(check, what, seconds, 0.1)
        except AssertionError as error:
            status = self.status() or {}
            told = {key: status.get(key) for key in ("trading_state", "reasons", "problems", "reconcile", "operator")}
            raise AssertionError(f"{error}\nstatus: {json.dumps(told, indent=1)}\n{self.tail(25)}") from None

    def wait_run(self, seconds: float = 60.0) -> Json:
        return self.wait_status(lambda s: s["trading_state"] == "RUN", "the state RUN", seconds)

    def epoch(self) -> int:
        """Of the tree that lives now: a later one has a higher one."""
        status = self.status()
        assert status is not None
        return int(status["epoch"])

    @property
    def venue(self) -> Venue:
        status = self.status()
        assert status is not None
        return Venue(status["simulator_control_url"])

    # --- its processes ---

    def admin_pid(self) -> int:
        """Thespian's admin: the child of run.py that is not the simulator."""
        assert self.process is not None
        top = self.process.pid
        return next(pid for pid in descendants(top) if parent_of(pid) == top and not is_simulator(pid))

    def root_pid(self) -> int:
        admin = self.admin_pid()
        return next(pid for pid in descendants(admin) if parent_of(pid) == admin)

    def tree_pids(self) -> set[int]:
        """The admin and everything below it."""
        admin = self.admin_pid()
        return {admin, *descendants(admin)}

    def gateways(self) -> list[int]:
        """Living gateway processes below run.py, in whatever tree."""
        return [pid for pid in self.pids() if name_of(pid) == "gateway" and not is_gone(pid)]

    def zombies(self) -> list[int]:
        return [pid for pid in self.pids() if state_of(pid) == "Z"]

    def is_live(self) -> bool:
        """What HEALTHCHECK says."""
        return self.run("status", "--live").returncode == 0

    # --- ending ---

    def pids(self) -> set[int]:
        """run.py and everything below it."""
        assert self.process is not None
        return {self.process.pid, *descendants(self.process.pid)}

    def terminate(self, seconds: float = 60.0) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        assert self.process is not None
        everything = self.pids()
        self.process.kill()
        self.process.wait()
        wait_for(lambda: all(is_gone(pid) for pid in everything), "the killed daemon to be gone", 10, 0.01)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        shutil.rmtree(run_dir(self.data), ignore_errors=True)  # else left to its next start


def descendants(pid: int) -> set[int]:
    """All processes below ``pid``, read from /proc."""
    children: dict[int, set[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, set()).add(int(entry.name))
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), set()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def parent_of(pid: int) -> int:
    """0 when there is no such process any more."""
    stat = _stat(pid)
    return int(stat[1]) if stat else 0


def state_of(pid: int) -> str:
    """The kernel's letter: Z for a zombie, T for stopped; empty when it is gone."""
    stat = _stat(pid)
    return stat[0] if stat else ""


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_simulator(pid: int) -> bool:
    try:
        return b"-m\x00simulator" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_gone(pid: int) -> bool:
    """True when the process has ended (a zombie has ended too)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@contextlib.contextmanager
def apart(folder: Path, *simulator_arguments: str) -> Iterator[SimulatorApart]:
    """A simulator that outlives the daemons of the drill."""
    simulator = SimulatorApart(folder / "venue", *simulator_arguments)
    try:
        yield simulator
    finally:
        simulator.stop()


def against(simulator: SimulatorApart) -> list[str]:
    """The arguments that let a daemon trade at ``simulator``."""
    return ["--simulator-url", simulator.control_url, "--simulator-ca", simulator.where["ca_file"]]


def config_folder(folder: Path, **changes: Json) -> Path:
    """A copy of the shipped configuration with sections changed, e.g. ``strategist={"cycle_s": 1}``."""
    folder.mkdir(parents=True, exist_ok=True)
    placed = {"app.yaml": ("venue", "log", "metrics", "sentry", "alerts", "feed", "gateway", "watchdog", "supervision")}
    for name in ("app.yaml", "policy.yaml", "universe.yaml"):
        content = yaml.safe_load((PROJECT / "config" / name).read_text()) or {}
        for section, values in changes.items():
            home = "universe.yaml" if section == "instruments" else "policy.yaml"
            home = "app.yaml" if section in placed["app.yaml"] else home
            if home == name:
                merged = values if isinstance(values, list) else {**(content.get(section) or {}), **values}
                content[section] = merged
        (folder / name).write_text(yaml.safe_dump(content))
    return folder


def assert_books_agree(daemon: Daemon, venue: Venue, seconds: float = 30.0) -> tuple[Json, Json]:
    """The ledger and the venue agree on every order, fill and position; no intent was doubled."""
    problems: list[str] = []

    def agree() -> bool:
        problems[:] = differences(daemon.export(), venue.truth())
        return not problems

    try:
        wait_for(agree, "ledger and venue to agree", seconds, 0.5)
    except AssertionError:
        raise AssertionError("ledger and venue disagree:\n" + "\n".join(problems[:40])) from None
    return daemon.export(), venue.truth()


def differences(ledger: Json, truth: Json) -> list[str]:
    """Every disagreement, as a line of text."""
    found = []
    ours = {order["client_order_id"]: order for order in ledger["orders"]}
    theirs: dict[str, Json] = {}
    for order in truth["orders"]:
        if not order["client_order_id"].startswith("td-"):
            continue
        if order["client_order_id"] in theirs:
            found.append(f"doubled at the venue: {order['client_order_id']}")
        theirs[order["client_order_id"]] = order
    terminal = {"FILLED", "CANCELLED", "EXPIRED", "FAILED"}
    for key, order in theirs.items():
        mine = ours.get(key)
        if mine is None:
            found.append(f"the ledger does not know {key}")
            continue
        if Decimal(str(mine["filled_size"] or 0)) != Decimal(order["filled_size"]):
            found.append(f"{key}: filled {mine['filled_size']} in the ledger, {order['filled_size']} at the venue")
        ended = mine["state"] in {"FILLED", "CANCELLED", "EXPIRED", "REJECTED"}
        if ended != (order["status"] in terminal):
            found.append(f"{key}: {mine['state']} in the ledger, {order['status']} at the venue")
    lost = {order["client_order_id"] for order in truth.get("lost", ())}
    for key, order in ours.items():
        if key in lost and order["state"] == "CANCELLED":
            continue  # the venue had it and knows nothing of it any more
        if key not in theirs and order["state"] not in {"REJECTED"}:
            found.append(f"{key} is {order['state']} in the ledger, unknown at the venue")
    own_ids = {order["order_id"] for order in theirs.values()}
    fills = {fill["entry_id"] for fill in truth["fills"] if fill["order_id"] in own_ids}
    # What an operator vouched for and the venue then showed otherwise stays recorded, out of the books.
    stands = [fill for fill in ledger["fills"] if fill["booked"] or fill["trade_type"] != "OPERATOR"]
    booked = [fill["entry_id"] for fill in stands]
    found += [f"fill {entry} is not in the ledger" for entry in fills - set(booked)]
    found += [f"fill {entry} is in the ledger alone" for entry in set(booked) - fills]
    if len(booked) != len(set(booked)):
        found.append("a fill is booked twice")
    for symbol, quantity in net_bought(truth, own_ids).items():
        mine = sum((Decimal(p["quantity"]) for p in ledger["positions"] if p["symbol"] == symbol), Decimal(0))
        if mine != quantity:
            found.append(f"{symbol}: position {mine} in the ledger, {quantity} by the venue's fills")
    return found


def net_bought(truth: Json, own_ids: set[str]) -> dict[str, Decimal]:
    """Base bought minus sold per product, by the venue's fills of our orders."""
    net: dict[str, Decimal] = {}
    for fill in truth["fills"]:
        if fill["order_id"] in own_ids:
            sign = 1 if fill["side"] == "BUY" else -1
            net[fill["product_id"]] = net.get(fill["product_id"], Decimal(0)) + sign * Decimal(fill["size"])
    return net
