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
    """The DSN itself is a secret: it comes from SENTRY_DSN or a file named by dsn_file, never from YAML.

    upload_interval_s: between looks into the crash folder and, doubling up to retry_max_s, between failed
    uploads. max_per_minute: uploads with one fingerprint; more are kept on disk. timeout_s: of one upload.
    keep: records that stay on disk, in the folder and among those sent, oldest removed first.
    """

    dsn_file: str | None = None
    environment: str = "demo"
    upload_interval_s: float = Field(default=5.0, gt=0, le=3600)
    max_per_minute: int = Field(default=10, ge=1, le=1000)
    retry_max_s: float = Field(default=300.0, gt=0, le=86_400)
    timeout_s: float = Field(default=5.0, gt=0, le=60)
    keep: int = Field(default=500, ge=1, le=100_000)
