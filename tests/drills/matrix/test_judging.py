"""The judge of the matrix can find against the daemon: it is shown books with each fault that it looks for."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.drills.daemon import Json, differences
from tests.drills.matrix.watcher import Report, Watcher


def order(role: str, side: str, status: str = "OPEN", filled: str = "0", **more: Any) -> Json:
    """An order as the venue writes it; ``kind``, ``size``, ``limit`` and ``trigger`` may be given."""
    kind = more.get("kind", "trigger_bracket_gtc" if role == "p" else "limit_limit_gtd")
    return {
        "order_id": f"id-{role}{more.get('n', 1)}",
        "client_order_id": f"td-a-1-{role}-{more.get('n', 1)}",
        "product_id": "BTC-USD",
        "side": side,
        "status": status,
        "filled_size": filled,
        "trigger_status": more.get("trigger", "STOP_PENDING" if role == "p" else "INVALID_ORDER_TYPE"),
        "order_configuration": {kind: {"base_size": more.get("size", "1"), "limit_price": more.get("limit", "50")}},
    }


def fill(of: Json, size: str, price: str = "50") -> Json:
    named = {key: of[key] for key in ("order_id", "product_id", "side")}
    return {**named, "size": size, "price": price, "entry_id": f"{of['order_id']}-{size}"}


def seen(*looks: tuple[list[Json], list[Json]], survives: bool = False) -> Report:
    """What the watcher reports of venue books that it sees one second apart."""
    watcher = Watcher("http://127.0.0.1:1", 0, 0, survives)
    for second, (orders, fills) in enumerate(looks):
        watcher._look({"orders": orders, "fills": fills, "prices": {"BTC-USD": "50"}}, float(second))
    watcher._over.set()
    return watcher._report


ENTRY = order("e", "BUY", "FILLED", "1")
BOUGHT = [fill(ENTRY, "1")]


def test_a_position_with_an_open_bracket_is_covered() -> None:
    report = seen(([ENTRY, order("p", "SELL")], BOUGHT))
    assert not report.naked and not report.violations


@pytest.mark.parametrize(
    "protection",
    [
        [],
        [order("p", "SELL", "PENDING")],
        [order("p", "SELL", "CANCELLED")],
        [order("p", "SELL", size="0.5")],
        [order("x", "SELL", kind="sor_limit_ioc")],
    ],
    ids=["none", "pending", "cancelled", "half", "sale"],
)
def test_a_position_that_no_open_protection_covers_whole_is_naked_until_one_does(protection: list[Json]) -> None:
    covered = [ENTRY, order("p", "SELL", n=2)]
    report = seen(([ENTRY, *protection], BOUGHT), ([ENTRY, *protection], BOUGHT), (covered, BOUGHT))
    assert [spell.seconds for spell in report.naked] == [2.0]


@pytest.mark.parametrize(("survives", "naked"), [(False, 1), (True, 0)])
def test_a_bracket_whose_target_is_partly_filled_covers_by_the_reading_in_force(survives: bool, naked: int) -> None:
    bracket = order("p", "SELL", filled="0.4")
    report = seen(([ENTRY, bracket], [*BOUGHT, fill(bracket, "0.4")]), survives=survives)
    assert len(report.naked) == naked


@pytest.mark.parametrize(
    ("orders", "fills", "word"),
    [
        ([ENTRY, order("p", "SELL"), order("x", "SELL", size="0.1", n=3)], BOUGHT, "open SELLs"),
        ([ENTRY, order("x", "SELL", "FILLED", "2")], [*BOUGHT, fill(order("x", "SELL"), "2")], "more sold"),
        ([order("e", "BUY", size="2.1")], [], "larger than"),
        ([order("e", "BUY", "FILLED", n=n, size="2") for n in (1, 2)],
         [fill(order("e", "BUY", n=n), "1.9") for n in (1, 2)], "exposure"),
    ],
    ids=["open sells", "oversold", "order", "position"],
)  # fmt: skip
def test_each_limit_that_is_broken_is_told(orders: list[Json], fills: list[Json], word: str) -> None:
    assert any(word in text for text in seen((orders, fills)).violations)


def test_an_entry_on_what_is_naked_is_told() -> None:
    later = order("e", "BUY", "PENDING", n=2, size="0.1")
    looks = [([ENTRY], BOUGHT), ([ENTRY], BOUGHT), ([ENTRY, later], BOUGHT)]
    assert any("entered" in text for text in seen(*looks).violations)


def test_books_that_differ_are_told() -> None:
    truth = {"orders": [ENTRY | {"filled_size": "1"}], "fills": BOUGHT}
    mine = {"client_order_id": ENTRY["client_order_id"], "state": "OPEN", "filled_size": "0"}
    found = differences({"orders": [mine], "fills": [], "positions": []}, truth)
    assert len(found) == 4  # the size, the state, the fill, the position
    assert Decimal(1) in [Decimal(word) for text in found for word in text.replace(",", "").split() if word == "1"]
