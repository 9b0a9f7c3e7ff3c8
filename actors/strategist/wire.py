"""What travels between the strategist and the strategy's process: length-prefixed frames.

Views go down pickled (we trust ourselves). Answers come up as JSON and are believed only after strict parsing:
nothing the strategy's process writes is ever unpickled.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

import orjson

from actors.messages.market import Side
from actors.strategist.api import Idea

HEADER = struct.Struct("!I")
MAX_ANSWER = 256 * 1024
"""Bytes of one answer; more is garbage."""
MAX_TEXT = 200
_DECIMALS = ("notional", "base_size", "limit", "stop", "target", "expected_edge_bps")
_KEYS = frozenset({"symbol", "side", "reason", "max_hold_s", *_DECIMALS})


class AnswerError(ValueError):
    """The answer is not what a strategy may say."""


def frame(payload: bytes) -> bytes:
    """``payload`` with its length in front."""
    return HEADER.pack(len(payload)) + payload


def ideas_to_json(ideas: Sequence[Idea]) -> bytes:
    """Write ideas; raises AnswerError for anything that is not one, or holds a float as money."""
    if isinstance(ideas, str | bytes) or not isinstance(ideas, Sequence):
        raise AnswerError(f"decide() returned {type(ideas).__name__}, expected a list of Idea")
    rows = []
    for idea in ideas:
        if not isinstance(idea, Idea):
            raise AnswerError(f"decide() returned a {type(idea).__name__} among its ideas")
        row: dict[str, object] = {"symbol": idea.symbol, "side": Side(idea.side).value, "reason": str(idea.reason)}
        row["max_hold_s"] = idea.max_hold_s
        for name in _DECIMALS:
            value = getattr(idea, name)
            if value is not None and not isinstance(value, Decimal):
                raise AnswerError(f"{name} is a {type(value).__name__}, write it as Decimal")
            row[name] = None if value is None else str(value)
        rows.append(row)
    return orjson.dumps({"ideas": rows})


def ideas_from_json(rows: object) -> tuple[Idea, ...]:
    """Read ideas; raises AnswerError for anything but exactly what ``ideas_to_json`` writes."""
    if not isinstance(rows, list):
        raise AnswerError("ideas are no list")
    return tuple(_idea(row) for row in rows)


def _idea(row: object) -> Idea:
    if not isinstance(row, dict) or set(row) != _KEYS:
        raise AnswerError("an idea has other fields than it should")
    try:
        side = Side(row["side"])
    except ValueError:
        raise AnswerError(f"side is {row['side']!r}") from None
    hold = row["max_hold_s"]
    if hold is not None and (isinstance(hold, bool) or not isinstance(hold, int | float)):
        raise AnswerError(f"max_hold_s is {hold!r}")
    money = {name: _decimal(name, row[name]) for name in _DECIMALS}
    return Idea(
        symbol=_text("symbol", row["symbol"]),
        side=side,
        reason=_text("reason", row["reason"]),
        max_hold_s=None if hold is None else float(hold),
        **money,
    )


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise AnswerError(f"{name} is no text")
    return value[:MAX_TEXT]


def _decimal(name: str, value: object) -> Decimal | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise AnswerError(f"{name} is no decimal text")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise AnswerError(f"{name} is {value!r}") from None
    if not number.is_finite():
        raise AnswerError(f"{name} is {value!r}")
    return number
