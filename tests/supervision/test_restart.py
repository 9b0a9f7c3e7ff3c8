"""The pure restart policy, against OTP's rules and a reference model."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.clock import NS_PER_S
from supervision.restart import (
    ChildSpec,
    Decision,
    FailStart,
    Forget,
    GaveUp,
    GiveUp,
    Intensity,
    Restart,
    RestartGroup,
    RestartPolicy,
    Strategy,
    SupervisorSpec,
)

NAMES = ("a", "b", "c", "d")


def policy(
    strategy: Strategy = Strategy.ONE_FOR_ONE,
    restart: Restart = Restart.PERMANENT,
    give_up: GiveUp = GiveUp.ESCALATE,
    **intensity: float,
) -> RestartPolicy:
    children = tuple(ChildSpec(name, "x.Y", restart=restart, give_up=give_up) for name in NAMES)
    limits = Intensity(**{"max_restarts": 2, "period_s": 10.0, **intensity})  # type: ignore[arg-type]
    return RestartPolicy(SupervisorSpec("sup", children, strategy, limits), lambda limit: limit)


def test_r13_permanent_restarts_on_normal_and_abnormal_exit() -> None:
    for normal in (True, False):
        assert isinstance(policy().exited("a", normal, 0, NAMES), RestartGroup)


def test_r14_transient_restarts_only_on_abnormal_exit_and_keeps_its_spec() -> None:
    assert policy(restart=Restart.TRANSIENT).exited("a", True, 0, NAMES) == Forget(drop_spec=False)
    assert isinstance(policy(restart=Restart.TRANSIENT).exited("a", False, 0, NAMES), RestartGroup)


def test_r15_temporary_never_restarts_and_loses_its_spec() -> None:
    assert policy(restart=Restart.TEMPORARY).exited("a", False, 0, NAMES) == Forget(drop_spec=True)


@pytest.mark.parametrize(
    ("strategy", "stop", "start"),
    [
        (Strategy.ONE_FOR_ONE, (), ("b",)),
        (Strategy.REST_FOR_ONE, ("d", "c"), ("b", "c", "d")),
        (Strategy.ONE_FOR_ALL, ("d", "c", "a"), ("a", "b", "c", "d")),
    ],
)
def test_r8_r17_r18_r19_who_goes_along_and_in_which_order(
    strategy: Strategy, stop: tuple[str, ...], start: tuple[str, ...]
) -> None:
    decision = policy(strategy).exited("b", False, 0, ("a", "c", "d"))
    assert decision == RestartGroup(stop, start, 0.0)


def test_r21_more_than_intensity_restarts_within_the_period_gives_up() -> None:
    subject = policy()
    assert isinstance(subject.exited("a", False, 0, NAMES), RestartGroup)
    assert isinstance(subject.exited("b", False, 1, NAMES), RestartGroup)
    assert subject.exited("c", False, 2, NAMES) == GaveUp(GiveUp.ESCALATE, 3)


def test_r22_failures_further_apart_than_the_period_never_add_up() -> None:
    subject = policy()
    for n in range(50):
        assert isinstance(subject.exited("a", False, n * 11 * NS_PER_S, NAMES), RestartGroup)


def test_a_part_with_its_own_give_up_policy_does_not_use_up_its_siblings_restarts() -> None:
    subject = policy(give_up=GiveUp.LEAVE_DOWN)
    for n in range(2):
        assert isinstance(subject.exited("a", False, n, NAMES), RestartGroup)
        assert isinstance(subject.exited("b", False, n, NAMES), RestartGroup)
    assert subject.exited("a", False, 3, NAMES) == GaveUp(GiveUp.LEAVE_DOWN, 3)


def test_the_first_restart_is_at_once_and_later_ones_wait_longer_up_to_the_limit() -> None:
    subject = policy(max_restarts=20, backoff_first_s=0.1, backoff_max_s=1.0)
    delays = [
        decision.delay_s for n in range(8) if isinstance(decision := subject.exited("a", False, n, NAMES), RestartGroup)
    ]
    assert delays == [0.0, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]


def test_r5_a_failed_first_start_fails_the_supervisor_unless_the_child_has_a_policy_of_its_own() -> None:
    assert policy().start_failed("a", 0, (), first_start=True) == FailStart()
    assert isinstance(policy(give_up=GiveUp.LEAVE_DOWN).start_failed("a", 0, (), first_start=True), RestartGroup)
    assert isinstance(policy().start_failed("a", 0, (), first_start=False), RestartGroup)


def test_r23_a_failed_restart_counts_for_a_transient_child_too() -> None:
    subject = policy(restart=Restart.TRANSIENT)
    for now in range(2):
        assert isinstance(subject.start_failed("a", now, (), first_start=False), RestartGroup)
    assert subject.start_failed("a", 2, (), first_start=False) == GaveUp(GiveUp.ESCALATE, 3)


def test_r21_a_failure_exactly_one_period_old_still_counts() -> None:
    subject = policy(max_restarts=1)
    assert isinstance(subject.exited("a", False, 0, NAMES), RestartGroup)
    assert isinstance(subject.exited("a", False, 10 * NS_PER_S, NAMES), GaveUp)
    subject = policy(max_restarts=1)
    assert isinstance(subject.exited("a", False, 0, NAMES), RestartGroup)
    assert isinstance(subject.exited("a", False, 10 * NS_PER_S + 1, NAMES), RestartGroup)


def test_one_child_waits_for_its_own_failures_only() -> None:
    subject = policy(max_restarts=20, backoff_first_s=0.1)
    subject.exited("a", False, 0, NAMES)
    subject.exited("a", False, 1, NAMES)
    first = subject.exited("b", False, 2, NAMES)
    assert isinstance(first, RestartGroup) and first.delay_s == 0.0


@dataclass
class Model:
    """OTP's supervisor book in the plainest form: every failure ever, filtered anew for each decision."""

    strategy: Strategy
    limit: int
    specs: dict[str, ChildSpec]
    failures: list[tuple[int, str, str]] = field(default_factory=list)
    """(time, child, count it belongs to)"""

    def decide(self, name: str, *, normal: bool, now: int, alive: set[str]) -> Decision:
        spec = self.specs[name]
        if spec.restart is Restart.TEMPORARY:
            return Forget(drop_spec=True)
        if spec.restart is Restart.TRANSIENT and normal:
            return Forget(drop_spec=False)
        account = "shared" if spec.give_up is GiveUp.ESCALATE else name
        self.failures.append((now, name, account))
        recent = [entry for entry in self.failures if entry[2] == account and entry[0] >= now - 10 * NS_PER_S]
        if len(recent) > self.limit:
            self.failures = [entry for entry in self.failures if entry[2] != account]
            return GaveUp(spec.give_up, len(recent))
        order = list(self.specs)
        first = {Strategy.ONE_FOR_ALL: 0, Strategy.REST_FOR_ONE: order.index(name)}.get(self.strategy)
        group = [name] if first is None else order[first:]
        temporary = [other for other in group if self.specs[other].restart is Restart.TEMPORARY]
        own = sum(1 for entry in recent if entry[1] == name)
        return RestartGroup(
            stop=tuple(other for other in reversed(group) if other in alive and other != name),
            start=tuple(other for other in group if other not in temporary),
            delay_s=0.0 if own == 1 else min(5.0, 0.05 * 2 ** (own - 2)),
            drop=tuple(temporary),
        )


