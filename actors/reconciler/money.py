"""Does every change of a balance have its fill? Pure, and by the venue's own figures only.

A reading of balances and a reading of fills are two moments, so one that does not add up proves nothing: what two
readings agree on is a flow, open until an operator accepts it. What is expected moves by fills and flows alone,
never by what was read, so that small leaks add up instead of being forgotten one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal, localcontext

from actors.messages.orders import OrderState
from actors.messages.reconcile import LedgerFacts
from actors.messages.venue import VenueBalance, VenueFill
from actors.reconciler.compare import Found
from actors.reconciler.kinds import DifferenceKind

OVERLAP_NS = 60 * 1_000_000_000
"""Every listing reaches back at least this far before the reading ahead of it."""
ZERO = Decimal(0)
_EXACT = Context(prec=60)
_WORKING = frozenset({OrderState.OPEN, OrderState.PARTIALLY_FILLED, OrderState.PENDING_CANCEL})


@dataclass(frozen=True, slots=True)
class Baseline:
    """Totals (available + hold) by currency as they must be, and the fills in them."""

    totals: Mapping[str, Decimal]
    fills: frozenset[str]
    read_utc_ns: int


@dataclass(frozen=True, slots=True)
class Rest:
    """What one reading could not explain in one currency, and when that amount was first seen."""

    amount: Decimal
    since_boot_ns: int


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of the venue's wallets. ``held``: available + hold of the currencies traded; None without an
    account row."""

    held: Mapping[str, Decimal | None]
    fills: tuple[VenueFill, ...]
    read_utc_ns: int
    read_boot_ns: int
    nothing_at_all: bool
    """No wallet of the whole account holds anything."""


@dataclass(frozen=True, slots=True)
class NewFlow:
    """Two readings agreed on it."""

    currency: str
    amount: Decimal
    expected: Decimal
    held: Decimal


@dataclass(frozen=True, slots=True)
class MoneyCheck:
    """``baseline``: what is expected from here on. ``rests``: what only one reading has shown so far. ``blank``:
    the answer shows no money where there must be some; it was not used."""

    baseline: Baseline | None
    rests: Mapping[str, Rest] = field(default_factory=dict)
    flows: tuple[NewFlow, ...] = ()
    blank: tuple[Found, ...] = ()


def take_reading(
    balances: Iterable[VenueBalance],
    currencies: Iterable[str],
    fills: tuple[VenueFill, ...],
    read_utc_ns: int,
    read_boot_ns: int,
) -> Reading:
    """Keep of the venue's answers what concerns ``currencies``."""
    rows = {balance.currency: balance.available + balance.hold for balance in balances}
    held = {currency: rows.get(currency) for currency in currencies}
    return Reading(held, fills, read_utc_ns, read_boot_ns, not any(rows.values()))


def flows(fills: Iterable[VenueFill]) -> dict[str, Decimal]:
    """What fills did to each wallet: base and quote, commission in quote."""
    moved: dict[str, Decimal] = {}
    with localcontext(_EXACT):
        for fill in fills:
            base, _, quote = fill.product_id.partition("-")
            size = fill.size / fill.price if fill.size_in_quote and fill.price else fill.size
            value = fill.size if fill.size_in_quote else fill.size * fill.price
            sign = 1 if fill.side == "BUY" else -1
            if fill.trade_type == "REVERSAL":
                sign = -sign
            moved[base] = moved.get(base, ZERO) + sign * size
            moved[quote] = moved.get(quote, ZERO) - sign * value - fill.commission
    return moved


def expected_now(baseline: Baseline, reading: Reading) -> dict[str, Decimal]:
    """What each wallet must hold: the baseline and every fill since."""
    # Fills from before the baseline are in it, whether its listing reached back to them or not.
    oldest = baseline.read_utc_ns - OVERLAP_NS
    new = (f for f in reading.fills if f.entry_id not in baseline.fills and f.trade_utc_ns >= oldest)
    moved = flows(new)
    with localcontext(_EXACT):
        return {name: total + moved.get(name, ZERO) for name, total in baseline.totals.items()}


