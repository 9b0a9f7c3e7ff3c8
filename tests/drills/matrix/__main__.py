"""Run the matrix, or one case of it; write what was seen."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.drills.daemon import PROJECT, Json
from tests.drills.matrix import cases, report
from tests.drills.matrix.lane import Lane
from tests.drills.matrix.runner import run_case

SEED = 20261127


def main() -> int:
    """0 when every case was reached and held."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # daemons and venues end with us
    options = _options()
    if options.page_of:
        folder = Path(options.page_of)
        results, facts = _results(folder), report.Facts(**json.loads((folder / "run.json").read_text()))
        return _tell(options, results, facts)
    chosen = _chosen(options)
    folder = Path(options.folder) if options.folder else Path(tempfile.mkdtemp(prefix="matrix-", dir="/tmp"))
    folder.mkdir(parents=True, exist_ok=True)
    if options.lane:
        number, lanes = (int(part) for part in options.lane.split("/"))
        return _run_lane(chosen[number::lanes], folder, number)
    print(f"seed {options.seed}, {len(chosen)} cases on {options.lanes} lanes, logs in {folder}", flush=True)
    facts = report.Facts(
        options.seed, time.time(), 0.0, options.lanes, len(chosen), options.note, report.build(),
        os.cpu_count() or 0, load_before=os.getloadavg()[0],
    )  # fmt: skip
    _keep(folder, facts)
    _run_lanes(options, folder)
    facts = dataclasses.replace(facts, took_s=time.time() - facts.began_utc_s, load_after=os.getloadavg()[0])
    _keep(folder, facts)
    code = _tell(options, _results(folder), facts)
    if code == 0 and not options.folder:
        shutil.rmtree(folder, ignore_errors=True)
    return code


def _keep(folder: Path, facts: report.Facts) -> None:
    """Beside the results, so that the page can be written from a run that was cut short."""
    (folder / "run.json").write_text(json.dumps(dataclasses.asdict(facts)))


def _results(folder: Path) -> list[Json]:
    found: list[Json] = []
    for path in sorted(folder.glob("results*.jsonl")):
        found += [json.loads(line) for line in path.read_text().splitlines()]
    return found


def _tell(options: argparse.Namespace, results: list[Json], facts: report.Facts) -> int:
    print(report.summary(results))
    if options.write:
        again = _results(Path(options.again)) if options.again else []
        build = json.loads((Path(options.again) / "run.json").read_text())["build"] if options.again else ""
        Path(options.write).write_text(report.page(results, facts, again, build))
    return 0 if len(results) == facts.planned and all(one["verdict"] == "held" for one in results) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.drills.matrix", description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--rounds", type=int, default=2, help="how often each cell is filled")
    parser.add_argument("--cases", type=int, default=0, help="at most so many; 0: all")
    parser.add_argument("--only", default="", help="names of cases, or parts of them, with commas between")
    parser.add_argument("--subset", action="store_true", help="the few that every run of the tests has")
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--lane", default="", help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help="where logs and data stay; default: a temporary one")
    parser.add_argument("--write", default="", help="write the table to this file")
    parser.add_argument("--page-of", default="", help="run nothing: the table of the run in this folder")
    parser.add_argument("--again", default="", help="with --page-of: a later run of what did not hold, listed too")
    parser.add_argument("--note", default="", help="a sentence about the machine, for the page")
    parser.add_argument("--list", action="store_true", help="only name the cases")
    options = parser.parse_args()
    if options.list:
        for case in _chosen(options):
            print(case)
        raise SystemExit(0)
    return options


def _chosen(options: argparse.Namespace) -> list[cases.Case]:
    found = cases.subset(options.seed) if options.subset else cases.whole_matrix(options.seed, options.rounds)
    if options.only:
        parts = options.only.split(",")
        exact = [case for case in found if case.name in parts]
        found = exact or [case for case in found if any(part in case.name for part in parts)]
    return found[: options.cases] if options.cases else found


def _run_lanes(options: argparse.Namespace, folder: Path) -> None:
    """Each lane is a process of its own, so that none waits for the other's polls."""
    processes = []
    for number in range(options.lanes):
        command = [sys.executable, "-m", "tests.drills.matrix", "--lane", f"{number}/{options.lanes}"]
        command += ["--seed", str(options.seed), "--rounds", str(options.rounds), "--cases", str(options.cases)]
        command += ["--only", options.only, "--folder", str(folder)] + (["--subset"] if options.subset else [])
        processes.append(subprocess.Popen(command, cwd=PROJECT))
    try:
        for process in processes:
            process.wait()
    finally:
        for process in processes:
            if process.poll() is None:
                process.terminate()
                process.wait()


def _run_lane(chosen: list[cases.Case], folder: Path, number: int) -> int:
    lane = Lane(folder / f"lane{number}")
    path = folder / f"results{number}.jsonl"
    path.unlink(missing_ok=True)
    try:
        for count, case in enumerate(chosen, 1):
            result = run_case(lane, case)
            with path.open("a") as file:
                file.write(json.dumps(result.to_json()) + "\n")
            problems = "" if result.verdict == "held" else f": {'; '.join(result.problems) or result.evidence}"
            naked = f", naked {max(result.naked_s):.2f} s" if result.naked_s else ""
            print(
                f"[{number}] {count}/{len(chosen)} {case.name} ({case.weather}): {result.verdict}, back after "
                f"{result.recovery_s:.1f} s{naked}, {result.seconds:.0f} s in all{problems[:700]}",
                flush=True,
            )
    finally:
        lane.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
