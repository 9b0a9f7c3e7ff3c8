"""What a strategy is: a view of the market goes in, ideas come out. Nothing else.

A strategy runs in a process of its own: it cannot block or crash the daemon, and it has no keys. It may keep
state between decisions, but must expect to be started anew at any time (after a crash, an overrun, a restart);
what it needs is in the view. docs/strategies.md has a complete example.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

from actors.messages.market import Bar, Quote, Side

__all__ = ["Bar", "CapitalView", "Holding", "Idea", "MarketView", "Quote", "Side", "Strategy", "SymbolView"]

Params = Mapping[str, str | int | bool]


@dataclass(frozen=True, slots=True)
class Holding:
    """A position of this daemon. Prices in quote currency; ``protection`` is PROTECTED, DUST or NAKED."""

    quantity: Decimal
    average_cost: Decimal
    """Per base unit, entry fees included."""
    opened_utc_ns: int
    stop_price: Decimal | None
    target_price: Decimal | None
    protection: str


@dataclass(frozen=True, slots=True)
class SymbolView:
    """One order product."""

    symbol: str
    base: str
    quote_currency: str
    quote: Quote | None
    """The newest accepted best bid and ask; None when there is none."""
    tradable: bool
    """Whether entries are possible as far as guard and trading state know; the risk manager still decides."""
    blocks: tuple[str, ...]
    """Why the guard blocks entries."""
    volatility_bps: Decimal | None
    bars: tuple[Bar, ...]
    """Oldest first; only closed ones, and none for a time without trades."""
    position: Holding | None
    entry_working: bool
    """An entry of ours is on its way or open."""
    last_refusal: str
    """Reason code of the newest refusal of a proposal on this symbol since the previous decision, or nothing."""


@dataclass(frozen=True, slots=True)
class CapitalView:
    """Quote currency. ``free``: the allotted capital minus the cost of positions and open entries."""

    allotted: Decimal
    max_order: Decimal
    free: Decimal


@dataclass(frozen=True, slots=True)
class MarketView:
    """Everything a decision is made from, as of ``now_utc_ns``."""

    now_utc_ns: int
    cycle: int
    state: str
    """RUN, or REDUCE_ONLY (then only exits are possible)."""
    symbols: tuple[SymbolView, ...]
    capital: CapitalView

    def __getitem__(self, symbol: str) -> SymbolView:
        """The view of one order product; raises KeyError."""
        for item in self.symbols:
            if item.symbol == symbol:
                return item
        raise KeyError(symbol)


@dataclass(frozen=True, slots=True)
class Idea:
    """What a strategy would do. It becomes an order only if the risk manager approves.

    To enter: side BUY, ``notional`` (quote currency), ``stop`` (mandatory), and ``target`` or
    ``expected_edge_bps`` (gross; with both the smaller counts against the fees). Without ``limit`` the order
    takes what the book offers, inside the collar. To exit: side SELL and ``base_size``.
    All numbers are Decimal. ``max_hold_s``: sold after this time whatever happens.
    """

    symbol: str
    side: Side
    reason: str
    notional: Decimal | None = None
    base_size: Decimal | None = None
    limit: Decimal | None = None
    stop: Decimal | None = None
    target: Decimal | None = None
    max_hold_s: float | None = None
    expected_edge_bps: Decimal | None = None


class Strategy(ABC):
    """The class to derive from; name it in ``policy.yaml`` as ``strategist.strategy: package.module:Class``."""

    demo_only: ClassVar[bool] = False
    """True: refused in live."""

    def __init__(self, params: Params) -> None:
        self.params = params

    @abstractmethod
    def decide(self, view: MarketView) -> Sequence[Idea]:
        """Return ideas, best first; an empty sequence is a decision too. No I/O; answers within the time limit."""
