"""Client order ids ``family-instance-epoch-role-n``: made once per intent, never used again."""

from __future__ import annotations

import re
from dataclasses import dataclass

from actors.messages.orders import Role

_LETTERS = {Role.ENTRY: "e", Role.EXIT: "x", Role.PROTECTION: "p"}
_ROLES = {letter: role for role, letter in _LETTERS.items()}
_FORM = re.compile(r"([a-z][a-z0-9]{0,7})-([a-z][a-z0-9]{0,7})-(0|[1-9]\d{0,17})-([exp])-([1-9]\d{0,17})")


@dataclass(frozen=True, slots=True)
class ClientId:
    """The parts of a client order id."""

    family: str
    instance: str
    epoch: int
    role: Role
    n: int

    def __str__(self) -> str:
        return f"{self.family}-{self.instance}-{self.epoch}-{_LETTERS[self.role]}-{self.n}"


def parse(text: str) -> ClientId | None:
    """The parts of ``text``, or None when it was not made by a daemon of any family."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    family, instance, epoch, letter, n = match.groups()
    return ClientId(family, instance, int(epoch), _ROLES[letter], int(n))


def is_own(text: str, family: str, instance: str, epoch: int) -> bool:
    """Made by this daemon, in this or an earlier start."""
    made = parse(text)
    return made is not None and made.family == family and made.instance == instance and made.epoch <= epoch


def is_foreign(text: str, family: str, instance: str, epoch: int) -> bool:
    """Of this family, yet of another instance or a later start: a second host trades the account."""
    made = parse(text)
    return made is not None and made.family == family and (made.instance != instance or made.epoch > epoch)
