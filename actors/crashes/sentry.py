"""Uploads one event through the Sentry SDK and knows what became of it.

The SDK's own transport sends in the background and keeps the answer to itself; a record may only be moved away
when the server has taken it, so this transport posts in the calling worker thread and remembers the status.
"""

from __future__ import annotations

import http.client
import ssl
from typing import cast
from urllib.parse import urlsplit

from sentry_sdk import Client
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport
from sentry_sdk.types import Event
from sentry_sdk.utils import BadDsn, Dsn

_BAD_EVENT = frozenset({400, 413, 415, 422})
"""The event itself is refused: the same bytes will never be taken."""


class UploadError(Exception):
    """Not uploaded. ``retry_after_s``: what the server asked for, else None. ``final``: never try this one again."""

    def __init__(self, text: str, *, retry_after_s: float | None = None, final: bool = False) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s
        self.final = final


class _Posting(Transport):
    """Posts each envelope at once, with a timeout, and remembers how it went."""

    def __init__(self, dsn: str, timeout_s: float) -> None:
        super().__init__({"dsn": dsn})
        assert self.parsed_dsn is not None
        self._auth = self.parsed_dsn.to_auth("trading-daemon")
        self._timeout_s = timeout_s
        self.error: UploadError | None = None
        self.posted = 0

    def capture_envelope(self, envelope: Envelope) -> None:
        self.posted += 1
        self.error = None
        try:
            self._post(envelope.serialize())
        except UploadError as error:
            self.error = error
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.error = UploadError(f"no answer: {type(error).__name__}")

    def _post(self, body: bytes) -> None:
        url = urlsplit(self._auth.get_api_url())
        host = url.hostname or ""
        connection: http.client.HTTPConnection
        if url.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(host, url.port, timeout=self._timeout_s, context=context)
        else:
            connection = http.client.HTTPConnection(host, url.port, timeout=self._timeout_s)
        headers = {
            "Content-Type": "application/x-sentry-envelope",
            "X-Sentry-Auth": self._auth.to_header(),
            "User-Agent": "trading-daemon",
            "Connection": "close",
        }
        try:
            connection.request("POST", url.path, body, headers)
            answer = connection.getresponse()
            status, wait = answer.status, answer.getheader("Retry-After")
        finally:
            connection.close()
        if not 200 <= status < 300:
            raise UploadError(f"HTTP {status}", retry_after_s=_wait_s(wait), final=status in _BAD_EVENT)


def _wait_s(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


class Uploader:
    """One SDK client; made in the worker thread, after the fork. Raises ValueError for a bad DSN."""

    def __init__(self, dsn: str, *, timeout_s: float, environment: str, release: str) -> None:
        try:
            Dsn(dsn)
        except BadDsn as error:
            raise ValueError("the DSN is not valid") from error
        self._transport = _Posting(dsn, timeout_s)
        self._client = Client(
            dsn=dsn,
            transport=self._transport,
            environment=environment,
            release=release or None,
            default_integrations=False,
            auto_enabling_integrations=False,
            auto_session_tracking=False,
            enable_backpressure_handling=False,
            send_client_reports=False,
            include_local_variables=False,
            max_value_length=16_000,
            server_name="",
        )

    def upload(self, event: dict[str, object]) -> None:
        """Returns when the server has taken the event; raises UploadError."""
        before = self._transport.posted
        self._client.capture_event(cast(Event, event))
        if self._transport.posted == before:
            raise UploadError("the SDK dropped the event", final=True)
        if self._transport.error is not None:
            raise self._transport.error
