"""Limits of silence: no configuration may let an outer judge end more before an inner one has ended less."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.sections.silence import SUPERVISORS, WORKERS
from config.settings import ConfigError
from supervision import tree
from tests.actors.harness import test_settings


@pytest.mark.parametrize(
    ("watchdog", "supervision", "named"),
    [
        ({"default": {"missed_kill_s": 9}}, {}, ("supervision.tree_silent_s", "missed_kill_s", "metrics")),
        ({"default": {"missed_kill_s": 6.3}}, {}, ("supervision.tree_silent_s", "missed_kill_s", "tracker")),
        ({"actors": {"risk": {"missed_kill_s": 8.1}}}, {}, ("supervision.tree_silent_s", "missed_kill_s", "risk")),
        ({"actors": {"guard": {"missed_kill_s": 9}}}, {}, ("supervision.tree_silent_s", "missed_kill_s", "guard.")),
        (
            {"actors": {"tracker": {"beat_s": 2}}},
            {"tree_silent_s": 7},
            ("supervision.tree_silent_s", "beat_s", "tracker"),
        ),
        ({"actors": {"risk": {"missed_trip_s": 3}}}, {}, ("missed_kill_s", "missed_trip_s", "risk")),
        ({"actors": {"root": {"beat_s": 2}}}, {}, ("supervision.root_missed_kill_s", "beat_s")),
    ],
)
def test_an_outer_limit_that_is_shorter_than_an_inner_one_is_refused_naming_both(
    tmp_path: Path, watchdog: dict[str, object], supervision: dict[str, object], named: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as refused:
        test_settings(tmp_path, watchdog=watchdog, supervision=supervision)
    assert all(name in str(refused.value) for name in named), refused.value


def test_a_longer_outer_limit_allows_a_longer_inner_one(tmp_path: Path) -> None:
    limits = {"default": {"missed_trip_s": 10, "missed_kill_s": 10}}
    assert test_settings(tmp_path, watchdog=limits, supervision={"tree_silent_s": 12.8})


def test_limits_of_an_actor_that_does_not_exist_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"watchdog\.actors\.trakcer: there is no such actor"):
        test_settings(tmp_path, watchdog={"actors": {"trakcer": {"missed_kill_s": 2}}})
    named = {name: {"lag_warn_ms": 300} for name in (*WORKERS, *SUPERVISORS, "guard", "guard.BTC-USD")}
    settings = test_settings(tmp_path, watchdog={"actors": named})
    assert {one.name for one in tree.root_spec(settings).children} <= {*WORKERS, *SUPERVISORS}


def test_every_actor_but_the_guards_is_held_to_the_rule() -> None:
    assert {*WORKERS, "guard"} == set(tree.ACTORS)
