"""The admin actor: commands are audited, forwarded, and answered with effect and proof."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from actors.admin.actor import PROOF_S, RELEASED_S, AdminActor
from actors.admin.door import Visit
from actors.messages.control import CancelProof, OperatorCommand, OperatorVerb, PositionProof, StateChanged
from actors.messages.health import Lease, TradingState
from tests.actors.harness import ActorHarness, test_settings


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ActorHarness:
    monkeypatch.setattr(
        "actors.admin.actor.Door", lambda path, receive: type("Closed", (), {"open": lambda self: None})()
    )
    settings = test_settings(tmp_path)
    return ActorHarness(AdminActor, settings=settings, peers=["watchdog", "tracker"], name="admin").start()


def visit(harness: ActorHarness, **request: object) -> Visit:
    guest = Visit(dict(request))
    harness.actor._receive_visit(guest)
    return guest


def answers(guest: Visit) -> list[dict[str, object]]:
    found = []
    while not guest._answers.empty():
        answer = guest._answers.get()
        if answer is not None:
            found.append(answer)
    return found


def accept(harness: ActorHarness, state: TradingState = TradingState.KILLED) -> OperatorCommand:
    command = harness.sent["watchdog"][-1]
    assert isinstance(command, OperatorCommand)
    harness.deliver(StateChanged(command.request_id, True, state, ("operator",)))
    return command


def audit(tmp_path: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in (tmp_path / "demo" / "audit.jsonl").read_bytes().splitlines()]


def test_a_command_without_a_reason_is_refused(harness: ActorHarness) -> None:
    assert answers(visit(harness, verb="halt", reason=" "))[0]["ok"] is False
    assert harness.sent["watchdog"] == []


def test_an_unknown_verb_is_answered_with_the_known_ones(harness: ActorHarness) -> None:
    assert "status" in str(answers(visit(harness, verb="explode"))[0]["error"])


@pytest.mark.parametrize("verb", ["halt", "reduce"])
@pytest.mark.parametrize("proof_first", [True, False])
def test_halt_and_reduce_are_done_when_persisted_and_proven_and_are_audited(
    harness: ActorHarness, tmp_path: Path, verb: str, proof_first: bool
) -> None:
    guest = visit(harness, verb=verb, reason="drill", operator="anna")
    (command,) = harness.take("tracker", OperatorCommand)
    assert harness.sent["watchdog"] == [command], "both are told at once"
    proof = CancelProof(command.request_id, True, 2, 0, (), ())  # type: ignore[attr-defined]
    if proof_first:
        harness.deliver(proof)
    accept(harness, TradingState.HALTED)
    if not proof_first:
        assert [one["event"] for one in answers(guest)] == ["state"], "the state does not wait for the proof"
        harness.deliver(proof)
    answer = answers(guest)[-1]
    assert (answer["ok"], answer["state"], answer["cancelled"]) == (True, "HALTED", 2)
    assert [(entry["what"], entry["operator"]) for entry in audit(tmp_path)] == [("asked", "anna"), ("done", "anna")]


def test_a_watchdog_that_was_away_is_told_until_it_answers(harness: ActorHarness) -> None:
    harness.remove_peer("watchdog")
    guest = visit(harness, verb="halt", reason="drill")
    (command,) = harness.take("tracker", OperatorCommand)
    harness.deliver(CancelProof(command.request_id, True, 0, 0, (), ()))  # type: ignore[attr-defined]
    assert answers(guest) == [], "what is not persisted is not done"
    harness.restart_peer("watchdog")
    harness.advance(1.1)
    assert harness.take("watchdog", OperatorCommand) == [command]
    harness.deliver(StateChanged(command.request_id, True, TradingState.HALTED, ()))  # type: ignore[attr-defined]
    assert answers(guest)[-1]["ok"] is True


def test_a_halt_that_nobody_persisted_is_not_done(harness: ActorHarness) -> None:
    harness.remove_peer("watchdog")
    guest = visit(harness, verb="halt", reason="drill")
    (command,) = harness.take("tracker", OperatorCommand)
    harness.deliver(CancelProof(command.request_id, True, 0, 0, (), ()))  # type: ignore[attr-defined]
    harness.advance(PROOF_S + 1)
    last = answers(guest)[-1]
    assert last["ok"] is False
    assert "watchdog" in str(last["error"])


def test_a_refusal_of_the_watchdog_is_passed_on(harness: ActorHarness) -> None:
    guest = visit(harness, verb="resume", reason="drill")
    command = harness.sent["watchdog"][-1]
    harness.deliver(StateChanged(command.request_id, False, TradingState.KILLED, (), "latched: release first"))
    (answer,) = answers(guest)
    assert answer["ok"] is False
    assert answer["error"] == "latched: release first"


def test_a_kill_ends_only_with_proof_and_names_every_position(harness: ActorHarness) -> None:
    guest = visit(harness, verb="kill", reason="drill", flatten=True)
    command = accept(harness)
    assert command.verb is OperatorVerb.KILL
    assert harness.take("tracker", OperatorCommand) == [command]
    harness.deliver(CancelProof(command.request_id, False, 3, 2, ("td-a-1-e-4",), ()))
    position = PositionProof("BTC-USD", "0.5", "PROTECTED", "60000", "0.5")
    harness.deliver(CancelProof(command.request_id, True, 5, 0, (), (position,)))
    said = answers(guest)
    assert [answer["event"] for answer in said] == ["state", "progress", "done"]
    assert said[-1]["positions"][0]["protection"] == "PROTECTED"


def test_a_kill_goes_on_when_the_watchdog_is_dead(harness: ActorHarness) -> None:
    harness.remove_peer("watchdog")
    guest = visit(harness, verb="kill", reason="drill")
    (command,) = harness.take("tracker", OperatorCommand)
    harness.deliver(CancelProof(command.request_id, True, 0, 0, (), ()))
    assert answers(guest)[-1]["ok"] is True


def test_a_kill_is_repeated_to_a_tracker_that_restarts_until_it_answers(harness: ActorHarness) -> None:
    visit(harness, verb="kill", reason="drill")
    accept(harness)
    harness.remove_peer("tracker")
    harness.advance(2.0)
    harness.take("tracker")
    harness.restart_peer("tracker")
    harness.advance(1.1)
    assert harness.take("tracker", OperatorCommand)


def test_without_proof_the_operator_hears_that_it_is_not_proven(harness: ActorHarness) -> None:
    guest = visit(harness, verb="kill", reason="drill")
    command = accept(harness)
    harness.deliver(CancelProof(command.request_id, False, 1, 4, ("a", "b"), ()))
    harness.advance(PROOF_S + 1)
    last = answers(guest)[-1]
    assert last["ok"] is False
    assert last["unproven"] == 4


def test_a_stale_lease_is_shown_as_halted_and_not_healthy(harness: ActorHarness) -> None:
    lease = Lease(1, 1, 1, harness.clock.boot_ns(), TradingState.RUN, (), ())
    harness.deliver(lease)
    fresh = answers(visit(harness, verb="status"))[0]["status"]
    harness.advance(3.0)
    stale = answers(visit(harness, verb="status"))[0]["status"]
    assert fresh["trading_state"] == "RUN"
    assert stale["trading_state"] == "HALTED"
    assert stale["healthy"] is False


def test_a_full_disk_refuses_what_permits_and_nothing_that_reduces_risk(
    harness: ActorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: object, _utc_ns: int, _entry: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("actors.admin.audit.Audit.write", full)
    for verb in ("resume", "release"):
        assert answers(visit(harness, verb=verb, reason="drill"))[0]["ok"] is False
    assert harness.sent["watchdog"] == []
    for verb in ("halt", "reduce", "kill"):
        visit(harness, verb=verb, reason="drill")
    told = [str(command.verb) for command in harness.sent["watchdog"] if isinstance(command, OperatorCommand)]
    assert told == ["halt", "reduce", "kill"]


def test_a_release_says_what_it_left_unsold(harness: ActorHarness) -> None:
    guest = visit(harness, verb="release", reason="drill")
    assert harness.sent["tracker"] == [], "the tracker hears of it when it is kept"
    command = accept(harness, TradingState.HALTED)
    assert harness.take("tracker", OperatorCommand) == [command]
    harness.deliver(CancelProof(command.request_id, False, 0, 1, (), (), "a sale is under way: BTC-USD"))
    harness.advance(1.1)
    assert harness.take("tracker", OperatorCommand) == [command], "asked until its last sale is over"
    position = PositionProof("BTC-USD", "0.5", "PROTECTED", "60000", "0.5")
    harness.deliver(CancelProof(command.request_id, True, 0, 0, (), (position,), "left unsold: 0.5 BTC-USD"))
    answer = answers(guest)[-1]
    assert (answer["ok"], answer["state"], answer["text"]) == (True, "HALTED", "left unsold: 0.5 BTC-USD")
    assert answer["positions"][0]["protection"] == "PROTECTED"  # type: ignore[index]


def test_a_release_holds_without_the_tracker_and_says_so(harness: ActorHarness) -> None:
    harness.remove_peer("tracker")
    guest = visit(harness, verb="release", reason="drill")
    accept(harness, TradingState.HALTED)
    harness.advance(RELEASED_S + 1)
    (answer,) = answers(guest)
    assert answer["ok"] is True
    assert "ends when it is back" in str(answer["text"])


def test_a_kill_whose_flatten_was_ended_by_a_release_is_not_done(harness: ActorHarness) -> None:
    guest = visit(harness, verb="kill", reason="drill", flatten=True)
    command = accept(harness)
    ended = CancelProof(command.request_id, False, 1, 1, (), (), "1 unproven", ended="left unsold: 0.5 BTC-USD")
    harness.deliver(ended)
    answer = answers(guest)[-1]
    assert (answer["ok"], answer["error"]) == (False, "left unsold: 0.5 BTC-USD")
