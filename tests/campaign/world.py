"""One seeded day: the whole tree on virtual time, the venue in memory, a schedule of misfortunes, the verdict."""

from __future__ import annotations

import random
import shutil
import tempfile
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path

from actors.actor import TradingActor
from actors.messages import base, books, control, delivery, health, market, orders, reconcile, venue
from actors.messages.health import Initialize
from commands.prepare import next_epoch
from config.settings import Settings, make_settings
from supervision import tree
from supervision.restart import SupervisorSpec
from supervision.transport_pickle import learn
from supervision.virtual_time import OUTSIDE, VirtualProcess, VirtualSystem
from tests.campaign.door import WireWeather
from tests.campaign.harsh import LONG_LIFE_S, Ordeal, draw_ordeal
from tests.campaign.invariants import Judge
from tests.campaign.market import VenueInMemory
from tests.campaign.parts import VirtualAdmin, VirtualFeed, VirtualGateway, VirtualStrategist
from tests.campaign.schedule import Schedule, StormyWeather
from tests.campaign.strategy import GreedyStrategy

SYMBOLS: tuple[dict[str, str], ...] = (
    {"symbol": "BTC-USD"},
    {"symbol": "BTC-USDC", "data": "BTC-USD"},
    {"symbol": "ETH-USD"},
)
LEFT_OUT = frozenset({"metrics", "crash_reporter"})
"""Parts that only tell the outside: their sockets and uploads have no place here."""
RESTART_S = 2.0
SETTLE_S = 60.0
STEP_S = 0.5
SHM = Path("/dev/shm")


def campaign_settings(data_dir: Path, level: str = "critical", jwt_life_s: int = 3) -> Settings:
    """The defaults, with times short enough for a fragment of a day, and a capital that is soon used up."""
    raw: dict[str, object] = {
        "instruments": list(SYMBOLS),
        "log": {"form": "text", "level": level},
        "venue": {"key_file": "/nonexistent/key.json", "jwt_life_s": jwt_life_s, "visibility_delay_s": 1},
        "capital": {"allotted": "1000", "max_order": "100"},
        "risk": {"max_orders_per_minute": 200, "repeat_limit": 200, "cooldown_symbol_s": 0, "losing_streak": 50,
                 "balance_refresh_s": 1},
        "strategist": {"cycle_s": 0.6, "jitter": 0.4},
        "orders": {"protection_sweep_s": 5, "unknown_query_s": 0.5, "poll_s": 1.5,
                   "entry_life_s": 20},
        "reconciler": {"interval_s": 3, "grace_s": 1},
        "guard": {"warm_up_s": 0.5},
        "watchdog": {"half_open_s": 0.5, "probe_s": 0.3, "disk_free_bytes": 0,
                     "default": {"lag_trip_ms": 3000}},
    }
    return make_settings(raw, source="campaign", data_dir=data_dir, mode="demo")


@dataclass(slots=True)
class Result:
    """What became of one seed."""

    seed: int
    failures: list[str]
    trace: str
    virtual_s: float
    delivered: int
    entries: int
    fills: int
    deaths: int
    epochs: int
    events: list[str] = field(default_factory=list)


def _learn_messages() -> None:
    """Positions, peers and orders inside of messages pickle the short way: a third of a run's time."""
    for module in (base, books, control, delivery, health, market, orders, reconcile, venue):
        for kind in vars(module).values():
            if isinstance(kind, type) and is_dataclass(kind):
                learn(kind)


