"""Wallets: what is available, what is held, and how an order moves both."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from decimal import Decimal

from simulator.values import ZERO


class OverdrawnError(RuntimeError):
    """A booking would make a wallet negative: the engine's own arithmetic is wrong."""


@dataclass(slots=True)
class Wallet:
    """One currency of the portfolio; owned = available + hold."""

    currency: str
    available: Decimal = ZERO
    hold: Decimal = ZERO


class Wallets:
    """All wallets of the portfolio, and which of them changed since they were last taken."""

    def __init__(self, portfolio_id: str) -> None:
        self.portfolio_id = portfolio_id
        self._wallets: dict[str, Wallet] = {}
        self._changed: set[str] = set()

    def __getitem__(self, currency: str) -> Wallet:
        if currency not in self._wallets:
            self._wallets[currency] = Wallet(currency)
        return self._wallets[currency]

    def open(self, *currencies: str) -> None:
        """Have a wallet of each currency, empty if it was never used."""
        for currency in currencies:
            self._wallets.setdefault(currency, Wallet(currency))

    def rows(self) -> list[Wallet]:
        """List the wallets by currency."""
        return [self._wallets[currency] for currency in sorted(self._wallets)]

    def account_id(self, currency: str) -> str:
        """Name a wallet's account; the same currency always has the same one."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.portfolio_id}/{currency}"))

    def set_available(self, currency: str, available: Decimal) -> None:
        """Set what is available, as a deposit or withdrawal would."""
        self[currency].available = available
        self._changed.add(currency)

    def move_hold(self, currency: str, change: Decimal) -> None:
        """Put `change` more on hold (less, if negative); raises OverdrawnError."""
        wallet = self[currency]
        if wallet.available < change or wallet.hold + change < 0:
            raise OverdrawnError(f"{currency}: hold {change:+} of {wallet}")
        wallet.available -= change
        wallet.hold += change
        self._changed.add(currency)

    def add(self, currency: str, change: Decimal) -> None:
        """Add to what is available; raises OverdrawnError when that would be negative."""
        wallet = self[currency]
        if wallet.available + change < 0:
            raise OverdrawnError(f"{currency}: {change:+} of {wallet}")
        wallet.available += change
        self._changed.add(currency)

    def restore(self, currency: str, available: Decimal, hold: Decimal) -> None:
        """Put a stored wallet back; it does not count as changed."""
        self._wallets[currency] = Wallet(currency, available, hold)

    def take_changed(self) -> list[Wallet]:
        """Return the wallets that changed since the last call."""
        changed = [self._wallets[currency] for currency in sorted(self._changed)]
        self._changed.clear()
        return changed
