"""Runs one case on a lane: reach the point, strike, let the daemon find back, judge by the venue's books."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from tests.drills.daemon import is_gone
from tests.drills.matrix import points
from tests.drills.matrix.blows import strike
from tests.drills.matrix.cases import Case
from tests.drills.matrix.lane import JWT_LIFE_S, TERMINAL, Lane
from tests.drills.matrix.points import NotReachedError, Stage
from tests.drills.matrix.readings import READINGS, own_rules
from tests.drills.matrix.watcher import Report, Watcher

ATTEMPTS = 3
BACK_S, BACK_WHOLE_S = 40.0, 75.0
"""Until everything works again and the books agree; longer when the whole daemon goes down."""
FLAT_S = 30.0
NAKED_PAGE_S = 5.0
SLACK_S = 0.5
PROTECTORS = ("gateway", "tracker", "trading")
"""While one of them is being replaced nobody can protect: that time is added to what is allowed."""
AWAY = (
    "nobody answers", "run.py ended", "tracker does not run", "gateway does not run",
    *(f"{name} was not replaced" for name in (*PROTECTORS, "root", "run.py")),
)  # fmt: skip
PROOF_S = JWT_LIFE_S + 2 * 2.0 + 15.0
"""Until an order that never arrived is proven absent: a gateway's patience, a token's life, the venue's delay twice."""
MODE_S = 1.5
LEAVE_S, HALTED_S = 15.0, 1.0
"""Until a stop or target that the market has passed has sold the position; how long it may be halted meanwhile."""
OUTER_REST_S = 2.0
"""How long run.py stands still before its host lets it go on: nobody above it would notice."""


@dataclass(slots=True)
class Result:
    """What came of a case. ``verdict``: held, broken, or not proven (its point was not reached)."""

    name: str
    actor: str
    way: str
    point: str
    weather: str
    readings: dict[str, int]
    verdict: str = "not proven"
    evidence: str = ""
    problems: list[str] = field(default_factory=list)
    attempts: int = 0
    missed: list[str] = field(default_factory=list)
    """What each attempt that did not reach its point waited for in vain."""
    refusals: int = 0
    """Proposals of the strategy that were refused on the way to the point, and made again."""
    recovery_s: float = 0.0
    down_s: float = 0.0
    seconds: float = 0.0
    naked_s: list[float] = field(default_factory=list)
    naked_excused: str = ""
    """Why a position was naked for more than 5 s where the design says that it must be, and a page came."""
    left_by: str = ""
    """How the position was left: by exit, stop or target; empty when there was none."""
    life: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def run_case(lane: Lane, case: Case) -> Result:
    """One case from flat to flat. The lane is closed when the case leaves doubts."""
    result = Result(case.name, case.actor, case.way, case.point, case.weather, dict(case.readings))
    began = time.monotonic()
    try:
        for attempt in range(1, ATTEMPTS + 1):
            result.attempts = attempt
            try:
                _attempt(lane, case, result)
                break
            except NotReachedError as error:
                result.evidence = f"not reached: {error}"
                result.missed.append(str(error))
                _clear_away(lane, case)
    except Exception as error:
        result.verdict = "broken"
        result.problems.append(f"{type(error).__name__}: {error}"[:1500])
    result.life = f"{lane.folder.name}/life{lane.fresh}"
    result.seconds = round(time.monotonic() - began, 1)
    if result.verdict != "held":
        lane.close()
    return result


def _attempt(lane: Lane, case: Case, result: Result) -> None:
    _begin(lane)
    truth = lane.venue.truth()
    made = lane.venue.requests(10**9)["made"]
    stage = Stage(lane, case, len(truth["orders"]), len(truth["fills"]), made, lane.log_size())
    survives = bool(case.readings["partial_target"])
    assert lane.simulator is not None
    watcher = Watcher(lane.simulator.control_url, stage.orders_from, stage.fills_from, survives)
    watcher.start()
    try:
        _play_readings(lane, case)
        try:
            points.reach(stage)
        except NotReachedError:
            stage.release()
            raise
        result.evidence, result.refusals = stage.evidence, len(stage.refusals)
        _strike_and_recover(stage, watcher, result)
    finally:
        report = watcher.stop()
    _judge(stage, report, result)


def _clear_away(lane: Lane, case: Case) -> None:
    """After an attempt that did not reach its point: flat again, or a new life."""
    try:
        lane.withdraw()
        lane.venue.clear_faults()
        lane.venue.rules(cancel_delay_ms=20, accept_delay_ms=5)
        if lane.flatten(case.symbol, FLAT_S):
            lane.close()
    except Exception:
        lane.close()


def _begin(lane: Lane) -> None:
    """Flat, at work, no faults."""
    lane.open()
    lane.withdraw()
    lane.venue.clear_faults()
    lane.venue.rules(**own_rules())
    end = time.monotonic() + BACK_S
    while doubts := lane.doubts():
        if time.monotonic() > end:
            raise AssertionError(f"the lane is not ready: {doubts}")
        time.sleep(0.1)