class World:
    """Everything of one run."""

    def __init__(self, seed: int, folder: Path, level: str = "critical") -> None:
        _learn_messages()
        self.seed = seed
        random.seed(f"global:{seed}")  # the supervisors' back-off draws from it
        self.ordeal = draw_ordeal(seed)
        long_ways = self.ordeal is Ordeal.LATE_CREATES
        self.settings = campaign_settings(folder, level, **({"jwt_life_s": LONG_LIFE_S} if long_ways else {}))
        self.wire = WireWeather()
        self.source = random.Random(f"parts:{seed}")
        self.strategy = GreedyStrategy(str(seed))
        self.weather = StormyWeather(seed)
        self.deaths = 0
        self.stepped_s = 0.0
        self.epoch = 0
        self.starts = 0
        self.root: VirtualProcess | None = None
        self.system = VirtualSystem(
            self.weather,
            substitutes={
                tree.ACTORS["gateway"]: lambda: VirtualGateway(
                    self.venue, self.wire, self.source, self._wrote, self.judge.gateway_heard
                ),
                tree.ACTORS["strategist"]: lambda: VirtualStrategist(self.strategy),
                tree.ACTORS["admin"]: VirtualAdmin,
                tree.ACTORS["feed"]: lambda: VirtualFeed(self.venue, self.source),
            },
            at_death=self._buried,
            watch=self._watched,
        )
        self.venue = VenueInMemory(self.system, str(seed), self.settings.data_products)
        self.judge = Judge(self)
        self.schedule = Schedule(self)

    # --- the daemon ---

    def start_daemon(self) -> None:
        """As ``run.py start``: a new epoch, a new tree."""
        if self.root is not None and self.root.alive:
            return
        self.starts += 1
        self.epoch = next_epoch(self.settings.store_dir, self.system.clock.utc_ns())
        settings = self.settings.model_copy(update={"epoch": self.epoch})
        self.root = self.system.fork(tree.SUPERVISOR, None)
        self.root.label = "root"
        self.system.tell(
            self.root.address,
            Initialize(
                name="root",
                incarnation=1,
                supervisor="run",
                parent=OUTSIDE,
                settings=settings,
                args={"spec": smaller_tree(settings)},
                peers=(),
                epoch=self.epoch,
            ),
        )

    def _buried(self, process: VirtualProcess, status: int) -> None:
        """What the kernel would close."""
        self.deaths += 1
        actor = process.actor
        close = getattr(actor, "close", None)
        if close is not None:
            close()
        for name in ("ledger", "store", "_desk", "_outbox"):
            store = getattr(actor, name, None)
            if store is not None:
                store.close()
        if status not in (0, -9):
            self.judge.crashed(process.label, status)
        if process is self.root:
            self.system.after(RESTART_S, self.start_daemon)

    def _watched(self, sender: VirtualProcess | None, target: VirtualProcess, message: object) -> None:
        self.judge.saw(sender, target, message)
        self.schedule.saw(message)

    def _wrote(self, client_order_id: str, side: str, symbol: str, wire_boot_ns: int) -> None:
        self.judge.wrote(client_order_id, side, symbol, wire_boot_ns)
        self.schedule.wrote()

    def actor(self, label: str) -> TradingActor | None:
        process = self.system.find(label)
        return process.actor if process is not None and process.state == "running" else None

    # --- the day ---

    def live(self) -> Result:
        """Run the day, let it settle, judge."""
        begun = self.system.clock.boot_ns()
        self.start_daemon()
        self.schedule.prepare()
        self.system.run(self.schedule.storm_s)
        self.schedule.calm()
        self.judge.calm_boot_ns = self.system.clock.boot_ns()
        failures: list[str] = []
        waited = 0.0
        while waited < SETTLE_S:
            self.system.run(STEP_S)
            waited += STEP_S
            failures = self.judge.final()
            if not failures:
                break
        failures += self.judge.broken
        return Result(
            seed=self.seed,
            failures=failures,
            trace=self.system.trace,
            virtual_s=(self.system.clock.boot_ns() - begun) / 1e9,
            delivered=self.system.delivered,
            entries=sum(1 for one in self.venue.arrived if one.side == "BUY" and one.booked),
            fills=len(self.venue.engine.fills),
            deaths=self.deaths,
            epochs=self.starts,
            events=self.schedule.events,
        )

    def end(self) -> None:
        self.system.shutdown()


def smaller_tree(settings: Settings) -> SupervisorSpec:
    """The daemon's tree without the parts that only tell the outside."""
    whole = tree.root_spec(settings)
    return _without(whole)


def _without(spec: SupervisorSpec) -> SupervisorSpec:
    kept = []
    for child in spec.children:
        if child.name in LEFT_OUT:
            continue
        below = child.args.get("spec")
        if isinstance(below, SupervisorSpec):
            kept.append(replace(child, args={**child.args, "spec": _without(below)}))
        else:
            kept.append(child)
    return replace(spec, children=tuple(kept))


def run_seed(seed: int, level: str = "critical") -> Result:
    """Live one seeded day in a folder of its own, which is removed afterwards."""
    base = SHM if SHM.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix=f"campaign-{seed}-", dir=base))
    world = None
    try:
        world = World(seed, folder, level)
        return world.live()
    finally:
        if world is not None:
            world.end()
        shutil.rmtree(folder, ignore_errors=True)
