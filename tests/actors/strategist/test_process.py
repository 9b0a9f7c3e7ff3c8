"""The wall around the strategy: whatever it does, the strategist gets an answer or a fault in time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.strategist import wire
from actors.strategist.process import FaultKind, StrategyFaultError, StrategyProcess, check_strategy
from config.sections.strategist import StrategistSettings
from config.settings import ConfigError
from tests.actors.strategist.factories import view

ROOM = "tests.actors.strategist.strategies"
Make = Callable[..., StrategyProcess]


def settings(name: str, **values: object) -> StrategistSettings:
    return StrategistSettings.model_validate({"strategy": f"{ROOM}:{name}", "decide_timeout_s": 0.5, **values})


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[StrategyProcess] = []

    def build(name: str, live: bool = False, **values: object) -> StrategyProcess:
        process = StrategyProcess(settings(name, **values), tmp_path / "strategy.log", live=live)
        made.append(process)
        return process

    yield build
    for process in made:
        process.kill()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_ideas_come_back_and_the_process_keeps_its_state(make: Make, tmp_path: Path) -> None:
    process = make("Good")
    first, second = process.decide(view(1)), process.decide(view(2))
    assert first.ideas[0].notional == Decimal("30")
    assert first.ideas[0].stop == Decimal("98.00")
    assert second.ideas[0].reason.startswith("call 2 ")
    assert process.starts == 1
    process.kill()


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("Raising", FaultKind.CRASH, "planted in the strategy"),
        ("Spinning", FaultKind.OVERRUN, "killed"),
        ("Deaf", FaultKind.OVERRUN, "killed"),
        ("Leaving", FaultKind.DIED, "exit code 3"),
        ("KillingItself", FaultKind.DIED, "signal 11"),
        ("Babbling", FaultKind.GARBAGE, "not JSON"),
        ("Endless", FaultKind.GARBAGE, "4294967295 bytes"),
        ("Huge", FaultKind.GARBAGE, "bytes, at most"),
        ("Floating", FaultKind.GARBAGE, "write it as Decimal"),
        ("NotIdeas", FaultKind.GARBAGE, "returned str"),
        ("Nan", FaultKind.GARBAGE, "NaN"),
        ("Greedy", FaultKind.CRASH, "MemoryError"),
    ],
)
def test_a_misbehaving_strategy_is_a_named_fault_and_its_process_is_gone(
    make: Make, name: str, kind: FaultKind, words: str
) -> None:
    process = make(name)
    process.start()
    pid = process.pid
    began = time.monotonic()
    with pytest.raises(StrategyFaultError) as caught:
        process.decide(view())
    assert caught.value.kind is kind
    assert words in caught.value.detail
    assert time.monotonic() - began < 2.5
    assert pid is not None
    assert gone(pid)
    assert process.pid is None


def test_after_a_fault_the_next_decision_starts_a_fresh_process(make: Make) -> None:
    process = make("Leaving")
    for _ in range(2):
        with pytest.raises(StrategyFaultError, match="exit code 3"):
            process.decide(view())
    assert process.starts == 2


def test_the_strategy_sees_no_secrets_in_its_environment(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINBASE_API_SECRET", "planted")
    monkeypatch.setenv("SENTRY_DSN", "planted")
    seen = make("Peeking").decide(view()).ideas[0].reason
    assert "PYTHONPATH" in seen
    assert "COINBASE" not in seen
    assert "SENTRY" not in seen


def test_the_process_dies_with_its_parent(tmp_path: Path) -> None:
    read_fd, write_fd = os.pipe()
    parent = os.fork()
    if parent == 0:
        process = StrategyProcess(settings("Silent"), tmp_path / "strategy.log", live=False)
        process.start()
        os.write(write_fd, str(process.pid).encode())
        os.kill(os.getpid(), 9)
    os.waitpid(parent, 0)
    child = int(os.read(read_fd, 20))
    os.close(read_fd)
    os.close(write_fd)
    deadline = time.monotonic() + 5
    while not _dead_or_zombie(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _dead_or_zombie(child)


def _dead_or_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_a_demo_only_strategy_is_refused_in_live(tmp_path: Path) -> None:
    demo = StrategistSettings()
    assert check_strategy(demo, tmp_path / "s.log", live=False) is True
    with pytest.raises(ConfigError, match="demo-only, never for money"):
        check_strategy(demo, tmp_path / "s.log", live=True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tests.nowhere:Nothing", "module 'tests.nowhere' cannot be imported"),
        (f"{ROOM}:Missing", "has no 'Missing'"),
        (f"{ROOM}:NoStrategy", "does not derive from"),
        (f"{ROOM}:Abstract", "lacks the method decide"),
        (f"{ROOM}:Unmakeable", "no parameters, no strategy"),
    ],
)
def test_an_unusable_strategy_is_named_with_the_reason(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        check_strategy(StrategistSettings(strategy=name), tmp_path / "s.log", live=False)
    assert name in str(caught.value)


@given(st.binary(max_size=200) | st.recursive(st.none() | st.booleans() | st.text(), st.lists).map(orjson.dumps))
def test_no_answer_but_a_real_one_is_believed(payload: bytes) -> None:
    try:
        rows = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return
    if rows == []:
        return
    with pytest.raises(wire.AnswerError):
        wire.ideas_from_json(rows)


@pytest.mark.parametrize("field", ["notional", "base_size", "limit", "stop", "target", "expected_edge_bps"])
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "abc", 3, 3.5, True, [], "1" * 300])
def test_money_in_an_answer_is_finite_decimal_text_or_nothing(field: str, value: object) -> None:
    row: dict[str, object] = dict.fromkeys(
        ["notional", "base_size", "limit", "stop", "target", "expected_edge_bps", "max_hold_s"]
    )
    row |= {"symbol": "BTC-USD", "side": "BUY", "reason": "r", field: value}
    with pytest.raises(wire.AnswerError, match=field):
        wire.ideas_from_json([row])
