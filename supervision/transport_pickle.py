"""One serializer: pickle, with a short way for frozen slotted dataclasses, which is what messages are.

The dataclasses module pickles those through ``fields()`` in Python, twice; that costs more than the kernel does.
"""

from __future__ import annotations

import copyreg
import dataclasses
import operator
import pickle
from collections.abc import Callable

_set = object.__setattr__  # as dataclasses itself restores a frozen instance, without calling __init__
_known: set[type] = set()
_field_names: dict[type, tuple[str, ...]] = {}


def dumps(message: object) -> bytes:
    """The pickle of a message, protocol 5."""
    kind = type(message)
    if kind not in _known:
        _learn(kind)
    return pickle.dumps(message, 5)


def learn(kind: type) -> None:
    """Give a dataclass that travels inside of messages the short way, too."""
    if kind not in _known:
        _learn(kind)


def _learn(kind: type) -> None:
    _known.add(kind)
    own_state = kind.__dict__.get("__getstate__")
    if not dataclasses.is_dataclass(kind) or getattr(own_state, "__module__", None) != "dataclasses":
        return  # a plain class, or one that pickles in its own way
    if "__reduce__" in kind.__dict__ or "__reduce_ex__" in kind.__dict__:
        return
    names = _names(kind)
    if len(names) < 2:
        return  # nothing to gain
    take = operator.attrgetter(*names)

    def call(message: object) -> tuple[Callable[..., object], tuple[object, ...]]:
        return kind, take(message)

    def reduce(message: object) -> tuple[Callable[..., object], tuple[object, ...]]:
        return rebuild, (kind, *take(message))

    # typeshed ties the reducer to one class
    copyreg.pickle(kind, call if _init_only_stores(kind) else reduce)  # type: ignore[arg-type]


def _init_only_stores(kind: type) -> bool:
    """Whether calling the class with its fields' values, in their order, does no more than set them."""
    plain = all(field.init and not field.kw_only for field in dataclasses.fields(kind))
    code = getattr(kind.__init__, "__code__", None)  # type: ignore[misc]
    is_generated = code is not None and code.co_filename == "<string>"  # one that the class defines itself is kept
    return plain and is_generated and not hasattr(kind, "__post_init__")


def _names(kind: type) -> tuple[str, ...]:
    names = _field_names[kind] = tuple(field.name for field in dataclasses.fields(kind))
    return names


def rebuild(kind: type, *values: object) -> object:
    """An instance with these field values; both ends run the same program, so the fields are the same."""
    message: object = object.__new__(kind)
    for name, value in zip(_field_names.get(kind) or _names(kind), values, strict=True):
        _set(message, name, value)
    return message
