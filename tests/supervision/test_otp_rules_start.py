"""OTP's rules about starting, on real processes: R1 to R7 (docs/supervision.md)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.messages.health import ChildState
from supervision.administration import Refusal, RestartChild, StartChild, TerminateChild
from supervision.restart import ChildSpec, GiveUp, Intensity, Restart, SpecError, Strategy, SupervisorSpec
from supervision.specs import AT_ONCE, UNLIMITED
from supervision.supervisor import GAVE_UP_EXIT
from tests.supervision.trees import PART, PARTS, Tree, branch, part, wait_for


def test_r1_a_supervisor_without_children_starts_and_stops_in_order(grow: Callable[..., Tree]) -> None:
    tree = grow()
    assert tree.counts() == (0, 0, 0, 0)
    assert tree.stop() == 0


def test_r2_a_supervisor_that_ignores_its_start_is_no_failure_and_has_no_process(grow: Callable[..., Tree]) -> None:
    tree = grow(part("one"))
    answer = tree.add(spec=ChildSpec("sup", PARTS + "IgnoringSupervisor", kind="supervisor"))
    assert answer.pid == 0
    assert tree.children()["sup"].state is ChildState.STOPPED
    assert tree.children()["sup"].last_exit == "exit 0"


@pytest.mark.parametrize(
    ("actor", "reason"),
    [
        ("CrashingSupervisor", "RuntimeError: planted failure of the specification"),
        ("FaultySupervisor", "must give a SupervisorSpec, got 'not a specification'"),
        ("NegativeSupervisor", "max_restarts must be a whole number of at least 0, got -1"),
    ],
)
def test_r2_r7_a_supervisor_with_a_bad_specification_does_not_start_and_says_why(
    grow: Callable[..., Tree], actor: str, reason: str
) -> None:
    tree = grow()
    answer = tree.do(StartChild, spec=ChildSpec("sup", PARTS + actor, kind="supervisor"))
    assert answer.refusal is Refusal.START_FAILED
    assert reason in answer.reason
    assert tree.counts() == (0, 0, 0, 0)


def test_r3_a_child_that_ignores_its_start_keeps_its_spec_unless_it_is_temporary(
    grow: Callable[..., Tree], tmp_path: Path
) -> None:
    for restart in Restart:
        (tmp_path / f"ignore-start-{restart}").touch()
    tree = grow(*(part(restart.value, restart=restart) for restart in Restart), part("after"))
    tree.up("after")
    assert set(tree.children()) == {"permanent", "transient", "after"}
    assert tree.counts() == (3, 1, 0, 3)
    assert tree.children()["permanent"].state is ChildState.STOPPED
    (tmp_path / "ignore-start-permanent").unlink()
    assert tree.do(RestartChild, name="permanent").pid == tree.up("permanent").pid


def test_r3_an_added_child_that_ignores_its_start_is_answered_without_a_pid(
    grow: Callable[..., Tree], tmp_path: Path
) -> None:
    tree = grow()
    for restart in (Restart.PERMANENT, Restart.TEMPORARY):
        (tmp_path / f"ignore-start-{restart}").touch()
        assert tree.add(spec=part(restart.value, restart=restart)).pid == 0
    assert set(tree.children()) == {"permanent"}


@pytest.mark.parametrize("restart", [Restart.PERMANENT, Restart.TEMPORARY])
def test_r3_a_dynamic_child_that_ignores_its_start_is_not_kept(
    grow: Callable[..., Tree], tmp_path: Path, restart: Restart
) -> None:
    (tmp_path / "ignore-start-t:1").touch()
    tree = grow(part("t", restart=restart), strategy=Strategy.SIMPLE_ONE_FOR_ONE)
    assert tree.add().pid == 0
    assert tree.counts() == (1, 0, 0, 0)


def test_r4_a_start_error_is_answered_the_spec_is_not_kept_at_add_and_kept_at_restart(
    grow: Callable[..., Tree], tmp_path: Path
) -> None:
    tree = grow(part("kept"))
    (tmp_path / "fail-start-new").touch()
    answer = tree.do(StartChild, spec=part("new"))
    assert (answer.refusal, answer.pid) == (Refusal.START_FAILED, 0)
    assert answer.reason == "exit 70: RuntimeError: planted start failure"
    assert set(tree.children()) == {"kept"}
    _stopped(tree, "kept")
    (tmp_path / "fail-start-kept").touch()
    assert tree.do(RestartChild, name="kept").refusal is Refusal.START_FAILED
    assert tree.children()["kept"].state is ChildState.STOPPED
    assert tree.order().count("start kept") == 2, "an error at a manual restart is not tried again"


def test_r4_a_dynamic_child_with_a_start_error_is_not_kept(grow: Callable[..., Tree], tmp_path: Path) -> None:
    (tmp_path / "fail-start-t:1").touch()
    tree = grow(part("t"), strategy=Strategy.SIMPLE_ONE_FOR_ONE)
    assert tree.do(StartChild).refusal is Refusal.START_FAILED
    assert tree.counts() == (1, 0, 0, 0)


def test_r5_a_child_failing_while_its_supervisor_starts_stops_the_started_ones_and_fails_the_start(
    grow: Callable[..., Tree], tmp_path: Path
) -> None:
    (tmp_path / "fail-start-three").touch()
    tree = grow()
    parts = [part(name, give_up=GiveUp.ESCALATE) for name in ("one", "two", "three", "four")]
    answer = tree.do(StartChild, spec=branch("sup", *parts))
    assert answer.refusal is Refusal.START_FAILED
    assert "failed_to_start_child three: exit 70: RuntimeError: planted start failure" in answer.reason
    assert tree.order() == ["start one", "start two", "start three", "stop two", "stop one"]


def test_r5_at_the_root_a_failed_start_ends_the_daemon_with_its_code(grow: Callable[..., Tree], tmp_path: Path) -> None:
    (tmp_path / "fail-start-two").touch()
    tree = grow(part("one"), part("two", give_up=GiveUp.ESCALATE))
    assert tree.end() == GAVE_UP_EXIT
    assert tree.order() == ["start one", "start two", "stop one"]


def test_r5_a_part_with_a_policy_of_its_own_is_tried_again_instead_and_the_order_is_kept(
    grow: Callable[..., Tree], tmp_path: Path
) -> None:
    (tmp_path / "fail-times-two").write_text("1")
    tree = grow(part("one"), part("two"), part("three"))
    tree.up("three")
    assert tree.order() == ["start one", "start two", "start two", "start three"]


def test_r6_defaults_are_otps_and_can_be_read() -> None:
    worker, below = ChildSpec("a", "x.Y"), ChildSpec("b", "x.Y", kind="supervisor")
    spec = SupervisorSpec("sup", (worker, below))
    assert (spec.strategy, spec.intensity.max_restarts, spec.intensity.period_s) == (Strategy.ONE_FOR_ONE, 1, 5.0)
    assert (worker.restart, worker.kind, worker.stop_within_s) == (Restart.PERMANENT, "worker", 5.0)
    assert below.stop_within_s == UNLIMITED


def test_r6_the_defaults_hold_in_a_running_tree(grow: Callable[..., Tree]) -> None:
    tree = grow()
    tree.add(spec=ChildSpec("one", PART))
    os.kill(tree.up("one").pid, signal.SIGKILL)
    wait_for(lambda: tree.children()["one"].restarts == 1, "the restart of a permanent child")
    assert tree.reports()[-1].offender.restart == "permanent"
    assert tree.reports()[-1].offender.shutdown_s == 5.0


@pytest.mark.parametrize("fields", [{"name": "a"}, {"actor": "x.Y"}, {"name": "a", "actor": "x.Y", "modules": ["x"]}])
def test_r6_missing_and_unknown_fields_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        ChildSpec(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name.*a/b"),
        ({"name": "a" * 101}, "name"),
        ({"actor": ""}, "dotted path"),
        ({"actor": "nodots"}, "dotted path"),
        ({"kind": "thing"}, "kind.*thing"),
        ({"restart": "sometimes"}, "restart.*sometimes"),
        ({"give_up": "never"}, "give_up.*never"),
        ({"shutdown_s": -1.0}, "shutdown_s.*-1"),
        ({"shutdown_s": float("nan")}, "shutdown_s.*nan"),
        ({"shutdown_s": "brutal"}, "shutdown_s.*brutal"),
        ({"start_deadline_s": 0.0}, "start_deadline_s"),
        ({"missed_kill_s": UNLIMITED}, "missed_kill_s"),
        ({"hang_warn_s": -0.1}, "hang_warn_s"),
    ],
)
def test_r7_a_wrong_child_spec_is_refused_with_the_field_and_the_value(fields: dict[str, object], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        ChildSpec(**{"name": "a", "actor": "x.Y", **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Intensity(max_restarts=-1), "max_restarts.*-1"),
        (lambda: Intensity(max_restarts=1.5), "max_restarts.*1.5"),  # type: ignore[arg-type]
        (lambda: Intensity(max_restarts=True), "max_restarts.*True"),
        (lambda: Intensity(period_s=0), "period_s.*0"),
        (lambda: Intensity(period_s=UNLIMITED), "period_s.*inf"),
        (lambda: Intensity(backoff_first_s=-1), "backoff_first_s"),
        (lambda: SupervisorSpec("", ()), "name"),
        (lambda: SupervisorSpec("sup", (), "all_for_one"), "strategy.*all_for_one"),  # type: ignore[arg-type]
        (lambda: SupervisorSpec("sup", (), intensity=3), "intensity.*3"),  # type: ignore[arg-type]
        (lambda: SupervisorSpec("sup", ("one",)), "children"),  # type: ignore[arg-type]
        (lambda: SupervisorSpec("sup", (ChildSpec("a", "x.Y"), ChildSpec("a", "x.Z"))), "duplicate child a"),
    ],
)
def test_r7_a_wrong_supervisor_spec_is_refused_with_the_field_and_the_value(
    make: Callable[[], object], says: str
) -> None:
    with pytest.raises(SpecError, match=says):
        make()


def test_r7_the_special_stop_times_are_accepted() -> None:
    for value in (AT_ONCE, UNLIMITED, 3, 0.5):
        assert ChildSpec("a", "x.Y", shutdown_s=value).stop_within_s == value


def _stopped(tree: Tree, name: str) -> None:
    assert tree.do(TerminateChild, name=name).refusal is None
