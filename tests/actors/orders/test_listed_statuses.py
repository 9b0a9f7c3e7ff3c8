"""Every status, trigger status and reason that Coinbase documents (Advanced Trade API, autumn 2026), as data.

What is in no list trips a breaker and changes nothing; each listed one has its state here.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from actors.messages.health import BreakerSignal
from actors.messages.orders import OrderState
from actors.messages.reconcile import VenueEvidence
from actors.orders import machine
from actors.orders.machine import UnknownVenueStatusError, state_of
from tests.actors.orders.desk import Desk
from tests.actors.orders.test_machine import SENT, view

S = OrderState
# status: state with nothing filled / 1 of 4 filled and booked / all filled and booked
STATUSES: dict[str, tuple[OrderState, OrderState, OrderState]] = {
    "PENDING": (S.OPEN, S.PARTIALLY_FILLED, S.FILLED),
    "OPEN": (S.OPEN, S.PARTIALLY_FILLED, S.FILLED),
    "QUEUED": (S.OPEN, S.PARTIALLY_FILLED, S.FILLED),
    "EDIT_QUEUED": (S.OPEN, S.PARTIALLY_FILLED, S.FILLED),
    "CANCEL_QUEUED": (S.PENDING_CANCEL, S.PENDING_CANCEL, S.FILLED),
    "CANCELLED": (S.CANCELLED, S.CANCELLED, S.FILLED),
    "EXPIRED": (S.EXPIRED, S.EXPIRED, S.FILLED),
    "FAILED": (S.REJECTED, S.CANCELLED, S.FILLED),
    # Without a size it means all of it; with a smaller one it is over (an own order took the rest away).
    "FILLED": (S.OPEN, S.FILLED, S.FILLED),
}
SAYS_NOTHING = ("UNKNOWN_ORDER_STATUS",)
TRIGGERS = ("UNKNOWN_TRIGGER_STATUS", "INVALID_ORDER_TYPE", "STOP_PENDING", "STOP_TRIGGERED")
REJECT_REASONS = (
    "REJECT_REASON_UNSPECIFIED", "HOLD_FAILURE", "TOO_MANY_OPEN_ORDERS", "REJECT_REASON_INSUFFICIENT_FUNDS",
    "RATE_LIMIT_EXCEEDED",
)  # fmt: skip


@pytest.mark.parametrize("status", STATUSES)
def test_every_listed_status_has_its_state(status: str) -> None:
    for filled, expected in zip((0, 1, 4), STATUSES[status], strict=True):
        seen = machine.with_view(SENT, view(status, filled))
        booked = machine.with_fill(seen, Decimal(filled)) if filled else seen
        assert state_of(booked) is expected, (status, filled)


@pytest.mark.parametrize("status", [name for name in STATUSES if name != "FILLED"])
def test_no_listed_status_ends_an_order_whose_fills_are_not_booked(status: str) -> None:
    assert not state_of(machine.with_view(SENT, view(status, 1))).terminal


@pytest.mark.parametrize("status", [*SAYS_NOTHING, "", "open", "PARTIALLY_FILLED", "SUSPENDED"])
def test_a_status_that_says_nothing_or_is_not_listed_raises(status: str) -> None:
    with pytest.raises(UnknownVenueStatusError):
        machine.with_view(SENT, view(status))


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_every_listed_trigger_status_is_taken_and_only_one_means_triggered(trigger: str) -> None:
    facts = machine.with_view(SENT, view("OPEN", 0, trigger))
    assert facts.triggered is (trigger == "STOP_TRIGGERED")
    assert machine.with_view(facts, view("OPEN", 0, "STOP_PENDING")).triggered is facts.triggered


@pytest.mark.parametrize("reason", REJECT_REASONS)
def test_every_listed_reject_reason_ends_the_order_and_trips_nothing(tmp_path: Path, reason: str) -> None:
    assert _failed_with(tmp_path, reason) == []


def test_an_unlisted_reject_reason_ends_the_order_and_trips_a_breaker(tmp_path: Path) -> None:
    assert _failed_with(tmp_path, "MOON_PHASE") == [("reconcile", "*", True)]


def _failed_with(folder: Path, reason: str) -> list[tuple[str, str, bool]]:
    """A bracket that rested and failed afterwards: which breakers were asked for."""
    desk = Desk(folder)
    desk.buy("1")
    (bracket,) = desk.venue.open()
    failed = replace(bracket, status="FAILED", reject_reason=reason)
    desk.venue.orders[bracket.order_id] = failed
    desk.harness.deliver(VenueEvidence((failed,)))
    record = desk.tracker.ledger.order(bracket.client_order_id)
    assert record is not None
    assert (record.state, record.reason) == (S.REJECTED, reason)
    signals = [one for one in desk.harness.sent["watchdog"] if isinstance(one, BreakerSignal)]
    return [(one.breaker.value, one.scope, one.tripped) for one in signals]


def test_the_page_about_orders_names_every_status() -> None:
    page = (Path(__file__).parents[3] / "docs" / "orders.md").read_text()
    missing = [word for word in (*STATUSES, *SAYS_NOTHING, *OrderState) if str(word) not in page]
    assert missing == []
