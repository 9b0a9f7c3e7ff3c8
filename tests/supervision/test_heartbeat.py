"""How heartbeats are judged."""

from __future__ import annotations

from actors.clock import NS_PER_S
from config.sections.watchdog import ActorLimits, WatchdogSettings
from supervision.heartbeat import HeartbeatJudge, Level, Verdict
from tests.supervision.factories import beat

SETTINGS = WatchdogSettings(
    actors={"guard": ActorLimits(lag_trip_ms=5000), "guard.BTC-USD": ActorLimits(progress_s=10, progress="tick")}
)


def ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def judge_at(judge: HeartbeatJudge, seconds: float) -> dict[str, Verdict]:
    return {verdict.name: verdict for verdict in judge.judge(ns(seconds))}


def test_a_short_handler_behind_three_thousand_messages_is_late_by_its_lag() -> None:
    judge = HeartbeatJudge(SETTINGS)
    judge.note(beat("tracker", ns(10), lag_ms=2990.0, handler_p99_ms=1.0), ns(10))
    verdict = judge_at(judge, 10.1)["tracker"]
    assert verdict.level is Level.TRIP
    assert "mailbox lag 2990 ms" in verdict.reason


def test_the_worst_lag_between_two_judgements_counts_even_when_the_last_beat_is_fine() -> None:
    judge = HeartbeatJudge(SETTINGS)
    judge.note(beat("risk", ns(10), lag_ms=900.0), ns(10))
    judge.note(beat("risk", ns(10.25)), ns(10.25))
    assert judge_at(judge, 10.3)["risk"].level is Level.TRIP
    judge.note(beat("risk", ns(10.5)), ns(10.5))
    assert judge_at(judge, 10.6)["risk"].level is Level.FINE


def test_a_tripped_actor_stays_so_until_it_is_below_the_warning() -> None:
    judge = HeartbeatJudge(SETTINGS)
    seen = []
    for n, lag_ms in enumerate([100.0, 300.0, 600.0, 300.0, 150.0]):
        judge.note(beat("gateway", ns(n / 4), lag_ms=lag_ms), ns(n / 4))
        seen.append(judge_at(judge, n / 4)["gateway"].tripped)
    assert seen == [False, False, True, True, False]


def test_a_slow_handler_trips() -> None:
    judge = HeartbeatJudge(SETTINGS)
    judge.note(beat("tracker", 0, handler_p99_ms=1500.0), 0)
    assert judge_at(judge, 0.1)["tracker"].level is Level.TRIP


def test_missed_beats_trip_after_the_limit_and_never_before_two_and_a_half_intervals() -> None:
    judge = HeartbeatJudge(SETTINGS)
    judge.note(beat("tracker", 0), 0)
    judge.note(beat("guard.ETH-USD", 0, interval_s=1.0), 0)
    assert judge_at(judge, 0.9)["tracker"].level is Level.FINE
    late = judge_at(judge, 1.1)
    assert late["tracker"].level is Level.TRIP
    assert late["guard.ETH-USD"].level is Level.FINE
    assert judge_at(judge, 2.6)["guard.ETH-USD"].level is Level.TRIP


def test_limits_fall_through_from_name_to_kind_to_default() -> None:
    limits = SETTINGS.limits_for("guard.BTC-USD")
    assert (limits.progress_s, limits.lag_trip_ms, limits.lag_warn_ms) == (10, 5000, 200)


def test_a_loop_without_progress_is_late_and_counters_are_no_progress() -> None:
    judge = HeartbeatJudge(SETTINGS)
    for second in range(12):
        progress = (("tick", ns(0)), ("bars_count", 1 << 62), ("other", ns(second)))
        judge.note(beat("guard.BTC-USD", ns(second), progress=progress), ns(second))
    assert judge_at(judge, 9)["guard.BTC-USD"].level is Level.FINE
    assert judge_at(judge, 11)["guard.BTC-USD"].level is Level.TRIP


def test_a_new_incarnation_is_given_the_whole_time_for_its_first_progress() -> None:
    judge = HeartbeatJudge(SETTINGS)
    judge.note(beat("guard.BTC-USD", 0), 0)
    judge.note(beat("guard.BTC-USD", ns(100), incarnation=2), ns(100))
    assert judge_at(judge, 101)["guard.BTC-USD"].level is Level.FINE


def test_a_judge_that_was_late_itself_judges_nobody_on_that_time() -> None:
    judge = HeartbeatJudge(SETTINGS)
    judge.note(beat("tracker", ns(10)), ns(10))
    judge.pause(ns(15))  # the whole tree was stopped for five seconds
    judge.note(beat("tracker", ns(15.1), lag_ms=5000.0), ns(15.1))
    assert judge.judge(ns(15.2)) == ()
    judge.note(beat("tracker", ns(16.2)), ns(16.2))
    assert judge_at(judge, 16.3)["tracker"].level is Level.FINE
    assert judge_at(judge, 17.5)["tracker"].level is Level.TRIP  # excused, not forgiven for ever


def test_a_leftover_beat_of_the_dead_incarnation_changes_nothing() -> None:
    judge = HeartbeatJudge(SETTINGS)
    judge.note(beat("feed", ns(5), incarnation=2), ns(5))
    assert not judge.note(beat("feed", ns(4), incarnation=1, lag_ms=9000.0), ns(5.1))
    assert judge_at(judge, 5.2)["feed"].level is Level.FINE
