"""The books equal an independent recomputation in exact fractions, and do not depend on the order of arrival."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.clock import NS_PER_S, from_rfc3339
from actors.messages.market import Side
from actors.orders import positions
from actors.orders.ledger import Ledger
from actors.orders.records import FillRecord

prices = st.decimals("0.01", "100000", places=2)
sizes = st.decimals("0.00000001", "10", places=8)


@st.composite
def histories(draw: st.DrawFn) -> list[FillRecord]:
    """Fills that never sell more than was bought."""
    made: list[FillRecord] = []
    held = Decimal(0)
    for n in range(draw(st.integers(1, 25))):
        sell = held > 0 and draw(st.booleans())
        size = draw(sizes)
        if sell:
            size = held if draw(st.booleans()) else min(size, held)
        held += -size if sell else size
        price = draw(prices)
        fee = (price * size * Decimal("0.009")).quantize(Decimal("1E-10"))
        at = (n * draw(st.integers(1, 40_000)) + n) * NS_PER_S
        side = Side.SELL if sell else Side.BUY
        at = max(at, made[-1].trade_utc_ns + 1 if made else 0)
        made.append(FillRecord(f"e-{n:03}", "", "", "", "BTC-USD", side, price, size, fee, at))
    return made


def recompute(fills: list[FillRecord]) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """(quantity, cost, realized, fees) by average cost, written another way."""
    quantity, cost, realized, fees = Fraction(0), Fraction(0), Fraction(0), Fraction(0)
    for fill in fills:
        size, value, fee = Fraction(fill.size), Fraction(fill.price) * Fraction(fill.size), Fraction(fill.fee)
        fees += fee
        if fill.side is Side.BUY:
            quantity, cost = quantity + size, cost + value + fee
            continue
        average = cost / quantity
        gone = Fraction(round(average * size * 10**18), 10**18) if size < quantity else cost
        realized += value - fee - gone
        quantity, cost = quantity - size, cost - gone
    return quantity, cost, realized, fees


@given(histories())
def test_books_equal_an_independent_recomputation_to_the_last_digit(fills: list[FillRecord]) -> None:
    book, days = positions.fold("BTC-USD", fills)
    found = (book.quantity, book.cost, book.realized, book.fees)
    assert tuple(Fraction(value) for value in found) == recompute(fills)
    assert sum((Fraction(r) for r, _ in days.values()), Fraction(0)) == Fraction(book.realized)


@given(histories().flatmap(lambda fills: st.tuples(st.just(fills), st.permutations(fills))))
def test_the_order_of_arrival_does_not_matter(case: tuple[list[FillRecord], list[FillRecord]]) -> None:
    fills, shuffled = case
    assert positions.fold("BTC-USD", shuffled) == positions.fold("BTC-USD", fills)


@settings(max_examples=25, deadline=None)
@given(histories().flatmap(lambda fills: st.tuples(st.just(fills), st.permutations(fills))))
def test_the_ledger_books_late_fills_as_if_they_had_come_in_time(
    case: tuple[list[FillRecord], list[FillRecord]],
) -> None:
    fills, shuffled = case
    ledger = Ledger.in_memory()
    for fill in shuffled:
        with ledger.transaction(1, 1, 1, "") as open_ledger:
            open_ledger.add_fill(fill, "FILL", booked=True)
    book, days = positions.fold("BTC-USD", fills)
    kept = ledger.book("BTC-USD")
    assert (kept.quantity, kept.cost, kept.realized, kept.fees) == (book.quantity, book.cost, book.realized, book.fees)
    assert {day: (gain, fee) for day, gain, fee in ledger.pnl_days()} == days


def test_weeks_begin_on_monday_and_days_at_midnight_utc() -> None:
    sunday = from_rfc3339("2026-11-22T20:49:34Z")
    assert positions.day_start(sunday) == from_rfc3339("2026-11-22T00:00:00Z")
    assert positions.week_start(sunday) == from_rfc3339("2026-11-16T00:00:00Z")


def test_what_was_sold_beyond_the_known_is_negative_and_bought_back_first() -> None:
    def fill(n: int, side: Side, price: int, size: int) -> FillRecord:
        return FillRecord(f"e{n}", "", "", "", "BTC-USD", side, Decimal(price), Decimal(size), Decimal(0), n)

    book, _ = positions.fold("BTC-USD", [fill(1, Side.SELL, 100, 2), fill(2, Side.BUY, 90, 3)])
    assert (book.quantity, book.cost, book.realized) == (Decimal(1), Decimal(90), Decimal(20))
