"""Each part is killed until it is given up: what follows is that part's own policy, in the running daemon."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest

from tests.drills.daemon import Daemon, Json, Venue, assert_books_agree, config_folder, name_of, wait_for
from tests.drills.test_kill_switch import MANY, open_orders

GAVE_UP = 75
SYMBOLS = "BTC-USD,ETH-USD"


class Webhook:
    """Takes every page."""

    def __init__(self) -> None:
        self.got: list[Json] = []
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                got.append(orjson.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def wait_page(self, key: str, by: str = "", seconds: float = 20.0) -> Json:
        def find() -> Json | None:
            fits = (one for one in list(self.got) if one["severity"] == "page" and one["key"] == key)
            return next((one for one in fits if by in ("", one["by"])), None)

        return wait_for(find, f"the page {key}", seconds)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    made = Webhook()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def brittle(daemon: Callable[..., Daemon], webhook: Webhook, tmp_path: Path) -> Daemon:
    """A daemon that gives a part up at its second death, holds one symbol, and pages to ``webhook``."""
    url = tmp_path / "webhook"
    url.write_text(f"http://127.0.0.1:{webhook.server.server_port}/page")
    config = config_folder(
        tmp_path / "config",
        capital=MANY["capital"],
        risk=MANY["risk"],
        strategist={**MANY["strategist"], "params": {"held": "BTC-USD"}},
        watchdog={"alerts_down_s": 5.0},
        alerts={"webhook_file": str(url), "retry_first_s": 0.2},
        supervision={"max_restarts": 1, "period_s": 120.0, "retry_s": 15.0},
    )
    one = daemon("--symbols", SYMBOLS, config=config)
    one.wait_run()
    one.wait_status(lambda s: any(p["protection"] == "PROTECTED" for p in s["positions"]), "a protected position", 90)
    return one


def kill_until(daemon: Daemon, name: str, condition: Callable[[], bool]) -> None:
    """kill -9 the part whenever there is a process of it, until the condition holds."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if condition():
            return
        for pid in daemon.pids():
            if name_of(pid) == name[:15]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)  # between two looks
    raise AssertionError(f"{name} was killed for 60 s and nothing followed:\n{daemon.tail()}")


def give_up(daemon: Daemon, name: str) -> None:
    kill_until(daemon, name, lambda: f'"gave_up","mode":"demo","simulated":"SIMULATED","child":"{name}"' in log(daemon))


def log(daemon: Daemon) -> str:
    return daemon.log.read_text(errors="replace")


def polled(venue: Venue) -> int:
    return sum(1 for request in venue.requests() if "best_bid_ask" in str(request.get("path")))


def test_parts_that_are_given_up_leave_what_their_policy_says_and_page(brittle: Daemon, webhook: Webhook) -> None:
    one = brittle
    stops = {order["order_id"] for order in open_orders(one.venue, "SELL")}
    give_up(one, "metrics")
    webhook.wait_page("gave_up:metrics")
    give_up(one, "crash_reporter")
    webhook.wait_page("gave_up:crash_reporter")
    degraded = one.wait_status(lambda s: "metrics is given_up" in s["problems"], "degraded")
    assert not degraded["healthy"] and degraded["trading_state"] == "RUN", "neither is needed for trading"

    give_up(one, "guard.ETH-USD")
    webhook.wait_page("gave_up:guard.ETH-USD")
    status = one.wait_status(lambda s: s["per_symbol"], "the symbol to be halted")
    assert [(line["symbol"], line["state"]) for line in status["per_symbol"]] == [("ETH-USD", "HALTED")]
    assert status["trading_state"] == "RUN", "the other symbol trades on"

    give_up(one, "strategist")
    webhook.wait_page("gave_up:strategist")
    one.wait_status(lambda s: s["trading_state"] == "REDUCE_ONLY", "no entries without a strategist")

    before = polled(one.venue)
    give_up(one, "feed")
    webhook.wait_page("gave_up:feed")
    status = one.wait_status(lambda s: s["trading_state"] == "HALTED", "HALTED without a feed")
    assert any("feed is given up" in reason for reason in status["reasons"])
    wait_for(lambda: polled(one.venue) > before + 1, "the held symbol to be polled over REST", 30)
    assert {order["order_id"] for order in open_orders(one.venue, "SELL")} == stops, "the stop rests through all of it"
    assert_books_agree(one, one.venue)

    for name in ("risk", "reconciler"):
        give_up(one, name)
        webhook.wait_page(f"gave_up:{name}")
        one.wait_status(lambda s, name=name: any(f"{name} is given up" in r for r in s["reasons"]), f"{name} to halt")
    give_up(one, "admin")
    webhook.wait_page("gave_up:admin")
    assert one.is_live(), "a degraded tree is alive"
    assert one.process is not None
    kill_until(one, "tracker", lambda: one.process is not None and one.process.poll() is not None)
    assert one.process.wait(30) == GAVE_UP, one.tail()
    page = webhook.wait_page("daemon_ended", "run")
    assert "exit code 75" in page["text"] and page["text"].startswith("SIMULATED")


def test_without_alerts_entries_stop_and_the_outer_ring_pages_and_vital_parts_end_the_daemon(
    brittle: Daemon, webhook: Webhook
) -> None:
    one = brittle
    give_up(one, "alerts")
    status = one.wait_status(lambda s: s["trading_state"] == "REDUCE_ONLY", "REDUCE_ONLY without alerts", 90)
    assert any("alerts are down" in reason for reason in status["reasons"])
    webhook.wait_page("alerts_down", "run")
    one.wait_run(90)  # it is tried again, and then it is back
    assert sum(1 for page in webhook.got if page["key"] == "alerts_down") == 1, "one page per outage"
    assert one.process is not None
    for name in ("gateway", "watchdog"):
        kill_until(one, name, lambda: one.process is not None and one.process.poll() is not None)
        assert one.process.wait(30) == GAVE_UP, one.tail()
        if name == "gateway":
            one.start()
