"""Find the strategy class that the configuration names."""

from __future__ import annotations

import importlib
import inspect

from actors.strategist.api import Strategy


class StrategyLoadError(Exception):
    """The named strategy cannot be used; the text says why and what would be right."""


def load(name: str) -> type[Strategy]:
    """Import ``package.module:Class``; raises StrategyLoadError. Runs only in the strategy's own process."""
    module_name, separator, class_name = name.partition(":")
    if not separator or not module_name or not class_name:
        raise StrategyLoadError(f"strategist.strategy: {name!r} is not package.module:Class")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise StrategyLoadError(
            f"strategist.strategy: module {module_name!r} cannot be imported: {error}; is its folder in PYTHONPATH?"
        ) from error
    found = getattr(module, class_name, None)
    if found is None:
        raise StrategyLoadError(f"strategist.strategy: module {module_name!r} has no {class_name!r}")
    if not (inspect.isclass(found) and issubclass(found, Strategy)):
        raise StrategyLoadError(f"strategist.strategy: {name} does not derive from actors.strategist.api.Strategy")
    if inspect.isabstract(found):
        raise StrategyLoadError(f"strategist.strategy: {name} lacks the method decide(view)")
    return found
