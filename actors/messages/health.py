"""Life and health: starting, heartbeats, the directory of peers, the lease, breakers, alerts, metrics."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from actors.messages.base import Message

if TYPE_CHECKING:
    from config.settings import Settings


class TradingState(StrEnum):
    """What trading may do (ordered from most to least permissive)."""

    RUN = "RUN"
    REDUCE_ONLY = "REDUCE_ONLY"
    HALTED = "HALTED"
    KILLED = "KILLED"

    @property
    def rank(self) -> int:
        return list(TradingState).index(self)


@dataclass(frozen=True, slots=True)
class Peer:
    """Where an actor is. ``address`` is a Thespian ActorAddress."""

    name: str
    incarnation: int
    pid: int
    address: object


@dataclass(frozen=True, slots=True)
class Initialize(Message):
    """supervisor -> new child: who you are. The child restores its state and answers ``Started``."""

    urgent: ClassVar[bool] = True
    name: str
    incarnation: int
    supervisor: str
    parent: object
    settings: Settings
    args: dict[str, object]
    peers: tuple[Peer, ...]
    epoch: int
    """The daemon's start number, from the ledger's epoch file: grows with every start."""
    parent_pid: int = 0


@dataclass(frozen=True, slots=True)
class Started(Message):
    """child -> supervisor: restored and ready."""

    urgent: ClassVar[bool] = True
    name: str
    incarnation: int
    pid: int
    address: object


@dataclass(frozen=True, slots=True)
class StartFailed(Message):
    """dying child -> supervisor: the start failed, and why; its exit follows."""

    urgent: ClassVar[bool] = True
    name: str
    incarnation: int
    reason: str


@dataclass(frozen=True, slots=True)
class StartIgnored(Message):
    """leaving child -> supervisor: there is nothing for me to do, and that is no failure; its exit follows."""

    urgent: ClassVar[bool] = True
    name: str
    incarnation: int
    reason: str


@dataclass(frozen=True, slots=True)
class Directory(Message):
    """supervisor -> children: where the peers are now. Replaces what was known; a missing name is gone."""

    urgent: ClassVar[bool] = True
    version: int
    peers: tuple[Peer, ...]


@dataclass(frozen=True, slots=True)
class StopChild(Message):
    """supervisor -> child: put your things in order and exit 0 within ``deadline_s``."""

    urgent: ClassVar[bool] = True
    reason: str
    deadline_s: float


@dataclass(frozen=True, slots=True)
class HandlerTimes:
    """Latency of one message type since the last beat, milliseconds."""

    message: str
    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    p95_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Heartbeat(Message):
    """every actor -> its supervisor and the watchdog, every 250 ms (guards 1 s).

    ``lag_ms`` is the largest receive-minus-sent time of any message handled since the last beat.
    ``progress`` says what the actor last achieved: name -> boot-clock ns, a UTC time (``*_utc_ns``) or a counter
    (``*_count``).
    """

    delivery: ClassVar[str] = "plain"
    urgent: ClassVar[bool] = True
    name: str
    incarnation: int
    pid: int
    sequence: int
    sent_boot_ns: int
    interval_s: float
    own_lateness_ms: float
    """How late the actor's own beat timer fired."""
    lag_ms: float
    handler_p50_ms: float
    handler_p99_ms: float
    busy_share: float
    queued_in: int
    queued_out: int
    memory_bytes: int
    handled: int
    state: str
    progress: tuple[tuple[str, int], ...] = ()
    handlers: tuple[HandlerTimes, ...] = ()
    handler_p95_ms: float = 0.0


