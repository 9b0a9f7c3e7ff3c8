"""From parsed options to the command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import orjson

from commands import exits


def dispatch(options: argparse.Namespace) -> int:
    """Run the command; its exit code."""
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "start": _start,
        "status": _status,
        "panic": _panic,
        "export": _export,
        "backup": _stored,
        "restore": _stored,
        "ledger": _stored,
        "replay": _replay,
        "config": _config,
    }
    run = commands.get(options.command, _operate)
    try:
        return run(options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1


def _start(options: argparse.Namespace) -> int:
    from commands.start import start

    return start(options)


def _status(options: argparse.Namespace) -> int:
    from commands.status import status

    return status(options.data_dir, as_json=options.json)


def _operate(options: argparse.Namespace) -> int:
    from commands.operate import operate

    return operate(options)


def _panic(options: argparse.Namespace) -> int:
    from commands.panic import panic

    return panic(options)


def _export(options: argparse.Namespace) -> int:
    from commands.export import export
    from commands.stores import store_of

    try:
        content = export(store_of(options.data_dir, options.mode))
    except (OSError, ValueError) as error:
        print(f"refused: {error}", file=sys.stderr)
        return exits.REFUSED
    sys.stdout.buffer.write(orjson.dumps(content, option=orjson.OPT_INDENT_2, default=str) + b"\n")
    return 0


def _stored(options: argparse.Namespace) -> int:
    from commands import stored

    run = {"backup": stored.backup, "restore": stored.restore, "ledger": stored.verify}[options.command]
    return run(options)


def _replay(options: argparse.Namespace) -> int:
    from commands.replay import main

    return main(options.file, as_json=options.json)


def _config(options: argparse.Namespace) -> int:
    from commands.configuration import configuration

    return configuration(options)
