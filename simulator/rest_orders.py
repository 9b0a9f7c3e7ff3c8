"""REST answers about orders and fills."""

from __future__ import annotations

from decimal import Decimal
from typing import cast

from simulator import queries
from simulator.book import BUY, SELL
from simulator.orders import IMMEDIATE_KINDS, Order, render_fill, render_order
from simulator.queries import Query
from simulator.terms import RefusalError, refuse
from simulator.values import NS_PER_S, ZERO, Json, text
from simulator.venue import Venue

WORKING = ("PENDING", "QUEUED", "OPEN", "CANCEL_QUEUED")


class HttpError(Exception):
    """An answer other than 200, with its JSON body."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(f"{status} {body}")
        self.status, self.body = status, body


def bad_argument(message: str) -> HttpError:
    """Build the 400 of a bad argument."""
    return HttpError(400, {"error": "INVALID_ARGUMENT", "error_details": message, "message": message})


def not_found(details: str) -> HttpError:
    """Build the 404 of something unknown."""
    return HttpError(404, {"error": "unknown", "error_details": details, "message": details})


def _refusal(refusal: RefusalError, configuration: object) -> Json:
    return {
        "success": False,
        "error_response": {
            "error": refusal.reason, "message": refusal.message, "error_details": "",
            "preview_failure_reason": refusal.preview, "new_order_failure_reason": refusal.reason,
        },
        "order_configuration": configuration if isinstance(configuration, dict) else {},
    }


class OrderDesk:
    """Creates, edits, cancels and lists orders over the engine."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    # -- create and preview

    def create(self, body: Json) -> Json:
        """Answer create_order; a refusal is an answer too."""
        venue, configuration = self._venue, body.get("order_configuration")
        symbol = str(body.get("product_id"))
        try:
            order, is_new = venue.engine.create(body, venue.now_ns())
            if not is_new and venue.faults.strike("duplicate_client_order_id", symbol=symbol):
                raise refuse("DUPLICATE_CLIENT_ORDER_ID", "client_order_id was used before")
        except RefusalError as refusal:
            return _refusal(refusal, configuration)
        venue.commit()
        shown: object = {order.kind: order.config}
        if venue.faults.strike("order_configuration_null", symbol=symbol):
            shown = None
        return {
            "success": True,
            "success_response": {"order_id": order.order_id, "product_id": order.product_id, "side": order.side,
                                 "client_order_id": order.client_order_id},
            "order_configuration": shown,
        }

    def preview(self, body: Json) -> Json:
        """Answer preview_order: what an order would cost, and what stands against it."""
        engine, errors = self._venue.engine, []
        try:
            product, side, terms = engine.check(body, self._venue.now_ns())
        except RefusalError as refusal:
            return {**self._empty_preview(), "errs": [refusal.preview]}
        order = engine.draft(product, side, terms, self._venue.now_ns())
        size = order.remaining
        if order.quote_size is not None and order.base_size is None:
            best = engine.books[product.book_id].best(SELL)
            size = ZERO if best is None else order.quote_size / (best.price * (1 + order.taker_rate))
        takes = engine.plan(order, order.limit_price, size)
        base = sum((take.size for take in takes), ZERO)
        value = sum((take.size * take.price for take in takes), ZERO)
        rest = size - base if order.kind not in IMMEDIATE_KINDS else ZERO
        value += rest * (order.limit_price or ZERO)
        base += rest
        fee = value * order.taker_rate
        total = value + fee if side == BUY else value - fee
        wallet = engine.wallets[order.hold_currency]
        if wallet.available < (total if side == BUY else base):
            errors.append("PREVIEW_INSUFFICIENT_FUND")
        book = engine.books[product.book_id]
        bid, ask = book.best(BUY), book.best(SELL)
        return {
            **self._empty_preview(), "errs": errors, "order_total": text(total), "commission_total": text(fee),
            "quote_size": text(value), "base_size": text(base), "best_bid": text(bid.price) if bid else "",
            "best_ask": text(ask.price) if ask else "",
            "est_average_filled_price": text(value / base) if base else "",
            "commission_detail_total": {
                "total_commission": text(fee), "gst_commission": "", "withholding_commission": "",
                "client_commission": text(fee), "venue_commission": "", "regulatory_commission": "",
                "clearing_commission": "",
            },
        }

    def _empty_preview(self) -> Json:
        nothing: list[object] = []
        return {"order_total": "0", "commission_total": "0", "errs": nothing, "warning": nothing,
                "quote_size": "0", "base_size": "0", "best_bid": "", "best_ask": "", "is_max": False,
                "slippage": "0", "preview_id": self._venue.engine.new_id(), "order_margin_total": "",
                "leverage": "", "long_leverage": "", "short_leverage": ""}

    # -- edit and cancel

    def edit(self, body: Json) -> Json:
        """Answer edit_order; both size and price must come."""
        reason = self._venue.engine.edit(str(body.get("order_id")), body.get("size"), body.get("price"),
                                         body.get("stop_price"), self._venue.now_ns())
        self._venue.commit()
        return self._edit_answer(reason)

    def edit_preview(self, body: Json) -> Json:
        """Answer preview_edit_order."""
        engine, order_id = self._venue.engine, str(body.get("order_id"))
        reason = engine.check_edit(order_id, body.get("size"), body.get("price"), body.get("stop_price"))
        if reason != ("", ""):
            errors = self._edit_answer(reason)["errors"]
            return {"errors": errors, "slippage": "0", "order_total": "0", "commission_total": "0",
                    "quote_size": "0", "base_size": "0", "best_bid": "", "best_ask": "",
                    "average_filled_price": "0"}
        order = engine.orders[order_id]
        base, price = Decimal(str(body["size"])), Decimal(str(body["price"]))
        fee = base * price * order.maker_rate
        bid, ask = engine.books[order.book_id].best(BUY), engine.books[order.book_id].best(SELL)
        total = base * price + (fee if order.side == BUY else -fee)
        return {"errors": [], "slippage": "0", "order_total": text(total), "commission_total": text(fee),
                "quote_size": text(base * price), "base_size": text(base),
                "best_bid": text(bid.price) if bid else "", "best_ask": text(ask.price) if ask else "",
                "average_filled_price": render_order(order)["average_filled_price"]}

    @staticmethod
    def _edit_answer(reason: tuple[str, str]) -> Json:
        edit, preview = reason
        if not edit:
            return {"success": True, "errors": []}
        row: Json = {"edit_failure_reason": edit}
        if preview:
            row["preview_failure_reason"] = preview
        return {"success": False, "errors": [row]}

    def cancel(self, body: Json) -> Json:
        """Answer cancel_orders; success says that the request was taken, no more."""
        wanted = body.get("order_ids")
        if not isinstance(wanted, list) or not wanted:
            raise bad_argument("order_ids is empty")
        results: list[Json] = []
        for order_id in cast("list[object]", wanted):
            reason = self._venue.engine.cancel(str(order_id), self._venue.now_ns())
            results.append({"success": not reason, "failure_reason": reason or "UNKNOWN_CANCEL_FAILURE_REASON",
                            "order_id": str(order_id)})
        self._venue.commit()
        return {"results": results}

    # -- list

    def _hidden(self, kind: str, order: Order) -> bool:
        fault = self._venue.faults.find(kind, symbol=order.product_id)
        if fault is None:
            return False
        age_s = (self._venue.now_ns() - order.created_ns) / NS_PER_S
        if age_s >= fault.number("visible_after_s", 2.0):
            return False
        self._venue.faults.count(fault)
        return True

    def get(self, order_id: str) -> Json:
        """Answer get_order."""
        order = self._venue.engine.orders.get(order_id)
        if order is None or self._hidden("get_order_404_for", order):
            raise not_found("order with this orderID was not found")
        return {"order": render_order(order)}

    def list_orders(self, query: Query) -> Json:
        """Answer list_orders."""
        status = queries.values(query, "order_status")
        if "OPEN" in status and len(status) > 1:
            raise bad_argument("OPEN cannot be combined with other statuses")
        visible = [o for o in self._venue.engine.orders.values() if not self._hidden("orders_invisible_for", o)]
        rules = self._venue.engine.rules
        if status == ["OPEN"] and rules.open_lists_working:
            query = {**query, "order_status": WORKING}
        found = queries.select_orders(visible, query)
        rows, cursor = queries.page(found, query, None, lambda order: order.order_id, shifts=rules.pages_shift)
        return {"orders": [render_order(order) for order in rows], "sequence": "0", "has_next": bool(cursor),
                "cursor": cursor}

    def list_fills(self, query: Query) -> Json:
        """Answer list_fills; an empty cursor ends it, there is no has_next."""
        found = queries.select_fills(self._venue.engine.fills, query)
        shifts = self._venue.engine.rules.pages_shift
        rows, cursor = queries.page(found, query, 100, lambda fill: fill.fill_id, shifts=shifts)
        return {"fills": [self._told(render_fill(fill)) for fill in rows], "cursor": cursor}

    def _told(self, fill: Json) -> Json:
        fault = self._venue.faults.strike("fill_rewritten", symbol=str(fill["product_id"]))
        if fault is None:
            return fill
        name = fault.word("field", "size")
        return fill | {name: text(Decimal(str(fill[name])) + Decimal(fault.word("add", "0.00000001")))}
