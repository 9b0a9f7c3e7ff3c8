"""The newest state of every product of the market connection, and every trade since it was last taken.

Books may be merged, since only the newest counts; trades are kept all, in the order of their ids, each once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from actors.clock import NS_PER_S
from actors.feed.book import Book
from actors.feed.decode import (
    BookEvent,
    Candle,
    CandlesEvent,
    Frame,
    HeartbeatEvent,
    SubscriptionsEvent,
    TickerEvent,
    TradesEvent,
)
from actors.messages.market import MarketUpdate, PublicTrade, SymbolHealth

_RENUMBERED_NS = 10 * NS_PER_S


@dataclass(slots=True)
class ProductState:
    """One product. ``trades_synced``: on this connection the trades of the time before it are in."""

    product: str
    book: Book = field(default_factory=Book)
    pending: list[PublicTrade] = field(default_factory=list)
    last_trade: PublicTrade | None = None
    ticker: TickerEvent | None = None
    candle: Candle | None = None
    last_price: Decimal | None = None
    trades_synced: bool = False
    trades_until_utc_ns: int = 0
    trade_holes: int = 0
    exchange_utc_ns: int = 0
    received_boot_ns: int = 0
    book_messages: int = 0
    updates: int = 0
    trades: int = 0
    merged: int = 0
    dirty: int = 0

    def take_trades(self, trades: tuple[PublicTrade, ...]) -> bool:
        """Keep those not seen yet; False when there was none."""
        fresh = self._unseen(trades)
        if not fresh:
            return False
        if self.last_trade is not None and fresh[0].trade_id != self.last_trade.trade_id + 1:
            self.trade_holes += 1
        self.pending.extend(fresh)
        self.trades += len(fresh)
        self.last_trade = fresh[-1]
        self.last_price = fresh[-1].price
        return True

    def _unseen(self, trades: tuple[PublicTrade, ...]) -> tuple[PublicTrade, ...]:
        last = self.last_trade
        if not trades or last is None:
            return trades
        newest = trades[-1]
        if newest.trade_id <= last.trade_id and newest.time_utc_ns > last.time_utc_ns + _RENUMBERED_NS:
            return trades  # the venue counts anew: later trades under lower ids
        return tuple(trade for trade in trades if trade.trade_id > last.trade_id)


class MarketAssembly:
    """Applies the frames of one connection after another to the products' states."""

    def __init__(self, products: tuple[str, ...], depth_levels: int) -> None:
        self.states = {product: ProductState(product) for product in products}
        self.depth_levels = depth_levels
        self.connection_epoch = 0
        self.heartbeat_utc_ns = 0
        self.heartbeat_boot_ns = 0
        self.heartbeats = 0

    def connected(self, epoch: int) -> None:
        """A new connection begins: nothing of the old one's books or heartbeats holds any more."""
        self.lost()
        self.connection_epoch = epoch

    def lost(self) -> None:
        """The connection is gone or cannot be trusted."""
        self.heartbeat_utc_ns = self.heartbeat_boot_ns = 0
        for state in self.states.values():
            state.book.clear()
            state.trades_synced = False

    def drop_book(self, product: str) -> None:
        """Forget one book; the next snapshot brings it back."""
        self.states[product].book.clear()

    def apply(self, frame: Frame, received_boot_ns: int) -> set[str]:
        """The products whose state changed by a frame that was in order."""
        changed: set[str] = set()
        for event in frame.events:
            if isinstance(event, BookEvent):
                self._on_book(event, frame, received_boot_ns, changed)
            elif isinstance(event, TradesEvent):
                self._on_trades(event, frame, received_boot_ns, changed)
            elif isinstance(event, TickerEvent):
                self._on_ticker(event, frame, received_boot_ns, changed)
            elif isinstance(event, HeartbeatEvent):
                self._on_heartbeat(event, received_boot_ns, changed)
            elif isinstance(event, SubscriptionsEvent):
                self._on_subscriptions(event)
            elif isinstance(event, CandlesEvent):
                self._on_candles(event)
        return changed

    def update(self, product: str) -> MarketUpdate:
        """The newest state with the trades since the last call."""
        state = self.states[product]
        trades, state.pending = tuple(state.pending), []
        state.merged += max(0, state.dirty - 1)
        state.dirty = 0
        return self._update(state, trades)

    def health(self) -> tuple[SymbolHealth, ...]:
        return tuple(
            SymbolHealth(s.product, s.book.loaded, s.received_boot_ns, s.updates, s.trades, s.merged)
            for s in self.states.values()
        )

    def _update(self, state: ProductState, trades: tuple[PublicTrade, ...]) -> MarketUpdate:
        fresh = state.book.loaded
        return MarketUpdate(
            symbol=state.product,
            connection_epoch=self.connection_epoch,
            fresh=fresh,
            bids=state.book.top_bids(self.depth_levels) if fresh else (),
            asks=state.book.top_asks(self.depth_levels) if fresh else (),
            last_price=state.last_price,
            trades=trades,
            exchange_utc_ns=state.exchange_utc_ns,
            received_boot_ns=state.received_boot_ns,
            heartbeat_utc_ns=self.heartbeat_utc_ns,
            heartbeat_boot_ns=self.heartbeat_boot_ns,
            trades_until_utc_ns=state.trades_until_utc_ns,
            correlation_id=f"t-{self.connection_epoch}-{state.product}-{state.updates}",
        )

    def _touch(self, product: str, frame: Frame, received_boot_ns: int, changed: set[str]) -> ProductState | None:
        state = self.states.get(product)
        if state is None:
            return None  # not ours: nobody asked for it
        state.exchange_utc_ns = frame.sent_utc_ns
        state.received_boot_ns = received_boot_ns
        state.updates += 1
        state.dirty += 1
        changed.add(product)
        return state

    def _on_book(self, event: BookEvent, frame: Frame, received_boot_ns: int, changed: set[str]) -> None:
        known = self.states.get(event.product)
        if known is None or not (event.snapshot or known.book.loaded):
            return  # an update before its snapshot says nothing about the whole
        state = self._touch(event.product, frame, received_boot_ns, changed)
        if state is None:
            return
        state.book_messages += 1
        if event.snapshot:
            state.book.load(event.bids, event.asks)
        else:
            state.book.apply(event.bids, event.asks)

    def _on_trades(self, event: TradesEvent, frame: Frame, received_boot_ns: int, changed: set[str]) -> None:
        state = self._touch(event.product, frame, received_boot_ns, changed)
        if state is None:
            return
        state.take_trades(event.trades)
        if event.snapshot:
            state.trades_synced = True
        if state.trades_synced:
            state.trades_until_utc_ns = max(state.trades_until_utc_ns, frame.sent_utc_ns)

    def _on_ticker(self, event: TickerEvent, frame: Frame, received_boot_ns: int, changed: set[str]) -> None:
        state = self._touch(event.product, frame, received_boot_ns, changed)
        if state is not None:
            state.ticker = event
            if state.last_price is None:
                state.last_price = event.price

    def _on_heartbeat(self, event: HeartbeatEvent, received_boot_ns: int, changed: set[str]) -> None:
        self.heartbeats += 1
        self.heartbeat_utc_ns = event.time_utc_ns
        self.heartbeat_boot_ns = received_boot_ns
        for state in self.states.values():
            if state.trades_synced:
                state.trades_until_utc_ns = max(state.trades_until_utc_ns, event.time_utc_ns)
            changed.add(state.product)

    def _on_subscriptions(self, event: SubscriptionsEvent) -> None:
        """It follows the snapshots of its channels: a product listed without a snapshot of trades has none."""
        for channel, products in event.channels:
            if channel == "market_trades":
                for product in products:
                    if product in self.states:
                        self.states[product].trades_synced = True

    def _on_candles(self, event: CandlesEvent) -> None:
        for candle in event.candles:
            state = self.states.get(candle.product)
            if state is not None:
                state.candle = candle
