"""From a start to an orderly stop, and again: the main job on the embedded simulator."""

from __future__ import annotations

import signal
import urllib.request
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from tests.drills.daemon import Daemon, assert_books_agree, config_folder, differences, is_gone, wait_for

BRISK = {"strategist": {"cycle_s": 1}, "risk": {"cooldown_symbol_s": 2}}


def test_it_starts_trades_stops_in_order_and_finds_everything_again(
    daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    config = config_folder(tmp_path / "config", **BRISK)
    one = daemon(config=config)
    status = one.wait_run(30)
    assert status["mode"] == "demo"
    assert {"name", "pid", "incarnation", "restarts", "state"} <= set(status["actors"][0])
    names = {actor["name"] for actor in status["actors"]}
    assert {"watchdog", "tracker", "gateway", "risk", "reconciler", "feed", "guard.BTC-USD", "strategist"} <= names
    one.wait_status(lambda s: s["healthy"], "to be healthy")

    wait_for(lambda: one.export()["fills"], "the first trade within a minute", 60, 0.5)
    held = one.wait_status(
        lambda s: s["positions"] and all(p["protection"] == "PROTECTED" for p in s["positions"]), "protection", 30
    )
    assert all(position["stop"] for position in held["positions"])

    metrics = urllib.request.urlopen(status["metrics_url"], timeout=5).read().decode()
    for name in ("td_ticks_accepted_total", "td_proposals_total", "td_fills_total", "td_pipeline_seconds"):
        assert name in metrics
    assert one.run("status").returncode in (0, 1)
    assert one.run("status", "--live").returncode == 0

    halted = one.run("halt", "--reason", "drill: a quiet moment to compare")
    assert halted.returncode == 0, halted.stderr
    assert_books_agree(one, one.venue)
    assert one.run("status").returncode == 1
    resumed = one.run("resume", "--reason", "drill: go on")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    one.wait_run()

    pids = one.pids()
    assert one.terminate() == 0, one.tail()
    wait_for(lambda: all(is_gone(pid) for pid in pids), "every process to be gone", 5)
    ledger = one.export()
    assert not [o for o in ledger["orders"] if o["role"] == "entry" and o["state"] not in ENDED]
    lines = one.log_lines()
    assert lines and all("SIMULATED" in str(line.values()) for line in lines if "event" in line)
    assert "PRIVATE KEY" not in one.log.read_text()

    one.start()
    one.wait_run()
    one.run("halt", "--reason", "drill: compare again")
    after, truth = assert_books_agree(one, one.venue)
    assert {fill["entry_id"] for fill in ledger["fills"]} <= {fill["entry_id"] for fill in after["fills"]}
    assert differences(after, truth) == []
    positions = {p["symbol"]: Decimal(p["quantity"]) for p in after["positions"]}
    assert all(quantity >= 0 for quantity in positions.values())


ENDED = {"FILLED", "CANCELLED", "EXPIRED", "REJECTED"}


def test_a_second_daemon_on_the_same_folder_is_refused(daemon: Callable[..., Daemon]) -> None:
    one = daemon()
    second = one.run("start", "--mode", "demo")
    assert second.returncode == 3
    assert str(one.process.pid) in second.stderr if one.process else False


def test_for_seconds_ends_by_itself_with_0_and_a_kill_on_the_way_out_is_for_the_next_start(
    daemon: Callable[..., Daemon],
) -> None:
    one = daemon("--for", "12")
    assert one.process is not None
    wait_for(lambda: '"stopping"' in one.log.read_text(), "the orderly stop to begin", 60)
    one.process.send_signal(signal.SIGUSR1)
    assert one.process.wait(60) == 0, one.tail()
    assert (one.data / "KILL").exists()
