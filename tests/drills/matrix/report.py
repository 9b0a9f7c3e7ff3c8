"""The page docs/proof.md, written from a run."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.drills.daemon import PROJECT, Json
from tests.drills.matrix.cases import ACTORS, LEAVING, POINTS, WEATHER, ways_of
from tests.drills.matrix.lane import SHORTENED
from tests.drills.matrix.readings import READINGS, rows

VERDICTS = ("held", "broken", "not proven")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the run was."""

    seed: int
    began_utc_s: float
    took_s: float
    lanes: int
    planned: int
    note: str = ""
    build: str = "unknown"
    cores: int = 0
    load_before: float = 0.0
    load_after: float = 0.0
    """The machine's load average of the last minute, at the start of the run and at its end."""


def summary(results: Sequence[Json]) -> str:
    """Counts and the cases that did not hold, as text."""
    counts = Counter(one["verdict"] for one in results)
    lines = [f"{len(results)} cases: " + ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))]
    lines += [f"  {one['name']}: {one['verdict']}: {_why(one)}" for one in results if one["verdict"] != "held"]
    return "\n".join(lines)


def page(results: Sequence[Json], facts: Facts, again: Sequence[Json] = (), again_build: str = "") -> str:
    """The whole page in Markdown."""
    counts = Counter(one["verdict"] for one in results)
    parts = [
        _head(results, facts, counts),
        _table("By actor and way", results, lambda one: (one["actor"], one["way"]), _actor_rows()),
        _table("By point", results, lambda one: one["point"], [(name, name, text) for name, text in POINTS.items()]),
        _table("By the venue's fault", results, lambda one: one["weather"],
               [(name, name, text) for name, text in WEATHER.items()]),
        _table("By how the position was left afterwards", results, lambda one: one["left_by"],
               [*((name, name, text) for name, text in LEAVING.items()), ("", "nothing was held", "")]),
        _cells(results),
        _readings(results),
        _unplayed(),
        _figures(results),
        _failures(results),
        *([_again(again, again_build)] if again else []),
        _settings(),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _head(results: Sequence[Json], facts: Facts, counts: Counter[str]) -> str:
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(facts.began_utc_s))
    missing = facts.planned - len(results)
    return f"""# The proof: the fault matrix on real processes

Written by `python -m tests.drills.matrix --write docs/proof.md`, not by hand; `make matrix` runs the same cases.

Run of {when}, build {facts.build}, seed {facts.seed}, {facts.lanes} lanes, {facts.took_s / 60:.0f} minutes:
**{len(results)} cases, {counts["held"]} held, {counts["broken"]} broken, {counts["not proven"]} not proven**\
{f", {missing} not run" if missing else ""}.
The machine has {facts.cores} cores; its load average was {facts.load_before:.1f} when the run began and \
{facts.load_after:.1f} when it ended.{f" {facts.note}" if facts.note else ""}

In each case the running daemon trades at a simulator that runs apart. An order is brought to the point, and held
there: its request waits at the venue, or a process stands still. Then one part fails, and the venue's own fault comes
on top. Within a deadline everything must be at work again (state RUN) without an operator, and

- the ledger and the venue's books agree on every order, fill and position, no order's fate is open;
- the venue has one entry for one command at most, and no more was sold than was bought;
- no position was without a stop at the venue for more than 5 s, looked at 25 times a second in the venue's own
  orders; where the one who protects is itself being replaced, or the venue takes no order, that time is added, and
  where a protective order never arrived, the proof that it did not (the page at 5 s must have come);
- open SELLs never exceeded what was owned, nothing was entered on what was naked, and the limits on order, position
  and total held (an entry is 90, a position may be 100: a doubled one breaks it);
- afterwards the position is left, by an ordinary exit, by its stop or by its target, and the books agree again.

A case has up to three attempts to reach its point ({_again_reached(results)} of these cases needed more than one), and
a proposal that the daemon refused on the way is made again ({sum(one["refusals"] for one in results)} were).
If it was not seen to be reached, the case counts as not proven, not as held. One case alone is run again with
`python -m tests.drills.matrix --seed {facts.seed} --only NAME`. A supervisor's case takes its whole subtree down;
after a `root` run.py starts a new tree, after a `run.py` whoever hosts it (here: the drill) starts it again. run.py has
no mailbox: its third way is SIGTERM."""


def _again_reached(results: Sequence[Json]) -> int:
    return sum(one["attempts"] > 1 for one in results)


