"""The page says what the run saw: whoever reads it finds each case that did not hold, and on what machine it was."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tests.drills.daemon import Json
from tests.drills.matrix import cases, report
from tests.drills.matrix.__main__ import SEED, _tell
from tests.drills.matrix.readings import READINGS, rows
from tests.drills.matrix.runner import Result

FACTS = report.Facts(SEED, 1.8e9, 60.0, 2, 3, build="abc", cores=2, load_before=0.25, load_after=3.5)


def result(case: cases.Case, verdict: str = "held", *problems: str) -> Json:
    made = Result(case.name, case.actor, case.way, case.point, case.weather, dict(case.readings), verdict)
    made.problems, made.attempts, made.left_by = list(problems), 1, case.leaving
    return made.to_json()


@pytest.fixture
def results() -> list[Json]:
    first, second, third = cases.whole_matrix(SEED, 1)[:3]
    return [result(first), result(second, "broken", "it was | naked"), result(third, "not proven")]


def test_the_page_has_verdicts_machine_and_every_case_that_did_not_hold(results: list[Json]) -> None:
    page = report.page(results, FACTS)
    assert "**3 cases, 1 held, 1 broken, 1 not proven**" in page
    assert "2 cores; its load average was 0.2 when the run began and 3.5 when it ended" in page
    for one in results[1:]:
        assert f"| {one['name']} | {one['weather']} | {one['verdict']} |" in page
    assert "it was / naked" in page, "a bar would break the table"


def test_the_page_has_every_reading_and_every_row_that_is_not_played(results: list[Json]) -> None:
    page = report.page(results, FACTS)
    for name, values in READINGS.items():
        assert f"| `{name}` | {values[0].text} |" in page
        assert sum(f"| {value.text} |" in page for value in values) == len(values)
    for row in rows():
        assert (row.assumption in page) is (not row.named)


def test_a_page_of_a_run_that_was_cut_short_says_what_is_missing(results: list[Json]) -> None:
    assert ", 2 not run" in report.page(results[:1], FACTS)


@pytest.mark.parametrize(("count", "code"), [(1, 1), (2, 1), (3, 1)])
def test_a_run_that_is_not_whole_or_did_not_hold_ends_with_an_error(
    results: list[Json], tmp_path: Path, count: int, code: int
) -> None:
    options = argparse.Namespace(write=str(tmp_path / "page.md"), again="")
    assert _tell(options, results[:count], FACTS) == code


def test_a_run_in_which_every_case_held_ends_well(results: list[Json], tmp_path: Path) -> None:
    options = argparse.Namespace(write=str(tmp_path / "page.md"), again="")
    assert _tell(options, [results[0]] * 3, FACTS) == 0
    assert "Nothing." in (tmp_path / "page.md").read_text()
