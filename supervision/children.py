"""One child as its supervisor sees it."""

from __future__ import annotations

from dataclasses import dataclass, field

from thespian.actors import ActorAddress

from actors.messages.health import ChildState, ChildStatus, Heartbeat, Peer
from supervision.restart import ChildSpec

INCARNATIONS_PER_SUPERVISOR = 1_000
"""A child's incarnation is its supervisor's times this, plus its own count: it grows over both kinds of restart."""


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

    @property
    def incarnation(self) -> int:
        return self.base_incarnation * INCARNATIONS_PER_SUPERVISOR + self.generation

    @property
    def alive(self) -> bool:
        return self.address is not None

    @property
    def peer(self) -> Peer:
        return Peer(self.spec.name, self.incarnation, self.pid, self.address)

    def silent_ns(self, now_boot_ns: int) -> int:
        return now_boot_ns - max(self.last_beat_boot_ns, self.since_boot_ns)

    def status(self) -> ChildStatus:
        return ChildStatus(
            name=self.spec.name,
            supervisor=self.supervisor,
            kind=self.spec.kind,
            pid=self.pid,
            incarnation=self.incarnation,
            restarts=self.restarts,
            state=self.state,
            last_exit=self.last_exit,
            since_boot_ns=self.since_boot_ns,
            beat=self.beat,
        )


def exit_text(status: int | None) -> str:
    """An exit status for people: ``exit 70``, ``signal 9``, ``unknown``."""
    if status is None:
        return "unknown"
    return f"exit {status}" if status >= 0 else f"signal {-status}"
