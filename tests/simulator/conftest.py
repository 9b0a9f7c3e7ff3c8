"""One simulator per test module, and the unmodified SDK against it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from coinbase.rest import RESTClient

from simulator.testing import SimulatorProcess

RECORDING = Path(__file__).resolve().parents[3] / "shared" / "data" / "at-20260809-btc-eth.replay.jsonl.gz"


def rest_client(venue: SimulatorProcess, **options: Any) -> Any:
    """Make the SDK's client, verifying the simulator's certificate against its CA."""
    # REQUESTS_CA_BUNDLE overrides session.verify silently: it must not be set here
    os.environ.pop("REQUESTS_CA_BUNDLE", None)
    os.environ.pop("CURL_CA_BUNDLE", None)
    client = RESTClient(key_file=venue.key_file, base_url=venue.rest, timeout=10, **options)
    client.session.verify = venue.ca_file
    client.session.trust_env = False
    return client


def eventually(condition: Callable[[], Any], what: str, deadline_s: float = 8.0) -> Any:
    """Wait for a condition; its first truthy value is returned."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"never happened within {deadline_s} s: {what}")


@pytest.fixture(scope="module")
def venue() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(
        frozen=True, balances={"USD": "100000", "BTC": "10", "ETH": "100"},
        arguments=["--private-rate", "0", "--public-rate", "0"],
    ) as process:
        yield process


@pytest.fixture
def clean(venue: SimulatorProcess) -> Iterator[SimulatorProcess]:
    yield venue
    venue.clear_faults()


@pytest.fixture(scope="module")
def sdk(venue: SimulatorProcess) -> Any:
    return rest_client(venue)


@pytest.fixture(scope="session")
def recording() -> Path:
    if not RECORDING.exists():
        pytest.skip(f"the recorded feed is not here: {RECORDING}")
    return RECORDING
