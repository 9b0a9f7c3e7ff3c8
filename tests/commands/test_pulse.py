"""When the outer ring holds a tree for hung: by its own clock, and never right after it was late itself."""

from __future__ import annotations

from commands.pulse import Pulse

LIMITS = {"tree": 5.0, "root": 3.0}


def beating(until_s: int, *, root_until_s: int | None = None) -> Pulse:
    """A pulse that was looked at every second, from 1 on."""
    pulse = Pulse(LIMITS)
    for now in range(1, until_s + 1):
        pulse.sign("tree", now)
        if root_until_s is None or now <= root_until_s:
            pulse.sign("root", now)
        assert pulse.look(now) == ""
    return pulse


def test_a_root_that_is_silent_beyond_its_limit_is_named() -> None:
    pulse = beating(13, root_until_s=10)
    pulse.sign("tree", 13.5)
    assert pulse.look(13.5) == "root silent for 3.5 s"
    assert not pulse.is_fresh(13.5)


def test_a_sign_that_never_came_is_not_judged_but_earns_nothing() -> None:
    pulse = Pulse(LIMITS)
    pulse.sign("root", 1.0)
    assert pulse.look(1.5) == ""
    assert not pulse.is_fresh(1.5)
    pulse.sign("tree", 1.6)
    assert pulse.is_fresh(1.7)


def test_after_a_stall_of_its_own_it_judges_nobody_until_everybody_had_time_to_speak() -> None:
    pulse = beating(10)
    assert pulse.look(60.0) == "", "the host slept"
    for now in (61.0, 62.0, 63.0, 64.0):
        assert pulse.look(now) == ""
    assert "root silent" in pulse.look(65.0)
    assert not pulse.is_fresh(62.0), "no ping is earned by an excuse"
