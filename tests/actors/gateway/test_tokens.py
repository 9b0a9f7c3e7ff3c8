"""What a request's token says of its life is what an UNKNOWN order is waited for."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from actors.clock import NS_PER_S, MovedClock, SystemClock
from actors.gateway.tokens import TokenClient


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


KEYS = {"ES256": ec.generate_private_key(ec.SECP256R1()), "EdDSA": ed25519.Ed25519PrivateKey.generate()}


def claims_of(folder: Path, algorithm: str, life_s: float | None, clock: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, verified, of a token that the client made with this life."""
    file = folder / "key.json"
    file.write_text(json.dumps({"name": "organizations/o/apiKeys/k", "privateKey": pem(KEYS[algorithm])}))
    client = TokenClient(api_key=None, api_secret=None, key_file=str(file), base_url="venue.example")
    client.clock = clock
    if life_s is not None:
        client.life_s = life_s
    headers = client.set_headers("POST", "/api/v3/brokerage/orders")
    token = headers["Authorization"].removeprefix("Bearer ")
    assert headers["Content-Type"] == "application/json"
    options = {"verify_exp": False, "verify_nbf": False}
    public = KEYS[algorithm].public_key()
    return jwt.get_unverified_header(token), jwt.decode(token, public, algorithms=[algorithm], options=options)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_a_shorter_life_is_signed_with_any_kind_of_key(tmp_path: Path, algorithm: str) -> None:
    clock = MovedClock()
    header, claims = claims_of(tmp_path, algorithm, 5.0, clock)
    assert claims["exp"] - claims["nbf"] == 5
    assert claims["nbf"] == clock.utc_ns() // NS_PER_S
    assert (claims["iss"], claims["sub"]) == ("cdp", "organizations/o/apiKeys/k")
    assert claims["uri"] == "POST venue.example/api/v3/brokerage/orders"
    assert header["kid"] == claims["sub"] and header["nonce"] and header["alg"] == algorithm


def test_the_shorter_token_says_everything_that_the_sdk_says(tmp_path: Path) -> None:
    theirs, ours = claims_of(tmp_path, "ES256", None, SystemClock()), claims_of(tmp_path, "ES256", 5.0, SystemClock())
    assert theirs[0].keys() == ours[0].keys() and theirs[1].keys() == ours[1].keys()
    assert theirs[1]["exp"] - theirs[1]["nbf"] == 120
    assert abs(theirs[1]["nbf"] - time.time()) < 5
