"""Obeys the lease and the operator: cancels what may not work any more and proves it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from types import MappingProxyType

from actors.clock import NS_PER_S
from actors.messages.control import CancelProof, OperatorCommand, OperatorVerb
from actors.messages.health import Lease, TradingState
from actors.messages.orders import CancelOrder, Role
from actors.messages.venue import QueryKind, VenueAnswer, VenueOrder
from actors.orders import blind, killing
from actors.orders.flattening import TrackerFlattening
from actors.orders.killing import Listing, StopKind, StopRun, Verdict
from actors.orders.ledger import Ledger
from actors.orders.records import OrderRecord
from actors.orders.wire import Question

LATCH_RUN = "latch"
MARGIN_NS = 60 * NS_PER_S
"""Listings begin this much earlier than our clock says: the venue's clock may differ."""
PRIORITY_PROOF = 5
LOOK_AGAIN_NS = NS_PER_S // 2
"""After a look that found an order open: its cancel takes a moment."""
_KINDS = MappingProxyType(
    {
        OperatorVerb.KILL: StopKind.KILL,
        OperatorVerb.STOP: StopKind.KILL,
        OperatorVerb.HALT: StopKind.HALT,
        OperatorVerb.REDUCE: StopKind.REDUCE,
    }
)
ANSWERED_NS = 600 * NS_PER_S
"""A finished stop this old has long had its answer: it need not tell its proof again."""
OVERTAKEN_NS = 5 * NS_PER_S
"""A lease that still says RUN may have been issued before the stop; later it means that trading was released."""


