"""One ordeal of a harsh day: chains of events that no chance draw of single misfortunes brings about in 500 days."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING

from actors.clock import NS_PER_S
from actors.messages.control import OperatorVerb
from simulator.orders import BRACKET_KINDS
from simulator.values import floor_to

if TYPE_CHECKING:
    from tests.campaign.schedule import Schedule
    from tests.campaign.world import World

HARSH = 0.4
"""Share of days with an ordeal; drawn apart from everything else, so that the other days stay what they were."""
LONG_LIFE_S = 8
"""Of a JWT, on days on which requests travel long; 3 on others."""


class Ordeal(StrEnum):
    """What a harsh day is about."""

    LATE_CREATES = "late creates"
    TOUCHED_TARGET = "touched target"
    ONE_RESTS = "an entry rests beside its alias"
    OLD_LEASE = "old lease"
    FORGETFUL_WATCHDOG = "watchdog dies after a stop"
    SLOW_COMPARISON = "slow comparison after a new start"


def draw_ordeal(seed: int) -> Ordeal | None:
    """None on most days."""
    draw = random.Random(f"ordeal:{seed}")
    return draw.choice(tuple(Ordeal)) if draw.random() < HARSH else None


class Harshness:
    """Lets the day's ordeal happen."""

    def __init__(self, world: World, schedule: Schedule) -> None:
        self._world = world
        self._schedule = schedule
        self._random = random.Random(f"harsh:{world.seed}")

    def prepare(self) -> None:
        """Before the day begins."""
        happen: dict[Ordeal, Callable[[], None]] = {
            Ordeal.LATE_CREATES: self._late_creates,
            Ordeal.TOUCHED_TARGET: self._touched_targets,
            Ordeal.ONE_RESTS: self._one_rests,
            Ordeal.OLD_LEASE: self._old_lease,
            Ordeal.FORGETFUL_WATCHDOG: self._forgetful_watchdog,
            Ordeal.SLOW_COMPARISON: self._slow_comparison,
        }
        if self._world.ordeal is not None:
            happen[self._world.ordeal]()

    def _at(self, low_s: float, high_s: float, happen: Callable[[], None]) -> None:
        self._world.system.after(self._random.uniform(low_s, high_s), happen)

    def _late_creates(self) -> None:
        """Creates arrive when two listings could have been read since, and whoever sent them is dead."""
        self._world.wire.longest_way_s = LONG_LIFE_S - 0.5
        for _ in range(2):
            self._at(2.0, 8.0, self._schedule.await_late_arrival)

    def _touched_targets(self) -> None:
        """A trade takes a part of every target; what is left of those brackets has no stop any more."""
        for _ in range(3):
            self._at(5.0, 10.4, self._touch)

    def _touch(self) -> None:
        engine, now = self._world.venue.engine, self._world.venue.venue.now_ns()
        resting = [o for o in engine.orders.values() if o.kind in BRACKET_KINDS and not o.is_terminal]
        for order in resting:
            product = engine.products[order.book_id]
            part = floor_to(order.remaining * Decimal("0.3"), product.base_increment)
            if part > 0 and not order.filled_size:
                self._schedule.say(f"a trade takes {part} of the target of {order.client_order_id}")
                engine.on_trade(order.book_id, order.resting_price + product.price_increment, part, "SELL", now)
        self._world.venue.venue.advance()

    def _one_rests(self) -> None:
        """An entry waits below the market all day while the other symbol of its asset is bought."""
        self._world.strategy.patient = "BTC-USDC"

    def _old_lease(self) -> None:
        """The gateway's lease grows old while everybody else has a fresh one."""
        at_s = self._random.uniform(3.0, 4.0)
        self._world.system.after(at_s, lambda: self._hold(("watchdog", "gateway"), 5.0))
        self._wake_strategy_after(at_s + self._random.uniform(1.8, 2.8))

    def _wake_strategy_after(self, seconds: float) -> None:
        """It wants nothing before: positions that are full by then would keep it from what matters."""
        strategy = self._world.strategy
        strategy.resting = True
        self._world.system.after(seconds, lambda: setattr(strategy, "resting", False))

    def _hold(self, link: tuple[str, str], seconds: float) -> None:
        self._schedule.say(f"link: {link[0]} to {link[1]} stands still for {seconds:.2f} s")
        weather, system = self._world.weather, self._world.system
        weather.standing[link] = system.clock.boot_ns() + round(seconds * NS_PER_S)
        system.after(seconds, lambda: weather.standing.pop(link, None))

    def _forgetful_watchdog(self) -> None:
        """A stop is done, then the watchdog dies: the next one must know of it."""
        verb = self._random.choice((OperatorVerb.HALT, OperatorVerb.REDUCE))
        self._at(2.5, 3.5, lambda: self._schedule.ask(verb))
        self._at(4.2, 5.0, lambda: self._schedule.kill("watchdog"))
        self._wake_strategy_after(5.0)

    def _slow_comparison(self) -> None:
        """After a new start of the daemon everything is up long before the books are compared."""

        def happen() -> None:
            self._hold(("tracker", "reconciler"), 7.5)
            self._schedule.kill("root")

        self._at(2.0, 3.0, happen)
        self._wake_strategy_after(4.0)
