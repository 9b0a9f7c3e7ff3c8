"""What one exchange of bytes with the venue proves about an order: DONE, REFUSED, NOT_SENT or UNKNOWN. Pure.

Judged from the raw answer, not from what the SDK makes of it: its types raise on answers that are valid (null
where they expect an object), and an order whose create raised may exist. Only a complete, well-formed answer
that names our own order proves anything; the rest is UNKNOWN once the first byte may have gone out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from actors.gateway.decimals import MalformedAnswerError, parse_json, rows, table
from actors.messages.orders import OutcomeKind

NIL_REASONS = frozenset(
    {"", "UNKNOWN_FAILURE_REASON", "UNKNOWN_CANCEL_FAILURE_REASON", "UNKNOWN_EDIT_ORDER_FAILURE_REASON"}
)
DUPLICATE = "DUPLICATE_CLIENT_ORDER_ID"
# Refused by the gateway in front of the matching engine before the request was looked into. Not in the list:
# 408, 409, 425 and 499, which can follow a request that was taken.
REFUSING_STATUSES = frozenset({400, 401, 403, 404, 405, 406, 411, 413, 414, 415, 422, 426, 428, 429, 431, 451})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. ``status`` None: no complete answer. ``wrote``: the first byte may have gone out."""

    wrote: bool
    status: int | None
    body: bytes
    error: str = ""
    """Why there is no complete answer, or why the request was held back."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the answer proves, and why. ``order_id`` only with DONE."""

    kind: OutcomeKind
    reason: str
    order_id: str | None = None


def create(answer: Answer, client_order_id: str, product_id: str, side: str) -> Verdict:
    """The outcome of an order create."""

    def read(body: Mapping[str, object]) -> Verdict:
        return _read_create(body, client_order_id, product_id, side)

    return _judge(answer, read)


def cancel(answer: Answer, order_id: str) -> Verdict:
    """The outcome of a batch cancel of one order. DONE: the request was taken, no more."""

    def read(body: Mapping[str, object]) -> Verdict:
        mine = [row for row in rows(body, "results") if row.get("order_id") == order_id]
        if len(mine) != 1:
            return Verdict(OutcomeKind.UNKNOWN, f"the answer names this order {len(mine)} times")
        if mine[0].get("success") is True:
            return Verdict(OutcomeKind.DONE, "", order_id)
        if mine[0].get("success") is False:
            reason = _first_reason(mine[0], "failure_reason")
            return Verdict(OutcomeKind.REFUSED, reason) if reason else Verdict(OutcomeKind.UNKNOWN, "no reason given")
        return Verdict(OutcomeKind.UNKNOWN, "success is neither true nor false")

    return _judge(answer, read)


def edit(answer: Answer, order_id: str) -> Verdict:
    """The outcome of an edit in place."""

    def read(body: Mapping[str, object]) -> Verdict:
        if body.get("success") is True and not body.get("errors"):
            return Verdict(OutcomeKind.DONE, "", order_id)
        if body.get("success") is not False:
            return Verdict(OutcomeKind.UNKNOWN, "success is neither true nor false, or true with errors")
        for row in rows(body, "errors"):
            reason = _first_reason(row, "edit_failure_reason", "preview_failure_reason")
            if reason:
                return Verdict(OutcomeKind.REFUSED, reason)
        return Verdict(OutcomeKind.UNKNOWN, "no reason given")

    return _judge(answer, read)


def _judge(answer: Answer, read: Callable[[Mapping[str, object]], Verdict]) -> Verdict:
    if not answer.wrote:
        return Verdict(OutcomeKind.NOT_SENT, answer.error or "not sent")
    if answer.status is None:
        return Verdict(OutcomeKind.UNKNOWN, answer.error or "no answer")
    if answer.status in REFUSING_STATUSES:
        return Verdict(OutcomeKind.REFUSED, f"HTTP_{answer.status}: {refusal_text(answer.body)}".rstrip(": "))
    if answer.status != 200:
        return Verdict(OutcomeKind.UNKNOWN, f"HTTP_{answer.status}")
    try:
        return read(table(parse_json(answer.body), "answer"))
    except MalformedAnswerError as error:
        return Verdict(OutcomeKind.UNKNOWN, f"malformed answer: {error}")


def _read_create(body: Mapping[str, object], client_order_id: str, product_id: str, side: str) -> Verdict:
    success = body.get("success")
    if success is True:
        done = table(body.get("success_response"), "success_response")
        # The venue returns the first order for a client id that it knows: compare what came back with what was asked.
        told = (done.get("client_order_id"), done.get("product_id"), done.get("side"))
        order_id = done.get("order_id")
        if told != (client_order_id, product_id, side) or not isinstance(order_id, str) or not order_id:
            return Verdict(OutcomeKind.UNKNOWN, f"the answer names another order: {told}"[:200])
        return Verdict(OutcomeKind.DONE, "", order_id)
    if success is not False:
        return Verdict(OutcomeKind.UNKNOWN, "success is neither true nor false")
    if body.get("order_id") or body.get("success_response"):
        return Verdict(OutcomeKind.UNKNOWN, "a refusal that names an order")
    error = table(body.get("error_response"), "error_response")
    fields = ("new_order_failure_reason", "preview_failure_reason", "error")
    told_reasons = [error.get(field) for field in fields] + [body.get("failure_reason")]
    if any(isinstance(told, str) and DUPLICATE in told for told in told_reasons):
        return Verdict(OutcomeKind.UNKNOWN, DUPLICATE)
    reason = _first_reason(error, *fields) or _first_reason(body, "failure_reason")
    if not reason:
        return Verdict(OutcomeKind.UNKNOWN, "refused without a reason")
    return Verdict(OutcomeKind.REFUSED, reason)


def _first_reason(source: Mapping[str, object], *fields: str) -> str:
    """The first field that names a reason; the nil values of the venue's enums name none."""
    for field in fields:
        told = source.get(field)
        if isinstance(told, str) and told not in NIL_REASONS:
            return told
    return ""


def refusal_text(body: bytes) -> str:
    """The venue's own words in an error answer, shortened; empty when it is no JSON object."""
    try:
        told = table(parse_json(body), "answer")
    except MalformedAnswerError:
        return ""
    words = [told.get(key) for key in ("error", "message", "error_details")]
    return " ".join(dict.fromkeys(word for word in words if isinstance(word, str) and word))[:200]
