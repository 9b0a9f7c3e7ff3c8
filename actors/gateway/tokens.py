"""The official SDK's client, with tokens that may live shorter than the SDK's 120 s.

A request that was cut off can still arrive while its token lives. So the token's life is how long an UNKNOWN order is
waited for before it is proven absent (``jwt_life_s``), and what is waited for must be what is signed.
"""

from __future__ import annotations

import secrets

import jwt
from coinbase import jwt_generator
from coinbase.constants import USER_AGENT
from coinbase.rest import RESTClient

from actors.clock import NS_PER_S, Clock

SDK_LIFE_S = 120
"""The life that the SDK signs, and the longest one the venue takes (Coinbase docs)."""


class TokenClient(RESTClient):  # type: ignore[misc]  # the SDK is untyped
    """Signs ``life_s`` where that is shorter than the SDK's own; everything else is the SDK's."""

    life_s: float = SDK_LIFE_S
    clock: Clock

    def set_headers(self, method: str, path: str) -> dict[str, str]:
        """The headers of one request."""
        if not self.is_authenticated or self.life_s >= SDK_LIFE_S:
            return dict(super().set_headers(method, path))
        key = jwt_generator._load_private_key(str(self.api_secret))
        begins = self.clock.utc_ns() // NS_PER_S
        claims = {
            "sub": self.api_key,
            "iss": "cdp",
            "nbf": begins,
            "exp": begins + int(self.life_s),
            "uri": f"{method} {self.base_url}{path}",
        }
        named = {"kid": str(self.api_key), "nonce": secrets.token_hex()}
        token = jwt.encode(claims, key, algorithm=jwt_generator._algorithm_for(key), headers=named)
        return {"User-Agent": USER_AGENT, "Content-Type": "application/json", "Authorization": f"Bearer {token}"}
