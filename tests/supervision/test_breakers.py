"""The breaker machine: what latches, what heals, how slowly it may flap."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.clock import NS_PER_S
from actors.messages.health import BreakerName, BreakerState, TradingState
from actors.messages.market import ProductRules
from supervision.breakers import EFFECTS, EVERYTHING, LATCHED, BreakerBoard, Moment, Timing
from supervision.product_modes import judge_mode
from tests.supervision.factories import rules

TIMING = Timing(hold_s=5.0, hold_max_s=60.0, probe_s=2.0)
HEALING = sorted(set(BreakerName) - LATCHED)


def at(seconds: float) -> Moment:
    return Moment(round(seconds * NS_PER_S), round((seconds + 1e6) * NS_PER_S))


def state_of(board: BreakerBoard, name: BreakerName, scope: str = EVERYTHING) -> BreakerState:
    return board.rows[name, scope].state


def test_every_breaker_has_an_effect_and_the_latched_ones_are_those_of_the_design() -> None:
    assert set(EFFECTS) == set(BreakerName)
    assert {
        BreakerName.DAILY_LOSS, BreakerName.WEEKLY_LOSS, BreakerName.DRAWDOWN, BreakerName.EGRESS,
        BreakerName.LEDGER_WRITE, BreakerName.RECONCILE, BreakerName.UNKNOWN_AGE, BreakerName.AUTH,
        BreakerName.REPEATED_EXECUTION,
    } == LATCHED  # fmt: skip
    assert all(effect is not TradingState.RUN for effect in EFFECTS.values())


@pytest.mark.parametrize("name", [BreakerName.EGRESS, BreakerName.LEDGER_WRITE, BreakerName.RECONCILE])
def test_books_that_cannot_be_trusted_halt(name: BreakerName) -> None:
    assert EFFECTS[name] is TradingState.HALTED


def test_a_healing_breaker_waits_out_its_hold_and_its_probe() -> None:
    board = BreakerBoard(TIMING)
    assert board.trip(BreakerName.API_ERRORS, "*", reason="500", by="gateway", now=at(0))[0].after is BreakerState.OPEN
    assert board.tick(at(1000)) == ()  # the cause is still there
    board.clear(BreakerName.API_ERRORS, "*", by="gateway", now=at(1000))
    assert board.tick(at(1004.9)) == ()
    assert board.tick(at(1005))[0].after is BreakerState.HALF_OPEN
    assert board.rows[BreakerName.API_ERRORS, "*"].trading_state is TradingState.REDUCE_ONLY
    assert board.tick(at(1006.9)) == ()
    assert board.tick(at(1007))[0].after is BreakerState.CLOSED
    assert board.active() == ()


def test_one_of_two_sources_does_not_heal_it_alone() -> None:
    board = BreakerBoard(TIMING)
    board.trip(BreakerName.QUOTE_STALE, "BTC-USD", reason="old", by="guard.BTC-USD", now=at(0))
    board.trip(BreakerName.QUOTE_STALE, "BTC-USD", reason="old", by="feed", now=at(1))
    board.clear(BreakerName.QUOTE_STALE, "BTC-USD", by="feed", now=at(2))
    assert board.tick(at(100)) == ()
    board.source_restarted("guard.BTC-USD", at(100))
    assert board.tick(at(104)) == ()
    assert len(board.tick(at(105))) == 1


def test_a_relapse_doubles_the_hold_and_a_long_calm_forgets_it() -> None:
    board = BreakerBoard(TIMING)
    key = (BreakerName.CLOCK, "*")

    def round_trip(start: float) -> float:
        board.trip(*key, reason="off", by="g", now=at(start))
        board.clear(*key, by="g", now=at(start))
        now = start
        while board.rows[key].state is not BreakerState.CLOSED:
            now += 0.5
            board.tick(at(now))
        return now - start

    assert round_trip(0) == 7.0
    assert round_trip(10) == 12.0
    assert round_trip(30) == 22.0
    assert round_trip(5000) == 7.0


def test_half_open_with_a_new_cause_opens_again_at_once() -> None:
    board = BreakerBoard(TIMING)
    board.trip(BreakerName.RATE_LIMIT, "*", reason="429", by="g", now=at(0))
    board.clear(BreakerName.RATE_LIMIT, "*", by="g", now=at(0))
    board.tick(at(5))
    moved = board.trip(BreakerName.RATE_LIMIT, "*", reason="429", by="g", now=at(6))
    assert (moved[0].before, moved[0].after) == (BreakerState.HALF_OPEN, BreakerState.OPEN)
    assert board.rows[BreakerName.RATE_LIMIT, "*"].trips == 2


def test_the_cause_leaving_does_not_reset_a_latched_one_but_a_named_operator_does() -> None:
    board = BreakerBoard(TIMING)
    board.trip(BreakerName.DRAWDOWN, "*", reason="15 %", by="risk", now=at(0))
    board.clear(BreakerName.DRAWDOWN, "*", by="risk", now=at(1))
    board.tick(at(1e6))
    assert state_of(board, BreakerName.DRAWDOWN) is BreakerState.OPEN
    with pytest.raises(ValueError, match="named operator"):
        board.resume("  ", at(1e6))
    assert [one.by for one in board.resume("ada", at(1e6))] == ["ada"]
    assert state_of(board, BreakerName.DRAWDOWN) is BreakerState.CLOSED


def test_resume_leaves_a_healing_breaker_to_its_cause() -> None:
    board = BreakerBoard(TIMING)
    board.trip(BreakerName.API_ERRORS, "*", reason="500", by="gateway", now=at(0))
    assert board.resume("ada", at(1)) == ()
    assert state_of(board, BreakerName.API_ERRORS) is BreakerState.OPEN


def test_a_restored_open_breaker_stays_open_for_a_whole_hold() -> None:
    board = BreakerBoard(TIMING)
    board.trip(BreakerName.VOLATILITY, "BTC-USD", reason="wild", by="g", now=at(0))
    board.trip(BreakerName.EGRESS, "*", reason="count", by="tracker", now=at(0))
    successor = BreakerBoard(TIMING)
    successor.restore(board.rows.values(), at(3))
    assert successor.tick(at(7.9)) == ()
    assert [one.breaker for one in successor.tick(at(8))] == [BreakerName.VOLATILITY]
    successor.tick(at(1e6))
    assert state_of(successor, BreakerName.EGRESS) is BreakerState.OPEN


def test_an_effect_follows_the_present_cause() -> None:
    board = BreakerBoard(TIMING)
    key = (BreakerName.PRODUCT_MODE, "BTC-USD")
    board.trip(*key, reason="cancel_only", by="w", now=at(0), effect=TradingState.HALTED)
    assert board.rows[key].trading_state is TradingState.HALTED
    board.trip(*key, reason="post_only", by="w", now=at(1), effect=TradingState.REDUCE_ONLY)
    assert board.rows[key].trading_state is TradingState.REDUCE_ONLY


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["trip", "clear", "tick", "restart"]),
        st.sampled_from(list(BreakerName)),
        st.sampled_from(["*", "BTC-USD"]),
        st.sampled_from(["a", "b"]),
        st.floats(0.0, 20.0),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(ACTIONS)
def test_nothing_without_an_operator_closes_a_latched_breaker_and_none_flaps_faster_than_its_hold(actions) -> None:  # type: ignore[no-untyped-def]
    board = BreakerBoard(TIMING)
    now = 0.0
    last_cause: dict[tuple[BreakerName, str], float] = {}
    causes: set[tuple[BreakerName, str, str]] = set()
    for what, name, scope, source, wait in actions:
        now += wait
        before = {key: row.state for key, row in board.rows.items()}
        if what == "trip":
            board.trip(name, scope, reason="r", by=source, now=at(now))
            causes.add((name, scope, source))
            last_cause[name, scope] = now
        elif what == "clear":
            board.clear(name, scope, by=source, now=at(now))
            if (name, scope, source) in causes:
                causes.remove((name, scope, source))
                last_cause[name, scope] = now
        elif what == "restart":
            board.restore(list(board.rows.values()), at(now))
            causes.clear()
            for key in board.rows:
                last_cause[key] = now
        else:
            board.tick(at(now))
        for key, row in board.rows.items():
            if row.latched:
                assert row.state is BreakerState.OPEN
            elif before.get(key) is not row.state and row.state is not BreakerState.OPEN:
                assert not any(cause[:2] == key for cause in causes)
                needed = row.hold_s + (TIMING.probe_s if row.state is BreakerState.CLOSED else 0)
                assert now - last_cause[key] >= needed - 1e-6
                assert TIMING.hold_s <= row.hold_s <= TIMING.hold_max_s
            assert (row.trading_state is TradingState.RUN) == (row.state is BreakerState.CLOSED)


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({}, TradingState.RUN),
        ({"status": "offline"}, TradingState.HALTED),
        ({"status": ""}, TradingState.HALTED),
        ({"status": "something_new"}, TradingState.HALTED),
        ({"trading_disabled": True}, TradingState.HALTED),
        ({"is_disabled": True}, TradingState.HALTED),
        ({"cancel_only": True}, TradingState.HALTED),
        ({"cancel_only": True, "post_only": True}, TradingState.HALTED),
        ({"auction_mode": True}, TradingState.REDUCE_ONLY),
        ({"post_only": True}, TradingState.REDUCE_ONLY),
        ({"limit_only": True}, TradingState.REDUCE_ONLY),
        ({"view_only": True}, TradingState.REDUCE_ONLY),
    ],
)
def test_a_product_mode_allows_what_the_design_says(changed: dict[str, object], state: TradingState) -> None:
    assert judge_mode(rules("BTC-USD", **changed))[0] is state


def test_a_product_that_is_not_listed_is_closed() -> None:
    missing: ProductRules | None = None
    assert judge_mode(missing)[0] is TradingState.HALTED
