"""Orders that the venue loses: on no book, in no answer, their hold freed, and not a word of it; some come back."""

from __future__ import annotations

from simulator.engine import Engine
from simulator.orders import BRACKET_KINDS, Order
from simulator.values import NS_PER_S, ZERO


def vanish(engine: Engine, order: Order) -> None:
    """Lose an open order."""
    engine.forget(order)
    engine.wallets.move_hold(order.hold_currency, -order.hold)
    order.hold, order.lost = ZERO, True
    del engine.orders[order.order_id], engine.by_client_id[order.client_order_id]
    engine.lost[order.order_id] = order
    engine.keep(order)


def reappear(engine: Engine, order: Order, now_ns: int) -> bool:
    """Put a lost order back where it rested; False while the wallet lacks what it holds."""
    hold = engine.hold_needed(order)
    if engine.wallets[order.hold_currency].available < hold:
        return False
    engine.wallets.move_hold(order.hold_currency, hold)
    order.hold, order.lost, order.pending_cancel, order.status = hold, False, False, "OPEN"
    del engine.lost[order.order_id]
    engine.orders[order.order_id] = order
    engine.by_client_id[order.client_order_id] = order.order_id
    if order.trigger_status == "STOP_PENDING":
        engine.watch(order)
    if order.kind in BRACKET_KINDS or order.trigger_status != "STOP_PENDING":
        engine.rest(order, order.resting_price or order.limit_price or ZERO)
    if order.end_ns:
        engine.expire_at(order, max(order.end_ns, now_ns + NS_PER_S // 1000))
    engine.touch(order, now_ns)
    return True
