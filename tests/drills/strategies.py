"""Strategies of the drills: they ask for exactly the orders a drill needs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from actors.strategist.api import Idea, MarketView, Side, Strategy, SymbolView


def buy(
    symbol: str, reason: str, price: Decimal, *, limit: Decimal | None = None, max_hold_s: float | None = None
) -> Idea:
    """40 in quote currency, with a stop and a target that the drill's market does not reach by itself."""
    return Idea(
        symbol=symbol,
        side=Side.BUY,
        reason=reason,
        notional=Decimal(40),
        limit=limit,
        stop=price * Decimal("0.95"),
        target=price * Decimal("1.2"),
        max_hold_s=max_hold_s,
    )


class HoldSomeBidForTheRest(Strategy):
    """Buys the symbols of ``held`` at the market once, and keeps a resting bid below the market in all others."""

    demo_only = True

    def decide(self, view: MarketView) -> Sequence[Idea]:
        held = str(self.params["held"]).split(",")
        ideas = []
        for item in view.symbols:
            if item.quote is None or not item.tradable or item.position is not None or item.entry_working:
                continue
            price = item.quote.ask if item.symbol in held else item.quote.bid * Decimal("0.997")
            ideas.append(buy(item.symbol, "drill", price, limit=None if item.symbol in held else price))
        return ideas


class Churn(Strategy):
    """Buys whatever is flat and sells whatever is held for ``hold_s`` (4), as often as it may: the ledger's busiest
    day."""

    demo_only = True

    def decide(self, view: MarketView) -> Sequence[Idea]:
        hold_ns = float(str(self.params.get("hold_s", 4))) * 1e9
        ideas = []
        for item in view.symbols:
            if item.quote is None:
                continue
            if item.position is not None and view.now_utc_ns - item.position.opened_utc_ns > hold_ns:
                size = item.position.quantity
                ideas.append(Idea(symbol=item.symbol, side=Side.SELL, reason="churn", base_size=size))
            elif item.tradable and item.position is None and not item.entry_working:
                ideas.append(buy(item.symbol, "churn", item.quote.ask))
        return ideas


class Commanded(Strategy):
    """Proposes what the files of ``folder`` tell it to: each once, when it has a quote and may.

    A file is renamed before its idea is returned: whoever commands sees that it was taken, a restart repeats nothing.
    """

    demo_only = True

    def decide(self, view: MarketView) -> Sequence[Idea]:
        ideas = []
        for path in sorted(Path(str(self.params["folder"])).glob("*.json")):
            command = json.loads(path.read_text())
            idea = self._idea(command, view[command["symbol"]])
            if idea is not None:
                path.rename(path.with_suffix(".taken"))
                ideas.append(idea)
        return ideas

    @staticmethod
    def _idea(command: dict[str, str], item: SymbolView) -> Idea | None:
        quote = item.quote
        if quote is None:
            return None
        if command["side"] == "SELL":
            held = item.position.quantity if item.position is not None else Decimal(0)
            return Idea(item.symbol, Side.SELL, "commanded", base_size=held) if held > 0 else None
        if not item.tradable:
            return None
        limit = {"take": None, "rest": quote.bid}[command["price"]]
        return Idea(
            symbol=item.symbol,
            side=Side.BUY,
            reason="commanded",
            notional=Decimal(command["notional"]),
            limit=limit,
            stop=quote.bid * Decimal("0.95"),
            target=quote.ask * Decimal("1.2"),
        )


class ChurnOneHoldOthers(Strategy):
    """Buys and sells ``churned`` again and again, buys the others once; ``later`` only when the file ``go`` is there.

    ``max_hold_s`` (0: none) goes with every entry but that of ``churned``.
    """

    demo_only = True

    def decide(self, view: MarketView) -> Sequence[Idea]:
        churned, later = str(self.params["churned"]), str(self.params.get("later", "")).split(",")
        may_later = Path(str(self.params.get("go", ""))).is_file()
        max_hold_s = float(str(self.params.get("max_hold_s", 0))) or None
        ideas = []
        for item in view.symbols:
            if item.quote is None or (item.symbol in later and not may_later):
                continue
            held = item.position
            if held is not None and item.symbol == churned and view.now_utc_ns - held.opened_utc_ns > 1_000_000_000:
                ideas.append(Idea(symbol=item.symbol, side=Side.SELL, reason="churn", base_size=held.quantity))
            elif item.tradable and held is None and not item.entry_working:
                hold_s = None if item.symbol == churned else max_hold_s
                ideas.append(buy(item.symbol, "drill", item.quote.ask, max_hold_s=hold_s))
        return ideas


class Wish(Strategy):
    """Brings every symbol to what the file ``wishes`` says, and holds it there.

    ``{"BTC-USD": {"notional": "40", "stop": "0.95", "target": "1.05", "max_hold_s": 5}}``: hold it, bought with
    stop and target at these multiples of the price. ``{"BTC-USD": {"keep": "0.00001"}}``: sell all but that.
    """

    demo_only = True

    def decide(self, view: MarketView) -> Sequence[Idea]:
        wishes = json.loads(Path(str(self.params["wishes"])).read_text())
        ideas = []
        for item in view.symbols:
            wish, held = wishes.get(item.symbol), item.position
            if wish is None or item.quote is None:
                continue
            if "keep" in wish:
                size = Decimal(0) if held is None else held.quantity - Decimal(wish["keep"])
                if size > 0 and held is not None and held.protection != "DUST":
                    ideas.append(Idea(symbol=item.symbol, side=Side.SELL, reason="wish", base_size=size))
            elif item.tradable and not item.entry_working and (held is None or held.protection == "DUST"):
                ask = item.quote.ask
                ideas.append(
                    Idea(
                        symbol=item.symbol,
                        side=Side.BUY,
                        reason="wish",
                        notional=Decimal(wish["notional"]),
                        stop=ask * Decimal(wish["stop"]),
                        target=ask * Decimal(wish["target"]),
                        max_hold_s=wish.get("max_hold_s"),
                    )
                )
        return ideas
