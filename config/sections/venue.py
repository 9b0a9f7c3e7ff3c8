"""Where the exchange is and what its answers can be relied on for."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from config.sections.base import Section


class VenueSettings(Section):
    """URLs and keys. In demo they are set by ``run.py start`` to the simulator's.

    rest: host[:port] without scheme (the SDK adds https). ws, ws_user: wss URLs. ca_file: a CA beside the
    system's own (simulator, proxy). key_file: JSON with ``name`` and ``privateKey``.
    jwt_life_s: how long a request's token lives, thus how long after it was sent an order can still arrive; signed
    so below 120, which is the SDK's own and the longest life the venue takes.
    visibility_delay_s: how long an order may be missing in listings after its create was answered.
    """

    rest: str = "api.coinbase.com"
    ws: str = "wss://advanced-trade-ws.coinbase.com"
    ws_user: str = "wss://advanced-trade-ws-user.coinbase.com"
    ca_file: Path | None = None
    key_file: Path | None = None
    visibility_delay_s: float = Field(default=2.0, ge=0, le=60)
    jwt_life_s: float = Field(default=120.0, ge=2, le=600)
    control_url: str = ""
    """The simulator's control endpoint, shown in status; empty at the real exchange."""
