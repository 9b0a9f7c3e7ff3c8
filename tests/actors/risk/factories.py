"""A world in which a plain entry is approved; each test plants exactly one thing that is wrong."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from actors.clock import NS_PER_S
from actors.messages.base import Stamp
from actors.messages.books import OpenOrder, PnlBooks, PortfolioSnapshot, Position
from actors.messages.health import Lease, TradingState
from actors.messages.market import GuardedQuote, Instrument, ProductRules, Quote, Side
from actors.messages.orders import OrderKind, OrderState, Proposal, Protection, Role
from actors.messages.reconcile import OpenFlow
from actors.messages.venue import FeeTier
from actors.risk.books import Books
from actors.risk.inputs import Cash, Dated, World
from actors.risk.locks import Locks
from actors.risk.losses import LossState, day_start, week_start
from config.sections.risk import CapitalSettings, RiskSettings

D = Decimal
NOW = 10_000 * NS_PER_S
UTC = 1_786_309_548 * NS_PER_S
STAMP = Stamp("strategist", 1)


def rules(product: str = "BTC-USD", **values: object) -> ProductRules:
    base = ProductRules(
        product_id=product,
        base_increment=D("0.0001"),
        quote_increment=D("0.01"),
        price_increment=D("0.01"),
        base_min_size=D("0.0001"),
        base_max_size=D("1000"),
        quote_min_size=D("1"),
        quote_max_size=D("1000000"),
        status="online",
        trading_disabled=False,
        cancel_only=False,
        limit_only=False,
        post_only=False,
        auction_mode=False,
        view_only=False,
        is_disabled=False,
        read_boot_ns=NOW,
    )
    return replace(base, **values)  # type: ignore[arg-type]


def quote(symbol: str = "BTC-USD", bid: str = "100.00", ask: str = "100.02", at: int = NOW) -> Quote:
    return Quote(symbol, D(bid), D(ask), D(50), D(50), 0, at)


def guarded(symbol: str = "BTC-USD", at: int = NOW, bid: str = "100.00", ask: str = "100.02") -> GuardedQuote:
    found = quote(symbol, bid, ask, at)
    bids = ((found.bid, D(50)), (found.bid * D("0.999"), D(50)))
    asks = ((found.ask, D(50)), (found.ask * D("1.001"), D(50)))
    return GuardedQuote(symbol, found, (), found.bid, None, bids, asks, 1)


def pnl(total: str = "0", day: str = "0", week: str = "0") -> PnlBooks:
    return PnlBooks(D(total), D(day), D(week), D(0), day_start(UTC), week_start(UTC))


def position(symbol: str = "BTC-USD", quantity: str = "0.5", cost: str = "100", **values: object) -> Position:
    base = Position(
        symbol,
        symbol.split("-")[0],
        D(quantity),
        D(cost),
        D(0),
        D(0),
        Protection.PROTECTED,
        0,
        D("90"),
        D("120"),
        None,
    )
    return replace(base, **values)  # type: ignore[arg-type]


def order(
    symbol: str = "BTC-USD",
    side: Side = Side.BUY,
    size: str = "0.5",
    price: str = "100",
    kind: OrderKind = OrderKind.LIMIT_GTD,
    **values: object,
) -> OpenOrder:
    role = Role.ENTRY if side is Side.BUY else Role.PROTECTION
    base = OpenOrder("td-a-1-e-1", "o1", symbol, side, role, kind, OrderState.OPEN, D(size), D(0), D(price), None, 0)
    return replace(base, **values)  # type: ignore[arg-type]


def snapshot(**values: object) -> PortfolioSnapshot:
    base = PortfolioSnapshot(1, 1, True, (), (), pnl(), (), (), (), NOW, 1)
    return replace(base, **values)  # type: ignore[arg-type]


def lease(state: TradingState = TradingState.RUN, at: int = NOW, **values: object) -> Lease:
    return replace(Lease(1, 1, 1, at, state, (), ()), **values)  # type: ignore[arg-type]


def proposal(**values: object) -> Proposal:
    base = Proposal(
        proposal_id="p-1",
        correlation_id="c-1",
        strategy="test",
        symbol="BTC-USD",
        side=Side.BUY,
        role=Role.ENTRY,
        notional=D("50"),
        base_size=None,
        limit_price=None,
        stop_price=D("98"),
        target_price=D("104"),
        max_hold_s=60.0,
        expected_edge_bps=None,
        reason="test",
        quote=quote(),
        decided_boot_ns=NOW,
        tick_boot_ns=NOW,
        stamp=STAMP,
    )
    return replace(base, **values)  # type: ignore[arg-type]


def exit_proposal(size: str = "0.5", **values: object) -> Proposal:
    base = proposal(
        side=Side.SELL, role=Role.EXIT, notional=None, base_size=D(size), stop_price=None, target_price=None
    )
    return replace(base, **values)  # type: ignore[arg-type]


def flow(amount: str = "-20", currency: str = "USD", name: str = "flow-1") -> OpenFlow:
    return OpenFlow(name, currency, D(amount), D(1000), D(1000) + D(amount), UTC)


def losses(**values: object) -> LossState:
    base = LossState(D(0), D(0), day_start(UTC), D(0), week_start(UTC), D(0))
    return replace(base, **values)  # type: ignore[arg-type]


def world(**values: object) -> World:
    """Capital 1000, orders up to 100, BTC and ETH with their USDC aliases, no position, everything fresh."""
    instruments = {
        name: Instrument(name, name.split("-")[0] + "-USD", *name.split("-"))
        for name in ("BTC-USD", "BTC-USDC", "ETH-USD", "SOL-USD", "BTC-EUR")
    }
    quotes = {name: guarded(name) for name in ("BTC-USD", "ETH-USD", "SOL-USD")}
    cash = {name: Dated(Cash(D("5000"), D(0)), NOW) for name in ("USD", "USDC")}
    base = World(
        limits=RiskSettings(),
        capital=CapitalSettings(),
        instruments=instruments,
        entry_life_s=10.0,
        lease=lease(),
        snapshot=snapshot(),
        quotes=quotes,
        marks={name: Dated(D("100"), NOW) for name in quotes},
        rules={name: Dated(rules(name), NOW) for name in instruments},
        fees=Dated(FeeTier("entry", D("0.005"), D("0.009")), NOW),
        cash=cash,
        books=Books(),
        locks=Locks(),
        losses=losses(),
        store_error="",
        strategist_incarnation=1,
        now_boot_ns=NOW,
        now_utc_ns=UTC,
        flows=(),
        doubt=(),
    )
    return replace(base, **values)  # type: ignore[arg-type]


def limits(**values: object) -> RiskSettings:
    return RiskSettings.model_validate(values)
