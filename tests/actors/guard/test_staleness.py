from __future__ import annotations

from actors.guard.staleness import Freshness, Transit
from actors.guard.symbol import SymbolGuard
from actors.messages.market import TickRefusal
from config.sections.guard import GuardSettings
from tests.actors.guard.market import boot, update, utc


def test_silence_with_heartbeats_is_fresh_and_without_them_is_not() -> None:
    guard = SymbolGuard("BTC-USD", GuardSettings.model_validate({"warm_up_s": 0, "stale_s": 2}))
    guard.apply(update(0), boot(0))
    guard.apply(update(0, heartbeat_s=10), boot(10))  # nothing traded for ten seconds; a heartbeat came
    assert guard.blocks(boot(11.9)) == ()
    assert guard.blocks(boot(12.1)) == (TickRefusal.STALE,)


def test_a_frame_that_was_held_up_is_as_old_as_the_exchange_says() -> None:
    freshness = Freshness()
    freshness.note(update(0))
    freshness.note(update(10, sent_s=4, heartbeat_s=9, heartbeat_sent_s=3))
    assert freshness.age_s(boot(10)) == 6


def test_a_constant_offset_between_the_clocks_is_no_age() -> None:
    """Recordings are replayed months later, and the host's clock may be off: only changes of transit count."""
    freshness = Freshness()
    for second in range(5):
        freshness.note(update(second, sent_s=second - 5_000_000, heartbeat_sent_s=second - 5_000_000))
    assert freshness.age_s(boot(4)) == 0


def test_jitter_of_the_transit_is_no_age() -> None:
    freshness = Freshness()
    freshness.note(update(0))
    freshness.note(update(1, sent_s=0.85))
    assert freshness.age_s(boot(1)) == 0


def test_a_gap_makes_the_state_unknown() -> None:
    freshness = Freshness()
    freshness.note(update(0))
    freshness.note(update(1, fresh=False))
    assert freshness.age_s(boot(1)) is None


def test_clocks_that_drift_apart_do_not_age_a_long_connection() -> None:
    transit = Transit()
    worst = 0
    for minute in range(24 * 60):
        at = minute * 60.0
        drifted = at * (1 - 50e-6)  # 50 ppm
        worst = max(worst, transit.lag_ns(1, utc(drifted), boot(at)))
    assert worst == 0


def test_a_new_connection_learns_its_transit_anew() -> None:
    transit = Transit()
    assert transit.lag_ns(1, utc(0), boot(0)) == 0
    assert transit.lag_ns(1, utc(1), boot(4)) == 3_000_000_000
    assert transit.lag_ns(2, utc(1), boot(4)) == 0
