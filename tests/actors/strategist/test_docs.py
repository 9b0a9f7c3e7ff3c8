"""docs/strategies.md is true: its example runs, its lists are the code's."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from actors.risk.codes import table
from actors.strategist.api import Bar, Side
from actors.strategist.cycle import NoTradeReason
from actors.strategist.process import FaultKind, StrategyProcess
from config.sections.strategist import StrategistSettings
from tests.actors.strategist.factories import D, view

TEXT = (Path(__file__).parents[3] / "docs" / "strategies.md").read_text()


def block(language: str) -> str:
    return str(re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)[0])


def test_the_example_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "breakout.py").write_text(block("python"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    section = yaml.safe_load(block("yaml"))["strategist"]
    process = StrategyProcess(StrategistSettings.model_validate(section), tmp_path / "s.log", live=True)
    bars = tuple(Bar("BTC-USD", 60, n * 60, n * 60 + 60, D(90), D(99), D(89), D(95), D(1), 5, True) for n in range(20))
    calm = view()
    rising = replace(calm, symbols=(replace(calm.symbols[0], bars=bars),))
    try:
        assert process.decide(calm).ideas == ()
        (idea,) = process.decide(rising).ideas
    finally:
        process.kill()
    assert (idea.side, idea.notional, idea.stop) == (Side.BUY, D("50"), D("97.00"))


def test_the_refusal_codes_are_those_of_the_gate() -> None:
    assert table() in TEXT


def test_the_reasons_and_kinds_are_those_of_the_strategist() -> None:
    assert ", ".join(f"`{item.value}`" for item in NoTradeReason) in TEXT
    assert ", ".join(f"`{item.value}`" for item in FaultKind) in TEXT
