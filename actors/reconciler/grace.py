"""From a difference seen once to one that counts: it must last. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from actors.messages.reconcile import Difference
from actors.reconciler.compare import Found
from actors.reconciler.kinds import AT_ONCE, SERIOUS


@dataclass(frozen=True, slots=True)
class Judged:
    """``counting``: serious and lasting. ``pending``: serious, but seen for the first time or too young."""

    counting: tuple[Found, ...]
    pending: tuple[Found, ...]
    news: tuple[Found, ...]

    def differences(self) -> tuple[Difference, ...]:
        return tuple(
            Difference(found.kind.value, found.key, found.ledger, found.venue, beyond)
            for group, beyond in ((self.counting, True), (self.pending, False), (self.news, False))
            for found in group
        )


@dataclass(slots=True)
class Grace:
    """When each difference was first seen (boot-clock ns); one that is gone once starts anew."""

    grace_ns: int
    _first_seen: dict[tuple[str, str], int] = field(default_factory=dict)

    def judge(self, found: Iterable[Found], now_boot_ns: int) -> Judged:
        counting, pending, news = [], [], []
        seen: dict[tuple[str, str], int] = {}
        for one in found:
            key = (one.kind.value, one.key)
            first = self._first_seen.get(key)
            seen[key] = first if first is not None else now_boot_ns
            if one.kind not in SERIOUS:
                news.append(one)
            elif one.kind in AT_ONCE or (first is not None and now_boot_ns - first >= self.grace_ns):
                counting.append(one)
            else:
                pending.append(one)
        self._first_seen = seen
        return Judged(tuple(counting), tuple(pending), tuple(news))
