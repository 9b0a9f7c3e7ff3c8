"""What happened on this exchange, and what a guard must make of it."""

from __future__ import annotations

from decimal import Decimal

from actors.guard.symbol import SymbolGuard
from actors.messages.market import TickRefusal
from config.sections.guard import GuardSettings
from tests.actors.guard.market import boot, trade, update


def make_guard(**changed: object) -> SymbolGuard:
    return SymbolGuard("BTC-USD", GuardSettings.model_validate({"warm_up_s": 0, **changed}))


def calm(guard: SymbolGuard, bid: str, ask: str, until_s: float = 5.0) -> float:
    """A quiet market until ``until_s``, ten quotes a second; returns the time."""
    for step in range(int(until_s * 10) + 1):
        guard.apply(update(step / 10, bid, ask), boot(step / 10))
    return until_s


def mid(guard: SymbolGuard, at_s: float) -> Decimal | None:
    quote = guard.guarded(boot(at_s), 1).quote
    return None if quote is None else quote.mid


def test_the_print_at_six_cents_neither_marks_nor_trades_nor_stops() -> None:
    """2017-04-15: BTC-USD 1183 -> 0.06 and back at once, on a book that was empty on one side."""
    guard = make_guard()
    now = calm(guard, "1183.00", "1183.10")
    swept = update(now + 0.05, "0.06", "1183.10", *(trade(n, "0.06", now + 0.05) for n in range(1, 101)))
    verdict = guard.apply(swept, boot(now + 0.05))
    assert verdict.refused[TickRefusal.OUT_OF_BAND] == 1
    shown = guard.guarded(boot(now + 0.05), 1)
    assert shown.quote is not None and shown.quote.mid == Decimal("1183.05")
    assert TickRefusal.OUT_OF_BAND in shown.blocks
    assert shown.last_trade_price is None
    guard.apply(update(now + 0.3, "1182.90", "1183.20"), boot(now + 0.3))
    assert guard.guarded(boot(now + 0.3), 1).blocks == ()
    later = guard.tick(boot(now + 3))
    assert later.refused[TickRefusal.OUT_OF_BAND] == 100
    assert guard.guarded(boot(now + 3), 1).last_trade_price is None


def test_prints_at_six_cents_on_a_book_that_did_not_move_are_refused_however_many() -> None:
    guard = make_guard()
    now = calm(guard, "1183.00", "1183.10")
    for n in range(1, 50):
        at = now + n * 0.05
        guard.apply(update(at, "1183.00", "1183.10", trade(n, "0.06", at)), boot(at))
    guard.tick(boot(now + 6))
    shown = guard.guarded(boot(now + 2.5), 1)
    assert shown.last_trade_price is None
    assert shown.quote is not None and shown.quote.mid == Decimal("1183.05")
    assert shown.volatility_bps == 0


def test_one_quote_far_away_waits_and_the_return_clears_it() -> None:
    guard = make_guard()
    now = calm(guard, "100", "100.1")
    guard.apply(update(now + 0.05, "13", "13.01"), boot(now + 0.05))
    assert TickRefusal.UNCONFIRMED in guard.guarded(boot(now + 0.05), 1).blocks
    assert mid(guard, now + 0.05) == Decimal("100.05")
    guard.apply(update(now + 0.1, "100", "100.1"), boot(now + 0.1))
    assert guard.guarded(boot(now + 0.1), 1).blocks == ()


def test_a_cascade_that_takes_the_book_along_passes() -> None:
    """2017-06-21: ETH-USD 317.81 -> 224.48 in a second, several prints, the book with them."""
    guard = make_guard()
    now = calm(guard, "317.80", "317.82")
    accepted: list[Decimal | None] = []
    prices = [Decimal("317.81") - Decimal("4.6665") * n for n in range(1, 21)]
    for n, price in enumerate(prices):
        at = now + 0.05 * (n + 1)
        print_ = trade(n + 1, str(price), at)
        guard.apply(update(at, str(price - Decimal("0.02")), str(price + Decimal("0.02")), print_), boot(at))
        accepted.append(mid(guard, at))
    assert accepted[-1] is not None and abs(accepted[-1] - Decimal("224.48")) < 10  # two steps behind
    at = now + 1.2
    guard.apply(update(at, "224.46", "224.50"), boot(at))
    guard.apply(update(at + 0.05, "224.45", "224.50"), boot(at + 0.05))
    shown = guard.guarded(boot(at + 0.05), 1)
    assert shown.quote is not None and shown.quote.mid == Decimal("224.475")
    assert shown.last_trade_price is not None and shown.last_trade_price < 240
    assert shown.blocks == (TickRefusal.VOLATILE,)  # real, and yet no moment to enter


