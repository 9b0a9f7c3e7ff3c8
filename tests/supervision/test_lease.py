"""What all findings together permit."""

from __future__ import annotations

import pytest

from actors.messages.health import Lease, TradingState
from supervision.lease import Finding, Lost, decide, lateness_scopes, lost_findings

RUN, REDUCE, HALTED, KILLED = TradingState
GUARDED = {"guard.BTC-USD": ("BTC-USD", "BTC-USDC"), "guard.ETH-USD": ("ETH-USD",)}


def test_nothing_against_it_is_run() -> None:
    assert decide([]) == decide([Finding("*", RUN, "operator")])
    assert decide([]).state is RUN


def test_the_worst_finding_wins_in_any_order_and_every_reason_is_named() -> None:
    findings = [Finding("*", REDUCE, "slow"), Finding("*", KILLED, "killed"), Finding("*", HALTED, "waiting")]
    for ordered in (findings, findings[::-1]):
        permission = decide(ordered)
        assert permission.state is KILLED
        assert set(permission.reasons) == {"slow", "killed", "waiting"}
        assert permission.reasons[0] == "killed"


def test_a_symbol_is_named_only_when_it_is_worse_off_than_everything() -> None:
    symbols = [Finding("BTC-USD", REDUCE, "stale"), Finding("BTC-USD", HALTED, "offline")]
    assert decide(symbols).per_symbol == (("BTC-USD", HALTED, "offline; stale"),)
    assert decide([*symbols, Finding("*", HALTED, "x")]).per_symbol == ()


def test_the_lease_answers_with_the_worse_of_global_and_symbol() -> None:
    permission = decide([Finding("BTC-USD", HALTED, "offline"), Finding("*", REDUCE, "slow")])
    lease = Lease(1, 1, 1, 0, permission.state, permission.reasons, permission.per_symbol)
    assert lease.state_of("BTC-USD") is HALTED
    assert lease.state_of("ETH-USD") is REDUCE


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tracker", HALTED), ("gateway", HALTED), ("risk", HALTED), ("reconciler", HALTED), ("feed", HALTED),
        ("trading", HALTED), ("market", HALTED), ("strategist", REDUCE), ("decisions", REDUCE),
        ("metrics", RUN), ("admin", RUN), ("crash_reporter", RUN), ("alerts", RUN),
    ],
)  # fmt: skip
def test_a_lost_part_stops_what_needs_it(name: str, expected: TradingState) -> None:
    for gave_up in (False, True):
        assert decide(lost_findings([Lost(name, "died", 0, gave_up)], GUARDED)).state is expected


def test_a_lost_guard_halts_every_order_product_on_its_book_and_nothing_else() -> None:
    permission = decide(lost_findings([Lost("guard.BTC-USD", "died", 0, True)], GUARDED))
    assert permission.state is RUN
    assert [(symbol, state) for symbol, state, _ in permission.per_symbol] == [
        ("BTC-USD", HALTED),
        ("BTC-USDC", HALTED),
    ]


@pytest.mark.parametrize(
    ("name", "scopes"),
    [
        ("tracker", ("*",)), ("gateway", ("*",)), ("risk", ("*",)), ("feed", ("*",)),
        ("guard.BTC-USD", ("BTC-USD", "BTC-USDC")), ("strategist", ()), ("metrics", ()), ("alerts", ()),
    ],
)  # fmt: skip
def test_lateness_trips_where_it_endangers(name: str, scopes: tuple[str, ...]) -> None:
    assert lateness_scopes(name, GUARDED) == scopes
