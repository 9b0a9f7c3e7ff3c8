"""OTP's rules about restarting, on real processes: R14 to R26 (docs/supervision.md); R13 and R17 to R19 are in
test_supervisor.py."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.messages.health import ChildState
from supervision.administration import DeleteChild, Refusal, RestartChild, StartChild, TerminateChild
from supervision.restart import ChildSpec, GiveUp, Intensity, Restart, Strategy
from supervision.supervisor import GAVE_UP_EXIT
from tests.supervision.parts import HowManyMarkers, Marker, Misbehave, SoManyMarkers
from tests.supervision.trees import NOTEBOOK, PARTS, Tree, branch, is_gone, part, wait_for

QUICK = Intensity(max_restarts=50, period_s=30.0, backoff_first_s=0.01, backoff_max_s=0.02)
GROUPED = [Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE]


def kill(tree: Tree, name: str) -> int:
    pid = tree.up(name).pid
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: is_gone(pid), f"{name} to be gone")
    return pid


def wait_order(tree: Tree, expected: list[str], since: int) -> None:
    wait_for(lambda: len(tree.order()) >= since + len(expected), f"{expected}, got {tree.order()[since:]}")
    assert tree.order()[since:] == expected


def escalating(*names: str) -> list[ChildSpec]:
    return [part(name, give_up=GiveUp.ESCALATE) for name in names]


def test_r13_permanent_comes_back_after_a_normal_exit_too(grow: Callable[..., Tree]) -> None:
    tree = grow(part("one"))
    pid = tree.up("one").pid
    tree.tell("one", Misbehave("leave"))
    assert tree.up("one", after_pid=pid).restored == 1
    assert tree.children()["one"].last_exit == "exit 0"


@pytest.mark.parametrize(("how", "back"), [("leave", False), ("raise", True), ("kill", True), ("segfault", True)])
def test_r14_transient_comes_back_only_after_an_abnormal_exit_and_its_spec_stays(
    grow: Callable[..., Tree], how: str, back: bool
) -> None:
    tree = grow(part("one", restart=Restart.TRANSIENT))
    pid = tree.up("one").pid
    if how == "kill":
        os.kill(pid, signal.SIGKILL)
    else:
        tree.tell("one", Misbehave(how))
    wait_for(lambda: is_gone(pid), "its end")
    tree.wait_state("one", ChildState.RUNNING if back else ChildState.STOPPED)
    assert tree.counts() == (1, 1 if back else 0, 0, 1)
    if not back:
        assert tree.do(RestartChild, name="one").refusal is None


@pytest.mark.parametrize("how", ["leave", "raise", "kill"])
def test_r15_temporary_never_comes_back_and_its_spec_is_dropped(grow: Callable[..., Tree], how: str) -> None:
    tree = grow(part("one", restart=Restart.TEMPORARY), part("two"))
    pid = tree.up("one").pid
    if how == "kill":
        os.kill(pid, signal.SIGKILL)
    else:
        tree.tell("one", Misbehave(how))
    wait_for(lambda: set(tree.children()) == {"two"}, "the spec to be dropped")
    assert tree.order().count("start one") == 1


@pytest.mark.parametrize("strategy", GROUPED)
def test_r15_a_temporary_bystander_of_a_siblings_failure_is_not_restarted_and_dropped(
    grow: Callable[..., Tree], strategy: Strategy
) -> None:
    tree = grow(part("one"), part("by", restart=Restart.TEMPORARY), part("three"), strategy=strategy, intensity=QUICK)
    three = tree.up("three").pid
    since = len(tree.order())
    kill(tree, "one")
    tree.up("three", after_pid=three)
    wait_order(tree, ["stop three", "stop by", "start one", "start three"], since)
    assert set(tree.children()) == {"one", "three"}


def test_r15_a_temporary_child_added_again_is_newer_than_its_namesake(grow: Callable[..., Tree]) -> None:
    tree = grow()
    spec = part("one", restart=Restart.TEMPORARY)
    tree.add(spec=spec)
    first = tree.up("one")
    os.kill(first.pid, signal.SIGKILL)
    wait_for(lambda: not tree.children(), "the spec to be dropped")
    tree.add(spec=spec)
    assert tree.up("one", after_pid=first.pid).incarnation > first.incarnation


def test_r16_arguments_and_specs_of_temporary_children_are_not_kept(grow: Callable[..., Tree]) -> None:
    tree = grow(actor=PARTS + "CountingSupervisor")
    for number in range(5):
        spec = part(f"temporary{number}", restart=Restart.TEMPORARY, args={"marker": Marker(number)})
        tree.add(spec=spec)
    tree.add(spec=part("permanent", args={"marker": Marker(99)}))

    def held() -> int:
        assert tree.system.root is not None
        tree.system.tell(tree.system.root, HowManyMarkers())
        answer = tree.next_message(lambda message: isinstance(message, SoManyMarkers), "how many markers")
        assert isinstance(answer, SoManyMarkers)
        return answer.number

    # What is on the wire is held until it is acknowledged.
    wait_for(lambda: held() == 1, "only the permanent child's argument to be kept, while all live")
    assert tree.counts() == (6, 6, 0, 6)


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ONE, *GROUPED])
def test_r21_more_than_intensity_stops_the_others_in_reverse_and_ends_the_supervisor(
    grow: Callable[..., Tree], strategy: Strategy
) -> None:
    limits = Intensity(max_restarts=2, period_s=30.0, backoff_first_s=0.01, backoff_max_s=0.02)
    tree = grow(*escalating("one", "two", "three"), strategy=strategy, intensity=limits)
    pid = 0
    for _ in range(2):
        pid = tree.up("three", after_pid=pid).pid
        os.kill(pid, signal.SIGKILL)
    tree.up("three", after_pid=pid)
    assert tree.system.poll() is None, "two restarts are allowed"
    since = len(tree.order())
    kill(tree, "three")
    assert tree.end() == GAVE_UP_EXIT
    assert tree.order()[since:] == ["stop two", "stop one"]


def test_r21_dynamic_children_share_one_intensity(grow: Callable[..., Tree]) -> None:
    limits = Intensity(max_restarts=1, period_s=30.0)
    tree = grow(part("t", give_up=GiveUp.ESCALATE), strategy=Strategy.SIMPLE_ONE_FOR_ONE, intensity=limits)
    tree.add(), tree.add()
    first = kill(tree, "t:1")
    tree.up("t:1", after_pid=first)
    kill(tree, "t:2")
    assert tree.end() == GAVE_UP_EXIT


def test_r22_failures_further_apart_than_the_period_never_add_up(grow: Callable[..., Tree]) -> None:
    tree = grow(*escalating("one"), intensity=Intensity(max_restarts=1, period_s=0.3))
    pid = 0
    for _ in range(4):
        pid = tree.up("one", after_pid=pid).pid
        time.sleep(0.35)  # the spacing is what is tested
        os.kill(pid, signal.SIGKILL)
    tree.up("one", after_pid=pid)
    assert tree.system.poll() is None


@pytest.mark.parametrize("strategy", list(Strategy))
def test_r23_failed_restarts_count_and_the_supervisor_answers_between_them(
    grow: Callable[..., Tree], tmp_path: Path, strategy: Strategy
) -> None:
    limits = Intensity(max_restarts=4, period_s=30.0, backoff_first_s=0.05, backoff_max_s=0.1)
    dynamic = strategy is Strategy.SIMPLE_ONE_FOR_ONE
    tree = grow(part("t", give_up=GiveUp.ESCALATE), strategy=strategy, intensity=limits)
    name = tree.add().name if dynamic else "t"
    tree.up(name)
    (tmp_path / f"fail-start-{name}").touch()
    kill(tree, name)
    answered = 0
    while tree.system.poll() is None and answered < 3:
        answered += tree.children()[name].state is ChildState.RESTARTING
    assert answered == 3
    assert tree.end() == GAVE_UP_EXIT
    assert tree.order().count(f"start {name}") == 1 + 4, "four restarts, all failed, the fifth is one too many"


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ONE, *GROUPED])
def test_r24_while_it_loops_in_restart_the_verbs_say_so_and_terminate_ends_the_loop(
    grow: Callable[..., Tree], tmp_path: Path, strategy: Strategy
) -> None:
    tree = grow(part("one"), part("two"), strategy=strategy, intensity=QUICK)
    tree.up("two")
    (tmp_path / "fail-start-two").touch()
    kill(tree, "two")
    tree.wait_state("two", ChildState.RESTARTING)
    assert tree.do(StartChild, spec=part("two")).refusal is Refusal.ALREADY_PRESENT
    assert tree.do(RestartChild, name="two").refusal is Refusal.RESTARTING
    assert tree.do(DeleteChild, name="two").refusal is Refusal.RESTARTING
    assert tree.counts()[0] == 2
    assert tree.do(TerminateChild, name="two").refusal is None
    assert tree.children()["two"].state is ChildState.STOPPED
    attempts = tree.order().count("start two")
    (tmp_path / "fail-start-two").unlink()
    time.sleep(0.1)  # another attempt would come within 0.02 s
    assert tree.order().count("start two") == attempts
    assert tree.do(RestartChild, name="two").pid == tree.up("two").pid


def test_r24_a_dynamic_child_that_loops_in_restart_can_be_terminated_by_the_pid_it_had(
    grow: Callable[..., Tree], tmp_path: Path
) -> None:
    tree = grow(part("t"), strategy=Strategy.SIMPLE_ONE_FOR_ONE, intensity=QUICK)
    tree.add()
    (tmp_path / "fail-start-t:1").touch()
    kill(tree, "t:1")
    tree.wait_state("t:1", ChildState.RESTARTING)

    def terminated() -> bool:  # each attempt has a pid of its own
        return tree.do(TerminateChild, pid=tree.children()["t:1"].pid).refusal is None

    wait_for(terminated, "the loop to end")
    assert tree.counts() == (1, 0, 0, 0)


def test_r24_a_supervisor_that_loops_in_restart_can_be_stopped(grow: Callable[..., Tree], tmp_path: Path) -> None:
    tree = grow(part("one"), part("two"), intensity=QUICK)
    tree.up("two")
    (tmp_path / "fail-start-two").touch()
    kill(tree, "two")
    tree.wait_state("two", ChildState.RESTARTING)
    assert tree.stop() == 0
    assert tree.order()[-1] == "stop one"


def test_r25_one_for_all_a_later_child_failing_to_restart_stops_the_restarted_ones_and_tries_again(
    grow: Callable[..., Tree], tmp_path: Path
) -> None:
    tree = grow(*(part(name) for name in "abc"), strategy=Strategy.ONE_FOR_ALL, intensity=QUICK)
    tree.up("c")
    (tmp_path / "fail-times-c").write_text("1")
    since = len(tree.order())
    kill(tree, "a")
    again = ["start a", "start b", "start c"]
    wait_order(tree, ["stop c", "stop b", *again, "stop b", "stop a", *again], since)
    tree.wait_state("c", ChildState.RUNNING)


def test_r25_rest_for_one_a_later_child_failing_to_restart_is_restarted_from_there_only(
    grow: Callable[..., Tree], tmp_path: Path
) -> None:
    tree = grow(*(part(name) for name in "abcd"), strategy=Strategy.REST_FOR_ONE, intensity=QUICK)
    tree.up("d")
    (tmp_path / "fail-times-c").write_text("2")
    since = len(tree.order())
    kill(tree, "b")
    expected = ["stop d", "stop c", "start b", "start c", "start c", "start c", "start d"]
    wait_order(tree, expected, since)
    tree.wait_state("d", ChildState.RUNNING)


@pytest.mark.parametrize("strategy", GROUPED)
def test_r25_a_sibling_that_dies_while_a_group_restarts_joins_it(
    grow: Callable[..., Tree], tmp_path: Path, strategy: Strategy
) -> None:
    slow = {"on_stop": "slow", "stop_s": 0.4}
    tree = grow(part("a"), part("b"), part("c", args=slow), strategy=strategy, intensity=QUICK)
    pids = {name: tree.up(name).pid for name in "abc"}
    os.kill(pids["b"], signal.SIGKILL)
    tree.wait_state("c", ChildState.STOPPING)
    os.kill(pids["a"], signal.SIGKILL)
    for name in "abc":
        tree.up(name, after_pid=pids[name])
    starts = [line for line in tree.order()[3:] if line.startswith("start")]
    assert starts == ["start a", "start b", "start c"], "each once, in order"


def test_r26_a_supervisor_past_its_intensity_is_a_failed_child_and_returns_with_its_static_children_only(
    grow: Callable[..., Tree],
) -> None:
    inner = branch("sup", *escalating("static"), intensity=Intensity(max_restarts=0, period_s=30.0))
    tree = grow(inner, part("outside"), intensity=QUICK)
    outside, static = tree.up("outside").pid, tree.up("static")
    wait_for(lambda: "sup" in tree.up("outside").peers, "the directory")
    tree.add(supervisor="sup", spec=part("dynamic", give_up=GiveUp.ESCALATE))
    dynamic = tree.up("dynamic").pid
    os.kill(static.pid, signal.SIGKILL)
    again = tree.up("static", after_pid=static.pid)
    assert again.incarnation > static.incarnation
    assert is_gone(dynamic)
    assert set(tree.children("sup")) == {"static"}
    assert tree.children()["sup"].last_exit == "exit 74"
    assert tree.up("outside").pid == outside


def test_the_watchdog_hears_of_the_loss_before_the_supervisor_that_gives_up_is_gone(
    grow: Callable[..., Tree], tmp_path: Path
) -> None:
    inner = branch("trading", *escalating("tracker", "risk"), intensity=Intensity(max_restarts=0, period_s=30.0))
    tree = grow(part("watchdog", NOTEBOOK), inner, intensity=QUICK)
    risk = tree.up("risk").pid
    wait_for(lambda: "watchdog" in tree.up("risk").peers, "the directory")
    kill(tree, "risk")
    tree.up("risk", after_pid=risk)
    lost = tree.notes("lost")
    assert lost[0] == "risk signal 9 gave up"
    assert lost[1] == "tracker stopped by trading"
    assert lost[-1] == "trading exit 74"


def test_the_watchdog_hears_of_every_part_that_a_dead_supervisor_took_along(grow: Callable[..., Tree]) -> None:
    tree = grow(part("watchdog", NOTEBOOK), branch("trading", part("tracker"), part("risk")), intensity=QUICK)
    risk = tree.up("risk").pid
    wait_for(lambda: {"trading", "tracker", "risk"} <= set(tree.up("watchdog").peers), "the whole directory")
    os.kill(tree.children()["trading"].pid, signal.SIGKILL)
    tree.up("risk", after_pid=risk)
    assert tree.notes("lost") == ["tracker trading went down", "risk trading went down", "trading signal 9"]


def test_a_vital_part_given_up_below_ends_the_daemon_without_another_round(
    grow: Callable[..., Tree], tmp_path: Path
) -> None:
    (tmp_path / "fail-start-tracker").touch()
    limits = Intensity(max_restarts=2, period_s=30.0, backoff_first_s=0.01, backoff_max_s=0.02)
    trading = branch("trading", part("tracker", give_up=GiveUp.END_DAEMON), intensity=limits)
    tree = grow(part("other"), trading, intensity=limits)
    assert tree.end() == GAVE_UP_EXIT
    assert tree.order().count("start tracker") == 3
    assert tree.order()[-1] == "stop other"


def test_a_slow_restart_does_not_hold_up_anothers(grow: Callable[..., Tree], tmp_path: Path) -> None:
    tree = grow(part("one", start_deadline_s=20.0), part("two"), intensity=QUICK)
    one, two = tree.up("one").pid, tree.up("two").pid
    (tmp_path / "hang-start-one").touch()
    os.kill(one, signal.SIGKILL)
    os.kill(two, signal.SIGKILL)
    tree.up("two", after_pid=two)
    assert tree.children()["one"].state is ChildState.RESTARTING


def test_a_part_that_was_given_up_is_tried_again_later(grow: Callable[..., Tree], tmp_path: Path) -> None:
    (tmp_path / "fail-times-one").write_text("2")
    limits = Intensity(max_restarts=1, period_s=30.0, backoff_first_s=0.01, backoff_max_s=0.02, retry_s=0.3)
    tree = grow(part("one"), intensity=limits)
    tree.wait_state("one", ChildState.GIVEN_UP)
    tree.wait_state("one", ChildState.RUNNING)
