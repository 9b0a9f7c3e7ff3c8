"""Bring sizes and prices onto the venue's grid by exact Decimal quantisation.

Coinbase refuses what is off its grid, it never rounds (Coinbase docs). Sizes are only ever rounded down.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from actors.messages.market import ProductRules

BPS = Decimal(10_000)
TRIGGER_GIVE = Decimal("0.05")
"""A triggered bracket becomes a limit 5 % worse than its trigger (Coinbase docs)."""


def floor_to(value: Decimal, increment: Decimal) -> Decimal:
    """The largest multiple of ``increment`` that is not above ``value``; raises ValueError for increment <= 0."""
    return _quantise(value, increment, ROUND_FLOOR)


def ceil_to(value: Decimal, increment: Decimal) -> Decimal:
    """The smallest multiple of ``increment`` that is not below ``value``; raises ValueError for increment <= 0."""
    return _quantise(value, increment, ROUND_CEILING)


def _quantise(value: Decimal, increment: Decimal, rounding: str) -> Decimal:
    if increment <= 0:
        raise ValueError(f"an increment is positive, got {increment}")
    return (value / increment).to_integral_value(rounding=rounding) * increment


def size_for(notional: Decimal, price: Decimal, rules: ProductRules) -> Decimal:
    """Base units that ``notional`` buys at ``price``, rounded down to the grid."""
    return floor_to(notional / price, rules.base_increment)


def smallest_protected_size(stop: Decimal, taker_rate: Decimal, multiple: Decimal, rules: ProductRules) -> Decimal:
    """The smallest size whose sale at the stop, 5 % give and fee taken off, is ``multiple`` times the minimum.

    A position below it could be neither stopped nor sold once the price has fallen.
    """
    worst = stop * (1 - TRIGGER_GIVE) * (1 - taker_rate)
    by_value = rules.quote_min_size * multiple / worst
    return ceil_to(max(by_value, rules.base_min_size * multiple), rules.base_increment)


def above(price: Decimal, bps: Decimal) -> Decimal:
    """``price`` plus ``bps``."""
    return price * (1 + bps / BPS)


def below(price: Decimal, bps: Decimal) -> Decimal:
    """``price`` minus ``bps``."""
    return price * (1 - bps / BPS)


def net_edge_bps(
    entry: Decimal,
    target: Decimal | None,
    expected_edge_bps: Decimal | None,
    taker_rate: Decimal,
    half_spread: Decimal,
) -> Decimal | None:
    """What is left of the move from ``entry`` after taker fees on both legs and half the spread, in bps of the entry.

    With a target and an expectation the smaller gross move counts. None when neither is given.
    """
    moves = []
    if target is not None:
        moves.append(target - entry)
    if expected_edge_bps is not None:
        moves.append(entry * expected_edge_bps / BPS)
    if not moves:
        return None
    gross = min(moves)
    fees = taker_rate * (entry + entry + gross)
    return (gross - fees - half_spread) / entry * BPS
