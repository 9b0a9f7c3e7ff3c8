"""``run.py start``: prepare, start the venue (demo), start the tree, watch over it, stop in order."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import time
from functools import partial
from pathlib import Path

from actors.clock import SystemClock
from actors.log import Log
from commands import exits
from commands.outer_ring import OuterRing
from commands.prepare import (
    LockedError,
    Refused,
    check_key_file,
    load,
    lock_data_dir,
    next_epoch,
    refuse_unbuilt_modes,
)
from commands.restore import unfinished
from commands.ring_signals import Signals
from commands.starts import StartBook
from commands.venue_process import EmbeddedSimulator, SimulatorError, VenueAt, find_simulator
from config.settings import ConfigError, Settings, config_hash
from supervision import tree
from supervision.control_store import STORE_NAME, acknowledged_before
from supervision.system import SystemFailed, SystemRunning
from supervision.transport_process import SocketDirectoryError

DEFAULT_SOURCE = "synthetic:1"


def start(options: argparse.Namespace) -> int:
    """Run the daemon until it is told to stop; its exit code (commands/exits.py)."""
    mode = options.mode or "demo"
    begun = time.monotonic()
    signals = Signals()
    signals.catch()
    try:
        _check_options(options, mode)
        settings = load(options, mode, os.environ)
        refuse_unbuilt_modes(mode, settings.data_dir)
        check_key_file(settings)
        lock = lock_data_dir(settings.data_dir)
    except (ConfigError, Refused) as error:
        return _refuse(str(error))
    except LockedError as error:
        print(f"refused: {error}", file=sys.stderr)
        return exits.LOCKED
    log = Log("run", mode, settings.log.form, settings.log.level)
    log.info("starting", mode=mode, default_mode=options.mode is None, build=settings.build, pid=os.getpid())
    simulator: EmbeddedSimulator | None = None
    try:
        if mode == "demo" and not options.simulator_url:
            try:
                simulator = _embed(options, settings)
            except OSError as error:
                raise Refused(f"{settings.data_dir}: {error}") from error
        tree.preload()  # beside the simulator's own start
        if mode == "demo":
            venue = simulator.wait_ready() if simulator else find_simulator(options.simulator_url, options.simulator_ca)
            settings = with_venue(settings, venue)
        ring = OuterRing(partial(_begin, settings, log), simulator, log, signals, for_s=options.for_s, begun=begun)
        return _run_trees(ring, log)
    except (Refused, SimulatorError, SocketDirectoryError) as error:
        return _refuse(str(error))
    except SystemRunning as error:
        print(f"refused: {error}", file=sys.stderr)
        return exits.LOCKED
    except SystemFailed as error:
        log.critical("tree_not_started", error=str(error))
        return exits.NOT_READY
    finally:
        if simulator is not None:
            simulator.stop()
        os.close(lock)


def _begin(settings: Settings, log: Log) -> tuple[Settings, str]:
    """Bump the epoch and write the start down, durably; why it must not trade by itself. Raises Refused."""
    limits = settings.supervision
    if unfinished(settings.store_dir):
        raise Refused(unfinished(settings.store_dir))
    try:
        settings = settings.model_copy(update={"epoch": next_epoch(settings.store_dir, SystemClock().utc_ns())})
        book = StartBook(settings.store_dir)
        acknowledged = acknowledged_before(settings.store_dir / STORE_NAME)
        halt_reason = book.begin(
            SystemClock().utc_ns(), settings.epoch, limits.unclean_starts, limits.unclean_window_s, acknowledged
        )
    except OSError as error:
        raise Refused(f"{settings.data_dir}: {error}") from error
    if halt_reason:
        log.critical("halted_start", why=halt_reason, way_out="look into the log and the crash folder, then resume")
    return settings, halt_reason


def _run_trees(ring: OuterRing, log: Log) -> int:
    gc.collect()
    gc.freeze()  # what is imported stays shared by all processes of the tree
    code = ring.run()
    if code in (exits.OK, exits.STOP_UNPROVEN) and ring.last_end_was_orderly:
        try:
            StartBook(ring.settings.store_dir).end(ring.settings.epoch)
        except OSError as error:
            log.error("start_book_not_written", error=str(error))
    return code


def _check_options(options: argparse.Namespace, mode: str) -> None:
    if options.for_s is not None and options.for_s <= 0:
        raise Refused(f"--for {options.for_s}: expected a positive number of seconds")
    simulated = options.simulator_source or options.simulator_url or options.simulator_ca
    if simulated and mode != "demo":
        raise Refused(f"--simulator-* belongs to demo, not to --mode {mode}")
    if options.simulator_source and options.simulator_url:
        raise Refused("--simulator-source and --simulator-url exclude each other: one simulator is enough")
    source = options.simulator_source
    if source:
        problem = _problem_with_source(source)
        if problem:
            raise Refused(f"--simulator-source {source}: {problem}")


def _problem_with_source(source: str) -> str:
    kind, _, rest = source.partition(":")
    if kind == "synthetic":
        return "" if not rest or rest.isdigit() else f"the seed must be a whole number, found {rest!r}"
    if kind != "replay" or not rest:
        return "expected synthetic[:SEED] or replay:FILE[@SPEED]"
    name, at, speed = rest.rpartition("@")
    path = Path(name if at else rest)
    if at and speed != "max":
        try:
            if float(speed) <= 0:
                return f"the speed must be positive, found {speed!r}"
        except ValueError:
            return f"the speed must be a number or max, found {speed!r}"
    return "" if path.is_file() else f"{path}: no such file"


def _embed(options: argparse.Namespace, settings: Settings) -> EmbeddedSimulator:
    source = _absolute_source(options.simulator_source or DEFAULT_SOURCE)
    return EmbeddedSimulator(settings.store_dir / "simulator", source, settings.symbols)


def _absolute_source(source: str) -> str:
    """The simulator runs in another folder: give it the whole path of a recording."""
    kind, _, rest = source.partition(":")
    return f"replay:{Path(rest).resolve()}" if kind == "replay" else source


def with_venue(settings: Settings, venue: VenueAt) -> Settings:
    """The settings with a simulated venue's addresses."""
    update = {
        "rest": venue.rest,
        "ws": venue.ws,
        "ws_user": venue.ws_user,
        "control_url": venue.control_url,
        "ca_file": venue.ca_file,
        "key_file": venue.key_file,
    }
    changed = settings.model_copy(update={"venue": settings.venue.model_copy(update=update)})
    return changed.model_copy(update={"config_hash": config_hash(changed)})


def _refuse(text: str) -> int:
    print("refused: " + text.replace("\n", "\n         "), file=sys.stderr)
    return exits.REFUSED
