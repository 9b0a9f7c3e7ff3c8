"""The comparison of ledger and venue."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field

from config.sections.base import Money, Section


class ReconcilerSettings(Section):
    """interval_s: between comparisons. grace_s: a difference younger than this waits for the next comparison.

    balance_tolerance: base or quote units times price, in quote currency, that rounding may explain.
    first_window_s: how far back the first comparison reads orders and fills; window_s: the later ones.
    rules_every: product rules and fee tier are compared every so many comparisons.
    """

    interval_s: float = Field(default=15.0, gt=0, le=600)
    grace_s: float = Field(default=5.0, ge=0, le=120)
    deadline_s: float = Field(default=12.0, gt=0, le=120)
    balance_tolerance: Money = Field(default=Decimal("0.01"), ge=0)
    first_window_s: float = Field(default=86_400.0, gt=0)
    window_s: float = Field(default=600.0, ge=60)
    rules_every: int = Field(default=20, ge=1)
