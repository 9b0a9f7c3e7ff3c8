"""One protective order whose fate is odd, on the running daemon: its position does not stay naked and unsold for it.

The venue loses a stop that rested, brings it back, or the create of one is lost on the wire in a crash. Whatever it is,
the position is protected again or sold without anybody, once, and the books are the venue's.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.drills.daemon import Json, assert_books_agree, wait_for
from tests.drills.test_protection import BTC, ETH, SMALL, Guarded

PROOF_S = 60.0
"""The proof that a stop is gone takes about 14 s here; a loaded machine may take longer."""


class Odd(Guarded):
    """As for protection, at a venue whose tokens live for 15 s: a lost create is proven absent after that."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, jwt_life_s=15.0)

    def lose_stop(self, symbol: str) -> Json:
        """The venue loses the stop of ``symbol`` without a word; returns it."""
        stop = self.stops(symbol)[-1]
        self.venue.fault("order_vanishes", match={"symbol": symbol, "side": "SELL"})
        assert [one["order_id"] for one in self.venue.truth()["lost"]][-1:] == [stop["order_id"]]
        assert not self.covered(symbol)
        return stop

    def paged(self, key: str) -> Json | None:
        return next((one for one in self.daemon.log_lines() if one.get("key") == key), None)

    def wait_paged(self, key: str) -> Json:
        return wait_for(lambda: self.paged(key), f"{key} to be paged\n{self.daemon.tail(20)}", 40, 0.2)

    def order(self, client_order_id: str) -> Json:
        return next(one for one in self.daemon.export()["orders"] if one["client_order_id"] == client_order_id)

    def again(self) -> None:
        """Ledger and venue agree, and trading goes on."""
        self.venue.clear_faults()
        wait_for(lambda: self.daemon.run("reconcile").returncode == 0, "ledger and venue to agree", 60, 1)
        assert_books_agree(self.daemon, self.venue)
        self.daemon.run("resume", "--reason", "drill")
        self.daemon.wait_run()

    def buy_with_a_cut_stop(self, symbol: str, how: str) -> None:
        """A position whose protective create is cut off once."""
        self.venue.fault(
            how, count=1, match={"path": "/orders", "method": "POST", "symbol": symbol, "side": "SELL"}
        )
        self.wish({symbol: SMALL})
        wait_for(lambda: self.lost(symbol), f"the create of a stop to be lost\n{self.daemon.tail(20)}", 60, 0.1)
        self.wish({})

    def lost(self, symbol: str) -> list[Json]:
        found = self.daemon.export()["orders"]
        return [one for one in found if one["symbol"] == symbol and one["state"] == "UNKNOWN"]

    def sold(self, symbol: str) -> Decimal:
        fills = [one for one in self.venue.truth()["fills"] if one["product_id"] == symbol and one["side"] == "SELL"]
        return sum((Decimal(one["size"]) for one in fills), Decimal(0))

    def fall(self, symbol: str, share: str) -> None:
        """The market falls to this share of where it is."""
        price = Decimal(self.venue.truth()["prices"][symbol]) * Decimal(share)
        self.venue.price(symbol, price.quantize(Decimal("0.01")))

    def coins(self, base: str) -> Decimal:
        found = self.venue.truth()["balances"].get(base, {"available": "0", "hold": "0"})
        return Decimal(found["available"]) + Decimal(found["hold"])


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Odd]:
    one = Odd(tmp_path_factory.mktemp("odd"))
    yield one
    one.close()


def test_a_stop_that_the_venue_lost_is_proven_gone_replaced_and_cancelled_when_it_comes_back(odd: Odd) -> None:
    odd.hold(BTC, SMALL)
    stop = odd.lose_stop(BTC)
    page = odd.wait_paged(f"naked:{BTC}")
    assert "once that is proven it is protected anew" in page["text"]
    print(f"naked after a lost stop: {odd.naked_until_covered(BTC, PROOF_S):.2f} s and the time until the page")
    name = stop["client_order_id"]
    assert odd.wait_paged(f"vanished:{name}")["severity"] == "page"
    assert (odd.order(name)["state"], odd.order(name)["reason"]) == ("CANCELLED", "vanished")
    assert_books_agree(odd.daemon, odd.venue)
    (replacement,) = odd.stops(BTC)

    odd.venue.fault("order_returns")  # against the coins of the account's owner
    wait_for(
        lambda: [one["order_id"] for one in odd.stops(BTC)] == [replacement["order_id"]],
        f"the one that came back to be cancelled\n{odd.daemon.tail(20)}",
        30,
    )
    assert odd.wait_paged(f"anomaly:vanished_yet_seen:{name}#1")
    assert odd.covered(BTC)
    assert_books_agree(odd.daemon, odd.venue)
    odd.out(BTC)
    assert odd.coins("BTC") == 1, "the owner's coins"
    odd.again()


