"""Strategies that misbehave, each in its own way; they run in the strategy's own process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from decimal import Decimal

from actors.strategist.api import Idea, MarketView, Params, Side, Strategy

BUY = Idea(symbol="BTC-USD", side=Side.BUY, reason="test", notional=Decimal("30"), stop=Decimal("98"))


class Good(Strategy):
    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self.calls = 0

    def decide(self, view: MarketView) -> Sequence[Idea]:
        print("a strategy may print")
        self.calls += 1
        symbol = view["BTC-USD"]
        assert symbol.quote is not None
        return [
            Idea(
                symbol="BTC-USD",
                side=Side.BUY,
                reason=f"call {self.calls} of pid {os.getpid()}",
                notional=Decimal("30"),
                stop=symbol.quote.bid * Decimal("0.98"),
                target=symbol.quote.ask * Decimal("1.03"),
                max_hold_s=60,
            )
        ]


class Silent(Strategy):
    def decide(self, view: MarketView) -> Sequence[Idea]:
        return []


class Raising(Strategy):
    def decide(self, view: MarketView) -> Sequence[Idea]:
        raise ValueError("planted in the strategy")


class Spinning(Strategy):
    def decide(self, view: MarketView) -> Sequence[Idea]:
        while True:
            pass


class Deaf(Strategy):
    """Hangs and shrugs off every signal that it can."""

    def decide(self, view: MarketView) -> Sequence[Idea]:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        while True:
            time.sleep(1)


class Leaving(Strategy):
    def decide(self, view: MarketView) -> Sequence[Idea]:
        os._exit(3)


class KillingItself(Strategy):
    def decide(self, view: MarketView) -> Sequence[Idea]:
        os.kill(os.getpid(), signal.SIGSEGV)
        return []


def _answer_fd() -> int:
    """The highest pipe of the process is the one it answers on (planted knowledge of the inside)."""
    import sys

    return int(sys.argv[3])


class Babbling(Strategy):
    def decide(self, view: MarketView) -> Sequence[Idea]:
        os.write(_answer_fd(), b"\x00\x00\x00\x05hello")
        return []


class Endless(Strategy):
    """Claims an answer of four gigabytes."""

    def decide(self, view: MarketView) -> Sequence[Idea]:
        os.write(_answer_fd(), b"\xff\xff\xff\xff" + b"x" * 1000)
        return []


class Huge(Strategy):
    def decide(self, view: MarketView) -> Sequence[Idea]:
        return [BUY] * 10_000


class Floating(Strategy):
    def decide(self, view: MarketView) -> Sequence[Idea]:
        return [Idea(symbol="BTC-USD", side=Side.BUY, reason="", notional=30.0)]  # type: ignore[arg-type]


class NotIdeas(Strategy):
    def decide(self, view: MarketView) -> Sequence[Idea]:
        return "buy"  # type: ignore[return-value]


class Nan(Strategy):
    def decide(self, view: MarketView) -> Sequence[Idea]:
        return [Idea(symbol="BTC-USD", side=Side.BUY, reason="", notional=Decimal("NaN"))]


class Greedy(Strategy):
    def decide(self, view: MarketView) -> Sequence[Idea]:
        return [Idea(symbol="BTC-USD", side=Side.BUY, reason=str(len(bytearray(4 * 1024**3))))]


class Peeking(Strategy):
    """Says which environment it sees."""

    def decide(self, view: MarketView) -> Sequence[Idea]:
        return [Idea(symbol="BTC-USD", side=Side.BUY, reason=",".join(sorted(os.environ)))]


class Unmakeable(Strategy):
    def __init__(self, params: Params) -> None:
        raise RuntimeError("no parameters, no strategy")

    def decide(self, view: MarketView) -> Sequence[Idea]:
        return []


class Abstract(Strategy):
    pass


class NoStrategy:
    pass
