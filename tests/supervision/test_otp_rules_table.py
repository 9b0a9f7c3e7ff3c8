"""docs/supervision.md and the tests named after rules say the same."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "supervision.md"
RULES = {*range(1, 30), 37, 38}


def rules_tested() -> set[int]:
    found: set[int] = set()
    for path in HERE.glob("test_*.py"):
        for names in re.findall(r"^def test_((?:r\d+_)+)", path.read_text(), re.MULTILINE):
            found |= {int(number) for number in re.findall(r"r(\d+)", names)}
    return found


def test_every_rule_has_a_row_and_a_test_named_after_it() -> None:
    rows = {int(number) for number in re.findall(r"^\| R(\d+) \|", PAGE.read_text(), re.MULTILINE)}
    assert rows == RULES
    assert rules_tested() == RULES


def test_every_module_of_the_page_exists() -> None:
    named = re.findall(r"^\| ((?:`\w+\.py`(?:, )?)+) \|", PAGE.read_text(), re.MULTILINE)
    files = {name for row in named for name in re.findall(r"`(\w+\.py)`", row)}
    assert len(files) > 10
    assert all((HERE.parents[1] / "supervision" / name).exists() for name in files)