@given(data=st.data())
def test_the_policy_agrees_with_a_model_that_remembers_everything(data: st.DataObject) -> None:
    strategy = data.draw(st.sampled_from([Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE]))
    limit = data.draw(st.integers(0, 4))
    specs = {
        name: ChildSpec(
            name, "x.Y", restart=data.draw(st.sampled_from(Restart)), give_up=data.draw(st.sampled_from(GiveUp))
        )
        for name in NAMES
    }
    subject = RestartPolicy(
        SupervisorSpec("sup", tuple(specs.values()), strategy, Intensity(limit, 10.0)), lambda limit_s: limit_s
    )
    model = Model(strategy, limit, specs)
    now = 0
    for step in range(data.draw(st.integers(1, 40))):
        if not specs:
            break
        now += data.draw(st.sampled_from([0, 1, NS_PER_S, 5 * NS_PER_S, 10 * NS_PER_S, 11 * NS_PER_S]))
        name = data.draw(st.sampled_from(sorted(specs)))
        alive = set(data.draw(st.lists(st.sampled_from(sorted(specs))))) - {name}
        normal, starting = data.draw(st.booleans()), data.draw(st.booleans())
        expected = model.decide(name, normal=normal and not starting, now=now, alive=alive)
        if starting:
            assert subject.start_failed(name, now, alive, first_start=False) == expected
        else:
            assert subject.exited(name, normal, now, alive) == expected
        dropped = expected.drop if isinstance(expected, RestartGroup) else ()
        if expected == Forget(drop_spec=True):
            dropped = (name,)
        for gone in dropped:
            subject.remove(gone)
            del specs[gone]
        if data.draw(st.booleans()):
            added = ChildSpec(f"new{step}", "x.Y", restart=data.draw(st.sampled_from(Restart)))
            subject.add(added)
            specs[added.name] = added
