"""The command line's grammar. Kept free of heavy imports: ``status --live`` must answer within 100 ms."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

MODES = ("demo", "dry_run", "paper", "live")


def _reason(text: str) -> str:
    """Refused here already: a blank one would be refused by the daemon after the kill was latched."""
    if not text.strip():
        raise argparse.ArgumentTypeError("may not be empty: say why in a few words")
    return text


def make_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(prog="run.py", description="A supervised trading daemon for Coinbase spot.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _start(commands)
    _status(commands)
    _operator_commands(commands)
    _requests(commands)
    _panic(commands)
    _export(commands)
    _stored(commands)
    _replay(commands)
    _config(commands)
    return parser


def _data_dir(parser: argparse.ArgumentParser) -> None:
    default = os.environ.get("TRADING_DAEMON_DATA", "data")
    parser.add_argument("--data-dir", type=Path, default=Path(default), help="where everything is kept (default: data)")


def _start(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("start", help="run the daemon in the foreground")
    parser.add_argument("--mode", choices=MODES, help="without it: demo")
    _data_dir(parser)
    parser.add_argument("--config-dir", type=Path, help="folder with app.yaml, policy.yaml and universe.yaml")
    parser.add_argument("--symbols", help="trade these instead of universe.yaml's, e.g. BTC-USD,ETH-USD")
    parser.add_argument(
        "--simulator-source",
        metavar="SOURCE",
        help="demo: synthetic[:SEED] or replay:FILE[@SPEED] (SPEED a factor or max)",
    )
    parser.add_argument("--simulator-url", metavar="URL", help="demo: the control URL of a simulator that runs apart")
    parser.add_argument("--simulator-ca", metavar="FILE", type=Path, help="demo: that simulator's CA file")
    parser.add_argument("--for", dest="for_s", type=float, metavar="SECONDS", help="stop in order after this time")
    parser.add_argument("--log-format", choices=("json", "text"))


def _status(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("status", help="ask the running daemon how it is (0 healthy, 1 not, 2 not running)")
    _data_dir(parser)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--live", action="store_true", help="only whether the tree is alive, by its health file")


def _operator_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    texts = {
        "kill": "latch KILLED, cancel entries, prove it; protection stays",
        "halt": "no entries, no strategy exits; protection stays",
        "reduce": "no entries; exits go on",
        "resume": "back to RUN after halt or reduce, and reset latched breakers",
        "release": "remove the kill latch (the state is then HALTED until resume)",
    }
    for name, text in texts.items():
        parser = commands.add_parser(name, help=text)
        _data_dir(parser)
        parser.add_argument("--reason", required=True, type=_reason, help="written to the audit file")
        parser.add_argument("--json", action="store_true")
        if name == "kill":
            what = parser.add_mutually_exclusive_group()
            what.add_argument("--flatten", action="store_true", help="sell own positions too")
            what.add_argument("--all", dest="cancel_all", action="store_true", help="cancel protection too")
            parser.add_argument("--yes", action="store_true", help="needed with --all: positions are left naked")


def _requests(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Verbs that one part carries out."""
    resolve = commands.add_parser("resolve", help="say what became of an order that is UNKNOWN or has vanished")
    resolve.add_argument("target", metavar="ORDER", help="its client order id")
    resolve.add_argument("--as", dest="outcome", required=True, choices=("absent", "filled"))
    evidence = "how you know; audited"
    resolve.add_argument("--evidence", dest="reason", required=True, type=_reason, metavar="TEXT", help=evidence)
    resolve.add_argument("--size", metavar="BASE", help="filled: how much, in base units (default: all of it)")
    resolve.add_argument("--price", metavar="QUOTE", help="filled: at which price")
    resolve.add_argument("--fee", metavar="QUOTE", help="filled: the fee in quote currency")
    protect = commands.add_parser("protect", help="arm a position's protection now, and prove it")
    protect.add_argument("target", metavar="SYMBOL")
    flatten = commands.add_parser("flatten", help="sell the own position of a symbol, with proof; in every state")
    flatten.add_argument("target", metavar="SYMBOL")
    reconcile = commands.add_parser("reconcile", help="compare ledger and venue now")
    flows = commands.add_parser("flows", help="accept: take unexplained balance changes as deposits or withdrawals")
    baseline = commands.add_parser("baseline", help="accept: start from what the venue shows now")
    flows.add_argument("--id", dest="ids", action="append", metavar="FLOW", help="only this one; may be given often")
    for parser in (flows, baseline):
        parser.add_argument("action", choices=("accept",))
        parser.add_argument("--reason", required=True, type=_reason, help="written to the audit file")
    for parser in (protect, flatten, reconcile):
        parser.add_argument("--reason", default="", help="written to the audit file")
    for parser in (resolve, protect, flatten, reconcile, flows, baseline):
        _data_dir(parser)
        parser.add_argument("--json", action="store_true")


