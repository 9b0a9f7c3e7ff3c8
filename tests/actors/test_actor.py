"""The base actor: dispatch, restore, timers, stale commands, crash records."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import orjson
import pytest

from actors.actor import CRASH_EXIT, TradingActor, UnknownMessageError
from actors.messages.base import Command, Message, Stamp
from actors.messages.health import Heartbeat, Started, StopChild
from tests.actors.harness import ActorHarness, ActorLeftError, test_settings


@dataclass(frozen=True, slots=True)
class Note(Message):
    text: str
    correlation_id: str = ""


@dataclass(frozen=True, slots=True)
class Order(Command):
    stamp: Stamp


class Subject(TradingActor):
    restored_at_once = True

    def restore(self) -> bool:
        self.notes: list[str] = []
        self.orders = 0
        return self.restored_at_once

    def on_note(self, message: Note, sender: object) -> None:
        if message.text == "boom":
            raise ValueError("planted failure with -----BEGIN EC PRIVATE KEY-----abc-----END EC PRIVATE KEY-----")
        self.notes.append(message.text)

    def on_order(self, message: Order, sender: object) -> None:
        self.orders += 1


class SlowSubject(Subject):
    restored_at_once = False


@pytest.fixture
def harness(tmp_path: Path) -> ActorHarness:
    return ActorHarness(Subject, settings=test_settings(tmp_path), peers=["watchdog", "risk"])


def test_messages_before_restore_wait_and_are_handled_in_order_after_it(tmp_path: Path) -> None:
    harness = ActorHarness(SlowSubject, settings=test_settings(tmp_path)).start()
    harness.deliver(Note("first"))
    harness.deliver(Note("second"))
    assert harness.actor.notes == []
    assert not [m for m in harness.background if isinstance(m, Started)]
    harness.actor.ready()
    assert harness.actor.notes == ["first", "second"]
    assert [m for m in harness.background if isinstance(m, Started)]


def test_messages_before_initialize_wait_too(tmp_path: Path) -> None:
    harness = ActorHarness(Subject, settings=test_settings(tmp_path))
    harness.deliver(Note("early"))
    harness.start()
    assert harness.actor.notes == ["early"]


def test_an_unknown_message_is_a_crash_not_a_silence(harness: ActorHarness) -> None:
    harness.start()
    with pytest.raises(UnknownMessageError, match="on_heartbeat_like"):

        @dataclass
        class HeartbeatLike(Message):
            pass

        harness.deliver(HeartbeatLike())


def test_a_command_of_an_older_incarnation_is_refused(harness: ActorHarness) -> None:
    harness.start()
    harness.restart_peer("risk")
    harness.deliver(Order(Stamp("risk", 1)))
    assert harness.actor.orders == 0
    harness.deliver(Order(Stamp("risk", 2)))
    assert harness.actor.orders == 1


def test_what_a_handler_raises_leaves_a_scrubbed_record_and_exit_code_70(harness: ActorHarness, tmp_path: Path) -> None:
    harness.start()
    with pytest.raises(ActorLeftError) as left:
        harness.actor.receiveMessage(Note("boom", correlation_id="c-17"), "tester")
    assert left.value.code == CRASH_EXIT
    (path,) = (tmp_path / "crash").glob("*.json")
    record = orjson.loads(path.read_bytes())
    assert record["cause"]["type"] == "ValueError"
    assert record["message_type"] == "Note"
    assert record["correlation_id"] == "c-17"
    assert b"PRIVATE KEY" not in path.read_bytes()


def test_timers_fire_in_order_and_a_repeating_one_skips_what_a_suspend_swallowed(harness: ActorHarness) -> None:
    harness.start()
    fired: list[str] = []
    harness.actor.every("tick", 1.0, lambda: fired.append("tick"))
    harness.actor.after("once", 1.5, lambda: fired.append("once"))
    harness.advance(2.0)
    assert fired == ["tick", "once", "tick"]
    harness.clock.advance(60)  # the host slept: nothing was delivered meanwhile
    harness.advance(0.0)
    assert fired.count("tick") == 3
    harness.advance(1.0)
    assert fired.count("tick") == 4


def test_a_cancelled_or_replaced_timer_does_not_fire(harness: ActorHarness) -> None:
    harness.start()
    fired: list[str] = []
    harness.actor.after("a", 1.0, lambda: fired.append("old"))
    harness.actor.after("a", 2.0, lambda: fired.append("new"))
    harness.actor.after("b", 1.0, lambda: fired.append("b"))
    harness.actor.cancel_timer("b")
    harness.advance(3.0)
    assert fired == ["new"]


def test_the_beat_carries_the_largest_lag_since_the_last_one(harness: ActorHarness) -> None:
    harness.start()
    harness.advance(0.1)
    transport = harness.actor.transport
    transport.last_sent_boot_ns = harness.clock.boot_ns() - 800_000_000
    harness.deliver(Note("late"))
    transport.last_sent_boot_ns = harness.clock.boot_ns()
    harness.deliver(Note("fresh"))
    harness.background.clear()
    harness.advance(0.25)
    beats = [m for m in harness.background if isinstance(m, Heartbeat)]
    assert beats[0].lag_ms == pytest.approx(800)
    harness.background.clear()
    harness.advance(0.25)
    assert next(m for m in harness.background if isinstance(m, Heartbeat)).lag_ms == 0


def test_siblings_beat_at_the_same_moments_whenever_they_were_started(tmp_path: Path) -> None:
    moments = []
    for started_after_s in (0.0, 0.03, 0.17):
        harness = ActorHarness(Subject, settings=test_settings(tmp_path), peers=["watchdog"])
        harness.clock.advance(started_after_s)
        harness.start()
        harness.advance(2.0)
        sent = sorted({m.sent_boot_ns for m in harness.background if isinstance(m, Heartbeat)})
        moments.append({round(at / 1e6) % 250 for at in sent[2:]})
        assert all(0 < b - a <= 250_001_000 for a, b in pairwise(sent))
    assert moments[0] == moments[1] == moments[2]
    assert len(moments[0]) == 1


def test_the_beat_interval_is_the_configured_one(tmp_path: Path) -> None:
    harness = ActorHarness(
        Subject,
        name="risk",
        settings=test_settings(tmp_path, watchdog={"actors": {"risk": {"beat_s": 1.5}}}),
        peers=["watchdog"],
    )
    harness.start()
    harness.advance(6.0)
    beats = {m.sent_boot_ns: m.interval_s for m in harness.background if isinstance(m, Heartbeat)}
    assert set(beats.values()) == {1.5}
    *_, before, last = sorted(beats)
    assert last - before == pytest.approx(1.5e9, abs=2_000)


def test_stop_leaves_with_exit_code_0(harness: ActorHarness) -> None:
    harness.start()
    with pytest.raises(ActorLeftError) as left:
        harness.deliver(StopChild("test", 1.0))
    assert left.value.code == 0


def test_earlier_timers_leave_no_wakeups_behind(harness: ActorHarness) -> None:
    harness.start()
    for _ in range(200):  # each is due before whatever is armed, as an event's short timer is
        harness.actor.after("soon", 0.01, lambda: None)
        harness.advance(0.02)
    assert len(harness.wakeups) <= 3
