"""Which parts of the daemon are there: waited for, lost, suspected of hanging. Pure; time is an argument."""

from __future__ import annotations

from collections.abc import Mapping

from actors.messages.health import ChildState, Heartbeat, TradingState, TreeReport
from config.settings import Settings
from supervision.lease import TRADING_PARTS, Finding, Lost, lateness_scopes, lost_findings


class PartsBook:
    """Presence of every part, from beats and from what supervisors report."""

    def __init__(self, settings: Settings) -> None:
        self.guarded = guarded_products(settings)
        self.expected = (*TRADING_PARTS, "feed", "strategist", *self.guarded)
        self.lost: dict[str, Lost] = {}
        self._seen: set[str] = set()
        self._suspected: dict[str, int] = {}

    def beat(self, beat: Heartbeat) -> bool:
        """Take a beat in; True when a lost part is back. A beat sent before the loss is the dead one's last."""
        suspected = self._suspected.get(beat.name)
        if suspected is not None and beat.sent_boot_ns > suspected:
            del self._suspected[beat.name]
        loss = self.lost.get(beat.name)
        if loss is not None:
            if beat.sent_boot_ns <= loss.since_boot_ns:
                return False
            del self.lost[beat.name]
        self._seen.add(beat.name)
        return loss is not None

    def lose(self, name: str, reason: str, *, gave_up: bool, now_boot_ns: int) -> None:
        self._suspected.pop(name, None)
        self.lost[name] = Lost(name, reason, now_boot_ns, gave_up)

    def suspect(self, name: str, now_boot_ns: int) -> None:
        """A supervisor misses its beats; the kill may follow."""
        self._suspected[name] = now_boot_ns

    def take_tree(self, report: TreeReport, now_boot_ns: int) -> tuple[str, ...]:
        """Learn of parts given up before this watchdog lived; returns those that are new."""
        new = []
        for child in report.children:
            known = self.lost.get(child.name)
            if child.state is ChildState.GIVEN_UP and (known is None or not known.gave_up):
                self.lose(child.name, child.last_exit or "given up", gave_up=True, now_boot_ns=now_boot_ns)
                new.append(child.name)
        return tuple(new)

    def waiting(self) -> tuple[str, ...]:
        """Expected parts that have not beaten yet; those given up are judged as lost instead."""
        return tuple(
            name
            for name in self.expected
            if name not in self._seen and not (name in self.lost and self.lost[name].gave_up)
        )

    def findings(self) -> list[Finding]:
        """What lost and suspected parts mean for trading."""
        found = lost_findings(self.lost.values(), self.guarded)
        for name in self._suspected:
            found += [
                Finding(scope, TradingState.REDUCE_ONLY, f"{name} seems to hang")
                for scope in lateness_scopes(name, self.guarded)
            ]
        return found


def guarded_products(settings: Settings) -> Mapping[str, tuple[str, ...]]:
    """Guard actor name -> the order products whose quotes it vouches for."""
    return {
        guard: tuple(item.symbol for item in settings.instruments if item.data_product in products)
        for guard, products in settings.guard_groups().items()
    }
