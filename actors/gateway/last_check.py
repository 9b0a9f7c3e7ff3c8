"""The last question before the first byte of an order: may this leave now? Pure.

It judges by side, not by label: a BUY is an entry, a SELL is limited to what is proven to be owned.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.clock import NS_PER_S
from actors.messages.health import Lease, TradingState
from actors.messages.market import Quote, Side
from actors.messages.orders import Role, SubmitOrder

FLATTEN = "flatten:"
"""Correlation ids of an operator's flatten begin so."""
_CLOCK_SLACK_NS = 50_000_000


@dataclass(frozen=True, slots=True)
class Grounds:
    """Everything that is known in the moment before the first byte."""

    now_boot_ns: int
    epoch: int
    lease: Lease | None
    lease_max_age_s: float
    quote_max_age_s: float
    kill_latched: bool
    lock_held: bool
    key_may_trade: bool
    data_product: str


def refusal(command: SubmitOrder, grounds: Grounds) -> str | None:
    """The code of the first reason not to send this order, or None."""
    if not grounds.lock_held:
        return "lock_lost"
    if command.expires_boot_ns and grounds.now_boot_ns > command.expires_boot_ns:
        return "expired"
    if command.intent.side is Side.BUY:
        return _refuse_buy(command, grounds)
    return _refuse_sell(command, grounds)


def _refuse_buy(command: SubmitOrder, grounds: Grounds) -> str | None:
    if not command.expires_boot_ns:
        return "no_expiry"
    if grounds.kill_latched:
        return "killed"
    if not grounds.key_may_trade:
        return "key_not_checked"
    state = _leased_state(command.intent.symbol, grounds)
    if state is None:
        return "lease_stale"
    if state is not TradingState.RUN:
        return f"state_{state.value.lower()}"
    return _refuse_quote(command.quote, grounds)


def _refuse_sell(command: SubmitOrder, grounds: Grounds) -> str | None:
    if command.owned is None:
        return "owned_not_proven"
    if command.intent.base_size > command.owned:
        return "more_than_owned"
    # Without a lease nobody says that trading is allowed: only what reduces risk stays possible.
    state = _leased_state(command.intent.symbol, grounds) or TradingState.HALTED
    if grounds.kill_latched:
        state = TradingState.KILLED
    reason = command.intent.correlation_id
    if command.intent.role is Role.PROTECTION or reason.startswith(FLATTEN) or state.rank < TradingState.HALTED.rank:
        return None
    return f"state_{state.value.lower()}"


def _leased_state(symbol: str, grounds: Grounds) -> TradingState | None:
    """The leased state of ``symbol``, or None when the lease is missing, old, from the future or not ours."""
    lease = grounds.lease
    if lease is None or lease.epoch != grounds.epoch:
        return None
    age_ns = grounds.now_boot_ns - lease.issued_boot_ns
    if not -_CLOCK_SLACK_NS <= age_ns <= grounds.lease_max_age_s * NS_PER_S:
        return None
    return lease.state_of(symbol)


def _refuse_quote(quote: Quote | None, grounds: Grounds) -> str | None:
    if quote is None:
        return "no_quote"
    if quote.symbol != grounds.data_product:
        return "quote_of_another_symbol"
    age_ns = grounds.now_boot_ns - quote.as_of_boot_ns
    if not -_CLOCK_SLACK_NS <= age_ns <= grounds.quote_max_age_s * NS_PER_S:
        return "quote_stale"
    return None
