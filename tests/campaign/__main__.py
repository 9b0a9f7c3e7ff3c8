"""``python -m tests.campaign --seeds 500``: live many seeded days and print each that breaks an invariant.

    python -m tests.campaign --seeds 10000 --first 1 --workers 2
    python -m tests.campaign --seed 4711 --log info      # one day again, with its log on stderr

A seed gives the same day in every process: the order of sets of text is fixed by PYTHONHASHSEED=0, for which the
program starts itself anew.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path

HASH_SEED = "0"
YOUNG = 20_000
"""New objects after which the collector looks: a day makes few circles, and frees most of what it makes by itself."""


def main(arguments: list[str]) -> int:
    """0: every day kept the invariants; 1: some did not."""
    options = _options().parse_args(arguments)
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        os.environ["PYTHONHASHSEED"] = HASH_SEED
        os.execv(sys.executable, [sys.executable, "-m", "tests.campaign", *arguments])
    if options.seed is not None:
        return _replay(options.seed, options.log)
    seeds = range(options.first, options.first + options.seeds)
    began = time.monotonic()
    totals: dict[str, float] = dict.fromkeys(("virtual_s", "delivered", "entries", "fills", "deaths", "epochs"), 0)
    failed = []
    _preload()
    context = multiprocessing.get_context("fork")
    with context.Pool(options.workers, _silence) as pool:
        for done, result in enumerate(pool.imap_unordered(_live, seeds), 1):
            for name in totals:
                totals[name] += float(str(result.get(name, 0)))
            if result["failures"]:
                failed.append(result["seed"])
                _say_failed(result)
            if done % 1000 == 0:
                print(f"{done} days, {len(failed)} failed, {time.monotonic() - began:.0f} s", flush=True)
    print(
        f"{len(seeds)} seeded days ({totals['virtual_s'] / 3600:.1f} h of virtual time) in"
        f" {time.monotonic() - began:.0f} s: {totals['delivered']:.0f} messages, {totals['deaths']:.0f} deaths,"
        f" {totals['entries']:.0f} entries, {totals['fills']:.0f} fills, {len(failed)} failed"
    )
    if options.summary:
        Path(options.summary).write_text(json.dumps({"days": len(seeds), "failed": sorted(failed), **totals}))
    return 1 if failed else 0


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.campaign", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=500, help="how many days")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, help="live this one day and show what befell it")
    parser.add_argument("--log", default="critical", help="with --seed: the least important level shown")
    parser.add_argument("--summary", help="write totals and failed seeds to this file, as JSON")
    return parser


def _replay(seed: int, level: str) -> int:
    from tests.campaign.world import run_seed

    result = run_seed(seed, level)
    for event in result.events:
        print(event)
    print(json.dumps(asdict(result), default=str))
    return 1 if result.failures else 0


def _say_failed(result: dict[str, object]) -> None:
    print(f"seed {result['seed']} failed; again: python -m tests.campaign --seed {result['seed']} --log info")
    failures = result["failures"]
    for line in (failures if isinstance(failures, list) else [])[:6]:
        print(f"    {str(line)[:600]}")
    sys.stdout.flush()


def _preload() -> None:
    """Import everything before the fork, and keep the collector from walking it again and again."""
    import tests.campaign.world  # noqa: F401

    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 100)


def _silence() -> None:
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - crashes of actors are judged, not shown


def _live(seed: int) -> dict[str, object]:
    from tests.campaign.world import run_seed

    try:
        return asdict(run_seed(seed))
    except Exception:
        return {"seed": seed, "failures": [f"the campaign itself failed: {traceback.format_exc()[-1500:]}"]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
