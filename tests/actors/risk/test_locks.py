"""Locks and rates."""

from __future__ import annotations

from actors.clock import NS_PER_S
from actors.messages.market import Side
from actors.risk.locks import Approved, Locks
from tests.actors.risk.factories import NOW, UTC


def test_a_shorter_lock_never_replaces_a_longer_one() -> None:
    locks = Locks()
    locks.cool("BTC-USD", 100, NOW, UTC)
    locks.cool("BTC-USD", 5, NOW + NS_PER_S, UTC)
    held = locks.lock_of("BTC-USD", NOW + 99 * NS_PER_S)
    assert held is not None
    assert held.ends_utc_ns == UTC + 100 * NS_PER_S
    assert locks.lock_of("BTC-USD", NOW + 100 * NS_PER_S) is None


def test_a_window_shorter_than_a_minute_does_not_forget_the_minute() -> None:
    locks = Locks()
    for n in range(3):
        locks.note(Approved(str(n), "BTC-USD", Side.BUY, NOW + n * 20 * NS_PER_S, 0), window_ns=NS_PER_S)
    now = NOW + 40 * NS_PER_S
    assert locks.in_last_minute(now) == 3
    assert locks.repeats("BTC-USD", Side.BUY, now, NS_PER_S) == 1
