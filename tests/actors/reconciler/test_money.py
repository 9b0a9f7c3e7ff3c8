"""Wallets against fills: what adds up, what is in doubt, what is a flow, and what is no answer at all."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.clock import NS_PER_S
from actors.messages.reconcile import LedgerFacts
from actors.messages.venue import VenueFill
from actors.reconciler import money
from actors.reconciler.kinds import DifferenceKind
from actors.reconciler.money import Baseline, MoneyCheck, NewFlow, Rest
from actors.reconciler.store import Acceptance, MoneyStore, MoneyStoreError, from_json, to_json
from tests.actors.reconciler.facts import NOW, balances, facts, fill, ledger_order, position

KIND = DifferenceKind
D = Decimal
PRICES = {"USD": D(1), "BTC": D(60000)}
APART_NS = 5 * NS_PER_S
FLAT = facts(head=0)


class Wallets:
    """What a reconciler remembers from one reading to the next; readings are ``apart_s`` apart."""

    def __init__(self, **held: str) -> None:
        self.baseline: Baseline | None = None
        self.rests: dict[str, Rest] = {}
        self.at = 0
        self.read(**held)

    def read(
        self,
        fills: tuple[VenueFill, ...] = (),
        apart_s: float = 6.0,
        ledger: LedgerFacts = FLAT,
        **held: str,
    ) -> MoneyCheck:
        self.at += round(apart_s * NS_PER_S)
        reading = money.take_reading(balances(**held), ("USD", "BTC"), fills, NOW + self.at, self.at)
        checked = money.check(
            self.baseline, self.rests, reading, PRICES, ledger, tolerance=D("0.01"), apart_ns=APART_NS
        )
        self.baseline, self.rests = checked.baseline, dict(checked.rests) if not checked.blank else self.rests
        return checked


def trade(name: str = "f1", side: str = "BUY", size: str = "0.1") -> VenueFill:
    """0.1 BTC at 60000 with a commission of 5."""
    return fill(name, side=side, size=D(size), trade_utc_ns=NOW)


def amounts(checked: MoneyCheck) -> list[tuple[str, Decimal]]:
    return [(flow.currency, flow.amount) for flow in checked.flows]


def test_a_balance_that_its_fills_explain_is_no_change() -> None:
    wallets = Wallets(USD="10000", BTC="0")
    trades = (trade(), trade("f2", "SELL", "0.05"))
    assert wallets.read(trades, USD="6990", BTC="0.05") == MoneyCheck(wallets.baseline)
    assert wallets.baseline is not None
    assert wallets.baseline.totals == {"USD": D(6990), "BTC": D("0.05")}
    assert wallets.read(trades, USD="6990", BTC="0.05").rests == {}


def test_an_unexplained_change_needs_two_readings_that_agree() -> None:
    wallets = Wallets(USD="10000")
    assert set(wallets.read(USD="9000").rests) == {"USD"}
    assert wallets.read(USD="8000").flows == ()
    assert wallets.read(USD="8000").flows == (NewFlow("USD", D(-2000), D(10000), D(8000)),)
    assert wallets.read(USD="8000") == MoneyCheck(wallets.baseline)  # it is open now, and no news


def test_two_readings_right_after_one_another_are_one() -> None:
    wallets = Wallets(USD="10000")
    wallets.read(USD="9000")
    for _ in range(4):
        assert wallets.read(USD="9000", apart_s=1).flows == ()
    assert amounts(wallets.read(USD="9000", apart_s=1)) == [("USD", D(-1000))]


def test_what_came_is_a_flow_as_well_and_each_currency_has_its_own() -> None:
    wallets = Wallets(USD="10000", BTC="1")
    wallets.read(USD="10500", BTC="0.9")
    assert amounts(wallets.read(USD="10500", BTC="0.9")) == [("USD", D(500)), ("BTC", D("-0.1"))]


def test_a_flow_in_one_wallet_does_not_wait_for_the_doubt_about_another() -> None:
    wallets = Wallets(USD="10000", BTC="1")
    wallets.read(USD="9000", BTC="1")
    mixed = wallets.read(USD="9000", BTC="0.5")
    assert (amounts(mixed), set(mixed.rests)) == ([("USD", D(-1000))], {"BTC"})
    assert wallets.read(USD="9000", BTC="1") == MoneyCheck(wallets.baseline)


def test_a_fill_seen_before_its_balance_or_after_it_is_not_unexplained() -> None:
    wallets = Wallets(USD="10000")
    assert wallets.read((trade(),), USD="10000").flows == ()
    assert wallets.read((trade(),), USD="3995", BTC="0.1") == MoneyCheck(wallets.baseline)
    late = Wallets(USD="10000")
    assert late.read(USD="3995", BTC="0.1").flows == ()
    assert late.read((trade(),), USD="3995", BTC="0.1") == MoneyCheck(late.baseline)


def test_a_flow_while_trading_goes_on_is_its_exact_amount() -> None:
    wallets = Wallets(USD="10000")
    wallets.read((trade(),), USD="3895", BTC="0.1")
    later = (trade(), trade("f2", "SELL"))
    assert amounts(wallets.read(later, USD="9890", BTC="0")) == [("USD", D(-100))]


def test_fills_from_before_the_baseline_explain_nothing() -> None:
    wallets = Wallets(USD="10000")
    old = replace(trade(), trade_utc_ns=NOW - 3600 * NS_PER_S)
    assert wallets.read((old,), USD="10000").rests == {}


def test_small_leaks_add_up() -> None:
    wallets = Wallets(USD="10000")
    for cents in range(1, 4):
        found = wallets.read(USD=f"{D(10000) - D('0.004') * cents}")
    assert set(found.rests) == {"USD"}
    assert amounts(wallets.read(USD="9999.988")) == [("USD", D("-0.012"))]


@pytest.mark.parametrize(
    ("ledger", "before"),
    [
        (FLAT, {"USD": "10000"}),
        (facts(head=0, positions=(position(),)), {}),
        (facts(head=0, orders=(ledger_order(),)), {}),
    ],
)
def test_zeros_where_money_must_be_are_no_answer(ledger: LedgerFacts, before: dict[str, str]) -> None:
    wallets = Wallets(**before)
    known = wallets.baseline
    for answer in ({"USD": "0", "BTC": "0"}, {}):
        checked = wallets.read(ledger=ledger, **answer)
        assert [(one.kind, one.key) for one in checked.blank] == [(KIND.ZERO_BALANCES, "*")]
        assert (checked.flows, checked.baseline) == ((), known)
    assert wallets.read(**before) == MoneyCheck(wallets.baseline)


def test_an_account_that_is_missing_in_the_answer_is_not_an_empty_one() -> None:
    wallets = Wallets(USD="10000", BTC="1")
    checked = wallets.read(USD="10000")
    assert [(one.kind, one.key) for one in checked.blank] == [(KIND.ZERO_BALANCES, "BTC")]
    assert Wallets(USD="10000").read(USD="10000").blank == ()  # BTC was never held


def test_an_account_that_never_held_anything_may_show_zeros() -> None:
    wallets = Wallets(USD="0")
    assert wallets.read(USD="0") == MoneyCheck(wallets.baseline)


def test_one_empty_wallet_beside_others_is_a_flow() -> None:
    wallets = Wallets(USD="10000", BTC="1")
    wallets.read(USD="0", BTC="1")
    assert amounts(wallets.read(USD="0", BTC="1")) == [("USD", D(-10000))]


def test_a_baseline_that_is_gone_after_orders_were_sent_is_not_made_up() -> None:
    reading = money.take_reading(balances(USD="5"), ("USD",), (), NOW, 0)
    checked = money.check(None, {}, reading, PRICES, facts(head=3), tolerance=D("0.01"), apart_ns=APART_NS)
    assert ([one.kind for one in checked.blank], checked.baseline) == ([KIND.BASELINE_LOST], None)


steps = st.lists(
    st.tuples(st.sampled_from(("buy", "sell", "deposit", "nothing")), st.integers(1, 5), st.integers(0, 2)), max_size=30
)


@given(steps)
def test_flows_add_up_to_exactly_what_came_and_went_whatever_is_traded_and_however_late_fills_are_listed(
    plan: list[tuple[str, int, int]],
) -> None:
    """Fills are listed at most one reading late (less than ``apart_ns``); deposits come at any time."""
    usd, btc, came = D(10**6), D(10), D(0)
    wallets = Wallets(USD=str(usd), BTC=str(btc))
    listed: list[VenueFill] = []
    late: list[VenueFill] = []
    found = D(0)
    for n, (what, size, lag) in enumerate(plan):
        listed, late = listed + late, []
        if what in ("buy", "sell"):
            one = replace(trade(f"f{n}", what.upper(), f"0.0{size}"), trade_utc_ns=NOW + wallets.at)
            sign = 1 if what == "buy" else -1
            usd, btc = usd - sign * one.size * one.price - one.commission, btc + sign * one.size
            (late if lag == 1 else listed).append(one)
        elif what == "deposit":
            usd, came = usd + size, came + size
        found += sum(flow.amount for flow in wallets.read(tuple(listed), USD=str(usd), BTC=str(btc)).flows)
    for _ in range(3):
        checked = wallets.read((*listed, *late), USD=str(usd), BTC=str(btc))
        found += sum((flow.amount for flow in checked.flows), D(0))
    assert (found, checked.rests) == (came, {})


# --- what is kept ----------------------------------------------------------------------------------------


def test_a_baseline_outlives_its_process_and_damage_is_refused() -> None:
    start = Baseline({"USD": D("10000.12")}, frozenset({"f1"}), NOW)
    assert from_json(to_json(start)) == start
    for bad in ("", "{}", '{"totals": {"USD": "x"}, "fills": [], "read_utc_ns": 1}', "[1]"):
        with pytest.raises(ValueError):
            from_json(bad)


BASE = Baseline({"USD": D(9000)}, frozenset(), NOW)
OUT = NewFlow("USD", D(-1000), D(10000), D(9000))


def accepted(request_id: str = "op-1") -> Acceptance:
    return Acceptance(request_id, NOW, "flows_accept", "anna", "rent")


def test_open_flows_are_kept_with_the_baseline_and_closed_once_per_request(tmp_path: Path) -> None:
    path = tmp_path / "money.db"
    store = MoneyStore(path)
    assert (store.baseline(), store.open_flows()) == (None, ())
    store.keep(BASE, (OUT,), NOW)
    store.close()
    again = MoneyStore(path)
    assert again.baseline() == BASE
    assert [(one.flow_id, one.currency, one.amount) for one in again.open_flows()] == [("flow-1", "USD", D(-1000))]
    assert [one.flow_id for one in again.accept_flows(accepted(), ["flow-1"])] == ["flow-1"]
    again.keep(BASE, (OUT,), NOW)
    # the same request once more, after a restart: it closes nothing that came later
    assert [one.flow_id for one in again.accept_flows(accepted(), ["flow-1"])] == ["flow-1"]
    assert [one.flow_id for one in again.open_flows()] == ["flow-2"]
    again.close()


def test_only_the_flows_that_were_shown_are_accepted(tmp_path: Path) -> None:
    store = MoneyStore(tmp_path / "money.db")
    store.keep(BASE, (OUT, OUT, OUT), NOW)
    assert [one.flow_id for one in store.accept_flows(accepted(), ["flow-1", "flow-3"])] == ["flow-1", "flow-3"]
    assert [one.flow_id for one in store.open_flows()] == ["flow-2"]
    store.close()


def test_an_accepted_baseline_closes_flows_and_keeps_what_is_history(tmp_path: Path) -> None:
    store = MoneyStore(tmp_path / "money.db")
    store.keep(BASE, (OUT,), NOW)
    fresh = Baseline({"USD": D(7)}, frozenset({"f1"}), NOW + 1)
    for _ in range(2):
        store.accept_baseline(accepted("op-2"), fresh, ("foreign_host:td-b-1-e-1",), "text")
    assert (store.baseline(), store.open_flows()) == (fresh, ())
    assert (store.acknowledged(), store.acceptance("op-2")) == (frozenset({"foreign_host:td-b-1-e-1"}), "text")
    store.close()


def test_a_damaged_store_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "money.db"
    MoneyStore(path).close()
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(MoneyStoreError, match="baseline accept"):
        MoneyStore(path)


def test_two_writers_are_impossible(tmp_path: Path) -> None:
    first = MoneyStore(tmp_path / "money.db")
    with pytest.raises(BlockingIOError):
        MoneyStore(tmp_path / "money.db")
    first.close()