class TrackerStopping(TrackerFlattening):
    """Runs stops; each is persisted, so that a new incarnation goes on with it."""

    def __init__(self) -> None:
        super().__init__()
        self._listings: dict[str, list[Listing]] = {}
        self._half: dict[str, tuple[int, set[str]]] = {}
        self._told: dict[str, tuple[int, int]] = {}
        self._stray_cancels: dict[str, int] = {}
        self._obeyed = TradingState.HALTED

    # --- what starts a stop ----------------------------------------------------------------------------

    def on_lease(self, lease: Lease, sender: object) -> None:
        if self.lease is not None and (lease.watchdog_incarnation, lease.sequence) < (
            self.lease.watchdog_incarnation,
            self.lease.sequence,
        ):
            return  # an older one arrived late: never widen by it
        self.lease = lease
        self.hear_release(lease.released_by)
        before, self._obeyed = self._obeyed, lease.state
        killing_now = any(run.kind is StopKind.KILL for run in self.unfinished_stops())
        if lease.state is TradingState.KILLED and before is not TradingState.KILLED and not killing_now:
            self.begin_stop(LATCH_RUN)
        if lease.state.rank <= TradingState.REDUCE_ONLY.rank and self.ledger.documents("stops"):
            self._end_stops(lease.state)
        self.obey()

    def unfinished_stops(self) -> list[StopRun]:
        return [run for run in self.stop_runs() if not run.complete]

    def on_operator_command(self, command: OperatorCommand, sender: object) -> None:
        kind = _KINDS.get(command.verb)
        if command.verb is OperatorVerb.RELEASE:
            self.hear_release(command.request_id)
            self.tell("admin", self.release_proof(command.request_id))
            return
        if kind is None:
            self.log.warning("operator_command_ignored", verb=command.verb.value, request=command.request_id)
            return
        self.log.warning("operator_command", verb=command.verb.value, operator=command.operator, reason=command.reason)
        self.begin_stop(command.request_id, kind, flatten=command.flatten, cancel_all=command.cancel_all)

    def begin_stop(
        self,
        request_id: str,
        kind: StopKind = StopKind.KILL,
        *,
        flatten: bool = False,
        cancel_all: bool = False,
        symbol: str = "",
    ) -> None:
        """Begin, or go on with, the stop of this id; a finished one tells its proof again."""
        known = {run.request_id: run for run in self.stop_runs()}.get(request_id)
        if known is None or (request_id == LATCH_RUN and known.complete):
            now_utc = self.clock.utc_ns()
            working = self.ledger.working()
            oldest = min((one.intent.created_utc_ns for one in working), default=now_utc)
            oldest = now_utc - blind.LOOK_BACK_NS if self.unusable else oldest
            known = StopRun(
                request_id, flatten, cancel_all, self.ledger.head, now_utc, oldest - MARGIN_NS, kind=kind,
                symbol=symbol, owned=str(self.ledger.book(symbol).quantity) if symbol else "",
            )  # fmt: skip
            # The lease may have been quicker: what it had cancelled is this stop's work as well.
            going = [one for one in killing.targets(working, known) if one.facts.cancel_requested]
            known = replace(known, cancelled=len(going), released_by=self.overruled_by(known))
            body = known.to_json()
            self.write(lambda ledger: ledger.put_document("stops", request_id, body))
            self._listings.pop(request_id, None)
        self._told.pop(request_id, None)
        if known.cancel_all:
            self.remember_suspension([known])
        self.obey(known)
        self.push_stop(known)

    def remember_suspension(self, also: Sequence[StopRun] = ()) -> None:
        """Which symbols stay bare: all, once an operator cancelled protection too, but those protected again since.

        ``also``: stops that count although the disk refused them.
        """
        runs = {run.request_id: run for run in (*also, *self.stop_runs()) if run.cancel_all}
        self.suspended = bool(runs)
        self.rearmed = frozenset.intersection(*(frozenset(run.rearmed) for run in runs.values())) if runs else None

    def rearm(self, symbol: str) -> bool:
        """An operator wants this symbol protected although protection was cancelled, or although its books lack
        orders that the venue has; False: not written down."""
        bare = [run for run in self.stop_runs() if run.cancel_all and symbol not in run.rearmed]

        def work(ledger: Ledger) -> None:
            for run in bare:
                after = replace(run, rearmed=(*run.rearmed, symbol))
                ledger.put_document("stops", run.request_id, after.to_json())
            if symbol in self.behind:
                ledger.event("trusted", symbol)

        if (bare or symbol in self.behind) and not self.write(work):
            return False
        self.behind.discard(symbol)
        self.remember_suspension()
        return True

    def _end_stops(self, state: TradingState) -> None:
        """Trading is allowed again: stops are over and protection is armed as usual."""
        latest = self.clock.utc_ns() - OVERTAKEN_NS
        over = [run for run in self.stop_runs() if run.started_utc_ns <= latest and run.over_in(state)]
        self.withdraw([run for run in over if run.flatten and not run.complete and not run.released_by], "resumed")
        over = [run for run in over if run.concluded or not run.flatten or run.complete]

        def work(ledger: Ledger) -> None:
            for run in over:
                ledger.put_document("stops", run.request_id, None)

        if over and self.write(work):
            for run in over:
                self._listings.pop(run.request_id, None)
            self.remember_suspension()

    # --- cancelling ------------------------------------------------------------------------------------

    def obey(self, run: StopRun | None = None) -> None:
        """Cancel what the state (or the stop) forbids; asked again until each order is terminal."""
        working = self.ledger.working()
        if not working:
            return
        runs = self.unfinished_stops() + ([run] if run is not None and not run.complete else [])
        doomed = []
        for one in working:
            state = self.lease.state_of(one.symbol) if self.lease is not None else TradingState.RUN
            if killing.forbidden(one, state) or any(killing.targets([one], stop) for stop in runs):
                doomed.append(one)
        if doomed:
            fresh = [one for one in doomed if not one.facts.cancel_requested]
            self.cancel_orders(doomed, "stop")
            self._count_cancelled(fresh)

    def _count_cancelled(self, fresh: list[OrderRecord]) -> None:
        """Each stop counts the orders that it had to cancel and that nobody had cancelled before."""
        counts = {run: len(killing.targets(fresh, run)) for run in self.unfinished_stops()}
        if not any(counts.values()):
            return

        def work(ledger: Ledger) -> None:
            for run, count in counts.items():
                counted = replace(run, cancelled=run.cancelled + count)
                ledger.put_document("stops", run.request_id, counted.to_json())

        self.write(work)

    # --- proving ---------------------------------------------------------------------------------------

    def push_stops(self) -> None:
        """Move every unfinished stop ahead; called by the sweep and when orders changed."""
        self.conclude_released()
        for run in self.unfinished_stops():
            self.push_stop(run)

    def push_stop(self, run: StopRun) -> None:
        """Flatten, look at the venue, judge, tell."""
        known = {one.request_id: one for one in self.stop_runs()}.get(run.request_id)
        run = known or run
        if run.complete:
            self._tell(run, Verdict(True, 0, ()))
            return
        unsold = self.flatten(run) if run.flatten and not self.overruled_by(run) else []
        verdict = self._verdict(run, unsold)
        if self._blocking(run):
            self._listings.pop(run.request_id, None)  # what was listed before the last order ended proves nothing
        elif not verdict.complete:
            self._look(run)
        if verdict.complete and not (self.unusable and run.flatten):
            run = replace(run, complete=True)
            if not self.keep_finished(run):
                return
        self._tell(run, verdict)

    def keep_finished(self, run: StopRun) -> bool:
        """Persist that the stop is proven; older ones of its kind have had their answer."""
        body = run.to_json()
        long_ago = self.clock.utc_ns() - ANSWERED_NS
        older = [
            one.request_id for one in self.stop_runs()
            if one.complete and one.kind is run.kind and not one.cancel_all and one.started_utc_ns < long_ago
        ]  # fmt: skip

        def work(ledger: Ledger) -> None:
            ledger.put_document("stops", run.request_id, body)
            for request_id in older:
                ledger.put_document("stops", request_id, None)

        return self.write(work)

    def _verdict(self, run: StopRun, unsold: list[tuple[str, Decimal]]) -> Verdict:
        listings = self._listings.get(run.request_id, [])
        return killing.judge(run, self.ledger.working(), listings, self.settings.venue.visibility_delay_s, unsold)

    def _blocking(self, run: StopRun) -> bool:
        return killing.judge(run, self.ledger.working(), (), 0.0, ()).unproven > 0

    def _look(self, run: StopRun) -> None:
        """Ask for the two listings that make one look: soon after one that found something open, and the visibility
        delay after one that did not, since a nearer one proves nothing."""
        listings = self._listings.get(run.request_id, [])
        dirty = bool(listings and listings[-1].open_ids)
        gap_ns = LOOK_AGAIN_NS if dirty else self.settings.venue.visibility_delay_s * NS_PER_S
        if listings and self.clock.boot_ns() - listings[-1].asked_boot_ns <= gap_ns:
            return
        key = f"stop:{run.request_id}"

        def second(answer: VenueAnswer) -> None:
            first = self._half.pop(run.request_id, None)
            if answer.ok and first is not None:
                asked, names = first
                names |= self._open_names(run, answer.orders)
                doomed = frozenset(one.order_id for one in self._doomed_unbooked(run, answer.orders))
                self._listed(run, Listing(min(asked, answer.asked_boot_ns), tuple(sorted(names)), doomed))

        def first(answer: VenueAnswer) -> None:
            if answer.ok:
                self._half[run.request_id] = (answer.asked_boot_ns, self._open_names(run, answer.orders))
                every = Question(f"{key}:all", QueryKind.ORDERS_SINCE, second, PRIORITY_PROOF)
                self.ask(replace(every, since_utc_ns=run.since_utc_ns))

        if f"{key}:all" not in self.wire.asked:
            self.ask(Question(f"{key}:open", QueryKind.OPEN_ORDERS, first, PRIORITY_PROOF))

    def _open_names(self, run: StopRun, orders: tuple[VenueOrder, ...]) -> set[str]:
        """Own orders the venue shows open that should be gone; those the ledger lacks are cancelled by order id."""
        if self.unusable:
            strays = blind.still_open(self._doomed_unbooked(run, orders))
            for view in strays:
                self._cancel_stray(view)
            return {view.client_order_id for view in strays}
        orders_settings = self.settings.orders
        spared = frozenset(
            one.id for one in self.ledger.working() if one.role is Role.EXIT
            and not run.ends(one.role, one.intent.correlation_id, one.symbol)
        )  # fmt: skip
        found = killing.open_at_venue(orders, orders_settings.family, orders_settings.instance, self.epoch, run, spared)
        # A listing read before the last fact about an order may still show it open: the fact counts.
        names = set()
        for view in found:
            record = self.ledger.order(view.client_order_id)
            if record is not None and record.state.terminal and record.facts.seen and not record.facts.gone:
                continue
            names.add(view.client_order_id)
            if record is None:
                self._cancel_stray(view)
        return names

    def _doomed_unbooked(self, run: StopRun, orders: tuple[VenueOrder, ...]) -> list[VenueOrder]:
        """Without a ledger: what the stop forbids, of any instance and start."""
        if not self.unusable:
            return []
        return blind.doomed(orders, self.settings.orders.family, run)

    def _cancel_stray(self, view: VenueOrder) -> None:
        now = self.clock.boot_ns()
        sent = self._stray_cancels.get(view.order_id)
        if sent is not None and now - sent < self.settings.orders.cancel_timeout_s * NS_PER_S:
            return
        cancel = CancelOrder(view.client_order_id, view.order_id, view.product_id, "stop", self.stamp)
        if self.tell("gateway", cancel):
            self._stray_cancels[view.order_id] = now

    def _listed(self, run: StopRun, listing: Listing) -> None:
        if self._blocking(run):
            return
        known = self._listings.get(run.request_id, [])
        clean = [*known[:1], listing] if known and listing.follows(known[0]) else [listing]
        self._listings[run.request_id] = clean if not listing.open_ids else [listing]
        self.push_stop(run)

    # --- telling ---------------------------------------------------------------------------------------

    def _tell(self, run: StopRun, verdict: Verdict) -> None:
        now = self.clock.boot_ns()
        told_at, told_unproven = self._told.get(run.request_id, (0, -1))
        complete = run.complete
        fresh = told_at and now - told_at < NS_PER_S
        if fresh and told_unproven == (0 if complete else verdict.unproven + 1):
            return
        self._told[run.request_id] = (now, 0 if complete else verdict.unproven + 1)
        if complete:
            self.log.warning("stop_proven", request=run.request_id, kind=run.kind.value, cancelled=run.cancelled)
        if run.kind is StopKind.FLATTEN:
            self.tell_flatten(run, verdict)
            return
        text = "proven" if complete else f"{verdict.unproven} unproven"
        if self.unusable:
            text = blind.what_is_known(self.unusable, complete=complete, flatten=run.flatten)
        elif self.write_failing and not complete:
            text = f"{text}; the ledger cannot be written: {self.write_failing}"
        proof = CancelProof(
            request_id=run.request_id,
            complete=complete,
            cancelled=run.cancelled + (len(self._stray_cancels) if self.unusable else 0),
            unproven=verdict.unproven,
            still_open=verdict.still_open,
            positions=self.position_proofs(),
            text=text,
            ended=self.left_by_release(run),
        )
        self.tell("admin", proof)

    def tell_flatten(self, run: StopRun, verdict: Verdict) -> None:
        """How the flatten of one symbol stands; the layer that takes requests answers it."""
        raise NotImplementedError