def _play_readings(lane: Lane, case: Case) -> None:
    """Of each open row, the reading that this case has."""
    played = [READINGS[name][number] for name, number in case.readings.items() if number]
    lane.venue.rules(**{name: value for one in played for name, value in one.rules.items()})
    for one in played:
        if one.fault is not None:
            lane.venue.fault(**one.fault)


def _weather(stage: Stage) -> None:
    """The venue's own fault, which meets the daemon while it recovers."""
    venue, symbol = stage.lane.venue, stage.case.symbol
    orders = {"method": "POST", "symbol": symbol}
    faults: dict[str, dict[str, Any]] = {
        "status_429": {"kind": "status", "status": 429, "count": 3},
        "status_500": {"kind": "status", "status": 500, "count": 3},
        "status_401": {"kind": "status", "status": 401, "count": 2},
        "slow": {"kind": "slow", "delay_s": 0.7, "when": "after", "count": 6},
        "cut_after_booking": {"kind": "cut_after_booking", "count": 1, "match": orders},
        "cut_before_booking": {"kind": "cut_before_booking", "count": 1, "match": orders},
        "order_configuration_null": {"kind": "order_configuration_null", "count": 3},
        "get_order_404": {"kind": "get_order_404_for", "visible_after_s": 2, "seconds": 8},
        "orders_invisible": {"kind": "orders_invisible_for", "visible_after_s": 1.5, "seconds": 8},
        "user_event_duplicate": {"kind": "user_event_duplicate", "count": 6},
        "user_event_missing": {"kind": "user_event_missing", "count": 4},
        "user_event_late": {"kind": "user_event_late", "count": 4, "delay_s": 1},
        "user_gap": {"kind": "drop_frame", "count": 1, "match": {"channel": "user"}},
        "status_429_title": {"kind": "status", "status": 429, "count": 3, "header_case": "title"},
        "feed_closed": {"kind": "close", "code": 1006},
        "clock_skew": {"kind": "clock_skew", "offset_s": 0.08, "seconds": 10},
        "html_200": {"kind": "html_200", "count": 2},
        "fee_tier": {"kind": "fee_tier", "maker_fee_rate": "0.0003", "taker_fee_rate": "0.0003", "seconds": 10},
        "subscribe_refused": {"kind": "error_on_subscribe", "count": 1},
    }
    if stage.case.weather in faults:
        body = faults[stage.case.weather]
        venue.fault(**body)
    if stage.case.weather == "subscribe_refused":
        venue.fault("close", code=1006)


def _walk_modes(stage: Stage) -> None:
    if stage.case.weather == "mode_walk":
        for mode in ("cancel_only", "auction_mode"):
            stage.lane.venue.fault("product_mode", symbol=stage.case.symbol, mode=mode, seconds=MODE_S)
            time.sleep(MODE_S)  # the venue's walk is the drill


def _strike_and_recover(stage: Stage, watcher: Watcher, result: Result) -> None:
    lane, case = stage.lane, stage.case
    pid, crashes = lane.pid_of(case.actor), lane.crash_records()
    _weather(stage)
    struck = time.monotonic()
    if stage.poisoned:
        lane.go_on(pid)
    else:
        strike(pid, case.actor, case.way)
    time.sleep(0.15)  # the blow falls while the rest still stands
    stage.release()
    if case.greedy:
        lane.command(case.symbol, "BUY")
    _walk_modes(stage)
    if case.actor == "run.py" and case.way == "SIGSTOP":
        time.sleep(max(0.0, OUTER_REST_S - (time.monotonic() - struck)))  # its host needs a moment to notice
        lane.go_on(pid)
    _come_back(stage, watcher, result, struck, pid)
    if case.way == "exception" and lane.crash_records() <= crashes:
        result.problems.append("no crash record: the handler did not raise")
    lane.withdraw()
    lane.venue.clear_faults()
    lane.venue.rules(cancel_delay_ms=20, accept_delay_ms=5)
    result.problems += _leave(stage, result)
    result.problems += lane.flatten(case.symbol, FLAT_S, stage.orders_from, stage.fills_from)
    result.problems += _agree(lane)


def _leave(stage: Stage, result: Result) -> list[str]:
    """The market passes the stop or the target, where the case wants it and the position has both and nothing else
    works; otherwise the strategy's exit is still to come."""
    lane, symbol = stage.lane, stage.case.symbol
    truth = stage.truth()
    if lane.held(truth, symbol) <= 0:
        return []
    result.left_by = "exit"
    working = [order for order in truth["orders"] if order["status"] not in TERMINAL and order["product_id"] == symbol]
    plan = lane.rows("SELECT stop_price, target_price FROM plans WHERE symbol = ?", symbol)
    if stage.case.leaving == "exit" or not plan or any("-p-" not in one["client_order_id"] for one in working):
        return []
    result.left_by = stage.case.leaving
    stop, target = (Decimal(price) for price in plan[0])
    before, end = Decimal(truth["prices"][symbol]), time.monotonic() + LEAVE_S
    if result.left_by == "halted":
        lane.venue.fault("product_mode", symbol=symbol, mode="cancel_only", seconds=HALTED_S)
    lane.venue.price(symbol, target * Decimal("1.001") if result.left_by == "target" else stop * Decimal("0.99"))
    try:
        while lane.held(stage.truth(), symbol) > 0:
            if time.monotonic() > end:
                return [f"the market passed the {result.left_by} and nothing was sold within {LEAVE_S:.0f} s"]
            time.sleep(0.05)
    finally:
        lane.venue.price(symbol, before)
    return []


