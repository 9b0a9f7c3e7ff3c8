"""Everything one symbol's guard decides: which tick is accepted, what blocks entries, which bars are done."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from actors.clock import NS_PER_S
from actors.guard.bars import BarBuilder, TradeLine
from actors.guard.staleness import Freshness
from actors.guard.ticks import TickJudge, Top, top_of
from actors.guard.volatility import RangeWindow
from actors.messages.market import Bar, GuardedQuote, Level, MarketUpdate, PublicTrade, Quote, TickRefusal
from config.sections.guard import GuardSettings

BACKWARDS_NS = NS_PER_S
"""Exchange time may go back this far between frames of one connection."""


@dataclass(slots=True)
class Verdict:
    """What one update led to."""

    accepted: int = 0
    refused: Counter[TickRefusal] = field(default_factory=Counter)
    bars: list[Bar] = field(default_factory=list)


class SymbolGuard:
    """One data product. Times are boot-clock ns, given as arguments."""

    def __init__(self, symbol: str, settings: GuardSettings) -> None:
        self.symbol = symbol
        self.trades = TradeLine()
        self.bars = BarBuilder(symbol, settings.bar_interval_s)
        self._settings = settings
        self._judge = TickJudge(settings.band_bps, settings.confirmations, settings.confirm_s)
        self._freshness = Freshness()
        self._range = RangeWindow(settings.volatility_window_s, settings.max_volatility_bps)
        self._refusal: TickRefusal | None = TickRefusal.NO_BOOK
        self._quote: Quote | None = None
        self._depth: tuple[tuple[Level, ...], tuple[Level, ...]] = ((), ())
        self._last_print: Decimal | None = None
        self._fresh_since_boot_ns: int | None = None
        self._epoch = 0
        self._exchange_utc_ns = 0
        self._trades_until_utc_ns = 0
        self.correlation_id = ""

    def apply(self, update: MarketUpdate, now: int) -> Verdict:
        """Take one update of the feed."""
        verdict = Verdict()
        refusal = self._apply_book(update, now)
        if refusal is None:
            verdict.accepted += 1
        else:
            verdict.refused[refusal] += 1
        self._apply_trades(update, now, verdict)
        self.correlation_id = update.correlation_id
        return verdict

    def tick(self, now: int) -> Verdict:
        """What follows from time alone; call a few times a second."""
        verdict = Verdict()
        self._range.judge(now)
        self._expire_prints(now, verdict)
        verdict.bars = self._close_bars()
        return verdict

    def guarded(self, now: int, incarnation: int) -> GuardedQuote:
        """The quote as it stands at ``now``.

        ``quote`` is None without a verified book. While a tick is refused it is the last accepted one, and its
        ``as_of_boot_ns`` stands still: whoever uses it judges its age.
        """
        return GuardedQuote(
            symbol=self.symbol,
            quote=self._quote,
            blocks=self.blocks(now),
            last_trade_price=self._last_print,
            volatility_bps=self._range.range_bps,
            bids=self._depth[0],
            asks=self._depth[1],
            guard_incarnation=incarnation,
            correlation_id=self.correlation_id,
        )

    def blocks(self, now: int) -> tuple[TickRefusal, ...]:
        """Everything that speaks against an entry now; empty when entries are allowed."""
        found = [] if self._refusal is None else [self._refusal]
        if self.is_stale(now):
            found.append(TickRefusal.STALE)
        quote = self._quote
        if quote is not None and quote.spread_bps > self._settings.max_spread_bps:
            found.append(TickRefusal.WIDE_SPREAD)
        if self._range.volatile:
            found.append(TickRefusal.VOLATILE)
        since = self._fresh_since_boot_ns
        if since is None or now - since < self._settings.warm_up_s * NS_PER_S:
            found.append(TickRefusal.WARMING_UP)
        return tuple(found)

    def is_stale(self, now: int) -> bool:
        """Whether the accepted quote is older than ``stale_s``, or there is none."""
        quote = self._quote
        return quote is None or now - quote.as_of_boot_ns > self._settings.stale_s * NS_PER_S

    @property
    def is_volatile(self) -> bool:
        return self._range.volatile

    # --- book ------------------------------------------------------------------------------------------

    def _apply_book(self, update: MarketUpdate, now: int) -> TickRefusal | None:
        if update.connection_epoch < self._epoch:
            return TickRefusal.TIME_BACKWARDS  # late, from a connection that is gone; what we know is newer
        if update.connection_epoch > self._epoch:
            self._epoch, self._exchange_utc_ns = update.connection_epoch, 0
            self._fresh_since_boot_ns = None
        self._freshness.note(update)
        self._refusal = self._judge_book(update, now)
        return self._refusal

    def _judge_book(self, update: MarketUpdate, now: int) -> TickRefusal | None:
        if not update.fresh:
            self._judge.interrupted()
            self._quote, self._depth, self._fresh_since_boot_ns = None, ((), ()), None
            return TickRefusal.NO_BOOK
        if update.exchange_utc_ns < self._exchange_utc_ns - BACKWARDS_NS:
            return TickRefusal.TIME_BACKWARDS
        self._exchange_utc_ns = max(self._exchange_utc_ns, update.exchange_utc_ns)
        if self._fresh_since_boot_ns is None:
            self._fresh_since_boot_ns = now
        top = top_of(update.bids, update.asks)
        if isinstance(top, TickRefusal):
            self._judge.interrupted()
            return top
        refusal = self._judge.judge_quote(top, now)
        if refusal is None:
            self._accept(top, update, now)
        return refusal

    def _accept(self, top: Top, update: MarketUpdate, now: int) -> None:
        self._quote = Quote(
            symbol=self.symbol,
            bid=top.bid,
            ask=top.ask,
            bid_size=top.bid_size,
            ask_size=top.ask_size,
            exchange_utc_ns=update.exchange_utc_ns,
            as_of_boot_ns=self._freshness.as_of_boot_ns,
        )
        self._depth = (update.bids, update.asks)
        self._range.note(top.mid, now)

    # --- trades and bars -------------------------------------------------------------------------------

    def _apply_trades(self, update: MarketUpdate, now: int, verdict: Verdict) -> None:
        fresh, holes = self.trades.take(update.trades)
        for since, until in holes:
            self.bars.miss(since, until)
        self._add_prints(self._judge.judge_prints(fresh, now), verdict)
        self._trades_until_utc_ns = max(self._trades_until_utc_ns, update.trades_until_utc_ns)
        self._expire_prints(now, verdict)
        verdict.bars = self._close_bars()

    def _add_prints(self, prints: list[PublicTrade], verdict: Verdict) -> None:
        for trade in prints:
            self.bars.add(trade)
            self._last_print = trade.price
        verdict.accepted += len(prints)

    def _expire_prints(self, now: int, verdict: Verdict) -> None:
        dropped = len(self._judge.drop_expired(now))
        if dropped:
            verdict.refused[TickRefusal.OUT_OF_BAND] += dropped

    def _close_bars(self) -> list[Bar]:
        return self.bars.close(self._trades_until_utc_ns, self._judge.oldest_held_utc_ns())
