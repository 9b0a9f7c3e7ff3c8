"""What the ledger keeps: one frozen record per order, fill and position."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from actors.messages.books import OpenOrder
from actors.messages.market import Side
from actors.messages.orders import OrderIntent, OrderState, OutcomeKind, Role
from actors.messages.reconcile import LedgerOrder
from actors.orders import machine
from actors.orders.machine import OrderFacts

ADOPTED = "adopted"
"""Stands in place of a correlation id: the order was taken in because an operator accepted what the venue shows."""


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """One order. ``boot_id`` and ``gateway_incarnation``: where the command went, for the egress proof."""

    intent: OrderIntent
    n: int
    epoch: int
    facts: OrderFacts
    changed_utc_ns: int
    proposal_id: str = ""
    boot_id: str = ""
    gateway_incarnation: int = 0
    plan_stop: Decimal | None = None
    plan_target: Decimal | None = None
    plan_max_hold_s: float | None = None
    reason: str = ""
    egress_id: str = ""
    """The egress log that was open when the command went out; no other one proves anything about it."""

    @property
    def id(self) -> str:
        return self.intent.client_order_id

    @property
    def symbol(self) -> str:
        return self.intent.symbol

    @property
    def side(self) -> Side:
        return self.intent.side

    @property
    def role(self) -> Role:
        return self.intent.role

    @property
    def state(self) -> OrderState:
        return machine.state_of(self.facts)

    @property
    def working(self) -> bool:
        return not self.state.terminal

    @property
    def sent(self) -> bool:
        """The command left the tracker and was not proven to have stayed in the gateway."""
        return self.facts.submitted and self.facts.outcome is not OutcomeKind.NOT_SENT

    def updated(self, facts: OrderFacts, now_utc_ns: int, reason: str | None = None) -> OrderRecord:
        return replace(self, facts=facts, changed_utc_ns=now_utc_ns, reason=self.reason if reason is None else reason)

    def as_open_order(self) -> OpenOrder:
        intent = self.intent
        return OpenOrder(
            client_order_id=self.id,
            order_id=self.facts.order_id,
            symbol=intent.symbol,
            side=intent.side,
            role=intent.role,
            kind=intent.kind,
            state=self.state,
            base_size=self.facts.size,
            filled_size=self.facts.filled,
            limit_price=intent.limit_price,
            stop_price=intent.stop_price,
            since_utc_ns=self.changed_utc_ns,
            created_utc_ns=intent.created_utc_ns,
        )

    def as_ledger_order(self) -> LedgerOrder:
        intent = self.intent
        return LedgerOrder(
            client_order_id=self.id,
            order_id=self.facts.order_id,
            symbol=intent.symbol,
            side=intent.side,
            role=intent.role,
            state=self.state,
            base_size=self.facts.size,
            filled_size=self.facts.filled,
            limit_price=intent.limit_price,
            stop_price=intent.stop_price,
            created_utc_ns=intent.created_utc_ns,
            changed_utc_ns=self.changed_utc_ns,
            sent=self.sent,
            vouched=(self.facts.absent and not self.facts.seen) or self.facts.gone,
        )


@dataclass(frozen=True, slots=True)
class FillRecord:
    """One booked fill, base and quote units."""

    entry_id: str
    trade_id: str
    order_id: str
    client_order_id: str
    symbol: str
    side: Side
    price: Decimal
    size: Decimal
    fee: Decimal
    trade_utc_ns: int

    @property
    def key(self) -> tuple[int, str]:
        """The order in which fills count: exchange time, then identity."""
        return self.trade_utc_ns, self.entry_id
