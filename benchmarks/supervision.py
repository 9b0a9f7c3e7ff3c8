"""How starting and stopping children scales: ten and a hundred of them, static and dynamic (rule R29).

``python -m benchmarks.supervision`` prints; ``run()`` gives the figures. Wall-clock times on a shared host.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from supervision.administration import StartChild
from supervision.restart import Strategy
from tests.supervision.trees import Tree, part

FEW, MANY = 10, 100
STOP_S = 60.0


def run() -> dict[str, object]:
    """Times in milliseconds per child, and the ratios that R29 limits: per child, or in all for a dynamic stop."""
    found: dict[str, object] = {}
    for kind, measure in (("static", _static), ("dynamic", _dynamic)):
        times = {}
        for number in (FEW, MANY):
            start_s, stop_s, settled_s = measure(number)
            times[number] = start_s, stop_s
            found[f"{kind}_{number}_start_ms_per_child"] = 1e3 * start_s / number
            found[f"{kind}_{number}_stop_ms_per_child"] = 1e3 * stop_s / number
            found[f"{kind}_{number}_directory_settled_ms"] = 1e3 * settled_s
        found[f"{kind}_start_ratio_per_child"] = times[MANY][0] / times[FEW][0] * FEW / MANY
        found[f"{kind}_stop_ratio_per_child"] = times[MANY][1] / times[FEW][1] * FEW / MANY
        found[f"{kind}_stop_ratio"] = times[MANY][1] / times[FEW][1]
    return found


def _static(number: int) -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory(prefix="td-bench-") as folder:
        begun = time.monotonic()
        tree = Tree(Path(folder), *(part(f"part{n}", needs=("part*",)) for n in range(number)))
        try:
            while tree.counts()[1] < number:
                time.sleep(0.001)
            started = time.monotonic()
            settled_s = _settle(tree, f"part{number - 1}", number)
            return started - begun, _stop(tree, number), settled_s
        finally:
            tree.system.stop(0.0)


def _dynamic(number: int) -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory(prefix="td-bench-") as folder:
        tree = Tree(Path(folder), part("part", needs=("part*",)), strategy=Strategy.SIMPLE_ONE_FOR_ONE)
        try:
            tree.counts()
            begun = time.monotonic()
            for _ in range(number):
                tree.do(StartChild)
            started = time.monotonic()
            settled_s = _settle(tree, f"part:{number}", number)
            return started - begun, _stop(tree, number), settled_s
        finally:
            tree.system.stop(0.0)


def _settle(tree: Tree, last: str, number: int) -> float:
    """Until the youngest child knows all the others."""
    begun = time.monotonic()
    while len(tree.up(last).peers) < number:
        time.sleep(0.001)
    return time.monotonic() - begun


def _stop(tree: Tree, number: int) -> float:
    begun = time.monotonic()
    if tree.stop(STOP_S) != 0:
        raise RuntimeError(f"{number} children did not stop in order")
    return time.monotonic() - begun


if __name__ == "__main__":
    for key, value in run().items():
        print(f"{key:<44} {value:.2f}")
