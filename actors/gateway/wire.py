"""The wire: the official SDK on a transport of our own that asks a last question before the first byte.

``requests`` connects, then writes. The connection class used here runs ``WireCall.before_first_byte`` between
the two: after connect and TLS handshake, before anything of the request leaves. Nothing is ever retried or
redirected. One ``Door`` serves one thread.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import certifi
from coinbase.rest import RESTClient
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool

from actors.clock import NS_PER_S, Clock
from actors.egress import EgressError, EgressWriter, Verb
from actors.gateway.tokens import SDK_LIFE_S, TokenClient

_REVOKE_WAIT_S = 0.02


class HeldBackError(Exception):
    """The request was held back before its first byte; the text is the reason code."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the egress record of a request says."""

    verb: Verb
    client_order_id: str


@dataclass(slots=True)
class WireCall:
    """One request. ``gate`` answers a reason code to hold it back; it and the record run once, in the thread
    that writes. ``revoke`` (from the mailbox) holds it back unless the first byte may already be out.
    """

    clock: Clock
    gate: Callable[[], str | None] | None = None
    recorded: Recorded | None = None
    egress: EgressWriter | None = None
    wrote: bool = False
    finished: bool = False
    egress_failed: bool = False
    wire_boot_ns: int | None = None
    wire_utc_ns: int | None = None
    _revoked: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def before_first_byte(self, body: bytes) -> None:
        """Raises HeldBackError instead of letting the request go."""
        with self._lock:
            if self._revoked:
                raise HeldBackError(self._revoked)
            if self.wrote:
                raise HeldBackError("a second write of one request")
            reason = self.gate() if self.gate is not None else None
            if reason is not None:
                raise HeldBackError(reason)
            self.wire_boot_ns, self.wire_utc_ns = self.clock.boot_ns(), self.clock.utc_ns()
            if self.recorded is not None:
                self._record(self.recorded, body)
            self.wrote = True

    def _record(self, recorded: Recorded, body: bytes) -> None:
        if self.egress is None:
            raise HeldBackError("no egress log")
        assert self.wire_boot_ns is not None and self.wire_utc_ns is not None
        try:
            self.egress.append(
                recorded.verb, recorded.client_order_id, body, boot_ns=self.wire_boot_ns, utc_ns=self.wire_utc_ns
            )
        except EgressError as error:
            self.egress_failed = True
            raise HeldBackError(f"egress: {error}") from error

    def revoke(self, reason: str) -> bool:
        """True: nothing of it has left and nothing will. False: the first byte may be out."""
        if not self._lock.acquire(timeout=_REVOKE_WAIT_S):
            return False  # it stands in the gate right now: who can say
        try:
            if self.wrote:
                return False
            self._revoked = reason
            return True
        finally:
            self._lock.release()


@dataclass(frozen=True, slots=True)
class WireResult:
    """What came back. ``status`` None: no complete answer, ``error`` and ``kind`` say why."""

    wrote: bool
    status: int | None
    headers: Mapping[str, str]
    body: bytes
    error: str
    kind: str
    """``answer``, ``held_back``, ``connect`` (before the first byte), ``lost`` (after it) or ``deadline``."""
    wire_boot_ns: int | None
    wire_utc_ns: int | None
    answered_boot_ns: int
    answered_utc_ns: int
    egress_failed: bool = False

    @property
    def took_ms(self) -> float | None:
        if self.wire_boot_ns is None:
            return None
        return (self.answered_boot_ns - self.wire_boot_ns) / 1e6


class TlsContext:
    """Verifies certificate and host name against the usual authorities and, if given, ``ca_file``.

    Loading them takes 50 ms, so the first thread that connects does it, not the mailbox. Shared by all doors.
    """

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._context: ssl.SSLContext | None = None
        self._lock = threading.Lock()

    def get(self) -> ssl.SSLContext:
        """Raises OSError when a file of authorities cannot be read."""
        with self._lock:
            if self._context is None:
                context = ssl.create_default_context(cafile=certifi.where())
                if self._ca_file is not None:
                    context.load_verify_locations(cafile=str(self._ca_file))
                self._context = context
            return self._context


class _Connection(HTTPSConnection):
    adapter: GuardedAdapter
    idle_since_boot_ns: int = 0

    def request(self, method: str, url: str, body: object = None, headers: object = None, **options: object) -> None:
        self.adapter.let_go(body)
        super().request(method, url, body=body, headers=headers, **options)  # type: ignore[arg-type]


class _Pool(HTTPSConnectionPool):
    ConnectionCls = _Connection
    adapter: GuardedAdapter

    def _get_conn(self, timeout: float | None = None) -> _Connection:
        connection = super()._get_conn(timeout)
        assert isinstance(connection, _Connection)
        connection.adapter = self.adapter
        if not connection.is_closed and self.adapter.is_stale(connection.idle_since_boot_ns):
            connection.close()  # it connects anew before the request
        return connection

    def _put_conn(self, conn: object) -> None:
        if isinstance(conn, _Connection):
            conn.idle_since_boot_ns = self.adapter.clock.boot_ns()
        super()._put_conn(conn)  # type: ignore[arg-type]

    def warm(self, timeout_s: float) -> None:
        """Have a fresh connection ready; sends no request."""
        connection = self._get_conn()
        try:
            connection.timeout = timeout_s
            if connection.is_closed:
                connection.connect()
        except BaseException:
            connection.close()
            raise
        finally:
            self._put_conn(connection)


