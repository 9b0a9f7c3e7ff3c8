"""Is a price real? Judged against the live book and the median of recent prices, with confirmation.

A fixed band alone fails one side or the other of what happened on this exchange: the single print at 0.06 with
the book elsewhere (2017-04-15) must not trade, mark or stop anything; a crash that takes the book along
(2017-06-21, 2025-10-10) must pass. So a quote far from the recent median waits until the new level is confirmed:
by several distinct book states or prints at that level, or by standing there unchanged; and a book that is torn
open (one side swept) is never evidence. A print is real when it lies within what the accepted quotes spanned.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from statistics import median

from actors.clock import NS_PER_MS, NS_PER_S
from actors.messages.market import Level, PublicTrade, TickRefusal

BPS = Decimal(10_000)
MEDIAN_SAMPLES = 64
SAMPLE_NS = 100 * NS_PER_MS
MEMORY_NS = 10 * NS_PER_S
SPAN_NS = 5 * NS_PER_S
"""Prints are gathered over 250 ms and may trail the book: they are compared with what it spanned until now."""
MAX_HELD = 5_000


@dataclass(frozen=True, slots=True)
class Top:
    """Best bid and ask with sizes."""

    bid: Decimal
    ask: Decimal
    bid_size: Decimal
    ask_size: Decimal

    @property
    def mid(self) -> Decimal:
        return (self.bid + self.ask) / 2


def top_of(bids: tuple[Level, ...], asks: tuple[Level, ...]) -> Top | TickRefusal:
    """The best prices of a book, or why it has none that can be used."""
    if not bids or not asks:
        return TickRefusal.NO_BOOK
    (bid, bid_size), (ask, ask_size) = bids[0], asks[0]
    if bid <= 0 or ask <= 0 or bid_size <= 0 or ask_size <= 0:
        return TickRefusal.NOT_POSITIVE
    if bid >= ask:
        return TickRefusal.CROSSED
    return Top(bid, ask, bid_size, ask_size)


@dataclass(slots=True)
class _Candidate:
    """A level away from the recent median that may turn out to be real."""

    mid: Decimal
    since_boot_ns: int
    evidence: deque[int]
    last: Top


class TickJudge:
    """One symbol's judge. Times are boot-clock ns; ``band_bps`` in basis points of the reference."""

    def __init__(self, band_bps: Decimal, confirmations: int, confirm_s: float) -> None:
        self._band = band_bps / BPS
        self._confirmations = confirmations
        self._confirm_ns = round(confirm_s * NS_PER_S)
        self._samples: deque[tuple[int, Decimal]] = deque(maxlen=MEDIAN_SAMPLES)
        self._span: deque[tuple[int, Decimal, Decimal]] = deque()
        self._reference: Decimal | None = None
        self._candidate: _Candidate | None = None
        self._held: deque[tuple[int, PublicTrade]] = deque()

    @property
    def reference(self) -> Decimal | None:
        """The median of recent accepted mids; None before the first."""
        return self._reference

    @property
    def held(self) -> int:
        """Prints that wait for confirmation."""
        return len(self._held)

    def oldest_held_utc_ns(self) -> int | None:
        """Exchange time of the oldest print that waits."""
        return min((trade.time_utc_ns for _, trade in self._held), default=None)

    def judge_quote(self, top: Top, now: int) -> TickRefusal | None:
        """None: accepted, and from now on part of the reference."""
        if (top.ask - top.bid) > top.mid * self._band:
            self.interrupted()
            return TickRefusal.OUT_OF_BAND  # torn open: its middle is nobody's price
        if self._reference is None or self._near(top.mid, self._reference) or self._confirmed(top, now):
            self._accept(top, now)
            return None
        return TickRefusal.UNCONFIRMED

    def interrupted(self) -> None:
        """The book is not there or not to be used: a level that waited for confirmation did not stand."""
        self._candidate = None

    def judge_prints(self, trades: tuple[PublicTrade, ...], now: int) -> list[PublicTrade]:
        """The prints that are real by now, those held before included; call after ``judge_quote``.

        A print outside what the accepted quotes spanned is held up to ``confirm_s`` and may confirm a candidate
        level of the book, but never by itself.
        """
        accepted = self._release(now)
        for trade in trades:
            if trade.price <= 0 or trade.size <= 0:
                continue
            if self._is_spanned(trade.price):
                accepted.append(trade)
                continue
            self._held.append((now, trade))
            if self._candidate is not None and self._near(trade.price, self._candidate.mid):
                self._candidate.evidence.append(now)
        return accepted

    def drop_expired(self, now: int) -> list[PublicTrade]:
        """Prints that nothing confirmed in time: refused for good."""
        dropped = []
        while self._held and (now - self._held[0][0] > self._confirm_ns or len(self._held) > MAX_HELD):
            dropped.append(self._held.popleft()[1])
        return dropped

    # --- confirmation ----------------------------------------------------------------------------------

    def _confirmed(self, top: Top, now: int) -> bool:
        candidate = self._candidate
        if candidate is None or not self._near(top.mid, candidate.mid):
            self._candidate = _Candidate(top.mid, now, deque([now]), top)
            return self._confirmations <= 1
        if (top.bid, top.ask) != (candidate.last.bid, candidate.last.ask):
            candidate.evidence.append(now)
            candidate.mid, candidate.last = top.mid, top
        while candidate.evidence and now - candidate.evidence[0] > self._confirm_ns:
            candidate.evidence.popleft()
        return len(candidate.evidence) >= self._confirmations or now - candidate.since_boot_ns >= self._confirm_ns

    def _accept(self, top: Top, now: int) -> None:
        mid = top.mid
        if self._reference is not None and not self._near(mid, self._reference):
            self._samples.clear()  # the market is at another level: the old median describes nothing any more
            self._reference = None
        self._candidate = None
        if self._reference is None or not self._samples or now - self._samples[-1][0] >= SAMPLE_NS:
            self._samples.append((now, mid))
            while now - self._samples[0][0] > MEMORY_NS:
                self._samples.popleft()
            self._reference = median(sample for _, sample in self._samples)
        self._note_span(top, now)

    # --- prints ----------------------------------------------------------------------------------------

    def _note_span(self, top: Top, now: int) -> None:
        span = self._span
        if span and now - span[-1][0] < SAMPLE_NS:
            at, low, high = span[-1]
            span[-1] = (at, min(low, top.bid), max(high, top.ask))
        else:
            span.append((now, top.bid, top.ask))
        while now - span[0][0] > SPAN_NS and len(span) > 1:
            span.popleft()

    def _is_spanned(self, price: Decimal) -> bool:
        if not self._span:
            return False
        low = min(item[1] for item in self._span)
        high = max(item[2] for item in self._span)
        return low * (1 - self._band) <= price <= high * (1 + self._band)

    def _release(self, now: int) -> list[PublicTrade]:
        if not self._held:
            return []
        released = [trade for _, trade in self._held if self._is_spanned(trade.price)]
        if released:
            self._held = deque(item for item in self._held if not self._is_spanned(item[1].price))
        return released

    def _near(self, price: Decimal, reference: Decimal) -> bool:
        return abs(price - reference) <= reference * self._band
