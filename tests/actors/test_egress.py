"""The egress record: survives a kill, tolerates a torn tail, never passes damage off as a record."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from actors import egress
from actors.egress import RECORD_BYTES, EgressError, EgressWriter, Verb, boot_id, read_records


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
    os.truncate(path, RECORD_BYTES + 20)
    log = read_records(path)
    assert [r.client_order_id for r in log.records] == ["one"]
    assert log.torn


def test_records_after_a_torn_one_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "egress.log"
    _write(path, "one", "two")
    os.truncate(path, RECORD_BYTES + 20)
    _write(path, "three")
    log = read_records(path)
    assert [r.client_order_id for r in log.records] == ["one", "three"]
    assert (log.torn, log.damaged) == (False, 1)


def test_a_flipped_bit_is_damage_not_a_record(tmp_path: Path) -> None:
    path = tmp_path / "egress.log"
    _write(path, "one")
    data = bytearray(path.read_bytes())
    data[12] ^= 1
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
