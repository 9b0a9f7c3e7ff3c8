"""A tracker on a ledger in a folder, its venue, and what the other actors would say to it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from actors.clock import MovedClock
from actors.messages.base import Stamp
from actors.messages.books import PortfolioSnapshot, Position
from actors.messages.health import Lease, TradingState
from actors.messages.market import GuardedQuote, Side
from actors.messages.orders import Approval, OrderKind, OrderSpec, Role
from actors.orders import verification
from actors.orders.actor import TrackerActor
from tests.actors.harness import ActorHarness, test_settings
from tests.actors.orders.venue import Venue, seconds

PEERS = ("gateway", "risk", "strategist", "admin", "metrics", "reconciler", "watchdog", "alerts")


class Desk:
    """``restart()`` is kill -9 and a new incarnation over the same ledger; the venue lives on."""

    def __init__(self, folder: Path, **orders: object) -> None:
        self.settings = test_settings(folder, orders=orders)
        self.clock = MovedClock()
        self.incarnation = 0
        self.epoch = 1
        self.lease_sequence = 0
        self.state = TradingState.RUN
        self.released_by = ""
        self.proposals = 0
        self.harness = self._make()
        self.venue = Venue(self.harness)
        self.harness.start()
        self.lease()
        self.quote("BTC-USD")
        self.settle()

    @property
    def tracker(self) -> TrackerActor:
        assert isinstance(self.harness.actor, TrackerActor)
        return self.harness.actor

    def _make(self, gateway: int = 1) -> ActorHarness:
        self.incarnation += 1
        harness = ActorHarness(
            TrackerActor, settings=self.settings, peers=PEERS, name="tracker", incarnation=self.incarnation,
            epoch=self.epoch, clock=self.clock,
        )  # fmt: skip
        if gateway != 1:
            harness.peers["gateway"] = replace(harness.peers["gateway"], incarnation=gateway)
            harness._initialize = replace(harness._initialize, peers=tuple(harness.peers.values()))
        return harness

    def kill(self) -> None:
        """The tracker's process is gone; what it had sent and nobody took is gone too."""
        ledger = self.tracker.ledger
        if not self.tracker.unusable:
            verification.verify(ledger._db, whole=True)  # whatever happened, the books follow from their events
        ledger.close()

    def restart(self, *, new_daemon: bool = False) -> None:
        self.kill()
        if new_daemon:
            self.epoch += 1
        self.restart_only()

    def restart_only(self) -> None:
        """A new incarnation after ``kill``."""
        self.harness = self._make(self.venue.gateway)
        self.harness.start()
        self.lease()

    def lease(self, state: TradingState | None = None) -> None:
        self.state = state or self.state
        self.lease_sequence += 1
        now = self.clock.boot_ns()
        self.harness.deliver(Lease(self.epoch, 1, self.lease_sequence, now, self.state, (), (), self.released_by))

    def quote(self, symbol: str, bid: str | None = None) -> None:
        if bid is not None:
            self.venue.bids[symbol] = Decimal(bid)
        quote = self.venue.quote(symbol)
        self.harness.deliver(GuardedQuote(symbol, quote, (), quote.bid, Decimal(10), (), (), 1))

    def settle(self) -> None:
        self.venue.answer(self.harness)

    def pass_time(self, total_s: float, step_s: float = 0.25) -> None:
        """Time passes with leases, quotes and an answering venue."""
        for _ in range(round(total_s / step_s)):
            self.lease()
            self.quote("BTC-USD")
            self.harness.advance(step_s)
            self.settle()

    def pass_in_silence(self, total_s: float, step_s: float = 0.25) -> None:
        """Time passes without the stream: prices are read over REST."""
        for _ in range(round(total_s / step_s)):
            self.lease()
            self.harness.advance(step_s)
            self.settle()

    def approval(self, size: str = "1", **changes: object) -> Approval:
        self.proposals += 1
        now = self.clock.boot_ns()
        spec = OrderSpec(
            "BTC-USD", Side.BUY, Role.ENTRY, OrderKind.LIMIT_IOC, Decimal(size), Decimal("100.00"),
            plan_stop=Decimal("95.00"), plan_target=Decimal("110.00"),
        )  # fmt: skip
        names = set(OrderSpec.__dataclass_fields__)
        spec = replace(spec, **{k: v for k, v in changes.items() if k in names})  # type: ignore[arg-type]
        made = Approval(
            f"p-{self.proposals}", f"c-{self.proposals}", "demo", spec, Decimal(100), self.venue.quote("BTC-USD"), (),
            now, now, now, now + seconds(2), Stamp("risk", 1),
        )  # fmt: skip
        return replace(made, **{k: v for k, v in changes.items() if k not in names})  # type: ignore[arg-type]

    def exit_approval(self, size: str = "1", limit: str = "99.00") -> Approval:
        return self.approval(
            size, side=Side.SELL, role=Role.EXIT, limit_price=Decimal(limit), plan_stop=None, plan_target=None
        )

    def approve(self, size: str = "1", **changes: object) -> None:
        self.harness.deliver(self.approval(size, **changes))

    def buy(self, size: str = "1", **changes: object) -> None:
        """An entry that fills, and its protection."""
        self.approve(size, **changes)
        self.settle()

    def sent(self, name: str, kind: type) -> list[object]:
        return [message for message in self.harness.sent[name] if isinstance(message, kind)]

    def snapshot(self) -> PortfolioSnapshot:
        return self.tracker.snapshot()

    def position(self, symbol: str = "BTC-USD") -> Position | None:
        self.tracker.judge(symbol)
        return next((one for one in self.snapshot().positions if one.symbol == symbol), None)

    def states(self) -> list[str]:
        return [f"{one.role.value} {one.state.value}" for one in self.tracker.ledger.orders_since(0)]
