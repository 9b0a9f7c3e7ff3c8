"""The gate: an ordered list of checks that a proposal passes in one place, or is refused with one code.

Pure: ``judge(proposal, world)`` decides by its arguments alone. Entries pass everything; exits reduce risk and
need only ownership, a price and a state that lets them through.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from actors.clock import NS_PER_S
from actors.messages.books import OpenOrder, PortfolioSnapshot
from actors.messages.health import TradingState
from actors.messages.market import Instrument, ProductRules, Quote, Side
from actors.messages.orders import OrderKind, OrderSpec, Proposal, Protection, Role
from actors.messages.venue import FeeTier
from actors.risk import limits
from actors.risk.books import free_to_sell
from actors.risk.codes import RefusalCode as Code
from actors.risk.codes import RefusedError
from actors.risk.inputs import Unavailable, World, fresh
from actors.risk.locks import STREAK
from actors.risk.losses import LOSS_BREAKERS
from actors.risk.sizing import above, below, ceil_to, floor_to, net_edge_bps, size_for, smallest_protected_size

MAX_ENTRY_LIFE_S = 60.0
"""Entries never rest longer, so that a dead host stops buying within a minute."""

CLOCK_SLACK_S = 0.1
"""All actors share one boot clock; a decision from the future is no decision."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The proposal ends here."""

    code: Code
    detail: str


@dataclass(frozen=True, slots=True)
class Approved:
    """The proposal may become this order. ``cost``: quote currency to reserve, fee included (0 for exits)."""

    spec: OrderSpec
    cost: Decimal
    quote: Quote
    codes: tuple[str, ...]


def judge(proposal: Proposal, world: World) -> Approved | Refused:
    """Judge one proposal."""
    try:
        instrument = _check_form(proposal, world)
        if proposal.role is Role.EXIT:
            return _judge_exit(proposal, world, instrument)
        return _judge_entry(proposal, world, instrument)
    except RefusedError as refused:
        return Refused(refused.code, refused.detail)


# --- what every proposal must be ---------------------------------------------------------------------------


def _check_form(proposal: Proposal, world: World) -> Instrument:
    numbers = (
        ("notional", proposal.notional),
        ("base_size", proposal.base_size),
        ("limit_price", proposal.limit_price),
        ("stop_price", proposal.stop_price),
        ("target_price", proposal.target_price),
    )
    for name, value in numbers:
        if value is not None and (not value.is_finite() or value <= 0):
            raise RefusedError(Code.MALFORMED, f"{name} is {value}")
    if proposal.expected_edge_bps is not None and not proposal.expected_edge_bps.is_finite():
        raise RefusedError(Code.MALFORMED, f"expected_edge_bps is {proposal.expected_edge_bps}")
    if proposal.max_hold_s is not None and not 0 < proposal.max_hold_s < float("inf"):
        raise RefusedError(Code.MALFORMED, f"max_hold_s is {proposal.max_hold_s}")
    match proposal.role, proposal.side:
        case (Role.ENTRY, Side.BUY):
            if proposal.notional is None or proposal.base_size is not None:
                raise RefusedError(Code.MALFORMED, "an entry is sized by notional alone")
        case (Role.EXIT, Side.SELL):
            if proposal.base_size is None or proposal.notional is not None:
                raise RefusedError(Code.MALFORMED, "an exit is sized by base_size alone")
        case _:
            raise RefusedError(Code.MALFORMED, f"a strategy may not propose {proposal.role} {proposal.side}")
    instrument = world.instruments.get(proposal.symbol)
    if instrument is None:
        raise RefusedError(Code.UNKNOWN_SYMBOL, proposal.symbol)
    if proposal.proposal_id in world.books.reservations or world.locks.knows(proposal.proposal_id):
        raise RefusedError(Code.DUPLICATE, proposal.proposal_id)
    if proposal.stamp.incarnation < world.strategist_incarnation:
        raise RefusedError(Code.DECISION_OLD, f"strategist incarnation {proposal.stamp.incarnation}")
    age_s = (world.now_boot_ns - proposal.decided_boot_ns) / NS_PER_S
    if not -CLOCK_SLACK_S <= age_s <= world.limits.decision_max_age_s:
        raise RefusedError(Code.DECISION_OLD, f"decided {age_s:.2f} s ago")
    return instrument


def _snapshot(world: World) -> PortfolioSnapshot:
    snapshot = world.snapshot
    if snapshot is None:
        raise RefusedError(Code.NO_SNAPSHOT, "none of this epoch was received")
    if not snapshot.ready:
        raise RefusedError(Code.NO_SNAPSHOT, "the tracker is not ready")
    age_s = (world.now_boot_ns - snapshot.at_boot_ns) / NS_PER_S
    if age_s > world.limits.snapshot_max_age_s:
        raise RefusedError(Code.NO_SNAPSHOT, f"{age_s:.1f} s old")
    return snapshot


