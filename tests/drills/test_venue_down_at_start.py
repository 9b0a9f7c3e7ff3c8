"""A venue that is down at the start fails no start: the daemon stays up, HALTED, and trades when the venue is back."""

from __future__ import annotations

from collections.abc import Callable

from tests.drills.daemon import Daemon, SimulatorApart, Venue, against, wait_for


def test_a_start_while_the_venue_is_down_stays_up_halted_and_trades_when_it_is_back(
    daemon: Callable[..., Daemon], simulator: Callable[..., SimulatorApart]
) -> None:
    process = simulator()
    venue = Venue(process.control_url)
    venue.fault("status", status=503, seconds=3600)
    one = daemon(*against(process), wait=False)
    assert one.process is not None

    def told(event: str) -> dict | None:
        assert one.process is not None and one.process.poll() is None, f"the daemon ended:\n{one.tail()}"
        return next((line for line in one.log_lines() if line.get("event") == event), None)

    said = wait_for(lambda: told("up_but_not_ready"), "the outer ring to say what it waits for", 60, 0.5)
    assert "reconciliation" in str(said["waiting_for"])
    assert one.run("status", "--live").returncode == 0
    status = one.status()
    assert status is not None and status["trading_state"] == "HALTED" and not status["ready"]
    assert not [r for r in venue.requests() if r.get("method") == "POST" and str(r.get("path", "")).endswith("/orders")]

    venue.clear_faults()
    one.wait_run(90)
    wait_for(lambda: told("ready"), "ready to be said", 10)
    assert one.terminate() == 0
