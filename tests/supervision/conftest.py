"""Trees that leave no process behind."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.supervision.trees import Tree


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short one: the whole path of a socket has to fit into 107 bytes, however deep pytest's own folders are."""
    with tempfile.TemporaryDirectory(prefix="td-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def grow(tmp_path: Path) -> Iterator[Callable[..., Tree]]:
    """Start trees; what still runs at the end is killed."""
    trees: list[Tree] = []

    def make(*children: object, **changes: object) -> Tree:
        trees.append(Tree(tmp_path, *children, **changes))  # type: ignore[arg-type]
        return trees[-1]

    yield make
    for tree in trees:
        tree.system.stop(0.0)