def _quote(world: World, instrument: Instrument) -> Quote:
    guarded = world.quotes.get(instrument.data_product)
    if guarded is None or guarded.quote is None:
        raise RefusedError(Code.QUOTE_UNAVAILABLE, instrument.data_product)
    age_s = (world.now_boot_ns - guarded.quote.as_of_boot_ns) / NS_PER_S
    if age_s > world.limits.quote_max_age_s:
        raise RefusedError(Code.QUOTE_STALE, f"{age_s:.2f} s old")
    return guarded.quote


# --- entries -----------------------------------------------------------------------------------------------


def _judge_entry(proposal: Proposal, world: World, instrument: Instrument) -> Approved:
    _check_permission(world, instrument)
    limits.check_flows(world)
    snapshot = _snapshot(world)
    _check_orders(world, instrument, snapshot)
    _check_locks(world, instrument)
    limits.check_losses(world, snapshot)
    quote = _quote(world, instrument)
    blocks = world.quotes[instrument.data_product].blocks
    if blocks:
        raise RefusedError(Code.GUARD_BLOCKS, ", ".join(blocks))
    rules = _rules(world, instrument)
    fees = fresh(world.fees, "fees", world.now_boot_ns, world.limits.fee_max_age_s)
    if isinstance(fees, Unavailable):
        raise RefusedError(Code.FEES_UNAVAILABLE, fees.why)
    spec = _entry_order(proposal, world, rules, quote)
    _check_plan(spec, quote)
    _check_size(spec, rules, fees, world)
    edge = _check_edge(proposal, spec, quote, fees, world)
    _check_depth(spec, world, instrument, quote)
    cost = spec.base_size * spec.limit_price * (1 + fees.taker_rate)
    limits.check_money(spec, cost, world, instrument, snapshot, fees)
    limits.check_exposure(spec, cost, world, instrument, snapshot, fees)
    _check_self_cross(spec, world, instrument, snapshot)
    return Approved(spec, cost, quote, (spec.kind.value, f"net_edge_bps:{edge:.1f}"))


def _check_permission(world: World, instrument: Instrument) -> None:
    if instrument.quote not in world.limits.cash:
        raise RefusedError(Code.QUOTE_CURRENCY, instrument.quote)
    if world.store_error:
        raise RefusedError(Code.STATE_STORE, world.store_error)
    if world.lease is None:
        raise RefusedError(Code.NO_LEASE, "none of this epoch was received")
    age_s = (world.now_boot_ns - world.lease.issued_boot_ns) / NS_PER_S
    if age_s > world.limits.lease_max_age_s:
        raise RefusedError(Code.LEASE_OLD, f"issued {age_s:.2f} s ago")
    state = world.lease.state_of(instrument.order_product)
    if state is not TradingState.RUN:
        raise RefusedError(Code.STATE, state)


def _check_orders(world: World, instrument: Instrument, snapshot: PortfolioSnapshot) -> None:
    unknown = [name for name in snapshot.unknown_symbols if limits.base_of(world, name) == instrument.base]
    if unknown:
        raise RefusedError(Code.UNKNOWN_ORDER, ", ".join(unknown))
    for position in snapshot.positions:
        if position.protection is Protection.NAKED and position.base == instrument.base:
            raise RefusedError(Code.NAKED, position.symbol)
    symbol = instrument.order_product
    if any(order.symbol == symbol and order.side is Side.BUY for order in snapshot.open_orders):
        raise RefusedError(Code.OPEN_ENTRY, "an entry is working")
    if world.books.on(symbol, Side.BUY):
        raise RefusedError(Code.OPEN_ENTRY, "an entry is approved")


def _check_locks(world: World, instrument: Instrument) -> None:
    now, bounds = world.now_boot_ns, world.limits
    for scope, code in ((STREAK, Code.LOSING_STREAK), (instrument.order_product, Code.COOLDOWN)):
        lock = world.locks.lock_of(scope, now)
        if lock is not None:
            raise RefusedError(code, f"{(lock.ends_boot_ns - now) / NS_PER_S:.0f} s left")
    for breaker in LOSS_BREAKERS:
        item = world.losses.latch(breaker) if world.losses else None
        if item is not None:
            raise RefusedError(Code(breaker.value), f"latched: {item.reason}")
    if world.locks.in_last_minute(now) >= bounds.max_orders_per_minute:
        raise RefusedError(Code.RATE, f"{bounds.max_orders_per_minute} approvals in the last minute")
    window_ns = round(bounds.repeat_window_s * NS_PER_S)
    if world.locks.repeats(instrument.order_product, Side.BUY, now, window_ns) >= bounds.repeat_limit:
        raise RefusedError(Code.REPEATED, f"{bounds.repeat_limit} buys within {bounds.repeat_window_s:g} s")


