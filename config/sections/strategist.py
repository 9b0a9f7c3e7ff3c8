"""The decision cycle and the strategy."""

from __future__ import annotations

from pydantic import Field

from config.sections.base import Section


class StrategistSettings(Section):
    """strategy: ``package.module:Class``. cycle_s: seconds between decisions, each +-``jitter`` of it.

    decide_timeout_s: a strategy that takes longer is killed, and started anew for the next cycle.
    start_timeout_s: for importing and making it. memory_mb: its address space. history_bars: newest bars per
    symbol in its view. max_proposals: per decision. params: given to the strategy.
    """

    strategy: str = Field(default="actors.strategist.demo:DemoStrategy", pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    cycle_s: float = Field(default=5.0, gt=0, le=86_400)
    jitter: float = Field(default=0.2, ge=0, le=0.5)
    decide_timeout_s: float = Field(default=1.0, gt=0, le=60)
    start_timeout_s: float = Field(default=10.0, gt=0, le=120)
    memory_mb: int = Field(default=1024, ge=64, le=65_536)
    history_bars: int = Field(default=120, ge=0, le=5000)
    max_proposals: int = Field(default=5, ge=1, le=100)
    params: dict[str, str | int | bool] = Field(default_factory=dict)
