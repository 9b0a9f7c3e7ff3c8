"""What the reports of feed and gateway mean for breakers. Pure; time is an argument."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from actors.clock import NS_PER_S
from actors.messages.health import BreakerName, TradingState
from actors.messages.market import FeedHealth, ProductRules
from actors.messages.venue import GatewayReport
from config.settings import Settings
from supervision.breakers import EVERYTHING
from supervision.product_modes import judge_mode

FIRST_LIVE_S = 15.0
"""A connection that was never live since the feed started is a cause after this long."""
UNREAD_POLLS = 3
"""Product modes not read for this many polls stop entries."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One breaker's cause, present (``reason``) or gone (``reason`` empty)."""

    breaker: BreakerName
    scope: str
    reason: str
    effect: TradingState | None = None


class VenueWatch:
    """Remembers connections and product modes."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._feed_incarnation = -1
        self._feed_since_boot_ns = 0
        self._down_since: dict[str, int] = {}
        self._was_live: set[str] = set()
        self._gaps: dict[str, int] = {}
        self._health: FeedHealth | None = None
        self.modes_read_boot_ns: int | None = None

    def take_feed(self, health: FeedHealth, now_boot_ns: int) -> None:
        if health.feed_incarnation != self._feed_incarnation:
            self._feed_incarnation, self._feed_since_boot_ns = health.feed_incarnation, now_boot_ns
            self._down_since.clear()
            self._was_live.clear()
            self._gaps = {one.connection: one.gaps for one in health.connections}
        self._health = health
        for one in health.connections:
            if one.state == "live":
                self._was_live.add(one.connection)
                self._down_since.pop(one.connection, None)
            else:
                self._down_since.setdefault(one.connection, now_boot_ns)

    def forget_feed(self) -> None:
        """The feed died; its own loss stops trading until its successor reports."""
        self._health = None

    def judge_feed(self, now_boot_ns: int) -> tuple[Cause, ...]:
        """book_gap and user_channel; nothing while no feed reports."""
        if self._health is None:
            return ()
        reasons = {BreakerName.BOOK_GAP: "", BreakerName.USER_CHANNEL: ""}
        for one in self._health.connections:
            breaker = BreakerName.USER_CHANNEL if one.connection.startswith("user") else BreakerName.BOOK_GAP
            reason = self._connection_reason(one.connection, one.state, one.last_reason, now_boot_ns)
            if one.gaps > self._gaps.get(one.connection, 0):
                self._gaps[one.connection] = one.gaps
                reason = reason or f"{one.connection}: gap in the sequence"
            reasons[breaker] = reasons[breaker] or reason
        return tuple(Cause(breaker, EVERYTHING, reason) for breaker, reason in reasons.items())

    def _connection_reason(self, name: str, state: str, last_reason: str, now_boot_ns: int) -> str:
        since = self._down_since.get(name)
        if since is None:
            return ""
        down_s = (now_boot_ns - since) / NS_PER_S
        if name in self._was_live:
            return f"{name} is {state}: {last_reason}" if down_s > self._settings.watchdog.connection_s else ""
        if state == "stopped":
            return ""  # never wanted: no key, no user channel
        waited_s = (now_boot_ns - self._feed_since_boot_ns) / NS_PER_S
        return f"{name} was never live: {last_reason}" if waited_s > FIRST_LIVE_S else ""

    def judge_gateway(self, report: GatewayReport) -> tuple[Cause, ...]:
        """clock (measured offset beyond the round trip's own error) and auth (a key that may not trade)."""
        causes = []
        if report.clock_offset_ms is not None:
            limit_ms = self._settings.gateway.clock_trip_ms + (report.clock_error_ms or 0.0)
            late = abs(report.clock_offset_ms) > limit_ms
            text = f"{report.clock_offset_ms:.0f} ms from the exchange (limit {limit_ms:.0f})" if late else ""
            causes.append(Cause(BreakerName.CLOCK, EVERYTHING, text))
        if self._settings.mode != "dry_run" and report.key_checked and report.can_trade is False:
            causes.append(Cause(BreakerName.AUTH, EVERYTHING, "the key may not trade"))
        return tuple(causes)

    def judge_modes(self, asked: Iterable[str], rules: Iterable[ProductRules], now_boot_ns: int) -> tuple[Cause, ...]:
        """product_mode of every product asked for, from one complete answer: what is missing is closed."""
        self.modes_read_boot_ns = now_boot_ns
        found = {one.product_id: one for one in rules}
        causes = [Cause(BreakerName.PRODUCT_MODE, EVERYTHING, "")]
        for symbol in asked:
            state, reason = judge_mode(found.get(symbol))
            effect = None if state is TradingState.RUN else state
            causes.append(Cause(BreakerName.PRODUCT_MODE, symbol, reason, effect))
        return tuple(causes)

    def judge_unread(self, now_boot_ns: int) -> tuple[Cause, ...]:
        """product_mode of everything while the modes cannot be read; exits stay possible."""
        if self.modes_read_boot_ns is None:
            return ()
        age_s = (now_boot_ns - self.modes_read_boot_ns) / NS_PER_S
        if age_s <= UNREAD_POLLS * self._settings.watchdog.product_mode_s:
            return ()
        text = f"product modes not read for {age_s:.0f} s"
        return (Cause(BreakerName.PRODUCT_MODE, EVERYTHING, text, TradingState.REDUCE_ONLY),)
