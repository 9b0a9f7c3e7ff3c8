"""What an answer proves: fuzzed, so that nothing but a well-formed answer of our own order proves anything."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.gateway import classify
from actors.gateway.classify import REFUSING_STATUSES, Answer
from actors.messages.orders import OutcomeKind

ID = "td-a-1-e-1"
GOOD = {
    "success": True,
    "success_response": {"order_id": "o1", "product_id": "BTC-USD", "side": "BUY", "client_order_id": ID},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


def create(body: object, *, status: int | None = 200, wrote: bool = True) -> classify.Verdict:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return classify.create(Answer(wrote, status, raw), ID, "BTC-USD", "BUY")


def refused(**error: str) -> dict[str, object]:
    return {"success": False, "error_response": error, "order_configuration": None}


def test_a_yes_that_names_our_order_is_done() -> None:
    assert create(GOOD) == classify.Verdict(OutcomeKind.DONE, "", "o1")
    assert (
        create({**GOOD, "order_configuration": None, "failure_reason": "UNKNOWN_FAILURE_REASON"}).kind
        is OutcomeKind.DONE
    )


@pytest.mark.parametrize(
    "change",
    [{"order_id": ""}, {"order_id": None}, {"product_id": "ETH-USD"}, {"side": "SELL"}, {"client_order_id": "x"}],
)
def test_a_yes_that_names_another_order_is_unknown(change: dict[str, object]) -> None:
    body = {"success": True, "success_response": {**GOOD["success_response"], **change}}  # type: ignore[dict-item]
    assert create(body).kind is OutcomeKind.UNKNOWN


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"error": "INSUFFICIENT_FUND", "new_order_failure_reason": "INVALID_PRODUCT_ID"}, "INVALID_PRODUCT_ID"),
        (
            {
                "error": "UNKNOWN_FAILURE_REASON",
                "new_order_failure_reason": "UNKNOWN_FAILURE_REASON",
                "preview_failure_reason": "PREVIEW_INVALID_PRICE_PRECISION",
            },
            "PREVIEW_INVALID_PRICE_PRECISION",
        ),
        ({"error": "INVALID_REQUEST", "preview_failure_reason": ""}, "INVALID_REQUEST"),
    ],
)
def test_the_reason_is_looked_for_in_all_three_fields(error: dict[str, str], reason: str) -> None:
    assert create(refused(**error)) == classify.Verdict(OutcomeKind.REFUSED, reason)


@pytest.mark.parametrize("field", ["error", "new_order_failure_reason", "preview_failure_reason"])
def test_a_duplicate_id_is_unknown_wherever_it_is_told(field: str) -> None:
    error = {"error": "INVALID_REQUEST", field: "PREVIEW_DUPLICATE_CLIENT_ORDER_ID"}
    assert create(refused(**error)).kind is OutcomeKind.UNKNOWN


@pytest.mark.parametrize(
    "body",
    [
        refused(error="UNKNOWN_FAILURE_REASON"),
        {"success": False, "error_response": None},
        {"success": "false", "error_response": {"error": "INVALID_REQUEST"}},
        {**refused(error="INVALID_REQUEST"), "order_id": "o1"},
        b"",
        b"<html>200</html>",
        b'{"success": tr',
        [],
    ],
)
def test_a_no_that_is_not_clear_is_unknown(body: object) -> None:
    assert create(body).kind is OutcomeKind.UNKNOWN


@given(status=st.integers(min_value=100, max_value=599).filter(lambda n: n != 200), body=st.binary(max_size=40))
def test_no_status_but_200_is_ever_done_and_only_listed_ones_refuse(status: int, body: bytes) -> None:
    kind = create(body, status=status).kind
    assert kind is (OutcomeKind.REFUSED if status in REFUSING_STATUSES else OutcomeKind.UNKNOWN)


@given(body=JSON)
def test_any_json_that_is_not_ours_is_unknown_or_refused_never_done(body: object) -> None:
    assert create(body).kind in (OutcomeKind.UNKNOWN, OutcomeKind.REFUSED)
    assert classify.cancel(Answer(True, 200, json.dumps(body).encode()), "o1").kind is OutcomeKind.UNKNOWN
    assert classify.edit(Answer(True, 200, json.dumps(body).encode()), "o1").kind is OutcomeKind.UNKNOWN


@given(body=st.binary(max_size=60), status=st.none() | st.integers(100, 599))
def test_what_was_not_written_was_not_sent_whatever_came_back(body: bytes, status: int | None) -> None:
    assert create(body, status=status, wrote=False).kind is OutcomeKind.NOT_SENT


def test_no_answer_after_the_first_byte_is_unknown() -> None:
    verdict = classify.create(Answer(True, None, b"", "ReadTimeout: 4 s"), ID, "BTC-USD", "BUY")
    assert verdict == classify.Verdict(OutcomeKind.UNKNOWN, "ReadTimeout: 4 s")


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([{"success": True, "order_id": "o1", "failure_reason": "UNKNOWN_CANCEL_FAILURE_REASON"}], OutcomeKind.DONE),
        ([{"success": False, "order_id": "o1", "failure_reason": "ORDER_IS_FULLY_FILLED"}], OutcomeKind.REFUSED),
        (
            [{"success": False, "order_id": "o1", "failure_reason": "UNKNOWN_CANCEL_FAILURE_REASON"}],
            OutcomeKind.UNKNOWN,
        ),
        ([{"success": True, "order_id": "o2"}], OutcomeKind.UNKNOWN),
        ([], OutcomeKind.UNKNOWN),
    ],
)
def test_a_cancel_is_judged_by_the_row_of_its_own_order(rows: list[dict[str, object]], kind: OutcomeKind) -> None:
    assert classify.cancel(Answer(True, 200, json.dumps({"results": rows}).encode()), "o1").kind is kind


def test_an_edit_that_is_refused_says_why() -> None:
    body = {"success": False, "errors": [{"edit_failure_reason": "ONLY_OPEN_ORDERS_CAN_BE_EDITED"}]}
    verdict = classify.edit(Answer(True, 200, json.dumps(body).encode()), "o1")
    assert verdict == classify.Verdict(OutcomeKind.REFUSED, "ONLY_OPEN_ORDERS_CAN_BE_EDITED")