def test_a_lost_stop_is_replaced_although_the_tracker_is_killed_in_the_middle_of_the_proof(odd: Odd) -> None:
    odd.hold(ETH, SMALL)
    name = odd.lose_stop(ETH)["client_order_id"]
    wait_for(
        lambda: any(one.get("event") == "order_missing" and one.get("order") == name for one in odd.daemon.log_lines()),
        f"the stop to be missed\n{odd.daemon.tail(20)}",
        30,
    )
    os.kill(odd.daemon.actor("tracker")["pid"], signal.SIGKILL)
    odd.naked_until_covered(ETH, PROOF_S)
    assert odd.order(name)["reason"] == "vanished"
    assert len(odd.stops(ETH)) == 1
    odd.daemon.wait_status(
        lambda s: any(p["symbol"] == ETH and p["protection"] == "PROTECTED" for p in s["positions"]), "PROTECTED", 30
    )
    odd.again()

    # An operator's word is as good as the proof, as soon as the venue agrees; and a flatten waits for neither.
    name = odd.lose_stop(ETH)["client_order_id"]

    def absent() -> bool:
        return odd.daemon.run("resolve", name, "--as", "absent", "--evidence", "drill", "--json").returncode == 0

    wait_for(absent, f"the resolve to be taken\n{odd.daemon.tail(20)}", 30, 0.5)
    assert odd.order(name)["reason"] == "resolved_absent"
    odd.naked_until_covered(ETH)
    odd.lose_stop(ETH)
    odd.out(ETH)
    assert odd.owned(odd.venue.truth(), ETH) == 0
    assert odd.coins("ETH") == 0
    odd.again()


def test_a_crash_is_sold_within_seconds_although_the_create_of_its_stop_was_lost(odd: Odd) -> None:
    sold = odd.sold(ETH)
    odd.buy_with_a_cut_stop(ETH, "cut_before_booking")
    owned = odd.owned(odd.venue.truth(), ETH)
    odd.fall(ETH, "0.93")
    began = time.monotonic()
    wait_for(lambda: odd.owned(odd.venue.truth(), ETH) == 0, f"the sale\n{odd.daemon.tail(30)}", 20)
    print(f"sold {time.monotonic() - began:.2f} s after the crash")
    (lost,) = odd.lost(ETH)
    assert odd.wait_paged(f"astray:{ETH}")
    wait_for(lambda: odd.order(lost["client_order_id"])["state"] == "REJECTED", "absence to be proven", 60, 0.5)
    assert odd.sold(ETH) - sold == owned
    odd.again()


def test_a_crash_is_sold_although_its_stop_vanished_and_the_first_sale_was_lost(odd: Odd) -> None:
    sold = odd.sold(ETH)
    odd.hold(ETH, SMALL)
    owned = odd.owned(odd.venue.truth(), ETH)
    odd.lose_stop(ETH)
    sale = {"path": "/orders", "method": "POST", "symbol": ETH, "side": "SELL"}
    odd.venue.fault("cut_before_booking", count=1, match=sale)
    odd.fall(ETH, "0.93")
    began = time.monotonic()
    wait_for(lambda: odd.owned(odd.venue.truth(), ETH) == 0, f"the sale\n{odd.daemon.tail(30)}", 40)
    print(f"sold {time.monotonic() - began:.2f} s after the crash")
    wait_for(lambda: not odd.lost(ETH), "the fate of the lost sale", 60, 0.5)
    assert odd.sold(ETH) - sold == owned
    odd.again()


def test_a_crash_is_sold_once_although_nobody_is_told_of_the_stop_that_arrived(odd: Odd) -> None:
    """The create is booked, its answer cut, and the order in no answer for 8 s, while the market falls past it; the
    account's owner has coins enough to be sold by mistake."""
    sold = odd.sold(BTC)
    for hides in ("get_order_404_for", "orders_invisible_for"):
        odd.venue.fault(hides, visible_after_s=8.0, match={"symbol": BTC})
    odd.buy_with_a_cut_stop(BTC, "cut_after_booking")
    odd.fall(BTC, "0.93")
    wait_for(lambda: not odd.lost(BTC), f"the stop to be found\n{odd.daemon.tail(30)}", 60, 0.2)
    wait_for(lambda: odd.owned(odd.venue.truth(), BTC) == 0, f"the sale\n{odd.daemon.tail(30)}", 30)
    odd.again()
    bought = [one for one in odd.venue.truth()["fills"] if one["product_id"] == BTC and one["side"] == "BUY"]
    assert odd.sold(BTC) - sold == Decimal(bought[-1]["size"])
    assert odd.coins("BTC") == 1, "the owner's coins"
