"""Checks an API key file without printing any of it."""

from __future__ import annotations

import stat
from pathlib import Path

import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key


def problem_with_key_file(path: Path) -> str:
    """What is wrong with it, for people; empty when it can be used."""
    return _unreadable(path) or exposure_of_key_file(path) or problem_with_key(path)


def exposure_of_key_file(path: Path) -> str:
    """Who else can read it; empty when nobody. Raises OSError."""
    mode = path.stat().st_mode
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        return f"others can read it (mode {stat.S_IMODE(mode):o}): chmod 600 it"
    return ""


def _unreadable(path: Path) -> str:
    try:
        path.read_bytes()
    except FileNotFoundError:
        return "no such file: download the key from the exchange and set COINBASE_KEY_FILE or venue.key_file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""


def problem_with_key(path: Path) -> str:
    """Why nothing can be signed with what it holds; empty when it can."""
    unreadable = _unreadable(path)
    if unreadable:
        return unreadable
    content = path.read_bytes()
    try:
        key = orjson.loads(content)
    except orjson.JSONDecodeError:
        return "not JSON: expected an object with name and privateKey"
    if not isinstance(key, dict) or not isinstance(key.get("name"), str):
        return "the key name is missing: expected an object with name and privateKey"
    secret = key.get("privateKey")
    if not isinstance(secret, str):
        return "privateKey is missing: expected an object with name and privateKey"
    try:
        loaded = load_pem_private_key(secret.replace("\\n", "\n").encode(), password=None)
    except (ValueError, TypeError):
        return "privateKey is not a PEM private key"
    if not isinstance(loaded, EllipticCurvePrivateKey):
        return "privateKey is not an EC key: create the API key with ECDSA"
    return ""
