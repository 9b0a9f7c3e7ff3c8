"""Which products the simulator can list."""

from __future__ import annotations

import pytest

from simulator.products import listing


def test_invented_products_serve_drills_with_many_symbols() -> None:
    found = listing(["BTC-USD", "X01-USD", "X42-USD"])
    assert list(found) == ["BTC-USD", "BTC-USDC", "X01-USD", "X01-USDC", "X42-USD", "X42-USDC"]


def test_any_other_symbol_is_refused_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match="BTC-USD"):
        listing(["NOPE-USD"])