def test_a_wide_but_steady_liquidation_is_never_refused() -> None:
    """2025-10-10: 4.8 % within five minutes, the book with it: every quote is the market's."""
    guard = make_guard(max_volatility_bps="10000")
    now = calm(guard, "112400", "112401")
    for n in range(300):
        price = Decimal(112400) - Decimal(18) * n
        at = now + n
        verdict = guard.apply(update(at, str(price), str(price + 1), trade(n + 1, str(price), at)), boot(at))
        assert not verdict.refused, n


def test_a_new_level_that_stands_is_accepted_without_further_moves() -> None:
    """An illiquid market may jump once and stay: the heartbeats prove that it stands."""
    guard = make_guard(confirm_s=2)
    now = calm(guard, "100", "100.1")
    for n, at in enumerate((now + 0.1, now + 1.1, now + 2.0)):
        guard.apply(update(at, "120", "120.1", sent_s=now + 0.1), boot(at))
        assert mid(guard, at) == Decimal("100.05"), n
    guard.apply(update(now + 2.1, "120", "120.1", sent_s=now + 0.1), boot(now + 2.1))
    assert mid(guard, now + 2.1) == Decimal("120.05")


def test_the_same_quote_again_is_no_confirmation() -> None:
    guard = make_guard(confirmations=3, confirm_s=2)
    now = calm(guard, "100", "100.1")
    for n in range(10):
        at = now + 0.1 + n / 100
        guard.apply(update(at, "120", "120.1"), boot(at))
    assert mid(guard, at) == Decimal("100.05")


def test_a_level_that_was_interrupted_did_not_stand() -> None:
    guard = make_guard(confirm_s=2)
    now = calm(guard, "100", "100.1")
    guard.apply(update(now + 0.1, "120", "120.1"), boot(now + 0.1))
    guard.apply(update(now + 1, "1", "120.1"), boot(now + 1))
    guard.apply(update(now + 3, "120", "120.1"), boot(now + 3))
    assert mid(guard, now + 3) == Decimal("100.05")


def test_prints_that_trail_the_book_are_real() -> None:
    """Prints come in batches of 250 ms: when they arrive, the book may be elsewhere already."""
    guard = make_guard(confirmations=1)
    now = calm(guard, "317.80", "317.82")
    guard.apply(update(now + 0.1, "290.00", "290.02"), boot(now + 0.1))
    late = update(now + 0.2, "290.00", "290.02", trade(1, "317.79", now), trade(2, "290.01", now + 0.1))
    assert guard.apply(late, boot(now + 0.2)).accepted == 3
    assert guard.guarded(boot(now + 0.2), 1).last_trade_price == Decimal("290.01")


def test_a_crossed_a_one_sided_and_a_missing_book_are_refused() -> None:
    guard = make_guard()
    calm(guard, "100", "100.1", 1)
    assert guard.apply(update(2, "101", "100"), boot(2)).refused == {TickRefusal.CROSSED: 1}
    assert guard.apply(update(2, "100", "100"), boot(2)).refused == {TickRefusal.CROSSED: 1}
    assert guard.apply(update(2, "100", None), boot(2)).refused == {TickRefusal.NO_BOOK: 1}
    assert guard.guarded(boot(2), 1).quote is not None  # the last accepted one, ageing
    assert guard.apply(update(2, fresh=False), boot(2)).refused == {TickRefusal.NO_BOOK: 1}
    assert guard.guarded(boot(2), 1).quote is None


def test_exchange_time_that_runs_backwards_is_refused() -> None:
    guard = make_guard()
    calm(guard, "100", "100.1", 3)
    assert guard.apply(update(3.1, "99", "99.1", sent_s=1.9), boot(3.1)).refused == {TickRefusal.TIME_BACKWARDS: 1}
    assert guard.apply(update(3.2, "99", "99.1", sent_s=2.1), boot(3.2)).accepted == 1
    old = guard.apply(update(3.3, "50", "50.1", epoch=0), boot(3.3))
    assert old.refused == {TickRefusal.TIME_BACKWARDS: 1}


def test_a_wide_spread_blocks_entries_and_still_marks() -> None:
    guard = make_guard(max_spread_bps="50")
    guard.apply(update(0, "100", "101"), boot(0))
    shown = guard.guarded(boot(0), 1)
    assert shown.quote is not None
    assert shown.blocks == (TickRefusal.WIDE_SPREAD,)


def test_warm_up_counts_from_the_last_gap() -> None:
    guard = make_guard(warm_up_s=2)
    guard.apply(update(0), boot(0))
    assert guard.blocks(boot(1)) == (TickRefusal.WARMING_UP,)
    guard.apply(update(2), boot(2))
    assert guard.blocks(boot(2)) == ()
    guard.apply(update(3, epoch=2), boot(3))
    assert guard.blocks(boot(3)) == (TickRefusal.WARMING_UP,)
