"""The checks that count money: losses, capital, balance, positions, exposure."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from actors.messages.books import PortfolioSnapshot, Position
from actors.messages.market import Instrument, Side
from actors.messages.orders import OrderSpec
from actors.messages.venue import FeeTier
from actors.risk.books import ZERO, Exposure, counts, exposure, unrealized
from actors.risk.codes import RefusalCode as Code
from actors.risk.codes import RefusedError
from actors.risk.inputs import Unavailable, World, fresh
from actors.risk.losses import advance, exceeded, view
from actors.risk.sizing import TRIGGER_GIVE

HUNDRED = Decimal(100)


def marks_of(world: World) -> Callable[[Position], Decimal | None]:
    """Positions to their mark, None where it is unavailable."""

    def mark(position: Position) -> Decimal | None:
        price = world.mark(position.symbol)
        return None if isinstance(price, Unavailable) else price

    return mark


def profit_now(world: World, snapshot: PortfolioSnapshot) -> Decimal | Unavailable:
    """Realized plus unrealized, or which mark is missing."""
    paper = unrealized(snapshot, marks_of(world))
    if isinstance(paper, str):
        return Unavailable(f"mark {paper}", f"no quote within {world.limits.mark_max_age_s:g} s")
    return snapshot.pnl.realized_total + paper


def unexplained_loss(world: World) -> Decimal | Unavailable:
    """What left the wallets without a fill, in quote currency, at the marks; what came without one is no gain."""
    if world.flows is None:
        return Unavailable("flows", "the reconciler has not reported")
    lost = ZERO
    for flow in world.flows:
        if flow.amount >= 0:
            continue
        price = _price_of(world, flow.currency)
        if isinstance(price, Unavailable):
            return price
        lost -= flow.amount * price
    return lost


def _price_of(world: World, currency: str) -> Decimal | Unavailable:
    if currency in world.limits.cash:
        return Decimal(1)
    symbols = [name for name, item in world.instruments.items() if item.base == currency]
    prices = [world.mark(name) for name in symbols]
    known = [price for price in prices if not isinstance(price, Unavailable)]
    return max(known) if known else Unavailable(f"mark {currency}", "no quote to value an unexplained flow")


def check_flows(world: World) -> None:
    """Refuse while money moves that nobody has explained: how much there is to lose, nobody knows then."""
    if world.flows is None:
        raise RefusedError(Code.FLOWS_UNKNOWN, "the reconciler has not reported")
    if world.flows:
        raise RefusedError(Code.UNEXPLAINED_FLOW, "; ".join(flow.text for flow in world.flows))
    if world.doubt:
        raise RefusedError(Code.BALANCE_DOUBT, ", ".join(world.doubt))


def check_losses(world: World, snapshot: PortfolioSnapshot) -> None:
    """Refuse at a loss limit, or when the loss cannot be known."""
    profit = profit_now(world, snapshot)
    if isinstance(profit, Unavailable):
        raise RefusedError(Code.MARK_UNAVAILABLE, f"{profit.what}: {profit.why}")
    if world.losses is None:
        raise RefusedError(Code.NO_SNAPSHOT, "the loss books are not begun")
    unexplained = unexplained_loss(world)
    if isinstance(unexplained, Unavailable):
        raise RefusedError(Code.FLOWS_UNKNOWN, f"{unexplained.what}: {unexplained.why}")
    figures = view(advance(world.losses, profit, world.now_utc_ns), world.capital.allotted, unexplained)
    for breaker, reason in exceeded(figures, world.limits, world.capital.allotted).items():
        raise RefusedError(Code(breaker.value), reason)


def check_money(
    spec: OrderSpec, cost: Decimal, world: World, instrument: Instrument, snapshot: PortfolioSnapshot, fees: FeeTier
) -> None:
    """The allotted capital, then the wallet: balances only cap what the configuration allots."""
    used = exposure(snapshot, world.books, fees.taker_rate, marks_of(world))
    lost = min(ZERO, snapshot.pnl.realized_total)
    free = world.capital.allotted + lost - used.cost - used.pending_total
    if cost > free:
        raise RefusedError(Code.CAPITAL, f"{cost:.2f} needed, {free:.2f} free")
    cash = fresh(world.cash.get(instrument.quote), instrument.quote, world.now_boot_ns, world.limits.balance_max_age_s)
    if isinstance(cash, Unavailable):
        raise RefusedError(Code.BALANCE_UNAVAILABLE, f"{cash.what}: {cash.why}")
    bought = max(ZERO, cost_in(world, snapshot, instrument.quote) - cash.cost_then)
    left = cash.available - bought - _pending_in(used, world, instrument.quote)
    if cost > left:
        raise RefusedError(Code.BALANCE, f"{cost:.2f} {instrument.quote} needed, {left:.2f} left")


def check_exposure(
    spec: OrderSpec, cost: Decimal, world: World, instrument: Instrument, snapshot: PortfolioSnapshot, fees: FeeTier
) -> None:
    """Number of positions, then exposure of the symbol, of the base over its aliases, and of everything."""
    used = exposure(snapshot, world.books, fees.taker_rate, marks_of(world))
    taken = {position.symbol for position in snapshot.positions if counts(position)}
    taken |= {order.symbol for order in snapshot.open_orders if order.side is Side.BUY}
    taken |= {item.symbol for item in world.books.reservations.values() if item.side is Side.BUY}
    if spec.symbol not in taken and len(taken) >= world.limits.max_positions:
        raise RefusedError(Code.MAX_POSITIONS, ", ".join(sorted(taken)))
    aliases = [name for name in used.symbols if base_of(world, name) == instrument.base]
    for code, now, share in (
        (Code.POSITION_LIMIT, used.of([spec.symbol]), world.limits.max_position_pct),
        (Code.ASSET_LIMIT, used.of(aliases), world.limits.max_asset_pct),
        (Code.TOTAL_LIMIT, used.total, world.limits.max_total_pct),
    ):
        bound = world.capital.allotted * share / HUNDRED
        if now + cost > bound:
            raise RefusedError(code, f"{now:.2f} and {cost:.2f} more, limit {bound:.2f}")


def base_of(world: World, symbol: str) -> str:
    """The base asset of a symbol, configured or not."""
    instrument = world.instruments.get(symbol)
    return instrument.base if instrument else symbol.split("-")[0]


def quote_of(world: World, symbol: str) -> str:
    """The wallet a symbol spends, configured or not."""
    instrument = world.instruments.get(symbol)
    return instrument.quote if instrument else symbol.split("-")[-1]


def cost_in(world: World, snapshot: PortfolioSnapshot, currency: str) -> Decimal:
    """Cost of the positions bought with one wallet."""
    return sum(
        (
            position.quantity * position.average_cost
            for position in snapshot.positions
            if quote_of(world, position.symbol) == currency
        ),
        ZERO,
    )


def _pending_in(used: Exposure, world: World, currency: str) -> Decimal:
    return sum((amount for name, amount in used.pending.items() if quote_of(world, name) == currency), ZERO)


def triggered_limit(trigger: Decimal) -> Decimal:
    """The price down to which a triggered bracket sells."""
    return trigger * (1 - TRIGGER_GIVE)
