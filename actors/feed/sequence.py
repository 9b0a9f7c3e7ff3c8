"""One counter per connection over all its channels (measured, from 0): what a frame's number says."""

from __future__ import annotations

from enum import StrEnum


class SequenceVerdict(StrEnum):
    """IN_ORDER: apply. GAP: frames were lost, the connection's state is worthless. DUPLICATE, LATE: do not apply."""

    IN_ORDER = "in_order"
    GAP = "gap"
    DUPLICATE = "duplicate"
    LATE = "late"


class SequenceCheck:
    """Judges the numbers of one connection, from whatever number comes first (session.py judges that one)."""

    __slots__ = ("duplicates", "gaps", "last", "late", "lost")

    def __init__(self) -> None:
        self.last: int | None = None
        self.gaps = 0
        self.lost = 0
        self.duplicates = 0
        self.late = 0

    def note(self, number: int) -> SequenceVerdict:
        """The verdict on the next frame. After a gap counting goes on from the new number."""
        last = self.last
        if last is None or number == last + 1:
            self.last = number
            return SequenceVerdict.IN_ORDER
        if number == last:
            self.duplicates += 1
            return SequenceVerdict.DUPLICATE
        if number < last:
            self.late += 1
            return SequenceVerdict.LATE
        self.gaps += 1
        self.lost += number - last - 1
        self.last = number
        return SequenceVerdict.GAP
