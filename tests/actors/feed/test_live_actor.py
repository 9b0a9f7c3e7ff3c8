"""The whole feed actor, thread included, against the simulator as a process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from actors.clock import SystemClock
from actors.feed.actor import FeedActor
from actors.messages.health import BreakerName, BreakerSignal
from actors.messages.market import FeedHealth, MarketUpdate, UserChannelReset, UserOrderEvent
from simulator.testing import SimulatorProcess
from tests.actors.harness import ActorHarness, test_settings

PEERS = ("guard.BTC-USD", "guard.ETH-USD", "watchdog", "admin", "metrics", "tracker")


class Live:
    """A FeedActor on the host's clock; the test plays the transport that watches its eventfd."""

    def __init__(self, simulator: SimulatorProcess, data_dir: Path) -> None:
        venue = {
            "ws": simulator.ws,
            "ws_user": simulator.ws_user,
            "ca_file": simulator.ca_file,
            "key_file": simulator.key_file,
        }
        settings = test_settings(data_dir, venue=venue, feed={"backoff_first_s": 0.05})
        self.harness = ActorHarness(FeedActor, settings=settings, peers=PEERS)
        self.actor = cast(FeedActor, self.harness.actor)
        self.actor.clock = SystemClock()
        self.harness.start()

    def until(self, condition: Callable[[], bool], seconds: float = 15.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not in {seconds} s: {self.actor.outbox.connections}"
            time.sleep(0.005)
            self.actor._drain_events()
            self.actor._check_thread()

    def sent(self, name: str, kind: type) -> list[object]:
        return [message for message in self.harness.sent[name] if isinstance(message, kind)]

    def signal(self, breaker: BreakerName, scope: str) -> bool | None:
        found = [s for s in self.sent("watchdog", BreakerSignal) if isinstance(s, BreakerSignal)]
        return next((s.tripped for s in reversed(found) if (s.breaker, s.scope) == (breaker, scope)), None)

    def close(self) -> None:
        if self.actor._client is not None:
            self.actor._client.stop()


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with SimulatorProcess("synthetic:3") as process:
        yield process


@pytest.fixture
def live(simulator: SimulatorProcess, tmp_path: Path) -> Iterator[Live]:
    feed = Live(simulator, tmp_path)
    yield feed
    feed.close()
    simulator.clear_faults()


def test_books_reach_the_guards_and_every_breaker_heals(live: Live) -> None:
    live.until(lambda: all(live.signal(BreakerName.BOOK_GAP, p) is False for p in ("BTC-USD", "ETH-USD")))
    live.until(lambda: live.signal(BreakerName.USER_CHANNEL, "*") is False)
    newest = live.sent("guard.ETH-USD", MarketUpdate)[-1]
    assert isinstance(newest, MarketUpdate) and newest.fresh and newest.symbol == "ETH-USD"
    live.until(lambda: live.actor.progress()["frames_count"] > 20)
    live.actor._send_health()
    health = live.sent("admin", FeedHealth)[-1]
    assert isinstance(health, FeedHealth)
    assert [connection.state for connection in health.connections] == ["live", "live"]


def test_an_order_at_the_venue_is_told_to_the_tracker(live: Live, simulator: SimulatorProcess) -> None:
    live.until(lambda: live.signal(BreakerName.USER_CHANNEL, "*") is False)
    placed = simulator.control(
        "POST",
        "order",
        {
            "client_order_id": "td-a-1-e-77",
            "product_id": "BTC-USD",
            "side": "BUY",
            "order_configuration": {
                "limit_limit_gtc": {"base_size": "0.001", "limit_price": "1000", "post_only": False}
            },
        },
    )
    assert "order" in placed
    live.until(lambda: bool(live.sent("tracker", UserOrderEvent)))
    event = live.sent("tracker", UserOrderEvent)[-1]
    assert isinstance(event, UserOrderEvent)
    assert (event.client_order_id, event.product_id, event.side) == ("td-a-1-e-77", "BTC-USD", "BUY")
    assert event.cumulative_quantity == 0


def test_a_lost_user_frame_trips_resets_and_heals(live: Live, simulator: SimulatorProcess) -> None:
    live.until(lambda: live.signal(BreakerName.USER_CHANNEL, "*") is False)
    simulator.fault("drop_frame", match={"channel": "heartbeats"}, count=2)  # one on either connection
    live.until(lambda: live.signal(BreakerName.USER_CHANNEL, "*") is True)
    live.until(lambda: live.signal(BreakerName.USER_CHANNEL, "*") is False)
    live.until(lambda: all(live.signal(BreakerName.BOOK_GAP, p) is False for p in ("BTC-USD", "ETH-USD")))
    reasons = [reset.reason for reset in live.sent("tracker", UserChannelReset) if isinstance(reset, UserChannelReset)]
    assert reasons[0] == "connected"
    assert reasons[1].startswith("gap")
    assert reasons[2] == "connected"


def test_a_venue_that_goes_down_and_comes_back_is_found_again(live: Live, simulator: SimulatorProcess) -> None:
    live.until(lambda: live.signal(BreakerName.BOOK_GAP, "BTC-USD") is False)
    simulator.kill()
    live.until(lambda: live.signal(BreakerName.BOOK_GAP, "BTC-USD") is True)
    simulator.start()
    live.until(lambda: live.signal(BreakerName.BOOK_GAP, "BTC-USD") is False)
    live.until(lambda: live.signal(BreakerName.USER_CHANNEL, "*") is False)
