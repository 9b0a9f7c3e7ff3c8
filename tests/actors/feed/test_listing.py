"""One product that the venue does not have must not cost the others their quotes."""

from __future__ import annotations

from actors.feed.listing import Listing

ALL = ("BTC-USD", "ETH-USD", "NOPE-USD")


def test_what_two_answers_in_a_row_lack_is_left_out() -> None:
    listing = Listing(ALL)
    assert not listing.hear({"BTC-USD", "ETH-USD"})
    assert listing.hear({"BTC-USD", "ETH-USD", "SOL-USD"})
    assert listing.left_out == {"NOPE-USD"}
    assert not listing.hear({"BTC-USD", "ETH-USD"})


def test_one_answer_alone_and_answers_that_differ_change_nothing() -> None:
    listing = Listing(ALL)
    for listed in ({"BTC-USD", "ETH-USD"}, {"BTC-USD", "NOPE-USD"}, set(ALL), {"BTC-USD"}):
        assert not listing.hear(listed)
    assert listing.left_out == frozenset()


def test_an_answer_without_any_of_them_is_not_believed() -> None:
    listing = Listing(ALL)
    assert not any(listing.hear(set()) for _ in range(3))


def test_what_is_listed_again_comes_back() -> None:
    listing = Listing(ALL, frozenset({"NOPE-USD"}))
    assert not listing.hear(ALL)
    assert listing.hear(ALL)
    assert listing.left_out == frozenset()
