from __future__ import annotations

import random
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from actors.guard.bars import BarBuilder, TradeLine
from actors.guard.symbol import SymbolGuard
from actors.messages.market import PublicTrade
from config.sections.guard import GuardSettings
from tests.actors.guard.market import boot, trade, update, utc


def build(*trades: PublicTrade, until_s: float, interval_s: int = 60) -> list[tuple[str, ...]]:
    builder = BarBuilder("BTC-USD", interval_s)
    for item in trades:
        builder.add(item)
    return [(str(b.open), str(b.high), str(b.low), str(b.close), str(b.volume)) for b in builder.close(utc(until_s))]


def test_a_bar_holds_its_start_and_not_its_end() -> None:
    bars = build(trade(1, "10", 0), trade(2, "12", 59.999999), trade(3, "99", 60), until_s=62)
    assert bars == [("10", "12", "10", "12", "2")]


def test_a_bar_waits_for_trades_that_are_still_on_their_way() -> None:
    builder = BarBuilder("BTC-USD", 60)
    builder.add(trade(1, "10", 1))
    assert builder.close(utc(60.9)) == []
    builder.add(trade(2, "11", 59.9))
    (bar,) = builder.close(utc(61))
    assert (bar.trades, bar.close, bar.start_utc_ns, bar.end_utc_ns) == (2, Decimal(11), utc(0), utc(60))


def test_a_trade_for_a_bar_that_is_gone_is_counted_and_changes_nothing() -> None:
    builder = BarBuilder("BTC-USD", 60)
    builder.add(trade(1, "10", 1))
    builder.close(utc(61))
    builder.add(trade(2, "11", 30))
    assert (builder.late, builder.close(utc(200))) == (1, [])


def test_a_minute_without_trades_makes_no_bar() -> None:
    assert len(build(trade(1, "10", 1), trade(2, "10", 130), until_s=300)) == 2


def test_a_hole_in_the_ids_makes_the_bars_it_touches_incomplete() -> None:
    builder, line = BarBuilder("BTC-USD", 60), TradeLine()
    trades = (trade(1, "10", 5), trade(2, "10", 65), trade(4, "10", 125), trade(5, "10", 185), trade(6, "10", 245))
    fresh, holes = line.take(trades)
    for hole in holes:
        builder.miss(*hole)
    for item in fresh:
        builder.add(item)
    bars = builder.close(utc(400))
    # before the first trade nothing is known; between 2 and 4 one is missing
    assert [bar.complete for bar in bars] == [False, False, False, True, True]


def test_trades_that_come_again_count_once() -> None:
    line = TradeLine()
    assert len(line.take((trade(1, "10", 1), trade(2, "10", 2)))[0]) == 2
    again, holes = line.take((trade(1, "10", 1), trade(2, "10", 2), trade(3, "10", 3)))
    assert ([item.trade_id for item in again], holes) == ([3], ())


def test_a_venue_that_numbers_anew_is_a_hole_and_not_silence() -> None:
    line = TradeLine()
    line.take((trade(1_000, "10", 1),))
    fresh, holes = line.take((trade(1, "10", 100),))
    assert (len(fresh), len(holes)) == (1, 1)


def test_a_lost_connection_delays_a_bar_and_the_snapshot_completes_it() -> None:
    guard = SymbolGuard("BTC-USD", GuardSettings.model_validate({"bar_interval_s": 60}))
    guard.apply(update(0, "100", "100.1", trade(1, "100", -70), until_s=0), boot(0))
    guard.apply(update(30, "100", "100.1", trade(2, "100", 29), until_s=30), boot(30))
    guard.apply(update(40, fresh=False, until_s=30), boot(40))
    assert guard.tick(boot(75)).bars == []  # the minute is over, but nobody knows what was traded
    snapshot = update(80, "101", "101.1", trade(2, "100", 29), trade(3, "101", 50), epoch=2, until_s=80)
    verdict = guard.apply(snapshot, boot(80))
    (bar,) = [bar for bar in verdict.bars if bar.start_utc_ns == utc(0)]
    assert (bar.trades, bar.close, bar.complete) == (2, Decimal(101), True)


def test_a_bar_waits_while_one_of_its_prints_is_judged() -> None:
    guard = SymbolGuard("BTC-USD", GuardSettings.model_validate({"bar_interval_s": 60, "confirm_s": 5}))
    guard.apply(update(58, "100", "100.1", trade(1, "100", 57), until_s=58), boot(58))
    guard.apply(update(59, "100", "100.1", trade(2, "150", 58.9), until_s=59), boot(59))
    assert guard.apply(update(62, until_s=62), boot(62)).bars == []
    (bar,) = guard.apply(update(64.5, until_s=64.5), boot(64.5)).bars
    assert (bar.high, bar.trades) == (Decimal(100), 1)


@given(st.lists(st.tuples(st.integers(0, 299), st.integers(1, 9)), min_size=1, max_size=60), st.integers(0, 2**16))
def test_bars_equal_a_plain_grouping_whatever_the_order(rows: list[tuple[int, int]], seed: int) -> None:
    ordered = sorted(rows)
    trades = [trade(n, str(price), at) for n, (at, price) in enumerate(ordered, start=1)]
    shuffled = trades[:]
    random.Random(seed).shuffle(shuffled)
    by_bar: dict[int, list[PublicTrade]] = {}
    for item in trades:
        by_bar.setdefault((item.time_utc_ns - utc(0)) // (60 * 10**9), []).append(item)
    expected = [
        (str(g[0].price), str(max(t.price for t in g)), str(min(t.price for t in g)), str(g[-1].price), str(len(g)))
        for _, g in sorted(by_bar.items())
    ]
    assert build(*shuffled, until_s=400) == expected
