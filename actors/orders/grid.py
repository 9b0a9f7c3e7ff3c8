"""Prices and sizes on the venue's grid. Coinbase refuses off-grid values, it never rounds."""

from __future__ import annotations

from decimal import ROUND_DOWN, ROUND_UP, Decimal

from actors.messages.market import ProductRules

BPS = Decimal(10_000)


def floor_price(price: Decimal, rules: ProductRules) -> Decimal:
    return (price / rules.price_increment).to_integral_value(ROUND_DOWN) * rules.price_increment


def ceil_price(price: Decimal, rules: ProductRules) -> Decimal:
    return (price / rules.price_increment).to_integral_value(ROUND_UP) * rules.price_increment


def floor_size(size: Decimal, rules: ProductRules) -> Decimal:
    """On the grid and not above the largest order."""
    capped = min(size, rules.base_max_size)
    return (capped / rules.base_increment).to_integral_value(ROUND_DOWN) * rules.base_increment


def orderable(size: Decimal, price: Decimal, rules: ProductRules) -> bool:
    """The venue takes an order of ``size`` (on the grid) at ``price``."""
    return size > 0 and size >= rules.base_min_size and size * price >= rules.quote_min_size


def below(price: Decimal, bps: Decimal) -> Decimal:
    return price * (1 - bps / BPS)


def takes_exits(rules: ProductRules) -> bool:
    """The product's mode lets an immediate-or-cancel sell meet the book."""
    closed = rules.trading_disabled or rules.cancel_only or rules.is_disabled or rules.view_only
    return not (closed or rules.auction_mode or rules.post_only)