def _rules(world: World, instrument: Instrument) -> ProductRules:
    dated = world.rules.get(instrument.order_product)
    rules = fresh(dated, "rules", world.now_boot_ns, world.limits.rules_max_age_s)
    if isinstance(rules, Unavailable):
        raise RefusedError(Code.RULES_UNAVAILABLE, rules.why)
    closed = [
        name
        for name in ("trading_disabled", "cancel_only", "post_only", "auction_mode", "view_only", "is_disabled")
        if getattr(rules, name)
    ]
    if rules.status != "online":
        closed.append(f"status {rules.status!r}")
    if closed:
        raise RefusedError(Code.PRODUCT_MODE, ", ".join(closed))
    return rules


def _entry_order(proposal: Proposal, world: World, rules: ProductRules, quote: Quote) -> OrderSpec:
    """The entry on the grid: a price of its own, or a marketable limit a little above the ask."""
    ceiling = floor_to(above(quote.mid, world.limits.collar_bps), rules.price_increment)
    if proposal.limit_price is not None:
        price = floor_to(proposal.limit_price, rules.price_increment)
    else:
        reach = max(quote.ask, floor_to(above(quote.ask, world.limits.entry_reach_bps), rules.price_increment))
        price = min(reach, ceiling)
        if price < quote.ask:
            raise RefusedError(Code.COLLAR, f"the ask {quote.ask} is above {ceiling}")
    if not below(quote.mid, world.limits.collar_bps) <= price <= ceiling:
        raise RefusedError(Code.COLLAR, f"{price} is not within {world.limits.collar_bps} bps of {quote.mid}")
    immediate = price >= quote.ask
    assert proposal.notional is not None
    stop, target = proposal.stop_price, proposal.target_price
    if stop is None:
        raise RefusedError(Code.STOP_MISSING, "no stop_price")
    return OrderSpec(
        symbol=proposal.symbol,
        side=Side.BUY,
        role=Role.ENTRY,
        kind=OrderKind.LIMIT_IOC if immediate else OrderKind.LIMIT_GTD,
        base_size=size_for(proposal.notional, price, rules),
        limit_price=price,
        end_after_s=None if immediate else min(world.entry_life_s, MAX_ENTRY_LIFE_S),
        plan_stop=floor_to(stop, rules.price_increment),
        plan_target=None if target is None else floor_to(target, rules.price_increment),
        plan_max_hold_s=proposal.max_hold_s,
    )


def _check_plan(spec: OrderSpec, quote: Quote) -> None:
    assert spec.plan_stop is not None
    if not 0 < spec.plan_stop < min(quote.bid, spec.limit_price):
        raise RefusedError(Code.STOP_WRONG, f"stop {spec.plan_stop}, bid {quote.bid}, entry {spec.limit_price}")
    if spec.plan_target is not None and spec.plan_target <= max(quote.ask, spec.limit_price):
        raise RefusedError(Code.TARGET_WRONG, f"target {spec.plan_target}, ask {quote.ask}, entry {spec.limit_price}")


def _check_size(spec: OrderSpec, rules: ProductRules, fees: FeeTier, world: World) -> None:
    value = spec.base_size * spec.limit_price
    if spec.base_size < max(rules.base_min_size, rules.base_increment) or value < rules.quote_min_size:
        raise RefusedError(Code.TOO_SMALL, f"{spec.base_size} is worth {value}")
    if spec.base_size > rules.base_max_size or value > rules.quote_max_size:
        raise RefusedError(Code.TOO_LARGE, f"{spec.base_size} is worth {value}")
    if value > world.capital.max_order:
        raise RefusedError(Code.MAX_ORDER, f"{value} is above {world.capital.max_order}")
    assert spec.plan_stop is not None
    least = smallest_protected_size(spec.plan_stop, fees.taker_rate, world.limits.protection_min_multiple, rules)
    if spec.base_size < least:
        raise RefusedError(Code.PROTECTION_TOO_SMALL, f"{spec.base_size} is below {least}")


