"""Which part an operator's request goes to, on which terms, and what a well-formed one looks like. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from actors.messages.control import OperatorRequest, RequestVerb

MAX_TEXT = 2_000
"""Characters of any one field; more is not something an operator types."""


class RequestError(ValueError):
    """The request cannot be passed on; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How one verb is carried.

    ``deadline_s``: how long the operator waits for the end; the part goes on after it. ``permits``: it may allow
    new risk, so it is refused when it cannot be audited. ``target``: what has to be named, empty for nothing.
    """

    part: str
    deadline_s: float
    permits: bool = False
    target: str = ""
    needs_reason: bool = False
    arguments: tuple[str, ...] = ()


def terms_of(verb: RequestVerb) -> Terms:
    """The terms of ``verb``."""
    match verb:
        case RequestVerb.RESOLVE:
            arguments = ("as", "size", "price", "fee")
            return Terms("tracker", 15.0, permits=True, target="order", needs_reason=True, arguments=arguments)
        case RequestVerb.PROTECT:
            return Terms("tracker", 30.0, target="symbol")
        case RequestVerb.FLATTEN:
            return Terms("tracker", 60.0, target="symbol")
        case RequestVerb.RECONCILE:
            return Terms("reconciler", 60.0)
        case RequestVerb.FLOWS_ACCEPT:
            return Terms("reconciler", 30.0, permits=True, needs_reason=True, arguments=("flows",))
        case RequestVerb.BASELINE_ACCEPT:
            return Terms("reconciler", 60.0, permits=True, needs_reason=True)


def read_request(said: Mapping[str, object], request_id: str) -> OperatorRequest:
    """The request in a visitor's words; raises RequestError. The verb is one of RequestVerb."""
    verb = RequestVerb(str(said["verb"]))
    terms = terms_of(verb)
    target, reason = _text(said, "target"), _text(said, "reason")
    if terms.target and not target:
        raise RequestError(f"{verb} needs the {terms.target}")
    if terms.needs_reason and not reason:
        raise RequestError(f"{verb} needs a reason")
    given = said.get("arguments") or {}
    if not isinstance(given, Mapping):
        raise RequestError("arguments are an object of texts")
    unknown = sorted(set(given) - set(terms.arguments))
    if unknown:
        raise RequestError(f"{verb} does not know {', '.join(unknown)}")
    arguments = tuple((name, _text(given, name)) for name in terms.arguments if _text(given, name))
    return OperatorRequest(request_id, verb, target, arguments, reason, _text(said, "operator") or "unknown")


def _text(said: Mapping[str, object], name: str) -> str:
    value = said.get(name)
    text = "" if value is None else str(value).strip()
    if len(text) > MAX_TEXT:
        raise RequestError(f"{name} has {len(text)} characters, at most {MAX_TEXT} are taken")
    return text
