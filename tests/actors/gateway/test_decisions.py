"""Last check, order bodies, request budget, clock, health: the gateway's pure decisions."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.clock import NS_PER_S
from actors.gateway import last_check, orders
from actors.gateway.budget import CANCEL, ENTER, PROTECT, READ, Budget, PriorityQueue
from actors.gateway.clock_check import ClockSample, ClockVerdict, judge, sample
from actors.gateway.health import HealthLimits, VenueHealth
from actors.gateway.last_check import Grounds
from actors.messages.health import BreakerName, Lease, TradingState
from actors.messages.market import Side
from actors.messages.orders import OrderKind, Role
from tests.actors.gateway.venue import buy, intent, sell

NOW = 1_000 * NS_PER_S


def lease(state: TradingState = TradingState.RUN, *, age_s: float = 0.1, epoch: int = 1, symbol: str = "") -> Lease:
    per_symbol = ((symbol, TradingState.HALTED, "x"),) if symbol else ()
    return Lease(epoch, 1, 1, NOW - round(age_s * NS_PER_S), state, (), per_symbol)


def grounds(**change: object) -> Grounds:
    good = Grounds(NOW, 1, lease(), 2.0, 2.0, False, True, True, "BTC-USD")
    return replace(good, **change)  # type: ignore[arg-type]


def test_an_entry_passes_when_everything_is_proven() -> None:
    assert last_check.refusal(buy(NOW), grounds()) is None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"lock_held": False}, "lock_lost"),
        ({"kill_latched": True}, "killed"),
        ({"key_may_trade": False}, "key_not_checked"),
        ({"lease": None}, "lease_stale"),
        ({"lease": lease(age_s=2.1)}, "lease_stale"),
        ({"lease": lease(age_s=-1.0)}, "lease_stale"),
        ({"lease": lease(epoch=2)}, "lease_stale"),
        ({"lease": lease(symbol="BTC-USD")}, "state_halted"),
        ({"lease": lease(TradingState.REDUCE_ONLY)}, "state_reduce_only"),
        ({"data_product": "ETH-USD"}, "quote_of_another_symbol"),
        ({"now_boot_ns": NOW + 6 * NS_PER_S}, "expired"),
    ],
)
def test_an_entry_is_held_back_when_one_proof_is_missing(change: dict[str, object], code: str) -> None:
    assert last_check.refusal(buy(NOW), grounds(**change)) == code


def test_an_entry_needs_a_fresh_quote_and_an_expiry() -> None:
    assert last_check.refusal(buy(NOW, quote_age_s=2.1), grounds()) == "quote_stale"
    assert last_check.refusal(replace(buy(NOW), quote=None), grounds()) == "no_quote"
    assert last_check.refusal(replace(buy(NOW), expires_boot_ns=0), grounds()) == "no_expiry"


def test_a_buy_labelled_protection_is_still_an_entry() -> None:
    command = replace(buy(NOW), intent=intent(role=Role.PROTECTION))
    assert last_check.refusal(command, grounds(lease=lease(TradingState.HALTED))) == "state_halted"


@pytest.mark.parametrize("state", list(TradingState))
@pytest.mark.parametrize("latched", [False, True])
def test_exits_follow_the_table_of_states(state: TradingState, latched: bool) -> None:
    def code(role: Role, correlation_id: str = "c") -> str | None:
        order = intent(side=Side.SELL, role=role, correlation_id=correlation_id)
        return last_check.refusal(sell(NOW, order), grounds(lease=lease(state), kill_latched=latched))

    stopped = latched or state in (TradingState.HALTED, TradingState.KILLED)
    assert code(Role.PROTECTION) is None
    assert code(Role.EXIT, "flatten:op") is None
    assert (code(Role.EXIT) is not None) == stopped


def test_without_a_lease_only_protection_goes_on() -> None:
    exit_, stop = intent(side=Side.SELL, role=Role.EXIT), intent(side=Side.SELL, role=Role.PROTECTION)
    assert last_check.refusal(sell(NOW, exit_), grounds(lease=None)) == "state_halted"
    assert last_check.refusal(sell(NOW, stop), grounds(lease=None)) is None


def test_nothing_is_sold_beyond_what_is_proven_to_be_owned() -> None:
    order = intent(side=Side.SELL, role=Role.PROTECTION, size="0.5")
    assert last_check.refusal(sell(NOW, order, "0.5"), grounds()) is None
    assert last_check.refusal(sell(NOW, order, "0.49"), grounds()) == "more_than_owned"
    assert last_check.refusal(sell(NOW, order, None), grounds()) == "owned_not_proven"


def test_an_entry_may_not_rest_for_longer_than_a_minute() -> None:
    gtd = intent(kind=OrderKind.LIMIT_GTD, end_utc_ns=60 * NS_PER_S)
    assert orders.configuration(gtd, 0)["limit_limit_gtd"]["end_time"] == "1970-01-01T00:01:00.000000Z"
    for bad in (
        intent(kind=OrderKind.LIMIT_GTD, end_utc_ns=62 * NS_PER_S),
        intent(kind=OrderKind.LIMIT_GTD, end_utc_ns=-1),
        intent(kind=OrderKind.LIMIT_GTD),
        intent(kind=OrderKind.LIMIT_GTC),
        intent(kind=OrderKind.STOP_LIMIT_GTC, stop="1"),
    ):
        with pytest.raises(orders.IntentError):
            orders.configuration(bad, 0)


def test_protection_is_written_as_the_venue_wants_it() -> None:
    stop = intent(side=Side.SELL, kind=OrderKind.STOP_LIMIT_GTC, size="1E-8", limit="49000.10", stop="50000")
    assert orders.configuration(stop, 0) == {
        "stop_limit_stop_limit_gtc": {
            "base_size": "0.00000001",
            "limit_price": "49000.1",
            "stop_price": "50000",
            "stop_direction": "STOP_DIRECTION_STOP_DOWN",
        }
    }
    bracket = intent(side=Side.SELL, kind=OrderKind.BRACKET_GTC, limit="70000", stop="50000")
    assert orders.configuration(bracket, 0)["trigger_bracket_gtc"]["stop_trigger_price"] == "50000"


@pytest.mark.parametrize(
    "bad",
    [
        intent(size="0"),
        intent(size="-1"),
        intent(limit="NaN"),
        intent(""),
        intent(side=Side.SELL, kind=OrderKind.STOP_LIMIT_GTC, limit="51000", stop="50000"),
        intent(side=Side.SELL, kind=OrderKind.BRACKET_GTC, limit="49000", stop="50000"),
        intent(side=Side.SELL, kind=OrderKind.BRACKET_GTC),
    ],
)
def test_an_intent_that_cannot_be_an_order_is_refused(bad: object) -> None:
    with pytest.raises(orders.IntentError):
        orders.configuration(bad, 0)  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(0, 400_000_000), st.sampled_from([CANCEL, PROTECT, READ, ENTER])), max_size=200))
def test_no_second_ever_sees_more_requests_than_allowed(steps: list[tuple[int, int]]) -> None:
    budget, now, sent = Budget(10, 9000), NOW, []
    for gap_ns, priority in steps:
        now += gap_ns
        if budget.wait_ns(now, priority) == 0:
            budget.take(now)
            sent.append(now)
    for at in sent:
        assert sum(at - NS_PER_S < other <= at for other in sent) <= 10


def test_entries_leave_room_for_cancels_in_every_second() -> None:
    budget = Budget(10, 9000)
    while budget.wait_ns(NOW, ENTER) == 0:
        budget.take(NOW)
    assert budget.wait_ns(NOW, CANCEL) == 0
    wait = budget.wait_ns(NOW, ENTER)
    assert wait > 0
    assert budget.wait_ns(NOW + wait, ENTER) == 0


def test_the_hour_is_used_up_by_entries_first_and_by_cancels_never() -> None:
    budget, now = Budget(20, 100), NOW
    while budget.wait_ns(now, ENTER) == 0:
        budget.take(now)
        now += NS_PER_S
    assert budget.left(now)[1] == 15
    assert budget.wait_ns(now, PROTECT) == 0
    for _ in range(30):
        budget.take(now)
        now += NS_PER_S
    assert budget.wait_ns(now, PROTECT) > 0
    assert budget.wait_ns(now, CANCEL) == 0
    assert budget.wait_ns(now + 3601 * NS_PER_S, ENTER) == 0


def test_a_429_holds_everything_back_and_cancels_the_least() -> None:
    budget = Budget(10, 9000)
    budget.note_answer(NOW, 429, {"Retry-After": "7"})
    assert budget.wait_ns(NOW, ENTER) == 7 * NS_PER_S
    assert budget.wait_ns(NOW, CANCEL) == NS_PER_S
    budget.note_answer(NOW, 429, {"retry-after": "Wed, 21 Oct"})
    assert budget.wait_ns(NOW + 7 * NS_PER_S, ENTER) == 0


def test_the_429s_of_one_burst_are_one_refusal_and_later_ones_wait_longer_and_longer() -> None:
    budget, now = Budget(10, 9000), NOW
    for _ in range(4):
        budget.note_answer(now, 429, {})
    assert budget.wait_ns(now, READ) == NS_PER_S
    for expected_s in (2, 4, 8):
        now += budget.wait_ns(now, READ)
        budget.note_answer(now, 429, {})
        assert budget.wait_ns(now, READ) == expected_s * NS_PER_S
    budget.note_answer(now, 429, {"Retry-After": "20"})
    assert budget.wait_ns(now, READ) == 20 * NS_PER_S, "what the venue asks for is obeyed in a burst too"


def test_what_protects_waits_a_second_at_most_however_often_the_venue_refuses() -> None:
    budget, now = Budget(10, 9000), NOW
    for _ in range(6):
        now += budget.wait_ns(now, READ)
        budget.note_answer(now, 429, {})
    assert budget.wait_ns(now, READ) == 30 * NS_PER_S
    assert budget.wait_ns(now, PROTECT) == NS_PER_S
    assert budget.wait_ns(now, CANCEL) == NS_PER_S


def test_an_exhausted_header_is_obeyed_in_any_case() -> None:
    budget = Budget(10, 9000)
    budget.note_answer(NOW, 200, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "3"})
    assert budget.wait_ns(NOW, READ) == 3 * NS_PER_S


def test_a_queue_serves_the_lowest_priority_number_first_then_in_order() -> None:
    queue: PriorityQueue[str] = PriorityQueue()
    for priority, item in ((40, "entry"), (0, "cancel1"), (10, "stop"), (0, "cancel2")):
        queue.put(priority, item)
    assert [queue.pop() for _ in range(4)] == ["cancel1", "cancel2", "stop", "entry"]


def test_the_clock_trips_only_on_an_offset_proven_beyond_the_limit() -> None:
    assert judge(ClockSample(160.0, 5.0), 100, 150) is ClockVerdict.TRIP
    assert judge(ClockSample(-160.0, 5.0), 100, 150) is ClockVerdict.TRIP
    assert judge(ClockSample(154.0, 5.0), 100, 150) is ClockVerdict.WARN
    assert judge(ClockSample(500.0, 480.0), 100, 150) is ClockVerdict.UNCLEAR
    assert judge(ClockSample(20.0, 5.0), 100, 150) is ClockVerdict.GOOD
    measured = sample(1_000_000_000, 1_260_000_000, 1_020_000_000)
    assert measured == ClockSample(250.0, 11.0)


def health() -> VenueHealth:
    return VenueHealth(HealthLimits(3, 1000.0, 60.0, 2, 120.0, 10.0))


def call(one: VenueHealth, now_s: float, status: int | None, ms: float = 5.0) -> dict[BreakerName, bool]:
    found = one.note_call(round(now_s * NS_PER_S), status=status, error="x", took_ms=ms, private=True)
    return {finding.breaker: finding.tripped for finding in found}


def test_errors_in_a_row_trip_and_one_answer_ends_them() -> None:
    one = health()
    assert [call(one, n, 500) for n in range(2)] == [{}, {}]
    assert call(one, 2, None)[BreakerName.API_ERRORS] is True
    assert call(one, 3, 404)[BreakerName.API_ERRORS] is False


def test_a_401_speaks_of_the_key_only_when_it_lasts() -> None:
    one = health()
    call(one, 0, 401)
    assert BreakerName.AUTH not in call(one, 59, 401)
    assert call(one, 60, 401)[BreakerName.AUTH] is True
    other = health()
    call(other, 0, 401)
    call(other, 30, 200)
    assert BreakerName.AUTH not in call(other, 61, 401)


def test_a_401_under_a_wrong_clock_is_the_clocks_fault() -> None:
    one = health()
    one.note_clock(True, "off")
    call(one, 0, 401)
    assert BreakerName.AUTH not in call(one, 100, 401)


def test_a_429_trips_until_it_has_been_quiet() -> None:
    one = health()
    assert call(one, 0, 429)[BreakerName.RATE_LIMIT] is True
    assert one.tick(9 * NS_PER_S)[:0] == []
    assert [f.tripped for f in one.tick(10 * NS_PER_S) if f.breaker is BreakerName.RATE_LIMIT] == [False]


def test_refusals_in_a_row_trip_and_time_without_one_ends_them() -> None:
    one = health()
    assert one.note_submit(0, refused=True, reason="INSUFFICIENT_FUND") == []
    assert one.note_submit(1, refused=True, reason="INSUFFICIENT_FUND")[0].tripped
    assert [f.tripped for f in one.tick(121 * NS_PER_S) if f.breaker is BreakerName.REJECTIONS] == [False]
    assert one.note_submit(130 * NS_PER_S, refused=True, reason="x") == []


def test_slow_answers_in_a_row_trip_and_fast_ones_end_them() -> None:
    one = health()
    assert [call(one, n, 200, 2000.0).get(BreakerName.API_LATENCY) for n in range(3)] == [None, None, True]
    assert [call(one, n, 200, 5.0).get(BreakerName.API_LATENCY) for n in range(3)] == [None, None, False]


def test_decimals_keep_every_digit() -> None:
    assert intent(size="0.00000001").base_size == Decimal("0.00000001")
