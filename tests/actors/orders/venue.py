"""An exchange in memory that speaks the gateway's messages: real holds, real refusals, truth to compare with."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal

from actors.clock import NS_PER_S
from actors.messages.market import ProductRules, Quote, Side
from actors.messages.orders import (
    CancelOrder,
    CancelOutcome,
    OrderIntent,
    OrderKind,
    OutcomeKind,
    SubmitOrder,
    SubmitOutcome,
)
from actors.messages.venue import QueryKind, VenueAnswer, VenueBalance, VenueFill, VenueOrder, VenueQuery
from tests.actors.harness import ActorHarness

OVER = {"FILLED", "CANCELLED", "EXPIRED", "FAILED"}


def rules(symbol: str, **changes: object) -> ProductRules:
    made = ProductRules(
        product_id=symbol,
        base_increment=Decimal("0.00000001"),
        quote_increment=Decimal("0.01"),
        price_increment=Decimal("0.01"),
        base_min_size=Decimal("0.00000001"),
        base_max_size=Decimal(1000),
        quote_min_size=Decimal(1),
        quote_max_size=Decimal(10_000_000),
        status="online",
        trading_disabled=False,
        cancel_only=False,
        limit_only=False,
        post_only=False,
        auction_mode=False,
        view_only=False,
        is_disabled=False,
        read_boot_ns=0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


class Venue:
    """``answer(harness)`` takes what the tracker sent to the gateway and delivers the answers, until quiet."""

    def __init__(self, harness: ActorHarness) -> None:
        self.clock = harness.clock
        self.orders: dict[str, VenueOrder] = {}
        self.fills: list[VenueFill] = []
        self.coins: dict[str, Decimal] = {"BTC": Decimal(0), "ETH": Decimal(0)}
        self.rules = {symbol: rules(symbol) for symbol in ("BTC-USD", "ETH-USD")}
        self.bids = {"BTC-USD": Decimal("100.00"), "ETH-USD": Decimal("10.00")}
        self.refuse: dict[OrderKind, str] = {}
        self.mute: set[str] = set()
        """``submit``: taken, never answered; ``lost``: never arrives; ``query``; ``cancel``."""
        self.hidden: set[str] = set()
        """Order ids that no question about orders finds although they are there."""
        self.cut: dict[OrderKind, str] = {}
        """Creates whose connection is cut ``before`` or ``after`` they are booked: the gateway says UNKNOWN."""
        self.ioc_fills = True
        self.hidden_fills = False
        self.unshown: set[str] = set()
        """Client ids of orders that a question for the one order does not find."""
        self.zeros = False
        """Accounts are answered with zeros (the venue's day of 2024-02-28)."""
        self.stale: list[VenueBalance] = []
        """Accounts as they were; nothing newer is answered while this is set."""
        self.asked: Counter[QueryKind] = Counter()
        self.history: list[str] = []
        self.gateway = 1
        self.booked = 0

    # --- truth -----------------------------------------------------------------------------------------

    def held(self, base: str) -> Decimal:
        rest = [o for o in self.orders.values() if o.side == "SELL" and o.status not in OVER]
        return sum((o.base_size - o.filled_size for o in rest if o.product_id.startswith(base)), Decimal(0))  # type: ignore[operator]

    def open(self, symbol: str | None = None) -> list[VenueOrder]:
        return [o for o in self.orders.values() if o.status not in OVER and symbol in (None, o.product_id)]

    def sold(self, symbol: str) -> Decimal:
        return sum((f.size for f in self.fills if f.product_id == symbol and f.side == "SELL"), Decimal(0))

    def book(self, intent: OrderIntent) -> VenueOrder:
        order = VenueOrder(
            order_id=f"v-{self.booked + 1}",
            client_order_id=intent.client_order_id,
            product_id=intent.symbol,
            side=intent.side.value,
            status="OPEN",
            order_type=intent.kind.value,
            time_in_force="",
            trigger_status="",
            base_size=intent.base_size,
            limit_price=intent.limit_price,
            stop_price=intent.stop_price,
            filled_size=Decimal(0),
            average_filled_price=Decimal(0),
            filled_value=Decimal(0),
            total_fees=Decimal(0),
            reject_reason="",
            cancel_message="",
            created_utc_ns=self.clock.utc_ns(),
            end_utc_ns=intent.end_utc_ns,
            originating_order_id="",
            outstanding_hold=None,
        )
        if intent.kind in (OrderKind.BRACKET_GTC, OrderKind.STOP_LIMIT_GTC):
            order = replace(order, trigger_status="STOP_PENDING")
        self.booked += 1
        self.orders[order.order_id] = order
        self.history.append(f"{intent.side.value} {intent.kind.value} {intent.base_size}")
        if intent.kind is OrderKind.LIMIT_IOC:
            marketable = intent.side is Side.BUY or intent.limit_price <= self.bids[intent.symbol]
            if self.ioc_fills and marketable:
                self.fill(order.order_id, intent.base_size, intent.limit_price)
            else:
                self.end(order.order_id, "CANCELLED")
        return self.orders[order.order_id]

    def fill(self, order_id: str, size: Decimal, price: Decimal, fee_rate: Decimal = Decimal("0.009")) -> None:
        order = self.orders[order_id]
        filled = order.filled_size + size
        assert order.base_size is not None
        status = "FILLED" if filled >= order.base_size else order.status
        self.orders[order_id] = replace(order, filled_size=filled, status=status)
        n = len(self.fills) + 1
        self.fills.append(
            VenueFill(
                entry_id=f"f-{n}",
                trade_id=f"t-{n}",
                order_id=order_id,
                product_id=order.product_id,
                side=order.side,
                price=price,
                size=size,
                commission=price * size * fee_rate,
                trade_type="FILL",
                liquidity="TAKER",
                size_in_quote=False,
                trade_utc_ns=self.clock.utc_ns() + n,
                sequence_utc_ns=self.clock.utc_ns(),
            )
        )
        base = order.product_id.split("-")[0]
        self.coins[base] += size if order.side == "BUY" else -size
        assert self.coins[base] >= 0, "more was sold than was there"

    def end(self, order_id: str, status: str) -> None:
        self.orders[order_id] = replace(self.orders[order_id], status=status)

    def trigger(self, order_id: str) -> None:
        self.orders[order_id] = replace(self.orders[order_id], trigger_status="STOP_TRIGGERED")

    # --- speaking --------------------------------------------------------------------------------------

    def answer(self, harness: ActorHarness, limit: int = 200) -> None:
        for _ in range(limit):
            messages = harness.take("gateway")
            if not messages:
                return
            for message in messages:
                self.answer_one(harness, message)
        raise AssertionError("the tracker and the venue do not come to rest")

    def answer_one(self, harness: ActorHarness, message: object) -> None:
        if isinstance(message, SubmitOrder):
            outcome = self.submit(message)
            if outcome is not None:
                harness.deliver(outcome)
        elif isinstance(message, CancelOrder) and "cancel" not in self.mute:
            order = self.orders.get(message.order_id)
            kind = OutcomeKind.REFUSED if order is None or order.status in OVER else OutcomeKind.DONE
            if order is not None and kind is OutcomeKind.DONE:
                self.end(message.order_id, "CANCELLED")
                self.history.append(f"cancel {order.side} {order.base_size}")
            harness.deliver(CancelOutcome(message.client_order_id, message.order_id, kind, "", self.gateway))
        elif isinstance(message, VenueQuery) and "query" not in self.mute:
            harness.deliver(self.query(message))

    def submit(self, message: SubmitOrder) -> SubmitOutcome | None:
        intent = message.intent
        if "lost" in self.mute:
            return None
        now, cut = self.clock.boot_ns(), self.cut.get(intent.kind)
        lost = SubmitOutcome(
            intent.client_order_id, OutcomeKind.UNKNOWN, None, "cut", now, self.clock.utc_ns(), now, self.gateway
        )
        if cut == "before":
            return lost
        base = intent.symbol.split("-")[0]
        reason = self.refuse.get(intent.kind, "")
        if intent.side is Side.SELL and self.coins[base] - self.held(base) < intent.base_size:
            reason = "INSUFFICIENT_FUND"
        if intent.stop_price is not None and intent.stop_price >= self.bids[intent.symbol]:
            reason = "STOP_ALREADY_TRIGGERED"
        if message.owned is not None and intent.base_size > message.owned:
            raise AssertionError(f"asked to sell {intent.base_size}, vouched for {message.owned}")
        order_id = None if reason else self.book(intent).order_id
        if "submit" in self.mute:
            return None
        if cut == "after":
            return lost
        kind = OutcomeKind.REFUSED if reason else OutcomeKind.DONE
        return SubmitOutcome(
            intent.client_order_id, kind, order_id, reason, now, self.clock.utc_ns(), now, self.gateway
        )

    def query(self, message: VenueQuery) -> VenueAnswer:
        now = self.clock.boot_ns()
        self.asked[message.kind] += 1
        answer = VenueAnswer(
            message.request_id, message.kind, True, "", now, now, self.clock.utc_ns(), self.gateway,
            message.client_order_id, message.order_id,
        )  # fmt: skip
        everything = [one for one in self.orders.values() if one.order_id not in self.hidden]
        fills = [] if self.hidden_fills else self.fills
        since = message.since_utc_ns or 0
        if message.kind is QueryKind.ORDER:
            found = [
                o for o in everything
                if o.client_order_id not in self.unshown
                and (o.order_id == message.order_id
                     or (message.order_id is None and o.client_order_id == message.client_order_id))
            ]  # fmt: skip
            return replace(answer, orders=tuple(found))
        if message.kind is QueryKind.OPEN_ORDERS:
            return replace(answer, orders=tuple(one for one in self.open() if one in everything))
        if message.kind is QueryKind.ORDERS_SINCE:
            return replace(answer, orders=tuple(o for o in everything if o.created_utc_ns >= since))
        if message.kind is QueryKind.FILLS_SINCE:
            return replace(answer, fills=tuple(f for f in fills if f.trade_utc_ns >= since))
        if message.kind is QueryKind.FILLS_OF_ORDER:
            return replace(answer, fills=tuple(f for f in fills if f.order_id == message.order_id))
        if message.kind is QueryKind.PRODUCTS:
            return replace(answer, rules=tuple(replace(one, read_boot_ns=now) for one in self.rules.values()))
        if message.kind is QueryKind.BALANCES:
            balances = [
                VenueBalance(base, owned - self.held(base), self.held(base)) for base, owned in self.coins.items()
            ]
            if self.zeros:
                balances = [replace(one, available=Decimal(0), hold=Decimal(0)) for one in balances]
            return replace(answer, balances=tuple(self.stale or balances))
        assert message.kind is QueryKind.BEST_BID_ASK
        return replace(answer, quotes=tuple(self.quote(symbol) for symbol in message.products))

    def quote(self, symbol: str) -> Quote:
        bid = self.bids[symbol]
        ask = bid + Decimal("0.01")
        return Quote(symbol, bid, ask, Decimal(5), Decimal(5), self.clock.utc_ns(), self.clock.boot_ns())


def seconds(value: float) -> int:
    return round(value * NS_PER_S)
