"""Orders that the venue takes and fails afterwards stop entries like those that it refuses at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from actors.messages.health import BreakerName, BreakerSignal
from actors.messages.orders import OrderKind
from tests.actors.orders.desk import Desk

LIMIT = 3


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    limits = made.settings.gateway.model_copy(update={"rejections_trip": LIMIT})
    made.settings = made.settings.model_copy(update={"gateway": limits})
    made.restart()
    made.quote("BTC-USD")
    made.settle()
    return made


def rejections(desk: Desk) -> list[bool]:
    told = [one for one in desk.harness.sent["watchdog"] if isinstance(one, BreakerSignal)]
    return [one.tripped for one in told if one.breaker is BreakerName.REJECTIONS]


def fail_one(desk: Desk) -> None:
    """The venue takes an entry and fails it before anything is filled."""
    desk.approve("1", kind=OrderKind.LIMIT_GTD, end_after_s=30.0)
    desk.settle()
    (order,) = [one for one in desk.venue.open() if one.side == "BUY"]
    desk.venue.orders[order.order_id] = replace(order, status="FAILED", reject_reason="HOLD_FAILURE")
    desk.pass_time(2)


def refuse_one(desk: Desk) -> None:
    desk.venue.refuse[OrderKind.LIMIT_IOC] = "INSUFFICIENT_FUND"
    desk.approve("1")
    desk.settle()
    desk.venue.refuse.clear()


def test_failures_and_refusals_in_a_row_trip_whatever_the_mixture(desk: Desk) -> None:
    fail_one(desk)
    refuse_one(desk)
    assert rejections(desk) == []
    fail_one(desk)
    assert rejections(desk) == [True]


def test_an_order_that_the_venue_had_begins_the_row_anew(desk: Desk) -> None:
    fail_one(desk)
    fail_one(desk)
    desk.buy("1")
    fail_one(desk)
    assert rejections(desk) == []


def test_the_row_is_counted_over_a_restart_and_ends_with_time(desk: Desk) -> None:
    for _ in range(LIMIT - 1):
        fail_one(desk)
    desk.restart()
    desk.pass_time(1)
    assert rejections(desk) == []
    fail_one(desk)
    assert rejections(desk) == [True]
    desk.restart()
    desk.pass_time(2)
    assert rejections(desk) == [True]
    desk.pass_time(desk.settings.gateway.rejections_quiet_s + 2, 1.0)
    assert rejections(desk) == [True, False]
