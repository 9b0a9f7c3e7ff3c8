"""Whatever happens in whatever order: approved exposure never exceeds a limit."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.messages.books import OpenOrder
from actors.messages.orders import Approval, OrderState, Refusal
from tests.actors.risk.desk import Desk
from tests.actors.risk.factories import D, order, position

SYMBOLS = ("BTC-USD", "BTC-USDC", "ETH-USD")
FEE = Decimal("1.009")
LIMITS: dict[str, object] = {
    "max_position_pct": "12",
    "max_asset_pct": "18",
    "max_total_pct": "25",
    "max_positions": 2,
    "cooldown_symbol_s": 0,
    "losing_streak": 1000,
    "max_orders_per_minute": 1000,
    "repeat_limit": 1000,
}


@dataclass(slots=True)
class Truth:
    """What a tracker would know, computed apart from the risk manager's books."""

    flying: dict[str, Approval]
    orders: dict[str, OpenOrder]
    costs: dict[str, tuple[Decimal, Decimal]]
    handled: tuple[str, ...]

    def exposure(self, now: int) -> dict[str, Decimal]:
        found = dict.fromkeys(SYMBOLS, Decimal(0))
        for approval in self.flying.values():
            if now < approval.expires_boot_ns:
                found[approval.spec.symbol] += approval.spec.base_size * approval.spec.limit_price * FEE
        for open_order in self.orders.values():
            found[open_order.symbol] += open_order.remaining * open_order.limit_price * FEE
        for symbol, (_, cost) in self.costs.items():
            found[symbol] += cost
        return found


Step = tuple[str, int, int]
WEIGHTS = {"propose": 3, "take": 2, "refuse": 1, "fill": 2, "cancel": 1, "tell": 2, "wait": 1, "restart": 1, "close": 1}
EVENTS = [name for name, weight in {**WEIGHTS, "price": 1}.items() for _ in range(weight)]
STEPS = st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 2), st.integers(1, 100)), min_size=5, max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_no_sequence_of_events_lets_exposure_exceed_a_limit(steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder), symbols=SYMBOLS, **LIMITS)
        desk.tick(5)
        truth = Truth({}, {}, {}, ())
        try:
            for step in steps:
                run(desk, truth, step)
        finally:
            desk.close()


def test_the_model_lets_trades_happen() -> None:
    """The property above would hold for a gate that refuses everything: this one shows that it does not."""
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder), symbols=SYMBOLS, **LIMITS)
        desk.tick(5)
        truth = Truth({}, {}, {}, ())
        plan = [
            ("propose", 0, 100),
            ("take", 0, 1),
            ("fill", 0, 60),
            ("tell", 0, 1),
            ("propose", 2, 100),
            ("tell", 0, 1),
        ]
        for step in plan:
            run(desk, truth, step)
        assert truth.costs["BTC-USD"][1] > 50
        assert len(truth.flying) == 1
        desk.close()


def run(desk: Desk, truth: Truth, step: Step) -> None:
    what, which, amount = step
    if what == "propose":
        propose(desk, truth, SYMBOLS[which], Decimal(amount))
    elif what == "take" and truth.flying:
        take(desk, truth, sorted(truth.flying)[which % len(truth.flying)])
    elif what == "refuse" and truth.flying:
        key = sorted(truth.flying)[which % len(truth.flying)]
        del truth.flying[key]
        desk.harness.deliver(Refusal(key, "c", "BTC-USD", "expired", "", "tracker"))
    elif what == "fill" and truth.orders:
        fill(truth, sorted(truth.orders)[which % len(truth.orders)], Decimal(amount) / 100)
    elif what == "cancel" and truth.orders:
        del truth.orders[sorted(truth.orders)[which % len(truth.orders)]]
    elif what == "close":
        truth.costs.pop(SYMBOLS[which], None)
    elif what == "tell":
        tell(desk, truth)
    elif what == "price":
        desk.bids["BTC-USD" if which < 2 else "ETH-USD"] = str(D("99.50") + D(amount) / 100)
    elif what == "restart":
        desk.restart()
        tell(desk, truth)
        desk.tick(4)
    elif what == "wait":
        desk.tick(amount / 25, told=False)


def propose(desk: Desk, truth: Truth, symbol: str, notional: Decimal) -> None:
    now = desk.clock.boot_ns()
    answer = desk.propose(symbol=symbol, notional=notional)
    if isinstance(answer, Approval):
        truth.flying[answer.proposal_id] = answer
        found = truth.exposure(now)
        assert found[symbol] <= 120, found
        assert found["BTC-USD"] + found["BTC-USDC"] <= 180, found
        assert sum(found.values()) <= 250, found
        assert sum(1 for value in found.values() if value > 0) <= 2, found


def take(desk: Desk, truth: Truth, key: str) -> None:
    """The tracker makes an order of an approval that has not expired."""
    approval = truth.flying.pop(key)
    if desk.clock.boot_ns() >= approval.expires_boot_ns:
        return
    spec = approval.spec
    made = order(spec.symbol, size=str(spec.base_size), price=str(spec.limit_price), state=OrderState.UNKNOWN)
    truth.orders[key] = replace(made, client_order_id=key, state=OrderState.OPEN)
    truth.handled = (*truth.handled, key)[-64:]


def fill(truth: Truth, key: str, share: Decimal) -> None:
    open_order = truth.orders[key]
    size = open_order.remaining * share
    quantity, cost = truth.costs.get(open_order.symbol, (Decimal(0), Decimal(0)))
    truth.costs[open_order.symbol] = (quantity + size, cost + size * open_order.limit_price * FEE)
    truth.orders[key] = replace(open_order, filled_size=open_order.filled_size + size)
    if truth.orders[key].remaining == 0:
        del truth.orders[key]


def tell(desk: Desk, truth: Truth) -> None:
    positions = tuple(
        position(symbol, str(quantity), str(cost / quantity), opened_utc_ns=1)
        for symbol, (quantity, cost) in truth.costs.items()
        if quantity > 0
    )
    desk.book.update(positions=positions, open_orders=tuple(truth.orders.values()), handled_proposals=truth.handled)
    desk.inputs()
    desk.answer()
