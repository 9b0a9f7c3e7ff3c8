"""Who is told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from config.sections.base import Section


class AlertSettings(Section):
    """dedupe_s: an alert with the same key is repeated at most this often. webhook_file: a file that holds the
    URL of a webhook (a URL can be a secret); without it alerts go to the log and the outbox file alone.
    webhook_min_severity: less severe alerts are logged only. retry_first_s, retry_max_s: back-off between
    failed deliveries. keep: delivered alerts that stay in the outbox for reading."""

    dedupe_s: float = Field(default=300.0, ge=0)
    webhook_file: str | None = None
    webhook_timeout_s: float = Field(default=5.0, gt=0, le=60)
    webhook_min_severity: Literal["info", "warning", "critical", "page"] = "warning"
    retry_first_s: float = Field(default=1.0, gt=0, le=600)
    retry_max_s: float = Field(default=300.0, gt=0, le=86_400)
    keep: int = Field(default=1000, ge=0, le=1_000_000)
