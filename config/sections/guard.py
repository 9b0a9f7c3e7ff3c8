"""The per-symbol guards."""

from __future__ import annotations

from pydantic import Field

from config.sections.base import Money, Section


class GuardSettings(Section):
    """Limits of one symbol's guard.

    stale_s: quote age (judged with the heartbeats) above which the symbol is stale. max_spread_bps: above it no
    entries. band_bps: a price further from the live mid and from the recent median waits for confirmation.
    confirmations: distinct prints within confirm_s that make an out-of-band price real.
    volatility_window_s, max_volatility_bps: high-low range over the window that blocks entries.
    bar_interval_s: bars sent to the strategist. warm_up_s: gap-free time before entries.
    group_above: more symbols than this share guard processes (``group_size`` each).
    """

    stale_s: float = Field(default=2.0, gt=0, le=60)
    max_spread_bps: Money = Field(default=50, ge=0, le=10_000)  # type: ignore[assignment]
    band_bps: Money = Field(default=300, ge=1, le=10_000)  # type: ignore[assignment]
    confirmations: int = Field(default=3, ge=1, le=100)
    confirm_s: float = Field(default=2.0, gt=0, le=60)
    volatility_window_s: float = Field(default=60.0, gt=0, le=3600)
    max_volatility_bps: Money = Field(default=500, ge=1, le=10_000)  # type: ignore[assignment]
    bar_interval_s: int = Field(default=60, ge=1, le=86_400)
    warm_up_s: float = Field(default=2.0, ge=0, le=3600)
    group_above: int = Field(default=20, ge=1)
    group_size: int = Field(default=10, ge=1)
