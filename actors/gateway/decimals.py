"""Where the venue's text becomes a Decimal or a time, and back. Strict: anything else is an error."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal

from actors.clock import from_rfc3339

_NUMBER = re.compile(r"-?\d{1,30}(\.\d{1,30})?([eE][+-]?\d{1,2})?")
NO_TIME = "0001-01-01T00:00:00Z"


class MalformedAnswerError(ValueError):
    """The venue's answer lacks a field or holds a value that cannot be what it should; nothing is taken from it."""


def parse_json(body: bytes) -> object:
    """JSON with exact numbers (a number with a point becomes a Decimal); raises MalformedAnswerError."""
    try:
        return json.loads(body, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedAnswerError(f"not JSON: {error}") from error


def _no_constant(text: str) -> object:
    raise ValueError(f"{text} is no JSON number")


def table(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise MalformedAnswerError(f"{what}: expected an object, found {_kind(value)}")
    return value


def rows(source: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    """The list of objects under ``key``; null or missing is an error, an empty list is not."""
    value = source.get(key)
    if not isinstance(value, list):
        raise MalformedAnswerError(f"{key}: expected a list, found {_kind(value)}")
    return [table(item, f"{key}[{n}]") for n, item in enumerate(value)]


def text(source: Mapping[str, object], key: str) -> str:
    """A text that must be there and not empty."""
    value = source.get(key)
    if not isinstance(value, str) or not value:
        raise MalformedAnswerError(f"{key}: expected a text, found {_kind(value)}")
    return value


def optional_text(source: Mapping[str, object], key: str) -> str:
    """A text; missing or null reads as empty."""
    value = source.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedAnswerError(f"{key}: expected a text, found {_kind(value)}")
    return value


def flag(source: Mapping[str, object], key: str) -> bool:
    """A boolean that must be there."""
    value = source.get(key)
    if not isinstance(value, bool):
        raise MalformedAnswerError(f"{key}: expected true or false, found {_kind(value)}")
    return value


def number(source: Mapping[str, object], key: str) -> Decimal:
    """A decimal text that must be there (JSON integers pass, binary floats never arise: see parse_json)."""
    value = source.get(key)
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if not isinstance(value, str) or not _NUMBER.fullmatch(value) or not value.isascii():
        raise MalformedAnswerError(f"{key}: expected a decimal, found {_kind(value)}")
    return Decimal(value)


def positive(source: Mapping[str, object], key: str) -> Decimal:
    value = number(source, key)
    if value <= 0:
        raise MalformedAnswerError(f"{key}: expected a positive decimal, found {value}")
    return value


def not_negative(source: Mapping[str, object], key: str) -> Decimal:
    value = number(source, key)
    if value < 0:
        raise MalformedAnswerError(f"{key}: expected zero or more, found {value}")
    return value


def optional_number(source: Mapping[str, object], key: str) -> Decimal | None:
    """A decimal, or None when missing, null or empty."""
    if source.get(key) in (None, ""):
        return None
    return number(source, key)


def moment(source: Mapping[str, object], key: str) -> int:
    """An RFC 3339 time as nanoseconds since the epoch, UTC."""
    value = text(source, key)
    try:
        return from_rfc3339(value)
    except (ValueError, OverflowError) as error:
        raise MalformedAnswerError(f"{key}: expected a time, found {value!r}") from error


def optional_moment(source: Mapping[str, object], key: str) -> int | None:
    if source.get(key) in (None, "", NO_TIME):
        return None
    return moment(source, key)


def plain(value: Decimal) -> str:
    """``value`` as the venue wants it: no exponent, no trailing zeros; raises ValueError unless finite."""
    if not value.is_finite():
        raise ValueError(f"not a finite decimal: {value}")
    written = format(value, "f")
    if "." in written:
        written = written.rstrip("0").rstrip(".")
    return written


def _kind(value: object) -> str:
    return repr(value)[:60] if isinstance(value, str | int | bool | Decimal) else type(value).__name__
