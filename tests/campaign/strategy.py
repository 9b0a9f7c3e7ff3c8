"""A strategy that wants more than it may have, so that every limit is pushed against."""

from __future__ import annotations

import random
from collections.abc import Sequence
from decimal import Decimal

from actors.strategist.api import Idea, MarketView, Quote, Side, SymbolView
from actors.strategist.process import Decision, FaultKind, StrategyFaultError
from actors.strategist.wire import ideas_from_json, ideas_to_json

BPS = Decimal(10_000)


class GreedyStrategy:
    """Buys at nearly every turn whatever it holds, sells now and then, fails now and then. Seeded."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(f"strategy:{seed}")
        self.resting = False
        self.failure = 0.02
        self.patient: str = ""
        """The symbol of which entries rest far below the market, and nothing is sold."""

    def decide(self, view: MarketView) -> Decision:
        if self.resting:
            return Decision((), 0.001)
        if self.random.random() < self.failure:
            raise StrategyFaultError(FaultKind.CRASH, "as the schedule wants it")
        ideas = [idea for item in view.symbols if (idea := self._idea(item)) is not None]
        return self.through_the_wire(ideas)

    @staticmethod
    def through_the_wire(ideas: Sequence[Idea]) -> Decision:
        """What the strategy's process would have sent is parsed as its parent parses it."""
        import orjson

        return Decision(ideas_from_json(orjson.loads(ideas_to_json(ideas))["ideas"]), 0.001)

    def _idea(self, item: SymbolView) -> Idea | None:
        quote = item.quote
        if quote is None:
            return None
        if item.symbol == self.patient:
            return self._patient_idea(item, quote)
        if item.position is not None and self.random.random() < 0.3:
            return Idea(symbol=item.symbol, side=Side.SELL, reason="enough", base_size=item.position.quantity)
        if self.random.random() < 0.2:
            return None
        distance = Decimal(self.random.choice((40, 60, 90, 150)))
        resting = self.random.random() < 0.3
        return Idea(
            symbol=item.symbol,
            side=Side.BUY,
            reason="more",
            notional=Decimal(self.random.choice((20, 30, 60, 90, 90, 130))),
            limit=quote.bid * (1 - Decimal(5) / BPS) if resting else None,
            stop=quote.bid * (1 - distance / BPS),
            target=quote.ask * (1 + Decimal(self.random.choice((40, 90, 300))) / BPS),
            max_hold_s=float(self.random.choice((2, 4, 8, 300))),
        )

    @staticmethod
    def _patient_idea(item: SymbolView, quote: Quote) -> Idea:
        return Idea(
            symbol=item.symbol,
            side=Side.BUY,
            reason="one day",
            notional=Decimal(95),
            limit=quote.bid * (1 - Decimal(45) / BPS),
            stop=quote.bid * (1 - Decimal(150) / BPS),
            target=quote.ask * (1 + Decimal(300) / BPS),
            max_hold_s=300.0,
        )
