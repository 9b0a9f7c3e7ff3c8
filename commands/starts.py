"""Counts starts that were not followed by an orderly stop: a daemon that keeps dying starts HALTED."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson

from actors import durable
from actors.clock import NS_PER_S

KEPT = 50


@dataclass(frozen=True, slots=True)
class StartRecord:
    """``clean``: the daemon that started then has stopped in order."""

    utc_ns: int
    epoch: int
    clean: bool


class StartBook:
    """``<store>/starts.json``: every start, and whether it ended in order. Durable before the tree starts.

    An unreadable book counts as too many unclean starts: it cannot prove that trading is safe.
    """

    def __init__(self, store_dir: Path) -> None:
        self._path = store_dir / "starts.json"
        self._records: list[StartRecord] = []
        self._broken = ""
        try:
            found = orjson.loads(self._path.read_bytes())
            self._records = [StartRecord(int(r["utc_ns"]), int(r["epoch"]), bool(r["clean"])) for r in found]
        except FileNotFoundError:
            pass  # the first start
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._broken = f"{self._path} is damaged ({type(error).__name__}): how the last starts ended is unknown"

    def begin(self, utc_ns: int, epoch: int, limit: int, window_s: float, acknowledged: int = 0) -> str:
        """Write this start down; why it must not trade by itself, or nothing. Raises OSError.

        ``acknowledged``: starts of an epoch below this one were looked into by an operator and do not count any more.
        """
        horizon = utc_ns - round(window_s * NS_PER_S)
        unclean = [r for r in self._records if not r.clean and r.utc_ns >= horizon and r.epoch >= acknowledged]
        self._records = [*self._records[-KEPT:], StartRecord(utc_ns, epoch, False)]
        self._write()
        if self._broken:
            return self._broken
        if len(unclean) >= limit:
            since = " since an operator resumed last" if acknowledged else ""
            return f"{len(unclean)} starts within {window_s / 60:g} minutes did not end in order{since}"
        return ""

    def end(self, epoch: int) -> None:
        """This start has ended in order. Raises OSError."""
        self._records = [
            StartRecord(record.utc_ns, record.epoch, record.clean or record.epoch == epoch) for record in self._records
        ]
        self._write()

    def _write(self) -> None:
        body = orjson.dumps([{"utc_ns": r.utc_ns, "epoch": r.epoch, "clean": r.clean} for r in self._records])
        durable.replace(self._path, body)
