"""The operator's newest word wins: a release ends the unfinished flatten of a kill, whoever dies in between."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from actors.messages.control import CancelProof, OperatorCommand, OperatorVerb
from actors.messages.health import Alert, TradingState
from actors.messages.orders import OrderKind, Protection, SubmitOrder
from tests.actors.orders.desk import Desk
from tests.actors.orders.test_adopting import accept, shown

D = Decimal
KILLED, HALTED, RUN = TradingState.KILLED, TradingState.HALTED, TradingState.RUN


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """One protected position on a product whose mode takes no sale, in a kill that is to sell it."""
    made = Desk(tmp_path)
    made.buy("1")
    made.pass_time(1)
    closed(made, True)
    made.lease(KILLED)
    made.harness.deliver(kill("op-1-1-1"))
    made.pass_time(3)
    assert made.venue.sold("BTC-USD") == 0
    return made


def kill(request_id: str) -> OperatorCommand:
    return OperatorCommand(request_id, OperatorVerb.KILL, "drill", "anna", flatten=True)


def closed(desk: Desk, yes: bool) -> None:
    desk.venue.rules["BTC-USD"] = replace(desk.venue.rules["BTC-USD"], cancel_only=yes)
    desk.tracker.ask_rules()
    desk.settle()


def release(desk: Desk, request_id: str = "op-1-1-2") -> None:
    """As the tracker first hears of it: by the lease."""
    desk.released_by = request_id
    desk.lease(HALTED)


def proofs(desk: Desk, request_id: str) -> list[CancelProof]:
    return [one for one in desk.harness.sent["admin"] if isinstance(one, CancelProof) and one.request_id == request_id]


def left_alone(desk: Desk) -> None:
    """The product trades again, and for a long while nothing is sold and the position keeps its stop."""
    closed(desk, False)
    desk.pass_time(20)
    assert desk.venue.sold("BTC-USD") == 0
    position = desk.position()
    assert position is not None
    assert position.protection is Protection.PROTECTED
    assert [order.side for order in desk.venue.open()] == ["SELL"]


def test_a_release_ends_the_flatten_and_says_what_it_left_unsold(desk: Desk) -> None:
    release(desk)
    desk.pass_time(2)
    (alert,) = [one for one in desk.sent("alerts", Alert) if one.key == "unsold:op-1-1-1"]  # type: ignore[attr-defined]
    assert "left unsold: 1 BTC-USD" in alert.text  # type: ignore[attr-defined]
    assert "left unsold: 1 BTC-USD" in proofs(desk, "op-1-1-1")[-1].ended
    desk.harness.deliver(OperatorCommand("op-1-1-2", OperatorVerb.RELEASE, "drill", "anna"))
    (told,) = proofs(desk, "op-1-1-2")
    assert told.complete
    assert "left unsold: 1 BTC-USD" in told.text
    assert [(one.symbol, one.protection) for one in told.positions] == [("BTC-USD", "PROTECTED")]
    left_alone(desk)
    desk.lease(RUN)
    left_alone(desk)


@pytest.mark.parametrize("new_daemon", [False, True])
@pytest.mark.parametrize("heard", [False, True])
def test_a_release_holds_over_the_death_of_the_tracker_before_and_after_it_is_heard(
    desk: Desk, heard: bool, new_daemon: bool
) -> None:
    if heard:
        release(desk)
        desk.released_by = ""  # by the ledger alone
    else:
        desk.released_by = "op-1-1-2"
    desk.state = HALTED
    desk.restart(new_daemon=new_daemon)
    left_alone(desk)


def test_a_new_tracker_sells_nothing_before_a_lease_has_said_that_nobody_released(desk: Desk) -> None:
    desk.kill()
    closed_rules = desk.venue.rules["BTC-USD"]
    desk.venue.rules["BTC-USD"] = replace(closed_rules, cancel_only=False)
    desk.harness = desk._make(desk.venue.gateway)
    desk.harness.start()
    for _ in range(20):
        desk.settle()
        desk.quote("BTC-USD")
        desk.harness.advance(0.25)
    assert desk.venue.sold("BTC-USD") == 0
    desk.pass_time(5)  # KILLED, and no release
    assert desk.venue.sold("BTC-USD") == 1


def test_a_sale_at_the_venue_is_awaited_and_booked_and_its_rest_protected(desk: Desk) -> None:
    desk.venue.ioc_fills = False
    closed(desk, False)
    desk.venue.mute = {"submit"}
    for _ in range(40):
        desk.pass_time(0.25)
        if any(isinstance(one, SubmitOrder) for one in desk.harness.sent["gateway"]) or desk.venue.history[
            -1
        ].startswith("SELL limit_ioc"):
            break
    sell = [one for one in desk.venue.orders.values() if one.order_type == "limit_ioc" and one.side == "SELL"][-1]
    desk.venue.orders[sell.order_id] = replace(sell, status="OPEN")  # the venue takes its time
    desk.venue.mute = {"submit", "query"}
    release(desk)
    desk.pass_time(1)
    desk.harness.deliver(OperatorCommand("op-1-1-2", OperatorVerb.RELEASE, "drill", "anna"))
    assert not proofs(desk, "op-1-1-2")[-1].complete
    assert "a sale is under way: BTC-USD" in proofs(desk, "op-1-1-2")[-1].text
    desk.venue.mute = set()
    desk.venue.fill(sell.order_id, D("0.4"), D(99))
    desk.venue.end(sell.order_id, "CANCELLED")
    desk.venue.ioc_fills = True
    desk.pass_time(15)
    assert desk.venue.sold("BTC-USD") == D("0.4")
    position = desk.position()
    assert position is not None
    assert (position.quantity, position.protection) == (D("0.6"), Protection.PROTECTED)
    desk.harness.deliver(OperatorCommand("op-1-1-2", OperatorVerb.RELEASE, "drill", "anna"))
    assert "left unsold: 0.6 BTC-USD" in proofs(desk, "op-1-1-2")[-1].text


def test_a_sale_whose_fate_is_not_known_is_awaited_before_it_is_said_what_was_left(desk: Desk) -> None:
    desk.venue.cut[OrderKind.LIMIT_IOC] = "before"
    closed(desk, False)
    desk.pass_time(3)
    release(desk)
    desk.pass_time(10)
    desk.harness.deliver(OperatorCommand("op-1-1-2", OperatorVerb.RELEASE, "drill", "anna"))
    told = proofs(desk, "op-1-1-2")[-1]
    assert (told.complete, "a sale is under way: BTC-USD" in told.text) == (False, True), "it may yet be filled"
    assert not [one for one in desk.sent("alerts", Alert) if "unsold" in one.key]  # type: ignore[attr-defined]
    desk.pass_time(150, 1.0)
    desk.harness.deliver(OperatorCommand("op-1-1-2", OperatorVerb.RELEASE, "drill", "anna"))
    assert proofs(desk, "op-1-1-2")[-1].complete
    left_alone(desk)


def test_a_crash_after_the_release_is_sold_past_all_the_sales_that_were_lost(desk: Desk) -> None:
    desk.venue.cut[OrderKind.LIMIT_IOC] = "before"
    closed(desk, False)
    desk.pass_time(12)
    assert desk.states().count("exit UNKNOWN") > 1
    release(desk)
    desk.pass_time(15)
    desk.venue.cut.clear()
    assert desk.venue.sold("BTC-USD") == 0
    desk.venue.bids["BTC-USD"] = D(94)
    desk.pass_time(20)
    assert desk.venue.sold("BTC-USD") == 1


def test_a_resume_ends_a_flatten_whose_release_nobody_kept(desk: Desk) -> None:
    desk.pass_time(5)
    desk.lease(RUN)
    desk.pass_time(1)
    assert [one.key for one in desk.sent("alerts", Alert) if "unsold" in one.key] == ["unsold:op-1-1-1"]  # type: ignore[attr-defined]
    left_alone(desk)


def test_a_kill_said_after_the_release_sells_and_one_said_before_it_does_not(desk: Desk) -> None:
    release(desk, "op-1-2-1")
    desk.pass_time(1)
    desk.lease(KILLED)
    desk.harness.deliver(kill("op-1-1-9"))  # repeated by the admin, and late
    desk.pass_time(1)
    assert "left unsold" in proofs(desk, "op-1-1-9")[-1].ended
    left_alone(desk)
    desk.harness.deliver(kill("op-1-2-2"))
    desk.pass_time(8)
    assert desk.venue.sold("BTC-USD") == 1
    assert proofs(desk, "op-1-2-2")[-1].complete


def test_the_flatten_of_one_symbol_is_not_ended_by_a_release(desk: Desk) -> None:
    desk.tracker.begin_stop("op-1-1-0", desk.tracker.stop_runs()[0].kind.FLATTEN, flatten=True, symbol="BTC-USD")
    release(desk)
    closed(desk, False)
    desk.pass_time(8)
    assert desk.venue.sold("BTC-USD") == 1


def test_what_is_taken_in_while_the_kill_is_latched_is_not_sold_by_it(desk: Desk) -> None:
    bought = next(one for one in desk.venue.orders.values() if one.side == "BUY")
    entry = replace(bought, order_id="v-lost", client_order_id="td-a-1-e-900", base_size=D("0.5"), status="OPEN")
    desk.venue.orders["v-lost"] = replace(entry, filled_size=D(0))
    desk.venue.fill("v-lost", D("0.5"), D(100))
    adopted = accept(desk, orders=(shown(desk.venue.orders["v-lost"]),))
    assert len(adopted.adopted) == 1
    desk.pass_time(2)
    assert desk.tracker.ledger.book("BTC-USD").quantity == D("1.5")
    closed(desk, False)
    desk.pass_time(20)
    assert desk.venue.sold("BTC-USD") == 1
    position = desk.position()
    assert position is not None
    assert (position.quantity, position.protection) == (D("0.5"), Protection.PROTECTED)
    assert proofs(desk, "op-1-1-1")[-1].complete
    desk.harness.deliver(kill("op-1-1-2"))  # a kill of now sells what is owned now
    desk.pass_time(8)
    assert desk.venue.sold("BTC-USD") == D("1.5")
