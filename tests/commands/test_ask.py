"""Who answers on the operators' socket is looked at: its folder's name is known, and anyone may make it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import ask
from commands.ask import ask_once, say

NOBODY = 65_534


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A program of another user that says yes to everything; the path of its socket."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    path = tmp_path / "admin.sock"
    monkeypatch.setattr(ask, "admin_socket", lambda _data_dir: path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    pid = os.fork()
    if pid == 0:
        os.setuid(NOBODY)
        listener.listen()  # the kernel shows who listens
        while True:
            connection, _ = listener.accept()
            connection.sendall(b'{"ok":true,"event":"done","state":"KILLED"}\n')
            connection.close()
    yield path
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    listener.close()


def test_another_users_program_does_not_pass_for_the_daemon(stranger: Path, tmp_path: Path) -> None:
    told = f"uid {NOBODY}"
    for speak in (lambda: ask_once(tmp_path, {"verb": "kill"}, 5.0), lambda: say(tmp_path, {"verb": "kill"})):
        for _ in range(500):
            try:
                speak()
            except ConnectionRefusedError:
                continue
            except PermissionError as error:
                assert told in str(error)
                break
            except ask.NotRunningError:  # it does not listen yet
                continue
            pytest.fail("a stranger's word was taken")
        else:
            pytest.fail("the stranger never listened")


def test_root_and_the_owner_of_the_folder_are_no_strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ask._refuse_strangers(ours, tmp_path, tmp_path)
        monkeypatch.setattr(ask, "peer_credentials", lambda _connection: (1, tmp_path.stat().st_uid))
        monkeypatch.setattr(os, "geteuid", lambda: NOBODY)
        ask._refuse_strangers(ours, tmp_path, tmp_path)
