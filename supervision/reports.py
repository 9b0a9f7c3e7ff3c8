"""What a supervisor says about a child that failed: OTP's supervisor report, bounded, also as one line."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from actors.log import scrub
from supervision.children import Child

MAX_REASON = 200
MAX_LINE = 400


class Context(StrEnum):
    """START_ERROR: a start failed. CHILD_TERMINATED: it ended by itself. SHUTDOWN: this supervisor ends because of
    it. SHUTDOWN_ERROR: it did not stop as asked."""

    START_ERROR = "start_error"
    CHILD_TERMINATED = "child_terminated"
    SHUTDOWN = "shutdown"
    SHUTDOWN_ERROR = "shutdown_error"


@dataclass(frozen=True, slots=True)
class Offender:
    """The child, without its arguments: they may be large or secret."""

    name: str
    kind: str
    pid: int
    incarnation: int
    restart: str
    shutdown_s: float


@dataclass(frozen=True, slots=True)
class SupervisorReport:
    supervisor: str
    context: Context
    reason: str
    offender: Offender
    at_boot_ns: int

    def line(self) -> str:
        """One line of at most MAX_LINE characters."""
        child = self.offender
        text = (
            f"supervisor={self.supervisor} context={self.context} child={child.name} pid={child.pid} "
            f"incarnation={child.incarnation} restart={child.restart} reason={' '.join(self.reason.split())}"
        )
        return text if len(text) <= MAX_LINE else text[: MAX_LINE - 3] + "..."


def report_on(child: Child, context: Context, reason: str, now_boot_ns: int) -> SupervisorReport:
    """A report about ``child`` as it is now; the reason is cut and without secrets."""
    spec = child.spec
    offender = Offender(
        spec.name[:MAX_REASON], spec.kind, child.pid, child.incarnation, spec.restart.value, spec.stop_within_s
    )
    return SupervisorReport(child.supervisor, context, scrub(reason)[:MAX_REASON], offender, now_boot_ns)
