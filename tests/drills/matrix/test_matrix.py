"""A few cases of the fault matrix in every run of the tests; `make matrix` runs all of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.drills.matrix import cases
from tests.drills.matrix.__main__ import SEED
from tests.drills.matrix.lane import Lane
from tests.drills.matrix.readings import READINGS
from tests.drills.matrix.runner import run_case


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    one = Lane(tmp_path_factory.mktemp("matrix"))
    yield one
    one.close()


@pytest.mark.parametrize("case", cases.subset(SEED), ids=lambda case: case.name)
def test_a_fault_at_a_point_of_an_orders_way_loses_doubles_and_bares_nothing(lane: Lane, case: cases.Case) -> None:
    result = run_case(lane, case)
    assert result.verdict == "held", f"{case}\n{result.evidence}\n" + "\n".join(result.problems)


def test_the_matrix_is_made_from_its_seed_alone_and_has_every_cell() -> None:
    whole = cases.whole_matrix(SEED, 2)
    assert whole == cases.whole_matrix(SEED, 2) != cases.whole_matrix(SEED + 1, 2)
    assert len(whole) == len({case.name for case in whole}) >= 500
    cells = {(actor, way, point) for actor in cases.ACTORS for way in cases.ways_of(actor) for point in cases.POINTS}
    assert {(case.actor, case.way, case.point) for case in whole} == cells
    assert all(cases.by_name(case.name, SEED) == case for case in whole)
    assert {case.weather for case in whole} == set(cases.WEATHER)
    assert {case.leaving for case in whole} == set(cases.LEAVING)
    assert {case.ending for case in whole} == set(cases.ENDINGS)
    for name, values in READINGS.items():
        assert {case.readings[name] for case in whole} == set(range(len(values)))


def test_the_subset_has_every_point_and_every_way() -> None:
    few = cases.subset(SEED)
    assert {case.point for case in few} == set(cases.POINTS)
    assert {case.way for case in few} == set(cases.WAYS)
