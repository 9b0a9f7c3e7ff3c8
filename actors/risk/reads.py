"""What the risk manager reads from the venue, how often, and when it believes it.

A failed or missing answer changes nothing: the old value ages until it is unavailable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from actors.clock import NS_PER_S
from actors.messages.market import ProductRules, ProductsRead
from actors.messages.venue import FeeTier, QueryKind, VenueAnswer, VenueBalance
from actors.risk.inputs import Cash, Dated
from config.sections.risk import RiskSettings

ANSWER_DEADLINE_S = 10.0
"""An answer later than this is asked for again."""
DISAGREED_RETRY_S = 2.0
MAX_TAKER_RATE = Decimal("0.1")
KINDS = (QueryKind.PRODUCTS, QueryKind.FEES, QueryKind.BALANCES)


@dataclass(frozen=True, slots=True)
class Asked:
    """One question on its way. ``cost_then``: cost of the positions by currency at that moment."""

    request_id: str
    at_boot_ns: int
    cost_then: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class _BalanceRead:
    request_id: str
    available: Decimal
    hold: Decimal
    cost_then: Decimal


@dataclass(slots=True)
class Reads:
    """The values read from the venue, each with its age."""

    limits: RiskSettings
    rules: dict[str, Dated[ProductRules]] = field(default_factory=dict)
    fees: Dated[FeeTier] | None = None
    cash: dict[str, Dated[Cash]] = field(default_factory=dict)
    _asked: dict[QueryKind, Asked] = field(default_factory=dict)
    _next_boot_ns: dict[QueryKind, int] = field(default_factory=dict)
    _last_balance: dict[str, _BalanceRead] = field(default_factory=dict)

    def due(self, now_boot_ns: int) -> tuple[QueryKind, ...]:
        """What is to be asked now: nothing on its way, and its refresh time has come."""
        ripe = []
        for kind in KINDS:
            asked = self._asked.get(kind)
            waiting = asked is not None and now_boot_ns - asked.at_boot_ns < ANSWER_DEADLINE_S * NS_PER_S
            if not waiting and now_boot_ns >= self._next_boot_ns.get(kind, now_boot_ns):
                ripe.append(kind)
        return tuple(ripe)

    def ask(self, kind: QueryKind, asked: Asked) -> None:
        self._asked[kind] = asked

    def hear(self, answer: VenueAnswer, now_boot_ns: int) -> str:
        """Take in an answer to the newest question; returns why it was not believed, or nothing."""
        asked = self._asked.get(answer.kind)
        if asked is None or asked.request_id != answer.request_id:
            return ""  # an older question's answer: the newer one counts
        del self._asked[answer.kind]
        if not answer.ok:
            self._again(answer.kind, now_boot_ns, DISAGREED_RETRY_S)
            return answer.error or "not ok"
        if answer.kind is QueryKind.PRODUCTS:
            wrong = self._hear_rules(answer.rules, answer.asked_boot_ns)
        elif answer.kind is QueryKind.FEES:
            wrong = self._hear_fees(answer)
        else:
            wrong = self._hear_balances(answer, asked)
        refresh_s = {
            QueryKind.PRODUCTS: self.limits.rules_refresh_s,
            QueryKind.FEES: self.limits.fee_refresh_s,
            QueryKind.BALANCES: self.limits.balance_refresh_s,
        }[answer.kind]
        self._again(answer.kind, now_boot_ns, min(refresh_s, DISAGREED_RETRY_S) if wrong else refresh_s)
        return wrong

    def _again(self, kind: QueryKind, now_boot_ns: int, seconds: float) -> None:
        self._next_boot_ns[kind] = now_boot_ns + round(seconds * NS_PER_S)

    def hear_modes(self, read: ProductsRead, now_boot_ns: int) -> str:
        """Take in what the watchdog read; while it goes on reading, nothing is asked here."""
        wrong = self._hear_rules(read.rules, read.asked_boot_ns)
        if not wrong:
            self._again(QueryKind.PRODUCTS, now_boot_ns, self.limits.rules_refresh_s)
        return wrong

    def _hear_rules(self, found: Iterable[ProductRules], asked_boot_ns: int) -> str:
        wrong = []
        for rules in found:
            known = self.rules.get(rules.product_id)
            if not sane_rules(rules):
                wrong.append(rules.product_id)
            elif known is None or known.as_of_boot_ns <= asked_boot_ns:
                self.rules[rules.product_id] = Dated(rules, asked_boot_ns)
        return f"impossible rules of {', '.join(wrong)}" if wrong else ""

    def _hear_fees(self, answer: VenueAnswer) -> str:
        fees = answer.fees
        if fees is None:
            return "no fee tier in the answer"
        if not (fees.taker_rate.is_finite() and 0 <= fees.taker_rate <= MAX_TAKER_RATE):
            return f"impossible taker rate {fees.taker_rate}"
        self.fees = Dated(fees, answer.asked_boot_ns)
        return ""

    def _hear_balances(self, answer: VenueAnswer, asked: Asked) -> str:
        """A balance changes a limit only when two reads after one another agree on it."""
        doubtful = []
        for balance in answer.balances:
            cost_then = asked.cost_then.get(balance.currency)
            if cost_then is None:
                continue  # not a wallet we spend from
            last = self._last_balance.get(balance.currency)
            self._last_balance[balance.currency] = _BalanceRead(
                answer.request_id, balance.available, balance.hold, cost_then
            )
            if last is not None and _agrees(last, balance):
                cash = Cash(balance.available, min(last.cost_then, cost_then))
                self.cash[balance.currency] = Dated(cash, answer.asked_boot_ns)
            else:
                doubtful.append(balance.currency)
        return f"no second read agrees on {', '.join(doubtful)} yet" if doubtful else ""


def _agrees(last: _BalanceRead, balance: VenueBalance) -> bool:
    return balance.available.is_finite() and (last.available, last.hold) == (balance.available, balance.hold)


def sane_rules(rules: ProductRules) -> bool:
    """Whether one can compute with these rules."""
    numbers = (
        rules.base_increment,
        rules.price_increment,
        rules.base_max_size,
        rules.quote_max_size,
    )
    least = (rules.base_min_size, rules.quote_min_size)
    return all(n.is_finite() and n > 0 for n in numbers) and all(n.is_finite() and n >= 0 for n in least)
