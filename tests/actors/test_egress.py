"""The egress record: survives a kill, tolerates a torn tail, never passes damage off as a record."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from actors import egress
from actors.egress import RECORD_BYTES, EgressError, EgressWriter, Verb, boot_id, newest_birth, read_records


def _write(path: Path, *names: str, boot: str = "b") -> None:
    writer = EgressWriter(path, boot, 3)
    for n, name in enumerate(names):
        writer.append(Verb.CREATE, name, b"{}", boot_ns=n, utc_ns=10 + n)
    writer.close()


def test_a_missing_log_is_empty(tmp_path: Path) -> None:
    assert read_records(tmp_path / "egress.log").records == ()


def test_records_come_back_in_order_with_all_their_fields(tmp_path: Path) -> None:
    path = tmp_path / "egress.log"
    _write(path, "td-a-1-e-1", "td-a-1-e-2", boot=boot_id())
    first, second = read_records(path).records
    assert (first.client_order_id, first.boot_ns, first.utc_ns, first.incarnation) == ("td-a-1-e-1", 0, 10, 3)
    assert first.boot_id == boot_id()
    assert second.client_order_id == "td-a-1-e-2"
    assert first.body_sha256 == "44136fa355b3678a1146ad16f7e8649e"  # sha256 of {}


def test_created_counts_only_creates_of_the_boot_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "egress.log"
    _write(path, "old", boot="earlier")
    writer = EgressWriter(path, "now", 1)
    writer.append(Verb.CREATE, "new", b"", boot_ns=1, utc_ns=1)
    writer.append(Verb.CANCEL, "gone", b"", boot_ns=1, utc_ns=1)
    assert read_records(path).created("now") == {"new"}


def test_a_torn_tail_is_reported_and_the_records_before_it_stand(tmp_path: Path) -> None:
    path = tmp_path / "egress.log"
    _write(path, "one", "two")
    os.truncate(path, 2 * RECORD_BYTES + 20)
    log = read_records(path)
    assert [r.client_order_id for r in log.records] == ["one"]
    assert log.torn


def test_records_after_a_torn_one_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "egress.log"
    _write(path, "one", "two")
    os.truncate(path, 2 * RECORD_BYTES + 20)
    _write(path, "three")
    log = read_records(path)
    assert [r.client_order_id for r in log.records] == ["one", "three"]
    assert (log.torn, log.damaged, log.unbroken) == (False, 1, True)  # what is damaged lies before the new birth


def test_a_flipped_bit_is_damage_not_a_record(tmp_path: Path) -> None:
    path = tmp_path / "egress.log"
    _write(path, "one")
    data = bytearray(path.read_bytes())
    data[RECORD_BYTES + 12] ^= 1
    path.write_bytes(data)
    log = read_records(path)
    assert (log.records, log.damaged) == ((), 1)


@pytest.mark.parametrize("name", ["", "x" * 65, "ümlaut"])
def test_an_id_that_cannot_be_recorded_must_not_be_sent(tmp_path: Path, name: str) -> None:
    writer = EgressWriter(tmp_path / "egress.log", "b", 1)
    with pytest.raises(EgressError):
        writer.append(Verb.CREATE, name, b"", boot_ns=1, utc_ns=1)
    assert read_records(tmp_path / "egress.log").records == ()


def test_a_full_disk_raises(tmp_path: Path) -> None:
    writer = EgressWriter(tmp_path / "egress.log", "b", 1)
    os.dup2(os.open("/dev/full", os.O_WRONLY), writer._fd)
    with pytest.raises(EgressError):
        writer.append(Verb.CREATE, "one", b"", boot_ns=1, utc_ns=1)
    assert writer.count == 0


def test_a_large_log_keeps_only_this_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "egress.log"
    monkeypatch.setattr(egress, "COMPACT_ABOVE_BYTES", RECORD_BYTES)
    _write(path, "old", boot="earlier")
    _write(path, "mine", boot="now")
    _write(path, "next", boot="now")
    assert [r.client_order_id for r in read_records(path).records] == ["mine", "next"]


def test_a_record_survives_a_kill_right_after_the_write(tmp_path: Path) -> None:
    path = tmp_path / "egress.log"
    code = (
        "import os,signal,sys;from pathlib import Path;from actors.egress import *;"
        "w=EgressWriter(Path(sys.argv[1]),boot_id(),1);"
        "w.append(Verb.CREATE,'td-a-1-e-1',b'x',boot_ns=1,utc_ns=1);os.kill(os.getpid(),signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(path)], timeout=20)
    assert ended.returncode == -signal.SIGKILL
    assert read_records(path).created(boot_id()) == {"td-a-1-e-1"}


def _births(path: Path) -> list[str]:
    records = path.read_bytes()
    step = range(0, len(records), RECORD_BYTES)
    found = [egress._decode(records[at : at + RECORD_BYTES]) for at in step]
    return [one.client_order_id for one in found if one is not None and one.verb is Verb.BIRTH]


def test_a_log_that_goes_on_unbroken_has_one_birth(tmp_path: Path) -> None:
    path = tmp_path / "egress.log"
    _write(path, "one")
    _write(path, "two")
    (birth,) = _births(path)
    assert newest_birth(path) == birth
    log = read_records(path)
    assert log.birth is not None and (log.birth.client_order_id, log.unbroken) == (birth, True)


@pytest.mark.parametrize("how", ["deleted", "copied", "torn", "damaged", "booted", "compacted"])
def test_a_log_that_does_not_go_on_is_born_again(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "egress.log"
    _write(path, "one", "two")
    before = newest_birth(path)
    if how == "deleted":
        path.rename(tmp_path / "elsewhere")
    elif how == "copied":
        shutil.copy2(path, tmp_path / "copy")
        (tmp_path / "copy").replace(path)
        assert newest_birth(path) == "" and read_records(path).birth is None
    elif how == "torn":
        os.truncate(path, path.stat().st_size - 7)
    elif how == "damaged":
        data = bytearray(path.read_bytes())
        data[-40] ^= 1
        path.write_bytes(data)
    elif how == "compacted":
        monkeypatch.setattr(egress, "COMPACT_ABOVE_BYTES", RECORD_BYTES)
    _write(path, "three", boot="later" if how == "booted" else "b")
    assert newest_birth(path) not in ("", before)
    assert "three" in {one.client_order_id for one in read_records(path).records}


def test_a_log_deleted_under_its_writer_is_made_anew_with_another_birth(tmp_path: Path) -> None:
    path = tmp_path / "egress.log"
    writer = EgressWriter(path, "b", 1)
    before = writer.birth
    path.rename(tmp_path / "elsewhere")
    writer.append(Verb.CREATE, "one", b"", boot_ns=1, utc_ns=1)
    assert writer.birth != before
    assert read_records(path).created("b") == {"one"}


def test_a_disk_that_was_full_at_the_start_refuses_records_until_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "egress.log"
    write = os.write

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    writer = EgressWriter(path, "b", 1)
    assert writer.birth == ""
    with pytest.raises(EgressError, match="full"):
        writer.append(Verb.CREATE, "one", b"", boot_ns=1, utc_ns=1)
    monkeypatch.setattr(os, "write", write)
    writer.append(Verb.CREATE, "two", b"", boot_ns=1, utc_ns=1)
    assert read_records(path).created("b") == {"two"}


def test_a_disk_that_turned_read_only_starts_a_writer_that_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, really = tmp_path / "egress.log", os.open
    EgressWriter(path, "b", 1).append(Verb.CREATE, "one", b"", boot_ns=1, utc_ns=1)

    def read_only(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, "Read-only file system")
        return really(path, flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr(egress.os, "open", read_only)
        writer = EgressWriter(path, "b", 2)
        assert writer.birth == ""
        for _ in range(2):
            with pytest.raises(EgressError, match="Read-only"):
                writer.append(Verb.CREATE, "two", b"", boot_ns=2, utc_ns=2)
    writer.append(Verb.CREATE, "three", b"", boot_ns=3, utc_ns=3)
    assert read_records(path).created("b") == {"one", "three"}


def test_a_log_that_cannot_be_opened_refuses_each_record_and_closes_nobody_elses_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "egress.log", os.open
    writer = EgressWriter(path, "b", 1)
    path.unlink()

    def read_only(path: object, flags: int, *more: int) -> int:
        if flags & os.O_WRONLY:
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", read_only)
    number = writer._fd
    with pytest.raises(EgressError, match="Read-only"):
        writer.append(Verb.CREATE, "one", b"", boot_ns=1, utc_ns=1)
    other = real(tmp_path, os.O_RDONLY)
    os.dup2(other, number)  # the number is in use again
    with pytest.raises(EgressError, match="Read-only"):
        writer.append(Verb.CREATE, "two", b"", boot_ns=1, utc_ns=1)
    os.fstat(number)
    for fd in {other, number}:
        os.close(fd)
    with pytest.raises(EgressError, match="Read-only"):
        EgressWriter(path, "b", 2).append(Verb.CREATE, "three", b"", boot_ns=1, utc_ns=1)
    monkeypatch.undo()
    writer.append(Verb.CREATE, "four", b"", boot_ns=1, utc_ns=1)
    assert read_records(path).created("b") == {"four"}


def test_a_copy_that_was_given_the_inode_of_the_first_file_is_another_file(tmp_path: Path) -> None:
    path = tmp_path / "egress.log"
    _write(path, "one")
    inode = path.stat().st_ino
    if not egress._made_at(path):
        pytest.skip("this file system does not keep when a file was made")
    shutil.copy2(path, tmp_path / "copy")
    path.unlink()
    tries = [tmp_path / f"try-{n}" for n in range(50)]
    for one in tries:
        shutil.copy2(tmp_path / "copy", one)
    same = [one for one in tries if one.stat().st_ino == inode]
    if not same:
        pytest.skip("this file system did not give the inode out again")
    same[0].rename(path)
    assert read_records(path).birth is None
