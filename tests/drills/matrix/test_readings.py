"""Every row of docs/venue-assumptions.md is played in the matrix, or says why it cannot matter there."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from simulator.faults import KINDS
from simulator.rules import CHOICES, Rules
from tests.drills.matrix.cases import ENDINGS, LEAVING, WEATHER
from tests.drills.matrix.readings import READINGS, Row, own_rules, rows

ROWS = rows()
OWN_TERMS = {"maker_rate", "taker_rate"}
"""Rules that are amounts, not readings: what the venue charges."""


def test_the_page_has_rows() -> None:
    assert len(ROWS) > 50


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.assumption[:40])
def test_each_row_is_played_or_says_why_not(row: Row) -> None:
    if row.named:
        assert set(row.named) <= READINGS.keys() | WEATHER.keys() | ENDINGS.keys() | LEAVING.keys(), row.matrix
    else:
        assert re.match(r"no: .{20,}", row.matrix), f"nothing plays it and no reason is given: {row.matrix!r}"


def test_each_reading_plays_one_row() -> None:
    named = [name for row in ROWS for name in row.named if name in READINGS]
    assert sorted(named) == sorted(READINGS)


def test_each_switch_of_a_played_reading_stands_in_its_row() -> None:
    for row in ROWS:
        for name in row.named:
            for value in READINGS.get(name, ()):
                switches = [*value.rules, *([value.fault["kind"]] if value.fault else [])]
                assert all(f"`{switch}`" in row.switch for switch in switches), f"{name}: {row.switch}"


def test_each_rule_of_the_simulator_is_the_switch_of_a_row() -> None:
    told = {name for row in ROWS for name in re.findall(r"`([a-z_]+)`", row.switch)}
    assert {field.name for field in fields(Rules)} - OWN_TERMS <= told
    values = {value for choices in CHOICES.values() for value in choices}
    assert told - {field.name for field in fields(Rules)} <= KINDS.keys() | values | {"header_case", "when", "before"}


def test_the_first_value_of_each_reading_is_the_simulators_own() -> None:
    usual = Rules()
    assert own_rules() == {name: _plain(getattr(usual, name)) for name in own_rules()}


def _plain(value: object) -> object:
    return value if isinstance(value, bool | int | str) else str(value)


def test_a_table_of_another_shape_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("| assumption | source | other reading | switch |\n|---|---|---|---|\n| a | b | c | d |\n")
    with pytest.raises(ValueError, match="five columns"):
        rows(page)
