"""Finds a mode's store in a data folder."""

from __future__ import annotations

from pathlib import Path

from commands.options import MODES


def store_of(data_dir: Path, mode: str | None) -> Path:
    """The folder of ``mode``'s ledger; without a mode the only one there is. Raises ValueError."""
    found = [name for name in MODES if (data_dir / name / "ledger.db").exists()]
    if mode is not None:
        if mode not in found:
            raise ValueError(f"--mode {mode}: no ledger at {data_dir / mode / 'ledger.db'}")
        return data_dir / mode
    if not found:
        raise ValueError(f"--data-dir {data_dir}: no ledger there; was the daemon ever started on it?")
    if len(found) > 1:
        raise ValueError(f"--data-dir {data_dir}: ledgers of {', '.join(found)}: name one with --mode")
    return data_dir / found[0]