class ChildState(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """One line of the tree."""

    name: str
    supervisor: str
    kind: str
    """``worker`` or ``supervisor``."""
    pid: int
    incarnation: int
    restarts: int
    state: ChildState
    last_exit: str
    since_boot_ns: int
    beat: Heartbeat | None = None


@dataclass(frozen=True, slots=True)
class TreeReport(Message):
    """supervisor -> its parent, watchdog and admin: its children now; on every change and once a second."""

    delivery: ClassVar[str] = "plain"
    supervisor: str
    incarnation: int
    children: tuple[ChildStatus, ...]


@dataclass(frozen=True, slots=True)
class PartLost(Message):
    """supervisor -> watchdog: a child died or was killed; ``gave_up`` when it will not be started again."""

    name: str
    incarnation: int
    reason: str
    gave_up: bool


@dataclass(frozen=True, slots=True)
class HangSuspected(Message):
    """supervisor -> watchdog: no beat from ``name``; the kill follows in ``kill_in_s`` seconds."""

    name: str
    incarnation: int
    silent_s: float
    kill_in_s: float


class BreakerName(StrEnum):
    """The closed list of breakers."""

    QUOTE_STALE = "quote_stale"
    BOOK_GAP = "book_gap"
    USER_CHANNEL = "user_channel"
    VOLATILITY = "volatility"
    PRODUCT_MODE = "product_mode"
    API_ERRORS = "api_errors"
    API_LATENCY = "api_latency"
    RATE_LIMIT = "rate_limit"
    AUTH = "auth"
    CLOCK = "clock"
    ACTOR_LATENCY = "actor_latency"
    LEDGER_WRITE = "ledger_write"
    EGRESS = "egress"
    RECONCILE = "reconcile"
    REJECTIONS = "rejections"
    REPEATED_EXECUTION = "repeated_execution"
    UNKNOWN_AGE = "unknown_age"
    DAILY_LOSS = "daily_loss"
    WEEKLY_LOSS = "weekly_loss"
    DRAWDOWN = "drawdown"
    DISK = "disk"


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerSignal(Message):
    """any actor -> watchdog: ``tripped`` True asks to open the breaker, False says its cause is gone.

    ``scope`` is ``*`` (everything) or one symbol (order product).
    """

    urgent: ClassVar[bool] = True
    breaker: BreakerName
    scope: str
    tripped: bool
    reason: str
    by: str


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    breaker: BreakerName
    scope: str
    state: BreakerState
    reason: str
    since_utc_ns: int
    trips: int
    latched: bool


@dataclass(frozen=True, slots=True)
class Lease(Message):
    """watchdog -> risk, tracker, gateway, strategist, admin every 250 ms: the permission to trade.

    Age counts from ``issued_boot_ns``. ``per_symbol`` holds only the symbols that are worse off than ``state``.
    ``released_by``: the request id of the newest release, over restarts; it ends what earlier kills had under way.
    """

    delivery: ClassVar[str] = "plain"
    urgent: ClassVar[bool] = True
    epoch: int
    watchdog_incarnation: int
    sequence: int
    issued_boot_ns: int
    state: TradingState
    reasons: tuple[str, ...]
    per_symbol: tuple[tuple[str, TradingState, str], ...]
    released_by: str = ""

    def state_of(self, symbol: str) -> TradingState:
        """The worse of the global state and the symbol's own."""
        worst = self.state
        for name, state, _ in self.per_symbol:
            if name == symbol and state.rank > worst.rank:
                worst = state
        return worst


class Severity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"
    PAGE = "page"


@dataclass(frozen=True, slots=True)
class Alert(Message):
    """any actor -> alerts. ``key`` deduplicates; ``text`` is for a person, without secrets."""

    severity: Severity
    key: str
    text: str
    by: str
    correlation_id: str = ""


@dataclass(frozen=True, slots=True)
class MetricsReport(Message):
    """every actor -> metrics, once a second: what changed since the last report.

    Keys are (metric name, sorted label pairs). Counters and observations are deltas, gauges are values.
    """

    delivery: ClassVar[str] = "plain"
    name: str
    incarnation: int
    counters: dict[tuple[str, tuple[tuple[str, str], ...]], float] = field(default_factory=dict)
    gauges: dict[tuple[str, tuple[tuple[str, str], ...]], float] = field(default_factory=dict)
    observations: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CrashFiled(Message):
    """supervisor -> crash reporter: look into the crash folder."""

    delivery: ClassVar[str] = "plain"
    name: str


@dataclass(frozen=True, slots=True)
class SubtreePeers(Message):
    """child supervisor -> its parent: who lives below it now; the root makes the directory from these."""

    urgent: ClassVar[bool] = True
    supervisor: str
    incarnation: int
    peers: tuple[Peer, ...]


@dataclass(frozen=True, slots=True)
class MetricsAt(Message):
    """metrics -> admin: where /metrics is, every 5 s and when the peers change."""

    delivery: ClassVar[str] = "plain"
    url: str
