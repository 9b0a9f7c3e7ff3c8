"""The campaign as a test: five hundred seeded days keep every invariant, and a seed is the same day twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.campaign.schedule import Schedule

PROJECT = Path(__file__).resolve().parents[2]
DAYS = 500
LONGEST_S = 1500


def campaign(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.campaign", *arguments],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )


@pytest.mark.timeout(LONGEST_S)
def test_five_hundred_seeded_days_keep_every_invariant(tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"
    done = campaign("--seeds", str(DAYS), "--workers", "2", "--summary", str(summary))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
    totals = json.loads(summary.read_text())
    # A campaign in which nothing happens proves nothing.
    assert totals["entries"] > 1.5 * DAYS
    assert totals["fills"] > 2 * DAYS
    assert totals["deaths"] > 2 * DAYS
    assert totals["epochs"] > DAYS  # some days lost their whole tree and started anew


@pytest.mark.parametrize(
    ("visits", "since"),
    [
        ([("halt", 20, True)], 20),
        ([("halt", None, None)], None),
        ([("halt", 20, True), ("resume", 30, True)], None),
        ([("halt", 20, True), ("resume", None, None)], None),
        ([("halt", 30, True), ("resume", 20, True)], None),
        ([("halt", 30, True), ("release", 20, False)], 30),
        ([("halt", 20, True), ("release", 30, False)], None),
        ([("halt", 30, True), ("resume", 20, True), ("halt", 40, True)], 40),
    ],
    ids=[
        "stopped", "not yet", "resumed", "resuming", "resumed before the proof", "refused before the proof",
        "refused or not", "stopped again",
    ],
)  # fmt: skip
def test_an_operator_has_the_word_that_no_entry_leaves_only_until_he_is_granted_a_resume(
    visits: list[tuple[str, int | None, bool | None]], since: int | None
) -> None:
    made = [
        (verb, SimpleNamespace(ended_boot_ns=ended, ended=None if ended is None else {"ok": ok}))
        for verb, ended, ok in visits
    ]
    assert Schedule.stopped_since(SimpleNamespace(visits=made)) == since  # type: ignore[arg-type]


def test_a_seed_is_the_same_day_in_another_process() -> None:
    first, second, other = (campaign("--seed", seed) for seed in ("7", "7", "8"))
    traces = [json.loads(done.stdout.splitlines()[-1])["trace"] for done in (first, second, other)]
    assert traces[0] == traces[1]
    assert traces[0] != traces[2]
