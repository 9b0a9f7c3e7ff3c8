"""The feed's mailbox. The thread is left out: what it would hand over is put into its outbox."""

from __future__ import annotations

import threading
from decimal import Decimal
from pathlib import Path
from typing import cast

import pytest

from actors.actor import UnknownMessageError
from actors.feed.actor import LISTING_S, FeedActor, FeedThreadError
from actors.feed.outbox import ConnectionNote
from actors.messages.delivery import Undelivered
from actors.messages.health import Alert, BreakerName, BreakerSignal, Lease, Severity, TradingState
from actors.messages.market import FeedHealth, MarketUpdate, UserChannelReset, UserOrderEvent
from actors.messages.venue import VenueAnswer, VenueQuery
from actors.ports import start_thread
from tests.actors.guard.market import trade, update
from tests.actors.harness import ActorHarness, test_settings
from tests.actors.orders.venue import rules as venue_rules

PEERS = ("guard.BTC-USD", "guard.ETH-USD", "watchdog", "admin", "metrics", "tracker", "gateway", "alerts")


class QuietFeed(FeedActor):
    """Opens no connection."""

    def _open(self) -> None:
        _ = self.events


@pytest.fixture
def harness(tmp_path: Path) -> ActorHarness:
    key = tmp_path / "key.json"
    key.write_text("{}")
    settings = test_settings(
        tmp_path,
        instruments=[
            {"symbol": "BTC-USD"},
            {"symbol": "BTC-USDC", "data": "BTC-USD"},
            {"symbol": "ETH-USD"},
        ],
        venue={"key_file": str(key)},
    )
    return ActorHarness(QuietFeed, settings=settings, peers=PEERS).start()


def outbox(harness: ActorHarness) -> FeedActor:
    return cast(FeedActor, harness.actor)


def drain(harness: ActorHarness) -> None:
    harness.actor._drain_events()


def show(harness: ActorHarness, *updates: MarketUpdate) -> None:
    for item in updates:
        outbox(harness).outbox.offer_update(item)
    drain(harness)


def note(harness: ActorHarness, connection: str, state: str, reason: str = "", epoch: int = 1) -> None:
    outbox(harness).outbox.offer_note(ConnectionNote(connection, state, epoch, reason, 0))
    drain(harness)


def signals(harness: ActorHarness) -> dict[tuple[BreakerName, str], bool]:
    taken = cast(list[BreakerSignal], harness.take("watchdog", BreakerSignal))
    return {(signal.breaker, signal.scope): signal.tripped for signal in taken}


def order(number: int) -> UserOrderEvent:
    zero = Decimal(0)
    return UserOrderEvent(str(number), "", "BTC-USD", "BUY", "OPEN", zero, zero, zero, "", "", "", 0, False)


def test_it_starts_without_books_and_says_so(harness: ActorHarness) -> None:
    assert signals(harness) == {
        (BreakerName.BOOK_GAP, "BTC-USD"): True,
        (BreakerName.BOOK_GAP, "BTC-USDC"): True,
        (BreakerName.BOOK_GAP, "ETH-USD"): True,
        (BreakerName.USER_CHANNEL, "*"): True,
    }


def test_updates_that_wait_become_one_with_all_trades(harness: ActorHarness) -> None:
    box = outbox(harness).outbox
    box.offer_update(update(1, "100", "101", trade(1, "100", 1)))
    box.offer_update(update(2, "102", "103", trade(2, "102", 2)))
    drain(harness)
    (sent,) = cast(list[MarketUpdate], harness.take("guard.BTC-USD"))
    assert [item.trade_id for item in sent.trades] == [1, 2]
    assert sent.bids[0][0] == 102
    assert harness.take("guard.ETH-USD") == []


