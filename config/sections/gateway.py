"""The one door to the exchange."""

from __future__ import annotations

from pydantic import Field

from config.sections.base import Section


class GatewaySettings(Section):
    """Deadlines in seconds; the request budget per second (private) and per hour is one for the account.

    clock_warn_ms, clock_trip_ms: offset to the exchange beyond the round trip's own error.
    """

    connect_timeout_s: float = Field(default=2.0, gt=0, le=30)
    read_timeout_s: float = Field(default=4.0, gt=0, le=60)
    call_deadline_s: float = Field(default=8.0, gt=0, le=120)
    requests_per_s: float = Field(default=20.0, gt=0, le=30)
    requests_per_hour: int = Field(default=9000, ge=10, le=10_000)
    workers: int = Field(default=3, ge=1, le=8)
    clock_interval_s: float = Field(default=60.0, gt=0, le=600)
    clock_warn_ms: float = Field(default=100.0, gt=0)
    clock_trip_ms: float = Field(default=150.0, gt=0)
    lease_max_age_s: float = Field(default=2.0, gt=0, le=10)
    quote_max_age_s: float = Field(default=2.0, gt=0, le=10)
    errors_trip: int = Field(default=5, ge=1)
    latency_trip_ms: float = Field(default=3000.0, gt=0)
    auth_trip_s: float = Field(default=60.0, gt=0)
