"""A kill cancels what it must, keeps protection, proves both by queries, and survives crashes in the middle."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from actors.messages.control import CancelProof, OperatorCommand, OperatorVerb
from actors.messages.health import TradingState
from actors.messages.orders import CancelOrder, OrderKind, Protection
from tests.actors.orders.desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """One protected position on BTC, one resting entry."""
    made = Desk(tmp_path)
    made.buy("1")
    made.approve("2", kind=OrderKind.LIMIT_GTD, end_after_s=60.0)
    made.settle()
    made.pass_time(1)
    assert [order.side for order in made.venue.open()] == ["SELL", "BUY"]
    return made


def command(verb: OperatorVerb = OperatorVerb.KILL, **options: bool) -> OperatorCommand:
    return OperatorCommand("k-1", verb, "test", "operator", **options)


def proofs(desk: Desk) -> list[CancelProof]:
    return [one for one in desk.harness.sent["admin"] if isinstance(one, CancelProof)]


def test_a_kill_cancels_entries_keeps_protection_and_is_proven_by_two_listings(desk: Desk) -> None:
    desk.lease(TradingState.KILLED)
    desk.harness.deliver(command())
    desk.settle()
    assert not proofs(desk)[-1].complete
    desk.pass_time(5)
    final = proofs(desk)[-1]
    assert (final.complete, final.unproven, final.still_open) == (True, 0, ())
    assert [(one.symbol, one.protection) for one in final.positions] == [("BTC-USD", "PROTECTED")]
    assert [order.side for order in desk.venue.open()] == ["SELL"]


def test_two_listings_nearer_than_the_visibility_delay_prove_nothing(desk: Desk) -> None:
    desk.lease(TradingState.KILLED)
    desk.harness.deliver(command())
    desk.settle()
    desk.pass_time(1.75)
    assert not any(one.complete for one in proofs(desk))


def test_the_lease_alone_kills_when_admin_is_dead(desk: Desk) -> None:
    desk.harness.remove_peer("admin")
    desk.lease(TradingState.KILLED)
    desk.settle()
    assert [order.side for order in desk.venue.open()] == ["SELL"]


def test_the_lease_starts_a_proof_called_latch(desk: Desk) -> None:
    desk.lease(TradingState.KILLED)
    desk.pass_time(6)
    assert (proofs(desk)[-1].request_id, proofs(desk)[-1].complete) == ("latch", True)


@pytest.mark.parametrize("state", [TradingState.REDUCE_ONLY, TradingState.HALTED])
def test_reduce_and_halt_cancel_entries_and_keep_protection(desk: Desk, state: TradingState) -> None:
    desk.lease(state)
    desk.settle()
    assert [order.side for order in desk.venue.open()] == ["SELL"]


def test_a_cancel_that_is_never_answered_is_repeated_and_nothing_is_claimed(desk: Desk) -> None:
    desk.venue.mute = {"cancel"}
    desk.lease(TradingState.KILLED)
    desk.harness.deliver(command())
    desk.settle()
    desk.pass_time(12)
    last = proofs(desk)[-1]
    assert not last.complete and last.unproven == 1 and len(last.still_open) == 1
    desk.venue.mute = set()
    desk.pass_time(12)
    assert proofs(desk)[-1].complete


def test_a_kill_goes_on_after_the_tracker_died_in_its_middle(desk: Desk) -> None:
    desk.venue.mute = {"cancel"}
    desk.lease(TradingState.KILLED)
    desk.harness.deliver(command())
    desk.restart()
    desk.venue.mute = set()
    desk.pass_time(12)
    mine = [one for one in proofs(desk) if one.request_id == "k-1"]
    assert mine[-1].complete
    assert [order.side for order in desk.venue.open()] == ["SELL"]


def test_a_kill_repeated_after_its_proof_answers_with_the_proof(desk: Desk) -> None:
    desk.lease(TradingState.KILLED)
    desk.harness.deliver(command())
    desk.pass_time(6)
    desk.harness.take("admin")
    desk.harness.deliver(command())
    assert proofs(desk)[-1].complete


def test_flatten_sells_through_the_kill_and_waits_for_it(desk: Desk) -> None:
    desk.lease(TradingState.KILLED)
    desk.harness.deliver(command(flatten=True))
    desk.settle()
    desk.pass_time(8)
    final = proofs(desk)[-1]
    assert final.complete and final.positions == ()
    assert desk.venue.coins["BTC"] == Decimal(0)
    assert desk.venue.open() == []


def test_cancel_all_takes_protection_too_and_arms_nothing_until_release(desk: Desk) -> None:
    desk.lease(TradingState.KILLED)
    desk.harness.deliver(command(cancel_all=True))
    desk.settle()
    desk.pass_time(8)
    final = proofs(desk)[-1]
    assert final.complete
    assert [one.protection for one in final.positions] == [Protection.NAKED.value]
    assert desk.venue.open() == []
    desk.restart()
    desk.pass_time(8)
    assert desk.venue.open() == []
    desk.lease(TradingState.RUN)
    desk.pass_time(5)
    assert [order.side for order in desk.venue.open()] == ["SELL"]


def test_in_a_kill_lost_protection_is_placed_again(desk: Desk) -> None:
    desk.lease(TradingState.KILLED)
    desk.settle()
    (bracket,) = desk.venue.open()
    desk.venue.end(bracket.order_id, "CANCELLED")
    desk.pass_time(6)
    assert [order.side for order in desk.venue.open()] == ["SELL"]


def without_ledger(desk: Desk) -> None:
    """The ledger is deleted and the tracker starts anew."""
    desk.kill()
    desk.settings.store_dir.joinpath("ledger.db").unlink()
    desk.harness = desk._make()
    desk.harness.start()


def test_with_a_deleted_ledger_nothing_is_ordered_and_open_entries_are_still_cancelled(desk: Desk) -> None:
    entry = next(order for order in desk.venue.open() if order.side == "BUY")
    without_ledger(desk)
    desk.lease(TradingState.KILLED)
    desk.settle()
    assert not desk.snapshot().ready
    assert desk.venue.orders[entry.order_id].status == "CANCELLED"
    assert not proofs(desk)[-1].complete and "unusable" in proofs(desk)[-1].text
    assert not any(isinstance(one, CancelOrder) for one in desk.harness.sent["gateway"])
    desk.lease(TradingState.RUN)
    desk.approve()
    assert [one.code for one in desk.harness.take("risk") if hasattr(one, "code")] == ["ledger"]


def test_with_a_deleted_ledger_two_listings_prove_what_is_open_and_nothing_about_positions(desk: Desk) -> None:
    without_ledger(desk)
    desk.lease(TradingState.KILLED)
    desk.harness.deliver(command())
    desk.pass_time(6)
    final = proofs(desk)[-1]
    assert (final.complete, final.unproven, final.still_open, final.positions) == (True, 0, (), ())
    assert "positions are not known" in final.text and "listings alone" in final.text
    assert final.cancelled == 1
    assert [order.side for order in desk.venue.open()] == ["SELL"]


def test_with_a_deleted_ledger_orders_of_every_instance_and_start_are_ours(desk: Desk) -> None:
    (entry,) = (order for order in desk.venue.open() if order.side == "BUY")
    desk.venue.orders[entry.order_id] = replace(entry, client_order_id="td-b-77-e-1")
    without_ledger(desk)
    desk.lease(TradingState.KILLED)
    desk.harness.deliver(command())
    desk.pass_time(8)
    assert desk.venue.orders[entry.order_id].status == "CANCELLED"
    assert proofs(desk)[-1].complete


def test_with_a_deleted_ledger_a_flatten_is_never_told_as_done(desk: Desk) -> None:
    without_ledger(desk)
    desk.lease(TradingState.KILLED)
    desk.harness.deliver(command(flatten=True))
    desk.pass_time(10)
    assert not any(one.complete for one in proofs(desk) if one.request_id == "k-1")
    assert "nothing is sold" in proofs(desk)[-1].text
    assert [order.side for order in desk.venue.open()] == ["SELL"]


def test_an_order_the_ledger_lacks_is_cancelled_by_its_venue_id_and_the_next_look_comes_soon(desk: Desk) -> None:
    (entry,) = (order for order in desk.venue.open() if order.side == "BUY")
    desk.venue.orders["v-stray"] = replace(entry, order_id="v-stray", client_order_id="td-a-1-e-900")
    desk.lease(TradingState.KILLED)
    desk.harness.deliver(command())
    desk.settle()
    desk.pass_time(4.0)  # three looks a whole visibility delay apart would need longer
    assert desk.venue.orders["v-stray"].status == "CANCELLED"
    assert proofs(desk)[-1].complete


def test_the_proof_shows_the_stop_that_rests_at_the_venue_and_none_when_nothing_covers(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.buy("1")
    desk.pass_time(1)

    def stands() -> tuple[str | None, str, int]:
        (proof,) = desk.tracker.position_proofs()
        return proof.stop_price, proof.open_protection_size, proof.stops

    assert stands() == ("95.00", "1", 1)
    desk.buy("2", plan_stop=Decimal("97.00"))  # now planned for all of it, yet the first stop rests where it is
    desk.pass_time(2)
    assert stands() == ("95.00", "3", 2), "the lowest of both"
    _, second = desk.venue.open()
    desk.venue.orders[second.order_id] = replace(second, stop_price=Decimal("91.00"))  # moved by the account's owner
    desk.pass_time(5)
    assert stands() == ("91.00", "3", 2)
    desk.lease(TradingState.KILLED)
    desk.harness.deliver(command(cancel_all=True))
    desk.pass_time(8)
    assert stands() == (None, "0", 0)
