"""The runbook names everything that can wake somebody: breakers, alerts, reasons, exit codes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from actors.messages.health import BreakerName, TradingState
from actors.orders import booking
from commands import exits

ROOT = Path(__file__).resolve().parents[1]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
SOURCES = [path for folder in ("actors", "supervision", "commands") for path in sorted((ROOT / folder).rglob("*.py"))]
PAGERS = {"Alert": 1, "alert": 1, "_alert": 1, "page": 1}
"""Who is given an alert's key, and at which place."""
PASSED_ON = {"key", "row[3]", "item.breaker.value"}
"""Keys that were made elsewhere, or are a breaker's name."""
FINDERS = frozenset({"findings", "_findings", "lost_findings", "breaker_findings"})


def _calls(name_to_place: dict[str, int], sources: list[Path]) -> Iterator[ast.expr]:
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            place = name_to_place.get(name)
            if place is None:
                continue
            named = [word.value for word in node.keywords if word.arg in ("key", "kind")]
            yield from named or node.args[place : place + 1]


def _pieces(node: ast.expr) -> list[str]:
    """The fixed pieces of a text, in order."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def _alert_keys() -> set[str]:
    found = set()
    for node in _calls(PAGERS, SOURCES):
        pieces = _pieces(node)
        if pieces:
            found.add(pieces[0].partition(":")[0])
        else:
            assert ast.unparse(node) in PASSED_ON, f"an alert key that nobody can look up: {ast.unparse(node)}"
    return found


def _row(*names: str) -> bool:
    """A line of a table begins with the name, or a list of names, in code quotes."""
    heads = [line.split("|")[1] for line in RUNBOOK.splitlines() if line.startswith("|")]
    return any(f"`{name}`" in head or f"`{name}:" in head for head in heads for name in names)


def test_every_breaker_has_a_row() -> None:
    assert [str(one) for one in BreakerName if not _row(one)] == []


def test_every_trading_state_has_a_row() -> None:
    assert [str(state) for state in TradingState if f"\n| {state} |" not in RUNBOOK] == []


def test_every_exit_code_has_a_row() -> None:
    codes = {name: value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    assert len(codes) > 5
    assert [name for name, code in codes.items() if f"\n| {code} |" not in RUNBOOK] == []


def test_every_alert_has_a_row() -> None:
    keys = _alert_keys()
    assert {"naked", "foreign_host", "daemon_ended", "flow"} <= keys  # the search finds what it is for
    assert sorted(key for key in keys if not _row(key)) == []


def test_every_anomaly_has_a_row() -> None:
    sources = [path for path in SOURCES if path.parent.name == "orders"]
    kinds = {piece for node in _calls({"note": 0, "Anomaly": 0}, sources) for piece in _pieces(node)}
    kinds |= {booking.BEYOND, "absent_yet_seen", "resolved_yet_seen"}  # named by a variable there
    assert {"overfill", "not_configured"} <= kinds
    assert sorted(kind for kind in kinds if not _row(kind)) == []


def _reasons() -> set[str]:
    """How each reason of a trading state begins, as its first words in the code that makes it."""
    found = set()
    for path in sorted((ROOT / "supervision").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef) or node.name not in FINDERS:
                continue
            inner = {id(part) for text in ast.walk(node) if isinstance(text, ast.JoinedStr) for part in text.values}
            texts = [part for part in ast.walk(node) if isinstance(part, ast.JoinedStr | ast.Constant)]
            for text in texts:
                words = [piece.strip(" :;(") for piece in _pieces(text)] if id(text) not in inner else []
                told = next((piece for piece in words if len(piece) >= 6), "")
                if told and told != ast.get_docstring(node) and told != "restarting":
                    found.add(told)
    return found


def test_every_reason_of_a_trading_state_has_a_row() -> None:
    reasons = _reasons()
    assert {"killed", "waiting for", "seems to hang", "alerts are down: nobody would be told"} <= reasons
    heads = [line.split("|")[1] for line in RUNBOOK.splitlines() if line.startswith("|")]
    assert sorted(one for one in reasons if not any(one in head for head in heads)) == []
