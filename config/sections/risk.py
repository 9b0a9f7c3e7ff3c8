"""Capital and the limits of the one gate. Percentages are of ``capital.allotted``."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field

from config.sections.base import Money, Section


class CapitalSettings(Section):
    """allotted: quote currency this daemon may work with; the base of every percentage. max_order: per order."""

    allotted: Money = Field(default=Decimal(1000), gt=0)
    max_order: Money = Field(default=Decimal(100), gt=0)


class RiskSettings(Section):
    """Every limit of the gate; see docs in actors/risk/checks.py for each reason code."""

    max_position_pct: Money = Field(default=Decimal(20), gt=0, le=100)
    max_asset_pct: Money = Field(default=Decimal(25), gt=0, le=100)
    max_total_pct: Money = Field(default=Decimal(60), gt=0, le=100)
    max_positions: int = Field(default=5, ge=1, le=1000)
    collar_bps: Money = Field(default=Decimal(50), gt=0, le=1000)
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
    fee_max_age_s: float = Field(default=3600.0, gt=0)
    lease_max_age_s: float = Field(default=2.0, gt=0, le=10)
