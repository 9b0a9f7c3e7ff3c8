"""What an operator may say of an order whose fate is not known, and what is taken for it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from actors.clock import NS_PER_S
from actors.messages.control import OperatorRequest
from actors.messages.market import ProductRules, Side
from actors.messages.orders import OrderKind, OrderState
from actors.orders import grid
from actors.orders.booking import Claim
from actors.orders.records import OrderRecord

ABSENT, FILLED = "absent", "filled"
_LIMITED = frozenset({OrderKind.LIMIT_IOC, OrderKind.LIMIT_GTD, OrderKind.STOP_LIMIT_GTC})
"""Kinds whose limit bounds the price they are filled at; a bracket is sold at its target or below its stop."""


class ResolveError(ValueError):
    """The operator's word cannot be taken; the text says why and what would do."""


def find(request: OperatorRequest, record: OrderRecord | None, open_fates: Sequence[OrderRecord]) -> OrderRecord:
    """The order to resolve; raises ResolveError for one that is not there or whose fate is known.

    ``open_fates``: orders that are UNKNOWN, and those that the venue had and does not find any more.
    """
    names = ", ".join(f"{one.id} ({one.side.value} {one.facts.size} {one.symbol})" for one in open_fates) or "none"
    names = f"UNKNOWN, or not found at the venue any more, are: {names}"
    if record is None:
        raise ResolveError(f"the ledger has no order {request.target}; {names}")
    if record.id not in {one.id for one in open_fates}:
        raise ResolveError(f"{record.id} is {record.state.value}, its fate is known; {names}")
    if record.state is not OrderState.UNKNOWN and request.argument("as") != ABSENT:
        raise ResolveError(f"{record.id} was at the venue: what was filled of it the venue lists; only --as absent")
    return record


def check_missing(record: OrderRecord) -> None:
    """Raises ResolveError for one of which fills are known that nobody lists: it is not over without them."""
    if record.facts.awaits_fills:
        told, booked = record.facts.venue_filled, record.facts.filled
        raise ResolveError(f"the venue has told of {told} filled of {record.id}, {booked} is booked")


def check_absent(record: OrderRecord, now_boot_ns: int, proof_begins_boot_ns: int) -> None:
    """Raises ResolveError while a request that was sent may still reach the venue, whatever anybody has seen."""
    wait_s = (proof_begins_boot_ns - now_boot_ns) / NS_PER_S
    if wait_s > 0:
        raise ResolveError(f"a request for {record.id} may still arrive at the venue; say it again in {wait_s:.0f} s")


def read_claim(
    request: OperatorRequest, record: OrderRecord, rules: ProductRules | None, owned: Decimal, assumed_fee_rate: Decimal
) -> Claim:
    """What is to be booked; what is not given is the worst that the order allowed. Raises ResolveError."""
    size = _amount(request, "size")
    size = record.facts.size if size is None else size
    price = _amount(request, "price")
    if price is None:
        if record.intent.kind not in _LIMITED:
            raise ResolveError(f"{record.id} has no single price: say --price")
        price = record.intent.limit_price
    fee = _amount(request, "fee")
    fee = size * price * assumed_fee_rate if fee is None else fee
    _check(record, Claim(size, price, fee), rules, owned)
    return Claim(size, price, fee)


def _check(record: OrderRecord, claim: Claim, rules: ProductRules | None, owned: Decimal) -> None:
    limit = record.intent.limit_price
    if not 0 < claim.size <= record.facts.size:
        raise ResolveError(f"size {claim.size}: {record.id} was for {record.facts.size}")
    if rules is not None and grid.floor_size(claim.size, rules) != claim.size:
        raise ResolveError(f"size {claim.size} is off the grid of {rules.base_increment}")
    if claim.price <= 0 or claim.fee < 0:
        raise ResolveError(f"price {claim.price} and fee {claim.fee} cannot be")
    if record.side is Side.BUY and claim.price > limit:
        raise ResolveError(f"price {claim.price}: {record.id} buys at {limit} or less")
    if record.side is Side.SELL and record.intent.kind in _LIMITED and claim.price < limit:
        raise ResolveError(f"price {claim.price}: {record.id} sells at {limit} or more")
    if record.side is Side.SELL and claim.size > owned:
        raise ResolveError(f"size {claim.size}: only {owned} {record.symbol} are owned")


def _amount(request: OperatorRequest, name: str) -> Decimal | None:
    text = request.argument(name)
    if not text:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ResolveError(f"{name} {text!r} is not a number") from None
    if not value.is_finite():
        raise ResolveError(f"{name} {text!r} is not a number")
    return value
