"""Planted bugs, and the proof that the campaign finds each: ``python -m tests.campaign.mutants [--only NAME]``.

An invariant that no bug breaks proves nothing. Each bug is planted in a process of its own, which then lives
seeded days until one breaks an invariant. Only the daemon is changed, never the venue, the schedule or the judge.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

HASH_SEED = "0"
SEEDS = 500
"""As many days as the campaign of every check-in lives."""
FOUND, SURVIVED = 0, 1


@dataclass(frozen=True, slots=True)
class Mutant:
    """``plant`` changes the running program; ``bug`` says what is wrong with it."""

    name: str
    bug: str
    plant: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """``seed`` None: the bug survived every day."""

    name: str
    seed: int | None
    days: int
    failure: str
    trace: str = ""
    """Of the day that failed: lived again, it is the same."""


# --- the ledger and the order states ---------------------------------------------------------------------------------


def fill_booked_twice() -> None:
    from actors.orders import booking

    once = booking.take_fill

    def take_fill(ledger, fill, now_utc_ns, booked):  # type: ignore[no-untyped-def]
        if ledger.has_fill(fill.entry_id):
            fill = replace(fill, entry_id=f"{fill.entry_id}-again")
        once(ledger, fill, now_utc_ns, booked)

    booking.take_fill = take_fill


def late_fills_are_not_awaited() -> None:
    from actors.orders.machine import OrderFacts

    OrderFacts.awaits_fills = property(lambda self: False)  # type: ignore[method-assign, assignment]


def unknown_is_absent_at_once() -> None:
    from actors.orders.unknowns import Search

    Search.absent = property(lambda self: True)  # type: ignore[method-assign, assignment]


def absence_needs_no_waiting() -> None:
    from actors.orders.unknowns import Search

    Search.proof_begins_boot_ns = lambda self, jwt_life_s, visibility_s: 0  # type: ignore[method-assign]


def restart_takes_commands_as_never_sent() -> None:
    from actors.orders.unknowns import EgressProof

    EgressProof.never_sent = lambda self, record, *, holder_gone: True  # type: ignore[method-assign]


def number_reused_after_restart() -> None:
    """The head lives in memory and begins anew; ids of an epoch collide and orders go out under used ids."""
    from actors.orders.ledger import Ledger

    def next_n(self):  # type: ignore[no-untyped-def]
        self._next = getattr(self, "_next", 0) + 1
        return self._next

    Ledger.next_n = next_n  # type: ignore[method-assign]


def restart_sends_intents_again() -> None:
    """A new tracker gives its open commands to a gateway that knows nothing of what earlier ones sent."""
    from actors.clock import NS_PER_S
    from actors.gateway.room import GatewayRoom
    from actors.orders.facts import TrackerFacts

    begin = GatewayRoom._open

    def open_forgetfully(self):  # type: ignore[no-untyped-def]
        begin(self)
        self._sent_before = frozenset()

    def send_again(self, record, cause):  # type: ignore[no-untyped-def]
        self.send_intent(record, self.fresh_quote(record.symbol), self.clock.boot_ns() + 2 * NS_PER_S)

    GatewayRoom._open = open_forgetfully  # type: ignore[method-assign]
    TrackerFacts.lose_or_clear = send_again  # type: ignore[method-assign]


# --- the gateway -----------------------------------------------------------------------------------------------------


def kill_latch_is_not_asked() -> None:
    from actors.gateway import room

    room.latch_exists = lambda path: False


def lease_age_is_not_asked() -> None:
    from actors.gateway import last_check

    def leased_state(symbol, grounds):  # type: ignore[no-untyped-def]
        lease = grounds.lease
        return None if lease is None or lease.epoch != grounds.epoch else lease.state_of(symbol)

    last_check._leased_state = leased_state


def last_check_only_when_queued() -> None:
    """The gate before the first byte lets everything pass; what was allowed when the command came may go."""
    from actors.gateway import submits

    make = submits.WireCall
    submits.WireCall = lambda clock, *, gate, recorded, egress: make(  # type: ignore[assignment, misc]
        clock, gate=lambda: None, recorded=recorded, egress=egress
    )


def no_answer_means_not_sent() -> None:
    from actors.gateway import classify
    from actors.messages.orders import OutcomeKind

    judge = classify._judge

    def judge_wrongly(answer, read):  # type: ignore[no-untyped-def]
        if answer.wrote and answer.status is None:
            return classify.Verdict(OutcomeKind.NOT_SENT, "no answer")
        return judge(answer, read)

    classify._judge = judge_wrongly


def server_error_means_refused() -> None:
    from actors.gateway import classify

    classify.REFUSING_STATUSES = classify.REFUSING_STATUSES | {502, 503}


# --- protection, cancels, stops --------------------------------------------------------------------------------------


def touched_target_counts_as_stop() -> None:
    from actors.orders import protection

    protection.spent_target = lambda order: False


def protection_is_placed_once() -> None:
    """A position gets one protective order; what follows after it is gone stays naked."""
    from actors.orders.arming import TrackerArming

    place = TrackerArming._place

    def place_once(self, symbol, action):  # type: ignore[no-untyped-def]
        placed = self.__dict__.setdefault("_placed", set())
        key = (symbol, self.ledger.book(symbol).trip_start)
        if key not in placed:
            placed.add(key)
            place(self, symbol, action)

    TrackerArming._place = place_once  # type: ignore[method-assign]


def cancel_is_asked_once() -> None:
    """Lost, refused or answered by nothing: a wish to cancel is not repeated, over a restart neither."""
    from actors.orders.wire import TrackerWire

    send = TrackerWire.send_cancel

    def send_once(self, record, reason):  # type: ignore[no-untyped-def]
        if reason not in ("again", "late") and not record.facts.cancel_requested:
            send(self, record, reason)

    TrackerWire.send_cancel = send_once  # type: ignore[method-assign]


def stops_cancel_nothing() -> None:
    from actors.orders.stopping import TrackerStopping

    TrackerStopping.obey = lambda self, run=None: None  # type: ignore[method-assign, assignment]


# --- risk ------------------------------------------------------------------------------------------------------------


def reservation_is_leaked() -> None:
    from actors.risk.books import Books

    take = Books.take_in

    def take_in(self, snapshot):  # type: ignore[no-untyped-def]
        kept = {key: one for key, one in self.reservations.items() if snapshot.at_boot_ns > one.expires_boot_ns}
        take(self, snapshot)
        self.reservations |= kept  # one that expires unseen is never freed

    Books.take_in = take_in  # type: ignore[method-assign]


def approvals_reserve_nothing() -> None:
    from actors.risk.books import Books

    Books.reserve = lambda self, reservation: None  # type: ignore[method-assign]


def cap_counts_by_symbol() -> None:
    from actors.risk import limits

    limits.base_of = lambda world, symbol: symbol


def open_entries_are_not_counted() -> None:
    from actors.risk import books

    books.entry_cost = lambda order, fee_rate: Decimal(0)


# --- supervision -----------------------------------------------------------------------------------------------------


def hung_actor_is_left_alone() -> None:
    from supervision.judging import Judge

    Judge._suspect = lambda self, child, now, silent_s: None  # type: ignore[method-assign]


def dead_actor_stays_dead() -> None:
    """The third death of a part within a run is not followed by a restart."""
    from supervision.restarting import Restarter

    died = Restarter._died

    def died_for_good(self, child, was, status):  # type: ignore[no-untyped-def]
        if child.restarts < 1:
            died(self, child, was, status)

    Restarter._died = died_for_good  # type: ignore[method-assign]


def watchdog_forgets_the_operator() -> None:
    """A restarted watchdog takes the first standing instead of what an operator asked for."""
    from supervision.control_store import ControlStore

    ControlStore.read_standing = lambda self: None  # type: ignore[method-assign]


def new_watchdog_waits_for_nobody() -> None:
    """It gives permission before the parts beat and the books were compared."""
    from supervision.watchdog import WatchdogActor

    WatchdogActor._waiting = lambda self: ()  # type: ignore[method-assign]


MUTANTS: tuple[Mutant, ...] = (
    Mutant("fill_booked_twice", "a fill seen by a second source is booked again", fill_booked_twice),
    Mutant("late_fills_not_awaited", "an order is over before its fills are booked", late_fills_are_not_awaited),
    Mutant("unknown_absent_at_once", "one listing without the order proves absence", unknown_is_absent_at_once),
    Mutant("absence_without_waiting", "absence is proven before a late request can arrive", absence_needs_no_waiting),
    Mutant("restart_never_sent", "an open command counts as never sent", restart_takes_commands_as_never_sent),
    Mutant("number_reused", "numbers of client order ids begin anew at a restart", number_reused_after_restart),
    Mutant("intents_sent_again", "a restarted tracker sends its open intents again", restart_sends_intents_again),
    Mutant("latch_not_asked", "the gateway does not look at the kill latch", kill_latch_is_not_asked),
    Mutant("lease_age_not_asked", "the gateway takes a lease of any age", lease_age_is_not_asked),
    Mutant("no_gate_at_first_byte", "nothing is checked before the first byte", last_check_only_when_queued),
    Mutant("no_answer_not_sent", "a request without an answer counts as not sent", no_answer_means_not_sent),
    Mutant("server_error_refused", "HTTP 502 and 503 count as refusals", server_error_means_refused),
    Mutant("touched_target_protects", "a touched target counts as a stop", touched_target_counts_as_stop),
    Mutant("protected_once", "protection that is gone is not placed again", protection_is_placed_once),
    Mutant("cancel_asked_once", "a cancel that was lost is not repeated", cancel_is_asked_once),
    Mutant("stops_cancel_nothing", "halt, reduce and kill leave entries resting", stops_cancel_nothing),
    Mutant("reservation_leaked", "an approval that expires unseen stays reserved", reservation_is_leaked),
    Mutant("nothing_reserved", "an approval on its way counts for nothing", approvals_reserve_nothing),
    Mutant("cap_by_symbol", "aliases of one asset are counted apart", cap_counts_by_symbol),
    Mutant("open_entries_free", "entries that rest count for nothing", open_entries_are_not_counted),
    Mutant("hang_not_seen", "an actor that hangs is never killed", hung_actor_is_left_alone),
    Mutant("dead_stays_dead", "the second death of an actor is not followed by a restart", dead_actor_stays_dead),
    Mutant("operator_forgotten", "a restarted watchdog forgets a halt", watchdog_forgets_the_operator),
    Mutant("watchdog_waits_not", "permission comes before the books were compared", new_watchdog_waits_for_nobody),
)  # fmt: skip


def hunt(mutant: Mutant, seeds: range) -> Verdict:
    """Plant the bug in this process and live days until one fails."""
    from tests.campaign.__main__ import _silence
    from tests.campaign.world import run_seed

    _silence()
    mutant.plant()
    for days, seed in enumerate(seeds, 1):
        try:
            day = run_seed(seed)
        except Exception as error:  # a day that cannot be lived to its end was not kept either
            return Verdict(mutant.name, seed, days, f"{type(error).__name__}: {error}")
        if day.failures:
            return Verdict(mutant.name, seed, days, day.failures[0], day.trace)
    return Verdict(mutant.name, None, len(seeds), "")


def hunt_all(mutants: tuple[Mutant, ...], seeds: range, workers: int) -> Iterator[Verdict]:
    """Each bug in a process of its own."""
    from tests.campaign.__main__ import _preload

    _preload()
    context = multiprocessing.get_context("fork")
    with context.Pool(workers, maxtasksperchild=1) as pool:
        waiting = [pool.apply_async(hunt, (mutant, seeds)) for mutant in mutants]
        for one in waiting:
            yield one.get()


def main(arguments: list[str]) -> int:
    """0: every bug was found; 1: some survived."""
    parser = argparse.ArgumentParser("python -m tests.campaign.mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=SEEDS, help="days to live at most with each bug")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--only", action="append", help="the name of a bug; may be repeated")
    options = parser.parse_args(arguments)
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        os.environ["PYTHONHASHSEED"] = HASH_SEED
        os.execv(sys.executable, [sys.executable, "-m", "tests.campaign.mutants", *arguments])
    chosen = tuple(one for one in MUTANTS if not options.only or one.name in options.only)
    if not chosen or (options.only and len(chosen) != len(set(options.only))):
        parser.error(f"bugs: {', '.join(one.name for one in MUTANTS)}")
    began = time.monotonic()
    survived = []
    for verdict in hunt_all(chosen, range(options.first, options.first + options.seeds), options.workers):
        if verdict.seed is None:
            survived.append(verdict.name)
            print(f"{verdict.name:24} SURVIVED {verdict.days} days", flush=True)
        else:
            where = f"day {verdict.days:3}, seed {verdict.seed:4}, trace {verdict.trace[:12]}"
            print(f"{verdict.name:24} {where}: {verdict.failure[:150]}", flush=True)
    print(f"{len(chosen)} planted bugs, {len(survived)} survived, {time.monotonic() - began:.0f} s")
    return SURVIVED if survived else FOUND


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
