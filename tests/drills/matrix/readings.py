"""What is not known of the venue and can be played for as long as a case lasts; and the page that lists all of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.drills.daemon import PROJECT

PAGE = PROJECT / "docs" / "venue-assumptions.md"
COLUMN = "in the fault matrix"


@dataclass(frozen=True, slots=True)
class Value:
    """One reading: in words, and the simulator's rules and lasting fault that play it."""

    text: str
    rules: Mapping[str, object] = field(default_factory=dict)
    fault: Mapping[str, Any] | None = None


def _rule(name: str, *values: tuple[str, object]) -> tuple[Value, ...]:
    return tuple(Value(text, {name: value}) for text, value in values)


def _fault(own: str, other: str, kind: str, **parameters: object) -> tuple[Value, ...]:
    return (Value(own), Value(other, fault={"kind": kind, **parameters}))


READINGS: dict[str, tuple[Value, ...]] = {
    "gtd_end_status": _rule("gtd_end_status", ("CANCELLED", "CANCELLED"), ("EXPIRED", "EXPIRED")),
    "partial_target": _rule(
        "bracket_stop_survives_partial_target", ("the stop is lost", False), ("the stop stays", True)
    ),
    "auction": _rule("auction_cancels_brackets", ("cancels brackets", True), ("they stay", False)),
    "self_trade": _rule("self_trade_prevention", ("prevented", True), ("they pass each other", False)),
    "stop_orders": _rule("stop_orders_offered", ("offered", True), ("refused", False)),
    "accept_delay": _rule("accept_delay_ms", ("5 ms", 5), ("250 ms", 250)),
    "cancel_delay": _rule("cancel_delay_ms", ("20 ms", 20), ("300 ms", 300)),
    "known_client_id": _fault("the first order again", "refused", "duplicate_client_order_id"),
    "get_order": _fault("visible at once", "404 for 1 s", "get_order_404_for", visible_after_s=1.0),
    "list_orders": _fault("visible at once", "not listed for 1 s", "orders_invisible_for", visible_after_s=1.0),
    "heartbeat_counter": _fault("an integer", "a string", "heartbeat_string"),
    "client_id": _fault("absent", "present", "client_id"),
    "unfilled_ioc": _rule("immediate_unfilled_status", ("CANCELLED", "CANCELLED"), ("FAILED", "FAILED")),
    "cancel_of_over": _rule(
        "cancel_of_over", ("UNKNOWN_CANCEL_ORDER or ORDER_IS_FULLY_FILLED", "UNKNOWN_CANCEL_ORDER"),
        ("INVALID_CANCEL_REQUEST", "INVALID_CANCEL_REQUEST"), ("success", "success"),
    ),
    "buy_hold": _rule(
        "buy_hold_fee", ("with the taker fee", "taker"), ("with the maker fee", "maker"), ("without", "none")
    ),
    "stop_fires_on": _rule("stops_fire_on", ("the last trade", "trade"), ("the best bid", "book")),
    "fired_bracket": _rule("fired_bracket", ("a limit 5 % worse", "limit"), ("a market order", "market")),
    "commission": _rule("commission_step", ("not rounded", "0"), ("to cents", "0.01")),
    "mode_refusal": _rule("mode_refusal", ("by mode", ""), ("PRODUCT_TRADING_HALTED", "PRODUCT_TRADING_HALTED")),
    "open_listing": _rule("open_lists_working", ("OPEN alone", False), ("with those on their way", True)),
    "pages": _rule("pages_shift", ("keep their place", False), ("shift", True)),
    "empty_wallets": _rule("empty_wallets_listed", ("absent", False), ("listed with zero", True)),
    "private_rate": (
        Value("30 a second, then 429", {"private_rate": 30, "throttle_status": 429}),
        Value("10 a second, then 429", {"private_rate": 10, "throttle_status": 429}),
        Value("10 a second, then 401", {"private_rate": 10, "throttle_status": 401}),
    ),
    "clock_leeway": _rule("clock_leeway_s", ("5 s", 5), ("none", 0)),
    "passed_stop": _rule(
        "passed_stop_fires_on_resumption", ("fires when trading resumes", True), ("waits for a trade", False)
    ),
}  # fmt: skip
"""The first value is the simulator's own. Each is named in the last column of its row of the page."""


def own_rules() -> dict[str, object]:
    """The rules of every first value."""
    return {name: value for values in READINGS.values() for name, value in values[0].rules.items()}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of docs/venue-assumptions.md."""

    assumption: str
    other: str
    switch: str
    matrix: str

    @property
    def named(self) -> tuple[str, ...]:
        """What of the matrix plays the row; nothing when the column says why nothing does."""
        return () if self.matrix.startswith("no: ") else tuple(re.findall(r"`([^`]+)`", self.matrix))


def rows(page: Path = PAGE) -> list[Row]:
    """Every assumption, in the page's order; raises ValueError for a table of another shape."""
    found = []
    for line in page.read_text().splitlines():
        if not line.startswith("|") or set(line) <= set("|- "):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 5:
            raise ValueError(f"five columns expected: {line}")
        if cells[0] == "assumption":
            if cells[4] != COLUMN:
                raise ValueError(f"the last column is {cells[4]!r}")
            continue
        found.append(Row(cells[0], cells[2], cells[3], cells[4]))
    return found
