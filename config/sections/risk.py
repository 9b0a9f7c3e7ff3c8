"""Capital and the limits of the one gate. Percentages are of ``capital.allotted``."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field, model_validator

from config.sections.base import Money, Section


class CapitalSettings(Section):
    """allotted: quote currency this daemon may work with; the base of every percentage. max_order: per order."""

    allotted: Money = Field(default=Decimal(1000), gt=0)
    max_order: Money = Field(default=Decimal(100), gt=0)


class RiskSettings(Section):
    """Every limit of the gate; actors/risk/codes.py says what each refusal means.

    Exposure (percent of the allotted capital, everything pending counted): max_position_pct per order product,
    max_asset_pct per base asset over all its products, max_total_pct, max_positions (count).
    Price: collar_bps either side of the mid; entry_reach_bps above the ask for an entry without a price of its
    own; min_depth_multiple of the size must stand on the side. min_net_edge_bps after round-trip fees and half
    the spread. protection_min_multiple: a stop must stay this many times above the venue's minimum.
    Locks: cooldown_symbol_s after each closed position, cooldown_streak_s after losing_streak losses in a row;
    daily_loss_pct, weekly_loss_pct, max_drawdown_pct on realized plus unrealized.
    Rates: max_orders_per_minute; repeat_limit approvals of one symbol and side within repeat_window_s.
    Ages, seconds: approval_life_s of an approval, quote_max_age_s, decision_max_age_s, mark_max_age_s (valuing
    positions), fee_max_age_s, rules_max_age_s, balance_max_age_s, snapshot_max_age_s, lease_max_age_s.
    Reads of the venue every fee_refresh_s and balance_refresh_s, of product rules when the watchdog has told none for
    rules_refresh_s.
    cash: quote currencies that count one to one; an instrument with another one is never entered.
    """

    max_position_pct: Money = Field(default=Decimal(20), gt=0, le=100)
    max_asset_pct: Money = Field(default=Decimal(25), gt=0, le=100)
    max_total_pct: Money = Field(default=Decimal(60), gt=0, le=100)
    max_positions: int = Field(default=5, ge=1, le=1000)
    collar_bps: Money = Field(default=Decimal(50), gt=0, le=1000)
    entry_reach_bps: Money = Field(default=Decimal(10), ge=0, le=1000)
    min_depth_multiple: Money = Field(default=Decimal(2), ge=0, le=1000)
    min_net_edge_bps: Money = Field(default=Decimal(0), ge=-1000, le=10_000)
    protection_min_multiple: Money = Field(default=Decimal("1.5"), ge=1, le=100)
    cooldown_symbol_s: float = Field(default=30.0, ge=0)
    losing_streak: int = Field(default=4, ge=1)
    cooldown_streak_s: float = Field(default=600.0, ge=0)
    daily_loss_pct: Money = Field(default=Decimal(5), gt=0, le=100)
    weekly_loss_pct: Money = Field(default=Decimal(10), gt=0, le=100)
    max_drawdown_pct: Money = Field(default=Decimal(15), gt=0, le=100)
    max_orders_per_minute: int = Field(default=12, ge=1, le=10_000)
    repeat_window_s: float = Field(default=300.0, gt=0)
    repeat_limit: int = Field(default=10, ge=1)
    approval_life_s: float = Field(default=2.0, gt=0, le=60)
    quote_max_age_s: float = Field(default=2.0, gt=0, le=60)
    decision_max_age_s: float = Field(default=2.0, gt=0, le=60)
    mark_max_age_s: float = Field(default=15.0, gt=0, le=600)
    fee_max_age_s: float = Field(default=3600.0, gt=0)
    fee_refresh_s: float = Field(default=600.0, gt=0)
    rules_max_age_s: float = Field(default=300.0, gt=0)
    rules_refresh_s: float = Field(default=60.0, gt=0)
    balance_max_age_s: float = Field(default=120.0, gt=0)
    balance_refresh_s: float = Field(default=10.0, gt=0)
    snapshot_max_age_s: float = Field(default=3.0, gt=0, le=60)
    lease_max_age_s: float = Field(default=2.0, gt=0, le=10)
    cash: tuple[str, ...] = Field(default=("USD", "USDC"), min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> RiskSettings:
        for what in ("fee", "rules", "balance"):
            if getattr(self, f"{what}_refresh_s") >= getattr(self, f"{what}_max_age_s"):
                raise ValueError(f"{what}_refresh_s must be shorter than {what}_max_age_s")
        if self.entry_reach_bps > self.collar_bps:
            raise ValueError("entry_reach_bps is larger than collar_bps")
        return self
