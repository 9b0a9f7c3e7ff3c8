"""The log never blocks whoever writes it: a reader that stopped costs lines, and hears how many."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from actors.log import MASK, Log, scrub_fields

LINES = 3000
"""More than a pipe or a socket holds."""


@contextmanager
def stderr_is(fd: int) -> Iterator[None]:
    """This process's stderr is ``fd`` meanwhile."""
    kept, captured = os.dup(2), sys.stderr
    os.dup2(fd, 2)
    assert sys.__stderr__ is not None
    sys.stderr = sys.__stderr__
    try:
        yield
    finally:
        sys.stderr = captured
        os.dup2(kept, 2)
        os.close(kept)


def _read_all(fd: int) -> str:
    os.set_blocking(fd, False)
    found = b""
    while True:
        try:
            piece = os.read(fd, 1 << 16)
        except BlockingIOError:
            return found.decode()
        if not piece:
            return found.decode()
        found += piece


def _fill_then_read(log: Log, read_fd: int) -> str:
    for n in range(LINES):
        log.info("line", n=n, filling="x" * 100)
    first = _read_all(read_fd)
    log.info("after")
    return first + _read_all(read_fd)


def test_a_full_pipe_costs_lines_and_says_how_many() -> None:
    read_fd, write_fd = os.pipe()
    with stderr_is(write_fd):
        text = _fill_then_read(Log("a", form="json"), read_fd)
    told = [line for line in text.splitlines() if line.endswith("log lines lost]")]
    arrived = text.count('"event":"line"')
    assert 0 < arrived < LINES
    assert told == [f"[{LINES - arrived} log lines lost]"]
    assert '"event":"after"' in text.splitlines()[-1]
    os.close(read_fd)
    os.close(write_fd)


def test_the_inherited_descriptor_stays_blocking_for_whoever_else_holds_it() -> None:
    read_fd, write_fd = os.pipe()
    with stderr_is(write_fd):
        Log("a").info("one")
    assert not fcntl.fcntl(write_fd, fcntl.F_GETFL) & os.O_NONBLOCK
    os.close(read_fd)
    os.close(write_fd)


def test_a_full_socket_does_not_block_either() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, stderr_is(ours.fileno()):
        text = _fill_then_read(Log("a", form="json"), theirs.fileno())
    assert "log lines lost]" in text


def test_a_reader_that_left_stops_nobody() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    with stderr_is(write_fd):
        Log("a").info("nobody hears")
    os.close(write_fd)


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("dsn", "https://key@host/1", MASK),
        ("jwt", "eyJ", MASK),
        ("api_secret", "s", MASK),
        ("jwt_life_s", 120.0, 120.0),
        ("dsn_file", "/run/secrets/sentry", "/run/secrets/sentry"),
    ],
)
def test_a_secret_is_masked_by_its_name_and_a_duration_or_a_path_is_none(
    key: str, value: object, shown: object
) -> None:
    assert scrub_fields({"venue": {key: value}}) == {"venue": {key: shown}}
