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


@pytest.mark.parametrize(
    ("words", "request_words"),
    [
        (
            ["resolve", "td-a-1-e-4", "--as", "filled", "--evidence", "statement", "--price", "60000"],
            {
                "verb": "resolve",
                "target": "td-a-1-e-4",
                "reason": "statement",
                "arguments": {"as": "filled", "price": "60000"},
            },
        ),
        (["protect", "BTC-USD"], {"verb": "protect", "target": "BTC-USD", "reason": ""}),
        (["flatten", "BTC-USD", "--reason", "r"], {"verb": "flatten", "target": "BTC-USD", "reason": "r"}),
        (["reconcile"], {"verb": "reconcile", "reason": ""}),
        (["flows", "accept", "--reason", "deposit"], {"verb": "flows_accept", "reason": "deposit"}),
        (["baseline", "accept", "--reason", "moved"], {"verb": "baseline_accept", "reason": "moved"}),
    ],
)
def test_a_verb_is_said_to_the_daemon_and_its_end_is_shown(
    words: list[str],
    request_words: Json,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[Json] = []

    def ask(_data_dir: Path, request: Json, _timeout_s: float) -> Iterator[Json]:
        asked.append(request)
        yield {"event": "progress", "verb": words[0], "text": "under way", "details": {}}
        yield {"ok": True, "event": "done", "verb": words[0], "text": "it is done", "details": {"stop": "59000"}}

    monkeypatch.setattr(operate, "ask", ask)
    assert operate.operate(make_parser().parse_args([*words, "--data-dir", str(tmp_path)])) == operate.DONE
    assert asked == [request_words]
    shown = capsys.readouterr().out
    assert shown == f"{words[0]}: under way\ndone: {words[0]}: it is done\n  stop: 59000\n"


def test_a_verb_that_failed_says_why_and_exits_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(_data_dir: Path, _request: Json, _timeout_s: float) -> Iterator[Json]:
        yield {"ok": False, "event": "done", "verb": "resolve", "error": "it is OPEN"}

    monkeypatch.setattr(operate, "ask", ask)
    words = ["resolve", "td-a-1-e-4", "--as", "absent", "--evidence", "e", "--data-dir", str(tmp_path)]
    assert operate.operate(make_parser().parse_args(words)) == operate.REFUSED
    assert capsys.readouterr().out == "NOT DONE: resolve: it is OPEN\n"
