"""Every drill gets folders of its own and leaves no process behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.drills.daemon import Daemon, SimulatorApart


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Make daemons; what still runs at the end is killed, and shown when the drill failed."""
    made: list[Daemon] = []

    def make(*arguments: str, folder: str = "daemon", **more: object) -> Daemon:
        made.append(Daemon(tmp_path / folder, *arguments, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Callable[..., SimulatorApart]]:
    """Make simulators that outlive daemons."""
    made: list[SimulatorApart] = []

    def make(*arguments: str) -> SimulatorApart:
        made.append(SimulatorApart(tmp_path / "venue", *arguments))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "drills" in item.path.parts:
            item.add_marker(pytest.mark.drill)
