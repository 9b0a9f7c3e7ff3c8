"""Messages come out of the serializer as they went in."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from decimal import Decimal

import pytest

from supervision.transport import UnixAddress
from supervision.transport_pickle import dumps


@dataclass(frozen=True, slots=True)
class _Base:
    name: str


@dataclass(frozen=True, slots=True)
class _Order(_Base):
    size: Decimal
    to: UnixAddress
    derived: str = field(init=False, default="kept")
    nested: tuple[_Base, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("checked where it is made, not where it is read")


@dataclass(frozen=True, slots=True)
class _Empty:
    pass


@dataclass(slots=True)
class _Mutable:
    number: int


@dataclass(frozen=True)
class _Unslotted:
    number: int


@dataclass(frozen=True, slots=True)
class _Plain:
    name: str
    number: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _ByName:
    name: str
    number: int


@dataclass(slots=True)
class _OwnInit:
    name: str
    number: int

    def __init__(self, text: str) -> None:
        self.name, self.number = text, len(text)


@pytest.mark.parametrize(
    "message",
    [
        _Order("BTC-USD", Decimal("0.10"), UnixAddress("1f.2.ab"), nested=(_Base("a"), _Base("b"))),
        _Base("one field"),
        _Plain("two", 2),
        _ByName(name="named", number=1),
        _OwnInit("four"),
        _Empty(),
        _Mutable(1),
        _Unslotted(2),
        ("tuple", 1),
    ],
)
def test_every_kind_of_message_survives(message: object) -> None:
    for _ in range(2):  # the second time its class is known
        copy = pickle.loads(dumps(message))
        assert copy == message
        assert type(copy) is type(message)
        assert hash(type(copy)) == hash(type(message))


def test_a_field_that_is_not_in_init_survives_as_it_was() -> None:
    order = _Order("x", Decimal(1), UnixAddress("a"))
    object.__setattr__(order, "derived", "changed")
    assert pickle.loads(dumps(order)).derived == "changed"


def test_a_frozen_copy_is_frozen() -> None:
    with pytest.raises(AttributeError):
        pickle.loads(dumps(_Base("a"))).name = "b"
