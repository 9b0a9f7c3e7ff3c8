"""Which configured products the venue lists. Pure.

A subscription that names one product the venue does not know is refused as a whole: one wrong line in
``universe.yaml`` would keep every book from coming up. So what is not listed is left out, and said.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field


@dataclass(slots=True)
class Listing:
    """``left_out`` changes when two complete answers in a row say the same; an answer that has none proves nothing."""

    products: tuple[str, ...]
    left_out: frozenset[str] = frozenset()
    _heard: frozenset[str] | None = field(default=None)

    def hear(self, listed: Collection[str]) -> bool:
        """Take in a complete answer; True when ``left_out`` became different."""
        missing = frozenset(self.products) - frozenset(listed)
        if missing == frozenset(self.products):
            return False
        agreed, self._heard = missing == self._heard, missing
        if not agreed or missing == self.left_out:
            return False
        self.left_out = missing
        return True
