"""Price-time matching of our orders against the market's book, its trades, and each other's way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal

from simulator.book import BUY, Book, Take, better, crosses, opposite
from simulator.orders import BRACKET_KINDS, IMMEDIATE_KINDS, STOP_KINDS, Order, PublicTrade
from simulator.products import Product
from simulator.rules import Rules
from simulator.values import ZERO, ceil_to, floor_to

Level = tuple[str, Decimal, Decimal]


class Matching(ABC):
    """The part of the engine that decides who trades with whom; it knows orders, books and trades.

    Our order rests behind the size that is displayed when it arrives. It fills when the market trades
    through its price, at its price once the queue ahead is used up, or when the other side's book crosses it.
    """

    def __init__(self, books: dict[str, Book], products: Mapping[str, Product], rules: Rules) -> None:
        self.books = books
        self.rules = rules
        self.finds_nothing: Callable[[Order], bool] = lambda _order: False
        self._products = products
        self.trades: list[PublicTrade] = []
        self.dirty_levels: dict[str, set[tuple[str, Decimal]]] = {}
        self._resting: dict[str, dict[str, Order]] = {book_id: {} for book_id in books}
        self._watched: dict[str, dict[str, Order]] = {book_id: {} for book_id in books}
        self._prints: list[tuple[str, Decimal]] = []
        self._arrivals = 0

    # -- what the engine supplies

    @abstractmethod
    def touch(self, order: Order, now_ns: int) -> None:
        """Note that an order changed."""

    @abstractmethod
    def end(self, order: Order, status: str, message: str, now_ns: int) -> None:
        """Bring an order to a terminal state."""

    @abstractmethod
    def book_fill(self, order: Order, price: Decimal, size: Decimal, is_maker: bool, now_ns: int) -> None:
        """Write a fill and move the money."""

    @abstractmethod
    def matches(self, book_id: str) -> bool:
        """Tell whether the book trades continuously."""

    @abstractmethod
    def trigger_limit(self, order: Order) -> Decimal | None:
        """Return the price a triggered order may trade at; None for one that takes any."""

    @abstractmethod
    def release(self, order: Order, size: Decimal, now_ns: int) -> None:
        """Take `size` off an order without a fill."""

    # -- where orders wait

    def rest(self, order: Order, price: Decimal) -> None:
        """Put an order on the book, behind what is displayed at its price."""
        self._arrivals += 1
        order.resting, order.resting_price, order.arrival = True, price, self._arrivals
        order.queue_ahead = self.books[order.book_id].size_at(order.side, price)
        self._resting[order.book_id][order.order_id] = order
        self._dirty(order.book_id, order.side, price)

    def watch(self, order: Order) -> None:
        """Watch the trades for an order's trigger."""
        partly_filled = order.kind in BRACKET_KINDS and order.filled_size > 0
        if not partly_filled or self.rules.bracket_stop_survives_partial_target:
            self._watched[order.book_id][order.order_id] = order

    def forget(self, order: Order) -> None:
        """Take an order off the book and out of the triggers."""
        if order.resting:
            self._dirty(order.book_id, order.side, order.resting_price)
        order.resting = False
        self._resting[order.book_id].pop(order.order_id, None)
        self._watched[order.book_id].pop(order.order_id, None)

    def _dirty(self, book_id: str, side: str, price: Decimal) -> None:
        self.dirty_levels.setdefault(book_id, set()).add((side, price))

    def displayed(self, book_id: str, side: str, price: Decimal) -> Decimal:
        """Return what everybody sees at a level: the market's size and ours."""
        own = (o.remaining for o in self._resting[book_id].values()
               if o.side == side and o.resting_price == price)
        return self.books[book_id].size_at(side, price) + sum(own, ZERO)

    def resting_orders(self, book_id: str, side: str) -> list[Order]:
        """List our resting orders of a side, first to trade first."""
        own = [o for o in self._resting[book_id].values() if o.side == side]
        own.sort(key=lambda o: (-o.resting_price if side == BUY else o.resting_price, o.arrival))
        return own

    # -- the market moves

    def on_book(self, book_id: str, bids: Iterable[tuple[Decimal, Decimal]],
                asks: Iterable[tuple[Decimal, Decimal]], now_ns: int) -> None:
        """Take a whole new book."""
        self.books[book_id].replace(bids, asks)
        for order in self._resting[book_id].values():
            shown = self.books[book_id].size_at(order.side, order.resting_price)
            order.queue_ahead = min(order.queue_ahead, shown)
        self.cross(book_id, now_ns)
        self.settle_triggers(now_ns)

    def on_levels(self, book_id: str, levels: Iterable[Level], now_ns: int) -> None:
        """Take absolute sizes of some levels; a shrinking level moves our orders up its queue."""
        book, resting = self.books[book_id], self._resting[book_id]
        for side, price, size in levels:
            book.set_level(side, price, size)
            if resting:
                for order in resting.values():
                    if order.side == side and order.resting_price == price:
                        order.queue_ahead = min(order.queue_ahead, size)
        if resting:
            self.cross(book_id, now_ns)
        if resting or self._watched[book_id]:
            self.settle_triggers(now_ns)

    def on_trade(self, book_id: str, price: Decimal, size: Decimal, maker_side: str, now_ns: int) -> None:
        """Take a trade of the market: it fills our orders in its way and triggers stops."""
        self.books[book_id].last_price = price
        self._prints.append((book_id, price))
        if self._resting[book_id] and self.matches(book_id):
            self._meet_trade(book_id, price, size, maker_side, now_ns)
        self.settle_triggers(now_ns)

    def _meet_trade(self, book_id: str, price: Decimal, size: Decimal, maker_side: str, now_ns: int) -> None:
        left, ours_at_level = size, ZERO
        for order in self.resting_orders(book_id, maker_side):
            if not crosses(maker_side, order.resting_price, price):
                break
            if better(maker_side, order.resting_price, price):
                reached = left
            else:
                reached = max(ZERO, left - order.queue_ahead - ours_at_level)
                order.queue_ahead -= min(order.queue_ahead, left)
            got = min(order.remaining, reached)
            if got > 0:
                self.fill(order, order.resting_price, got, is_maker=True, now_ns=now_ns)
                if better(maker_side, order.resting_price, price):
                    left -= got
                else:
                    ours_at_level += got

    def cross(self, book_id: str, now_ns: int) -> None:
        """Fill our resting orders that the other side's displayed book has run into."""
        if not self.matches(book_id):
            return
        book = self.books[book_id]
        for side in ("BUY", "SELL"):
            for order in self.resting_orders(book_id, side):
                best = book.best(opposite(side))
                if best is None or not crosses(side, order.resting_price, best.price):
                    break
                self._eat_crossing(order, now_ns)

    def _eat_crossing(self, order: Order, now_ns: int) -> None:
        side = opposite(order.side)
        for take in self._reachable(order, order.resting_price, order.remaining):
            self.books[order.book_id].eat(side, take.price, take.size)
            self._dirty(order.book_id, side, take.price)
            self._print(order, order.resting_price, take.size, order.side, now_ns)
            self.fill(order, order.resting_price, take.size, is_maker=True, now_ns=now_ns)

    # -- our orders move

    def protection_price(self, order: Order) -> Decimal | None:
        """Return how far a taker may go: some percent off the mid; None without a mid or for a fired stop."""
        mid = self.books[order.book_id].mid()
        if mid is None or (order.kind in STOP_KINDS | BRACKET_KINDS and not self.rules.protection_cuts_fired):
            return None
        product = self._products[order.product_id]
        if order.side == BUY:
            return ceil_to(mid * (1 + product.protection), product.price_increment)
        return floor_to(mid * (1 - product.protection), product.price_increment)

    def plan(self, order: Order, limit: Decimal | None, size: Decimal) -> list[Take]:
        """List what a taker would get from the displayed book, without touching it."""
        return list(self._reachable(order, limit, size))

    def _reachable(self, order: Order, limit: Decimal | None, size: Decimal) -> list[Take]:
        takes: list[Take] = []
        for level in self.books[order.book_id].levels(opposite(order.side)):
            if size <= 0 or (limit is not None and not crosses(order.side, limit, level.price)):
                break
            got = min(size, level.size)
            takes.append(Take(level.price, got))
            size -= got
        return takes

    def work(self, order: Order, now_ns: int) -> None:
        """Let an order take what it may, then rest it, or cancel what an immediate order did not get."""
        fired_bracket = order.kind in BRACKET_KINDS
        limit = self.trigger_limit(order) if fired_bracket else order.limit_price
        cut_off = False
        if self.matches(order.book_id) and not (order.kind in IMMEDIATE_KINDS and self.finds_nothing(order)):
            guard = self.protection_price(order)
            reach = limit
            if guard is not None and (limit is None or better(order.side, limit, guard)):
                reach = guard
            if order.post_only and self._would_cross(order, limit):
                order.reject_message = "a post-only order would match at once"
                self.end(order, "FAILED", "", now_ns)
                return
            if order.kind == "limit_limit_fok" and not self._fillable(order, reach):
                self.end(order, self.rules.immediate_unfilled_status, "fill or kill: not enough in the book", now_ns)
                return
            if self._take(order, reach, now_ns):
                return
            cut_off = reach != limit and self._would_cross(order, limit)
        if cut_off or limit is None or order.kind in IMMEDIATE_KINDS:
            reason = "price protection" if cut_off else "immediate or cancel: not enough in the book"
            nothing = order.kind in IMMEDIATE_KINDS and order.filled_size == 0 and not cut_off
            self.end(order, self.rules.immediate_unfilled_status if nothing else "CANCELLED", reason, now_ns)
        else:
            self.rest(order, limit)
            self.touch(order, now_ns)

    def _would_cross(self, order: Order, limit: Decimal | None) -> bool:
        best = self.books[order.book_id].best(opposite(order.side))
        return best is not None and (limit is None or crosses(order.side, limit, best.price))

    def _fillable(self, order: Order, limit: Decimal | None) -> bool:
        return sum((take.size for take in self.plan(order, limit, order.remaining)), ZERO) >= order.remaining

    def _wanted(self, order: Order, price: Decimal) -> Decimal:
        """Return how much an order still wants at a price; a market buy is bounded by its hold."""
        if order.kind != "market_market_ioc" or order.side != BUY:
            return order.remaining
        product = self._products[order.product_id]
        affordable = floor_to(order.hold / (price * (1 + order.taker_rate)), product.base_increment)
        return affordable if order.quote_size is not None else min(affordable, order.remaining)

    def _take(self, order: Order, limit: Decimal | None, now_ns: int) -> bool:
        """Walk the other side up to the limit; returns True when the order is over."""
        book, side = self.books[order.book_id], opposite(order.side)
        while True:
            level = book.best(side)
            if level is not None and limit is not None and not crosses(order.side, limit, level.price):
                level = None
            if self._meet_own(order, limit, level, now_ns):
                if order.is_terminal:
                    return True
                continue
            if level is None:
                return False
            got = min(self._wanted(order, level.price), level.size)
            if got <= 0:
                done = order.filled_size > 0 and order.quote_size is not None
                self.end(order, "FILLED" if done else "CANCELLED", "" if done else "nothing affordable", now_ns)
                return True
            book.eat(side, level.price, got)
            self._dirty(order.book_id, side, level.price)
            self._print(order, level.price, got, side, now_ns)
            self.fill(order, level.price, got, is_maker=False, now_ns=now_ns)
            if order.is_terminal:
                return True

    def _meet_own(self, order: Order, limit: Decimal | None, level: Take | None, now_ns: int) -> bool:
        """Decrement and cancel where our taker runs into our own resting order before the market's next level."""
        if not self.rules.self_trade_prevention:
            return False
        for own in self.resting_orders(order.book_id, opposite(order.side)):
            if limit is not None and not crosses(order.side, limit, own.resting_price):
                return False
            if level is not None and not better(own.side, own.resting_price, level.price):
                return False
            common = min(own.remaining, self._wanted(order, own.resting_price))
            if common <= 0:
                return False
            self.release(own, common, now_ns)
            self.release(order, common, now_ns)
            return True
        return False

    def fill(self, order: Order, price: Decimal, size: Decimal, is_maker: bool, now_ns: int) -> None:
        """Fill part of an order and follow what that means for it."""
        self.book_fill(order, price, size, is_maker, now_ns)
        if order.resting:
            self._dirty(order.book_id, order.side, order.resting_price)
        if order.base_size is not None and order.remaining <= 0:
            self.end(order, "FILLED", "", now_ns)
            return
        if order.kind in BRACKET_KINDS and not self.rules.bracket_stop_survives_partial_target:
            # the target is not repriced any more: the rest of the position has silently lost its stop
            self._watched[order.book_id].pop(order.order_id, None)
        self.touch(order, now_ns)

    # -- triggers

    def _print(self, order: Order, price: Decimal, size: Decimal, maker_side: str, now_ns: int) -> None:
        self.books[order.book_id].last_price = price
        self.trades.append(PublicTrade(order.book_id, price, size, maker_side, now_ns))
        self._prints.append((order.book_id, price))

    def recheck_stops(self, book_id: str) -> None:
        """Hold the last price against the stops once more, as after a halt."""
        last = self.books[book_id].last_price
        if last is not None:
            self._prints.append((book_id, last))

    def settle_triggers(self, now_ns: int) -> None:
        """Fire every stop that a trade has reached; the trades of fired stops can fire more."""
        if self.rules.stops_fire_on == "book":
            self._prints.clear()
            for book_id in self._watched:
                self._settle_by_book(book_id, now_ns)
        while self._prints:
            book_id, price = self._prints.pop(0)
            watched = self._watched[book_id]
            if not watched or not self.matches(book_id):
                continue
            for order in list(watched.values()):
                if order.order_id in watched and self._is_reached(order, price):
                    self._fire(order, now_ns)

    def _settle_by_book(self, book_id: str, now_ns: int) -> None:
        """The other reading: a sell stop fires on the best bid, a buy stop on the best ask."""
        watched = self._watched[book_id]
        if not watched or not self.matches(book_id):
            return
        for order in list(watched.values()):
            best = self.books[book_id].best(opposite(order.side))
            if order.order_id in watched and best is not None and self._is_reached(order, best.price):
                self._fire(order, now_ns)

    def _is_reached(self, order: Order, price: Decimal) -> bool:
        stop = order.stop_price
        if stop is None:
            return False
        upward = order.side == BUY if order.kind in BRACKET_KINDS else order.stop_up
        return price >= stop if upward else price <= stop

    def _fire(self, order: Order, now_ns: int) -> None:
        self.forget(order)
        order.trigger_status = "STOP_TRIGGERED"
        self.touch(order, now_ns)
        self.work(order, now_ns)
