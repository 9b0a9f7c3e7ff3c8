"""Market updates for guard tests: one symbol, moved by hand."""

from __future__ import annotations

from decimal import Decimal

from actors.clock import NS_PER_S
from actors.messages.market import MarketUpdate, PublicTrade, Side

T0 = 1_786_309_500 * NS_PER_S
"""Exchange time at boot second 1000; a whole minute."""
BOOT0 = 1_000 * NS_PER_S


def boot(seconds: float) -> int:
    return BOOT0 + round(seconds * NS_PER_S)


def utc(seconds: float) -> int:
    return T0 + round(seconds * NS_PER_S)


def trade(number: int, price: str, at_s: float, size: str = "1") -> PublicTrade:
    return PublicTrade(number, Decimal(price), Decimal(size), Side.SELL, utc(at_s))


def update(
    at_s: float,
    bid: str | None = "100",
    ask: str | None = "100.1",
    *trades: PublicTrade,
    fresh: bool = True,
    epoch: int = 1,
    sent_s: float | None = None,
    heartbeat_s: float | None = None,
    heartbeat_sent_s: float | None = None,
    until_s: float = 0.0,
    symbol: str = "BTC-USD",
) -> MarketUpdate:
    """A frame that arrived at ``at_s``; the exchange sent it at ``sent_s`` (default: at the same moment)."""
    beat = at_s if heartbeat_s is None else heartbeat_s
    return MarketUpdate(
        symbol=symbol,
        connection_epoch=epoch,
        fresh=fresh,
        bids=((Decimal(bid), Decimal(5)),) if bid and fresh else (),
        asks=((Decimal(ask), Decimal(5)),) if ask and fresh else (),
        last_price=None,
        trades=trades,
        exchange_utc_ns=utc(at_s if sent_s is None else sent_s),
        received_boot_ns=boot(at_s),
        heartbeat_utc_ns=utc(beat if heartbeat_sent_s is None else heartbeat_sent_s),
        heartbeat_boot_ns=boot(beat),
        trades_until_utc_ns=utc(until_s) if until_s else 0,
    )