def _check_edge(proposal: Proposal, spec: OrderSpec, quote: Quote, fees: FeeTier, world: World) -> Decimal:
    half_spread = (quote.ask - quote.bid) / 2
    expected = proposal.expected_edge_bps
    edge = net_edge_bps(spec.limit_price, spec.plan_target, expected, fees.taker_rate, half_spread)
    if edge is None:
        raise RefusedError(Code.NO_EDGE, "neither a target nor an expected edge is given")
    if edge < world.limits.min_net_edge_bps:
        raise RefusedError(Code.NO_EDGE, f"{edge:.1f} bps net of fees and half spread")
    return edge


def _check_depth(spec: OrderSpec, world: World, instrument: Instrument, quote: Quote) -> None:
    """Enough must stand where the order can reach it; a resting entry is measured to the collar's edge."""
    edge = spec.limit_price
    if edge < quote.ask:
        edge = above(quote.mid, world.limits.collar_bps)
    asks = world.quotes[instrument.data_product].asks
    depth = sum((size for price, size in asks if price <= edge), Decimal(0))
    if depth < spec.base_size * world.limits.min_depth_multiple:
        raise RefusedError(Code.DEPTH, f"{depth} up to {edge}, the order is {spec.base_size}")


def _check_self_cross(spec: OrderSpec, world: World, instrument: Instrument, snapshot: PortfolioSnapshot) -> None:
    """Self-trade prevention would cancel the smaller order, which may be the protection (Coinbase docs)."""
    for reservation in world.books.reservations.values():
        if reservation.side is Side.SELL and limits.base_of(world, reservation.symbol) == instrument.base:
            raise RefusedError(Code.SELF_CROSS, "an exit is approved")
    for order in snapshot.open_orders:
        if order.side is not Side.SELL or limits.base_of(world, order.symbol) != instrument.base:
            continue
        if _could_meet(spec, order):
            raise RefusedError(Code.SELF_CROSS, f"own sell {order.client_order_id} at {order.limit_price}")


def _could_meet(spec: OrderSpec, sell: OpenOrder) -> bool:
    """Whether the buy could trade with this own sell.

    A bracket's target rests in the book; its triggered stop sells down to 5 % below the trigger. A stop that has
    not triggered can only be met by a buy that rests where the stop would sell.
    """
    if sell.kind is not OrderKind.STOP_LIMIT_GTC and spec.limit_price >= sell.limit_price:
        return True
    if sell.kind not in (OrderKind.STOP_LIMIT_GTC, OrderKind.BRACKET_GTC) or spec.kind is not OrderKind.LIMIT_GTD:
        return False
    if sell.stop_price is None:
        return True
    lowest = sell.limit_price if sell.kind is OrderKind.STOP_LIMIT_GTC else limits.triggered_limit(sell.stop_price)
    return lowest <= spec.limit_price <= sell.stop_price


# --- exits -------------------------------------------------------------------------------------------------


def _judge_exit(proposal: Proposal, world: World, instrument: Instrument) -> Approved:
    """An exit reduces risk: a lease that is old but allowed exits when it came does not stop it.

    Whatever came later (kill, halt) is seen by the tracker and by the gateway's last check.
    """
    if world.lease is None:
        raise RefusedError(Code.NO_LEASE, "none of this epoch was received")
    state = world.lease.state_of(instrument.order_product)
    if state not in (TradingState.RUN, TradingState.REDUCE_ONLY):
        raise RefusedError(Code.STATE, state)
    snapshot = _snapshot(world)
    dated = world.rules.get(instrument.order_product)
    if dated is None:
        raise RefusedError(Code.RULES_UNAVAILABLE, "never read")
    rules, quote = dated.value, _quote(world, instrument)
    assert proposal.base_size is not None
    size = min(floor_to(proposal.base_size, rules.base_increment), rules.base_max_size)
    free = free_to_sell(snapshot, world.books, instrument.order_product)
    if size > free:
        raise RefusedError(Code.NOT_OWNED, f"{size} asked for, {free} is free to sell")
    lowest = ceil_to(below(quote.bid, world.limits.collar_bps), rules.price_increment)
    price = lowest
    if proposal.limit_price is not None:
        price = max(lowest, ceil_to(proposal.limit_price, rules.price_increment))
        if price > quote.bid:
            raise RefusedError(Code.COLLAR, f"the bid {quote.bid} is below {price}")
    if size < max(rules.base_min_size, rules.base_increment) or size * price < rules.quote_min_size:
        raise RefusedError(Code.TOO_SMALL, f"{size} is worth {size * price}")
    spec = OrderSpec(proposal.symbol, Side.SELL, Role.EXIT, OrderKind.LIMIT_IOC, size, price)
    return Approved(spec, Decimal(0), quote, (spec.kind.value, "exit"))
