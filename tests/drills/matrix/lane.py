"""One daemon and one venue apart from it, used for many cases; made anew when a case leaves doubts."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import sqlite3
import time
import urllib.parse
from decimal import Decimal
from pathlib import Path
from typing import Any

from commands.export import NoLedgerError, export
from tests.drills.daemon import (
    Daemon,
    Json,
    SimulatorApart,
    against,
    config_folder,
    descendants,
    differences,
    is_gone,
    net_bought,
    wait_for,
)
from tests.drills.matrix.cases import SYMBOLS

MAX_ORDER, ALLOTTED = Decimal(100), Decimal(500)
JWT_LIFE_S = 4.0
NOTIONAL = "90"
"""An entry nearly as large as a position may be: a doubled one breaks the limit."""
PARTS = ("tracker", "gateway", "risk", "reconciler", "watchdog", "feed", "strategist", "alerts", "metrics")
SHORTENED = {
    "capital": {"allotted": str(ALLOTTED), "max_order": str(MAX_ORDER)},
    "venue": {"jwt_life_s": JWT_LIFE_S},
    "watchdog": {"half_open_s": 0.5, "probe_s": 0.5, "hold_max_s": 1, "product_mode_s": 2},
    "reconciler": {"interval_s": 4},
    "risk": {
        "cooldown_symbol_s": 0, "max_orders_per_minute": 1000, "repeat_limit": 1000, "losing_streak": 1000,
        "balance_refresh_s": 1, "daily_loss_pct": 100, "weekly_loss_pct": 100, "max_drawdown_pct": 100,
    },
    "guard": {"band_bps": 10_000, "max_volatility_bps": 10_000},
    "orders": {"entry_life_s": 4},
    "gateway": {"requests_per_hour": 10_000, "rejections_trip": 100, "rate_limit_quiet_s": 2},
    "supervision": {"unclean_starts": 1000, "max_restarts": 20},
}  # fmt: skip
"""What differs from the shipped configuration, so that hundreds of faults fit into an hour; the rest is as shipped."""
EXIT_PAUSE_S = 2.3
IN_DOUBT = ("INTENT", "SUBMITTING", "UNKNOWN", "PENDING_CANCEL")
TERMINAL = ("FILLED", "CANCELLED", "EXPIRED", "FAILED")


class VenueLine:
    """The simulator's control API over one kept connection; one thread uses it."""

    def __init__(self, url: str) -> None:
        where = urllib.parse.urlsplit(url)
        assert where.hostname is not None
        self._connection = http.client.HTTPConnection(where.hostname, where.port, timeout=30)

    def call(self, path: str, body: Json | None = None, method: str | None = None) -> Any:
        data = None if body is None else json.dumps(body)
        method = method or ("GET" if body is None else "POST")
        headers = {"Content-Type": "application/json"}
        try:
            self._connection.request(method, path, data, headers)
            answer = self._connection.getresponse()
        except (http.client.HTTPException, OSError):
            self._connection.close()
            self._connection.request(method, path, data, headers)
            answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode(errors='replace')}")
        return json.loads(text or b"null")

    def truth(self, orders_from: int = 0, fills_from: int = 0) -> Json:
        return self.call(f"/control/truth?orders_from={orders_from}&fills_from={fills_from}")

    def requests(self, after: int = 0) -> Json:
        return self.call(f"/control/requests?after={after}")

    def fault(self, kind: str, **parameters: object) -> Any:
        return self.call("/control/faults", {"kind": kind, **parameters})

    def clear_faults(self) -> None:
        self.call("/control/faults", method="DELETE")

    def rules(self, **rules: object) -> None:
        self.call("/control/rules", rules)

    def price(self, symbol: str, price: Decimal) -> None:
        self.call("/control/price", {"symbol": symbol, "price": str(price.quantize(Decimal("0.01")))})

    def trade(self, symbol: str, price: Decimal, size: Decimal, maker_side: str) -> None:
        body = {"symbol": symbol, "price": str(price), "size": str(size), "maker_side": maker_side}
        self.call("/control/trade", body)


