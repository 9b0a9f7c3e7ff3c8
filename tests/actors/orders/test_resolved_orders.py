"""Whatever an operator vouched for, and however the venue's truth arrives afterwards: the books end at that truth."""

from __future__ import annotations

import tempfile
from decimal import Decimal
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.messages.control import OperatorRequest, RequestVerb
from actors.messages.orders import OrderKind, OrderState, Protection
from actors.orders import positions
from tests.actors.orders.desk import Desk
from tests.actors.orders.test_fills_exactly_once import WAYS, tell


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    vouched=st.sampled_from(["", "0.25", "1", "2"]),
    parts=st.lists(st.integers(1, 4), max_size=2),
    ended=st.booleans(),
    ways=st.lists(st.sampled_from(WAYS), min_size=2, max_size=8),
)
def test_the_venues_truth_replaces_what_was_vouched_for_in_any_mixture_of_ways(
    vouched: str, parts: list[int], ended: bool, ways: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder), default_stop_bps="500")
        desk.venue.mute = {"submit", "query"}
        desk.approve("2", kind=OrderKind.LIMIT_GTD, end_after_s=50.0)
        desk.pass_time(160, 4.0)
        (record,) = desk.tracker.ledger.working()
        assert record.state is OrderState.UNKNOWN
        (order_id,) = desk.venue.orders
        desk.venue.mute = {"query"}  # the answers to creates come again: protection is not UNKNOWN as well
        said = {"as": "filled", "size": vouched} if vouched else {"as": "absent"}
        request = OperatorRequest("op-1-1-1", RequestVerb.RESOLVE, record.id, tuple(said.items()), "drill", "anna")
        for _ in range(2):
            desk.harness.deliver(request)
        assert desk.tracker.ledger.book("BTC-USD").quantity == Decimal(vouched or 0)
        for part in parts:
            desk.venue.fill(order_id, Decimal(part) / 4, Decimal("99.00"))
        if ended and sum(parts) < 8:
            desk.venue.end(order_id, "CANCELLED")
        # Protection of coins that are not there is refused by the venue, and says so; it must not sell others.
        desk.venue.mute = set()
        for way in ways:
            tell(desk, way)
        tell(desk, "evidence")
        desk.pass_time(160, 4.0)  # a restart may have left protection UNKNOWN, too
        _assert_books_are_the_venues(desk)
        desk.restart()
        assert not desk.tracker.unusable
        _assert_books_are_the_venues(desk)


def _assert_books_are_the_venues(desk: Desk) -> None:
    ledger = desk.tracker.ledger
    book, _ = positions.fold("BTC-USD", ledger.fills_of_symbol("BTC-USD"))
    owned = sum((one.size * (1 if one.side == "BUY" else -1) for one in desk.venue.fills), Decimal(0))
    assert book.quantity == ledger.book("BTC-USD").quantity == owned == desk.venue.coins["BTC"]
    assert {one.entry_id for one in ledger.fills_of_symbol("BTC-USD")} == {one.entry_id for one in desk.venue.fills}
    if owned > 0:
        position = desk.position()
        assert position is not None and position.protection is Protection.PROTECTED
        assert desk.venue.held("BTC") == owned
