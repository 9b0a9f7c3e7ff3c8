"""The egress record: one fixed-size line per request that may move money, written just before the first byte.

The record is appended with a single ``write`` on an ``O_APPEND`` descriptor. A write that returned survives
SIGKILL of the process, because the page cache belongs to the kernel; it needs no fsync. It does not survive a
crash of the host, therefore every record carries the boot id and proves something about its own boot only:
no record of a client order id in the same boot proves that nothing was sent.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_MAGIC = b"TDE1"
_FORM = struct.Struct("<4sc3x64s16s36sqqI")
RECORD_BYTES = _FORM.size + 4
CLIENT_ID_BYTES = 64
COMPACT_ABOVE_BYTES = 16_000_000


class Verb(StrEnum):
    """What the request asks of the venue; one letter in the record."""

    CREATE = "C"
    EDIT = "E"
    CANCEL = "X"


class EgressError(OSError):
    """The record could not be written: the request must not be sent."""


@dataclass(frozen=True, slots=True)
class EgressRecord:
    """One request that was about to be written. ``body_sha256`` holds the first 16 bytes of the hash, in hex."""

    verb: Verb
    client_order_id: str
    body_sha256: str
    boot_id: str
    boot_ns: int
    utc_ns: int
    incarnation: int


@dataclass(frozen=True, slots=True)
class EgressLog:
    """What ``read_records`` found. ``torn``: a last record cut short; ``damaged``: records with a bad checksum."""

    records: tuple[EgressRecord, ...]
    torn: bool
    damaged: int

    def created(self, boot: str) -> frozenset[str]:
        """Client order ids whose create was about to be written in the boot ``boot``."""
        return frozenset(r.client_order_id for r in self.records if r.verb is Verb.CREATE and r.boot_id == boot)


def boot_id() -> str:
    """The kernel's id of this boot; raises OSError where it cannot be read (nothing may be sent then)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def read_records(path: Path) -> EgressLog:
    """All records of ``path``; a missing file is an empty log. Raises OSError when it cannot be read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return EgressLog((), torn=False, damaged=0)
    records = []
    damaged = 0
    whole = len(data) - len(data) % RECORD_BYTES
    for start in range(0, whole, RECORD_BYTES):
        record = _decode(data[start : start + RECORD_BYTES])
        if record is None:
            damaged += 1
        else:
            records.append(record)
    return EgressLog(tuple(records), torn=whole != len(data), damaged=damaged)


def _encode(record: EgressRecord) -> bytes:
    name = record.client_order_id.encode("ascii")
    if not 0 < len(name) <= CLIENT_ID_BYTES:
        raise ValueError(f"a client order id has 1 to {CLIENT_ID_BYTES} characters: {record.client_order_id!r}")
    body = _FORM.pack(
        _MAGIC,
        record.verb.value.encode(),
        name,
        bytes.fromhex(record.body_sha256),
        record.boot_id.encode("ascii"),
        record.boot_ns,
        record.utc_ns,
        record.incarnation,
    )
    return body + struct.pack("<I", zlib.crc32(body))


def _decode(data: bytes) -> EgressRecord | None:
    body, (crc,) = data[:-4], struct.unpack("<I", data[-4:])
    if zlib.crc32(body) != crc:
        return None
    magic, verb, name, digest, boot, boot_ns, utc_ns, incarnation = _FORM.unpack(body)
    if magic != _MAGIC:
        return None
    try:
        return EgressRecord(
            Verb(verb.decode("ascii")),
            name.rstrip(b"\0").decode("ascii"),
            digest.hex(),
            boot.rstrip(b"\0").decode("ascii"),
            boot_ns,
            utc_ns,
            incarnation,
        )
    except ValueError:
        return None


class EgressWriter:
    """Appends records; one process at a time (the holder of the gateway's lock). Threads may share it."""

    def __init__(self, path: Path, boot: str, incarnation: int) -> None:
        self.count = 0
        self._boot = boot
        self._incarnation = incarnation
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _compact(path, boot)
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._align()

    def append(self, verb: Verb, client_order_id: str, body: bytes, *, boot_ns: int, utc_ns: int) -> None:
        """Write one record; raises EgressError when it is not completely in the kernel."""
        digest = hashlib.sha256(body).digest()[:16].hex()
        record = EgressRecord(verb, client_order_id, digest, self._boot, boot_ns, utc_ns, self._incarnation)
        try:
            data = _encode(record)
            written = os.write(self._fd, data)
        except (OSError, ValueError) as error:
            raise EgressError(f"egress record of {client_order_id!r} not written: {error}") from error
        if written != len(data):
            self._align()
            raise EgressError(f"egress record of {client_order_id!r} written in part: the disk may be full")
        self.count += 1

    def close(self) -> None:
        os.close(self._fd)

    def _align(self) -> None:
        """Fill up a record that was cut short, so that those after it can be read."""
        short = os.fstat(self._fd).st_size % RECORD_BYTES
        if short and os.write(self._fd, bytes(RECORD_BYTES - short)) != RECORD_BYTES - short:
            raise EgressError("the egress log ends in a torn record and cannot be filled up: the disk may be full")


def _compact(path: Path, boot: str) -> None:
    """Leave only this boot's records when the log has grown large: others prove nothing any more."""
    try:
        if path.stat().st_size <= COMPACT_ABOVE_BYTES:
            return
    except FileNotFoundError:
        return
    kept = b"".join(_encode(record) for record in read_records(path).records if record.boot_id == boot)
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(kept)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
