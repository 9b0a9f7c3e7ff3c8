"""The operators' door: garbage is answered, and nobody can hold it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from actors.admin import door
from actors.admin.door import MAX_WAITING, Door, Visit


@pytest.fixture
def connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], socket.socket]]:
    monkeypatch.setattr(door, "REQUEST_S", 0.3)
    Door(tmp_path / "door", lambda visit: visit.end({"ok": True})).open()
    opened: list[socket.socket] = []

    def make() -> socket.socket:
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        one.settimeout(5)
        one.connect(str(tmp_path / "door"))
        opened.append(one)
        return one

    yield make
    for one in opened:
        one.close()


def _answer(one: socket.socket) -> dict[str, object]:
    found = orjson.loads(one.makefile("rb").readline())
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("request_line", [b"garbage\n", b"[]\n", b'{"verb":1}\n', b"\xff\xfe\n"])
def test_garbage_is_told_what_a_request_is(connect: Callable[[], socket.socket], request_line: bytes) -> None:
    one = connect()
    one.sendall(request_line)
    assert _answer(one)["ok"] is False


def test_visitors_who_say_a_byte_now_and_then_do_not_hold_the_door(connect: Callable[[], socket.socket]) -> None:
    slow = [connect() for _ in range(MAX_WAITING)]
    end = time.monotonic() + 2.0
    while time.monotonic() < end:
        for one in list(slow):
            try:
                one.send(b" ")
            except OSError:
                slow.remove(one)
        if not slow:
            break
        time.sleep(0.05)
    late = connect()
    late.sendall(b'{"verb":"status"}\n')
    assert _answer(late) == {"ok": True}


def test_a_request_is_whole_at_its_newline(connect: Callable[[], socket.socket]) -> None:
    one = connect()
    for piece in (b'{"verb":', b'"status"', b"}\n"):
        one.sendall(piece)
    assert _answer(one) == {"ok": True}


def test_a_visit_hands_over_its_answers_in_order() -> None:
    visit = Visit({"verb": "status"})
    visit.say({"n": 1})
    visit.end({"n": 2})
    assert [visit.next(), visit.next(), visit.next()] == [{"n": 1}, {"n": 2}, None]
