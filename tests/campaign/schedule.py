"""What befalls one seeded day: when, whom, and how. Everything is drawn from the seed before or as it happens."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.clock import NS_PER_S
from actors.messages.control import OperatorVerb
from actors.messages.health import Heartbeat, Initialize, Started
from actors.messages.market import Side
from actors.messages.orders import SubmitOrder
from supervision.virtual_time import VirtualProcess
from supervision.virtual_time_weather import FairWeather
from tests.campaign.harsh import Harshness
from tests.campaign.parts import QuietVisit, VirtualAdmin, VirtualFeed

if TYPE_CHECKING:
    from tests.campaign.world import World

STORM_S = 10.5
FIRST_S = 2.0
MOMENTS: tuple[tuple[str, str, str], ...] = (
    ("tracker", "before", "Approval"),
    ("tracker", "send", "SubmitOrder"),
    ("tracker", "before", "SubmitOutcome"),
    ("tracker", "send", "OutcomeTaken"),
    ("tracker", "after", "SubmitOutcome"),
    ("tracker", "send", "CancelOrder"),
    ("tracker", "before", "VenueAnswer"),
    ("tracker", "after", "VenueAnswer"),
    ("tracker", "before", "UserOrderEvent"),
    ("tracker", "send", "PortfolioSnapshot"),
    ("gateway", "before", "SubmitOrder"),
    ("gateway", "after", "SubmitOrder"),
    ("gateway", "before", "WatchMessage"),
    ("gateway", "send", "SubmitOutcome"),
    ("gateway", "after", "CancelOrder"),
    ("gateway", "before", "OutcomeTaken"),
    ("risk", "before", "Proposal"),
    ("risk", "send", "Approval"),
    ("risk", "before", "PortfolioSnapshot"),
    ("watchdog", "before", "OperatorCommand"),
    ("watchdog", "send", "StateChanged"),
    ("watchdog", "send", "Lease"),
    ("reconciler", "before", "LedgerFacts"),
    ("reconciler", "send", "VenueEvidence"),
    ("feed", "send", "UserOrderEvent"),
    ("strategist", "send", "Proposal"),
)
"""Where a death hurts most: actor, boundary, message."""
VICTIMS = (
    "tracker", "tracker", "tracker", "gateway", "gateway", "gateway", "risk", "risk", "reconciler", "feed",
    "guard.BTC-USD", "guard.ETH-USD", "strategist", "watchdog", "watchdog", "trading", "market", "root", "root",
    "alerts", "admin",
)  # fmt: skip
WIRE_FAULTS = (
    "connect_fails", "cut_before", "cut_after", "error_before", "error_after", "html", "slow", "slow_connect", "hang",
)  # fmt: skip
LINKS = (
    ("watchdog", "gateway"), ("watchdog", "gateway"), ("watchdog", "tracker"), ("watchdog", "risk"),
    ("risk", "tracker"), ("tracker", "risk"), ("tracker", "gateway"), ("gateway", "tracker"), ("feed", "tracker"),
    ("tracker", "watchdog"), ("gateway", "watchdog"), ("reconciler", "watchdog"), ("guard.BTC-USD", "risk"),
)  # fmt: skip
"""Links that may stand still while both ends live."""
STOPS = (OperatorVerb.HALT, OperatorVerb.KILL, OperatorVerb.REDUCE)
BOUNDARIES = ("before", "after", "send", "send")


class StormyWeather(FairWeather):
    """Delays, losses, and deaths at message boundaries, while the storm lasts."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.loss = 0.0
        self.stall = 0.0
        self.standing: dict[tuple[str, str], int] = {}
        """Links that carry nothing, and until when (boot-clock ns)."""
        self.doomed: dict[str, tuple[str, str, int]] = {}
        """Who dies: at which boundary, of which message (any if empty), after how many of them."""

    def calm(self) -> None:
        self.loss = self.stall = 0.0
        self.standing.clear()
        self.doomed.clear()

    def travel_ns(self, sender: VirtualProcess | None, target: VirtualProcess, message: object) -> int:
        ways = super().travel_ns(sender, target, message)
        spared = isinstance(message, Heartbeat | Initialize | Started)
        if self.stall and not spared and self.random.random() < self.stall:
            ways += self.random.choice((2_000_000, 30_000_000, 300_000_000, 800_000_000))
        if self.standing and sender is not None:
            until = self.standing.get((sender.label, target.label), 0)
            ways += max(0, until - sender.system.clock.boot_ns())
        return ways

    def loses(self, sender: VirtualProcess | None, target: VirtualProcess, message: object) -> bool:
        return bool(self.loss) and self.random.random() < self.loss

    def strikes(self, process: VirtualProcess, boundary: str, message: object) -> bool:
        doom = self.doomed.get(process.label)
        if doom is None or doom[0] != boundary or (doom[1] and doom[1] != type(message).__name__):
            return False
        if doom[2] > 0:
            self.doomed[process.label] = (*doom[:2], doom[2] - 1)
            return False
        del self.doomed[process.label]
        return True


