"""The hand-over: an exit against the base that resting stops hold, as a persisted, resumable sequence.

cancel what sells or buys on the symbol -> every one proven terminal, its fills booked -> reread what is
available -> sell min(owned, available) IOC inside the exit collar -> the next price, or let protection be armed
anew. ``advance`` is pure: after a crash it looks at the facts and goes on from where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import orjson

from actors.messages.market import ProductRules, Quote, Side
from actors.messages.orders import OrderKind, OrderState, Role
from actors.orders import grid
from actors.orders.records import OrderRecord

STRATEGY, MAX_HOLD, STOP, TARGET, FLATTEN = "strategy", "max_hold", "stop", "target", "flatten"
EXHAUSTED = "ladder_exhausted"
URGENT = frozenset({STOP, FLATTEN})
"""Exits that go on however long it takes: re-arming a stop that the market has passed is no protection."""


@dataclass(frozen=True, slots=True)
class Handover:
    """One exit under way. ``limit_price`` and ``quantity`` cap a strategy's exit; ``sell_id`` is the newest sell.

    ``correlation_id`` of an operator's exit begins with ``flatten:``, which the gateway lets through a kill.
    """

    symbol: str
    reason: str
    correlation_id: str
    limit_price: Decimal | None = None
    quantity: Decimal | None = None
    step: int = 0
    sell_id: str = ""

    @property
    def role(self) -> Role:
        """Stops, targets and the end of the holding time escalate protection; the rest are exits."""
        return Role.EXIT if self.reason in (STRATEGY, FLATTEN) else Role.PROTECTION

    def to_json(self) -> str:
        return orjson.dumps(
            {
                "symbol": self.symbol,
                "reason": self.reason,
                "correlation_id": self.correlation_id,
                "limit_price": None if self.limit_price is None else str(self.limit_price),
                "quantity": None if self.quantity is None else str(self.quantity),
                "step": self.step,
                "sell_id": self.sell_id,
            }
        ).decode()

    @staticmethod
    def from_json(body: str) -> Handover:
        values = orjson.loads(body)
        for key in ("limit_price", "quantity"):
            values[key] = None if values[key] is None else Decimal(values[key])
        return Handover(**values)


@dataclass(frozen=True, slots=True)
class ExitView:
    """The facts a hand-over goes by. ``orders``: working orders of the symbol; ``sell``: the hand-over's newest.

    ``available``: base balance asked for after the last proof, else None. ``quote``: only when fresh.
    ``balance_overdue``: the balance was asked for long enough and never showed the coins: it is not waited for.
    ``mode_allows``: the trading state lets this kind of exit go on. ``patience_over``: nothing protects the
    position and the hand-over has not sold within its time. ``accepted_mid``: the last mid that the guard
    accepted, from which the floor is measured; a price read over REST has been judged by nobody.
    ``astray``: working orders that the venue has not known for longer than the grace, which this sale does not wait
    for. ``held``: base units on hold, read with ``available``. ``doubtful``: the smallest of the astray SELLs that are
    still being looked for in earnest; coins on hold of at least as much may be its own.
    """

    quantity: Decimal
    orders: Sequence[OrderRecord]
    sell: OrderRecord | None
    available: Decimal | None
    quote: Quote | None
    rules: ProductRules | None
    ladder_bps: tuple[Decimal, ...]
    floor_bps: Decimal
    mode_allows: bool = True
    patience_over: bool = False
    accepted_mid: Decimal | None = None
    balance_overdue: bool = False
    astray: frozenset[str] = frozenset()
    held: Decimal = Decimal(0)
    doubtful: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    why: str


@dataclass(frozen=True, slots=True)
class CancelFirst:
    client_order_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NeedBalance:
    pass


@dataclass(frozen=True, slots=True)
class NeedQuote:
    pass


@dataclass(frozen=True, slots=True)
class Sell:
    size: Decimal
    price: Decimal


@dataclass(frozen=True, slots=True)
class Finish:
    """The hand-over is over; what is still owned is armed anew. ``page``: sold less than was to be sold."""

    why: str
    page: bool = False


Step = Wait | CancelFirst | NeedBalance | NeedQuote | Sell | Finish


def advance(handover: Handover, view: ExitView) -> tuple[Handover, Step]:
    """What to do next, and the hand-over to persist with it."""
    if handover.sell_id:
        if view.sell is not None and not view.sell.working:
            return _after_sell(handover, view, view.sell)
        if view.sell is None or view.sell.id not in view.astray:
            return handover, Wait("own_sell")
    if not view.mode_allows:
        return handover, Finish("state")
    if view.quantity <= 0:
        return handover, Finish("flat")
    if view.patience_over:
        return handover, Finish("patience", page=True)
    if view.orders and handover.reason != STOP and view.rules is not None and not grid.takes_exits(view.rules):
        return handover, Finish("product_mode")  # what rests protects better than a sale that cannot be made
    if view.orders:
        to_cancel = tuple(
            one.id for one in view.orders if one.facts.order_id is not None and not one.facts.cancel_requested
        )
        if to_cancel:
            return handover, CancelFirst(to_cancel)
        if any(one.id not in view.astray for one in view.orders):
            return handover, Wait("cancels")
    return handover, _sell_step(handover, view)


def _sell_step(handover: Handover, view: ExitView) -> Step:
    if view.rules is None:
        return Wait("rules")
    if view.available is None and not view.balance_overdue:
        return NeedBalance()
    if view.quote is None:
        return NeedQuote()
    if view.doubtful is not None and view.held >= view.doubtful:
        # It may have arrived after all. Then a question by its client id finds it, and the normal way goes on; what is
        # free meanwhile is somebody else's.
        return NeedBalance()
    if view.available is not None and view.available > view.quantity and _lost_sale(view):
        return NeedBalance()  # arriving late it is filled at once, and with ours sold by then, of somebody else's coins
    price = _price(handover, view, view.quote, view.rules)
    wanted = view.quantity if handover.quantity is None else min(view.quantity, handover.quantity)
    whole = grid.floor_size(wanted, view.rules)
    size = whole if view.available is None else grid.floor_size(min(wanted, view.available), view.rules)
    if grid.orderable(size, price, view.rules):
        return Sell(size, price)
    if not grid.orderable(whole, price, view.rules):
        return Finish("dust")
    # A cancelled order's hold is freed a moment later. After that an account that shows nothing is no reason to keep
    # what the books own (the venue has shown zeros for hours): it is offered, and the venue refuses what is not there.
    return Sell(whole, price) if view.balance_overdue else NeedBalance()


def _lost_sale(view: ExitView) -> bool:
    """A sale of ours went astray that rests nowhere: it was made, or was not, or is made when it arrives."""
    return any(one.intent.kind is OrderKind.LIMIT_IOC and one.side is Side.SELL for one in view.orders)


def _price(handover: Handover, view: ExitView, quote: Quote, rules: ProductRules) -> Decimal:
    if handover.limit_price is not None:
        return handover.limit_price
    step = min(handover.step, len(view.ladder_bps) - 1)
    # An operator's flatten goes by the book as it is now: the last accepted mid may be from before a crash.
    mid = quote.mid if view.accepted_mid is None or handover.reason == FLATTEN else view.accepted_mid
    floor = grid.ceil_price(grid.below(mid, view.floor_bps), rules)
    return max(grid.floor_price(grid.below(quote.bid, view.ladder_bps[step]), rules), floor)


def _after_sell(handover: Handover, view: ExitView, sell: OrderRecord) -> tuple[Handover, Step]:
    """The sell is terminal and its fills are booked: done, the next price, or give the rest back to protection."""
    cleared = replace(handover, sell_id="", step=handover.step + 1)
    if handover.quantity is not None:
        cleared = replace(cleared, quantity=max(Decimal(0), handover.quantity - sell.facts.filled))
    if view.quantity <= 0 or cleared.quantity == 0:
        return cleared, Finish("sold")
    refused = sell.state is OrderState.REJECTED
    if handover.limit_price is not None or refused:
        return cleared, Finish("refused" if refused else "unfilled", page=refused)
    if cleared.step >= len(view.ladder_bps):
        return cleared, Finish(EXHAUSTED, page=True)
    if not view.mode_allows:
        return cleared, Finish("state")
    return cleared, Wait("next_price")
