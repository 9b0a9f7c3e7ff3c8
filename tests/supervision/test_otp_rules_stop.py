"""OTP's rules about stopping, on real processes: R8 to R12 (docs/supervision.md)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from actors.messages.health import ChildState, StopChild
from supervision.administration import Refusal, StartChild, TerminateChild
from supervision.restart import Restart, Strategy
from supervision.specs import AT_ONCE, UNLIMITED
from tests.supervision.trees import PARTS, Tree, branch, is_gone, part, wait_for


def test_r8_children_start_left_to_right_and_stop_in_reverse(grow: Callable[..., Tree]) -> None:
    tree = grow(part("one"), branch("sup", part("two"), part("three")), part("four"))
    tree.up("four")
    assert tree.stop() == 0
    up = ["start one", "start two", "start three", "start four"]
    assert tree.order() == [*up, "stop four", "stop three", "stop two", "stop one"]


def test_r8_rest_for_one_stops_the_later_ones_in_reverse_and_starts_in_order(grow: Callable[..., Tree]) -> None:
    tree = grow(*(part(name) for name in "abcd"), strategy=Strategy.REST_FOR_ONE)
    pids = {name: tree.up(name).pid for name in "abcd"}
    os.kill(pids["b"], signal.SIGKILL)
    tree.up("d", after_pid=pids["d"])
    assert tree.order()[4:] == ["stop d", "stop c", "start b", "start c", "start d"]


def test_r9_a_child_that_does_not_stop_is_killed_at_its_deadline_and_not_before(grow: Callable[..., Tree]) -> None:
    tree = grow(part("one", args={"on_stop": "never"}, shutdown_s=0.4))
    pid = tree.up("one").pid
    begun = time.monotonic()
    assert tree.do(TerminateChild, name="one").refusal is None
    assert time.monotonic() - begun >= 0.4
    assert is_gone(pid)
    assert tree.order() == ["start one", "stop one"]
    assert tree.children()["one"].last_exit == "did not stop within 0.4 s"


def test_r9_at_once_kills_without_asking(grow: Callable[..., Tree]) -> None:
    tree = grow(part("one", shutdown_s=AT_ONCE))
    pid = tree.up("one").pid
    assert tree.do(TerminateChild, name="one").refusal is None
    assert is_gone(pid)
    assert tree.order() == ["start one"], "nothing of it ran any more"


def test_r9_unlimited_waits_for_as_long_as_the_child_works_on_its_end(grow: Callable[..., Tree]) -> None:
    slow = {"on_stop": "slow", "stop_s": 1.0}
    tree = grow(part("one", args=slow, shutdown_s=UNLIMITED, missed_kill_s=0.8))
    tree.up("one")
    assert tree.do(TerminateChild, name="one").refusal is None
    assert tree.order() == ["start one", "stop one", "left one"]


def test_r9_unlimited_does_not_wait_for_one_that_hangs(grow: Callable[..., Tree]) -> None:
    tree = grow(part("one", args={"on_stop": "never"}, shutdown_s=UNLIMITED, missed_kill_s=0.8))
    pid = tree.up("one").pid
    os.kill(pid, signal.SIGSTOP)
    assert tree.do(TerminateChild, name="one").refusal is None
    assert is_gone(pid)
    assert "no beat" in tree.children()["one"].last_exit


@pytest.mark.parametrize("shutdown_s", [5.0, UNLIMITED])
def test_r10_dynamic_children_stop_in_parallel(grow: Callable[..., Tree], shutdown_s: float) -> None:
    template = part("t", args={"on_stop": "slow", "stop_s": 0.6}, shutdown_s=shutdown_s)
    tree = grow(template, strategy=Strategy.SIMPLE_ONE_FOR_ONE)
    pids = [tree.add().pid for _ in range(6)]
    begun = time.monotonic()
    assert tree.stop() == 0
    assert 0.6 <= time.monotonic() - begun < 2.0, "the slowest, not the sum of 3.6 s"
    assert all(is_gone(pid) for pid in pids)
    assert [line.split()[0] for line in tree.order()[6:]] == ["stop"] * 6 + ["left"] * 6


def test_r10_dynamic_children_that_do_not_stop_are_killed_at_one_deadline(grow: Callable[..., Tree]) -> None:
    tree = grow(part("t", args={"on_stop": "never"}, shutdown_s=0.5), strategy=Strategy.SIMPLE_ONE_FOR_ONE)
    pids = [tree.add().pid for _ in range(6)]
    begun = time.monotonic()
    assert tree.stop() == 0
    assert time.monotonic() - begun < 2.0
    assert all(is_gone(pid) for pid in pids)


def test_r10_dynamic_children_are_killed_at_once_together(grow: Callable[..., Tree]) -> None:
    tree = grow(part("t", shutdown_s=AT_ONCE), strategy=Strategy.SIMPLE_ONE_FOR_ONE)
    pids = [tree.add().pid for _ in range(4)]
    assert tree.stop() == 0
    assert all(is_gone(pid) for pid in pids)
    assert not any(line.startswith("stop") for line in tree.order())


@pytest.mark.parametrize("strategy", list(Strategy))
def test_r11_children_that_exit_by_themselves_while_stopping_never_hang_it(
    grow: Callable[..., Tree], strategy: Strategy
) -> None:
    hows = ("raise", "exit", "kill", "leave")
    if strategy is Strategy.SIMPLE_ONE_FOR_ONE:
        tree = grow(part("t", shutdown_s=UNLIMITED, missed_kill_s=10.0), strategy=strategy)
        pids = [tree.add(args={"on_stop": how}).pid for how in hows * 2]
    else:
        parts = [
            part(f"{restart}.{how}", args={"on_stop": how}, restart=restart, shutdown_s=UNLIMITED, missed_kill_s=10.0)
            for restart in Restart
            for how in hows
        ]
        tree = grow(*parts, strategy=strategy)
        pids = [tree.up(spec.name).pid for spec in parts]
    tree.system.tell(tree.system.root, StopChild("test", 5.0))  # type: ignore[arg-type]
    for pid in pids[::3]:
        try:
            os.kill(pid, signal.SIGKILL)  # some die before they are asked
        except ProcessLookupError:
            pass  # it was faster
    assert tree.end() == 0
    assert all(is_gone(pid) for pid in pids)
    started = [line for line in tree.order() if line.startswith("start")]
    assert len(started) == len(pids), "nothing is restarted while stopping"


def test_r12_a_child_that_cuts_itself_off_is_still_seen_to_die_and_cannot_hang_a_stop(
    grow: Callable[..., Tree],
) -> None:
    tree = grow(part("one", PARTS + "Unlinked", shutdown_s=0.3, missed_kill_s=30.0))
    wait_for(lambda: tree.children()["one"].state is ChildState.RUNNING, "one to run")
    assert tree.order() == ["start one", "cut one"]
    first = tree.children()["one"].pid
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: tree.children()["one"].pid != first, "its death to be noticed")
    wait_for(lambda: tree.children()["one"].state is ChildState.RUNNING, "one to run again")
    second = tree.children()["one"].pid
    os.kill(second, signal.SIGSTOP)
    assert tree.stop() == 0
    assert is_gone(second)


def test_r12_a_child_that_ignores_the_protocol_does_not_count_as_started(grow: Callable[..., Tree]) -> None:
    tree = grow(part("good"))
    answer = tree.do(StartChild, spec=part("deaf", PARTS + "Deaf", start_deadline_s=0.3))
    assert answer.refusal is Refusal.START_FAILED
    assert answer.reason == "did not start within 0.3 s"
    assert set(tree.children()) == {"good"}
    assert tree.stop() == 0
