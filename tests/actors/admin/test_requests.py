"""An operator's request reaches its part, is repeated until answered, audited, and refused when it must be."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.admin.actor import AdminActor
from actors.admin.requests import RequestError, read_request, terms_of
from actors.messages.control import OperatorAnswer, OperatorRequest, RequestVerb
from actors.risk.actor import RiskActor
from tests.actors.admin.test_admin import answers, audit, visit
from tests.actors.harness import ActorHarness, test_settings


@pytest.fixture
def harness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ActorHarness:
    monkeypatch.setattr(
        "actors.admin.actor.Door", lambda path, receive: type("Closed", (), {"open": lambda self: None})()
    )
    settings = test_settings(tmp_path)
    return ActorHarness(AdminActor, settings=settings, peers=["tracker", "reconciler"], name="admin").start()


def asked(harness: ActorHarness, part: str = "tracker") -> list[OperatorRequest]:
    return [one for one in harness.take(part, OperatorRequest) if isinstance(one, OperatorRequest)]


def resolve(harness: ActorHarness, **changes: object) -> OperatorRequest:
    words: dict[str, object] = {"verb": "resolve", "target": "td-a-1-e-4", "reason": "support said so"}
    visit(harness, **(words | {"arguments": {"as": "absent"}, "operator": "anna"} | changes))
    (request,) = asked(harness)
    return request


def test_a_request_goes_to_its_part_with_all_that_was_said(harness: ActorHarness) -> None:
    request = resolve(harness)
    assert (request.verb, request.target, request.reason) == (RequestVerb.RESOLVE, "td-a-1-e-4", "support said so")
    assert (request.argument("as"), request.argument("price"), request.operator) == ("absent", "", "anna")


def test_it_is_repeated_under_one_id_until_the_final_answer(harness: ActorHarness) -> None:
    guest = visit(harness, verb="flatten", target="BTC-USD")
    harness.advance(2.5)
    sent = asked(harness)
    assert len(sent) == 3
    assert len({one.request_id for one in sent}) == 1
    harness.deliver(OperatorAnswer(sent[0].request_id, done=False, ok=False, text="cancelling"))
    harness.deliver(OperatorAnswer(sent[0].request_id, done=False, ok=False, text="cancelling"))
    harness.deliver(OperatorAnswer(sent[0].request_id, done=True, ok=True, text="sold", details=(("sold", "0.5"),)))
    harness.advance(5.0)
    assert asked(harness) == []
    said = answers(guest)
    assert [(one["event"], one["text"]) for one in said] == [("progress", "cancelling"), ("done", "sold")]
    assert said[-1]["ok"] is True
    assert said[-1]["details"] == {"sold": "0.5"}


def test_a_part_that_is_away_is_asked_when_it_is_back(harness: ActorHarness) -> None:
    harness.remove_peer("tracker")
    guest = visit(harness, verb="protect", target="BTC-USD")
    harness.advance(3.0)
    assert [one["event"] for one in answers(guest)] == ["warning"]
    harness.restart_peer("tracker")
    harness.advance(1.1)
    assert len(asked(harness)) == 1


def test_asked_and_done_are_in_the_audit_file(harness: ActorHarness, tmp_path: Path) -> None:
    request = resolve(harness)
    harness.deliver(OperatorAnswer(request.request_id, done=True, ok=False, text="it is OPEN, not UNKNOWN"))
    entries = audit(tmp_path)
    assert [(one["verb"], one["what"], one["operator"]) for one in entries] == [
        ("resolve", "asked", "anna"),
        ("resolve", "failed", "anna"),
    ]
    assert entries[0]["arguments"] == {"as": "absent"}
    assert entries[1]["answer"]["error"] == "it is OPEN, not UNKNOWN"  # type: ignore[index]


def test_after_the_deadline_the_operator_hears_it_and_the_late_end_is_still_audited(
    harness: ActorHarness, tmp_path: Path
) -> None:
    guest = visit(harness, verb="flatten", target="BTC-USD", operator="anna")
    request = asked(harness)[0]
    harness.deliver(OperatorAnswer(request.request_id, done=False, ok=False, text="1 cancel is not proven"))
    harness.advance(terms_of(RequestVerb.FLATTEN).deadline_s + 1)
    last = answers(guest)[-1]
    assert last["ok"] is False
    assert "1 cancel is not proven" in str(last["error"])
    for _ in range(2):
        harness.deliver(OperatorAnswer(request.request_id, done=True, ok=True, text="sold"))
    assert [one["what"] for one in audit(tmp_path)] == ["asked", "failed", "done_late"]


def test_what_permits_risk_is_refused_without_an_audit_and_what_reduces_it_is_not(
    harness: ActorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: object, _utc_ns: int, _entry: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("actors.admin.audit.Audit.write", full)
    for verb in RequestVerb:
        words = {"verb": verb.value, "target": "BTC-USD", "reason": "drill"}
        arguments = {"as": "absent"} if verb is RequestVerb.RESOLVE else {}
        refused = [one for one in answers(visit(harness, **words, arguments=arguments)) if one["event"] == "done"]
        assert bool(refused) is terms_of(verb).permits
        assert bool(asked(harness, terms_of(verb).part)) is not terms_of(verb).permits


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ({"verb": "resolve", "reason": "x"}, "order"),
        ({"verb": "resolve", "target": "td-a-1-e-1"}, "reason"),
        ({"verb": "flatten"}, "symbol"),
        ({"verb": "flatten", "target": "BTC-USD", "arguments": {"all": "yes"}}, "all"),
        ({"verb": "flatten", "target": "BTC-USD", "arguments": "all"}, "object"),
        ({"verb": "flows_accept"}, "reason"),
        ({"verb": "protect", "target": "B" * 3_000}, "characters"),
    ],
)
def test_what_is_not_whole_is_refused_with_what_is_missing(words: dict[str, object], complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        read_request(words, "op-1-1-1")


def test_a_malformed_request_is_neither_sent_nor_left_waiting(harness: ActorHarness) -> None:
    (answer,) = answers(visit(harness, verb="flatten"))
    assert answer["ok"] is False
    assert asked(harness) == []


def test_a_part_that_does_not_know_a_verb_says_so(tmp_path: Path) -> None:
    risk = ActorHarness(RiskActor, settings=test_settings(tmp_path), peers=["admin"], name="risk").start()
    risk.deliver(OperatorRequest("op-1-1-1", RequestVerb.RECONCILE, "", (), "", "anna"))
    (answer,) = risk.take("admin", OperatorAnswer)
    assert isinstance(answer, OperatorAnswer)
    assert (answer.done, answer.ok, answer.text) == (True, False, "reconcile is not known to risk")
