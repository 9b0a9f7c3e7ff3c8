"""The reconciler's books of wallets: what must be in them, what nobody has explained; durable before it is told."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from actors.actor import TradingActor
from actors.clock import NS_PER_S
from actors.messages.health import Alert, Severity
from actors.messages.reconcile import LedgerFacts, OpenFlow
from actors.reconciler import money
from actors.reconciler.compare import Found
from actors.reconciler.store import MoneyStore, MoneyStoreError

MONEY_FILE = "money.db"
KEPT_ANEW_NS = 300 * NS_PER_S
"""A baseline in which nothing moved is written again after this long: listings reach back to it."""


class ReconcilerWallets(TradingActor):
    """Owner of ``money.db``."""

    def __init__(self) -> None:
        super().__init__()
        self.store: MoneyStore | None = None
        self.store_error = ""
        self.baseline: money.Baseline | None = None
        self.flows: tuple[OpenFlow, ...] = ()
        self.acknowledged: frozenset[str] = frozenset()
        self._kept: money.Baseline | None = None
        self._rests: dict[str, money.Rest] = {}
        self._blank: tuple[Found, ...] = ()

    def open_store(self) -> str:
        """Open it unless it is open; returns why it cannot be used, or nothing."""
        if self.store is not None:
            return ""
        store: MoneyStore | None = None
        try:
            store = MoneyStore(self.settings.store_dir / MONEY_FILE)
            self.baseline = self._kept = store.baseline()
            self.flows, self.acknowledged = store.open_flows(), store.acknowledged()
        except MoneyStoreError as error:
            if store is not None:
                store.close()
            self._store_failed(error)
        else:
            self.store, self.store_error = store, ""
        return self.store_error

    def _store_failed(self, error: MoneyStoreError) -> None:
        if str(error) != self.store_error:
            self.log.error("money_store", error=str(error))
            text = f"Balances are not judged, entries stay stopped: {error}"
            self.tell("alerts", Alert(Severity.PAGE, "money_store", text, self.name))
        self.store_error = str(error)

    @property
    def doubt(self) -> tuple[str, ...]:
        """Wallets whose newest reading does not add up."""
        return (*sorted(self._rests), *(f"{one.kind.value} {one.key}" for one in self._blank))

    # --- one reading -----------------------------------------------------------------------------------

    def take_money(self, reading: money.Reading, ledger: LedgerFacts, apart_ns: int) -> tuple[tuple[Found, ...], str]:
        """Judge and keep one reading; (differences, why it could not be kept). Nothing is told before it is kept."""
        checked = money.check(
            self.baseline,
            self._rests,
            reading,
            self._prices(ledger),
            ledger,
            tolerance=self.settings.reconciler.balance_tolerance,
            apart_ns=apart_ns,
        )
        self._blank = checked.blank
        if checked.blank or checked.baseline is None:
            return checked.blank, ""
        assert self.store is not None
        try:
            if checked.flows or self._is_news(checked.baseline):
                self.store.keep(checked.baseline, checked.flows, self.clock.utc_ns())
                self._kept = checked.baseline
            if checked.flows:
                self.flows = self.store.open_flows()
        except MoneyStoreError as error:
            # What was seen stays in doubt, and the next reading finds it again.
            self._rests |= {name: rest for name, rest in checked.rests.items() if name not in self._rests}
            self._store_failed(error)
            return (), str(error)
        self.store_error = ""
        self.baseline, self._rests = checked.baseline, dict(checked.rests)
        if checked.flows:
            self.say_flows(self.flows[-len(checked.flows) :])
        return (), ""

    def _prices(self, ledger: LedgerFacts) -> dict[str, Decimal]:
        prices = {position.base: position.average_cost for position in ledger.positions if position.average_cost > 0}
        return prices | {item.quote: Decimal(1) for item in self.settings.instruments}

    def _is_news(self, baseline: money.Baseline) -> bool:
        kept = self._kept
        return (
            kept is None
            or kept.totals != baseline.totals
            or not baseline.fills <= kept.fills
            or baseline.read_utc_ns - kept.read_utc_ns >= KEPT_ANEW_NS
        )

    def begin_from(self, baseline: money.Baseline) -> None:
        """An operator accepted it, and it is kept."""
        assert self.store is not None
        self.baseline = self._kept = baseline
        self._rests, self._blank = {}, ()
        self.flows, self.acknowledged = self.store.open_flows(), self.store.acknowledged()

    def say_flows(self, flows: Iterable[OpenFlow]) -> None:
        """Page for each; a flow that is still open after a restart is told again."""
        for flow in flows:
            self.log.error("unexplained_flow", flow=flow.flow_id, currency=flow.currency, amount=str(flow.amount))
            self.meter.count("unexplained_flows_total", currency=flow.currency)
            lost = " and counts as loss" if flow.amount < 0 else ""
            text = f"No fill explains {flow.text}. It stops entries{lost} until `run.py flows accept --reason ...`"
            self.tell("alerts", Alert(Severity.PAGE, f"flow:{flow.flow_id}", text, self.name))
