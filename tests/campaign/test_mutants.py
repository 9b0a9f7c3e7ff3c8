"""The campaign finds planted bugs; here those it finds within few days, `make mutants` has all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
QUICK = ("fill_booked_twice", "late_fills_not_awaited")
DAYS = 20


def hunt(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.campaign.mutants", *arguments],
        cwd=PROJECT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


@pytest.mark.timeout(600)
def test_the_campaign_finds_planted_bugs() -> None:
    chosen = [word for name in QUICK for word in ("--only", name)]
    done = hunt("--seeds", str(DAYS), *chosen)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"


def test_a_failing_day_is_named_and_fails_again_in_the_same_way() -> None:
    once, again = (hunt("--seeds", "3", "--only", "fill_booked_twice").stdout.splitlines()[0] for _ in range(2))
    assert "trace" in once
    assert once == again
