"""The feed's whole path - decode, sequence check, book, newest state - on a real recording.

Times are the thread's CPU time, since the host is shared.
cryptofeed and ccxt.pro are not installed beside the daemon: ratios to them need a run that installs both.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from actors.feed.client import tune_process
from actors.feed.conflation import MarketAssembly
from actors.feed.decode import BookEvent, decode
from actors.feed.sequence import SequenceCheck, SequenceVerdict
from actors.guard.symbol import SymbolGuard
from commands.replay import START_BOOT_NS, products_of, read_recording
from config.sections.guard import GuardSettings

RECORDING = Path(__file__).resolve().parents[2] / "shared" / "data" / "at-20260809-btc-eth.replay.jsonl.gz"
ROUNDS = 3
CONFLATE_NS = 20_000_000


def run(recording: Path = RECORDING, rounds: int = ROUNDS) -> dict[str, object]:
    """Frames per second per channel, microseconds per frame and level, and the cost of the guards.

    ``{"skipped": reason}`` where the recording is not there.
    """
    if not recording.exists():
        return {"skipped": f"{recording} is not here"}
    tune_process()
    frames = [(item.raw, START_BOOT_NS + round(item.at_s * 1e9)) for item in read_recording(recording)[1]]
    results = [_once(frames, products_of(recording)) for _ in range(rounds)]
    return {name: _middle([result[name] for result in results]) for name in results[0]}


def _middle(values: list[float]) -> float:
    return round(median(values), 2)


def _once(frames: list[tuple[bytes, int]], products: tuple[str, ...]) -> dict[str, float]:
    assembly, sequence = MarketAssembly(products, 20), SequenceCheck()
    assembly.connected(1)
    guards = {product: SymbolGuard(product, GuardSettings()) for product in products}
    took: dict[str, list[int]] = {}
    levels, shown, guard_ns, guard_updates = 0, dict.fromkeys(products, 0), 0, 0
    for raw, at in frames:
        started = time.thread_time_ns()
        frame = decode(raw)
        assert frame.sequence is not None
        assert sequence.note(frame.sequence) is SequenceVerdict.IN_ORDER
        changed = assembly.apply(frame, at)
        ended = time.thread_time_ns()
        kind = frame.channel
        for event in frame.events:
            if isinstance(event, BookEvent):
                kind = "l2_snapshot" if event.snapshot else "l2_update"
                levels += 0 if event.snapshot else len(event.bids) + len(event.asks)
        took.setdefault(kind, []).append(ended - started)
        for product in changed:
            if at - shown[product] >= CONFLATE_NS:
                shown[product] = at
                started = time.thread_time_ns()
                guards[product].apply(assembly.update(product), at)
                guard_ns += time.thread_time_ns() - started
                guard_updates += 1
    result: dict[str, float] = {}
    for kind, samples in took.items():
        result[f"{kind}_frames_per_s"] = len(samples) / (sum(samples) / 1e9)
        result[f"{kind}_us_p50"] = median(samples) / 1e3
    result["l2_update_us_per_level"] = sum(took["l2_update"]) / 1e3 / max(1, levels)
    result["l2_snapshot_largest_ms"] = max(took["l2_snapshot"]) / 1e6
    result["update_and_guard_us"] = guard_ns / 1e3 / max(1, guard_updates)
    everything = [sample for samples in took.values() for sample in samples]
    result["all_frames_per_s"] = len(everything) / (sum(everything) / 1e9)
    running = [sample for kind, samples in took.items() if kind != "l2_snapshot" for sample in samples]
    result["all_but_snapshots_frames_per_s"] = len(running) / (sum(running) / 1e9)
    return result


if __name__ == "__main__":
    for name, value in run().items():
        print(f"{name:<36}{value}")
