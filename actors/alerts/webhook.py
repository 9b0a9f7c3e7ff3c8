"""One POST to the webhook; runs in a worker thread. The URL is a secret: no error text holds it."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from actors.alerts.outbox import Entry
from actors.clock import to_rfc3339


class DeliveryError(Exception):
    """The webhook did not take the alert; the text names the kind of failure alone."""


def body_of(entry: Entry, *, mode: str, build: str) -> bytes:
    """The alert as JSON; outside live its text says SIMULATED."""
    alert = entry.alert
    simulated = mode != "live"
    text = alert.text if not entry.repeated else f"{alert.text} (and {entry.repeated} more like it)"
    return orjson.dumps(
        {
            "id": entry.uid,
            "time": to_rfc3339(entry.at_utc_ns),
            "severity": alert.severity.value,
            "key": alert.key,
            "text": f"SIMULATED: {text}" if simulated else text,
            "by": alert.by,
            "correlation_id": alert.correlation_id,
            "mode": mode,
            "simulated": simulated,
            "repeated": entry.repeated,
            "build": build,
        }
    )


def deliver(url_file: Path, entry: Entry, body: bytes, timeout_s: float) -> None:
    """POST ``body``; returns when the answer is 2xx, raises DeliveryError for everything else.

    Redirects are failures: following one would hand the alert to somebody nobody configured.
    """
    try:
        url = url_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DeliveryError(f"the webhook file cannot be read: {type(error).__name__}") from None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DeliveryError("the webhook file holds no http(s) URL")
    connection: http.client.HTTPConnection
    try:
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=timeout_s, context=context)
        else:
            connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Content-Type": "application/json", "Idempotency-Key": entry.uid, "Connection": "close"}
        try:
            connection.request("POST", target, body, headers)
            status = connection.getresponse().status
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DeliveryError(f"no answer: {type(error).__name__}") from None
    if not 200 <= status < 300:
        raise DeliveryError(f"HTTP {status}")
