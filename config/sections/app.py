"""The process as a whole: logs, crash reports, metrics page."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from config.sections.base import Section


class LogSettings(Section):
    """form: json or text. level: the least important level that is written."""

    form: Literal["json", "text"] = "text"
    level: Literal["debug", "info", "warning", "error", "critical"] = "info"


class MetricsSettings(Section):
    """port: of /metrics on 127.0.0.1; 0 takes a free one (status says which)."""

    port: int = Field(default=0, ge=0, le=65535)


class SentrySettings(Section):
    """The DSN itself is a secret: it comes from SENTRY_DSN or a file named by dsn_file, never from YAML."""

    dsn_file: str | None = None
    environment: str = "demo"
    upload_interval_s: float = Field(default=5.0, gt=0, le=3600)
    max_per_minute: int = Field(default=10, ge=1, le=1000)