def begin(reading: Reading) -> Baseline:
    """Take what is held now for what must be; a currency without an account row holds nothing yet (Coinbase docs)."""
    seen = frozenset(fill.entry_id for fill in reading.fills)
    return Baseline({name: total or ZERO for name, total in reading.held.items()}, seen, reading.read_utc_ns)


def check(
    baseline: Baseline | None,
    rests: Mapping[str, Rest],
    reading: Reading,
    prices: Mapping[str, Decimal],
    ledger: LedgerFacts,
    *,
    tolerance: Decimal,
    apart_ns: int,
) -> MoneyCheck:
    """Compare one reading with what must be.

    ``prices``: quote currency per unit; of a currency without a price no change at all is tolerated. ``apart_ns``:
    two readings closer than this count as one, for a fill may be listed later than its money moves.
    """
    expected = {} if baseline is None else expected_now(baseline, reading)
    blank = find_blank(expected, reading, prices, ledger, tolerance)
    if blank:
        return MoneyCheck(baseline, blank=blank)
    if baseline is None:
        lost = (Found(DifferenceKind.BASELINE_LOST, "*", "none", "orders were sent before"),) if ledger.head else ()
        return MoneyCheck(None if lost else begin(reading), blank=lost)
    new: list[NewFlow] = []
    open_rests: dict[str, Rest] = {}
    for currency, total in reading.held.items():
        if currency not in expected:
            expected[currency] = total or ZERO  # traded from now on
            continue
        rest = (total or ZERO) - expected[currency]
        if not rest or (currency in prices and abs(rest) * prices[currency] <= tolerance):
            continue
        seen = rests.get(currency)
        if seen is None or seen.amount != rest:
            open_rests[currency] = Rest(rest, reading.read_boot_ns)
        elif reading.read_boot_ns - seen.since_boot_ns < apart_ns:
            open_rests[currency] = seen
        else:
            new.append(NewFlow(currency, rest, expected[currency], total or ZERO))
    return MoneyCheck(_move_on(baseline, expected, new, open_rests, reading), open_rests, tuple(new))


def _move_on(
    baseline: Baseline,
    expected: Mapping[str, Decimal],
    new: Iterable[NewFlow],
    open_rests: Mapping[str, Rest],
    reading: Reading,
) -> Baseline:
    """What is expected next time. While anything is in doubt the fills stay outside: the listing may be behind."""
    opened = {flow.currency: flow.amount for flow in new}
    if open_rests:
        if not opened:
            return baseline
        totals = {name: total + opened.get(name, ZERO) for name, total in baseline.totals.items()}
        return Baseline(totals, baseline.fills, baseline.read_utc_ns)
    totals = {name: total + opened.get(name, ZERO) for name, total in expected.items()}
    return Baseline(totals, frozenset(fill.entry_id for fill in reading.fills), reading.read_utc_ns)


def find_blank(
    expected: Mapping[str, Decimal],
    reading: Reading,
    prices: Mapping[str, Decimal],
    ledger: LedgerFacts,
    tolerance: Decimal,
) -> tuple[Found, ...]:
    """Zeros, or no account, where money must be: the venue has answered so for hours (2024-02-28). No answer of this
    kind says that the money is gone; nothing is booked, sold or resized by it."""
    matters = {name for name, total in expected.items() if name not in prices or abs(total) * prices[name] > tolerance}
    owed = {name for name in matters if expected[name] > 0}
    if reading.nothing_at_all:
        holding = any(position.quantity > 0 for position in ledger.positions)
        working = any(order.state in _WORKING for order in ledger.orders)
        if owed or holding or working:
            told = ", ".join(f"{expected[name]} {name}" for name in sorted(owed)) or "positions or open orders"
            return (Found(DifferenceKind.ZERO_BALANCES, "*", told, "every account shows zero"),)
        return ()
    return tuple(
        Found(DifferenceKind.ZERO_BALANCES, name, f"{expected[name]} {name}", "no such account in the answer")
        for name in sorted(owed)
        if name in reading.held and reading.held[name] is None
    )
