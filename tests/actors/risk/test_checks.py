"""The gate: one planted violation per refusal code, through the real ``judge``."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from actors.clock import NS_PER_S
from actors.messages.health import BreakerName, TradingState
from actors.messages.market import Side, TickRefusal
from actors.messages.orders import OrderKind, Proposal, Protection, Role
from actors.messages.reconcile import OpenFlow
from actors.messages.venue import FeeTier
from actors.risk.books import Books, Reservation
from actors.risk.checks import Approved, Refused, judge
from actors.risk.codes import MEANING, RefusalCode
from actors.risk.inputs import Cash, Dated, Unavailable, World
from actors.risk.limits import unexplained_loss
from actors.risk.locks import STREAK, Lock, Locks
from actors.risk.locks import Approved as Counted
from actors.risk.losses import Latch
from actors.risk.sizing import above, below
from config.sections.risk import CapitalSettings
from tests.actors.risk.factories import (
    NOW,
    UTC,
    D,
    exit_proposal,
    flow,
    guarded,
    lease,
    limits,
    losses,
    order,
    pnl,
    position,
    proposal,
    rules,
    snapshot,
    world,
)

S = NS_PER_S


def reserved(symbol: str = "ETH-USD", side: Side = Side.BUY, amount: str = "50") -> Books:
    books = Books()
    books.reserve(Reservation("other", symbol, side, D(amount), D("0.5"), NOW + S))
    return books


def counted(times: int, symbol: str = "ETH-USD", age_s: float = 1.0) -> Locks:
    locks = Locks()
    for n in range(times):
        locks.approvals.append(Counted(f"old-{n}", symbol, Side.BUY, NOW - round(age_s * S), 0))
    return locks


def cooled(scope: str) -> Locks:
    return Locks(cooldowns={scope: Lock(NOW + 5 * S, 0)})


def held(*positions: object, **values: object) -> World:
    return world(snapshot=snapshot(positions=positions), **values)


def working(*orders: object, **values: object) -> World:
    return world(snapshot=snapshot(open_orders=orders), **values)


def ruled(**values: object) -> World:
    return world(rules={"BTC-USD": Dated(replace(rules(), **values), NOW)})  # type: ignore[arg-type]


def quoted(**values: object) -> World:
    good = world().quotes
    return world(quotes={**good, "BTC-USD": replace(good["BTC-USD"], **values)})  # type: ignore[arg-type]


NAKED = position("BTC-USDC", protection=Protection.NAKED)
C = RefusalCode
CASES: list[tuple[str, RefusalCode, Proposal, World]] = [
    ("a buy that calls itself an exit", C.MALFORMED, proposal(role=Role.EXIT), world()),
    ("a sell that calls itself an entry", C.MALFORMED, proposal(side=Side.SELL), world()),
    ("a strategy proposing protection", C.MALFORMED, exit_proposal(role=Role.PROTECTION), held(position())),
    ("an entry without notional", C.MALFORMED, proposal(notional=None), world()),
    ("an entry sized twice", C.MALFORMED, proposal(base_size=D(1)), world()),
    ("an exit sized in money", C.MALFORMED, exit_proposal(notional=D(5)), held(position())),
    ("a negative notional", C.MALFORMED, proposal(notional=D(-5)), world()),
    ("a price that is no number", C.MALFORMED, proposal(stop_price=D("NaN")), world()),
    ("an infinite target", C.MALFORMED, proposal(target_price=D("Infinity")), world()),
    ("an edge that is no number", C.MALFORMED, proposal(expected_edge_bps=D("NaN")), world()),
    ("a hold that never ends", C.MALFORMED, proposal(max_hold_s=float("inf")), world()),
    ("a hold that is no number", C.MALFORMED, proposal(max_hold_s=float("nan")), world()),
    ("an id that is reserved", C.DUPLICATE, proposal(proposal_id="other"), world(books=reserved())),
    ("an id that was approved", C.DUPLICATE, proposal(proposal_id="old-0"), world(locks=counted(1))),
    ("an unknown symbol", C.UNKNOWN_SYMBOL, proposal(symbol="XRP-USD"), world()),
    ("a wallet that is not cash", C.QUOTE_CURRENCY, proposal(symbol="BTC-EUR"), world()),
    ("an old decision", C.DECISION_OLD, proposal(decided_boot_ns=NOW - 3 * S), world()),
    ("a decision from the future", C.DECISION_OLD, proposal(decided_boot_ns=NOW + S), world()),
    ("a replaced strategist", C.DECISION_OLD, proposal(), world(strategist_incarnation=2)),
    ("no durable state", C.STATE_STORE, proposal(), world(store_error="disk is full")),
    ("no lease", C.NO_LEASE, proposal(), world(lease=None)),
    ("an old lease", C.LEASE_OLD, proposal(), world(lease=lease(at=NOW - 3 * S))),
    ("reduce only", C.STATE, proposal(), world(lease=lease(TradingState.REDUCE_ONLY))),
    ("halted", C.STATE, proposal(), world(lease=lease(TradingState.HALTED))),
    ("killed", C.STATE, proposal(), world(lease=lease(TradingState.KILLED))),
    (
        "the symbol alone halted",
        C.STATE,
        proposal(),
        world(lease=lease(per_symbol=(("BTC-USD", TradingState.HALTED, "volatility"),))),
    ),
    ("no snapshot", C.NO_SNAPSHOT, proposal(), world(snapshot=None)),
    ("a tracker that is not ready", C.NO_SNAPSHOT, proposal(), world(snapshot=snapshot(ready=False))),
    ("an old snapshot", C.NO_SNAPSHOT, proposal(), world(snapshot=snapshot(at_boot_ns=NOW - 4 * S))),
    ("loss books that never began", C.NO_SNAPSHOT, proposal(), world(losses=None)),
    ("an unknown order", C.UNKNOWN_ORDER, proposal(), world(snapshot=snapshot(unknown_symbols=("BTC-USD",)))),
    (
        "an unknown order on an alias",
        C.UNKNOWN_ORDER,
        proposal(),
        world(snapshot=snapshot(unknown_symbols=("BTC-USDC",))),
    ),
    ("a naked position on an alias", C.NAKED, proposal(), held(NAKED)),
    ("an entry at work", C.OPEN_ENTRY, proposal(), working(order())),
    ("an entry approved", C.OPEN_ENTRY, proposal(), world(books=reserved("BTC-USD"))),
    ("a cooldown", C.COOLDOWN, proposal(), world(locks=cooled("BTC-USD"))),
    ("a losing streak", C.LOSING_STREAK, proposal(), world(locks=cooled(STREAK))),
    ("a daily loss", C.DAILY_LOSS, proposal(), world(snapshot=snapshot(pnl=pnl("-50")))),
    ("a daily loss on paper", C.DAILY_LOSS, proposal(symbol="ETH-USD"), held(position(quantity="1", cost="150"))),
    (
        "a daily loss that is latched",
        C.DAILY_LOSS,
        proposal(),
        world(losses=losses(latches=(Latch(BreakerName.DAILY_LOSS, "x"),))),
    ),
    (
        "a weekly loss",
        C.WEEKLY_LOSS,
        proposal(),
        world(snapshot=snapshot(pnl=pnl("-100")), losses=losses(day_open=D(-90), last=D(-90))),
    ),
    (
        "a drawdown",
        C.DRAWDOWN,
        proposal(),
        world(losses=losses(high=D(150)), limits=limits(daily_loss_pct=50, weekly_loss_pct=50)),
    ),
    ("a position without mark", C.MARK_UNAVAILABLE, proposal(), held(position("ETH-USD"), marks={})),
    (
        "a position with an old mark",
        C.MARK_UNAVAILABLE,
        proposal(),
        held(position("ETH-USD"), marks={"ETH-USD": Dated(D(100), NOW - 16 * S)}),
    ),
    ("a position nobody configured", C.MARK_UNAVAILABLE, proposal(), held(position("XRP-USD"))),
    ("too many orders in a minute", C.RATE, proposal(), world(locks=counted(12))),
    ("the same buy again and again", C.REPEATED, proposal(), world(locks=counted(10, "BTC-USD", 100))),
    ("no quote", C.QUOTE_UNAVAILABLE, proposal(), quoted(quote=None)),
    ("no guard", C.QUOTE_UNAVAILABLE, proposal(), world(quotes={})),
    ("a stale quote", C.QUOTE_STALE, proposal(), quoted(quote=guarded(at=NOW - 3 * S).quote)),
    ("a guard that blocks", C.GUARD_BLOCKS, proposal(), quoted(blocks=(TickRefusal.VOLATILE,))),
    ("no rules", C.RULES_UNAVAILABLE, proposal(), world(rules={})),
    (
        "old rules",
        C.RULES_UNAVAILABLE,
        proposal(),
        world(rules={"BTC-USD": Dated(rules(), NOW - 301 * S)}),
    ),
    ("trading disabled", C.PRODUCT_MODE, proposal(), ruled(trading_disabled=True)),
    ("cancel only", C.PRODUCT_MODE, proposal(), ruled(cancel_only=True)),
    ("post only", C.PRODUCT_MODE, proposal(), ruled(post_only=True)),
    ("auction", C.PRODUCT_MODE, proposal(), ruled(auction_mode=True)),
    ("view only", C.PRODUCT_MODE, proposal(), ruled(view_only=True)),
    ("product off", C.PRODUCT_MODE, proposal(), ruled(is_disabled=True)),
    ("a status never heard of", C.PRODUCT_MODE, proposal(), ruled(status="paused")),
    ("no fee tier", C.FEES_UNAVAILABLE, proposal(), world(fees=None)),
    (
        "an old fee tier",
        C.FEES_UNAVAILABLE,
        proposal(),
        world(fees=Dated(FeeTier("entry", D("0.005"), D("0.009")), NOW - 3601 * S)),
    ),
    ("no word of the reconciler", C.FLOWS_UNKNOWN, proposal(), world(flows=None)),
    ("money that left without a fill", C.UNEXPLAINED_FLOW, proposal(), world(flows=(flow(),))),
    ("money that came without a fill", C.UNEXPLAINED_FLOW, proposal(), world(flows=(flow("5000"),))),
    ("coins that nobody can value", C.UNEXPLAINED_FLOW, proposal(), world(flows=(flow("-1", "XYZ"),))),
    ("a reading that does not add up", C.BALANCE_DOUBT, proposal(), world(doubt=("USD",))),
    ("no balance", C.BALANCE_UNAVAILABLE, proposal(), world(cash={})),
    (
        "an old balance",
        C.BALANCE_UNAVAILABLE,
        proposal(),
        world(cash={"USD": Dated(Cash(D(5000), D(0)), NOW - 121 * S)}),
    ),
    (
        "the other wallet's balance",
        C.BALANCE_UNAVAILABLE,
        proposal(symbol="BTC-USDC"),
        world(cash={"USD": world().cash["USD"]}),
    ),
    ("no stop", C.STOP_MISSING, proposal(stop_price=None), world()),
    ("a stop at the bid", C.STOP_WRONG, proposal(stop_price=D("100.00")), world()),
    ("a stop above a resting entry", C.STOP_WRONG, proposal(limit_price=D("99.70"), stop_price=D("99.80")), world()),
    ("a stop that rounds to zero", C.STOP_WRONG, proposal(stop_price=D("0.001")), world()),
    ("a target at the entry", C.TARGET_WRONG, proposal(target_price=D("100.10")), world()),
    ("a price above the collar", C.COLLAR, proposal(limit_price=D("100.60")), world()),
    ("a price below the collar", C.COLLAR, proposal(limit_price=D("99.40")), world()),
    (
        "an ask outside the collar",
        C.COLLAR,
        proposal(),
        world(quotes={"BTC-USD": guarded(bid="98", ask="100")}),
    ),
    ("an order of nothing", C.TOO_SMALL, proposal(notional=D("0.001")), world()),
    ("less than the least notional", C.TOO_SMALL, proposal(notional=D("0.9")), world()),
    ("less than the least size", C.TOO_SMALL, proposal(), ruled(base_min_size=D(1))),
    ("more than the largest size", C.TOO_LARGE, proposal(), ruled(base_max_size=D("0.1"))),
    ("more than the largest notional", C.TOO_LARGE, proposal(), ruled(quote_max_size=D(10))),
    ("a stop that could not be sold", C.PROTECTION_TOO_SMALL, proposal(notional=D("1.5")), world()),
    (
        "a deep stop that could not be sold",
        C.PROTECTION_TOO_SMALL,
        proposal(notional=D("3"), stop_price=D("50")),
        world(),
    ),
    ("a target that pays the fees alone", C.NO_EDGE, proposal(target_price=D("101.9")), world()),
    ("an edge that does not pay the fees", C.NO_EDGE, proposal(expected_edge_bps=D(180)), world()),
    ("no target and no edge", C.NO_EDGE, proposal(target_price=None), world()),
    ("a thin book", C.DEPTH, proposal(), quoted(asks=((D("100.02"), D("0.9")),))),
    ("depth beyond the limit", C.DEPTH, proposal(), quoted(asks=((D("100.02"), D("0.1")), (D("100.3"), D(50))))),
    ("an order too large", C.MAX_ORDER, proposal(notional=D("101")), world()),
    (
        "capital that is used",
        C.CAPITAL,
        proposal(),
        held(position("ETH-USD", "9.6", "100"), limits=limits(max_total_pct=100)),
    ),
    (
        "capital that is lost",
        C.CAPITAL,
        proposal(),
        world(
            snapshot=snapshot(pnl=pnl("-960")),
            losses=losses(day_open=D(-960), week_open=D(-960), high=D(-960), last=D(-960)),
        ),
    ),
    ("a wallet too small", C.BALANCE, proposal(), world(cash={"USD": Dated(Cash(D("50"), D(0)), NOW)})),
    (
        "a wallet that was spent since",
        C.BALANCE,
        proposal(),
        held(position("ETH-USD", "0.5", "100"), cash={"USD": Dated(Cash(D("90"), D(0)), NOW)}),
    ),
    (
        "a wallet that is promised",
        C.BALANCE,
        proposal(),
        world(books=reserved(), cash={"USD": Dated(Cash(D("90"), D(0)), NOW)}),
    ),
    (
        "too many positions",
        C.MAX_POSITIONS,
        proposal(),
        held(position("ETH-USD", "0.1"), position("SOL-USD", "0.1"), limits=limits(max_positions=2)),
    ),
    (
        "too many positions with the pending",
        C.MAX_POSITIONS,
        proposal(),
        held(position("SOL-USD", "0.1"), books=reserved(), limits=limits(max_positions=2)),
    ),
    ("a position too large", C.POSITION_LIMIT, proposal(), held(position(quantity="1.6"))),
    ("an asset too large over its aliases", C.ASSET_LIMIT, proposal(), held(position("BTC-USDC", "2.1"))),
    (
        "an asset too large by a pending alias",
        C.ASSET_LIMIT,
        proposal(),
        world(books=reserved("BTC-USDC", amount="210")),
    ),
    ("too much in all", C.TOTAL_LIMIT, proposal(), held(position("ETH-USD", "5.8"))),
    ("too much in all by the mark", C.TOTAL_LIMIT, proposal(), held(position("ETH-USD", "5.8", "50"))),
    ("too much in all by an open entry", C.TOTAL_LIMIT, proposal(), working(order("ETH-USD", size="5.8"))),
    (
        "an own sell in the way",
        C.SELF_CROSS,
        proposal(),
        working(order(side=Side.SELL, price="100.05", kind=OrderKind.LIMIT_IOC)),
    ),
    (
        "an own bracket's target on an alias",
        C.SELF_CROSS,
        proposal(),
        working(order("BTC-USDC", Side.SELL, price="100.10", kind=OrderKind.BRACKET_GTC, stop_price=D(90))),
    ),
    (
        "a resting buy under an own stop",
        C.SELF_CROSS,
        proposal(limit_price=D("99.90")),
        working(order("BTC-USDC", Side.SELL, price="120", kind=OrderKind.BRACKET_GTC, stop_price=D("99.95"))),
    ),
    (
        "a resting buy under an own stop-limit",
        C.SELF_CROSS,
        proposal(limit_price=D("99.90")),
        working(order("BTC-USDC", Side.SELL, price="98", kind=OrderKind.STOP_LIMIT_GTC, stop_price=D("99.95"))),
    ),
    ("an exit that is approved", C.SELF_CROSS, proposal(), world(books=reserved("BTC-USDC", Side.SELL, "0"))),
    ("selling more than owned", C.NOT_OWNED, exit_proposal("0.6"), held(position())),
    (
        "selling what is being sold",
        C.NOT_OWNED,
        exit_proposal("0.5"),
        world(
            snapshot=snapshot(
                positions=(position(),),
                open_orders=(order(side=Side.SELL, size="0.1", role=Role.EXIT, kind=OrderKind.LIMIT_IOC),),
            )
        ),
    ),
    (
        "selling what is approved for sale",
        C.NOT_OWNED,
        exit_proposal("0.5"),
        held(position(), books=reserved("BTC-USD", Side.SELL, "0")),
    ),
    ("selling an alias's coins", C.NOT_OWNED, exit_proposal("0.5", symbol="BTC-USDC"), held(position())),
    ("an exit while halted", C.STATE, exit_proposal(), held(position(), lease=lease(TradingState.HALTED))),
    ("an exit while killed", C.STATE, exit_proposal(), held(position(), lease=lease(TradingState.KILLED))),
    ("an exit of dust", C.TOO_SMALL, exit_proposal("0.001"), held(position())),
    ("an exit that wants more than the bid", C.COLLAR, exit_proposal(limit_price=D("100.01")), held(position())),
]


@pytest.mark.parametrize(("code", "idea", "around"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_planted_violation_is_refused_with_its_code(code: RefusalCode, idea: Proposal, around: World) -> None:
    verdict = judge(idea, around)
    assert isinstance(verdict, Refused), verdict
    assert verdict.code is code, verdict


def test_every_refusal_code_has_a_planted_violation_and_a_meaning() -> None:
    assert {case[1] for case in CASES} == set(RefusalCode)
    assert set(MEANING) == set(RefusalCode)


def approved(idea: Proposal, around: World) -> Approved:
    verdict = judge(idea, around)
    assert isinstance(verdict, Approved), verdict
    return verdict


def test_a_plain_entry_is_approved_on_the_grid_inside_the_collar() -> None:
    verdict = approved(proposal(), world())
    spec = verdict.spec
    assert (spec.side, spec.role, spec.kind) == (Side.BUY, Role.ENTRY, OrderKind.LIMIT_IOC)
    assert spec.limit_price == D("100.12")  # ten bps above the ask, rounded down
    assert spec.base_size == D("0.4994")
    assert spec.base_size * spec.limit_price <= D(50)
    assert verdict.cost == spec.base_size * spec.limit_price * D("1.009")
    assert (spec.plan_stop, spec.plan_target, spec.plan_max_hold_s) == (D("98"), D("104"), 60.0)
    assert spec.end_after_s is None


def test_a_price_below_the_ask_rests_with_an_end_within_a_minute() -> None:
    spec = approved(proposal(limit_price=D("99.999")), world(entry_life_s=500)).spec
    assert spec.kind is OrderKind.LIMIT_GTD
    assert spec.limit_price == D("99.99")
    assert spec.end_after_s == 60


def test_an_entry_beside_an_untriggered_stop_far_below_is_no_cross() -> None:
    bracket = order("BTC-USDC", Side.SELL, price="120", kind=OrderKind.BRACKET_GTC, stop_price=D(90))
    assert approved(proposal(), working(bracket)).spec.symbol == "BTC-USD"


def test_an_alias_spends_its_own_wallet_at_the_data_products_quote() -> None:
    verdict = approved(proposal(symbol="BTC-USDC"), world(cash={"USDC": world().cash["USDC"]}))
    assert verdict.spec.symbol == "BTC-USDC"
    assert verdict.quote.symbol == "BTC-USD"


@pytest.mark.parametrize("state", [TradingState.RUN, TradingState.REDUCE_ONLY])
def test_an_exit_needs_only_ownership(state: TradingState) -> None:
    """Everything that stops entries is wrong here; the exit passes."""
    around = world(
        snapshot=snapshot(positions=(position(), position("XRP-USD")), pnl=pnl("-500"), unknown_symbols=("BTC-USD",)),
        lease=lease(state, at=NOW - 60 * S),
        fees=None,
        cash={},
        marks={},
        store_error="disk is full",
        locks=replace_cooldowns(),
        losses=losses(latches=(Latch(BreakerName.DAILY_LOSS, "x"),)),
        rules={"BTC-USD": Dated(rules(), NOW - 9999 * S)},
    )
    blocked = replace(around.quotes["BTC-USD"], blocks=(TickRefusal.WIDE_SPREAD,))
    verdict = approved(exit_proposal(), replace(around, quotes={"BTC-USD": blocked}))
    assert verdict.spec.kind is OrderKind.LIMIT_IOC
    assert verdict.spec.base_size == D("0.5")
    assert verdict.spec.limit_price == D("99.50")
    assert verdict.cost == 0


def replace_cooldowns() -> Locks:
    locks = counted(50, "BTC-USD")
    locks.cooldowns = {"BTC-USD": Lock(NOW + S, 0), STREAK: Lock(NOW + S, 0)}
    return locks


def test_dust_without_a_mark_counts_as_lost_and_blocks_nothing() -> None:
    dust = position("XRP-USD", "0.001", "1", protection=Protection.DUST)
    assert approved(proposal(), held(dust, limits=limits(max_positions=1)))


def test_a_lock_ends_by_itself() -> None:
    locks = Locks(cooldowns={"BTC-USD": Lock(NOW, UTC), STREAK: Lock(NOW - 1, UTC)})
    assert approved(proposal(), world(locks=locks))


def test_a_mark_that_rises_after_the_entry_uses_up_the_limits() -> None:
    near = position("ETH-USD", "5", "100")
    around = held(near)
    assert approved(proposal(), around)
    risen = replace(around, marks={**around.marks, "ETH-USD": Dated(D("115"), NOW)})
    verdict = judge(proposal(), risen)
    assert isinstance(verdict, Refused)
    assert verdict.code is C.TOTAL_LIMIT


@pytest.mark.parametrize("bps", ["0", "1", "50", "999.5"])
def test_collar_edges_are_symmetric(bps: str) -> None:
    price = D("12345.67")
    assert above(price, D(bps)) - price == price - below(price, D(bps))


def test_the_largest_order_that_is_allowed_is_allowed() -> None:
    capital = CapitalSettings(max_order=Decimal(100))
    assert approved(proposal(notional=D(100)), world(capital=capital)).spec.base_size == D("0.9988")


def test_an_unexplained_flow_stops_no_exit() -> None:
    assert isinstance(judge(exit_proposal(), held(position(), flows=(flow(),), doubt=("USD",))), Approved)


@pytest.mark.parametrize(
    ("flows", "lost"),
    [
        ((), D(0)),
        ((flow("-20"),), D(20)),
        ((flow("5000"),), D(0)),
        ((flow("-20"), flow("20", name="flow-2")), D(20)),
        ((flow("-0.5", "BTC"), flow("-7", "USDC", "flow-2")), D(57)),
    ],
)
def test_what_left_counts_as_loss_and_what_came_is_no_gain(flows: tuple[OpenFlow, ...], lost: Decimal) -> None:
    assert unexplained_loss(world(flows=flows)) == lost


def test_a_flow_that_nobody_can_value_is_not_worth_nothing() -> None:
    assert isinstance(unexplained_loss(world(flows=(flow("-1", "XYZ"),))), Unavailable)
    assert isinstance(unexplained_loss(world(flows=None)), Unavailable)
