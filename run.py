"""The command line. ``python run.py start`` is the daemon; every other command speaks to it or reads its files."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from commands.options import make_parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    options = make_parser().parse_args(arguments)
    if options.command == "status" and options.live:
        from commands.live import is_alive

        alive = is_alive(options.data_dir / "health")
        print("alive" if alive else "not alive")
        return 0 if alive else 1
    if options.command == "start":
        from commands.ring_signals import keep_until_caught

        keep_until_caught()
    from commands.dispatch import dispatch

    return dispatch(options)


if __name__ == "__main__":
    sys.exit(main())