class GuardedAdapter(HTTPAdapter):
    """Verifies TLS with its own context whatever the environment says, and keeps the raw answer."""

    def __init__(self, clock: Clock, context: TlsContext, idle_max_s: float) -> None:
        self.clock = clock
        self.context = context
        self.call: WireCall | None = None
        self.answer: Response | None = None
        self._idle_max_ns = round(idle_max_s * NS_PER_S)
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)
        self.poolmanager.pool_classes_by_scheme = {"https": _Pool}

    def is_stale(self, idle_since_boot_ns: int) -> bool:
        return self.clock.boot_ns() - idle_since_boot_ns > self._idle_max_ns

    def let_go(self, body: object) -> None:
        if self.call is None:
            raise HeldBackError("a request outside of a call")
        self.call.before_first_byte(body if isinstance(body, bytes) else str(body or "").encode())

    def build_connection_pool_key_attributes(  # type: ignore[override]
        self, request: PreparedRequest, verify: object, cert: object = None
    ) -> tuple[dict[str, object], dict[str, object]]:
        host, _ = super().build_connection_pool_key_attributes(request, True, None)
        return dict(host), {"ssl_context": self.context.get(), "cert_reqs": "CERT_REQUIRED", "assert_hostname": None}

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: object, proxies: object = None, cert: object = None
    ) -> _Pool:
        pool = super().get_connection_with_tls_context(request, True, proxies=None, cert=None)
        assert isinstance(pool, _Pool)
        pool.adapter = self
        return pool

    def cert_verify(self, conn: object, url: object, verify: object, cert: object) -> None:
        """Verification is the context's; neither the session nor the environment can change it."""

    def add_headers(self, request: PreparedRequest, **_: object) -> None:
        request.headers["Cache-Control"] = "no-cache"  # public answers are cached for a second: Coinbase docs

    def send(self, request: PreparedRequest, **options: object) -> Response:  # type: ignore[override]
        response = super().send(request, stream=True, timeout=options.get("timeout"))  # type: ignore[arg-type]
        response.content  # noqa: B018 - reads the whole body, so that an answer is complete or no answer
        self.answer = response
        return response


class Door:
    """One SDK client with a session of its own; used by one thread at a time."""

    def __init__(
        self,
        *,
        clock: Clock,
        host: str,
        key_file: Path | None,
        context: TlsContext,
        connect_timeout_s: float,
        read_timeout_s: float,
        idle_max_s: float,
        token_life_s: float = SDK_LIFE_S,
    ) -> None:
        self._clock = clock
        self._host = host
        self._connect_timeout_s = connect_timeout_s
        # Explicit None: the SDK reads COINBASE_API_KEY from the environment when it is imported.
        self.client = TokenClient(
            api_key=None,
            api_secret=None,
            key_file=str(key_file) if key_file is not None else None,
            base_url=host,
            timeout=(connect_timeout_s, read_timeout_s),
        )
        self.client.clock, self.client.life_s = clock, token_life_s
        _silence_sdk()
        self._adapter = GuardedAdapter(clock, context, idle_max_s)
        session: Session = self.client.session
        session.trust_env = False  # REQUESTS_CA_BUNDLE and proxies of the environment are not for this door
        session.max_redirects = 0
        session.adapters.clear()
        session.mount("https://", self._adapter)

    def call(self, call: WireCall, request: Callable[[RESTClient], object]) -> WireResult:
        """Make one request. Never raises; the answer is judged by the caller."""
        error = ""
        self._adapter.call, self._adapter.answer = call, None
        held_back = False
        try:
            request(self.client)
        except HeldBackError as held:
            held_back, error = True, str(held)
        except Exception as caught:
            error = f"{type(caught).__name__}: {caught}"[:300]
        finally:
            self._adapter.call = None
        response = self._adapter.answer
        return self._result(call, response, held_back, error)

    def _result(self, call: WireCall, response: Response | None, held_back: bool, error: str) -> WireResult:
        if response is not None:
            kind, error = "answer", ""
        elif held_back:
            kind = "held_back"
        else:
            kind = "lost" if call.wrote else "connect"
        result = WireResult(
            wrote=call.wrote,
            status=None if response is None else response.status_code,
            headers={} if response is None else dict(response.headers),
            body=b"" if response is None else response.content,
            error=error,
            kind=kind,
            wire_boot_ns=call.wire_boot_ns,
            wire_utc_ns=call.wire_utc_ns,
            answered_boot_ns=self._clock.boot_ns(),
            answered_utc_ns=self._clock.utc_ns(),
            egress_failed=call.egress_failed,
        )
        call.finished = True
        return result

    def warm(self) -> None:
        """Have a fresh connection ready for the next request; raises what connecting raises."""
        request = PreparedRequest()
        request.prepare_url(f"https://{self._host}/", None)
        self._adapter.get_connection_with_tls_context(request, True).warm(self._connect_timeout_s)

    def close(self) -> None:
        self.client.session.close()


def _silence_sdk() -> None:
    """The SDK prints every HTTP error with a handler of its own; the gateway logs them itself."""
    log = logging.getLogger("coinbase.RESTClient")
    log.handlers[:] = [logging.NullHandler()]  # without any, logging's last resort would print
    log.propagate = False
