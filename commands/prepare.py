"""What is decided before the first process starts: settings, keys, locks, epoch. A refusal starts nothing."""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from actors import durable
from actors.clock import NS_PER_S
from config.settings import DEFAULT_FOLDER, ConfigError, Settings, make_settings, read_folder

EXCHANGE_KEYS = ("COINBASE_API_KEY", "COINBASE_API_SECRET", "COINBASE_KEY_FILE")
PROJECT = Path(__file__).resolve().parent.parent


class Refused(Exception):  # noqa: N818 - says what happened
    """The daemon will not start like this; the text says why and what to do."""


class LockedError(Exception):
    """Another daemon holds the data folder."""


def load(options: argparse.Namespace, mode: str, environment: Mapping[str, str]) -> Settings:
    """The settings for this start; raises ConfigError or Refused."""
    folder = options.config_dir or DEFAULT_FOLDER
    if not folder.is_dir():
        raise ConfigError(f"--config-dir {folder}: no such folder; copy {DEFAULT_FOLDER} and change the copy")
    raw = read_folder(folder)
    fixed: dict[str, object] = {"mode": mode, "data_dir": options.data_dir.resolve(), "build": build_id()}
    if getattr(options, "symbols", None):
        fixed["instruments"] = [{"symbol": symbol.strip()} for symbol in options.symbols.split(",")]
    if getattr(options, "log_format", None):
        log = raw.get("log") or {}
        fixed["log"] = {**(log if isinstance(log, dict) else {}), "form": options.log_format}
    venue = _venue_with_keys(raw.get("venue") or {}, mode, environment, folder)
    return make_settings({**raw, "venue": venue}, source=str(folder), **fixed)


def _venue_with_keys(venue: object, mode: str, environment: Mapping[str, str], folder: Path) -> dict[str, object]:
    section = dict(venue) if isinstance(venue, dict) else {"": venue}
    found = [name for name in EXCHANGE_KEYS if environment.get(name)]
    if mode == "demo":
        if found or section.get("key_file"):
            what = ", ".join(found) or f"venue.key_file in {folder}/app.yaml"
            raise Refused(f"demo refuses to start while exchange keys are set ({what}): unset them, or name a --mode")
        return section
    if environment.get("COINBASE_KEY_FILE"):
        section["key_file"] = environment["COINBASE_KEY_FILE"]
    return section


def check_key_file(settings: Settings) -> None:
    """The key file must exist, be private and hold a key that can sign; raises Refused."""
    path = settings.venue.key_file
    if path is None:
        return
    from commands.keys import problem_with_key_file

    problem = problem_with_key_file(path)
    if problem:
        raise Refused(f"{path}: {problem}")


def refuse_unbuilt_modes(mode: str, data_dir: Path) -> None:
    """paper and live exist as modes; what they still lack refuses here. Raises Refused."""
    if mode == "paper":
        raise Refused(
            "paper needs the simulator's mirror of the live feed, which is not built yet: "
            "use demo (simulated market) or dry_run (live feed, nothing is sent)"
        )
    if mode == "live":
        raise Refused(
            f"live is not armed: no arming is stored under {data_dir / 'live'}, and `run.py arm` is not built yet; "
            "nothing was started and no order can be sent"
        )


def lock_data_dir(data_dir: Path) -> int:
    """Hold ``<data>/daemon.lock``; the descriptor is inherited by the whole tree. Raises LockedError, Refused."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        fd = os.open(data_dir / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refused(f"--data-dir {data_dir}: cannot be used: {error}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise LockedError(f"--data-dir {data_dir}: another daemon (pid {holder}) holds this folder") from None
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        os.close(fd)
        raise Refused(f"--data-dir {data_dir}: cannot be written: {error}") from error
    return fd


def next_epoch(store_dir: Path, now_utc_ns: int) -> int:
    """Bump the start number durably; raises Refused when what stands there is not a number.

    It is never below the clock's seconds: should an older copy of the folder be put back, or a folder be begun
    anew for the same account, no client order id of the life that is forgotten is made a second time.
    """
    store_dir.mkdir(parents=True, exist_ok=True)
    path = store_dir / "epoch"
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        text = "0"
    if not text.isdigit():
        raise Refused(f"{path}: expected a number, found {text[:40]!r}; restore it, or set it above any epoch used")
    epoch = max(int(text) + 1, now_utc_ns // NS_PER_S)
    durable.replace(path, f"{epoch}\n".encode())
    return epoch


def build_id() -> str:
    """Ten hex digits over the daemon's own source: what runs, whatever a tag says."""
    digest = hashlib.sha256()
    for package in ("actors", "supervision", "config", "commands"):
        for path in sorted((PROJECT / package).rglob("*.py")):
            digest.update(path.relative_to(PROJECT).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:10]
