"""An order, its fills, and how the venue writes them in REST answers and user events."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import cast

from simulator.values import NO_END_TIME, ZERO, Json, rfc3339, text

TERMINAL = frozenset({"FILLED", "CANCELLED", "EXPIRED", "FAILED"})
STOP_KINDS = frozenset({"stop_limit_stop_limit_gtc", "stop_limit_stop_limit_gtd"})
BRACKET_KINDS = frozenset({"trigger_bracket_gtc", "trigger_bracket_gtd"})
LIMIT_KINDS = frozenset({"sor_limit_ioc", "limit_limit_gtc", "limit_limit_gtd", "limit_limit_fok"})
IMMEDIATE_KINDS = frozenset({"market_market_ioc", "sor_limit_ioc", "limit_limit_fok"})
EDITABLE_KINDS = frozenset({"limit_limit_gtc", "stop_limit_stop_limit_gtc", "trigger_bracket_gtc"})
KINDS = LIMIT_KINDS | STOP_KINDS | BRACKET_KINDS | {"market_market_ioc"}

_TIME_IN_FORCE = {
    "ioc": "IMMEDIATE_OR_CANCEL", "gtc": "GOOD_UNTIL_CANCELLED",
    "gtd": "GOOD_UNTIL_DATE_TIME", "fok": "FILL_OR_KILL",
}


@dataclass(slots=True)
class Order:
    """One order over its whole life; only the engine changes it. Times are ns since the epoch."""

    order_id: str
    client_order_id: str
    product_id: str
    book_id: str
    base: str
    quote: str
    side: str
    kind: str
    config: Json
    base_size: Decimal | None
    quote_size: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    stop_up: bool
    post_only: bool
    end_ns: int
    maker_rate: Decimal
    taker_rate: Decimal
    created_ns: int
    user_id: str
    portfolio_id: str
    source: str = "RETAIL_ADVANCED"
    attached: Json | None = None
    status: str = "PENDING"
    trigger_status: str = "INVALID_ORDER_TYPE"
    resting: bool = False
    resting_price: Decimal = ZERO
    queue_ahead: Decimal = ZERO
    arrival: int = 0
    filled_size: Decimal = ZERO
    filled_value: Decimal = ZERO
    fees: Decimal = ZERO
    fill_count: int = 0
    hold: Decimal = ZERO
    pending_cancel: bool = False
    reject_reason: str = "REJECT_REASON_UNSPECIFIED"
    reject_message: str = ""
    cancel_message: str = ""
    originating_order_id: str = ""
    attached_order_id: str = ""
    edits: list[Json] = field(default_factory=list)
    updated_ns: int = 0
    last_fill_ns: int = 0
    decremented: Decimal = ZERO
    lost: bool = False

    @property
    def is_terminal(self) -> bool:
        """Tell whether nothing can happen to the order any more."""
        return self.status in TERMINAL

    @property
    def remaining(self) -> Decimal:
        """Return the base size still to fill; zero for a market order by quote size."""
        if self.base_size is None:
            return ZERO
        return self.base_size - self.decremented - self.filled_size

    @property
    def hold_currency(self) -> str:
        """Name the wallet the order holds from."""
        return self.quote if self.side == "BUY" else self.base

    @property
    def order_type(self) -> str:
        """Name the order's type as REST does."""
        if self.kind in STOP_KINDS:
            return "STOP_LIMIT"
        if self.kind in BRACKET_KINDS:
            return "BRACKET"
        return "MARKET" if self.kind == "market_market_ioc" else "LIMIT"

    @property
    def time_in_force(self) -> str:
        """Name the time in force as REST does."""
        return _TIME_IN_FORCE[self.kind.rsplit("_", 1)[1]]


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution of an order; `fill_id` is the venue's entry id."""

    fill_id: str
    trade_id: str
    order_id: str
    client_order_id: str
    product_id: str
    side: str
    order_type: str
    price: Decimal
    size: Decimal
    commission: Decimal
    is_maker: bool
    time_ns: int
    user_id: str
    portfolio_id: str
    sequence: int


@dataclass(frozen=True, slots=True)
class PublicTrade:
    """A trade everybody sees; the side is the maker's."""

    book_id: str
    price: Decimal
    size: Decimal
    maker_side: str
    time_ns: int


def _completion(order: Order) -> str:
    if order.base_size is None or order.base_size == 0:
        return "100.00" if order.status == "FILLED" else "0"
    share = (order.filled_size / order.base_size * 100).quantize(Decimal("0.01"))
    return "0" if share == 0 else str(share)


def _average_price(order: Order) -> str:
    return "0" if order.filled_size == 0 else text(order.filled_value / order.filled_size)


def _after_fees(order: Order) -> Decimal:
    return order.filled_value + order.fees if order.side == "BUY" else order.filled_value - order.fees


def _commission_detail(total: Decimal) -> Json:
    return {
        "total_commission": text(total), "gst_commission": "", "withholding_commission": "",
        "client_commission": text(total), "venue_commission": "", "regulatory_commission": "",
        "clearing_commission": "",
    }


