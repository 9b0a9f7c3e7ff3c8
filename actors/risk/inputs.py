"""What the gate judges by: every input with its age, and the typed absence of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Generic, TypeVar

from actors.clock import NS_PER_S
from actors.messages.books import PortfolioSnapshot
from actors.messages.health import Lease
from actors.messages.market import GuardedQuote, Instrument, ProductRules
from actors.messages.reconcile import OpenFlow
from actors.messages.venue import FeeTier
from actors.risk.books import Books
from actors.risk.locks import Locks
from actors.risk.losses import LossState
from config.sections.risk import CapitalSettings, RiskSettings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unavailable:
    """An input that is missing or too old. It is never replaced by a default."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Dated(Generic[T]):
    """A value as of a boot-clock moment."""

    value: T
    as_of_boot_ns: int


def fresh(dated: Dated[T] | None, what: str, now_boot_ns: int, max_age_s: float) -> T | Unavailable:
    """The value, if it is not older than ``max_age_s``."""
    if dated is None:
        return Unavailable(what, "never read")
    age_s = (now_boot_ns - dated.as_of_boot_ns) / NS_PER_S
    if age_s > max_age_s:
        return Unavailable(what, f"{age_s:.1f} s old, at most {max_age_s:g} s")
    return dated.value


@dataclass(frozen=True, slots=True)
class Cash:
    """The available amount of one wallet that two reads agreed on.

    ``cost_then``: cost of all positions in this currency when the first of the two was asked; what was
    bought since is taken off.
    """

    available: Decimal
    cost_then: Decimal


@dataclass(frozen=True, slots=True)
class World:
    """Everything a judgement may look at. Quotes are by data product, rules by order product, cash by currency."""

    limits: RiskSettings
    capital: CapitalSettings
    instruments: Mapping[str, Instrument]
    entry_life_s: float
    lease: Lease | None
    snapshot: PortfolioSnapshot | None
    quotes: Mapping[str, GuardedQuote]
    marks: Mapping[str, Dated[Decimal]]
    """Newest accepted bid by data product, kept when the guard has none at the moment."""
    rules: Mapping[str, Dated[ProductRules]]
    fees: Dated[FeeTier] | None
    cash: Mapping[str, Dated[Cash]]
    books: Books
    locks: Locks
    losses: LossState | None
    store_error: str
    strategist_incarnation: int
    now_boot_ns: int
    now_utc_ns: int
    flows: tuple[OpenFlow, ...] | None
    """Balance changes that no fill explains and nobody accepted; None: the reconciler has not said."""
    doubt: tuple[str, ...]
    """Wallets whose newest reading does not add up."""

    def mark(self, symbol: str) -> Decimal | Unavailable:
        """The bid that a position on ``symbol`` is valued at."""
        instrument = self.instruments.get(symbol)
        if instrument is None:
            return Unavailable(f"mark {symbol}", "not a configured instrument")
        dated = self.marks.get(instrument.data_product)
        return fresh(dated, f"mark {symbol}", self.now_boot_ns, self.limits.mark_max_age_s)
