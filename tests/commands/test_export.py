"""The export reads the books beside a running tracker and after its death."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from commands.export import NoLedgerError, export
from tests.actors.orders.desk import Desk


def test_orders_fills_positions_and_pnl_are_exported_while_the_tracker_runs(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.buy("1")
    found = export(desk.settings.store_dir)
    orders = found["orders"]
    assert isinstance(orders, list)
    assert [(o["client_order_id"], o["state"], o["size"], o["filled_size"]) for o in orders] == [
        ("td-a-1-e-1", "FILLED", "1", "1"),
        ("td-a-1-p-2", "OPEN", "1", "0"),
    ]
    states = [step.get("state") for step in orders[0]["history"]]
    assert states[0] == "SUBMITTING" and states[-1] == "FILLED"
    (fill,) = found["fills"]  # type: ignore[misc]
    assert Decimal(fill["fee"]) == Decimal("0.9")
    (position,) = found["positions"]  # type: ignore[misc]
    assert (position["quantity"], Decimal(position["cost"])) == ("1", Decimal("100.9"))


def test_the_books_can_be_read_after_the_tracker_died(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.buy("1")
    desk.harness.deliver(desk.exit_approval())
    desk.pass_time(3)
    desk.kill()
    pnl = export(desk.settings.store_dir)["pnl"]
    assert isinstance(pnl, dict)
    assert Decimal(pnl["realized_total"]) == Decimal(99) * Decimal("0.991") - Decimal("100.9")


def test_without_a_ledger_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoLedgerError, match="there is no ledger"):
        export(tmp_path)