def render_order(order: Order) -> Json:
    """Write an order as REST does."""
    return {
        "order_id": order.order_id,
        "product_id": order.product_id,
        "user_id": order.user_id,
        "order_configuration": {order.kind: dict(order.config)},
        "side": order.side,
        "client_order_id": order.client_order_id,
        "status": order.status,
        "time_in_force": order.time_in_force,
        "created_time": rfc3339(order.created_ns),
        "completion_percentage": _completion(order),
        "filled_size": text(order.filled_size),
        "average_filled_price": _average_price(order),
        "fee": "",
        "number_of_fills": str(order.fill_count),
        "filled_value": text(order.filled_value),
        "pending_cancel": order.pending_cancel,
        "size_in_quote": order.quote_size is not None,
        "total_fees": text(order.fees),
        "size_inclusive_of_fees": order.quote_size is not None,
        "total_value_after_fees": text(_after_fees(order)),
        "trigger_status": order.trigger_status,
        "order_type": order.order_type,
        "reject_reason": order.reject_reason,
        "settled": order.status == "FILLED",
        "product_type": "SPOT",
        "reject_message": order.reject_message,
        "cancel_message": order.cancel_message,
        "order_placement_source": order.source,
        "outstanding_hold_amount": text(order.hold),
        "is_liquidation": False,
        "last_fill_time": rfc3339(order.last_fill_ns) if order.last_fill_ns else None,
        "edit_history": [dict(edit) for edit in order.edits[-5:][::-1]],
        "leverage": "",
        "margin_type": "UNKNOWN_MARGIN_TYPE",
        "retail_portfolio_id": order.portfolio_id,
        "originating_order_id": order.originating_order_id,
        "attached_order_id": order.attached_order_id,
        "attached_order_configuration": order.attached,
        "current_pending_replace": None,
        "commission_detail_total": _commission_detail(order.fees),
        "workable_size": "",
        "workable_size_completion_pct": "",
        "product_details": None,
        "displayed_order_config": "UNKNOWN_DISPLAYED_ORDER_CONFIG",
        "equity_trading_session": "UNKNOWN_EQUITY_TRADING_SESSION",
        "prediction_side": "PREDICTION_SIDE_UNKNOWN",
        "last_update_time": rfc3339(order.updated_ns),
        "cursor": order.order_id,
    }


def render_user_order(order: Order) -> Json:
    """Write an order as the user channel does: every value is text, the state is cumulative."""
    leaves = ZERO if order.is_terminal else order.remaining
    return {
        "avg_price": _average_price(order),
        "cancel_reason": order.cancel_message,
        "client_order_id": order.client_order_id,
        "completion_percentage": _completion(order),
        "contract_expiry_type": "UNKNOWN_CONTRACT_EXPIRY_TYPE",
        "cumulative_quantity": text(order.filled_size),
        "filled_value": text(order.filled_value),
        "leaves_quantity": text(leaves),
        "limit_price": text(order.limit_price) if order.limit_price is not None else "0",
        "number_of_fills": str(order.fill_count),
        "order_id": order.order_id,
        "order_side": order.side,
        "order_type": {"LIMIT": "Limit", "MARKET": "Market"}.get(order.order_type, order.order_type),
        "outstanding_hold_amount": text(order.hold),
        "post_only": "true" if order.post_only else "false",
        "product_id": order.product_id,
        "product_type": "SPOT",
        "reject_reason": order.reject_message,
        "retail_portfolio_id": order.portfolio_id,
        "risk_managed_by": "UNKNOWN_RISK_MANAGEMENT_TYPE",
        "status": order.status,
        "stop_price": text(order.stop_price) if order.stop_price is not None else "",
        "time_in_force": order.time_in_force,
        "total_fees": text(order.fees),
        "total_value_after_fees": text(_after_fees(order)),
        "trigger_status": order.trigger_status,
        "creation_time": rfc3339(order.created_ns),
        "end_time": rfc3339(order.end_ns) if order.end_ns else NO_END_TIME,
        "start_time": NO_END_TIME,
    }


def render_fill(fill: Fill) -> Json:
    """Write a fill as REST does."""
    stamp = rfc3339(fill.time_ns)
    return {
        "entry_id": fill.fill_id,
        "trade_id": fill.trade_id,
        "order_id": fill.order_id,
        "trade_time": stamp,
        "trade_type": "FILL",
        "price": text(fill.price),
        "size": text(fill.size),
        "commission": text(fill.commission),
        "product_id": fill.product_id,
        "sequence_timestamp": stamp,
        "liquidity_indicator": "MAKER" if fill.is_maker else "TAKER",
        "size_in_quote": False,
        "user_id": fill.user_id,
        "side": fill.side,
        "retail_portfolio_id": fill.portfolio_id,
        "fillSource": "FILL_SOURCE_CLOB",
        "commission_detail_total": _commission_detail(fill.commission),
        "order_data_source": "ORDER_DATA_SOURCE_UNSPECIFIED",
    }


_ORDER_DECIMALS = frozenset(
    {
        "base_size", "quote_size", "limit_price", "stop_price", "maker_rate", "taker_rate", "resting_price",
        "queue_ahead", "filled_size", "filled_value", "fees", "hold", "decremented",
    }
)
_FILL_DECIMALS = frozenset({"price", "size", "commission"})


def pack(record: Order | Fill) -> Json:
    """Turn an order or a fill into plain JSON values for the store."""
    packed: Json = {}
    for item in fields(record):
        value = getattr(record, item.name)
        packed[item.name] = str(value) if isinstance(value, Decimal) else value
    return packed


def _unpacked(packed: Json, decimals: frozenset[str]) -> dict[str, object]:
    return {
        name: Decimal(cast("str", value)) if name in decimals and value is not None else value
        for name, value in packed.items()
    }


def unpack_order(packed: Json) -> Order:
    """Rebuild an order from the store."""
    return Order(**_unpacked(packed, _ORDER_DECIMALS))  # type: ignore[arg-type]


def unpack_fill(packed: Json) -> Fill:
    """Rebuild a fill from the store."""
    return Fill(**_unpacked(packed, _FILL_DECIMALS))  # type: ignore[arg-type]
