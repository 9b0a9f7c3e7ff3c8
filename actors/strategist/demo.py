"""The built-in strategy. It shows the machinery; it is not for money.

It buys a small amount when the last quotes did not fall, with a stop 2 % below and a target 3 % above, and lets the
position go after two minutes. Most of its trades lose the fees (1.8 % for both legs at Coinbase's entry tier), for
a price rarely moves 3 % in two minutes and a rise over three quotes foretells nothing. Live refuses it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar

from actors.strategist.api import Idea, MarketView, Params, Side, Strategy, SymbolView

BPS = Decimal(10_000)


class DemoStrategy(Strategy):
    """Parameters (all optional): notional (quote currency), stop_bps, target_bps, hold_s, lookback (quotes)."""

    demo_only: ClassVar[bool] = True

    def __init__(self, params: Params) -> None:
        super().__init__(params)
        self.notional = Decimal(str(params.get("notional", "30")))
        self.stop = Decimal(str(params.get("stop_bps", 200))) / BPS
        self.target = Decimal(str(params.get("target_bps", 300))) / BPS
        self.hold_s = float(str(params.get("hold_s", 120)))
        self.lookback = int(str(params.get("lookback", 3)))
        self.mids: dict[str, deque[Decimal]] = {}

    def decide(self, view: MarketView) -> Sequence[Idea]:
        ideas = [idea for item in view.symbols if (idea := self._enter(item)) is not None]
        affordable = min(view.capital.free, view.capital.max_order)
        return ideas if affordable >= self.notional else []

    def _enter(self, item: SymbolView) -> Idea | None:
        if item.quote is None:
            return None
        mids = self.mids.setdefault(item.symbol, deque(maxlen=self.lookback))
        mids.append(item.quote.mid)
        if not item.tradable or item.position is not None or item.entry_working:
            return None
        if len(mids) < self.lookback or item.quote.mid < sum(mids, Decimal(0)) / len(mids):
            return None
        return Idea(
            symbol=item.symbol,
            side=Side.BUY,
            reason=f"did not fall over {self.lookback} quotes",
            notional=self.notional,
            stop=item.quote.bid * (1 - self.stop),
            target=item.quote.ask * (1 + self.target),
            max_hold_s=self.hold_s,
        )
