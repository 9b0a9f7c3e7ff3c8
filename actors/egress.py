"""The egress record: one fixed-size line per request that may move money, written just before the first byte.

The record is appended with a single ``write`` on an ``O_APPEND`` descriptor. A write that returned survives
SIGKILL of the process, because the page cache belongs to the kernel; it needs no fsync. It does not survive a
crash of the host, therefore every record carries the boot id and proves something about its own boot only:
no record of a client order id in the same boot proves that nothing was sent.

That holds only for the very file that was open when the order went its way. So a log has births: records of a
random id, the boot, and which file it is (device, inode, when it was made). A new one is written where the log
does not go on unbroken: another boot, a new or copied file, a torn or damaged end. An intent keeps the id of the
birth that was the newest then; under any other one nothing is proven about it.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import secrets
import struct
import threading
import zlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

_MAGIC = b"TDE1"
_FORM = struct.Struct("<4sc3x64s16s36sqqI")
RECORD_BYTES = _FORM.size + 4
CLIENT_ID_BYTES = 64
COMPACT_ABOVE_BYTES = 16_000_000
_AT_FDCWD, _AT_EMPTY_PATH, _STATX_BTIME = -100, 0x1000, 0x800  # linux/fcntl.h, linux/stat.h


class Verb(StrEnum):
    """What the request asks of the venue; one letter in the record."""

    CREATE = "C"
    EDIT = "E"
    CANCEL = "X"
    BIRTH = "B"


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
    """What ``read_records`` found. ``torn``: a last record cut short; ``damaged``: records with a bad checksum.

    ``birth``: the newest one, None when it is not of this very file; ``unbroken``: nothing is damaged since it.
    """

    records: tuple[EgressRecord, ...]
    torn: bool
    damaged: int
    birth: EgressRecord | None = None
    unbroken: bool = False

    def created(self, boot: str) -> frozenset[str]:
        """Client order ids whose create was about to be written in the boot ``boot``."""
        return frozenset(r.client_order_id for r in self.records if r.verb is Verb.CREATE and r.boot_id == boot)


def boot_id() -> str:
    """The kernel's id of this boot; raises OSError where it cannot be read (nothing may be sent then)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def read_records(path: Path) -> EgressLog:
    """All records of ``path``; a missing file is an empty log. Raises OSError when it cannot be read."""
    try:
        with path.open("rb") as file:
            identity = _identity(file.fileno())
            data = file.read()
    except FileNotFoundError:
        return EgressLog((), torn=False, damaged=0)
    records: list[EgressRecord] = []
    damaged = before_birth = 0
    birth: EgressRecord | None = None
    whole = len(data) - len(data) % RECORD_BYTES
    for start in range(0, whole, RECORD_BYTES):
        record = _decode(data[start : start + RECORD_BYTES])
        if record is None:
            damaged += 1
        elif record.verb is Verb.BIRTH:
            birth, before_birth = record, damaged
        else:
            records.append(record)
    torn = whole != len(data)
    if birth is not None and birth.body_sha256 != identity:
        birth = None
    unbroken = birth is not None and not torn and damaged == before_birth
    return EgressLog(tuple(records), torn, damaged, birth, unbroken)


