from __future__ import annotations

from decimal import Decimal
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from actors.feed.book import Book

D = Decimal


def test_best_and_top_levels_come_best_first() -> None:
    book = Book()
    book.load([(D("99"), D(1)), (D("100"), D(2))], [(D("102"), D(3)), (D("101"), D(4))])
    assert (book.best_bid, book.best_ask) == ((D(100), D(2)), (D(101), D(4)))
    assert book.top_bids(5) == ((D(100), D(2)), (D(99), D(1)))
    assert book.top_asks(1) == ((D(101), D(4)),)


def test_the_same_price_in_another_spelling_is_the_same_level() -> None:
    book = Book()
    book.load([(D("100.0"), D(1))], [])
    book.apply([(D("100"), D(5))], [])
    assert book.top_bids(5) == ((D(100), D(5)),)
    book.apply([(D("100.00"), D(0))], [])
    assert book.best_bid is None


def test_removing_an_unknown_level_changes_nothing() -> None:
    book = Book()
    book.load([(D(100), D(1))], [(D(101), D(1))])
    before = book.sha256()
    book.apply([(D(50), D(0))], [(D(500), D(0))])
    assert book.sha256() == before


def test_a_snapshot_replaces_everything() -> None:
    book = Book()
    book.load([(D(100), D(1))], [(D(101), D(1))])
    book.load([(D(90), D(1))], [])
    assert book.top_bids(9) == ((D(90), D(1)),)
    assert book.best_ask is None


def test_touching_prices_are_crossed() -> None:
    book = Book()
    book.load([(D(100), D(1))], [(D(101), D(1))])
    assert not book.crossed
    book.apply([(D(101), D(1))], [])
    assert book.crossed


def test_the_hash_is_over_plain_decimals_in_book_order() -> None:
    book = Book()
    book.load([(D("1.50"), D("10")), (D("2"), D("0.10"))], [(D("100"), D("1E+1"))])
    text = "bid 2 0.1\nbid 1.5 10\noffer 100 10"
    assert book.sha256() == sha256(text.encode()).hexdigest()


LEVELS = st.lists(st.tuples(st.integers(1, 12).map(Decimal), st.integers(0, 3).map(Decimal)), max_size=12)


@given(LEVELS, LEVELS, st.lists(st.tuples(LEVELS, LEVELS), max_size=6))
def test_a_book_equals_two_plain_dictionaries(
    bids: list[tuple[D, D]], asks: list[tuple[D, D]], updates: list[tuple[list[tuple[D, D]], list[tuple[D, D]]]]
) -> None:
    book = Book()
    book.load(bids, asks)
    plain_bids = {p: s for p, s in bids if s}
    plain_asks = {p: s for p, s in asks if s}
    for more_bids, more_asks in updates:
        book.apply(more_bids, more_asks)
        for plain, more in ((plain_bids, more_bids), (plain_asks, more_asks)):
            for price, size in more:
                if size:
                    plain[price] = size
                else:
                    plain.pop(price, None)
    assert book.top_bids(20) == tuple(sorted(plain_bids.items(), reverse=True))
    assert book.top_asks(20) == tuple(sorted(plain_asks.items()))
    assert book.sizes() == (len(plain_bids), len(plain_asks))
