"""The one door to the exchange."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field, model_validator

from config.sections.base import Money, Section


class GatewaySettings(Section):
    """Deadlines in seconds; the request budget per second (private) and per hour is one for the account.

    clock_warn_ms, clock_trip_ms: offset to the exchange beyond the round trip's own error. idle_max_s: a kept
    connection idle for longer is replaced before a request (a server that closes it in that moment would make
    the outcome unknown). workers, readers: threads for orders and for reads; cancels have their own.
    outcome_repeat_s: an outcome is told again until the tracker took it. lock_wait_s: how long a predecessor
    may take to die. assumed_*_rate: fees answered in dry_run without a key, labelled as assumed.
    """

    connect_timeout_s: float = Field(default=2.0, gt=0, le=30)
    read_timeout_s: float = Field(default=4.0, gt=0, le=60)
    call_deadline_s: float = Field(default=8.0, gt=0, le=120)
    requests_per_s: float = Field(default=20.0, gt=0, le=30)
    requests_per_hour: int = Field(default=9000, ge=10, le=10_000)
    workers: int = Field(default=3, ge=1, le=8)
    readers: int = Field(default=2, ge=1, le=8)
    idle_max_s: float = Field(default=10.0, gt=0, le=60)
    clock_interval_s: float = Field(default=60.0, gt=0, le=600)
    clock_warn_ms: float = Field(default=100.0, gt=0)
    clock_trip_ms: float = Field(default=150.0, gt=0)
    lease_max_age_s: float = Field(default=2.0, gt=0, le=10)
    quote_max_age_s: float = Field(default=2.0, gt=0, le=10)
    errors_trip: int = Field(default=5, ge=1)
    latency_trip_ms: float = Field(default=3000.0, gt=0)
    auth_trip_s: float = Field(default=60.0, gt=0)
    rejections_trip: int = Field(default=8, ge=1)
    rejections_quiet_s: float = Field(default=120.0, gt=0)
    rate_limit_quiet_s: float = Field(default=10.0, gt=0)
    outcome_repeat_s: float = Field(default=1.0, gt=0, le=60)
    lock_wait_s: float = Field(default=4.0, gt=0, le=60)
    assumed_maker_rate: Money = Field(default=Decimal("0.006"), ge=0, le=1)
    assumed_taker_rate: Money = Field(default=Decimal("0.012"), ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> GatewaySettings:
        if self.connect_timeout_s + self.read_timeout_s >= self.call_deadline_s:
            raise ValueError("call_deadline_s must be longer than connect_timeout_s + read_timeout_s")
        return self