def newest_birth(path: Path) -> str:
    """The id of the newest birth of this very file, or nothing when it has none. Raises OSError.

    Looks at the records from the end, so that it takes no longer in a long log.
    """
    try:
        with path.open("rb") as file:
            for n in range(os.fstat(file.fileno()).st_size // RECORD_BYTES - 1, -1, -1):
                data = os.pread(file.fileno(), RECORD_BYTES, n * RECORD_BYTES)
                if data[len(_MAGIC) : len(_MAGIC) + 1] == Verb.BIRTH.value.encode():
                    record = _decode(data)
                    here = record is not None and record.body_sha256 == _identity(file.fileno())
                    return record.client_order_id if record is not None and here else ""
    except FileNotFoundError:
        pass  # no log yet: nothing will be proven
    return ""


def _identity(path: Path | int) -> str:
    """Which file this is: a copy is another one, even where it was given the inode of the first. Raises OSError."""
    text = f"{_place(path)}:{_made_at(path).hex()}"
    return hashlib.sha256(text.encode()).digest()[:16].hex()


def _place(path: Path | int) -> tuple[int, int]:
    found = os.fstat(path) if isinstance(path, int) else path.stat()
    return found.st_dev, found.st_ino


def _made_at(path: Path | int) -> bytes:
    """When the file was made, as the kernel keeps it; nothing where it (or its file system) does not."""
    statx = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)
    if statx is None:
        return b""
    found = ctypes.create_string_buffer(256)
    where = (path, b"", _AT_EMPTY_PATH) if isinstance(path, int) else (_AT_FDCWD, os.fsencode(path), 0)
    if statx(*where, _STATX_BTIME, found):
        return b""
    (mask,) = struct.unpack_from("<I", found)
    return found.raw[80:92] if mask & _STATX_BTIME else b""  # struct statx: seconds, nanoseconds


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
    """Appends records; one process at a time (the holder of the gateway's lock). Threads may share it.

    ``birth``: the id of the log's newest birth, empty when it could not be written (then no record can be either).
    """

    def __init__(self, path: Path, boot: str, incarnation: int) -> None:
        self.count = 0
        self.birth = ""
        self._path = path
        self._boot = boot
        self._incarnation = incarnation
        self._lock = threading.Lock()
        self._fd = -1
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _compact(path, boot)
            self._fd = self._open()
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.ENOSPC):
                raise
            # Such a disk refuses every record, and with it every order; cancels need none.

    def _open(self) -> int:
        log = read_records(self._path)
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._file, self._place = _identity(fd), _place(fd)
        self.birth = ""
        try:
            if log.birth is not None and log.unbroken and log.birth.boot_id == self._boot:
                self.birth = log.birth.client_order_id
            else:
                self._align(fd)
                self._be_born(fd)
        except OSError:
            pass  # the disk is full: the next record tries again, and is refused while it is
        return fd

    def _be_born(self, fd: int) -> None:
        name = secrets.token_hex(12)
        data = _encode(EgressRecord(Verb.BIRTH, name, self._file, self._boot, 0, 0, self._incarnation))
        if os.write(fd, data) != len(data):
            raise EgressError("the birth of the egress log was written in part: the disk may be full")
        self.birth = name

    def _same_file(self) -> bool:
        """Whether those who come after will find what is written here."""
        try:
            return _place(self._path) == self._place
        except OSError:
            return False

    def append(self, verb: Verb, client_order_id: str, body: bytes, *, boot_ns: int, utc_ns: int) -> None:
        """Write one record; raises EgressError when it is not completely in the kernel."""
        digest = hashlib.sha256(body).digest()[:16].hex()
        record = EgressRecord(verb, client_order_id, digest, self._boot, boot_ns, utc_ns, self._incarnation)
        with self._lock:
            try:
                data = _encode(record)
                if self._fd < 0 or not self.birth or not self._same_file():
                    self.close()
                    self._fd = self._open()
                if not self.birth:
                    raise EgressError("the disk may be full")
                written = os.write(self._fd, data)
            except (OSError, ValueError) as error:
                raise EgressError(f"egress record of {client_order_id!r} not written: {error}") from error
            if written != len(data):
                self.birth = ""  # what follows a torn record begins anew
                raise EgressError(f"egress record of {client_order_id!r} written in part: the disk may be full")
            self.count += 1

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _align(self, fd: int) -> None:
        """Fill up a record that was cut short, so that those after it can be read."""
        short = os.fstat(fd).st_size % RECORD_BYTES
        if short and os.write(fd, bytes(RECORD_BYTES - short)) != RECORD_BYTES - short:
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
