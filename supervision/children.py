"""One child as its supervisor sees it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from thespian.actors import ActorAddress

from actors.messages.health import ChildState, ChildStatus, Heartbeat, Peer
from supervision.restart import ChildSpec, Restart

INCARNATIONS_PER_SUPERVISOR = 1_000_000
"""A child's incarnation is its supervisor's times this, plus its own count: it grows over both kinds of restart."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who waits for the answer to an admin verb."""

    address: object
    request_id: str


@dataclass(slots=True)
class Child:
    """The life of one child over its restarts."""

    spec: ChildSpec
    supervisor: str
    base_incarnation: int
    generation: int = 0
    restarts: int = 0
    state: ChildState = ChildState.STOPPED
    address: ActorAddress | None = None
    pid: int = 0
    since_boot_ns: int = 0
    last_beat_boot_ns: int = 0
    beat: Heartbeat | None = None
    last_exit: str = ""
    hang_since_boot_ns: int | None = None
    killed_for: str = ""
    subtree: tuple[Peer, ...] = field(default=())
    told: tuple[Peer, ...] | None = None
    """The peers it was told last; None when it must be told again."""
    restarting: bool = False
    """It failed, and its restart has not succeeded yet."""
    start_error: str = ""
    ignored: bool = False
    """It said that there is nothing to do for it."""
    added_by: Asker | None = None
    """Set while an admin verb waits for its first start (``is_new``) or its restart."""
    is_new: bool = False
    stopped_by: list[Asker] = field(default_factory=list)

    @property
    def incarnation(self) -> int:
        return self.base_incarnation * INCARNATIONS_PER_SUPERVISOR + self.generation

    @property
    def alive(self) -> bool:
        return self.address is not None

    @property
    def peer(self) -> Peer:
        return Peer(self.spec.name, self.incarnation, self.pid, self.address)

    @property
    def is_temporary(self) -> bool:
        return self.spec.restart is Restart.TEMPORARY

    def silent_ns(self, now_boot_ns: int) -> int:
        return now_boot_ns - max(self.last_beat_boot_ns, self.since_boot_ns)

    def begin(self, now_boot_ns: int) -> None:
        """A new process of it is about to start."""
        self.generation += 1
        self.state = ChildState.STARTING
        self.since_boot_ns = now_boot_ns
        self.last_beat_boot_ns = 0
        self.beat = None
        self.hang_since_boot_ns = None
        self.killed_for = ""
        self.start_error = ""
        self.ignored = False
        self.told = None
        self.subtree = ()

    def run(self, pid: int, now_boot_ns: int) -> None:
        """It is up."""
        self.state = ChildState.RUNNING
        self.restarting = False
        self.pid = pid
        self.last_beat_boot_ns = now_boot_ns

    def end(self, status: int | None) -> None:
        """Its process is gone and reaped."""
        self.last_exit = self.killed_for or exit_text(status)
        if self.start_error:
            self.last_exit += f": {self.start_error}"
        self.address = None
        self.state = ChildState.STOPPED

    def let_go_of_args(self) -> None:
        """A temporary child is never started again: what it was started with is not kept."""
        if self.is_temporary:
            self.spec = replace(self.spec, args={})

    def status(self) -> ChildStatus:
        starting_again = self.restarting and self.state is ChildState.STARTING
        return ChildStatus(
            name=self.spec.name,
            supervisor=self.supervisor,
            kind=self.spec.kind,
            pid=self.pid,
            incarnation=self.incarnation,
            restarts=self.restarts,
            state=ChildState.RESTARTING if starting_again else self.state,
            last_exit=self.last_exit,
            since_boot_ns=self.since_boot_ns,
            beat=self.beat,
        )


def exit_text(status: int | None) -> str:
    """An exit status for people: ``exit 70``, ``signal 9``, ``unknown``."""
    if status is None:
        return "unknown"
    return f"exit {status}" if status >= 0 else f"signal {-status}"
