"""The daemon's actors with other ports: nothing but the way to sockets, threads and processes is replaced."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from typing import cast

from actors.admin.actor import AdminActor
from actors.admin.door import Visit
from actors.clock import Clock
from actors.feed.actor import EPOCHS_PER_INCARNATION, FeedActor
from actors.feed.outbox import ConnectionNote
from actors.gateway.actor import GatewayActor
from actors.gateway.dispatch import DoorPort
from actors.messages.control import OperatorVerb
from actors.messages.health import Lease
from actors.messages.market import ConnectionHealth, MarketUpdate, PublicTrade, Side, SymbolHealth, UserOrderEvent
from actors.strategist.actor import StrategistActor
from actors.strategist.process import Decision, StrategyProcess
from simulator.book import BUY, SELL
from simulator.orders import render_user_order
from simulator.values import Json
from supervision.virtual_time import VirtualProcess
from tests.campaign.door import MemoryDoor, WireWeather, Wrote
from tests.campaign.market import VenueInMemory
from tests.campaign.strategy import GreedyStrategy

RECENT = 100


class VirtualGateway(GatewayActor):
    """The gateway with a door to the venue in memory. ``heard``: told of each lease that reaches it; None at first."""

    def __init__(
        self,
        venue: VenueInMemory,
        weather: WireWeather,
        source: random.Random,
        wrote: Wrote,
        heard: Callable[[Lease | None], None],
    ) -> None:
        super().__init__()
        self._world = (venue, weather, source, wrote)
        self._heard = heard
        heard(None)

    def on_lease(self, message: Lease, sender: object) -> None:
        self._heard(message)
        super().on_lease(message, sender)

    def door_maker(self) -> Callable[[], DoorPort]:
        return lambda: MemoryDoor(*self._world)

    def close(self) -> None:
        """What the kernel does for the dead: the lock and the log are free."""
        if hasattr(self, "_lock"):
            self._lock.release()
        if hasattr(self, "_egress"):
            self._egress.close()


class StrategyInMemory:
    """``StrategyProcess`` without a process."""

    def __init__(self, strategy: GreedyStrategy) -> None:
        self.decide: Callable[[object], Decision] = strategy.decide  # type: ignore[assignment]

    def strike(self) -> None:
        """There is nothing to kill."""


class VirtualStrategist(StrategistActor):
    """The strategist with a strategy in memory."""

    def __init__(self, strategy: GreedyStrategy) -> None:
        super().__init__()
        self._strategy = strategy

    def make_process(self) -> StrategyProcess:
        return cast(StrategyProcess, StrategyInMemory(self._strategy))


class QuietVisit(Visit):
    """An operator who waits for no answer; ``ended`` holds the last one, ``ended_boot_ns`` when it came."""

    ended: Json | None = None
    ended_boot_ns: int | None = None

    def __init__(self, request: Json, clock: Clock) -> None:
        super().__init__(request)
        self._clock = clock

    def end(self, answer: object) -> None:
        self.ended = cast("Json", answer)
        self.ended_boot_ns = self._clock.boot_ns()


class VirtualAdmin(AdminActor):
    """The admin without its socket; operators come by ``receive``."""

    def started(self) -> None:
        """Nothing to open."""

    def receive(self, verb: OperatorVerb, **more: object) -> QuietVisit:
        request: Json = {"verb": str(verb), "reason": "campaign", "operator": "campaign", **more}
        visit = QuietVisit(request, self.clock)
        self.events.put(lambda: self._receive_visit(visit))
        return visit


class VirtualFeed(FeedActor):
    """The feed's whole mailbox; in the place of its thread the venue in memory hands over what a client would."""

    def __init__(self, venue: VenueInMemory, source: random.Random) -> None:
        super().__init__()
        self._venue = venue
        self._source = source
        self._live = {"market": False, "user": False}
        self._epochs = {"market": 0, "user": 0}
        self._reconnects = {"market": 0, "user": 0}
        self._reason = ""
        self._symbol_counts: dict[str, int] = {}
        self._seen_trades: dict[str, int] = {}

    def _open(self) -> None:
        first = self.incarnation * EPOCHS_PER_INCARNATION
        self._epochs = {"market": first, "user": first}
        self._venue.on_tick.append(self._tick_market)
        self._venue.user_events.append(self._user_event)
        for connection in self._live:
            self._reconnect(connection, "")

    def close(self) -> None:
        """The sockets close with the process."""
        if self._tick_market in self._venue.on_tick:
            self._venue.on_tick.remove(self._tick_market)
            self._venue.user_events.remove(self._user_event)

    def cut(self, connection: str) -> None:
        """The connection is lost; it comes back a little later."""
        if self._live[connection]:
            self._reconnect(connection, "cut")

    def _process(self) -> VirtualProcess:
        return cast(VirtualProcess, self._myRef)

    def _reconnect(self, connection: str, reason: str) -> None:
        self._live[connection] = False
        self._reason = reason
        if reason:
            self._reconnects[connection] += 1
            self._show_health()
            self._note(connection, "waiting", reason)
            if connection == "market":
                for product in self.settings.data_products:
                    self.outbox.offer_update(self._update(product, fresh=False))
        self._process().later(self._source.uniform(0.05, 1.5 if reason else 0.3), lambda: self._connected(connection))

    def _connected(self, connection: str) -> None:
        self._epochs[connection] += 1
        self._live[connection] = True
        self._reason = ""
        self._show_health()
        self._note(connection, "live", "")
        if connection == "market":
            self._tick_market()
        else:
            for order in self._venue.engine.orders.values():
                if not order.is_terminal:
                    self._user_event(render_user_order(order), snapshot=True)

    def _note(self, connection: str, state: str, reason: str) -> None:
        self.outbox.offer_note(
            ConnectionNote(connection, state, self._epochs[connection], reason, self.clock.boot_ns())
        )

    def _show_health(self) -> None:
        now = self.clock.boot_ns()
        self.outbox.connections = tuple(
            ConnectionHealth(
                name, self._epochs[name], "live" if live else "waiting", self._symbol_counts.get("", 0), 0,
                self._reconnects[name], self._reason, now if live else 0, now if live else 0,
            )
            for name, live in self._live.items()
        )  # fmt: skip
        self.outbox.symbols = tuple(
            SymbolHealth(product, self._live["market"], now, self._symbol_counts.get(product, 0), 0, 0)
            for product in self.settings.data_products
        )

    def _tick_market(self) -> None:
        if not self._live["market"] or not self._process().alive:
            return
        self._symbol_counts[""] = self._symbol_counts.get("", 0) + 1
        for product in self.settings.data_products:
            self._symbol_counts[product] = self._symbol_counts.get(product, 0) + 1
            self.outbox.offer_update(self._update(product, fresh=True))
        self._show_health()

    def _update(self, product: str, *, fresh: bool) -> MarketUpdate:
        book = self._venue.engine.books[product]
        utc, boot = self.clock.utc_ns(), self.clock.boot_ns()
        bids = tuple((level.price, level.size) for level in list(book.levels(BUY))[:20]) if fresh else ()
        asks = tuple((level.price, level.size) for level in list(book.levels(SELL))[:20]) if fresh else ()
        trades = self._new_trades(product) if fresh else ()
        return MarketUpdate(
            symbol=product,
            connection_epoch=self._epochs["market"],
            fresh=fresh,
            bids=bids,
            asks=asks,
            last_price=book.last_price,
            trades=trades,
            exchange_utc_ns=utc,
            received_boot_ns=boot,
            heartbeat_utc_ns=utc if fresh else 0,
            heartbeat_boot_ns=boot if fresh else 0,
            trades_until_utc_ns=utc if fresh else 0,
            correlation_id=f"t-{self._epochs['market']}-{product}-{self._symbol_counts.get(product, 0)}",
        )

    def _new_trades(self, product: str) -> tuple[PublicTrade, ...]:
        tape = self._venue.venue.tapes[product]
        seen = self._seen_trades.get(product, tape.next_trade_id - 2)
        self._seen_trades[product] = tape.next_trade_id - 1
        found = [trade for trade in list(tape.trades)[-RECENT:] if trade.trade_id > seen]
        return tuple(
            PublicTrade(one.trade_id, one.price, one.size, Side(one.side), one.time_ns) for one in found
        )

    def _user_event(self, order: Json, snapshot: bool = False) -> None:
        if not self._live["user"] or not self._process().alive:
            return
        if not snapshot and self._source.random() < self.user_missing:
            return
        event = UserOrderEvent(
            order_id=str(order["order_id"]),
            client_order_id=str(order["client_order_id"]),
            product_id=str(order["product_id"]),
            side=str(order["order_side"]),
            status=str(order["status"]),
            cumulative_quantity=Decimal(str(order["cumulative_quantity"])),
            filled_value=Decimal(str(order["filled_value"])),
            total_fees=Decimal(str(order["total_fees"])),
            cancel_reason=str(order["cancel_reason"]),
            reject_reason=str(order["reject_reason"]),
            trigger_status=str(order["trigger_status"]),
            received_boot_ns=self.clock.boot_ns(),
            snapshot=snapshot,
        )
        late_s = self._source.uniform(0.001, 0.02) if self._source.random() > self.user_missing else 1.0
        self._process().later(late_s, lambda: self.outbox.offer_order(event))

    user_missing: float = 0.0
    """Share of the user channel's events that never come (and as many come a second late)."""