class Schedule:
    """Draws the misfortunes of one day and lets them happen."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = random.Random(f"schedule:{world.seed}")
        self.storm_s = STORM_S
        self.events: list[str] = []
        self.visits: list[tuple[OperatorVerb, QuietVisit]] = []
        self._ambush: Callable[[], None] | None = None
        self._hung: set[VirtualProcess] = set()
        self._late_arrival = False

    def saw(self, message: object) -> None:
        """An order to buy is handed to the gateway: what was to happen just then happens."""
        if self._ambush is not None and isinstance(message, SubmitOrder) and message.intent.side is Side.BUY:
            spring, self._ambush = self._ambush, None
            self.world.system.after(self.random.uniform(0.0, 0.004), spring)

    def wrote(self) -> None:
        """The first byte of an order goes out: it arrives late, and who sent it dies meanwhile."""
        if not self._late_arrival:
            return
        self._late_arrival = False
        self.world.wire.late_once = True
        victims = self.random.choice((("gateway",), ("gateway", "tracker"), ("trading",), ("root",)))
        self.say(f"late arrival: {', '.join(victims)} die meanwhile")
        for victim in victims:
            self._at(self.random.uniform(0.001, 0.3), lambda name=victim: self.kill(name))  # type: ignore[misc]

    def kill(self, name: str) -> None:
        process = self.world.system.find(name)
        if process is not None:
            self.world.system.kill(process.address)

    def await_late_arrival(self) -> None:
        self._late_arrival = True

    def stopped_since(self) -> int | None:
        """Since when an operator has the daemon's word that no entry leaves: boot-clock ns; None: he has not."""
        acknowledged = None
        for verb, visit in self.visits:
            ended = visit.ended_boot_ns
            granted = visit.ended is not None and visit.ended.get("ok") is True
            if verb not in STOPS:
                if ended is None or (acknowledged is not None and ended >= acknowledged):
                    return None  # a permission that may still come, or came later
                if granted:
                    acknowledged = None  # asked for after the stop, and granted: the stop's proof may end after it
            elif ended is not None and granted:
                acknowledged = ended
        return acknowledged

    def prepare(self) -> None:
        draw, system = self.random, self.world.system
        for _ in range(draw.choice((0, 1, 2, 3, 4, 6))):
            self._at(draw.uniform(FIRST_S, STORM_S), self._doom)
        for _ in range(draw.choice((0, 0, 1))):
            self._at(draw.uniform(FIRST_S, STORM_S), self._hang)
        for _ in range(draw.choice((0, 0, 1, 2))):
            self._at(draw.uniform(FIRST_S, STORM_S), self._cut_feed)
        for _ in range(draw.choice((0, 0, 1))):
            self._at(draw.uniform(FIRST_S, STORM_S), self._stop_link)
        if draw.random() < 0.4:
            self._at(draw.uniform(FIRST_S, STORM_S), self.await_late_arrival)
        if draw.random() < 0.08:
            self._at(draw.uniform(FIRST_S + 2, STORM_S), self._kill_on_the_way)
        for _ in range(draw.choice((0, 0, 1, 1, 2))):
            self._at(draw.uniform(FIRST_S + 2, STORM_S), self._operate)
        for _ in range(draw.choice((0, 1, 1, 2))):
            self._at(draw.uniform(FIRST_S, STORM_S), self._venue_fault)
        if draw.random() < 0.08:
            self._at(draw.uniform(FIRST_S, STORM_S), self._suspend)
        if draw.random() < 0.08:
            self._at(draw.uniform(FIRST_S, STORM_S), self._step_wall)
        system.after(FIRST_S, self._begin_storm)
        Harshness(self.world, self).prepare()

    def calm(self) -> None:
        """The faults end; the day settles."""
        world = self.world
        world.weather.calm()
        world.wire.calm()
        world.venue.faults.clear()
        world.venue.frozen = True
        world.strategy.resting = True
        world.strategy.failure = 0.0
        world.system.clock.step_wall(-world.stepped_s)  # NTP has put it right
        for process in world.system.processes():
            if process not in self._hung:  # who hangs for good is its supervisor's to find
                world.system.wake(process)
        self._ambush, self._late_arrival = None, False
        admin = world.actor("admin")
        if self.random.random() < 0.5 and isinstance(admin, VirtualAdmin) and admin._ready:
            self.say("operator: halt, the day is over")
            self._ask(admin, OperatorVerb.HALT)
        feed = world.actor("feed")
        if isinstance(feed, VirtualFeed):
            feed.user_missing = 0.0

    def _at(self, seconds: float, happen: Callable[[], None]) -> None:
        self.world.system.after(seconds, happen)

    def say(self, text: str) -> None:
        at_s = (self.world.system.clock.boot_ns() / 1e9) - 1000
        self.events.append(f"{at_s:7.3f} {text}")
        self.world.system.note("event", text)

    def _begin_storm(self) -> None:
        draw, wire = self.random, self.world.wire
        self.world.weather.loss = draw.choice((0.0, 0.0, 0.01, 0.05, 0.2))
        self.world.weather.stall = draw.choice((0.0, 0.0, 0.002, 0.01, 0.05))
        if draw.random() < 0.6:
            for name in WIRE_FAULTS:
                if draw.random() < 0.4:
                    setattr(wire, name, draw.choice((0.01, 0.05, 0.15)))
        self.say(f"storm: loss {self.world.weather.loss} stall {self.world.weather.stall} {wire}")

    def _doom(self) -> None:
        """One death, at a chosen moment of an order's way or anywhere; now and then two or three at once."""
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            if self.random.random() < 0.6:
                victim, boundary, message = self.random.choice(MOMENTS)
                doom = (boundary, message, self.random.randrange(0, 3))
            else:
                victim = self.random.choice(VICTIMS)
                doom = (self.random.choice(BOUNDARIES), "", self.random.randrange(0, 12))
            self.world.weather.doomed[victim] = doom
            self.say(f"doom: {victim} at {doom}")

    def _suspend(self) -> None:
        """The host stands still, the venue does not."""
        system = self.world.system
        asleep = [process for process in system.processes() if process.state == "running"]
        seconds = self.random.choice((0.3, 1.0, 3.0, 10.0))
        self.say(f"suspend: {seconds} s")
        for process in asleep:
            system.hang(process)

        def wake() -> None:
            for process in asleep:
                system.wake(process)

        system.after(seconds, wake)

    def _step_wall(self) -> None:
        seconds = self.random.choice((-2.0, -0.3, -0.05, 0.05, 0.3, 2.0))
        self.say(f"wall clock: {seconds:+} s")
        self.world.system.clock.step_wall(seconds)
        self.world.stepped_s += seconds

    def _hang(self) -> None:
        victim = self.random.choice(VICTIMS)
        process = self.world.system.find(victim)
        self.say(f"hang: {victim}")
        if process is not None and victim != "root":
            self.world.system.hang(process)
            if self.random.random() >= 0.5:
                self._hung.add(process)
            else:
                self.world.system.after(self.random.uniform(0.05, 2.0), lambda: self.world.system.wake(process))

    def _cut_feed(self) -> None:
        feed = self.world.actor("feed")
        which = self.random.choice(("market", "user"))
        self.say(f"cut: {which}")
        if isinstance(feed, VirtualFeed):
            feed.user_missing = self.random.choice((0.0, 0.1, 0.5))
            feed.cut(which)

    def _operate(self) -> None:
        verb = self.random.choice(
            (OperatorVerb.HALT, OperatorVerb.KILL, OperatorVerb.REDUCE, OperatorVerb.RESUME, OperatorVerb.RELEASE)
        )
        flatten = self.random.random() < 0.3
        self.say(f"operator: {verb} flatten={flatten}")
        admin = self.world.actor("admin")
        if self.random.random() < 0.4 and verb is OperatorVerb.KILL:
            self._kill_on_the_way()
        elif isinstance(admin, VirtualAdmin) and admin._ready:
            self._ask(admin, verb, flatten=flatten and verb is OperatorVerb.KILL)
        if verb in STOPS and self.random.random() < 0.4:
            self._at(self.random.uniform(1.0, 4.0), lambda: self.kill("watchdog"))  # it must not forget
        if verb is not OperatorVerb.RESUME and self.random.random() < 0.5:
            self._at(self.random.uniform(0.2, 3.0), self._let_go)

    def _let_go(self) -> None:
        admin = self.world.actor("admin")
        self.say("operator: release, resume")
        if isinstance(admin, VirtualAdmin) and admin._ready:
            self._ask(admin, OperatorVerb.RELEASE)
            self._ask(admin, OperatorVerb.RESUME)

    def ask(self, verb: OperatorVerb) -> None:
        """An operator asks, if there is anybody to ask."""
        self.say(f"operator: {verb}")
        admin = self.world.actor("admin")
        if isinstance(admin, VirtualAdmin) and admin._ready:
            self._ask(admin, verb)

    def _ask(self, admin: VirtualAdmin, verb: OperatorVerb, *, flatten: bool = False) -> None:
        self.visits.append((verb, admin.receive(verb, flatten=flatten)))

    def _kill_on_the_way(self) -> None:
        """The kill file appears when the next order to buy has left the tracker, or a little later."""
        self._ambush = lambda: self._write_kill_file("an order is on its way")
        self._at(1.5, lambda: self._write_kill_file("late") if self._ambush is not None else None)

    def _write_kill_file(self, when: str) -> None:
        self._ambush = None
        self.say(f"kill file: {when}")
        self.world.settings.kill_file.write_text("campaign\n")

    def _stop_link(self) -> None:
        """One link carries nothing for a while; all others do."""
        link, seconds = self.random.choice(LINKS), self.random.uniform(0.5, 4.0)
        self.say(f"link: {link[0]} to {link[1]} stands still for {seconds:.2f} s")
        weather, system = self.world.weather, self.world.system
        until = system.clock.boot_ns() + round(seconds * NS_PER_S)
        weather.standing[link] = until
        system.after(seconds, lambda: weather.standing.pop(link, None))

    def _venue_fault(self) -> None:
        kind = self.random.choice(
            ("get_order_404_for", "orders_invisible_for", "order_fails_async", "cancel_but_filled",
             "order_configuration_null", "zero_balances", "product_mode")
        )  # fmt: skip
        body: dict[str, object] = {"kind": kind, "seconds": self.random.uniform(1.0, 6.0)}
        if kind in ("get_order_404_for", "orders_invisible_for"):
            body["visible_after_s"] = 0.8  # the settings say 1
        if kind == "product_mode":
            body |= {"symbol": "BTC-USD", "mode": self.random.choice(("cancel_only", "post_only", "limit_only"))}
        if kind in ("order_fails_async", "cancel_but_filled", "order_configuration_null"):
            body["count"] = self.random.randrange(1, 4)
        self.say(f"venue: {body}")
        self.world.venue.faults.add(body)
