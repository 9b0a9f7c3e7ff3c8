"""The pure restart policy, against OTP's rules and a reference model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.clock import NS_PER_S
from supervision.restart import (
    ChildSpec,
    Forget,
    GaveUp,
    GiveUp,
    Intensity,
    Restart,
    RestartGroup,
    RestartPolicy,
    SpecError,
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


@pytest.mark.parametrize(
    ("fields", "says"),
    [({"name": ""}, "name"), ({"name": "a", "kind": "thing"}, "thing"), ({"name": "a", "shutdown_s": -1.0}, "-1")],
)
def test_r7_a_wrong_child_spec_is_refused_with_the_reason(fields: dict[str, object], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        ChildSpec(actor="x.Y", **fields)  # type: ignore[arg-type]


def test_r7_a_duplicate_child_is_refused() -> None:
    with pytest.raises(SpecError, match="duplicate child a"):
        SupervisorSpec("sup", (ChildSpec("a", "x.Y"), ChildSpec("a", "x.Z")))


@given(
    gaps=st.lists(st.integers(0, 12 * NS_PER_S), max_size=60),
    who=st.lists(st.sampled_from(NAMES), min_size=60, max_size=60),
    strategy=st.sampled_from([Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE]),
    limit=st.integers(0, 5),
)
def test_the_policy_agrees_with_a_model_that_remembers_everything(
    gaps: list[int], who: list[str], strategy: Strategy, limit: int
) -> None:
    subject = policy(strategy, max_restarts=limit)
    remembered: list[int] = []
    now = 0
    for gap, name in zip(gaps, who, strict=False):
        now += gap
        remembered.append(now)
        recent = [at for at in remembered if at >= now - 10 * NS_PER_S]
        decision = subject.exited(name, False, now, NAMES)
        if len(recent) > limit:
            assert decision == GaveUp(GiveUp.ESCALATE, len(recent))
            remembered.clear()
        else:
            assert isinstance(decision, RestartGroup)
            assert name in decision.start
            assert name not in decision.stop
