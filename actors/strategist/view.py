"""Make the immutable view that a strategy decides from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from actors.messages.books import PortfolioSnapshot, Position
from actors.messages.health import Lease, TradingState
from actors.messages.market import Bar, GuardedQuote, Side
from actors.messages.orders import Protection
from actors.strategist.api import CapitalView, Holding, MarketView, SymbolView
from config.sections.risk import CapitalSettings
from config.settings import InstrumentSettings


def make_view(
    *,
    now_utc_ns: int,
    cycle: int,
    lease: Lease,
    snapshot: PortfolioSnapshot,
    instruments: Iterable[InstrumentSettings],
    quotes: Mapping[str, GuardedQuote],
    bars: Mapping[str, Iterable[Bar]],
    refusals: Mapping[str, str],
    capital: CapitalSettings,
) -> MarketView:
    """The view of now. ``quotes`` and ``bars`` are by data product, ``refusals`` by order product."""
    symbols = tuple(
        _symbol_view(item, lease, snapshot, quotes.get(item.data_product), bars.get(item.data_product, ()), refusals)
        for item in instruments
    )
    held = sum((position.quantity * position.average_cost for position in snapshot.positions), Decimal(0))
    working = sum(
        (order.remaining * order.limit_price for order in snapshot.open_orders if order.side is Side.BUY), Decimal(0)
    )
    free = max(Decimal(0), capital.allotted - held - working)
    return MarketView(
        now_utc_ns=now_utc_ns,
        cycle=cycle,
        state=lease.state.value,
        symbols=symbols,
        capital=CapitalView(capital.allotted, capital.max_order, free),
    )


def _symbol_view(
    instrument: InstrumentSettings,
    lease: Lease,
    snapshot: PortfolioSnapshot,
    guarded: GuardedQuote | None,
    bars: Iterable[Bar],
    refusals: Mapping[str, str],
) -> SymbolView:
    symbol = instrument.symbol
    quote = guarded.quote if guarded else None
    blocks = tuple(block.value for block in guarded.blocks) if guarded else ()
    position = next((item for item in snapshot.positions if item.symbol == symbol and item.quantity > 0), None)
    working = any(order.symbol == symbol and order.side is Side.BUY for order in snapshot.open_orders)
    running = lease.state_of(symbol) is TradingState.RUN and symbol not in snapshot.unknown_symbols
    return SymbolView(
        symbol=symbol,
        base=instrument.base,
        quote_currency=instrument.quote,
        quote=quote,
        tradable=running and quote is not None and not blocks,
        blocks=blocks,
        volatility_bps=guarded.volatility_bps if guarded else None,
        bars=tuple(bars),
        position=_holding(position) if position else None,
        entry_working=working,
        last_refusal=refusals.get(symbol, ""),
    )


def _holding(position: Position) -> Holding | None:
    """Dust is no holding: it cannot be sold, and joins the next entry."""
    if position.protection is Protection.DUST:
        return None
    return Holding(
        quantity=position.quantity,
        average_cost=position.average_cost,
        opened_utc_ns=position.opened_utc_ns,
        stop_price=position.stop_price,
        target_price=position.target_price,
        protection=position.protection.value,
    )
