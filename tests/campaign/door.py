"""The gateway's door to the venue in memory: the SDK builds each request, virtual time carries it."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import cast

import orjson
from coinbase.rest import RESTClient

from actors.clock import Clock
from actors.gateway.wire import HeldBackError, WireCall, WireResult
from simulator.values import Json
from tests.campaign.market import PREFIX, VenueInMemory

READ_TIMEOUT_S = 4.0
HANG_S = 60.0
LONGEST_WAY_S = 2.5
"""Shorter than the JWT lives in the campaign's settings: no request arrives after it."""
LONGEST_CONNECT_S = 1.9
"""Between the command and its first byte: what was allowed before may be forbidden by then."""
Wrote = Callable[[str, str, str, int], None]
"""(client order id, side, product, boot-clock ns): the first byte of an order goes out."""
ORDERS = f"{PREFIX}/orders"
HTML = b"<html><head><title>Just a moment</title></head></html>"


class _Captured(Exception):  # noqa: N818 - no error: what the SDK would have sent
    def __init__(self, method: str, path: str, params: Json, data: Json | None) -> None:
        super().__init__(path)
        self.method, self.path, self.params, self.data = method, path, params, data


class _CapturingClient(RESTClient):  # type: ignore[misc]  # the SDK is untyped
    def prepare_and_send_request(
        self, http_method: str, url_path: str, params: object = None, data: object = None, public: bool = False
    ) -> object:
        clean = {k: v for k, v in cast("Json", params or {}).items() if v is not None}
        body = {k: v for k, v in cast("Json", data).items() if v is not None} if data is not None else None
        raise _Captured(http_method, url_path, clean, body)


@dataclass(slots=True)
class WireWeather:
    """How often what befalls a request, and how long its ways are; zeros are a good day."""

    connect_fails: float = 0.0
    cut_before: float = 0.0
    cut_after: float = 0.0
    error_before: float = 0.0
    error_after: float = 0.0
    html: float = 0.0
    slow: float = 0.0
    slow_connect: float = 0.0
    hang: float = 0.0
    longest_way_s: float = LONGEST_WAY_S
    late_once: bool = False
    """The next request travels long: it arrives when whoever sent it may be dead."""

    def calm(self) -> None:
        self.connect_fails = self.cut_before = self.cut_after = self.error_before = 0.0
        self.error_after = self.html = self.slow = self.slow_connect = self.hang = 0.0


@dataclass(slots=True)
class _Exchange:
    """One request on its way; ``status`` None: no complete answer comes back."""

    status: int | None = None
    body: bytes = b""
    error: str = ""


class MemoryDoor:
    """``Door`` on virtual time. ``call`` returns steps whose value is the WireResult."""

    def __init__(self, venue: VenueInMemory, weather: WireWeather, source: random.Random, wrote: Wrote) -> None:
        self._venue = venue
        self._wrote = wrote
        self._weather = weather
        self._random = source
        self._client = _CapturingClient(api_key=None, api_secret=None)

    def call(self, call: WireCall, request: Callable[[RESTClient], object]) -> WireResult:
        return cast(WireResult, self._steps(call, request))

    def warm(self) -> None:
        """Nothing to connect."""

    def _strikes(self, share: float) -> bool:
        return self._random.random() < share

    def _steps(self, call: WireCall, request: Callable[[RESTClient], object]) -> Generator[float, None, WireResult]:
        weather = self._weather
        try:
            request(self._client)
            raise AssertionError("the SDK sent nothing")
        except _Captured as captured:
            asked = captured
        yield self._random.uniform(0.0005, 0.004)
        if self._strikes(weather.slow_connect):
            yield self._random.uniform(0.05, LONGEST_CONNECT_S)
        if self._strikes(weather.connect_fails):
            return self._result(call, _Exchange(error="ConnectionError: refused"), "connect")
        try:
            call.before_first_byte(orjson.dumps(asked.data) if asked.data is not None else b"")
        except HeldBackError as held:
            return self._result(call, _Exchange(error=str(held)), "held_back")
        body = asked.data
        if asked.path == ORDERS and body is not None:
            name, side, symbol = (str(body[key]) for key in ("client_order_id", "side", "product_id"))
            self._wrote(name, side, symbol, call.wire_boot_ns or 0)
        exchange, took_s = self._send(asked, call.wire_boot_ns or 0)
        yield took_s
        return self._result(call, exchange, "answer" if exchange.status is not None else "lost")

    def _send(self, asked: _Captured, wire_boot_ns: int) -> tuple[_Exchange, float]:
        """Put the request on the wire: it arrives whatever becomes of this process."""
        weather, system = self._weather, self._venue.system
        exchange = _Exchange(error="ConnectionError: cut")
        there_s, back_s = self._random.uniform(0.002, 0.02), self._random.uniform(0.002, 0.02)
        if self._strikes(weather.slow) or weather.late_once:
            weather.late_once = False
            there_s += self._random.uniform(0.1, weather.longest_way_s)
        if self._strikes(weather.slow):
            back_s += self._random.uniform(0.1, 5.0)
        if self._strikes(weather.hang):
            return exchange, HANG_S
        if self._strikes(weather.cut_before):
            return exchange, there_s
        fails_before, fails_after = self._strikes(weather.error_before), self._strikes(weather.error_after)
        is_cut, is_html = self._strikes(weather.cut_after), self._strikes(weather.html)
        query = {k: list(v) if isinstance(v, list | tuple) else [str(v)] for k, v in asked.params.items()}
        took_s = there_s + back_s
        in_time = took_s <= READ_TIMEOUT_S

        def arrive() -> None:
            if fails_before:
                status, body = 503, HTML
            else:
                status, body = self._venue.ask(asked.method, asked.path, query, asked.data or {}, wire_boot_ns)
                if fails_after:
                    status, body = 502, HTML
                elif is_html:
                    body = HTML
            if in_time and not is_cut:
                exchange.status, exchange.body = status, body

        system.after(there_s, arrive)
        if not in_time:
            exchange.error = "ReadTimeout"
        return exchange, min(took_s, READ_TIMEOUT_S)

    def _result(self, call: WireCall, exchange: _Exchange, kind: str) -> WireResult:
        clock: Clock = self._venue.system.clock
        call.finished = True
        return WireResult(
            wrote=call.wrote,
            status=exchange.status,
            headers={},
            body=exchange.body,
            error="" if exchange.status is not None else exchange.error,
            kind=kind,
            wire_boot_ns=call.wire_boot_ns,
            wire_utc_ns=call.wire_utc_ns,
            answered_boot_ns=clock.boot_ns(),
            answered_utc_ns=clock.utc_ns(),
            egress_failed=call.egress_failed,
        )
