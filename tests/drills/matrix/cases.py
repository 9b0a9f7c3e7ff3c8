"""The list of cases: generated from one seed, each with a name that makes it again."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.drills.matrix.readings import READINGS

ACTORS = ("gateway", "tracker", "risk", "reconciler", "watchdog", "feed", "trading", "root", "run.py")
"""``trading`` is the supervisor of the four that trade, ``root`` the supervisor of all."""

WAYS = ("SIGKILL", "SIGSTOP", "exception")

POINTS = {
    "entry.before_send": "the intent is in the ledger, nothing of it has left",
    "entry.on_wire": "the entry has arrived at the venue, which has not looked at it yet",
    "entry.booked": "the entry is booked (and filled or resting), the answer has not been sent",
    "entry.answered": "the gateway has the answer, the ledger does not",
    "entry.partial": "the entry is partly filled and works on",
    "entry.cancelling": "an exit cancels a partly filled entry and its protection; both cancels are queued",
    "protect.on_wire": "a position without protection, its bracket has arrived and is not looked at yet",
    "protect.booked": "the bracket is booked, the answer has not been sent",
    "exit.cancelling": "the hand-over has asked to cancel the bracket, the cancel is queued",
    "exit.proven": "the bracket is proven cancelled, the balance is being read again",
    "exit.selling": "the sell has arrived and is not looked at yet",
    "exit.sold": "the sell is booked and filled, the answer has not been sent",
    "exit.rearming": "the sell failed, the new bracket has arrived and is not looked at yet",
}

WEATHER = {
    "calm": "no further fault",
    "status_429": "three requests are answered 429",
    "status_429_title": "the same, with its headers in Title-Case",
    "status_500": "three requests are answered 500",
    "status_401": "two requests are answered 401, as Coinbase throttles",
    "slow": "six answers take 0.7 s",
    "cut_after_booking": "one order is booked, its connection cut before the answer",
    "cut_before_booking": "one order's connection is cut, it never arrives",
    "order_configuration_null": "creates answer order_configuration: null",
    "get_order_404": "get_order answers 404 for 2 s after a create",
    "orders_invisible": "list_orders leaves a new order out for 1.5 s",
    "user_event_duplicate": "six user events come twice",
    "user_event_missing": "four user events never come",
    "user_event_late": "four user events come a second late",
    "user_gap": "a frame of the user channel is lost",
    "feed_closed": "every websocket connection is cut",
    "clock_skew": "the venue's clock is 80 ms ahead",
    "html_200": "two handled requests are answered with HTML",
    "mode_walk": "the product goes cancel_only, auction, online",
    "fee_tier": "the venue charges three times as much for 10 s, and says so",
    "subscribe_refused": "every websocket connection is cut, one subscribe is answered with an error",
}

ENDINGS = {
    "answered": "the request is answered",
    "cut": "its connection is cut",
    "failed": "it is answered 500",
    "filled": "the cancel is taken, then the order fills",
}
"""How the request that is held at the venue ends, where the point holds one."""

LEAVING = {
    "exit": "the strategy sells",
    "stop": "the market falls below the stop",
    "target": "the market rises above the target",
    "halted": "the market falls below the stop while the product takes cancels only",
}
"""How the position is left when everything is at work again."""
OTHER_SHARE = 0.25
"""How often a case has another reading of a row than the simulator's own."""

SYMBOLS = ("BTC-USD", "ETH-USD")


@dataclass(frozen=True, slots=True)
class Case:
    """One fault. All but the first four fields follow from the seed and the name."""

    actor: str
    way: str
    point: str
    round: int
    seed: int
    symbol: str = ""
    weather: str = "calm"
    resting: bool = False
    """The entry rests at the bid instead of taking what is offered."""
    ending: str = "answered"
    """One of ENDINGS."""
    leaving: str = "exit"
    """One of LEAVING."""
    unsold: str = "failed"
    """Why the sale of ``exit.rearming`` sells nothing: it ``failed`` after it was taken, or found ``nothing``."""
    greedy: bool = False
    """The strategy asks for another entry on the symbol right after the blow."""
    settled: bool = False
    """A partial fill is in the ledger before the blow, not only at the venue."""
    readings: dict[str, int] = field(default_factory=dict)
    """Of each row of READINGS the value: 0 the simulator's own."""

    @property
    def name(self) -> str:
        return f"{self.actor}-{self.way}-{self.point}-{self.round}"

    @property
    def whole(self) -> bool:
        """The whole daemon goes down with it."""
        return self.actor in ("root", "run.py")


def make(actor: str, way: str, point: str, number: int, seed: int) -> Case:
    """The case of this name under this seed."""
    rng = random.Random(f"{seed}:{actor}:{way}:{point}:{number}")
    endings = ("answered",)
    if point in ("entry.booked", "protect.booked", "exit.sold"):
        endings = ("answered", "cut")
    elif point.endswith(("on_wire", "selling", "rearming")):
        endings = ("answered", "answered", "cut", "failed")
    elif point in ("entry.cancelling", "exit.cancelling"):
        endings = ("answered", "answered", "filled")
    return Case(
        actor, way, point, number, seed,
        symbol=rng.choice(SYMBOLS),
        weather=rng.choice(["calm", *WEATHER]),
        resting=point in ("entry.on_wire", "entry.booked", "entry.answered") and rng.random() < 0.3,
        ending=rng.choice(endings),
        settled=rng.random() < 0.5,
        greedy=rng.random() < 0.5,
        leaving=rng.choices(tuple(LEAVING), (6, 2, 2, 1))[0],
        unsold=rng.choice(("failed", "nothing")),
        readings={name: _drawn(rng, len(values)) for name, values in READINGS.items()},
    )  # fmt: skip


def _drawn(rng: random.Random, values: int) -> int:
    return rng.randrange(1, values) if rng.random() < OTHER_SHARE else 0


def by_name(name: str, seed: int) -> Case:
    """Raises ValueError for a name that no case has."""
    actor, way, point, number = name.rsplit("-", 3)
    if actor not in ACTORS or way not in (*WAYS, "SIGTERM") or point not in POINTS:
        raise ValueError(f"no such case: {name}")
    return make(actor, way, point, int(number), seed)


def ways_of(actor: str) -> tuple[str, ...]:
    """run.py has no mailbox in which a handler could raise; its third way is the order to stop."""
    return (*WAYS[:2], "SIGTERM") if actor == "run.py" else WAYS


def whole_matrix(seed: int, rounds: int) -> list[Case]:
    """Every cell ``rounds`` times, those that end the whole daemon once; shuffled, so that no actor fails in a row."""
    found = [
        make(actor, way, point, number, seed)
        for actor in ACTORS
        for way in ways_of(actor)
        for point in POINTS
        for number in range(1 if actor in ("root", "run.py") else rounds)
    ]
    random.Random(f"{seed}:order").shuffle(found)
    return found


def subset(seed: int) -> list[Case]:
    """A few for every run of the tests: each point once, actors and ways in turn."""
    pairs = [(actor, way) for way in WAYS for actor in ACTORS if actor not in ("root", "run.py")]
    pairs = [pairs[(index * 8) % len(pairs)] for index in range(len(pairs))]
    return [make(*pairs[index % len(pairs)], point, 0, seed) for index, point in enumerate(POINTS)]
