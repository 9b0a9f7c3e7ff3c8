"""Who is told."""

from __future__ import annotations

from pydantic import Field

from config.sections.base import Section


class AlertSettings(Section):
    """dedupe_s: an alert with the same key is repeated at most this often. webhook_file: a file that holds the
    URL of a webhook (a URL can be a secret); without it alerts go to the log and the outbox file alone."""

    dedupe_s: float = Field(default=300.0, ge=0)
    webhook_file: str | None = None
    webhook_timeout_s: float = Field(default=5.0, gt=0, le=60)