class Lane:
    """Where cases run, one after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fresh = 0
        self.simulator: SimulatorApart | None = None
        self.daemon: Daemon | None = None
        self.venue: VenueLine
        self.commands: Path
        self._commanded = 0
        self._last_exit = 0.0

    # --- life ---

    def open(self) -> None:
        """A new venue and a new daemon, unless there are some."""
        if self.simulator is not None:
            return
        self.fresh += 1
        while (home := self.folder / f"life{self.fresh}").exists():
            self.fresh += 1
        self.commands = home / "commands"
        self.commands.mkdir(parents=True)
        self.simulator = SimulatorApart(
            home / "venue", "--frozen", "--symbols", ",".join(SYMBOLS), "--maker-fee", "0.0001",
            "--taker-fee", "0.0001", "--source", f"synthetic:{self.fresh}",
        )  # fmt: skip
        self.venue = VenueLine(self.simulator.control_url)
        strategist = {
            "strategy": "tests.drills.strategies:Commanded", "cycle_s": 0.2, "params": {"folder": str(self.commands)},
        }  # fmt: skip
        traded = [{"symbol": symbol} for symbol in SYMBOLS]
        config = config_folder(home / "config", strategist=strategist, instruments=traded, **SHORTENED)  # type: ignore[arg-type]
        self.daemon = Daemon(home / "daemon", *against(self.simulator), config=config)
        self.daemon.wait_run(60)

    def close(self) -> None:
        """End both; the next ``open`` makes new ones."""
        if self.daemon is not None:
            self.daemon.close()
        if self.simulator is not None:
            self.simulator.stop()
        self.daemon = self.simulator = None

    @property
    def running(self) -> Daemon:
        assert self.daemon is not None
        return self.daemon

    def ended(self) -> int | None:
        """The exit code of run.py, None while it runs."""
        assert self.running.process is not None
        return self.running.process.poll()

    # --- processes ---

    def pid_of(self, actor: str) -> int:
        """The pid of an actor, of a supervisor, of ``root`` or of ``run.py``."""
        process = self.running.process
        assert process is not None
        if actor == "run.py":
            return process.pid
        if actor == "root":
            names = {pid: _name(pid) for pid in descendants(process.pid)}
            found = [pid for pid, name in names.items() if name == "root" and not is_gone(pid)]
            assert len(found) == 1, f"one root expected: {names}"
            return found[0]
        return int(self.running.actor(actor)["pid"])

    def stopped(self, pid: int) -> None:
        """SIGSTOP, and wait until the process stands."""
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: _state(pid) in "TtZ", f"{pid} to stand still", 2, 0.002)

    @staticmethod
    def go_on(pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def revive(self) -> bool:
        """Start run.py again when it has ended, as its host would; True when that was necessary."""
        if self.ended() is None:
            return False
        self.running.start(wait=False)
        return True

    # --- what the daemon's own files say ---

    @property
    def store(self) -> Path:
        return self.running.data / "demo"

    def ledger(self) -> Json:
        """The books as ``run.py export`` writes them."""
        try:
            return export(self.store)
        except NoLedgerError:
            return {"orders": [], "fills": [], "positions": [], "pnl": {}}

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of the ledger, read only."""
        path = self.store / "ledger.db"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)) as db:
            return db.execute(sql, values).fetchall()

    def log_since(self, offset: int) -> str:
        with self.running.log.open("rb") as file:
            file.seek(offset)
            return file.read().decode(errors="replace")

    def log_size(self) -> int:
        return self.running.log.stat().st_size

    def crash_records(self) -> int:
        return len(list((self.running.data / "crash").rglob("*.json")))

    # --- commands to the strategy ---

    def command(self, symbol: str, side: str, price: str = "take") -> Path:
        """Let the strategy propose once; the path vanishes when it did."""
        self._commanded += 1
        body = {"symbol": symbol, "side": side, "price": price, "notional": NOTIONAL}
        path = self.commands / f"{self._commanded:06d}.json"
        hidden = path.with_suffix(".new")
        hidden.write_text(json.dumps(body))
        hidden.rename(path)
        return path

    def withdraw(self) -> None:
        for path in self.commands.glob("*.json"):
            path.unlink(missing_ok=True)

    # --- is everything as it should be ---

    def doubts(self, old_pid: tuple[str, int] | None = None) -> list[str]:
        """Why this daemon is not at work as if nothing had happened; empty when it is."""
        code = self.ended()
        if code is not None:
            return [f"run.py ended with {code}"]
        status = self.running.status()
        if status is None:
            return ["nobody answers"]
        found = []
        actors = {actor["name"]: actor for actor in status["actors"]}
        for name in PARTS:
            actor = actors.get(name)
            if actor is None or actor["state"] != "running" or not actor["pid"]:
                found.append(f"{name} does not run")
        if old_pid is not None and old_pid[0] in actors and actors[old_pid[0]]["pid"] == old_pid[1]:
            found.append(f"{old_pid[0]} was not replaced")
        if status["trading_state"] != "RUN" or status["per_symbol"]:
            reasons = [*status.get("reasons", []), *map(str, status["per_symbol"])]
            found.append(f"{status['trading_state']}: {'; '.join(map(str, reasons))}")
        exposure = status["exposure"]
        if exposure is None or exposure["unavailable"]:
            found.append(f"risk lacks {exposure and exposure['unavailable']}")
        feed = status["feed"]
        if feed is None or any(one["state"] != "live" for one in feed["connections"]):
            found.append("the feed is not live")
        elif not all(one["fresh"] for one in feed["symbols"]):
            found.append("a symbol is not fresh")
        return found or self.disagreements()  # the books are compared when everybody could have read them

    def disagreements(self) -> list[str]:
        """Where ledger and venue differ, and orders whose fate is open."""
        ledger = self.ledger()
        found = differences(ledger, self.venue.truth())
        in_doubt = [order for order in ledger["orders"] if order["state"] in IN_DOUBT]
        return found + [f"{order['client_order_id']} is {order['state']}" for order in in_doubt]

    def flatten(self, symbol: str, seconds: float, orders_from: int = 0, fills_from: int = 0) -> list[str]:
        """Sell what is held, let entries end; what is left over when the time is up, as text.

        ``orders_from``, ``fills_from``: from where on the venue's books are looked at, flat before.
        """
        end = time.monotonic() + seconds
        next_sell = 0.0
        while True:
            truth = self.venue.truth(orders_from, fills_from)
            own = _own(truth)
            bought = net_bought(truth, {order["order_id"] for order in own})
            held = {name: quantity for name, quantity in bought.items() if quantity != 0}
            working = [order for order in own if order["status"] not in TERMINAL]
            if not held and not working:
                self._last_exit = time.monotonic()
                return []
            now = time.monotonic()
            if now > end:
                names = [f"{order['client_order_id']} {order['status']}" for order in working]
                return [f"not flat after {seconds:.0f} s: {held} held, {names} open"]
            if symbol in held and now >= next_sell and not self.rows("SELECT symbol FROM handovers"):
                self.withdraw()
                self.command(symbol, "SELL")
                next_sell = now + 2.5
            time.sleep(0.1)

    @staticmethod
    def held(truth: Json, symbol: str) -> Decimal:
        """What own orders bought and did not sell."""
        return net_bought(truth, {order["order_id"] for order in _own(truth)}).get(symbol, Decimal(0))

    def wait_for_exit_pause(self) -> None:
        """The tracker begins no exit of a symbol within two seconds of the one before."""
        time.sleep(max(0.0, self._last_exit + EXIT_PAUSE_S - time.monotonic()))


def _own(truth: Json) -> list[Json]:
    return [order for order in truth["orders"] if order["client_order_id"].startswith("td-")]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (OSError, IndexError):
        return "Z"
