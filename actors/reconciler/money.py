"""Does every change of a balance have its fill? Pure, and by the venue's own figures only.

A reading of balances and a reading of fills are two moments, so one that does not add up proves nothing: the
baseline moves on only with a reading that does, and a rest that two readings agree on is unexplained.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from actors.messages.trading import VenueBalance, VenueFill
from actors.reconciler.compare import Found
from actors.reconciler.kinds import DifferenceKind

OVERLAP_NS = 60 * 1_000_000_000
"""Every listing reaches back at least this far before the reading ahead of it."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Totals (available + hold) by currency at a moment when everything added up, and the fills in them."""

    totals: Mapping[str, Decimal]
    fills: frozenset[str]
    read_utc_ns: int
    rests: Mapping[str, Decimal] = field(default_factory=dict)
    """What the reading after it could not explain, by currency."""


@dataclass(frozen=True, slots=True)
class MoneyCheck:
    baseline: Baseline
    found: tuple[Found, ...]


def totals(balances: Iterable[VenueBalance], currencies: Iterable[str]) -> dict[str, Decimal]:
    """Totals of ``currencies``; a currency without an account row holds nothing yet (Coinbase docs)."""
    held = {balance.currency: balance.available + balance.hold for balance in balances}
    return {currency: held.get(currency, Decimal(0)) for currency in currencies}


def flows(fills: Iterable[VenueFill]) -> dict[str, Decimal]:
    """What fills did to each wallet: base and quote, commission in quote."""
    moved: dict[str, Decimal] = {}
    for fill in fills:
        base, _, quote = fill.product_id.partition("-")
        size = fill.size / fill.price if fill.size_in_quote and fill.price else fill.size
        value = fill.size if fill.size_in_quote else fill.size * fill.price
        sign = 1 if fill.side == "BUY" else -1
        if fill.trade_type == "REVERSAL":
            sign = -sign
        moved[base] = moved.get(base, Decimal(0)) + sign * size
        moved[quote] = moved.get(quote, Decimal(0)) - sign * value - fill.commission
    return moved


def check(
    baseline: Baseline | None,
    now: Mapping[str, Decimal],
    fills: Iterable[VenueFill],
    prices: Mapping[str, Decimal],
    read_utc_ns: int,
    tolerance: Decimal,
) -> MoneyCheck:
    """``prices``: quote currency per unit; of a currency without a price no change at all is tolerated."""
    listed = list(fills)
    seen = frozenset(fill.entry_id for fill in listed)
    fresh = Baseline(dict(now), seen, read_utc_ns)
    if baseline is None:
        return MoneyCheck(fresh, ())
    # Fills from before the baseline are in it, whether its listing reached back to them or not.
    oldest = baseline.read_utc_ns - OVERLAP_NS
    moved = flows(f for f in listed if f.entry_id not in baseline.fills and f.trade_utc_ns >= oldest)
    rests: dict[str, Decimal] = {}
    for currency, total in now.items():
        if currency not in baseline.totals:
            continue
        rest = total - baseline.totals[currency] - moved.get(currency, Decimal(0))
        if rest and (currency not in prices or abs(rest) * prices[currency] > tolerance):
            rests[currency] = rest
    if not rests:
        return MoneyCheck(fresh, ())
    agreed = {currency: rest for currency, rest in rests.items() if baseline.rests.get(currency) == rest}
    found = tuple(
        Found(DifferenceKind.BALANCE_CHANGE, currency, f"{now[currency] - rest} expected", f"{now[currency]} held")
        for currency, rest in agreed.items()
    )
    return MoneyCheck(Baseline(baseline.totals, baseline.fills, baseline.read_utc_ns, rests), found)


def to_json(baseline: Baseline) -> bytes:
    """The baseline as it is kept on disk; rests are not kept, the next process reads twice again."""
    held = {currency: str(total) for currency, total in baseline.totals.items()}
    body = {"totals": held, "fills": sorted(baseline.fills), "read_utc_ns": baseline.read_utc_ns}
    return json.dumps(body).encode()


def from_json(body: bytes) -> Baseline:
    """Raises ValueError for anything but what ``to_json`` wrote."""
    try:
        kept = json.loads(body)
        held = {str(currency): Decimal(total) for currency, total in kept["totals"].items()}
        return Baseline(held, frozenset(map(str, kept["fills"])), int(kept["read_utc_ns"]))
    except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"no baseline: {error!r}") from error
