"""Every reason for a no that Coinbase documents is a refusal; one on no list is a refusal that stops entries."""

from __future__ import annotations

import json

import pytest

from actors.gateway import classify, reasons
from actors.gateway.classify import Answer
from actors.gateway.health import HealthLimits, VenueHealth
from actors.messages.health import BreakerName
from actors.messages.orders import OutcomeKind

CREATE = sorted(reasons.NEW_ORDER - {classify.DUPLICATE}) + [f"PREVIEW_{one}" for one in sorted(reasons.PREVIEW)]


def create(reason: str) -> classify.Verdict:
    error = {"error": "UNKNOWN_FAILURE_REASON", "new_order_failure_reason": reason}
    body = json.dumps({"success": False, "error_response": error}).encode()
    return classify.create(Answer(True, 200, body), "td-a-1-e-1", "BTC-USD", "BUY")


@pytest.mark.parametrize("reason", CREATE)
def test_every_listed_reason_refuses_a_new_order(reason: str) -> None:
    assert create(reason) == classify.Verdict(OutcomeKind.REFUSED, reason)
    assert reasons.is_listed(reason)


@pytest.mark.parametrize("reason", sorted(reasons.CANCEL))
def test_every_listed_reason_refuses_a_cancel(reason: str) -> None:
    body = json.dumps({"results": [{"success": False, "failure_reason": reason, "order_id": "o"}]}).encode()
    assert classify.cancel(Answer(True, 200, body), "o") == classify.Verdict(OutcomeKind.REFUSED, reason)
    assert reasons.is_listed(reason)


@pytest.mark.parametrize("reason", sorted(reasons.EDIT))
def test_every_listed_reason_refuses_an_edit(reason: str) -> None:
    body = json.dumps({"success": False, "errors": [{"edit_failure_reason": reason}]}).encode()
    assert classify.edit(Answer(True, 200, body), "o") == classify.Verdict(OutcomeKind.REFUSED, reason)
    assert reasons.is_listed(reason)


@pytest.mark.parametrize("nil", sorted(classify.NIL_REASONS))
def test_the_nil_values_of_the_venues_enums_are_no_reason(nil: str) -> None:
    assert create(nil).kind is OutcomeKind.UNKNOWN


def test_an_unlisted_reason_is_a_no_and_stops_entries_until_it_was_quiet() -> None:
    verdict = create("MOON_PHASE")
    assert verdict.kind is OutcomeKind.REFUSED
    assert not reasons.is_listed(verdict.reason)
    health = VenueHealth(HealthLimits(5, 1000.0, 60.0, 8, 120.0, 10.0))
    assert [one.breaker for one in health.note_unlisted(0, verdict.reason)] == [BreakerName.REJECTIONS]
    assert BreakerName.REJECTIONS not in [one.breaker for one in health.tick(119 * 10**9)]
    assert BreakerName.REJECTIONS in [one.breaker for one in health.tick(120 * 10**9)]


def test_a_refusal_by_status_is_no_reason_of_a_list() -> None:
    assert reasons.is_listed("HTTP_401: Unauthorized")
