"""A guard's mailbox: one symbol, or a few in one process. Market updates in; guarded quotes and bars out."""

from __future__ import annotations

from functools import partial

from actors.actor import TradingActor
from actors.clock import NS_PER_S
from actors.guard.symbol import SymbolGuard, Verdict
from actors.messages.delivery import Undelivered
from actors.messages.health import BreakerName, BreakerSignal
from actors.messages.market import GuardedQuote, MarketUpdate, TickRefusal

QUOTE_INTERVAL_S = 0.02
TICK_S = 0.25
REPEAT_S = 1.0
REFRESH_NS = NS_PER_S // 4
ADMIN_INTERVAL_S = 0.9
"""The status page needs no more, unless what blocks entries changes."""
TRADING_RECEIVERS = ("strategist", "risk", "tracker")
QUOTE_RECEIVERS = (*TRADING_RECEIVERS, "admin")


class GuardActor(TradingActor):
    """``args["products"]``: the data products it guards."""

    beat_interval_s = 1.0

    def __init__(self) -> None:
        super().__init__()
        self._guards: dict[str, SymbolGuard] = {}
        self._shown: dict[str, GuardedQuote] = {}
        self._shown_boot_ns: dict[str, int] = {}
        self._admin_boot_ns: dict[str, int] = {}
        self._waiting: set[str] = set()
        self._signals: dict[tuple[BreakerName, str], BreakerSignal] = {}
        self._unsent: set[tuple[BreakerName, str]] = set()
        self._incarnations: dict[str, int] = {}
        self._last_tick_boot_ns = 0
        self._accepted = 0

    def restore(self) -> bool:
        products = self.args["products"]
        assert isinstance(products, tuple | list)
        self._guards = {str(product): SymbolGuard(str(product), self.settings.guard) for product in products}
        return True

    def started(self) -> None:
        self._incarnations = {name: peer.incarnation for name, peer in self.peers.items()}
        for symbol in self._guards:
            self._judge(symbol)
        self.every("tick", TICK_S, self._tick)

    def progress(self) -> dict[str, int]:
        return {"last_tick": self._last_tick_boot_ns, "accepted_count": self._accepted}

    def peers_changed(self) -> None:
        """A part that is new hears everything once."""
        before, self._incarnations = self._incarnations, {n: p.incarnation for n, p in self.peers.items()}
        new = {name for name, incarnation in self._incarnations.items() if before.get(name) != incarnation}
        if "watchdog" in new:
            self._unsent.update(self._signals)
            self._send_signals()
        for name in new.intersection(QUOTE_RECEIVERS):
            for symbol, guard in self._guards.items():
                self.tell(name, self._make(symbol, guard))

    def on_market_update(self, message: MarketUpdate, sender: object) -> None:
        guard = self._guards[message.symbol]
        now = self.clock.boot_ns()
        self._last_tick_boot_ns = now
        self._book(message.symbol, guard.apply(message, now))
        self._judge(message.symbol)

    def on_undelivered(self, message: Undelivered, sender: object) -> None:
        """A breaker's signal must arrive; quotes are repeated anyway; a lost bar is named in the log."""
        super().on_undelivered(message, sender)
        if isinstance(message.message, BreakerSignal):
            self._unsent.add((message.message.breaker, message.message.scope))

    def _tick(self) -> None:
        now = self.clock.boot_ns()
        for symbol, guard in self._guards.items():
            self._book(symbol, guard.tick(now))
            self._judge(symbol)
            if now - self._shown_boot_ns.get(symbol, 0) >= round((REPEAT_S - TICK_S / 2) * NS_PER_S):
                self._show(symbol)
        self._send_signals()

    def _book(self, symbol: str, verdict: Verdict) -> None:
        """Count what was decided and pass the bars on."""
        if verdict.accepted:
            self._accepted += verdict.accepted
            self.meter.count("ticks_accepted_total", verdict.accepted, symbol=symbol)
        for reason, amount in verdict.refused.items():
            self.meter.count("ticks_refused_total", amount, symbol=symbol, reason=reason.value)
        for bar in verdict.bars:
            self.meter.count("bars_total", symbol=symbol)
            self.tell("strategist", bar)

    def _judge(self, symbol: str) -> None:
        """After anything that may have changed the verdict: signals at once, the quote within its interval."""
        guard = self._guards[symbol]
        now = self.clock.boot_ns()
        self._signal(BreakerName.QUOTE_STALE, symbol, guard.is_stale(now))
        self._signal(BreakerName.VOLATILITY, symbol, guard.is_volatile)
        if symbol in self._waiting or not self._differs(symbol, self._make(symbol, guard)):
            return
        wait_s = QUOTE_INTERVAL_S - (now - self._shown_boot_ns.get(symbol, -NS_PER_S)) / NS_PER_S
        if wait_s <= 0:
            self._show(symbol)
        else:
            self._waiting.add(symbol)
            self.after(f"quote.{symbol}", wait_s, partial(self._show, symbol))

    def _differs(self, symbol: str, quote: GuardedQuote) -> bool:
        """Whether there is news worth a message."""
        shown = self._shown.get(symbol)
        if shown is None:
            return True
        if quote.quote is None or shown.quote is None:
            return quote.quote is not shown.quote or quote.blocks != shown.blocks
        if quote.quote.as_of_boot_ns - shown.quote.as_of_boot_ns >= REFRESH_NS:
            return True  # a heartbeat made it younger: whoever checks ages must not wait for the next repeat
        return (quote.blocks, quote.bids, quote.asks, quote.last_trade_price) != (
            shown.blocks,
            shown.bids,
            shown.asks,
            shown.last_trade_price,
        )

    def _show(self, symbol: str) -> None:
        self._waiting.discard(symbol)
        quote = self._make(symbol, self._guards[symbol])
        shown, now = self._shown.get(symbol), self.clock.boot_ns()
        self._shown[symbol] = quote
        self._shown_boot_ns[symbol] = now
        for name in TRADING_RECEIVERS:
            self.tell(name, quote)
        due = now - self._admin_boot_ns.get(symbol, -NS_PER_S) >= round(ADMIN_INTERVAL_S * NS_PER_S)
        if due or shown is None or shown.blocks != quote.blocks:
            self._admin_boot_ns[symbol] = now
            self.tell("admin", quote)

    def _make(self, symbol: str, guard: SymbolGuard) -> GuardedQuote:
        return guard.guarded(self.clock.boot_ns(), self.incarnation)

    def _signal(self, breaker: BreakerName, symbol: str, tripped: bool) -> None:
        for instrument in self.settings.instruments:
            if instrument.data_product != symbol:
                continue
            key = (breaker, instrument.symbol)
            known = self._signals.get(key)
            if known is None or known.tripped != tripped:
                reason = f"{symbol}: {self._reason(breaker, symbol)}" if tripped else ""
                self._signals[key] = BreakerSignal(breaker, instrument.symbol, tripped, reason, self.name)
                self._unsent.add(key)
        self._send_signals()

    def _reason(self, breaker: BreakerName, symbol: str) -> str:
        quote = self._make(symbol, self._guards[symbol])
        if breaker is BreakerName.VOLATILITY:
            return f"range {quote.volatility_bps:.0f} bps" if quote.volatility_bps is not None else "range"
        if quote.quote is None:
            return TickRefusal.NO_BOOK.value
        return f"quote {(self.clock.boot_ns() - quote.quote.as_of_boot_ns) / NS_PER_S:.1f} s old"

    def _send_signals(self) -> None:
        for key in sorted(self._unsent):
            if self.tell("watchdog", self._signals[key]):
                self._unsent.discard(key)
