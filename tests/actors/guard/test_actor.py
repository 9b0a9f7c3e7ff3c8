from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from actors.actor import UnknownMessageError
from actors.clock import MovedClock
from actors.guard.actor import GuardActor
from actors.messages.delivery import Undelivered
from actors.messages.health import BreakerName, BreakerSignal
from actors.messages.market import Bar, GuardedQuote, TickRefusal, UserChannelReset
from tests.actors.guard.market import BOOT0, T0, boot, trade, update
from tests.actors.harness import ActorHarness, test_settings

PEERS = ("strategist", "risk", "tracker", "admin", "watchdog")


@pytest.fixture
def harness(tmp_path: Path) -> ActorHarness:
    settings = test_settings(
        tmp_path,
        instruments=[{"symbol": "BTC-USD"}, {"symbol": "BTC-USDC", "data": "BTC-USD"}],
        guard={"warm_up_s": 0},
    )
    clock = MovedClock(utc_ns=T0, boot_ns=BOOT0)
    harness = ActorHarness(
        GuardActor, settings=settings, peers=PEERS, args={"products": ("BTC-USD",)}, clock=clock, incarnation=3
    )
    return harness.start()


def quotes(harness: ActorHarness, name: str = "risk") -> list[GuardedQuote]:
    return cast(list[GuardedQuote], harness.take(name, GuardedQuote))


def signals(harness: ActorHarness) -> list[tuple[BreakerName, str, bool]]:
    taken = cast(list[BreakerSignal], harness.take("watchdog", BreakerSignal))
    return [(signal.breaker, signal.scope, signal.tripped) for signal in taken]


def test_it_starts_stale_and_says_so_for_every_order_product(harness: ActorHarness) -> None:
    assert (BreakerName.QUOTE_STALE, "BTC-USD", True) in signals(harness)
    (first,) = quotes(harness)
    assert first.quote is None
    assert TickRefusal.NO_BOOK in first.blocks


def test_an_accepted_quote_reaches_everyone_at_once_and_heals_the_breaker(harness: ActorHarness) -> None:
    signals(harness)
    harness.advance(0.1)
    for name in PEERS[:4]:
        quotes(harness, name)
    harness.deliver(update(0.1))
    for name in PEERS[:4]:
        (quote,) = quotes(harness, name)
        assert quote.blocks == ()
        assert quote.guard_incarnation == 3
    assert signals(harness) == [
        (BreakerName.QUOTE_STALE, "BTC-USD", False),
        (BreakerName.QUOTE_STALE, "BTC-USDC", False),
    ]


def test_quotes_are_at_most_one_in_twenty_milliseconds_and_the_newest_wins(harness: ActorHarness) -> None:
    harness.advance(0.1)
    quotes(harness)
    for n in range(10):
        harness.deliver(update(0.1 + n / 1000, "100", f"100.{n + 1:02d}"))
        harness.advance(0.001)
    assert len(quotes(harness)) == 1
    harness.advance(0.02)
    (last,) = quotes(harness)
    assert last.quote is not None and str(last.quote.ask) == "100.10"


def test_a_quote_goes_out_every_second_even_when_nothing_changes(harness: ActorHarness) -> None:
    harness.deliver(update(0))
    quotes(harness)
    harness.advance(5)
    assert len(quotes(harness)) >= 5


def test_a_heartbeat_makes_the_shown_quote_younger_at_once(harness: ActorHarness) -> None:
    """Otherwise the shown age could reach the two seconds of the last check without anything being wrong."""
    harness.deliver(update(0))
    harness.advance(1.3)
    quotes(harness)
    harness.deliver(update(0, heartbeat_s=1.3))
    (quote,) = quotes(harness)
    assert quote.quote is not None and quote.quote.as_of_boot_ns == boot(1.3)


def test_a_feed_that_fell_silent_trips_the_breaker_by_itself(harness: ActorHarness) -> None:
    harness.deliver(update(0))
    signals(harness)
    harness.advance(1.9)
    assert signals(harness) == []
    harness.advance(0.4)
    assert signals(harness) == [
        (BreakerName.QUOTE_STALE, "BTC-USD", True),
        (BreakerName.QUOTE_STALE, "BTC-USDC", True),
    ]
    assert TickRefusal.STALE in quotes(harness)[-1].blocks


def test_a_wild_market_trips_volatility_and_a_calm_one_heals_it(harness: ActorHarness) -> None:
    prices = ["100", "102.5", "102.5", "102.5", "105.5"]
    for n, price in enumerate(prices):
        harness.deliver(update(n, price, f"{price}1" if "." in price else f"{price}.1"))
        harness.advance(1)
    assert (BreakerName.VOLATILITY, "BTC-USD", True) in signals(harness)
    for n in range(5, 70):
        harness.deliver(update(n, "105.5", "105.51"))
        harness.advance(1)
    assert (BreakerName.VOLATILITY, "BTC-USD", False) in signals(harness)


def test_bars_go_to_the_strategist(harness: ActorHarness) -> None:
    harness.deliver(update(0, "100", "100.1", trade(1, "100", -61), trade(2, "100.1", 0)))
    harness.deliver(update(61.5, "100", "100.1", until_s=61.5))
    bars = cast(list[Bar], harness.take("strategist", Bar))
    assert [bar.complete for bar in bars] == [False, True]


def test_a_new_watchdog_hears_every_signal_again(harness: ActorHarness) -> None:
    signals(harness)
    harness.restart_peer("watchdog")
    assert set(signals(harness)) == {
        (breaker, scope, tripped)
        for breaker, tripped in ((BreakerName.QUOTE_STALE, True), (BreakerName.VOLATILITY, False))
        for scope in ("BTC-USD", "BTC-USDC")
    }


def test_a_signal_that_was_not_delivered_is_sent_again(harness: ActorHarness) -> None:
    lost = cast(list[BreakerSignal], harness.take("watchdog", BreakerSignal))[0]
    harness.deliver(Undelivered("watchdog", lost, "timeout"))
    harness.advance(0.3)
    assert (lost.breaker, lost.scope, lost.tripped) in signals(harness)


def test_signals_wait_for_a_watchdog_that_is_away(harness: ActorHarness) -> None:
    harness.remove_peer("watchdog")
    signals(harness)
    harness.deliver(update(0))
    assert signals(harness) == []
    harness.restart_peer("watchdog")
    assert (BreakerName.QUOTE_STALE, "BTC-USD", False) in signals(harness)


def test_a_message_that_is_not_its_business_is_a_crash(harness: ActorHarness) -> None:
    with pytest.raises(UnknownMessageError):
        harness.deliver(UserChannelReset(1, "", 0))


def test_the_status_page_is_not_flooded_and_yet_hears_of_blocks_at_once(harness: ActorHarness) -> None:
    quotes(harness, "admin")
    for n in range(100):
        harness.deliver(update(n / 20, "100", f"100.{n + 1:03d}"))
        harness.advance(0.05)
    assert 5 <= len(quotes(harness, "admin")) <= 8
    assert len(quotes(harness, "tracker")) >= 100
    harness.deliver(update(5, fresh=False))
    harness.advance(0.02)
    assert quotes(harness, "admin")[-1].quote is None
