"""The crash folder and one round of uploads over it; runs in a worker thread.

``<crash>/*.json`` wait, ``<crash>/sent/`` were taken by the server, ``<crash>/rejected/`` never will be.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from actors.clock import NS_PER_S
from actors.crashes.event import BadRecordError, make_event, parse
from actors.crashes.sentry import Uploader, UploadError
from config.settings import Settings

SENT, REJECTED = "sent", "rejected"
PER_ROUND = 50
"""Uploads in one look; those held back by the limit do not count, so they hold up nobody."""
WINDOW_S = 60.0
DSN_VARIABLE = "SENTRY_DSN"
SECRET_VARIABLE = re.compile(r"secret|private|passw|passphrase|token|auth|jwt|key|dsn|webhook", re.IGNORECASE)
"""Environment variables whose values may stand in no report."""
LEAST_PART = 8
"""Characters: a shorter path (a project's number in a DSN) is in every text and gives nothing away."""


@dataclass(slots=True)
class Round:
    """What one look into the folder did."""

    uploaded: int = 0
    rejected: int = 0
    dropped: int = 0
    limited: int = 0
    waiting: int = 0
    configured: bool = True
    error: str = ""
    retry_after_s: float | None = None


@dataclass(slots=True)
class FingerprintLimit:
    """At most ``per_minute`` uploads with one fingerprint in any minute; the rest wait on disk."""

    per_minute: int
    _times: dict[str, deque[int]] = field(default_factory=dict)

    def allows(self, fingerprint: str, now_boot_ns: int) -> bool:
        times = self._times.get(fingerprint)
        while times and now_boot_ns - times[0] >= WINDOW_S * NS_PER_S:
            times.popleft()
        return times is None or len(times) < self.per_minute

    def note(self, fingerprint: str, now_boot_ns: int) -> None:
        self._times.setdefault(fingerprint, deque()).append(now_boot_ns)
        while len(self._times) > 1000:
            del self._times[next(iter(self._times))]


class CrashFolder:
    """Used by one worker thread alone."""

    def __init__(self, settings: Settings, boot_ns: Callable[[], int]) -> None:
        self._settings = settings
        self._boot_ns = boot_ns
        self._limit = FingerprintLimit(settings.sentry.max_per_minute)
        self._uploader: tuple[str, Uploader] | None = None

    def run(self) -> Round:
        """Upload what may be uploaded; stops at the first failure of the server. Raises OSError for the folder."""
        done = Round()
        folder = self._settings.crash_dir
        done.dropped = self._prune(folder)
        waiting = sorted(folder.glob("*.json")) if folder.is_dir() else []
        done.waiting = len(waiting)
        try:
            dsn = self._read_dsn()
            done.configured = bool(dsn)
            if not dsn or not waiting:
                return done
            uploader = self._uploader_of(dsn)
        except (OSError, ValueError) as error:
            done.error = f"no usable DSN: {type(error).__name__}: {error}"
            return done
        secrets = self._secrets(dsn)
        for path in waiting:
            if done.uploaded + done.rejected >= PER_ROUND:
                break
            try:
                self._handle(path, uploader, secrets, done)
            except UploadError as error:
                done.error, done.retry_after_s = str(error), error.retry_after_s
                break
        done.waiting -= done.uploaded + done.rejected
        return done

    def _handle(self, path: Path, uploader: Uploader, secrets: tuple[str, ...], done: Round) -> None:
        try:
            crash = make_event(
                path.name, parse(path.read_bytes()), environment=self._settings.sentry.environment, secrets=secrets
            )
        except FileNotFoundError:
            return  # somebody tidied up
        except (BadRecordError, OSError):
            self._move(path, REJECTED)
            done.rejected += 1
            return
        now = self._boot_ns()
        if not self._limit.allows(crash.fingerprint, now):
            done.limited += 1
            return
        try:
            uploader.upload(crash.event)
        except UploadError as error:
            if not error.final:
                raise
            self._move(path, REJECTED)
            done.rejected += 1
            return
        self._limit.note(crash.fingerprint, now)
        self._move(path, SENT)
        done.uploaded += 1

    def _uploader_of(self, dsn: str) -> Uploader:
        if self._uploader is None or self._uploader[0] != dsn:
            options = self._settings.sentry
            made = Uploader(
                dsn, timeout_s=options.timeout_s, environment=options.environment, release=self._settings.build
            )
            self._uploader = (dsn, made)
        return self._uploader[1]

    def _read_dsn(self) -> str:
        file = self._settings.sentry.dsn_file
        if file:
            return Path(file).read_text(encoding="utf-8").strip()
        return os.environ.get(DSN_VARIABLE, "").strip()

    def _secrets(self, dsn: str) -> tuple[str, ...]:
        """Literal secrets of this daemon: whatever of them stands in a record is masked."""
        found = [dsn, *_parts_of(dsn)]
        found += [value for name, value in os.environ.items() if SECRET_VARIABLE.search(name)]
        for path in (self._settings.venue.key_file, self._settings.alerts.webhook_file):
            if not path:
                continue
            try:
                text = Path(path).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue  # a key that cannot be read cannot be matched; names and shapes are masked all the same
            found += [text.strip(), *_parts_of(text.strip()), *_strings_of(text)]
        return tuple(sorted({secret for secret in found if secret}, key=len, reverse=True))

    @staticmethod
    def _move(path: Path, where: str) -> None:
        target = path.parent / where
        target.mkdir(exist_ok=True)
        path.replace(target / path.name)

    def _prune(self, folder: Path) -> int:
        """Keep the newest records; returns how many waiting ones were dropped."""
        keep = self._settings.sentry.keep
        for where in (SENT, REJECTED):
            for path in sorted((folder / where).glob("*.json"))[:-keep]:
                path.unlink(missing_ok=True)
        partial = sorted(folder.glob("*.partial"))
        for path in partial[:-keep]:
            path.unlink(missing_ok=True)
        surplus = sorted(folder.glob("*.json"))[:-keep]
        for path in surplus:
            path.unlink(missing_ok=True)
        return len(surplus)


def _parts_of(text: str) -> list[str]:
    """What is secret in a URL when it is shown in parts, as an HTTP library's exceptions do: user, path, query."""
    try:
        url = urlsplit(text)
    except ValueError:
        return []
    if not url.scheme or not url.netloc:
        return []
    whole = f"{url.path}?{url.query}" if url.query else ""
    parts = (url.username, url.password, whole, url.path, url.query)
    return [part for part in parts if part and len(part) >= LEAST_PART]


def _strings_of(text: str) -> list[str]:
    """The values of a JSON key file, whole and line by line (a stack shows a key by its lines)."""
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        return []
    values = [value for value in parsed.values() if isinstance(value, str)] if isinstance(parsed, dict) else []
    lines = [line.strip() for value in values for line in value.splitlines()]
    return values + [line for line in lines if len(line) >= 16 and not line.startswith("-----")]
