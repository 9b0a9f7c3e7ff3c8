"""What a sweep without a ledger cancels, and when it may say that it is done."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.sweep import NS_PER_S, Look, Rule, Seen, Tally, read_order

VISIBILITY_S = 2.0


def row(client_order_id: str, side: str = "BUY", status: str = "OPEN", **more: object) -> dict[str, object]:
    return {
        "order_id": f"v-{client_order_id}",
        "client_order_id": client_order_id,
        "product_id": "BTC-USD",
        "side": side,
        "status": status,
        "filled_size": "0",
        "order_configuration": {"trigger_bracket_gtc": {"base_size": "1", "stop_trigger_price": "90"}},
    } | more


def seen(client_order_id: str, side: str = "BUY", **more: object) -> Seen:
    order = read_order(row(client_order_id, side, **more))
    assert order is not None
    return order


@pytest.mark.parametrize(
    ("name", "side", "stays"),
    [
        ("td-a-1-e-1", "BUY", False),
        ("td-zz-99-e-1", "BUY", False),
        ("td-a-1-x-1", "SELL", False),
        ("td-a-1-p-1", "SELL", True),
        ("td-b-7-p-1", "SELL", True),
        ("td-a-1-p-1", "BUY", False),  # the side decides, not the label
        ("tdx-a-1-e-1", "BUY", True),
    ],
)
def test_entries_and_exits_of_every_instance_go_and_protection_stays(name: str, side: str, stays: bool) -> None:
    assert Rule("td").dooms(seen(name, side)) is not stays


def test_all_takes_protection_too_but_no_other_family() -> None:
    rule = Rule("td", cancel_all=True)
    assert rule.dooms(seen("td-b-1-p-1", "SELL"))
    assert not rule.dooms(seen("other-a-1-p-1", "SELL"))


def test_the_last_resort_takes_entries_of_its_instance_alone() -> None:
    rule = Rule("td", "a", entries_only=True)
    assert rule.dooms(seen("td-a-1-e-1"))
    assert not rule.dooms(seen("td-a-1-x-1", "SELL"))
    assert not rule.dooms(seen("td-b-1-e-1"))


@pytest.mark.parametrize("name", ["", "by-hand", "td-", "td-a-1-e", "td-a-01-e-1", "TD-a-1-e-1", "td-a-1-q-1"])
def test_what_no_daemon_made_is_left_alone(name: str) -> None:
    tally = Tally(Rule("td"), VISIBILITY_S)
    assert tally.note([row(name)]) == []
    assert len(tally.manual) == 1


def test_an_own_order_that_cannot_be_read_does_not_save_the_others() -> None:
    tally = Tally(Rule("td"), VISIBILITY_S)
    broken = row("td-a-1-e-1")
    del broken["status"]
    found = tally.note([broken, row("td-a-1-e-2")])
    assert [str(one.made) for one in found] == ["td-a-1-e-2"]
    assert "td-a-1-e-1" in tally.unreadable[0]


def test_a_status_that_nobody_knows_counts_as_open() -> None:
    assert seen("td-a-1-e-1", status="SOMETHING_NEW").open


def look(at_s: float, doomed: str = "", open_: str = "") -> Look:
    return Look(round(at_s * NS_PER_S), frozenset(doomed), frozenset(open_))


def judged(*looks: Look) -> list[bool]:
    tally = Tally(Rule("td"), VISIBILITY_S)
    return [tally.judge(one) for one in looks]


def test_one_look_proves_nothing_and_two_too_near_neither() -> None:
    assert judged(look(0), look(1), look(2)) == [False, False, False]
    assert judged(look(0), look(1), look(2.001)) == [False, False, True]


def test_an_open_order_between_two_clean_looks_begins_the_proof_anew() -> None:
    assert judged(look(0, "a"), look(1, "a", "a"), look(2.5, "a"), look(4, "a"), look(5, "a")) == [
        False, False, False, False, True,
    ]  # fmt: skip


def test_an_order_that_came_and_ended_between_two_looks_shows_that_somebody_still_sends() -> None:
    tally = Tally(Rule("td"), VISIBILITY_S)
    assert [tally.judge(one) for one in (look(0, "a"), look(3, "ab"), look(6, "abc"), look(9, "abc"))] == [
        False, False, False, True,
    ]  # fmt: skip
    assert tally.late == 2


@given(st.lists(st.tuples(st.floats(0, 5), st.sets(st.sampled_from("abc")), st.booleans()), max_size=12))
def test_a_proof_is_two_clean_looks_apart_with_nothing_in_between(
    turns: list[tuple[float, set[str], bool]],
) -> None:
    looks, at = [], 0.0
    for gap, made, rests in turns:
        at += gap
        looks.append(look(at, "".join(made), "".join(made) if rests else ""))
    tally = Tally(Rule("td"), VISIBILITY_S)
    for n, one in enumerate(looks):
        if tally.judge(one):
            since = [
                k for k in range(n)
                if one.asked_boot_ns - looks[k].asked_boot_ns > VISIBILITY_S * NS_PER_S
                and all(not between.open for between in looks[k : n + 1])
                and all(between.doomed <= looks[k].doomed for between in looks[k : n + 1])
            ]  # fmt: skip
            assert since
            return


def test_what_was_bought_beyond_the_resting_protection_is_named() -> None:
    tally = Tally(Rule("td"), VISIBILITY_S)
    tally.note(
        [
            row("td-a-1-e-1", status="FILLED", filled_size="3"),
            row("td-a-1-x-2", "SELL", "FILLED", filled_size="1"),
            row("td-a-1-p-3", "SELL"),
        ]
    )
    assert tally.uncovered() == {"BTC-USD": (Decimal(2), Decimal(1))}
    tally.note([row("td-a-1-p-4", "SELL")])
    assert tally.uncovered() == {}
    tally.note([row("td-a-1-e-5", status="CANCELLED", filled_size=None)])
    assert tally.uncovered() == {"BTC-USD": (None, Decimal(2))}


def test_a_cancel_is_asked_for_again_only_after_a_while() -> None:
    tally = Tally(Rule("td"), VISIBILITY_S)
    orders = tally.note([row("td-a-1-e-1"), row("td-a-1-e-2", status="CANCELLED")])
    assert [one.order_id for one in tally.due(orders, 0, 1.5)] == ["v-td-a-1-e-1"]
    tally.asked["v-td-a-1-e-1"] = 0
    assert tally.due(orders, NS_PER_S, 1.5) == []
    assert len(tally.due(orders, 2 * NS_PER_S, 1.5)) == 1