def _panic(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("panic", help="kill with the exchange key alone: daemon stopped, wedged or elsewhere")
    parser.add_argument("--reason", default="panic", help="written into the latch")
    parser.add_argument("--data-dir", type=Path, help="latch the kill there first (default: data, when it is there)")
    parser.add_argument("--config-dir", type=Path, help="venue and order ids from this folder's app.yaml, policy.yaml")
    parser.add_argument("--key-file", type=Path, help="the exchange key (default: COINBASE_KEY_FILE, venue.key_file)")
    parser.add_argument("--family", help="first part of the client order ids to cancel (default: orders.family)")
    parser.add_argument("--simulator-url", metavar="URL", help="the control URL of a simulator that runs apart")
    parser.add_argument("--simulator-ca", metavar="FILE", type=Path, help="that simulator's CA file")
    parser.add_argument("--for", dest="for_s", type=float, default=120.0, metavar="SECONDS", help="give up after this")
    parser.add_argument("--since-hours", type=float, default=24.0, metavar="HOURS", help="look back this far")
    parser.add_argument("--all", dest="cancel_all", action="store_true", help="cancel protection too")
    parser.add_argument("--yes", action="store_true", help="needed with --all: positions are left naked")
    parser.add_argument("--flatten", action="store_true", help="refused: what is owned is not known without the ledger")
    parser.add_argument("--json", action="store_true")


def _export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("export", help="orders, fills, positions and PnL from the ledger")
    _data_dir(parser)
    parser.add_argument("--mode", choices=MODES, help="whose ledger (default: the only one there is)")
    parser.add_argument("--json", action="store_true", help="accepted for clarity: the output is JSON")


def _stored(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """What is done with the files of a data folder."""
    backup = commands.add_parser("backup", help="copy a mode's whole store, daemon running or not, and verify the copy")
    backup.add_argument("--to", type=Path, metavar="DIR", help="below which the new folder is made (default: backups)")
    ledger = commands.add_parser("ledger", help="verify: does everything stored follow from the events?")
    ledger.add_argument("action", choices=("verify",))
    for parser in (backup, ledger):
        _data_dir(parser)
        parser.add_argument("--mode", choices=MODES, help="whose store (default: the only one there is)")
    restore = commands.add_parser("restore", help="put a backup's ledger in place, daemon stopped; HALTED afterwards")
    restore.add_argument("folder", type=Path, metavar="FOLDER", help="what backup made")
    restore.add_argument("--reason", required=True, type=_reason, help="written to the audit file")
    _data_dir(restore)


def _replay(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("replay", help="run a recording through feed, books and guards, at full speed")
    parser.add_argument("file", type=Path, metavar="FILE", help="recorded frames of the feed")
    parser.add_argument("--json", action="store_true")


def _config(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("config", help="show or check the configuration")
    parser.add_argument("--config-dir", type=Path)
    _data_dir(parser)
    parser.add_argument("--mode", choices=MODES, default="demo")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--show", action="store_true", help="effective values, secrets masked")
    what.add_argument("--check", action="store_true", help="exit 0 when it can be used, else 2 with the reason")
