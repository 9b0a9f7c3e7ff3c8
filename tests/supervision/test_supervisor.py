"""The supervisor on real processes: restarts, strategies, hangs, give-up, stop, the directory."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from actors.messages.health import Heartbeat
from supervision.restart import GiveUp, Intensity, Restart, Strategy
from supervision.supervisor import GAVE_UP_EXIT
from tests.supervision.parts import Misbehave, Say
from tests.supervision.trees import NOTEBOOK, Tree, branch, is_gone, part, wait_for


@pytest.mark.parametrize("how", ["kill", "raise", "segfault", "leave"])
def test_r13_a_permanent_part_comes_back_restored_whatever_ended_it(grow: Callable[..., Tree], how: str) -> None:
    tree = grow(part("one"), part("two"))
    one, two = tree.up("one"), tree.up("two")
    if how == "kill":
        os.kill(one.pid, signal.SIGKILL)
    else:
        tree.tell("one", Misbehave(how))
    again = tree.up("one", after_pid=one.pid)
    assert again.restored == one.restored + 1
    assert again.incarnation == one.incarnation + 1
    assert tree.up("two").pid == two.pid, "one_for_one leaves the sibling alone (R17)"
    assert is_gone(one.pid)


def test_r37_the_peers_learn_the_new_address_and_incarnation(grow: Callable[..., Tree]) -> None:
    tree = grow(branch("left", part("one")), branch("right", part("two")))
    one = tree.up("one")
    wait_for(lambda: "one" in tree.up("two").peers, "two to know one")
    os.kill(one.pid, signal.SIGKILL)
    again = tree.up("one", after_pid=one.pid)
    wait_for(lambda: tree.up("two").peers.get("one") == (again.incarnation, again.pid), "two to know the new one")
    tree.tell("two", Say("one", "hello across branches"))
    wait_for(lambda: "hello across branches" in tree.up("one").heard, "one to hear it")


@pytest.mark.parametrize(
    ("strategy", "changed"),
    [
        (Strategy.ONE_FOR_ONE, {"two"}),
        (Strategy.REST_FOR_ONE, {"two", "three"}),
        (Strategy.ONE_FOR_ALL, {"one", "two", "three"}),
    ],
)
def test_r17_r18_r19_the_strategy_decides_who_is_replaced(
    grow: Callable[..., Tree], strategy: Strategy, changed: set[str]
) -> None:
    names = ("one", "two", "three")
    tree = grow(branch("sup", *(part(name) for name in names), strategy=strategy))
    before = {name: tree.up(name).pid for name in names}
    os.kill(before["two"], signal.SIGKILL)
    for name in changed:
        tree.up(name, after_pid=before[name])
    after = {name: tree.up(name).pid for name in names}
    assert {name for name in names if after[name] != before[name]} == changed


@pytest.mark.parametrize("how", ["stop", "spin"])
def test_a_hung_part_is_killed_by_its_parent_and_replaced(grow: Callable[..., Tree], how: str) -> None:
    tree = grow(part("watchdog", NOTEBOOK), part("one"))
    one = tree.up("one")
    if how == "stop":
        os.kill(one.pid, signal.SIGSTOP)
    else:
        tree.tell("one", Misbehave("spin"))
    again = tree.up("one", after_pid=one.pid)
    assert again.pid != one.pid
    assert is_gone(one.pid)
    wait_for(lambda: "one" in tree.notes("hang"), "the watchdog to hear of the hang")


def test_a_part_that_hangs_while_starting_is_killed_at_its_deadline(grow: Callable[..., Tree], tmp_path: Path) -> None:
    (tmp_path / "hang-start-one").touch()
    often = Intensity(max_restarts=5, period_s=30.0)  # the next one may start, and hang, before the file is gone
    tree = grow(part("watchdog", NOTEBOOK), part("one", start_deadline_s=1.0), intensity=often)
    wait_for(lambda: any("did not start" in line for line in tree.notes("lost")), "the start deadline")
    (tmp_path / "hang-start-one").unlink()
    tree.up("one")


def test_a_part_that_keeps_failing_is_left_down_and_its_siblings_go_on(
    grow: Callable[..., Tree], tmp_path: Path
) -> None:
    (tmp_path / "fail-start-bad").touch()
    limits = Intensity(max_restarts=3, period_s=30.0, backoff_first_s=0.01, backoff_max_s=0.05)
    tree = grow(part("watchdog", NOTEBOOK), part("alerts", NOTEBOOK), part("bad"), part("good"), intensity=limits)
    good = tree.up("good")
    wait_for(lambda: any("gave up" in line for line in tree.notes("lost")), "the supervisor to give up")
    assert len([line for line in tree.notes("lost") if line.startswith("bad")]) == 4
    wait_for(lambda: "gave_up:bad" in tree.notes("alert"), "the page")
    wait_for(lambda: any("bad given_up" in line for line in tree.notes("tree")), "the state to be shown")
    assert tree.up("good").pid == good.pid


def test_r5_a_failed_start_below_fails_every_start_above_and_the_tree_with_a_distinct_code(
    grow: Callable[..., Tree], tmp_path: Path
) -> None:
    (tmp_path / "fail-start-bad").touch()
    limits = Intensity(max_restarts=1, period_s=30.0, backoff_first_s=0.01, backoff_max_s=0.02)
    inner = branch("sup", part("bad", give_up=GiveUp.ESCALATE), intensity=limits)
    tree = grow(inner, intensity=limits)
    wait_for(lambda: tree.system.poll() is not None, "the tree to end")
    assert tree.system.poll() == GAVE_UP_EXIT


def test_r37_killing_a_middle_supervisor_takes_its_children_and_brings_them_back_newer(
    grow: Callable[..., Tree],
) -> None:
    notebook = part("watchdog", NOTEBOOK)
    tree = grow(notebook, branch("sup", part("one"), part("two")), part("outside"))
    one, two, outside = tree.up("one"), tree.up("two"), tree.up("outside")
    wait_for(lambda: "sup" in tree.up("outside").peers, "the directory")
    os.kill(tree.up("outside").peers["sup"][1], signal.SIGKILL)
    wait_for(lambda: is_gone(one.pid) and is_gone(two.pid), "the subtree to be gone", 1.0)
    again = tree.up("one", after_pid=one.pid)
    assert again.incarnation > one.incarnation, "an older incarnation must never look newer"
    assert tree.up("outside").pid == outside.pid


def test_r14_a_transient_part_that_leaves_normally_stays_away(grow: Callable[..., Tree]) -> None:
    tree = grow(part("one", restart=Restart.TRANSIENT), part("two"))
    one = tree.up("one")
    wait_for(lambda: "one" in tree.up("two").peers, "the directory")
    tree.tell("one", Misbehave("leave"))
    wait_for(lambda: "one" not in tree.up("two").peers, "the name to be taken out of the directory")
    assert is_gone(one.pid)


def test_a_death_without_words_is_recorded_by_the_parent(grow: Callable[..., Tree], tmp_path: Path) -> None:
    tree = grow(part("one"))
    one = tree.up("one")
    os.kill(one.pid, signal.SIGKILL)
    tree.up("one", after_pid=one.pid)
    (path,) = (tmp_path / "crash").glob("*-one-*.json")
    record = orjson.loads(path.read_bytes())
    assert record["cause"]["text"] == "signal 9"
    assert record["extra"]["recorded_by"] == "root"
    beat = record["extra"]["last_beat"]
    assert beat["pid"] == one.pid
    assert beat["memory_bytes"] > 0
    assert 0 <= beat["age_s"] < 60


def test_an_exit_code_is_recorded_once_by_who_knows_more(grow: Callable[..., Tree], tmp_path: Path) -> None:
    tree = grow(part("one"), intensity=Intensity(max_restarts=5, period_s=30.0))
    causes = []
    for how in ("raise", "exit", "leave"):
        one = tree.up("one")
        tree.tell("one", Misbehave(how))
        tree.up("one", after_pid=one.pid)
        found = [orjson.loads(path.read_bytes()) for path in sorted((tmp_path / "crash").glob("*-one-*.json"))]
        causes = [(record["cause"]["type"], record["pid"] == one.pid) for record in found]
        assert causes[-1][1] or how == "leave", "the newest record is of the newest death"
    kinds = [kind for kind, _ in causes]
    assert len(kinds) == 2, "one record for each death by a fault, none for leaving in order"
    assert kinds[1] == "Died"
    assert kinds[0] != "Died"


def test_a_stop_of_the_whole_tree_for_seconds_kills_nobody(grow: Callable[..., Tree]) -> None:
    tree = grow(branch("sup", part("one"), part("two")))
    before = {name: tree.up(name).pid for name in ("one", "two")}
    os.killpg(tree.system.admin_pid, signal.SIGSTOP)
    time.sleep(2.5)  # the stall itself is what is tested: twice the limit of a missed beat
    os.killpg(tree.system.admin_pid, signal.SIGCONT)
    time.sleep(1.0)  # a wrong kill would come at once
    assert {name: tree.up(name).pid for name in before} == before


def test_a_millisecond_handler_behind_three_thousand_messages_shows_as_lag(grow: Callable[..., Tree]) -> None:
    tree = grow(part("watchdog", NOTEBOOK), part("one", missed_kill_s=20.0))
    tree.up("one")
    tree.tell("one", Misbehave("flood"))
    wait_for(lambda: any(line.startswith("one ") for line in tree.notes("lag")), "the lag to show")


def test_the_root_gives_a_sign_of_life_only_while_everybody_below_beats(
    grow: Callable[..., Tree],
) -> None:
    tree = grow(branch("sup", part("one", missed_kill_s=60.0)))
    one = tree.up("one")

    def silent() -> int | None:
        """What the root's newest beat says of those below it."""
        newest = None
        while (message := tree.system.receive(0.3)) is not None:
            newest = dict(message.progress)["silent_count"] if isinstance(message, Heartbeat) else newest
            if newest is not None:
                break
        return newest

    wait_for(lambda: silent() == 0, "the sign of life")
    os.kill(one.pid, signal.SIGSTOP)  # its own supervisor looks away for a minute: nobody may call that healthy
    wait_for(lambda: silent() == 1, "the sign to be withheld")
    os.kill(one.pid, signal.SIGCONT)
    wait_for(lambda: silent() == 0, "the sign to come back")


def test_the_admin_answers_the_process_above_it_and_a_stopped_one_does_not(grow: Callable[..., Tree]) -> None:
    system = grow(part("one")).system

    def answered() -> bool:
        before = system.admin_answers
        system.probe_admin()
        while system.receive(0.2) is not None:
            pass  # the root's beats
        return system.admin_answers > before

    assert answered()
    os.kill(system.admin_pid, signal.SIGSTOP)
    assert not answered()