def _come_back(stage: Stage, watcher: Watcher, result: Result, struck: float, victim: int) -> None:
    """Wait until the victim is dead, everything is at work, the books agree and nothing is naked."""
    lane, case = stage.lane, stage.case
    old = None if case.whole else (case.actor, victim)
    must_die = not (case.actor == "run.py" and case.way == "SIGSTOP")  # its host lets that one go on
    limit = BACK_WHOLE_S if case.whole else BACK_S
    end = struck + limit
    down = False
    while True:
        lane.revive()
        lives = must_die and not is_gone(victim)  # asked first: what is seen after it is seen of the next life
        doubts = lane.doubts(old)
        if lives:
            doubts.append(f"{case.actor} was not replaced: {victim} lives")
        doubts += [f"{symbol} is naked" for symbol in watcher.naked_now]
        now = time.monotonic()
        away = any(doubt.startswith(AWAY) for doubt in doubts)
        down = down or away
        if down and not away and not result.down_s and (case.whole or case.actor in PROTECTORS):
            result.down_s = round(now - struck, 2)
        if not doubts:
            break
        if now > end:
            result.problems.append(f"not back after {limit:.0f} s: {'; '.join(doubts)[:900]}")
            break
        time.sleep(0.1)
    result.recovery_s = round(time.monotonic() - struck, 2)


def _agree(lane: Lane) -> list[str]:
    """Differences that remain when everything is over."""
    end = time.monotonic() + 15.0
    while found := lane.disagreements():
        if time.monotonic() > end:
            return found
        time.sleep(0.1)
    return []


def _judge(stage: Stage, report: Report, result: Result) -> None:
    case = stage.case
    result.problems += report.violations
    result.problems += _one_order_per_intent(stage)
    result.naked_s = [round(spell.seconds, 2) for spell in report.naked]
    result.problems += _too_naked(stage, report, result)
    if report.looks < 10:
        result.problems.append(f"the watcher looked {report.looks} times only")
    result.verdict = "broken" if result.problems else "held"
    if case.whole and not result.down_s and case.way != "SIGSTOP" and case.actor == "run.py":
        result.verdict = "broken"
        result.problems.append("run.py did not go down")


def _one_order_per_intent(stage: Stage) -> list[str]:
    """The venue has no more entries than the strategy asked for, and none sells what another sold."""
    found = []
    entries, asked = stage.orders("e"), 1 + stage.case.greedy
    if len(entries) > asked:
        found.append(f"{len(entries)} entries at the venue, {asked} asked for")
    bought = sum((Decimal(order["filled_size"]) for order in entries), Decimal(0))
    sells = [order for order in stage.truth()["orders"] if order["side"] == "SELL"]
    sold = sum((Decimal(order["filled_size"]) for order in sells), Decimal(0))
    if sold > bought:
        found.append(f"{sold} sold of {bought} bought")
    return found


def _too_naked(stage: Stage, report: Report, result: Result) -> list[str]:
    """Naked beyond 5 s is a fault unless the blow itself made protecting impossible; a page must come in any case."""
    case, found = stage.case, []
    limit = NAKED_PAGE_S + SLACK_S + result.down_s
    if case.weather == "mode_walk":
        limit += 2 * MODE_S + 2.0
    for spell in report.naked:
        if spell.seconds <= NAKED_PAGE_S + SLACK_S:
            continue
        paged = f"naked:{spell.symbol}" in stage.lane.log_since(stage.log_from)
        if spell.seconds > limit + 2.0 and not paged:
            found.append(f"{spell.symbol} was naked for {spell.seconds:.1f} s and no page came")
        if spell.seconds <= limit:
            result.naked_excused = "while the one who protects was being replaced, or the venue took nothing"
        elif _proves_absence(stage) and spell.seconds <= limit + PROOF_S:
            result.naked_excused = "until a protective order that never arrived was proven absent"
        else:
            found.append(f"{spell.symbol} was naked for {spell.seconds:.1f} s, {limit:.1f} s are allowed")
    return found


def _proves_absence(stage: Stage) -> bool:
    sql = "SELECT count(*) FROM orders WHERE created_utc_ns > ? AND side = 'SELL' AND absent = 1"
    return bool(stage.lane.rows(sql, stage.began_utc_ns)[0][0])
