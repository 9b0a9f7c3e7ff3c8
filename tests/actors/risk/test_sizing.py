"""Sizes and prices on the venue's grid."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.risk.sizing import ceil_to, floor_to, net_edge_bps, size_for, smallest_protected_size
from tests.actors.risk.factories import D, rules

VALUES = st.decimals("0.00000001", "1000000", places=8)
GRIDS = st.sampled_from([D("0.00000001"), D("0.01"), D("0.05"), D("0.25"), D("1"), D("10")])


@given(VALUES, GRIDS)
def test_what_is_rounded_lies_on_the_grid_and_next_to_the_value(value: Decimal, grid: Decimal) -> None:
    low, high = floor_to(value, grid), ceil_to(value, grid)
    assert low % grid == 0
    assert high % grid == 0
    assert low <= value <= high
    assert high - low in (0, grid)


@given(st.decimals("1", "100000", places=2), st.decimals("0.0001", "100000", places=4))
def test_a_size_never_costs_more_than_its_notional(notional: Decimal, price: Decimal) -> None:
    assert size_for(notional, price, rules()) * price <= notional


def test_an_increment_of_zero_is_an_error_and_no_grid() -> None:
    with pytest.raises(ValueError, match="an increment is positive"):
        floor_to(D(1), D(0))


@given(st.decimals("0.01", "100000", places=2), st.sampled_from([D("1"), D("1.5"), D("3")]))
def test_a_protected_size_sold_at_its_triggered_limit_stays_above_the_minimum(stop: Decimal, multiple: Decimal) -> None:
    limits = rules(base_max_size=D(10**9))
    size = smallest_protected_size(stop, D("0.009"), multiple, limits)
    assert size * stop * D("0.95") * D("0.991") >= limits.quote_min_size * multiple
    assert size >= limits.base_min_size * multiple
    smaller = size - limits.base_increment
    assert (
        smaller * stop * D("0.95") * D("0.991") < limits.quote_min_size * multiple or smaller < D("0.00015") * multiple
    )


def test_the_edge_is_what_is_left_after_both_fees_and_half_the_spread() -> None:
    # Bought at 100, sold at 103: 3 gross, 0.9 + 0.927 fees, 0.01 half spread: 1.163.
    assert net_edge_bps(D(100), D(103), None, D("0.009"), D("0.01")) == D("116.3")
    assert net_edge_bps(D(100), None, D(300), D("0.009"), D("0.01")) == D("116.3")
    assert net_edge_bps(D(100), D(120), D(300), D("0.009"), D("0.01")) == D("116.3")
    assert net_edge_bps(D(100), None, None, D("0.009"), D("0.01")) is None
