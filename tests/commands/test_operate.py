"""A kill reaches the daemon whatever the disk does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import operate
from commands.ask import Json, NotRunningError
from commands.options import make_parser


def _full(*_: object) -> bool:
    raise OSError(28, "No space left on device")


def _kill(tmp_path: Path) -> int:
    return operate.operate(make_parser().parse_args(["kill", "--reason", "drill", "--data-dir", str(tmp_path)]))


def test_a_latch_that_cannot_be_written_does_not_keep_the_kill_from_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Json] = []

    def ask(_data_dir: Path, request: Json, _timeout_s: float) -> Iterator[Json]:
        asked.append(request)
        yield {"ok": True, "event": "done", "verb": "kill", "state": "KILLED"}

    monkeypatch.setattr(operate, "create_latch", _full)
    monkeypatch.setattr(operate, "ask", ask)
    assert _kill(tmp_path) == operate.REFUSED
    assert [request["verb"] for request in asked] == ["kill"]
    assert "NOT latched" in capsys.readouterr().err


def test_no_daemon_and_no_latch_is_never_told_as_latched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(*_: object) -> Iterator[Json]:
        raise NotRunningError("no daemon runs")

    monkeypatch.setattr(operate, "create_latch", _full)
    monkeypatch.setattr(operate, "ask", ask)
    assert _kill(tmp_path) == operate.NOT_RUNNING
    assert "next start is KILLED" not in capsys.readouterr().err
