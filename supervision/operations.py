"""What a supervisor is in the middle of: first stop some children, wait, then start others, all in order. Pure.

Where a failure takes siblings along (one_for_all, rest_for_one) there is one operation at a time, and a further
failure joins it. Elsewhere every child has its own, so that one slow start never holds up another's restart; only
the supervisor's own start goes child by child.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from supervision.restart import RestartGroup, Strategy

START = "start"
GROUP = "group"


@dataclass(slots=True)
class Operation:
    """Names only. ``first``: the supervisor is up when this is done. ``waiting``: its delay runs."""

    key: str
    start: list[str]
    stop: list[str] = field(default_factory=list)
    drop: tuple[str, ...] = ()
    delay_s: float = 0.0
    first: bool = False
    waiting: bool = False


class Operations:
    """The operations of one supervisor by key."""

    def __init__(self, strategy: Strategy) -> None:
        self._grouped = strategy in (Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE)
        self._running: dict[str, Operation] = {}

    def begin(self, names: Sequence[str]) -> Operation:
        """The supervisor's own start."""
        operation = Operation(GROUP if self._grouped else START, list(names), first=True)
        self._running[operation.key] = operation
        return operation

    def restart(self, name: str, group: RestartGroup, order: Sequence[str], alive: Collection[str]) -> Operation:
        """Restart ``group`` because ``name`` failed; what is under way for the same children joins it."""
        if self._grouped:
            return self._join(group, order, alive)
        first = self._running.get(START)
        if first is not None and name in first.start:
            if group.delay_s <= 0:
                return first  # its turn comes again at once: the order of the start is kept
            first.start.remove(name)
        self._running[name] = Operation(name, list(group.start), delay_s=group.delay_s)
        return self._running[name]

    def again(self, name: str) -> Operation:
        """Start one child after a give-up, when nothing else is under way for it."""
        key = GROUP if self._grouped else name
        operation = self._running.setdefault(key, Operation(key, []))
        if name not in operation.start:
            operation.start.append(name)
        return operation

    def current(self) -> tuple[Operation, ...]:
        return tuple(self._running.values())

    def is_current(self, operation: Operation) -> bool:
        return self._running.get(operation.key) is operation

    def done(self, operation: Operation) -> None:
        if self.is_current(operation):
            del self._running[operation.key]

    def withdraw(self, name: str) -> None:
        """``name`` needs no start any more: it is up, given up, or was stopped on purpose."""
        for operation in self._running.values():
            if name in operation.start:
                operation.start.remove(name)

    def is_about_to_stop(self, name: str) -> bool:
        return any(name in operation.stop for operation in self._running.values())

    def clear(self) -> tuple[str, ...]:
        """End everything; gives the keys, whose timers end too."""
        keys = tuple(self._running)
        self._running.clear()
        return keys

    def _join(self, group: RestartGroup, order: Sequence[str], alive: Collection[str]) -> Operation:
        old = self._running.get(GROUP, Operation(GROUP, []))
        dropped = {*old.drop, *group.drop}
        starting = {*old.start, *group.start}
        stopping = {*old.stop, *group.stop}
        joined = Operation(
            GROUP,
            start=[name for name in order if name in starting],
            stop=[name for name in reversed(order) if name in stopping and name in alive],
            drop=tuple(name for name in order if name in dropped),
            delay_s=group.delay_s,
            first=old.first,
        )
        self._running[GROUP] = joined
        return joined