def build() -> str:
    """The commit that runs."""
    done = subprocess.run(["git", "log", "-1", "--format=%h"], cwd=PROJECT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _actor_rows() -> list[tuple[object, str, str]]:
    return [((actor, way), f"{actor}, {way}", "") for actor in ACTORS for way in ways_of(actor)]


def _table(
    title: str, results: Sequence[Json], key: Callable[[Json], object], rows: Sequence[tuple[object, str, str]]
) -> str:
    lines = [f"## {title}", "", "| | cases | held | broken | not proven | back after, median / longest |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for wanted, name, text in rows:
        found = [one for one in results if key(one) == wanted]
        if not found:
            continue
        counts = Counter(one["verdict"] for one in found)
        times = [one["recovery_s"] for one in found if one["verdict"] == "held"]
        took = f"{statistics.median(times):.1f} s / {max(times):.1f} s" if times else "-"
        shown = f"`{name}`: {text}" if text else name
        lines.append(
            f"| {shown} | {len(found)} | {counts['held']} | {counts['broken']} | {counts['not proven']} | {took} |"
        )
    return "\n".join(lines)


def _cells(results: Sequence[Json]) -> str:
    """Held of run, point by actor; the ways together."""
    lines = ["## Held of run, by point and actor", "", "| | " + " | ".join(ACTORS) + " |",
             "|---|" + "---|" * len(ACTORS)]  # fmt: skip
    for point in POINTS:
        cells = []
        for actor in ACTORS:
            found = [one for one in results if one["point"] == point and one["actor"] == actor]
            held = sum(one["verdict"] == "held" for one in found)
            cells.append(f"{held}/{len(found)}")
        lines.append(f"| {point} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _readings(results: Sequence[Json]) -> str:
    lines = [
        "## Readings of the venue that were played",
        "",
        "The rows of [venue-assumptions.md](venue-assumptions.md) that have a lasting switch, and what was in force."
        " The first reading of each is the simulator's own.",
        "",
        "| row | reading | cases | held | broken | not proven |",
        "|---|---|---|---|---|---|",
    ]
    for name, values in READINGS.items():
        for number, value in enumerate(values):
            counts = Counter(one["verdict"] for one in results if one["readings"].get(name) == number)
            shown = f"`{name}`" if number == 0 else ""
            cells = [shown, value.text, counts.total(), *(counts[verdict] for verdict in VERDICTS)]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _unplayed() -> str:
    """Rows of the page of assumptions that no case plays, and the reason given there."""
    lines = [
        "## Assumptions that are not played",
        "",
        "The other reading of each could not change what the daemon does with orders or money:",
        "",
    ]
    lines += [f"- {row.assumption}: {row.matrix.removeprefix('no: ')}." for row in rows() if not row.named]
    return "\n".join(lines)


def _figures(results: Sequence[Json]) -> str:
    held = [one for one in results if one["verdict"] == "held"]
    spells = [seconds for one in held for seconds in one["naked_s"]]
    small = [one["recovery_s"] for one in held if one["actor"] not in ("root", "run.py")]
    whole = [one["recovery_s"] for one in held if one["actor"] in ("root", "run.py")]
    excused = Counter(one["naked_excused"] for one in held if one["naked_excused"])
    lines = ["## Figures of the cases that held", "", "| | p50 | p99 | longest | of |", "|---|---|---|---|---|",
             _figure("a position without a stop, each time (entry to bracket, hand-over, recovery)", spells),
             _figure("back at work, one part failed", small),
             _figure("back at work, the whole daemon failed", whole)]  # fmt: skip
    over = sum(seconds > 5.0 for seconds in spells)
    lines += ["", f"{over} of {len(spells)} times lasted longer than 5 s, in cases:"]
    lines += [f"- {count} {why}" for why, count in excused.most_common()] or ["- none"]
    return "\n".join(lines)


def _figure(name: str, values: Sequence[float]) -> str:
    if not values:
        return f"| {name} | - | - | - | 0 |"
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"| {name} | {statistics.median(ordered):.2f} s | {p99:.2f} s | {ordered[-1]:.2f} s | {len(ordered)} |"


def _failures(results: Sequence[Json]) -> str:
    bad = [one for one in results if one["verdict"] != "held"]
    lines = ["## What did not hold", ""]
    if not bad:
        return "\n".join([*lines, "Nothing."])
    lines += ["| case | venue's fault | verdict | why |", "|---|---|---|---|"]
    lines += [f"| {one['name']} | {one['weather']} | {one['verdict']} | {_why(one)} |" for one in bad]
    return "\n".join(lines)


def _again(results: Sequence[Json], build: str) -> str:
    """What came of the cases that did not hold, when they were run once more."""
    lines = [
        f"## Run once more by name, build {build}",
        "",
        "| case | verdict | why |",
        "|---|---|---|",
    ]
    for one in results:
        lines.append(f"| {one['name']} | {one['verdict']} | {'' if one['verdict'] == 'held' else _why(one)} |")
    return "\n".join(lines)


def _why(one: Json) -> str:
    text = "; ".join(one["problems"]) or one["evidence"]
    return " ".join(text.split()).replace("|", "/")[:400]


def _settings() -> str:
    lines = ["## Where the configuration was not the shipped one", ""]
    lines += ["So that hundreds of faults fit into an hour:", ""]
    for section, values in SHORTENED.items():
        lines.append(f"- {section}: " + ", ".join(f"{key} {value}" for key, value in values.items()))
    lines += [
        "",
        "`venue.jwt_life_s` is how long a request's token is valid, and so how long an order that never arrived has to"
        " be waited for before another may take its place. With the shipped 120 s every time above that ended with"
        " such a proof would have lasted about two minutes longer: paged, and without a stop.",
    ]
    lines += ["", "Fees at the venue are 1 bp, so that hundreds of round trips stay below the loss limits, and its"
              " markets stand still unless a case moves them."]  # fmt: skip
    return "\n".join(lines)
