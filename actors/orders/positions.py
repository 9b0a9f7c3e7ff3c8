"""Positions and realized PnL: average cost, fees included, in Decimal, folded from fills in exchange order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext

from actors.clock import NS_PER_S
from actors.messages.books import PnlBooks
from actors.messages.market import Side
from actors.orders.records import FillRecord

ZERO = Decimal(0)
COST_STEP = Decimal("1E-18")
"""The cost share that leaves with a sale is rounded to this, so that equal fills give equal books."""
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
DAY_NS = 86_400 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Book:
    """One symbol's books. ``cost``: quote currency in the open quantity, entry fees included.

    ``quantity`` below zero means that more was sold than is known to have been bought: an anomaly, never a plan.
    ``trip_start``: ``realized`` when the present round trip began. ``last_key``: newest fill in exchange order.
    """

    symbol: str
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    realized: Decimal = ZERO
    fees: Decimal = ZERO
    trip_start: Decimal = ZERO
    opened_utc_ns: int = 0
    last_key: tuple[int, str] = (0, "")

    @property
    def average_cost(self) -> Decimal:
        """Quote currency per base unit, entry fees included; zero when nothing is held."""
        return _EXACT.divide(self.cost, self.quantity) if self.quantity > 0 else ZERO


def apply(book: Book, fill: FillRecord) -> Book:
    """The books after one fill that comes later, in exchange order, than all before."""
    opened = book.opened_utc_ns if book.quantity > 0 else fill.trade_utc_ns
    trip = book.trip_start if book.quantity > 0 else book.realized
    with localcontext(_EXACT):
        after = _buy(book, fill) if fill.side is Side.BUY else _sell(book, fill)
        return replace(after, fees=book.fees + fill.fee, last_key=fill.key, opened_utc_ns=opened, trip_start=trip)


def fold(symbol: str, fills: Iterable[FillRecord]) -> tuple[Book, dict[int, tuple[Decimal, Decimal]]]:
    """The books after all ``fills`` (any order of arrival) and, per UTC day, (realized, fees)."""
    book = Book(symbol)
    days: dict[int, tuple[Decimal, Decimal]] = {}
    for fill in sorted(fills, key=lambda one: one.key):
        after = apply(book, fill)
        day = day_start(fill.trade_utc_ns)
        realized, fees = days.get(day, (ZERO, ZERO))
        with localcontext(_EXACT):
            days[day] = (realized + after.realized - book.realized, fees + fill.fee)
        book = after
    return book, days


def book_fill(
    before: Book,
    fill: FillRecord,
    day: tuple[Decimal, Decimal] | None,
    known: Callable[[], Iterable[FillRecord]],
) -> tuple[Book, dict[int, tuple[Decimal, Decimal]], bool]:
    """The books after one more fill, the (realized, fees) of the days it changes, and whether these are all days.

    ``day``: what the fill's own day has so far; ``known``: every fill of the symbol with this one. A fill that is
    earlier in exchange order than the last one changes what came after it: everything is computed anew.
    """
    if fill.key <= before.last_key:
        return *fold(fill.symbol, known()), True
    after = apply(before, fill)
    realized, fees = day or (ZERO, ZERO)
    with localcontext(_EXACT):
        sums = (realized + after.realized - before.realized, fees + fill.fee)
    return after, {day_start(fill.trade_utc_ns): sums}, False


def close_trip(book: Book) -> Book:
    """The round trip ends here although something too small to be sold is left."""
    return replace(book, trip_start=book.realized)


def _buy(book: Book, fill: FillRecord) -> Book:
    paid = fill.price * fill.size + fill.fee
    if book.quantity >= 0:
        return replace(book, quantity=book.quantity + fill.size, cost=book.cost + paid)
    # Coins sold before they were known are bought back first; their proceeds were realized in full then.
    covered = min(fill.size, -book.quantity)
    back = _share(paid, covered, fill.size)
    return replace(book, quantity=book.quantity + fill.size, cost=paid - back, realized=book.realized - back)


def _sell(book: Book, fill: FillRecord) -> Book:
    proceeds = fill.price * fill.size - fill.fee
    leaving = book.cost if fill.size >= book.quantity else _share(book.cost, fill.size, book.quantity)
    return replace(
        book,
        quantity=book.quantity - fill.size,
        cost=book.cost - leaving,
        realized=book.realized + proceeds - leaving,
    )


def _share(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    exact = _EXACT.divide(_EXACT.multiply(amount, part), whole)
    return exact.quantize(COST_STEP, rounding=ROUND_HALF_EVEN, context=_EXACT)


def day_start(utc_ns: int) -> int:
    """00:00 UTC of the day, nanoseconds."""
    return utc_ns - utc_ns % DAY_NS


def week_start(utc_ns: int) -> int:
    """00:00 UTC of the Monday."""
    day = datetime.fromtimestamp(day_start(utc_ns) // NS_PER_S, UTC)
    return int((day - timedelta(days=day.weekday())).timestamp()) * NS_PER_S


def pnl_books(books: Iterable[Book], days: Iterable[tuple[int, Decimal, Decimal]], now_utc_ns: int) -> PnlBooks:
    """Realized PnL over all symbols: in total, since 00:00 UTC and since Monday 00:00 UTC."""
    day, week = day_start(now_utc_ns), week_start(now_utc_ns)
    listed = list(days)
    held = list(books)
    with localcontext(_EXACT):
        return PnlBooks(
            realized_total=sum((book.realized for book in held), ZERO),
            realized_day=sum((realized for start, realized, _ in listed if start >= day), ZERO),
            realized_week=sum((realized for start, realized, _ in listed if start >= week), ZERO),
            fees_total=sum((book.fees for book in held), ZERO),
            day_start_utc_ns=day,
            week_start_utc_ns=week,
        )
