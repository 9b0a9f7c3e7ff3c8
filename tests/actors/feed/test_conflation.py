from __future__ import annotations

from decimal import Decimal

from actors.clock import from_rfc3339
from actors.feed.conflation import MarketAssembly
from actors.feed.decode import decode
from tests.actors.feed import frames

T = "2026-08-09T21:05:{:02d}Z"
BTC = "BTC-USD"


def make_assembly() -> MarketAssembly:
    assembly = MarketAssembly((BTC, "ETH-USD"), depth_levels=2)
    assembly.connected(7)
    return assembly


def feed(assembly: MarketAssembly, raw: bytes, at: int = 5) -> set[str]:
    return assembly.apply(decode(raw), at)


def test_updates_before_the_snapshot_do_not_make_a_book() -> None:
    assembly = make_assembly()
    assert feed(assembly, frames.level2(0, "update", BTC, ("bid", "100", "1"))) == set()
    assert not assembly.update(BTC).fresh
    feed(assembly, frames.book_snapshot(1, BTC, "100", "101"))
    update = assembly.update(BTC)
    assert update.fresh
    assert (update.bids, update.asks) == (((Decimal(100), Decimal(1)),), ((Decimal(101), Decimal(2)),))


def test_a_lost_connection_leaves_no_book_and_no_heartbeat() -> None:
    assembly = make_assembly()
    feed(assembly, frames.book_snapshot(0, BTC))
    feed(assembly, frames.heartbeat(1), 9)
    assert assembly.update(BTC).heartbeat_boot_ns == 9
    assembly.lost()
    update = assembly.update(BTC)
    assert (update.fresh, update.bids, update.asks, update.heartbeat_boot_ns) == (False, (), (), 0)


def test_a_heartbeat_makes_every_product_worth_telling() -> None:
    assembly = make_assembly()
    assert feed(assembly, frames.heartbeat(0)) == {BTC, "ETH-USD"}


def test_every_trade_is_handed_over_once_over_a_reconnect() -> None:
    assembly = make_assembly()
    feed(assembly, frames.trades(0, "snapshot", BTC, (1, "10", "1", T.format(1)), (2, "11", "1", T.format(2))))
    feed(assembly, frames.trades(1, "update", BTC, (3, "12", "1", T.format(3))))
    assert [t.trade_id for t in assembly.update(BTC).trades] == [1, 2, 3]
    assembly.connected(8)
    feed(
        assembly,
        frames.trades(0, "snapshot", BTC, (2, "11", "1", T.format(2)), *((n, "13", "1", T.format(n)) for n in (3, 4))),
    )
    update = assembly.update(BTC)
    assert [t.trade_id for t in update.trades] == [4]
    assert (update.last_price, assembly.states[BTC].trade_holes) == (Decimal(13), 0)


def test_a_hole_in_trade_ids_is_counted() -> None:
    assembly = make_assembly()
    feed(assembly, frames.trades(0, "snapshot", BTC, (1, "10", "1", T.format(1))))
    feed(assembly, frames.trades(1, "update", BTC, (5, "10", "1", T.format(2))))
    assert assembly.states[BTC].trade_holes == 1


def test_trades_are_known_until_now_only_while_the_connection_brought_them() -> None:
    assembly = make_assembly()
    feed(assembly, frames.heartbeat(0))
    assert assembly.update(BTC).trades_until_utc_ns == 0  # nothing of this connection's trades yet
    feed(assembly, frames.trades(1, "snapshot", BTC, (1, "10", "1", T.format(1))))
    feed(assembly, frames.heartbeat(2))
    known = assembly.update(BTC).trades_until_utc_ns
    assert known == from_rfc3339("2026-08-09T21:05:48.854840045Z")
    assembly.connected(8)
    feed(assembly, frames.frame("heartbeats", 0, {"current_time": "2026-08-09T22:00:00Z", "heartbeat_counter": 1}))
    assert assembly.update(BTC).trades_until_utc_ns == known


def test_a_product_without_trades_is_synced_by_the_acknowledgement() -> None:
    assembly = make_assembly()
    feed(assembly, frames.subscriptions(0, market_trades=["ETH-USD"]))
    feed(assembly, frames.heartbeat(1))
    assert assembly.update("ETH-USD").trades_until_utc_ns > 0
    assert assembly.update(BTC).trades_until_utc_ns == 0


def test_a_product_nobody_asked_for_changes_nothing() -> None:
    assembly = make_assembly()
    assert feed(assembly, frames.book_snapshot(0, "DOGE-USD")) == set()


def test_merged_updates_keep_all_trades_in_order() -> None:
    assembly = make_assembly()
    feed(assembly, frames.trades(0, "update", BTC, (1, "10", "1", T.format(1))))
    older = assembly.update(BTC)
    feed(assembly, frames.trades(1, "update", BTC, (2, "10", "1", T.format(1))))
    newer = assembly.update(BTC).merge_from(older)
    assert [t.trade_id for t in newer.trades] == [1, 2]
    assert newer.merged == 1
