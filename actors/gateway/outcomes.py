"""What was answered about each command: told again until the tracker took it, and told again to a repeated command."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from actors.messages.orders import CancelOutcome, EditOutcome, SubmitOutcome

Outcome = SubmitOutcome | CancelOutcome | EditOutcome
_NAMES: dict[type, str] = {SubmitOutcome: "submit", CancelOutcome: "cancel", EditOutcome: "edit"}
MAX_REMEMBERED = 20_000
MAX_OPEN = 5_000
REPEATED_AT_ONCE = 200


class TooManyOutcomesError(RuntimeError):
    """Thousands of outcomes that nobody takes: the tracker and this gateway do not understand each other."""


@dataclass(slots=True)
class Outcomes:
    """Outcomes not yet taken, and the submits answered lately (client ids are never used again)."""

    _open: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    _submits: OrderedDict[str, SubmitOutcome] = field(default_factory=OrderedDict)

    def note(self, outcome: Outcome) -> None:
        self._open[(_NAMES[type(outcome)], outcome.client_order_id)] = outcome
        if len(self._open) > MAX_OPEN:
            raise TooManyOutcomesError(f"{MAX_OPEN} outcomes wait to be taken")
        if isinstance(outcome, SubmitOutcome):
            self._submits[outcome.client_order_id] = outcome
            while len(self._submits) > MAX_REMEMBERED:
                self._submits.popitem(last=False)

    def taken(self, what: str, client_order_id: str) -> None:
        self._open.pop((what, client_order_id), None)

    def answered(self, client_order_id: str) -> SubmitOutcome | None:
        """What this gateway answered to the submit of this id."""
        return self._submits.get(client_order_id)

    def waiting(self) -> Iterator[Outcome]:
        """The oldest outcomes not yet taken."""
        return iter(list(self._open.values())[:REPEATED_AT_ONCE])

    def __len__(self) -> int:
        return len(self._open)
