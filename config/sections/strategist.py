"""The decision cycle and the strategy."""

from __future__ import annotations

from pydantic import Field

from config.sections.base import Section


class StrategistSettings(Section):
    """strategy: ``package.module:Class``. cycle_s: seconds between decisions, +-20 % jitter.

    decide_timeout_s: a strategy that takes longer is stopped for this cycle. params: given to the strategy.
    """

    strategy: str = "actors.strategist.demo:DemoStrategy"
    cycle_s: float = Field(default=5.0, gt=0, le=86_400)
    jitter: float = Field(default=0.2, ge=0, le=0.5)
    decide_timeout_s: float = Field(default=1.0, gt=0, le=60)
    max_proposals: int = Field(default=5, ge=1, le=100)
    params: dict[str, str | int | bool] = Field(default_factory=dict)
