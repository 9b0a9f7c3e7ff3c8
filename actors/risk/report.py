"""The risk manager's report: what is used of the limits, and which inputs are missing."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

from actors.messages.books import ExposureLine, RiskReport
from actors.risk import limits, losses
from actors.risk.books import ZERO, Exposure, exposure
from actors.risk.inputs import Unavailable, World, fresh


def make_report(world: World) -> RiskReport:
    """Everything as of now; None where an input is missing."""
    missing = missing_inputs(world)
    used: Exposure | None = None
    unrealized: Decimal | None = None
    figures: losses.LossView | None = None
    unexplained = limits.unexplained_loss(world)
    snapshot = world.snapshot
    if snapshot is not None and snapshot.ready:
        if world.fees is not None:
            used = exposure(snapshot, world.books, world.fees.value.taker_rate, limits.marks_of(world))
        profit = limits.profit_now(world, snapshot)
        if not isinstance(profit, Unavailable):
            unrealized = profit - snapshot.pnl.realized_total
            if world.losses is not None:
                state = losses.advance(world.losses, profit, world.now_utc_ns)
                if not isinstance(unexplained, Unavailable):
                    figures = losses.view(state, world.capital.allotted, unexplained)
    return RiskReport(
        by_symbol=_by_symbol(used) if used else (),
        by_asset=_by_asset(used, world) if used else (),
        total_exposure=used.total if used else None,
        reserved=world.books.reserved(),
        unrealized=unrealized,
        equity=figures.equity if figures else None,
        high_water=figures.high_water if figures else None,
        drawdown_pct=figures.drawdown_pct if figures else None,
        loss_day=figures.loss_day if figures else None,
        loss_week=figures.loss_week if figures else None,
        cooldowns=world.locks.active(world.now_boot_ns),
        fees=world.fees.value if world.fees else None,
        unavailable=missing,
        unexplained=None if isinstance(unexplained, Unavailable) else unexplained,
    )


def _by_symbol(used: Exposure) -> tuple[ExposureLine, ...]:
    return tuple(ExposureLine(name, used.held.get(name, ZERO), used.pending.get(name, ZERO)) for name in used.symbols)


def _by_asset(used: Exposure, world: World) -> tuple[ExposureLine, ...]:
    held: dict[str, Decimal] = defaultdict(lambda: ZERO)
    pending: dict[str, Decimal] = defaultdict(lambda: ZERO)
    for name in used.symbols:
        base = limits.base_of(world, name)
        held[base] += used.held.get(name, ZERO)
        pending[base] += used.pending.get(name, ZERO)
    return tuple(ExposureLine(base, held[base], pending[base]) for base in sorted(held))


def missing_inputs(world: World) -> tuple[str, ...]:
    """The inputs that stop entries now, by name."""
    now, bounds = world.now_boot_ns, world.limits
    found: list[str] = []
    if world.store_error:
        found.append("state_store")
    if world.lease is None or now - world.lease.issued_boot_ns > bounds.lease_max_age_s * 1e9:
        found.append("lease")
    snapshot = world.snapshot
    if snapshot is None or not snapshot.ready or now - snapshot.at_boot_ns > bounds.snapshot_max_age_s * 1e9:
        found.append("snapshot")
    reads = [fresh(world.fees, "fees", now, bounds.fee_max_age_s)]
    found += [item.what for item in reads if isinstance(item, Unavailable)]
    for symbol, instrument in world.instruments.items():
        rules = fresh(world.rules.get(symbol), f"rules {symbol}", now, bounds.rules_max_age_s)
        cash = fresh(world.cash.get(instrument.quote), f"balance {instrument.quote}", now, bounds.balance_max_age_s)
        found += [item.what for item in (rules, cash) if isinstance(item, Unavailable)]
    if world.flows is None:
        found.append("flows")
    if snapshot is not None:
        for position in snapshot.positions:
            mark = world.mark(position.symbol)
            if position.quantity > 0 and isinstance(mark, Unavailable):
                found.append(mark.what)
    return tuple(dict.fromkeys(found))
