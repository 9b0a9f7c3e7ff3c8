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


@pytest.mark.parametrize("heard", [[], [{"event": "progress", "cancelled": 1, "unproven": 2}]])
def test_a_daemon_that_hangs_up_in_the_middle_is_no_silent_refusal(
    heard: list[Json], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(operate, "ask", lambda *_: iter(heard))
    assert _kill(tmp_path) == operate.REFUSED
    assert "hung up" in capsys.readouterr().err


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


@pytest.mark.parametrize(
    ("words", "named"), [([], "flow-1 flow-2"), (["--id", "flow-2"], "flow-2"), (["--id", "flow-9"], "flow-9")]
)
def test_flows_are_named_as_they_were_shown_when_they_are_accepted(
    words: list[str],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[Json] = []
    flows = [
        {"flow": f"flow-{n}", "currency": "USD", "amount": f"-{n}", "found": "2026-01-01T00:00:00Z"} for n in (1, 2)
    ]

    def ask(_data_dir: Path, request: Json, _timeout_s: float) -> Iterator[Json]:
        if request["verb"] == "status":
            yield {"ok": True, "status": {"reconcile": {"flows": flows}}}
            return
        asked.append(request)
        yield {"ok": True, "event": "done", "verb": "flows_accept", "text": "it is done"}

    monkeypatch.setattr(operate, "ask", ask)
    line = ["flows", "accept", "--reason", "rent", *words, "--data-dir", str(tmp_path)]
    assert operate.operate(make_parser().parse_args(line)) == operate.DONE
    assert asked == [{"verb": "flows_accept", "reason": "rent", "arguments": {"flows": named}}]
    shown = capsys.readouterr().out
    assert [n for n in (1, 2) if f"accepting flow-{n}: -{n} USD since 2026" in shown] == [
        n for n in (1, 2) if f"flow-{n}" in named
    ]


def test_a_verb_that_failed_says_why_and_exits_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(_data_dir: Path, _request: Json, _timeout_s: float) -> Iterator[Json]:
        yield {"ok": False, "event": "done", "verb": "resolve", "error": "it is OPEN"}

    monkeypatch.setattr(operate, "ask", ask)
    words = ["resolve", "td-a-1-e-4", "--as", "absent", "--evidence", "e", "--data-dir", str(tmp_path)]
    assert operate.operate(make_parser().parse_args(words)) == operate.REFUSED
    assert capsys.readouterr().out == "NOT DONE: resolve: it is OPEN\n"


def _shown(words: list[str], answers: list[Json], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(operate, "create_latch", lambda *_: None)
    monkeypatch.setattr(operate, "ask", lambda *_: iter(answers))
    return operate.operate(make_parser().parse_args(words))


def test_progress_names_the_verb_and_what_is_unproven(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    progress: Json = {"event": "progress", "verb": "halt", "cancelled": 2, "unproven": 1, "text": "1 unproven"}
    done: Json = {"ok": True, "event": "done", "verb": "halt", "state": "HALTED"}
    assert _shown(["halt", "--reason", "r"], [progress, done], monkeypatch) == operate.DONE
    told = "halt: being proven at the exchange, cancelled 2, unproven 1\ndone: halt -> HALTED\n"
    assert capsys.readouterr().out == told


def test_a_resume_that_trades_nothing_yet_says_what_still_stops_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer: Json = {"ok": True, "event": "done", "verb": "resume", "state": "REDUCE_ONLY", "reasons": ["breaker disk"]}
    assert _shown(["resume", "--reason", "r"], [answer], monkeypatch) == operate.DONE
    assert capsys.readouterr().out == "done: resume -> REDUCE_ONLY\n  still stopped by: breaker disk\n"


def test_a_refusal_shows_its_reason_before_the_state(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer: Json = {"ok": False, "event": "done", "verb": "flows_accept", "error": "no disk", "state": "HALTED"}
    assert _shown(["flows", "accept", "--reason", "r"], [answer], monkeypatch) == operate.REFUSED
    assert capsys.readouterr().out == "NOT DONE: flows accept: no disk (trading is HALTED)\n"


@pytest.mark.parametrize(
    ("command", "way_out"),
    [("kill", "run.py panic"), ("halt", "run.py panic"), ("reduce", "run.py panic"), ("release", "Start it first")],
)
def test_without_a_daemon_the_way_out_is_told(
    command: str, way_out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [command, "--reason", "r", "--data-dir", str(tmp_path)]
    assert operate.operate(make_parser().parse_args(words)) == operate.NOT_RUNNING
    assert way_out in capsys.readouterr().err


@pytest.mark.parametrize("command", ["kill", "halt", "reduce", "resume", "release"])
def test_a_blank_reason_is_refused_before_anything_is_done(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refusal:
        make_parser().parse_args([command, "--reason", " ", "--data-dir", str(tmp_path)])
    assert refusal.value.code == 2
    assert "may not be empty" in capsys.readouterr().err


def test_a_data_folder_that_is_a_file_is_no_running_daemon(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    words = ["halt", "--reason", "r", "--data-dir", str(tmp_path / "file")]
    assert operate.operate(make_parser().parse_args(words)) == operate.NOT_RUNNING
