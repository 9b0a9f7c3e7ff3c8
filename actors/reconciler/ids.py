"""Whose order is it: what a client order id says (``family-instance-epoch-role-n``)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(r"([a-z][a-z0-9]{0,7})-([a-z][a-z0-9]{0,7})-(\d{1,12})-([exp])-(\d{1,18})")


@dataclass(frozen=True, slots=True)
class ClientId:
    family: str
    instance: str
    epoch: int
    role: str
    n: int


def parse(client_order_id: str) -> ClientId | None:
    """The parts, or None for an id of another form (a person's order, another program's)."""
    found = _FORM.fullmatch(client_order_id)
    if found is None:
        return None
    family, instance, epoch, role, n = found.groups()
    return ClientId(family, instance, int(epoch), role, int(n))
