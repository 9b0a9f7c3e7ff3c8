"""The status page shows what is known, and nothing that is only remembered."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from actors.admin.status import MARK_MAX_AGE_S, Identity, Known, TreeRestarts, make_status
from actors.clock import NS_PER_S
from actors.messages.books import PnlBooks, PortfolioSnapshot, Position, RiskReport
from actors.messages.control import ControlReport
from actors.messages.health import Lease, TradingState
from actors.messages.market import GuardedQuote, Quote
from actors.messages.orders import Protection
from commands.status import page

NOW = 1_000 * NS_PER_S
ZERO = Decimal(0)
MINUTE_NS = 60 * NS_PER_S
RESTARTS = TreeRestarts((NOW - 12 * MINUTE_NS, NOW - MINUTE_NS), limit=2, window_s=600, reason="signal 9")
IDENTITY = Identity("demo", "b", "c", 1, "", "", 1, RESTARTS)


def test_restarts_of_the_whole_tree_are_shown_with_how_many_are_left() -> None:
    assert make_status(Known(), IDENTITY, NOW, NOW)["tree"] == {
        "restarts": 1,
        "restarts_left": 1,
        "window_s": 600,
        "last_restart_s_ago": 60.0,
        "last_reason": "signal 9",
    }


def holding() -> PortfolioSnapshot:
    position = Position(
        "BTC-USD",
        "BTC",
        Decimal(2),
        Decimal(100),
        ZERO,
        ZERO,
        Protection.PROTECTED,
        1,
        Decimal(95),
        Decimal(110),
        None,
    )
    pnl = PnlBooks(ZERO, ZERO, ZERO, ZERO, 0, 0)
    return PortfolioSnapshot(1, 1, True, (), (position,), pnl, (), (), (), NOW, 1)


@pytest.mark.parametrize(
    ("age_s", "bid", "unrealized"), [(1.0, "101", "2"), (MARK_MAX_AGE_S + 1, None, None)], ids=["fresh", "old"]
)
def test_a_position_is_valued_at_a_fresh_quote_only(age_s: float, bid: str | None, unrealized: str | None) -> None:
    quoted = NOW - round(age_s * NS_PER_S)
    quote = Quote("BTC-USD", Decimal(101), Decimal(102), Decimal(1), Decimal(1), 1, quoted)
    known = Known(portfolio=(holding(), NOW))
    known.quotes["BTC-USD"] = GuardedQuote("BTC-USD", quote, (), quote.bid, Decimal(1), (), (), 1)
    shown = make_status(known, IDENTITY, NOW, NOW)["positions"]
    assert isinstance(shown, list)
    assert [(one["bid"], one["unrealized"], one["quote_age_s"]) for one in shown] == [(bid, unrealized, age_s)]


@pytest.mark.parametrize(
    ("state", "latched", "way_out"),
    [
        (TradingState.KILLED, True, "(run.py release, then resume)"),
        (TradingState.HALTED, False, "(run.py resume)"),
        (TradingState.REDUCE_ONLY, False, "(run.py resume)"),
    ],
)
def test_what_an_operator_stopped_is_shown_with_the_way_out(state: TradingState, latched: bool, way_out: str) -> None:
    lease = Lease(1, 1, 1, NOW, state, ("operator: lunch",), ())
    known = Known(lease=lease, control=ControlReport(lease, (), state, "lunch", latched, (), ()))
    problems = make_status(known, IDENTITY, NOW, NOW)["problems"]
    assert isinstance(problems, list)
    assert problems[0] == f"trading is {state}: operator: lunch {way_out}"


@pytest.mark.parametrize(
    ("resting", "shown"),
    [(None, "stop 95 planned, none rests"), ("95", "stop 95,"), ("93", "stop 93 (planned 95)")],
)
def test_the_stop_that_rests_is_shown_not_the_planned_one_alone(resting: str | None, shown: str) -> None:
    stops = () if resting is None else (Decimal(resting),)
    snapshot = holding()
    snapshot = replace(snapshot, positions=(replace(snapshot.positions[0], resting_stops=stops),))
    lines = list(page(make_status(Known(portfolio=(snapshot, NOW)), IDENTITY, NOW, NOW)))
    assert any(shown in line for line in lines)


def test_a_risk_manager_without_its_store_is_not_healthy() -> None:
    report = RiskReport((), (), None, ZERO, None, None, None, None, None, None, (), None, ("state_store", "fees"))
    status = make_status(Known(risk=(report, NOW)), IDENTITY, NOW, NOW)
    assert any("risk.db" in str(problem) for problem in status["problems"])  # type: ignore[attr-defined]
    assert "  entries are refused: the risk manager lacks state_store, fees" in list(page(status))
