"""Views and inputs for the strategist's tests."""

from __future__ import annotations

from decimal import Decimal

from actors.messages.books import OpenOrder, PnlBooks, PortfolioSnapshot, Position
from actors.messages.health import Lease, TradingState
from actors.messages.market import GuardedQuote, Quote, TickRefusal
from actors.strategist.api import CapitalView, MarketView, SymbolView

D = Decimal


def quote(symbol: str = "BTC-USD", bid: str = "100", ask: str = "100.1", at_boot_ns: int = 0) -> Quote:
    return Quote(symbol, D(bid), D(ask), D(10), D(10), 0, at_boot_ns)


def guarded(
    symbol: str = "BTC-USD", at_boot_ns: int = 0, blocks: tuple[TickRefusal, ...] = (), bid: str = "100"
) -> GuardedQuote:
    found = quote(symbol, bid, str(D(bid) + D("0.1")), at_boot_ns)
    return GuardedQuote(symbol, found, blocks, None, None, ((D(bid), D(10)),), ((found.ask, D(10)),), 1, "tick-1")


def lease(at_boot_ns: int, state: TradingState = TradingState.RUN, epoch: int = 1) -> Lease:
    return Lease(epoch, 1, 1, at_boot_ns, state, (), ())


def snapshot(
    at_boot_ns: int,
    sequence: int = 1,
    positions: tuple[Position, ...] = (),
    open_orders: tuple[OpenOrder, ...] = (),
    ready: bool = True,
    epoch: int = 1,
) -> PortfolioSnapshot:
    pnl = PnlBooks(D(0), D(0), D(0), D(0), 0, 0)
    return PortfolioSnapshot(epoch, sequence, ready, open_orders, positions, pnl, (), (), (), at_boot_ns, 1)


def view(cycle: int = 1, bid: str = "100") -> MarketView:
    item = SymbolView(
        symbol="BTC-USD",
        base="BTC",
        quote_currency="USD",
        quote=quote(bid=bid, ask=str(D(bid) + D("0.1"))),
        tradable=True,
        blocks=(),
        volatility_bps=None,
        bars=(),
        position=None,
        entry_working=False,
        last_refusal="",
    )
    return MarketView(0, cycle, "RUN", (item,), CapitalView(D(1000), D(100), D(1000)))