def test_a_fresh_book_heals_the_gap_of_every_order_product_and_a_lost_one_trips_it(harness: ActorHarness) -> None:
    signals(harness)
    show(harness, update(1))
    assert signals(harness) == {(BreakerName.BOOK_GAP, "BTC-USD"): False, (BreakerName.BOOK_GAP, "BTC-USDC"): False}
    show(harness, update(2))
    assert signals(harness) == {}
    show(harness, update(3, fresh=False))
    assert signals(harness) == {(BreakerName.BOOK_GAP, "BTC-USD"): True, (BreakerName.BOOK_GAP, "BTC-USDC"): True}


def test_a_new_guard_gets_the_state_and_the_recent_trades(harness: ActorHarness) -> None:
    show(harness, update(1, "100", "101", trade(1, "100", 1)), update(1, symbol="ETH-USD"))
    show(harness, update(2, "100", "101", trade(2, "100", 2)))
    harness.take("guard.BTC-USD")
    harness.restart_peer("guard.BTC-USD")
    (again,) = cast(list[MarketUpdate], harness.take("guard.BTC-USD"))
    assert again.fresh
    assert [item.trade_id for item in again.trades] == [1, 2]


def test_a_lost_update_is_made_good(harness: ActorHarness) -> None:
    show(harness, update(1, "100", "101", trade(1, "100", 1)))
    (lost,) = harness.take("guard.BTC-USD")
    harness.deliver(Undelivered("guard.BTC-USD", lost, "overflow"))
    harness.advance(0.2)
    (again,) = cast(list[MarketUpdate], harness.take("guard.BTC-USD"))
    assert [item.trade_id for item in again.trades] == [1]


def test_the_user_channel_resets_the_tracker_when_it_is_lost_and_when_it_is_back(harness: ActorHarness) -> None:
    signals(harness)
    note(harness, "user", "connecting")
    note(harness, "user", "live")
    assert signals(harness) == {(BreakerName.USER_CHANNEL, "*"): False}
    note(harness, "user", "waiting", "gap: frame 9 after 3")
    assert signals(harness) == {(BreakerName.USER_CHANNEL, "*"): True}
    note(harness, "user", "waiting", "connect: refused", epoch=2)  # no news: it was lost already
    note(harness, "user", "live", epoch=3)
    resets = cast(list[UserChannelReset], harness.take("tracker", UserChannelReset))
    assert [(reset.epoch, reset.reason) for reset in resets] == [
        (1, "connected"),
        (1, "gap: frame 9 after 3"),
        (3, "connected"),
    ]


def test_orders_keep_their_place_among_the_connections_changes(harness: ActorHarness) -> None:
    box = outbox(harness).outbox
    box.offer_note(ConnectionNote("user", "live", 1, "", 0))
    box.offer_order(order(1))
    box.offer_note(ConnectionNote("user", "waiting", 1, "closed", 0))
    box.offer_note(ConnectionNote("user", "live", 2, "", 0))
    box.offer_order(order(2))
    drain(harness)
    assert [type(item).__name__ for item in harness.take("tracker")] == [
        "UserChannelReset",
        "UserOrderEvent",
        "UserChannelReset",
        "UserChannelReset",
        "UserOrderEvent",
    ]


def test_orders_that_came_while_the_tracker_was_away_make_it_read_anew(harness: ActorHarness) -> None:
    harness.remove_peer("tracker")
    outbox(harness).outbox.offer_order(order(1))
    drain(harness)
    harness.restart_peer("tracker")
    (reset,) = cast(list[UserChannelReset], harness.take("tracker"))
    assert "while the tracker was away" in reset.reason


def test_an_order_that_was_not_delivered_becomes_a_reset(harness: ActorHarness) -> None:
    harness.deliver(Undelivered("tracker", order(1), "timeout"))
    harness.advance(0.3)
    assert len(harness.take("tracker", UserChannelReset)) == 1


def test_a_new_watchdog_hears_every_signal_again(harness: ActorHarness) -> None:
    before = signals(harness)
    harness.restart_peer("watchdog")
    assert signals(harness) == before


