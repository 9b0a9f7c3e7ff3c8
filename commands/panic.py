"""``run.py panic``: the kill with nothing but the exchange key.

It needs no actor, no ledger and no running daemon: own orders are known by their client ids, of any instance and
any start. The kill latch comes first where there is a data folder, so that a daemon that lives (or is started)
there orders nothing more; a daemon elsewhere is not stopped by it, and is noticed by what it goes on to send.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from actors.clock import SystemClock, to_rfc3339
from actors.gateway.decimals import MalformedAnswerError
from actors.gateway.queries import ReadError
from actors.latch import create_latch
from commands.answering import within
from commands.ask import operator
from commands.exchange import Exchange, OutOfTimeError, Place, RefusedByVenueError
from commands.keys import exposure_of_key_file, problem_with_key
from commands.panic_report import as_json, naming_of_all, show
from commands.sweep import Rule, Tally
from commands.venue_process import SimulatorError, VenueAt, find_simulator, venue_from
from config.sections.orders import OrderSettings
from config.sections.venue import VenueSettings
from config.settings import DEFAULT_FOLDER, FILES, ConfigError, read_folder

PROVEN, UNPROVEN, REFUSED = 0, 1, 2
LATCH_S = 5.0
"""A disk that hangs must not hold up the cancels."""
NO_FLATTEN = (
    "panic does not sell: without the ledger it is not known which holdings are the daemon's and which are yours, and "
    "a sale would have to take the protection off first with nothing that survives a crash in between. Start the "
    "daemon (it starts KILLED) and use `run.py kill --flatten`, or sell at the exchange."
)


class PanicRefusedError(Exception):
    """It cannot be begun; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Latched:
    """What became of the kill latch. ``problem`` not empty: it should be there and is not."""

    text: str
    problem: str = ""


def panic(options: argparse.Namespace) -> int:
    """0: proven; 1: something is unproven (or, with --all, not confirmed); 2: refused, nothing was cancelled."""
    if options.flatten:
        print(f"refused: {NO_FLATTEN}", file=sys.stderr)
        return REFUSED
    try:
        _check(options)
        if options.cancel_all and not options.yes:
            return _confirm_all(options)
        latched = _latch_in_time(options)
        if latched.problem:
            print(f"warning: the kill is NOT latched: {latched.problem}", file=sys.stderr)
        elif not options.json:
            print(latched.text)
        exchange, tally, since = _open(options)
    except (PanicRefusedError, ConfigError, SimulatorError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return REFUSED
    try:
        exchange.clear(tally, since)
    except KeyboardInterrupt:
        exchange.hinder("interrupted")
    if options.json:
        print(json.dumps(as_json(tally, exchange, latched.problem, since)))
    else:
        show(tally, exchange, since)
    return PROVEN if tally.proven and not latched.problem else UNPROVEN


def _check(options: argparse.Namespace) -> None:
    for name, value in (("--for", options.for_s), ("--since-hours", options.since_hours)):
        if not 0 < value < 10_000:
            raise PanicRefusedError(f"{name} {value:g}: expected a positive number below 10000")


# --- the latch


def latch(data_dir: Path | None, reason: str) -> Latched:
    """Latch the kill in the data folder; without one named, in the default one if a daemon ever ran there."""
    folder = data_dir or Path(os.environ.get("TRADING_DAEMON_DATA", "data"))
    try:
        if data_dir is None and not (folder / "daemon.lock").exists():
            return Latched(f"no data folder here: no daemon is latched (--data-dir DIR names one; looked at {folder})")
        if not folder.is_dir():
            return Latched("", f"{folder} is not there")
        created = create_latch(folder / "KILL", reason, f"{operator()} (panic)", SystemClock().utc_ns())
    except OSError as error:
        return Latched("", str(error))
    return Latched(f"kill latched in {folder}" if created else f"the kill was latched in {folder} before")


def _latch_in_time(options: argparse.Namespace) -> Latched:
    try:
        return within(LATCH_S, lambda: latch(options.data_dir, options.reason))
    except OSError as error:
        return Latched("", str(error))


# --- where, with which key, whose orders


def _open(options: argparse.Namespace) -> tuple[Exchange, Tally, int]:
    venue, orders = _sections(options.config_dir or DEFAULT_FOLDER)
    place = _place(options, venue, os.environ)
    problem = problem_with_key(place.key_file)
    if problem:
        raise PanicRefusedError(f"{place.key_file}: {problem}")
    exposed = exposure_of_key_file(place.key_file)
    if exposed:
        print(f"warning: {place.key_file}: {exposed}", file=sys.stderr)
    family = options.family or orders.family
    print(f"panic at {place.rest}: own orders are {family}-*", file=sys.stderr)
    exchange = Exchange(place, options.for_s, lambda text: print(f"  waiting: {text}", file=sys.stderr))
    tally = Tally(Rule(family, cancel_all=options.cancel_all), place.visibility_delay_s)
    return exchange, tally, SystemClock().utc_ns() - round(options.since_hours * 3600e9)


def _sections(folder: Path) -> tuple[VenueSettings, OrderSettings]:
    """Only what panic needs is read: a mistake elsewhere in the configuration stops no panic. Raises ConfigError."""
    raw = read_folder(folder, {name: FILES[name] for name in ("app.yaml", "policy.yaml")})
    try:
        return (
            VenueSettings.model_validate(raw.get("venue") or {}),
            OrderSettings.model_validate(raw.get("orders") or {}),
        )
    except ValidationError as error:
        raise ConfigError(f"{folder}: {error}\n(without --config-dir: --key-file and --family say it all)") from error


def _place(options: argparse.Namespace, venue: VenueSettings, environment: Mapping[str, str]) -> Place:
    """The simulator named, else the exchange with the key found, else a demo's own simulator."""
    if options.simulator_url:
        at = find_simulator(options.simulator_url, options.simulator_ca)
        return Place(at.rest, options.key_file or at.key_file, at.ca_file, venue.visibility_delay_s)
    named = environment.get("COINBASE_KEY_FILE")
    key_file = options.key_file or (Path(named) if named else venue.key_file)
    if key_file is not None:
        return Place(venue.rest, key_file, venue.ca_file, venue.visibility_delay_s)
    demo = _demo(options.data_dir or Path(environment.get("TRADING_DAEMON_DATA", "data")))
    if demo is None:
        raise PanicRefusedError("no exchange key: set COINBASE_KEY_FILE, or name one with --key-file")
    return Place(demo.rest, demo.key_file, demo.ca_file, venue.visibility_delay_s)


def _demo(data_dir: Path) -> VenueAt | None:
    """The simulator that a demo on this data folder started."""
    try:
        return venue_from(json.loads((data_dir / "demo" / "simulator" / "ready.json").read_text()))
    except (OSError, ValueError, KeyError):
        return None


# --- all


def _confirm_all(options: argparse.Namespace) -> int:
    """Name what would be left naked; cancel and latch nothing."""
    exchange, tally, since = _open(options)
    try:
        exchange.look(tally, since, act=False)
    except (OutOfTimeError, RefusedByVenueError, ReadError, MalformedAnswerError) as error:
        print(f"the venue cannot be read: {error}", file=sys.stderr)
    print(naming_of_all(tally, to_rfc3339(since)), file=sys.stderr)
    return UNPROVEN
