"""The venue's faults on the running daemon: noticed, answered as designed, over again, and nothing lost.

One daemon lives through all of them, at a simulator apart, with a strategy that keeps trading.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drills.daemon import (
    Daemon,
    Json,
    SimulatorApart,
    Venue,
    against,
    assert_books_agree,
    config_folder,
    wait_for,
)

CHURN = {
    "strategist": {"strategy": "tests.drills.strategies:Churn", "cycle_s": 1},
    "risk": {"cooldown_symbol_s": 1, "max_orders_per_minute": 200, "repeat_limit": 1000, "losing_streak": 1000},
    "capital": {"allotted": "5000", "max_order": "100"},
    "watchdog": {"half_open_s": 1, "probe_s": 1, "hold_max_s": 2},
    # A fault may hit a create: proving its absence takes this long, and its symbol takes no entry meanwhile.
    "venue": {"jwt_life_s": 5},
}


class Trading:
    """The daemon of this module and its venue."""

    def __init__(self, folder: Path) -> None:
        self.simulator = SimulatorApart(folder / "venue", "--symbols", "BTC-USD,ETH-USD,SOL-USD")
        self.venue = Venue(self.simulator.control_url)
        config = config_folder(folder / "config", **CHURN)
        self.daemon = Daemon(folder / "daemon", *against(self.simulator), config=config)
        self.daemon.wait_run()

    def fills(self) -> int:
        return len(self.venue.truth()["fills"])

    def trades_again(self, seconds: float = 90) -> None:
        """Back to RUN everywhere, and a fill later than now."""
        self.flows(seconds)
        before = self.fills()
        wait_for(lambda: self.fills() > before, f"another fill\n{self.daemon.tail(15)}", seconds)

    def flows(self, seconds: float = 90) -> None:
        """RUN on every symbol over live connections. A state from before the fault was noticed does not count:
        the connections are asked first, and a fault that finds no connection would strike nothing."""
        self.daemon.wait_status(
            lambda s: (
                s["trading_state"] == "RUN"
                and not s["per_symbol"]
                and s["feed"] is not None
                and all(c["state"] == "live" for c in s["feed"]["connections"])
                and all(one["fresh"] for one in s["feed"]["symbols"])
            ),
            "RUN on every symbol over live connections",
            seconds,
        )

    def reconnects(self) -> int:
        status = self.daemon.status()
        return sum(c["reconnects"] for c in status["feed"]["connections"]) if status and status["feed"] else 0


@pytest.fixture(scope="module")
def trading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trading]:
    one = Trading(tmp_path_factory.mktemp("faults"))
    yield one
    one.daemon.close()
    one.simulator.stop()


@pytest.fixture(autouse=True)
def _clear(trading: Trading) -> Iterator[None]:
    trading.flows()
    yield
    trading.venue.clear_faults()


@pytest.mark.parametrize("kind", ["drop_frame", "duplicate_frame", "swap_frames", "garble_frame"])
def test_a_broken_frame_leads_to_a_new_connection_and_trading_goes_on(trading: Trading, kind: str) -> None:
    before = trading.reconnects()
    trading.venue.fault(kind, count=1, match={"channel": "l2_data"})
    if kind == "duplicate_frame":
        # the same frame twice changes nothing: it may be dropped without a new connection
        trading.trades_again()
        return
    wait_for(lambda: trading.reconnects() > before, f"a reconnect\n{trading.daemon.tail(15)}", 30)
    trading.trades_again()


def test_silence_is_noticed_and_a_new_connection_made(trading: Trading) -> None:
    before = trading.reconnects()
    trading.venue.fault("stall", seconds=8)
    wait_for(lambda: trading.reconnects() > before, "a reconnect", 30)
    trading.venue.clear_faults()
    trading.trades_again()


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1009, 1011])
def test_a_close_with_any_code_is_reconnected(trading: Trading, code: int) -> None:
    before = trading.reconnects()
    trading.venue.fault("close", code=code)
    wait_for(lambda: trading.reconnects() > before, f"a reconnect\n{trading.daemon.tail(15)}", 30)
    trading.trades_again()


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("status", {"status": 429, "count": 5}),
        ("status", {"status": 500, "count": 5}),
        ("status", {"status": 401, "count": 5}),
        ("html_200", {"count": 5}),
        ("slow", {"delay_s": 6, "when": "after", "count": 2, "match": {"path": "/orders"}}),
        ("cut_after_booking", {"count": 2, "match": {"path": "/orders"}}),
        ("cut_before_booking", {"count": 2, "match": {"path": "/orders"}}),
        ("order_configuration_null", {"count": 2}),
        ("get_order_404_for", {"visible_after_s": 2, "count": 3}),
        ("orders_invisible_for", {"visible_after_s": 1.5, "count": 3}),
        ("user_event_missing", {"count": 5}),
        ("user_event_duplicate", {"count": 5}),
        ("order_fails_async", {"count": 1}),
    ],
)
def test_a_faulty_answer_loses_nothing(trading: Trading, kind: str, parameters: Json) -> None:
    trading.venue.fault(kind, **parameters)
    trading.trades_again(200)


def test_user_events_lost_doubled_late_and_a_gap_at_once_lose_no_fill_and_double_none(trading: Trading) -> None:
    before = trading.fills()
    trading.venue.fault("user_event_missing", count=4)
    trading.venue.fault("user_event_duplicate", count=8)
    trading.venue.fault("user_event_late", count=8, delay_s=2)
    trading.venue.fault("drop_frame", count=2, match={"channel": "user"})
    wait_for(lambda: trading.fills() >= before + 8, f"eight fills\n{trading.daemon.tail(15)}", 120)
    trading.venue.clear_faults()
    trading.trades_again()
    told = [fill["entry_id"] for fill in trading.venue.truth()["fills"]][: before + 8]

    def booked() -> bool:
        ours = [fill["entry_id"] for fill in trading.daemon.export()["fills"]]
        assert len(ours) == len(set(ours)), "a fill was booked twice"
        return set(told) <= set(ours)

    wait_for(booked, "every fill of that time to be booked", 60, 0.5)


def test_a_product_mode_stops_entries_on_its_symbol_and_heals(trading: Trading) -> None:
    trading.venue.fault("product_mode", symbol="ETH-USD", mode="cancel_only")
    trading.daemon.wait_status(
        lambda s: any(b["name"] == "product_mode" and b["is_open"] and b["scope"] == "ETH-USD" for b in s["breakers"]),
        "the product_mode breaker",
        40,
    )
    trading.venue.clear_faults()
    trading.trades_again()


def test_after_all_faults_ledger_and_venue_agree_and_no_limit_was_exceeded(trading: Trading) -> None:
    done = trading.daemon.run("halt", "--reason", "drill: compare")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_books_agree(trading.daemon, trading.venue, 180)
