"""The venue's heart: accounts, orders and their lives. Pure; time comes in as an argument, in ns."""

from __future__ import annotations

import heapq
import uuid
from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal

from simulator import edits
from simulator.accounts import Wallets
from simulator.book import BUY, SELL, Book
from simulator.matching import Matching
from simulator.orders import (
    BRACKET_KINDS,
    STOP_KINDS,
    Fill,
    Order,
    render_user_order,
)
from simulator.products import Product
from simulator.rules import Changes, Rules
from simulator.terms import (
    RefusalError,
    Terms,
    check_against_market,
    check_end,
    check_mode,
    check_prices,
    check_sizes,
    read_terms,
    refuse,
    triggered_limit,
)
from simulator.values import NS_PER_S, ZERO, Json, decimal_of, floor_to, text

MS = 1_000_000


class Engine(Matching):
    """Books orders, matches them with the market, keeps wallets; every method ends in a consistent state."""

    def __init__(
        self,
        products: Mapping[str, Product],
        user_id: str,
        portfolio_id: str,
        rules: Rules | None = None,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self.products = dict(products)
        self.user_id = user_id
        self.portfolio_id = portfolio_id
        self.wallets = Wallets(portfolio_id)
        self.orders: dict[str, Order] = {}
        self.by_client_id: dict[str, str] = {}
        self.lost: dict[str, Order] = {}
        self.fills: list[Fill] = []
        self.modes: dict[str, str] = {}
        self.fail_next: Callable[[Order], bool] = lambda _order: False
        self.fill_instead_of_cancel: Callable[[Order], bool] = lambda _order: False
        self.new_id = new_id
        self._due: list[tuple[int, int, str, str]] = []
        self._touched: dict[str, Order] = {}
        self._new_fills: list[Fill] = []
        self._events: list[tuple[str, Json]] = []
        self._due_count = 0
        books = {p.book_id: Book(p.book_id) for p in self.products.values()}
        super().__init__(books, self.products, rules or Rules())

    # -- what others read

    def book_of(self, product_id: str) -> Book:
        """Return the book a product trades on; raises KeyError for an unknown product."""
        return self.books[self.products[product_id].book_id]

    def mode_of(self, product_id: str) -> str:
        """Return a product's mode; an alias has the mode of its book."""
        return self.modes.get(self.products[product_id].book_id, "online")

    def next_due_ns(self) -> int | None:
        """Return when `advance` has something to do next."""
        return self._due[0][0] if self._due else None

    def take_changes(self) -> Changes:
        """Return and forget what changed since the last call."""
        changes = Changes(
            list(self._touched.values()), self._new_fills, self.wallets.take_changed(), self._events,
            self.trades, self.dirty_levels,
        )
        self._touched, self._new_fills, self._events = {}, [], []
        self.trades, self.dirty_levels = [], {}
        return changes

    # -- create

    def create(self, request: Json, now_ns: int, source: str = "RETAIL_ADVANCED") -> tuple[Order, bool]:
        """Book an order, or return the one that has its client id already (then the flag is False).

        Raises RefusalError.
        """
        client_id = request.get("client_order_id")
        if not isinstance(client_id, str) or not client_id:
            raise refuse("INVALID_REQUEST", "client_order_id is missing")
        if client_id in self.by_client_id:
            return self.orders[self.by_client_id[client_id]], False
        product, side, terms = self.check(request, now_ns)
        order = self._new_order(client_id, product, side, terms, now_ns)
        order.source = source
        attached = request.get("attached_order_configuration")
        order.attached = attached if isinstance(attached, dict) else None
        self._place(order, self._hold_for(order), now_ns)
        return order, True

    def check(self, request: Json, now_ns: int) -> tuple[Product, str, Terms]:
        """Hold a request against every rule but the balance; raises RefusalError."""
        product = self.products.get(str(request.get("product_id")))
        if product is None:
            raise refuse("INVALID_PRODUCT_ID", f"product {request.get('product_id')} is not known")
        side = request.get("side")
        if side not in {BUY, SELL}:
            raise refuse("INVALID_SIDE", f"side {side!r} is not known")
        terms = read_terms(request.get("order_configuration"))
        if terms.kind in STOP_KINDS and not self.rules.stop_orders_offered:
            raise refuse("UNSUPPORTED_ORDER_CONFIGURATION", "stop orders are not offered on this product")
        check_mode(terms, self.mode_of(product.product_id), self.rules.mode_refusal)
        check_sizes(terms, product, str(side))
        check_prices(terms, product)
        check_end(terms, now_ns)
        check_against_market(terms, str(side), self.books[product.book_id])
        self._check_attached(request.get("attached_order_configuration"), str(side), terms, product)
        return product, str(side), terms

    def _check_attached(self, attached: object, side: str, parent: Terms, product: Product) -> None:
        if attached is None:
            return
        size = parent.base_size or product.base_max_size
        terms = read_terms(attached, attached_to_size=size)
        if terms.kind not in BRACKET_KINDS or side != BUY:
            raise refuse("UNSUPPORTED_ORDER_CONFIGURATION", "only a bracket can be attached, to a buy")
        check_prices(terms, product)
        if terms.limit_price is None or terms.stop_price is None or terms.limit_price <= terms.stop_price:
            raise refuse("INVALID_BRACKET_PRICES", "target and stop are on the wrong sides of each other")

    def _new_order(self, client_id: str, product: Product, side: str, terms: Terms, now_ns: int) -> Order:
        base_size = terms.base_size
        if terms.quote_size is not None and terms.limit_price is not None:
            unit = terms.limit_price * (1 + self.rules.taker_rate)
            base_size = floor_to(terms.quote_size / unit, product.base_increment)
        watches = terms.kind in STOP_KINDS | BRACKET_KINDS
        return Order(
            order_id=self.new_id(), client_order_id=client_id, product_id=product.product_id,
            book_id=product.book_id, base=product.base, quote=product.quote, side=side, kind=terms.kind,
            config=terms.config, base_size=base_size, quote_size=terms.quote_size,
            limit_price=terms.limit_price, stop_price=terms.stop_price, stop_up=terms.stop_up,
            post_only=terms.post_only, end_ns=terms.end_ns, maker_rate=self.rules.maker_rate,
            taker_rate=self.rules.taker_rate, created_ns=now_ns, updated_ns=now_ns, user_id=self.user_id,
            portfolio_id=self.portfolio_id,
            trigger_status="STOP_PENDING" if watches else "INVALID_ORDER_TYPE",
        )

    def _hold_for(self, order: Order) -> Decimal:
        """Compute what an unfilled order needs on hold; raises RefusalError when the book cannot price it."""
        if order.side == SELL:
            return order.remaining
        if order.kind != "market_market_ioc":
            return self.hold_needed(order)
        if order.quote_size is not None:
            return order.quote_size
        plan = self.plan(order, self.protection_price(order), order.remaining)
        planned = sum((take.size for take in plan), ZERO)
        cost = sum((take.price * take.size for take in plan), ZERO)
        if planned < order.remaining and plan:
            cost += (order.remaining - planned) * plan[-1].price
        needed = cost * (1 + order.taker_rate)
        # 2 % more, where it is there, lets the book move between booking and matching
        return max(needed, min(self.wallets[order.quote].available, needed * Decimal("1.02")))

    def _place(self, order: Order, hold: Decimal, now_ns: int) -> None:
        if self.wallets[order.hold_currency].available < hold:
            raise refuse("INSUFFICIENT_FUND", "Insufficient balance in source account")
        self.wallets.move_hold(order.hold_currency, hold)
        order.hold = hold
        self.orders[order.order_id] = order
        self.by_client_id[order.client_order_id] = order.order_id
        self.touch(order, now_ns)
        self._schedule(now_ns + self.rules.accept_delay_ms * MS, "activate", order)
        if order.end_ns:
            self._schedule(order.end_ns, "expire", order)
        self.advance(now_ns)

    def draft(self, product: Product, side: str, terms: Terms, now_ns: int) -> Order:
        """Make an order that is not booked, for a preview."""
        return self._new_order("", product, side, terms, now_ns)

    # -- time

    def _schedule(self, at_ns: int, action: str, order: Order) -> None:
        self._due_count += 1
        heapq.heappush(self._due, (at_ns, self._due_count, action, order.order_id))

    def expire_at(self, order: Order, at_ns: int) -> None:
        """Have an order end at this time."""
        self._schedule(at_ns, "expire", order)

    def advance(self, now_ns: int) -> None:
        """Do what has fallen due: activate, cancel and end orders."""
        while self._due and self._due[0][0] <= now_ns:
            at_ns, _, action, order_id = heapq.heappop(self._due)
            order = self.orders.get(order_id)
            if order is None or order.is_terminal:
                continue
            moment = max(at_ns, order.created_ns)
            if action == "activate":
                self._activate(order, moment)
            elif action == "cancel":
                self._finish_cancel(order, moment)
            else:
                self.end(order, self.rules.gtd_end_status, "the order's end time has come", moment)
            self.settle_triggers(moment)

    def _activate(self, order: Order, now_ns: int) -> None:
        if order.status not in {"PENDING", "CANCEL_QUEUED"}:
            return
        if self.fail_next(order):
            order.reject_reason, order.reject_message = "HOLD_FAILURE", "the hold failed"
            self.end(order, "FAILED", "", now_ns)
            return
        if order.status == "PENDING":
            order.status = "OPEN"
        self.touch(order, now_ns)
        if order.kind in STOP_KINDS:
            self.watch(order)
        elif order.kind in BRACKET_KINDS:
            self.watch(order)
            self.rest(order, order.limit_price or ZERO)
        else:
            self.work(order, now_ns)

    # -- cancel

    def cancel(self, order_id: str, now_ns: int) -> str:
        """Take a cancel request; returns its failure reason, empty when it was taken."""
        order = self.orders.get(order_id)
        if order is None:
            return "UNKNOWN_CANCEL_ORDER"
        if order.is_terminal and self.rules.cancel_of_over != "UNKNOWN_CANCEL_ORDER":
            return self.rules.cancel_of_over.removeprefix("success")
        if order.status == "FILLED":
            return "ORDER_IS_FULLY_FILLED"
        if order.is_terminal:
            return "UNKNOWN_CANCEL_ORDER"
        if order.pending_cancel:
            return "DUPLICATE_CANCEL_REQUEST"
        order.pending_cancel = True
        order.status = "CANCEL_QUEUED"
        self.touch(order, now_ns)
        self._schedule(now_ns + self.rules.cancel_delay_ms * MS, "cancel", order)
        self.advance(now_ns)
        return ""

    def _finish_cancel(self, order: Order, now_ns: int) -> None:
        if self.fill_instead_of_cancel(order) and order.limit_price is not None:
            price = order.resting_price if order.resting else order.limit_price
            self.fill(order, price, order.remaining, is_maker=True, now_ns=now_ns)
            return
        self.end(order, "CANCELLED", "User requested cancel", now_ns)

    def end(self, order: Order, status: str, message: str, now_ns: int) -> None:
        """Bring an order to a terminal state and give back what it holds."""
        self.forget(order)
        self.wallets.move_hold(order.hold_currency, -order.hold)
        order.hold = ZERO
        order.status = status
        order.pending_cancel = False
        order.cancel_message = message
        self.touch(order, now_ns)
        if order.filled_size > 0:
            self._place_attached(order, now_ns)

    def _place_attached(self, parent: Order, now_ns: int) -> None:
        """Turn an attached bracket into an order of its own, once its parent is over with fills."""
        if parent.attached is None or parent.attached_order_id:
            return
        product = self.products[parent.product_id]
        size = floor_to(parent.filled_size, product.base_increment)
        terms = read_terms(parent.attached, attached_to_size=size)
        child = self._new_order(self.new_id(), product, SELL, terms, now_ns)
        child.config = {**terms.config, "base_size": text(size)}
        child.originating_order_id = parent.order_id
        try:
            self._place(child, child.remaining, now_ns)
        except RefusalError as refusal:
            child.reject_message = refusal.message
            child.status = "FAILED"
            self.orders[child.order_id] = child
            self.by_client_id[child.client_order_id] = child.order_id
            self.touch(child, now_ns)
        parent.attached_order_id = child.order_id
        self.touch(parent, now_ns)

    # -- edit

    def edit(self, order_id: str, size: object, price: object, stop: object, now_ns: int) -> tuple[str, str]:
        """Edit in place; returns (edit failure reason, preview failure reason), both empty on success."""
        failure = self.check_edit(order_id, size, price, stop)
        if failure != ("", ""):
            return failure
        order = self.orders[order_id]
        new_size, new_price = decimal_of(size), decimal_of(price)
        new_stop = decimal_of(stop) if isinstance(stop, str) and stop else order.stop_price
        if order.side == SELL:
            hold = new_size - order.filled_size - order.decremented
        else:
            hold = self.hold_needed(order, new_size, new_price, new_stop)
        if self.wallets[order.hold_currency].available < hold - order.hold:
            return "UNKNOWN_EDIT_ORDER_FAILURE_REASON", "PREVIEW_INSUFFICIENT_FUND"
        self.wallets.move_hold(order.hold_currency, hold - order.hold)
        keeps_place = new_price == order.limit_price and new_size <= (order.base_size or ZERO)
        order.hold, order.base_size, order.limit_price, order.stop_price = hold, new_size, new_price, new_stop
        edits.write(order, now_ns)
        self.touch(order, now_ns)
        if order.resting and not keeps_place:
            self.forget(order)
            if order.trigger_status == "STOP_PENDING":
                self.watch(order)
            if order.kind in BRACKET_KINDS:
                self.rest(order, new_price)
            else:
                self.work(order, now_ns)
        if order.remaining == 0 and not order.is_terminal:
            self.end(order, "FILLED", "", now_ns)
        self.settle_triggers(now_ns)
        return "", ""

    def check_edit(self, order_id: str, size: object, price: object, stop: object) -> tuple[str, str]:
        """Hold an edit against the rules; returns its reasons, both empty when it may go ahead."""
        order = self.orders.get(order_id)
        if order is None:
            return "ORDER_NOT_FOUND", ""
        refused = edits.check_state(order, stop)
        if refused:
            return refused, ""
        product = self.products[order.product_id]
        return edits.check_values(order, product, self.mode_of(order.product_id), self.books[order.book_id],
                                  (size, price, stop))

    # -- modes

    def set_mode(self, product_id: str, mode: str, now_ns: int) -> None:
        """Put a book (and its aliases) into a mode."""
        book_id = self.products[product_id].book_id
        if self.modes.get(book_id, "online") == mode:
            return
        self.modes[book_id] = mode
        if mode == "auction_mode" and self.rules.auction_cancels_brackets:
            for order in list(self.orders.values()):
                if order.book_id == book_id and order.kind in BRACKET_KINDS and not order.is_terminal:
                    self.end(order, "CANCELLED", "the product entered an auction", now_ns)
        if self.matches(book_id):
            self.cross(book_id, now_ns)
            if self.rules.passed_stop_fires_on_resumption:
                self.recheck_stops(book_id)
            self.settle_triggers(now_ns)

    def matches(self, book_id: str) -> bool:
        """Tell whether the book trades continuously."""
        return self.modes.get(book_id, "online") in {"online", "limit_only"}

    # -- hooks of the matching

    def trigger_limit(self, order: Order) -> Decimal | None:
        """Return the price a triggered order may trade at; None for one that takes any."""
        if order.kind in BRACKET_KINDS:
            if self.rules.fired_bracket == "market":
                return None
            increment = self.products[order.product_id].price_increment
            return triggered_limit(order.side, order.stop_price or ZERO, increment)
        return order.limit_price or ZERO

    def hold_needed(
        self, order: Order, size: Decimal | None = None, limit: Decimal | None = None,
        stop: Decimal | None = None,
    ) -> Decimal:
        """Compute what a limit-priced order holds for the part still unfilled, taker fee included for a buy."""
        left = order.remaining if size is None else size - order.filled_size - order.decremented
        if order.side == SELL:
            return left
        price = limit if limit is not None else order.limit_price or ZERO
        if order.kind in BRACKET_KINDS:
            increment = self.products[order.product_id].price_increment
            price = max(price, triggered_limit(order.side, stop or order.stop_price or ZERO, increment))
        return left * price * (1 + self._held_rate(order))

    def _held_rate(self, order: Order) -> Decimal:
        """Return the fee rate that a buy holds for, by the rule."""
        if self.rules.buy_hold_fee == "none":
            return ZERO
        return order.maker_rate if self.rules.buy_hold_fee == "maker" else order.taker_rate

    def keep(self, order: Order) -> None:
        """Note that an order changed, without a word to anybody."""
        self._touched[order.order_id] = order

    def touch(self, order: Order, now_ns: int) -> None:
        """Note that an order changed, and what the user channel says of it."""
        order.updated_ns = max(order.updated_ns, now_ns)
        self.keep(order)
        self._events.append((order.product_id, render_user_order(order)))

    def book_fill(self, order: Order, price: Decimal, size: Decimal, is_maker: bool, now_ns: int) -> None:
        """Write a fill and move the money."""
        rate = order.maker_rate if is_maker else order.taker_rate
        value = price * size
        fee = self._rounded(value * rate)
        order.filled_size += size
        order.filled_value += value
        order.fees += fee
        order.fill_count += 1
        order.last_fill_ns = now_ns
        if order.kind == "market_market_ioc" and order.side == BUY:
            new_hold = order.hold - value - fee
        else:
            new_hold = self.hold_needed(order)
        self.wallets.move_hold(order.hold_currency, new_hold - order.hold)
        order.hold = new_hold
        if order.side == BUY:
            self.wallets.add(order.quote, -(value + fee))
            self.wallets.add(order.base, size)
        else:
            self.wallets.add(order.base, -size)
            self.wallets.add(order.quote, value - fee)
        record = Fill(
            self.new_id(), self.new_id(), order.order_id, order.client_order_id, order.product_id, order.side,
            order.order_type, price, size, fee, is_maker, now_ns, order.user_id, order.portfolio_id,
            len(self.fills) + 1,
        )
        self.fills.append(record)
        self._new_fills.append(record)

    def _rounded(self, fee: Decimal) -> Decimal:
        step = self.rules.commission_step
        return (fee / step).quantize(Decimal(1), ROUND_HALF_EVEN) * step if step else fee

    def release(self, order: Order, size: Decimal, now_ns: int) -> None:
        """Take `size` off an order that met an own order; what is left at zero is cancelled."""
        order.decremented += size
        if order.base_size is None or order.remaining <= 0:
            self.end(order, "CANCELLED", "self trade prevention", now_ns)
            return
        if order.kind != "market_market_ioc":
            hold = self.hold_needed(order)
            self.wallets.move_hold(order.hold_currency, hold - order.hold)
            order.hold = hold
        self.touch(order, now_ns)

    # -- restore

    def restore(self, orders: Iterable[Order], fills: Iterable[Fill], now_ns: int) -> None:
        """Put stored orders and fills back; resting orders queue behind the book of this moment."""
        self.fills = list(fills)
        for order in orders:
            if order.lost:
                self.lost[order.order_id] = order
                continue
            self.orders[order.order_id] = order
            self.by_client_id[order.client_order_id] = order.order_id
            if order.is_terminal:
                continue
            if order.end_ns:
                self._schedule(order.end_ns, "expire", order)
            if order.pending_cancel:
                self._schedule(now_ns, "cancel", order)
            if order.status == "PENDING":
                self._schedule(max(now_ns, order.created_ns + NS_PER_S // 1000), "activate", order)
                continue
            if order.trigger_status == "STOP_PENDING":
                self.watch(order)
            if order.resting:
                order.resting = False
                self.rest(order, order.resting_price)
