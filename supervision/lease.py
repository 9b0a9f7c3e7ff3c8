"""What trading may do now, from everything the watchdog knows. Pure, and closed unless all of it agrees.

The worst of all findings wins. A finding names the scope it holds in: ``*`` or one order product.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from actors.messages.health import TradingState
from supervision.breakers import EVERYTHING, Breaker

TRADING_PARTS = ("tracker", "gateway", "risk", "reconciler")
RESTORING_PARTS = ("tracker", "gateway")
"""After a restart of these the books are compared with the venue before entries go on."""

_LOST: Mapping[str, TradingState] = {
    **dict.fromkeys((*TRADING_PARTS, "feed", "trading", "market", "root"), TradingState.HALTED),
    "strategist": TradingState.REDUCE_ONLY,
    "decisions": TradingState.REDUCE_ONLY,
    # Alerts, and the supervisor above it, count only after a while: see alerts_down_s.
}
_LATE = frozenset({"tracker", "gateway", "risk", "feed", "trading", "market", "root"})
"""Parts whose lateness endangers every entry. A late strategist only delays proposals, whose age risk judges."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason why trading is restricted."""

    scope: str
    state: TradingState
    reason: str


@dataclass(frozen=True, slots=True)
class Permission:
    """What a lease says; ``per_symbol`` only what is worse than ``state``."""

    state: TradingState
    reasons: tuple[str, ...]
    per_symbol: tuple[tuple[str, TradingState, str], ...]


@dataclass(frozen=True, slots=True)
class Lost:
    """A part that died (or was given up); it is back with its first beat sent after ``since_boot_ns``."""

    name: str
    reason: str
    since_boot_ns: int
    gave_up: bool


def scopes_of(name: str, guarded: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Where a part matters: a guard in its own order products (``guarded``), everything else everywhere."""
    return guarded.get(name, (EVERYTHING,))


def lateness_scopes(name: str, guarded: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Scopes whose entries the lateness of this part endangers; empty: none."""
    if name in guarded:
        return guarded[name]
    return (EVERYTHING,) if name in _LATE else ()


def lost_findings(lost: Iterable[Lost], guarded: Mapping[str, tuple[str, ...]]) -> list[Finding]:
    """What dead and given-up parts mean for trading."""
    findings = []
    for part in lost:
        state = TradingState.HALTED if part.name in guarded else _LOST.get(part.name)
        if state is None:
            continue
        what = "given up" if part.gave_up else "restarting"
        text = f"{part.name} is {what}: {part.reason}"
        findings += [Finding(scope, state, text) for scope in scopes_of(part.name, guarded)]
    return findings


def breaker_findings(breakers: Iterable[Breaker]) -> list[Finding]:
    """What open and half-open breakers mean for trading."""
    return [
        Finding(row.scope, row.trading_state, f"breaker {row.name} ({row.state}): {row.reason}")
        for row in breakers
        if row.trading_state is not TradingState.RUN
    ]


def decide(findings: Iterable[Finding]) -> Permission:
    """The permission that all findings together leave."""
    everywhere = TradingState.RUN
    reasons: list[str] = []
    by_symbol: dict[str, tuple[TradingState, list[str]]] = {}
    for finding in sorted(findings, key=lambda item: -item.state.rank):
        if finding.state is TradingState.RUN:
            continue
        if finding.scope == EVERYTHING:
            everywhere = max(everywhere, finding.state, key=lambda state: state.rank)
            reasons.append(finding.reason)
        else:
            state, texts = by_symbol.setdefault(finding.scope, (finding.state, []))
            texts.append(finding.reason)
            by_symbol[finding.scope] = (max(state, finding.state, key=lambda item: item.rank), texts)
    per_symbol = tuple(
        (symbol, state, "; ".join(texts))
        for symbol, (state, texts) in sorted(by_symbol.items())
        if state.rank > everywhere.rank
    )
    return Permission(everywhere, tuple(dict.fromkeys(reasons)), per_symbol)
