"""Absence is proven late, twice and with the fills, or not at all."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from actors.messages.orders import SubmitOrder
from actors.orders.unknowns import Search
from tests.actors.orders.desk import Desk
from tests.actors.orders.venue import seconds

SEARCH = Search("td-a-1-e-1", last_send_boot_ns=0, since_boot_ns=0)


def listing(search: Search, at_s: float) -> Search:
    return search.with_listing(seconds(at_s), 120.0, 2.0)


def fills(search: Search, at_s: float) -> Search:
    return search.with_clear_fills(seconds(at_s), 120.0, 2.0)


def test_two_late_listings_apart_and_the_fills_prove_absence() -> None:
    assert fills(listing(listing(SEARCH, 122), 124), 124).absent


def test_what_was_asked_before_the_token_died_proves_nothing() -> None:
    assert not fills(listing(listing(SEARCH, 60), 125), 125).absent
    assert not fills(listing(listing(SEARCH, 123), 126), 121).absent


def test_one_listing_or_two_at_once_prove_nothing() -> None:
    assert not fills(listing(SEARCH, 123), 123).absent
    assert not fills(listing(listing(SEARCH, 123), 124), 124).absent


def test_queries_wait_longer_and_longer_within_bounds() -> None:
    search, waits = SEARCH, []
    for _ in range(8):
        search = search.queried(0, 1.0, 120.0, 2.0)
        waits.append(search.next_boot_ns / seconds(1))
    assert waits == [1, 2, 4, 8, 10, 10, 10, 10]


def test_the_first_moment_at_which_absence_can_be_proven_is_not_overslept() -> None:
    search, at_s, asked = SEARCH, 0.0, []
    while not search.absent:
        search = fills(listing(search.queried(seconds(at_s), 1.0, 120.0, 2.0), at_s), at_s)
        asked.append(at_s)
        at_s = search.next_boot_ns / seconds(1)
    assert asked[-2:] == [122, 124]


def test_queries_that_prove_nothing_wait_longer_after_that_moment_too() -> None:
    search, at_s, asked = SEARCH, 122.0, []
    for _ in range(6):
        search = search.queried(seconds(at_s), 1.0, 120.0, 2.0)
        asked.append(at_s)
        at_s = search.next_boot_ns / seconds(1)
    assert asked == [122, 124, 126, 130, 138, 148]


def test_a_balance_read_before_the_cancel_was_proven_is_not_sold_by(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.buy("1")
    watch = desk.tracker.watch("BTC-USD")
    desk.harness.deliver(desk.exit_approval())
    held: list[object] = []
    for _ in range(12):
        for message in desk.harness.take("gateway"):
            if getattr(message, "kind", None) == "balances":
                held.append(message)
            else:
                desk.venue.answer_one(desk.harness, message)
    (question,) = held
    assert watch.proof_asked > 0
    answer = desk.venue.query(question)  # type: ignore[arg-type]
    desk.harness.deliver(replace(answer, asked_boot_ns=watch.proof_asked - 1))
    assert not [one for one in desk.harness.sent["gateway"] if isinstance(one, SubmitOrder)]
    assert desk.tracker.ledger.book("BTC-USD").quantity == Decimal(1)
    desk.harness.advance(0.3)  # not asked again at once
    desk.settle()
    assert desk.venue.history[-1] == "SELL limit_ioc 1"
