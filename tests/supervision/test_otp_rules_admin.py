"""OTP's rules about admin verbs, dynamic children, counts, names and reports, on real processes: R20, R27 to R29,
R37 and R38 (docs/supervision.md)."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.messages.health import ChildState
from supervision.administration import DeleteChild, Refusal, RestartChild, StartChild, TerminateChild
from supervision.reports import MAX_LINE, Context
from supervision.restart import ChildSpec, GiveUp, Intensity, Restart, SpecError, Strategy, SupervisorSpec
from tests.supervision.parts import Misbehave, Say, UseVerb
from tests.supervision.trees import Tree, branch, is_gone, part, wait_for

QUICK = Intensity(max_restarts=50, period_s=30.0, backoff_first_s=0.01, backoff_max_s=0.02)


def test_r20_dynamic_children_come_from_exactly_one_template(grow: Callable[..., Tree]) -> None:
    for children in ((), (ChildSpec("a", "x.Y"), ChildSpec("b", "x.Y"))):
        with pytest.raises(SpecError, match="exactly one template, got"):
            SupervisorSpec("sup", children, Strategy.SIMPLE_ONE_FOR_ONE)
    tree = grow(part("t"), strategy=Strategy.SIMPLE_ONE_FOR_ONE)
    assert tree.counts() == (1, 0, 0, 0), "a template is no child"
    assert tree.do(StartChild, spec=part("other")).refusal is Refusal.BAD_SPEC
    one, two = tree.add(), tree.add()
    assert (one.name, two.name) == ("t:1", "t:2")
    assert tree.up("t:1").pid == one.pid != two.pid


def test_r20_dynamic_children_are_terminated_by_pid_and_not_deleted_or_restarted_by_name(
    grow: Callable[..., Tree],
) -> None:
    tree = grow(part("t"), strategy=Strategy.SIMPLE_ONE_FOR_ONE)
    one, two = tree.add(), tree.add()
    assert tree.do(TerminateChild, name="t:1").refusal is Refusal.SIMPLE_ONE_FOR_ONE
    assert tree.do(DeleteChild, name="t:1").refusal is Refusal.SIMPLE_ONE_FOR_ONE
    assert tree.do(RestartChild, name="t:1").refusal is Refusal.SIMPLE_ONE_FOR_ONE
    assert tree.do(TerminateChild, pid=os.getpid()).refusal is Refusal.NOT_FOUND
    assert tree.do(TerminateChild, pid=one.pid).refusal is None
    assert is_gone(one.pid) and not is_gone(two.pid)
    assert tree.do(TerminateChild, pid=one.pid).refusal is Refusal.NOT_FOUND
    assert set(tree.children()) == {"t:2"}


def test_r20_a_dynamic_child_is_restarted_alone_with_its_own_arguments(grow: Callable[..., Tree]) -> None:
    tree = grow(part("t", args={"on_stop": "never"}), strategy=Strategy.SIMPLE_ONE_FOR_ONE)
    tree.add(args={"on_stop": "exit"})
    two = tree.add()
    one = tree.up("t:1").pid
    os.kill(one, signal.SIGKILL)
    again = tree.up("t:1", after_pid=one)
    assert tree.up("t:2").pid == two.pid
    assert tree.do(TerminateChild, pid=again.pid).refusal is None
    assert tree.reports()[-1].reason == "exit 3", "stopped by its own arguments, not by the template's"


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.TEMPORARY])
def test_r20_a_dynamic_child_that_is_not_restarted_is_forgotten(grow: Callable[..., Tree], restart: Restart) -> None:
    tree = grow(part("t", restart=restart), strategy=Strategy.SIMPLE_ONE_FOR_ONE)
    tree.add()
    tree.up("t:1")
    tree.tell("t:1", Misbehave("leave"))
    wait_for(lambda: tree.counts() == (1, 0, 0, 0), "it to be forgotten")


def test_r27_adding_says_what_is_there_already(grow: Callable[..., Tree]) -> None:
    tree = grow(part("one"))
    pid = tree.up("one").pid
    answer = tree.do(StartChild, spec=part("one"))
    assert (answer.refusal, answer.pid) == (Refusal.ALREADY_STARTED, pid)
    tree.do(TerminateChild, name="one")
    assert tree.do(StartChild, spec=part("one")).refusal is Refusal.ALREADY_PRESENT
    assert tree.do(StartChild).refusal is Refusal.BAD_SPEC
    assert tree.add(spec=part("two")).pid == tree.up("two").pid


def test_r27_terminate_is_idempotent_and_keeps_the_spec(grow: Callable[..., Tree]) -> None:
    tree = grow(part("one"))
    pid = tree.up("one").pid
    for _ in range(2):
        assert tree.do(TerminateChild, name="one").refusal is None
    assert is_gone(pid)
    assert tree.counts() == (1, 0, 0, 1)
    assert tree.do(RestartChild, name="one").pid == tree.up("one", after_pid=pid).pid
    assert tree.children()["one"].restarts == 0, "on purpose is no failure"


def test_r27_terminate_drops_the_spec_of_a_temporary_child(grow: Callable[..., Tree]) -> None:
    tree = grow(part("one", restart=Restart.TEMPORARY))
    tree.up("one")
    assert tree.do(TerminateChild, name="one").refusal is None
    assert tree.do(TerminateChild, name="one").refusal is Refusal.NOT_FOUND


def test_r27_only_stopped_children_are_deleted_or_restarted(grow: Callable[..., Tree]) -> None:
    tree = grow(part("one"), part("two"))
    tree.up("two")
    assert tree.do(DeleteChild, name="one").refusal is Refusal.RUNNING
    assert tree.do(RestartChild, name="one").refusal is Refusal.RUNNING
    tree.do(TerminateChild, name="one")
    assert tree.do(DeleteChild, name="one").refusal is None
    assert set(tree.children()) == {"two"}
    for verb in (DeleteChild, RestartChild, TerminateChild):
        assert tree.do(verb, name="one").refusal is Refusal.NOT_FOUND
    assert tree.do(TerminateChild, name="x", supervisor="nobody").refusal is Refusal.NOT_FOUND


def test_r27_an_added_child_is_restarted_like_any_other_and_comes_last(grow: Callable[..., Tree]) -> None:
    tree = grow(part("one"), strategy=Strategy.REST_FOR_ONE, intensity=QUICK)
    added = tree.add(spec=part("two"))
    one = tree.up("one").pid
    os.kill(one, signal.SIGKILL)
    assert tree.up("two", after_pid=added.pid).pid != added.pid
    assert tree.order()[2:] == ["stop two", "start one", "start two"]


def test_a_part_below_cannot_use_the_verbs(grow: Callable[..., Tree]) -> None:
    tree = grow(part("one"), part("two"))
    two = tree.up("two").pid
    tree.up("one")
    tree.tell("one", UseVerb(TerminateChild(request_id="x", supervisor="root", name="two")))
    wait_for(lambda: "forbidden" in tree.up("one").heard, "the refusal")
    forged = TerminateChild(request_id="x", supervisor="root", name="two", reply_to=tree.system.root)
    tree.tell("one", UseVerb(forged))
    wait_for(lambda: tree.up("one").heard.count("forbidden") == 2, "the second refusal")
    assert tree.up("two").pid == two


def test_r28_counts_are_right_for_supervisors_workers_stopped_and_restarting_children(
    grow: Callable[..., Tree], tmp_path: Path
) -> None:
    tree = grow(branch("sup", part("below")), part("one"), part("two"), part("three"), intensity=QUICK)
    tree.up("three")
    assert tree.counts() == (4, 4, 1, 3)
    assert tree.counts("sup") == (1, 1, 0, 1)
    tree.do(TerminateChild, name="one")
    assert tree.counts() == (4, 3, 1, 3)
    (tmp_path / "hang-start-two").touch()
    tree.tell("two", Misbehave("raise"))
    tree.wait_state("two", ChildState.RESTARTING)
    specs, active, supervisors, workers = tree.counts()
    assert (specs, supervisors, workers) == (4, 1, 3)
    assert active in (2, 3), "the process of an attempt counts while it lives"


def test_r28_r29_many_dynamic_children_start_are_counted_and_stop_together(grow: Callable[..., Tree]) -> None:
    tree = grow(part("t", shutdown_s=5.0, needs=()), strategy=Strategy.SIMPLE_ONE_FOR_ONE)
    pids = [tree.add().pid for _ in range(40)]
    assert tree.counts() == (1, 40, 0, 40)
    assert len(set(pids)) == 40
    for pid in pids[:10]:
        tree.do(TerminateChild, pid=pid)
    assert tree.counts() == (1, 30, 0, 30)
    assert tree.stop(10.0) == 0
    assert all(is_gone(pid) for pid in pids)


def test_r37_a_name_is_free_while_its_part_is_down_and_registered_anew(
    grow: Callable[..., Tree], tmp_path: Path
) -> None:
    tree = grow(part("one"), part("two"), intensity=QUICK)
    one = tree.up("one")
    wait_for(lambda: "one" in tree.up("two").peers, "two to know one")
    (tmp_path / "fail-start-one").touch()
    os.kill(one.pid, signal.SIGKILL)
    wait_for(lambda: "one" not in tree.up("two").peers, "the name to be free")
    tree.tell("two", Say("one", "to nobody"))
    wait_for(lambda: "nobody:one" in tree.up("two").heard, "nothing to be sent to the dead")
    (tmp_path / "fail-start-one").unlink()
    again = tree.up("one", after_pid=one.pid)
    wait_for(lambda: tree.up("two").peers.get("one") == (again.incarnation, again.pid), "the new one to be known")
    assert again.incarnation > one.incarnation


def test_r37_a_child_that_was_stopped_while_the_directory_changed_is_told_again(grow: Callable[..., Tree]) -> None:
    tree = grow(branch("sup", part("one", missed_kill_s=30.0)), part("two"))
    one, two = tree.up("one"), tree.up("two")
    wait_for(lambda: "two" in tree.up("one").peers, "the directory")
    os.kill(one.pid, signal.SIGSTOP)
    os.kill(two.pid, signal.SIGKILL)
    again = tree.up("two", after_pid=two.pid)
    os.kill(one.pid, signal.SIGCONT)
    wait_for(lambda: tree.up("one").peers.get("two") == (again.incarnation, again.pid), "one to know the new two")


def test_r38_reports_carry_supervisor_context_reason_and_offender(grow: Callable[..., Tree], tmp_path: Path) -> None:
    tree = grow(part("one", shutdown_s=0.2, args={"on_stop": "never"}), part("two"), intensity=QUICK)
    two = tree.up("two")
    (tmp_path / "fail-times-two").write_text("1")
    os.kill(two.pid, signal.SIGKILL)
    tree.up("two", after_pid=two.pid)
    tree.do(TerminateChild, name="one")
    terminated, start_error, shutdown_error = tree.reports()
    assert (terminated.supervisor, terminated.context) == ("root", Context.CHILD_TERMINATED)
    assert terminated.reason == "signal 9"
    assert terminated.offender.pid == two.pid
    assert (terminated.offender.name, terminated.offender.incarnation) == ("two", two.incarnation)
    assert (start_error.context, start_error.offender.name) == (Context.START_ERROR, "two")
    assert start_error.reason == "exit 70: RuntimeError: planted start failure"
    assert (shutdown_error.context, shutdown_error.offender.name) == (Context.SHUTDOWN_ERROR, "one")
    assert shutdown_error.reason == "did not stop within 0.2 s"


def test_r38_a_supervisor_past_its_intensity_says_so_before_it_ends(grow: Callable[..., Tree]) -> None:
    slow = part("slow", args={"on_stop": "slow", "stop_s": 0.8})
    tree = grow(slow, part("bad", give_up=GiveUp.ESCALATE), intensity=Intensity(max_restarts=0, period_s=30.0))
    os.kill(tree.up("bad").pid, signal.SIGKILL)
    tree.wait_state("slow", ChildState.STOPPING)
    last = tree.reports()[-1]
    assert (last.context, last.offender.name) == (Context.SHUTDOWN, "bad")
    assert last.reason.startswith("reached_max_restart_intensity: bad failed 1 times within 30 s: signal 9")


def test_r38_reports_are_bounded_one_line_and_without_secrets_or_arguments(grow: Callable[..., Tree]) -> None:
    tree = grow()
    actor = "tests.supervision.parts.CrashingSupervisor"
    said = "https://user:hunter2@venue.example\n" * 1000
    assert tree.do(StartChild, spec=ChildSpec("bad", actor, args={"say": said})).refusal is Refusal.START_FAILED
    report = tree.reports()[-1]
    assert len(report.line()) <= MAX_LINE
    assert "\n" not in report.line()
    assert "hunter2" not in repr(report)
    for _ in range(60):
        tree.do(StartChild, spec=ChildSpec("bad", actor))
    assert len(tree.reports()) == 50, "only the latest are kept"
