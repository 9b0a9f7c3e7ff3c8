"""The market data feed."""

from __future__ import annotations

from pydantic import Field

from config.sections.base import Section


class FeedSettings(Section):
    """depth_levels: best levels per side sent to guards. silence_s: without any frame, heartbeats included.

    max_frame_bytes: above the largest snapshot (5.08 MB measured for BTC-USD). conflate_ms: at most one update
    per symbol in this time. backoff_*: full-jitter exponential wait between connection attempts.
    """

    depth_levels: int = Field(default=20, ge=1, le=200)
    silence_s: float = Field(default=4.0, gt=1, le=60)
    snapshot_timeout_s: float = Field(default=10.0, gt=0, le=120)
    max_frame_bytes: int = Field(default=64 * 1024 * 1024, ge=6 * 1024 * 1024)
    conflate_ms: float = Field(default=20.0, ge=0, le=1000)
    backoff_first_s: float = Field(default=0.25, gt=0, le=60)
    backoff_max_s: float = Field(default=20.0, gt=0, le=600)
    connect_timeout_s: float = Field(default=8.0, gt=0, le=60)