def test_health_goes_out_every_second_and_on_a_connections_change(harness: ActorHarness) -> None:
    harness.advance(0)
    for name in ("watchdog", "admin", "metrics"):
        harness.take(name)
    note(harness, "market", "live")
    assert len(harness.take("admin", FeedHealth)) == 1
    harness.actor._thread = None
    harness.advance(1.1)
    assert len(harness.take("metrics", FeedHealth)) == 2
    assert harness.take("tracker") == []


def test_a_thread_that_died_is_the_actors_death(harness: ActorHarness) -> None:
    outbox(harness)._death = RuntimeError("no more sockets")
    with pytest.raises(FeedThreadError, match="no more sockets"):
        harness.advance(1)


def test_a_thread_whose_loop_hangs_is_the_actors_death(harness: ActorHarness) -> None:
    release = threading.Event()
    actor = outbox(harness)
    actor._thread = start_thread("hanging", lambda: (release.wait(30), None)[1])
    try:
        harness.advance(4.9)
        actor.outbox.pulse_boot_ns = harness.clock.boot_ns()
        harness.advance(4.9)
        with pytest.raises(FeedThreadError, match="did not turn"):
            harness.advance(0.7)
    finally:
        release.set()


def test_a_stall_of_the_whole_host_is_not_blamed_on_the_thread(harness: ActorHarness) -> None:
    release = threading.Event()
    actor = outbox(harness)
    actor._thread = start_thread("stalled", lambda: (release.wait(30), None)[1])
    try:
        harness.advance(1)
        actor.outbox.pulse_boot_ns = harness.clock.boot_ns()
        harness.clock.advance(8)  # nobody ran, the judge neither
        harness.advance(1)
        actor.outbox.pulse_boot_ns = harness.clock.boot_ns()
        harness.advance(4)
    finally:
        release.set()


def test_a_thread_that_just_ended_is_the_actors_death(harness: ActorHarness) -> None:
    actor = outbox(harness)
    actor._thread = start_thread("ending", lambda: None)
    actor._thread.join()
    with pytest.raises(FeedThreadError, match="gone"):
        harness.advance(0.6)


def test_a_message_that_is_not_its_business_is_a_crash(harness: ActorHarness) -> None:
    with pytest.raises(UnknownMessageError):
        harness.deliver(Lease(1, 1, 1, 0, TradingState.RUN, (), ()))


def listed(harness: ActorHarness, *products: str, ok: bool = True) -> None:
    """The gateway answers what the feed asked last about the listing."""
    (asked,) = cast(list[VenueQuery], harness.take("gateway", VenueQuery))
    found = tuple(venue_rules(product) for product in products)
    harness.deliver(VenueAnswer(asked.request_id, asked.kind, ok, "", 0, 0, 0, 1, rules=found))


def test_a_product_that_is_not_listed_is_left_out_named_and_paged(harness: ActorHarness) -> None:
    for _ in range(2):
        harness.advance(LISTING_S)
        listed(harness, "BTC-USD")
    (page,) = cast(list[Alert], harness.take("alerts", Alert))
    assert page.severity is Severity.PAGE
    assert "ETH-USD" in page.text
    assert outbox(harness)._listing.left_out == {"ETH-USD"}
    show(harness, update(1.0))
    harness.take("gateway", VenueQuery)
    harness.advance(LISTING_S)
    assert harness.take("gateway", VenueQuery) == []  # everything else flows: no need to ask so soon


def test_the_listing_is_read_ever_more_seldom_while_no_book_comes(harness: ActorHarness) -> None:
    asked = 0
    for _ in range(300):
        harness.advance(LISTING_S)
        asked += len(harness.take("gateway", VenueQuery))
    assert 20 <= asked <= 30, f"{asked} requests in 10 minutes"


def test_a_listing_that_cannot_be_read_leaves_nothing_out(harness: ActorHarness) -> None:
    for _ in range(3):
        harness.advance(LISTING_S)
        listed(harness, ok=False)
    assert outbox(harness)._listing.left_out == frozenset()
    assert harness.take("alerts", Alert) == []
