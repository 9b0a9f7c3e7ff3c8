"""Decimals, times and JSON values as the venue writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_DOWN, ROUND_UP, Decimal, InvalidOperation

Json = dict[str, object]

ZERO = Decimal(0)
ONE = Decimal(1)
NS_PER_S = 1_000_000_000
NO_END_TIME = "0001-01-01T00:00:00Z"


class BadNumberError(ValueError):
    """A text that should be a decimal number is none."""


def decimal_of(value: object) -> Decimal:
    """Read a decimal from its text; raises BadNumberError for anything but a finite number in a string."""
    if not isinstance(value, str):
        raise BadNumberError(f"expected a decimal in a string, got {value!r}")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise BadNumberError(f"not a decimal: {value!r}") from None
    if not number.is_finite():
        raise BadNumberError(f"not finite: {value!r}")
    return number


def text(number: Decimal) -> str:
    """Write a decimal without exponent and without trailing zeros."""
    if number == 0:
        return "0"
    return format(number.normalize(), "f")


def floor_to(number: Decimal, increment: Decimal) -> Decimal:
    """Round down onto the grid of `increment`."""
    return (number / increment).to_integral_value(ROUND_DOWN) * increment


def ceil_to(number: Decimal, increment: Decimal) -> Decimal:
    """Round up onto the grid of `increment`."""
    return (number / increment).to_integral_value(ROUND_UP) * increment


def on_grid(number: Decimal, increment: Decimal) -> bool:
    """Tell whether a number is a multiple of the increment."""
    return number % increment == 0


def rfc3339(time_ns: int) -> str:
    """Write a time with up to six decimals, trailing zeros cut, as REST and level2 events do."""
    return _fraction(time_ns, 6)


def rfc3339_nanos(time_ns: int) -> str:
    """Write a time with up to nine decimals, trailing zeros cut, as the websocket envelope does."""
    return _fraction(time_ns, 9)


def _fraction(time_ns: int, digits: int) -> str:
    seconds, nanos = divmod(time_ns, NS_PER_S)
    fraction = f"{nanos:09d}"[:digits].rstrip("0")
    stamp = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{fraction}Z" if fraction else f"{stamp}Z"


def go_time(time_ns: int, uptime_s: float) -> str:
    """Write a time as Go's `Time.String()` with its monotonic part, the heartbeat's `current_time`."""
    seconds, nanos = divmod(time_ns, NS_PER_S)
    stamp = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{stamp}.{nanos:09d} +0000 UTC m=+{uptime_s:.9f}"


def parse_rfc3339(value: str) -> int:
    """Read an RFC 3339 time into nanoseconds since the epoch; raises ValueError."""
    body, fraction = value, ""
    if "." in value:
        body, rest = value.split(".", 1)
        digits = len(rest) - len(rest.lstrip("0123456789"))
        fraction, body = rest[:digits], body + rest[digits:]
    moment = datetime.fromisoformat(body.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"time without a zone: {value!r}")
    return int(moment.timestamp()) * NS_PER_S + int((fraction + "000000000")[:9])
