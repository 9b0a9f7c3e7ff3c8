"""A risk manager under test with a tracker, a venue, guards and a watchdog that tell it what it needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from actors.clock import MovedClock
from actors.messages.books import PortfolioSnapshot
from actors.messages.health import TradingState
from actors.messages.market import GuardedQuote
from actors.messages.orders import Approval, Refusal
from actors.messages.reconcile import OpenFlow, ReconcileReport
from actors.messages.venue import FeeTier, QueryKind, VenueAnswer, VenueBalance, VenueQuery
from actors.risk.actor import RiskActor
from tests.actors.harness import ActorHarness, test_settings
from tests.actors.risk.factories import D, guarded, lease, proposal, rules, snapshot

PEERS = ("tracker", "strategist", "gateway", "watchdog", "admin", "metrics", "alerts")


class Desk:
    """A risk manager with its inputs kept fresh. ``restart`` is a new process over the same store."""

    def __init__(self, folder: Path, symbols: tuple[str, ...] = ("BTC-USD", "ETH-USD"), **risk: object) -> None:
        self.folder = folder
        self.symbols = symbols
        self.risk = {"cooldown_symbol_s": 0, **risk}
        self.clock = MovedClock()
        self.sequence = 0
        self.number = 0
        self.incarnation = 0
        self.book: dict[str, object] = {}
        self.usd = "5000"
        self.state = TradingState.RUN
        self.reasons: tuple[str, ...] = ()
        self.flows: tuple[OpenFlow, ...] = ()
        self.doubt: tuple[str, ...] = ()
        self.bids = {"BTC-USD": "100.00", "ETH-USD": "100.00"}
        self.restart()

    def restart(self) -> None:
        self.close()
        self.incarnation += 1
        self.harness = ActorHarness(
            RiskActor,
            settings=test_settings(
                self.folder,
                risk=self.risk,
                instruments=[{"symbol": name, "data": name.split("-")[0] + "-USD"} for name in self.symbols],
            ),
            peers=PEERS,
            name="risk",
            incarnation=self.incarnation,
            clock=self.clock,
        ).start()

    def close(self) -> None:
        if self.incarnation and self.actor.store is not None:
            self.actor.store.close()

    @property
    def actor(self) -> RiskActor:
        actor = self.harness.actor
        assert isinstance(actor, RiskActor)
        return actor

    def tick(self, seconds: float = 0.0, told: bool = True) -> None:
        """Let time pass in small steps, with lease, quotes, snapshot and venue answers arriving."""
        left = seconds
        while True:
            step = min(0.5, left)
            self.harness.advance(step)
            left -= step
            if told:
                self.inputs()
            self.answer()
            if left <= 0:
                return

    def inputs(self) -> None:
        now = self.clock.boot_ns()
        self.harness.deliver(lease(self.state, at=now, reasons=self.reasons))
        for symbol, bid in self.bids.items():
            self.harness.deliver(self.quote(symbol, bid, now))
        self.harness.deliver(self.snapshot())
        self.harness.deliver(ReconcileReport(True, True, (), "", now, 0, 0, self.flows, self.doubt))

    def quote(self, symbol: str, bid: str, now: int) -> GuardedQuote:
        return guarded(symbol, now, bid, str(D(bid) + D("0.02")))

    def snapshot(self, **values: object) -> PortfolioSnapshot:
        self.sequence += 1
        self.book.update(values)
        return snapshot(sequence=self.sequence, at_boot_ns=self.clock.boot_ns(), **self.book)

    def answer(self) -> None:
        """The venue answers everything that was asked."""
        for query in self.harness.take("gateway", VenueQuery):
            assert isinstance(query, VenueQuery)
            self.harness.deliver(self.answer_to(query))

    def answer_to(self, query: VenueQuery, **values: object) -> VenueAnswer:
        now = self.clock.boot_ns()
        base = VenueAnswer(query.request_id, query.kind, True, "", now, now, 0, 1)
        if query.kind is QueryKind.PRODUCTS:
            base = replace(base, rules=tuple(rules(name) for name in query.products))
        elif query.kind is QueryKind.FEES:
            base = replace(base, fees=FeeTier("entry", D("0.005"), D("0.009")))
        else:
            base = replace(base, balances=tuple(VenueBalance(name, D(self.usd), D(0)) for name in ("USD", "USDC")))
        return replace(base, **values)  # type: ignore[arg-type]

    def propose(self, **values: object) -> object:
        """Deliver a proposal; the Approval or the Refusal that came of it."""
        self.number += 1
        now = self.clock.boot_ns()
        base: dict[str, object] = {
            "proposal_id": f"n-{self.number}",
            "decided_boot_ns": now,
            "stop_price": D("98"),
            "target_price": D("104"),
        }
        self.harness.deliver(proposal(**{**base, **values}))
        return self.last()

    def last(self) -> object:
        found = self.harness.take("tracker", Approval) + self.harness.take("strategist", Refusal)
        assert len(found) == 1
        return found[0]
