"""What the gateway's tests share: settings against a running simulator, commands, and a pump for real threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from actors.actor import TradingActor
from actors.clock import NS_PER_S, SystemClock
from actors.gateway.actor import GatewayActor
from actors.messages.base import Stamp
from actors.messages.health import Lease, TradingState
from actors.messages.market import Quote, Side
from actors.messages.orders import CancelOrder, EditOrder, OrderIntent, OrderKind, Role, SubmitOrder, SubmitOutcome
from actors.messages.venue import QueryKind, VenueAnswer, VenueQuery
from actors.ports import Worker
from config.settings import Settings
from simulator.testing import SimulatorProcess
from tests.actors.harness import ActorHarness, test_settings

PEERS = ("tracker", "watchdog", "admin", "metrics", "alerts", "risk", "reconciler")
TRACKER = Stamp("tracker", 1)


def settings_for(venue: SimulatorProcess | None, data_dir: Path, *, mode: str = "demo", **gateway: object) -> Settings:
    where: dict[str, object] = {}
    if venue is not None:
        where = {"rest": venue.rest, "ca_file": venue.ca_file, "key_file": venue.key_file}
    settings = test_settings(data_dir, venue=where, gateway=gateway)
    return settings.model_copy(update={"mode": mode})


class LiveHarness(ActorHarness):
    """The harness with real threads and the system's clock: ``until`` pumps events and timers."""

    def __init__(self, settings: Settings, *, incarnation: int = 1) -> None:
        super().__init__(
            GatewayActor,
            settings=settings,
            peers=PEERS,
            name="gateway",
            clock=SystemClock(),
            incarnation=incarnation,  # type: ignore[arg-type]
        )
        self.actor.worker = lambda name: TradingActor.worker(self.actor, name)  # type: ignore[method-assign]

    def _worker(self, name: str) -> Worker:  # type: ignore[override]
        raise AssertionError("real workers are used")

    def pump(self) -> None:
        now = self.clock.boot_ns()
        if any(due <= now for due in self.wakeups):
            self.wakeups = [due for due in self.wakeups if due > now]
            self.actor._fire_timers()
        self.actor._drain_events()

    def until(self, condition: Callable[[], object], deadline_s: float = 10.0) -> None:
        end = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < end, f"not within {deadline_s} s; sent: {dict(self.sent)}"
            self.pump()
            time.sleep(0.002)

    def checked(self) -> LiveHarness:
        """Start, lease RUN, and wait for the key and clock checks."""
        self.start()
        self.lease()
        self.until(lambda: self.actor._key_checked and self.actor._clock is not None)  # type: ignore[attr-defined]
        return self

    def lease(self, state: TradingState = TradingState.RUN, age_s: float = 0.0) -> None:
        issued = self.clock.boot_ns() - round(age_s * NS_PER_S)
        self.actor._lease = None  # type: ignore[attr-defined]
        self.deliver(Lease(1, 1, 1, issued, state, (), ()))

    def submit(self, command: SubmitOrder) -> SubmitOutcome:
        """Deliver a command and wait for its outcome."""
        self.lease() if self.actor._lease is None else None  # type: ignore[attr-defined, func-returns-value]
        name = command.intent.client_order_id
        self.deliver(command)
        self.until(lambda: self.outcomes(name))
        return self.outcomes(name)[-1]

    def outcomes(self, name: str) -> list[SubmitOutcome]:
        return [m for m in self.sent["tracker"] if isinstance(m, SubmitOutcome) and m.client_order_id == name]

    def ask(self, kind: QueryKind, **fields: object) -> VenueAnswer:
        request_id = f"q{time.monotonic_ns()}"
        self.deliver(VenueQuery(request_id, kind, Stamp("risk", 1), **fields))  # type: ignore[arg-type]

        def answers() -> list[VenueAnswer]:
            return [m for m in self.sent["risk"] if isinstance(m, VenueAnswer) and m.request_id == request_id]

        self.until(answers, 20.0)
        return answers()[0]

    def close(self) -> None:
        """Let the threads finish what they are at, then free the lock."""
        lanes = self.actor._dispatcher.lanes if self.actor._ready else ()  # type: ignore[attr-defined]
        self.until(lambda: all(lane.idle for lane in lanes))
        self.actor._lock.release()  # type: ignore[attr-defined]


def quote(now_boot_ns: int, symbol: str = "BTC-USD", age_s: float = 0.0) -> Quote:
    as_of = now_boot_ns - round(age_s * NS_PER_S)
    return Quote(symbol, Decimal("60000"), Decimal("60010"), Decimal(1), Decimal(1), 0, as_of)


def intent(
    name: str = "td-a-1-e-1",
    *,
    side: Side = Side.BUY,
    role: Role = Role.ENTRY,
    kind: OrderKind = OrderKind.LIMIT_IOC,
    size: str = "0.001",
    limit: str = "60000",
    stop: str | None = None,
    end_utc_ns: int | None = None,
    correlation_id: str = "c",
    symbol: str = "BTC-USD",
) -> OrderIntent:
    stop_price = Decimal(stop) if stop is not None else None
    return OrderIntent(
        name, symbol, side, role, kind, Decimal(size), Decimal(limit), stop_price, end_utc_ns, correlation_id, 0
    )


def buy(
    now_boot_ns: int, name: str = "td-a-1-e-1", *, quote_age_s: float = 0.0, life_s: float = 5.0, **fields: str
) -> SubmitOrder:
    order = intent(name, **fields)  # type: ignore[arg-type]
    expires = now_boot_ns + round(life_s * NS_PER_S)
    return SubmitOrder(order, quote(now_boot_ns, age_s=quote_age_s), expires, None, TRACKER)


def sell(now_boot_ns: int, order: OrderIntent, owned: str | None = "1") -> SubmitOrder:
    expires = now_boot_ns + 30 * NS_PER_S
    return SubmitOrder(order, None, expires, Decimal(owned) if owned is not None else None, TRACKER)


def cancel(name: str, order_id: str) -> CancelOrder:
    return CancelOrder(name, order_id, "BTC-USD", "test", TRACKER)


def edit(name: str, order_id: str, size: str, limit: str, stop: str | None = None) -> EditOrder:
    return EditOrder(name, order_id, "BTC-USD", Decimal(size), Decimal(limit), Decimal(stop) if stop else None, TRACKER)
