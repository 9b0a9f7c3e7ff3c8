"""The venue's API key, its TLS certificate, and the check of the JWTs made with the key."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path

import jwt
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

LIFE_S = 120
LEEWAY_S = 5  # how far the venue tolerates a client's clock: not documented


class UnauthorizedError(Exception):
    """A JWT is missing or wrong; the venue itself says no more than `Unauthorized`."""


class Key:
    """One API key: its name, its EC P-256 key, and the nonces already seen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            _write_key(path)
        content = json.loads(path.read_text())
        self.name = str(content["name"])
        private = serialization.load_pem_private_key(content["privateKey"].encode(), password=None)
        self._public = private.public_key()
        self._nonces: dict[str, float] = {}

    def check(self, token: str | None, now_s: float, uri: str | None, leeway_s: int = LEEWAY_S) -> None:
        """Check a JWT of a request (`uri` = "METHOD host/path") or, with None, of a subscribe.

        Raises UnauthorizedError with the reason, for the request log only.
        """
        if not token:
            raise UnauthorizedError("no token")
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(token, self._public, algorithms=["ES256"],  # type: ignore[arg-type]
                                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False,
                                         "verify_aud": False})
        except jwt.PyJWTError as error:
            raise UnauthorizedError(f"bad token: {error}") from None
        if header.get("kid") != self.name or claims.get("sub") != self.name:
            raise UnauthorizedError("kid or sub is not the key's name")
        if claims.get("iss") not in {"cdp", "coinbase-cloud"}:
            raise UnauthorizedError(f"issuer {claims.get('iss')!r}")
        begins, ends = claims.get("nbf"), claims.get("exp")
        if not isinstance(begins, int) or not isinstance(ends, int) or ends - begins > LIFE_S:
            raise UnauthorizedError("nbf or exp is missing, or too long a life")
        if begins > now_s + leeway_s or ends < now_s - leeway_s:
            raise UnauthorizedError("not valid now: a clock is off")
        if uri is not None:
            claimed = claims.get("uris") or [claims.get("uri")]
            if uri not in claimed:
                raise UnauthorizedError(f"uri {claimed} is not {uri}")
        self._use_nonce(str(header.get("nonce", "")), now_s, float(ends))

    def _use_nonce(self, nonce: str, now_s: float, ends_s: float) -> None:
        if not nonce:
            raise UnauthorizedError("no nonce")
        if nonce in self._nonces:
            raise UnauthorizedError("nonce used before")
        self._nonces[nonce] = ends_s
        if len(self._nonces) > 20_000:
            self._nonces = {n: end for n, end in self._nonces.items() if end > now_s - LEEWAY_S}


def _write_key(path: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    ).decode()
    name = f"organizations/{uuid.uuid4()}/apiKeys/{uuid.uuid4()}"
    write_private(path, json.dumps({"name": name, "privateKey": pem}))


def write_private(path: Path, content: str) -> None:
    """Write a file that only its owner reads, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def make_certificate(directory: Path, ca_path: Path) -> Path:
    """Make the CA and the server's certificate once; returns the file with certificate and key."""
    server = directory / "server.pem"
    ca_copy = directory / "ca.pem"
    if not server.exists() or not ca_copy.exists():
        authority = trustme.CA(organization_name="simulated venue")
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        write_private(ca_copy, authority.cert_pem.bytes().decode())
        write_private(server, (certificate.private_key_pem.bytes() + chain).decode())
    if ca_path != ca_copy:
        write_private(ca_path, ca_copy.read_text())
    return server
