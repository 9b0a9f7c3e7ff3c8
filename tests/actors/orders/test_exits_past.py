"""The hand-over past orders of unknown fate: pure decisions."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from actors.messages.market import Quote
from actors.messages.orders import OrderKind, OutcomeKind
from actors.orders import exits
from actors.orders.exits import CancelFirst, ExitView, Handover, NeedBalance, Sell, Wait
from tests.actors.orders.test_protection import order
from tests.actors.orders.venue import rules

QUOTE = Quote("BTC-USD", Decimal(94), Decimal("94.01"), Decimal(1), Decimal(1), 0, 0)
LADDER = (Decimal(100), Decimal(300), Decimal(1000))
LOST = order(n=1, venue_status=None, outcome=OutcomeKind.UNKNOWN, order_id=None)
STOP = Handover("BTC-USD", exits.STOP, "c")


def view(**changes: object) -> ExitView:
    made = ExitView(
        Decimal(1), (LOST,), None, Decimal(1), QUOTE, rules("BTC-USD"), LADDER, Decimal(1500),
        astray=frozenset({LOST.id}),
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def test_what_is_available_is_sold_past_an_order_that_went_astray() -> None:
    assert exits.advance(STOP, view()) == (STOP, Sell(Decimal(1), Decimal("93.06")))


def test_one_that_is_not_astray_is_waited_for() -> None:
    assert exits.advance(STOP, view(astray=frozenset())) == (STOP, Wait("cancels"))
    other = order(n=2, cancel_requested=True)
    assert exits.advance(STOP, view(orders=(LOST, other))) == (STOP, Wait("cancels"))


def test_one_that_can_be_cancelled_is_cancelled_first_wherever_it_is() -> None:
    gone = order(n=2)
    found = exits.advance(STOP, view(orders=(gone,), astray=frozenset({gone.id})))
    assert found == (STOP, CancelFirst((gone.id,)))


def test_coins_on_hold_that_may_be_its_own_keep_the_sale_back_while_it_is_looked_for() -> None:
    held = view(held=Decimal(1), available=Decimal("0.4"))
    assert exits.advance(STOP, replace(held, doubtful=Decimal(1)))[1] == NeedBalance()
    assert exits.advance(STOP, replace(held, doubtful=Decimal("1.1")))[1] == Sell(Decimal("0.4"), Decimal("93.06"))
    assert exits.advance(STOP, held)[1] == Sell(Decimal("0.4"), Decimal("93.06")), "by now it would have been found"


def test_a_sale_that_went_astray_is_passed_by_unless_it_could_sell_somebody_elses_coins() -> None:
    sale = order(n=3, kind=OrderKind.LIMIT_IOC, venue_status=None, outcome=OutcomeKind.UNKNOWN, order_id=None)
    selling = replace(STOP, sell_id=sale.id, step=1)
    now = view(orders=(sale,), sell=sale, astray=frozenset({sale.id}))
    assert exits.advance(selling, now) == (selling, Sell(Decimal(1), Decimal("91.18")))
    assert exits.advance(selling, replace(now, astray=frozenset())) == (selling, Wait("own_sell"))
    assert exits.advance(selling, replace(now, available=Decimal("1.01"))) == (selling, NeedBalance())
    assert exits.advance(selling, replace(now, available=Decimal("0.4")))[1] == Sell(Decimal("0.4"), Decimal("91.18"))


@given(
    owned=st.integers(1, 300), available=st.none() | st.integers(0, 300), held=st.integers(0, 300),
    doubtful=st.none() | st.integers(1, 300),
)  # fmt: skip
def test_no_more_is_ever_sold_than_the_books_own_and_the_account_shows(
    owned: int, available: int | None, held: int, doubtful: int | None
) -> None:
    hundredth = Decimal("0.01")
    now = view(
        quantity=owned * hundredth,
        available=None if available is None else available * hundredth,
        held=held * hundredth,
        doubtful=None if doubtful is None else doubtful * hundredth,
    )
    step = exits.advance(STOP, now)[1]
    if isinstance(step, Sell):
        assert available is not None
        assert step.size <= min(owned, available) * hundredth
        assert doubtful is None or held < doubtful
