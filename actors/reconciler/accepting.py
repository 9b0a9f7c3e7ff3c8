"""``baseline accept``: an operator starts from what the venue shows. Looked at twice, the ledger first, then the
wallets, then a comparison that has to agree. Stopped anywhere, it is asked again from the start and changes
nothing twice."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from actors import durable
from actors.clock import NS_PER_S
from actors.messages.control import OperatorRequest
from actors.messages.health import Alert, Severity
from actors.messages.reconcile import AdoptVenue, VenueAdopted
from actors.reconciler import acceptance, money
from actors.reconciler.rounds import Finished, ReconcilerRounds
from actors.reconciler.store import Acceptance, MoneyStoreError

TRACKER_AGAIN_S = 1.0
TRACKER_PATIENCE_S = 20.0
LOOKS_AGAIN = 2
"""Comparisons after the acceptance before the operator hears that they still differ."""


class Stage(StrEnum):
    FIRST = "first look"
    WAIT = "waiting for the second look"
    SECOND = "second look"
    LEDGER = "ledger"
    VERIFY = "comparison"


@dataclass(slots=True)
class Acceptances:
    """The acceptance under way."""

    request: OperatorRequest
    number: int
    stage: Stage = Stage.FIRST
    first: money.Reading | None = None
    second: Finished | None = None
    adoption: acceptance.Adoption | None = None
    looks: int = 0
    said: list[tuple[str, str]] = field(default_factory=list)


class ReconcilerAccepting(ReconcilerRounds):
    """One acceptance at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._accepting: Acceptances | None = None

    def is_accepting(self, request_id: str) -> bool:
        return self._accepting is not None and self._accepting.request.request_id == request_id

    def say_progress(self, request_id: str, text: str, details: tuple[tuple[str, str], ...] = ()) -> None:
        raise NotImplementedError

    def end_request(self, request_id: str, *, ok: bool, text: str, details: tuple[tuple[str, str], ...] = ()) -> None:
        raise NotImplementedError

    def accept_baseline(self, request: OperatorRequest) -> None:
        if self._accepting is not None:
            self.end_request(request.request_id, ok=False, text="another acceptance is under way")
            return
        if self.open_store():
            self.end_request(request.request_id, ok=False, text=self.store_error)
            return
        assert self.store is not None
        try:
            done = self.store.acceptance(request.request_id) is not None
        except MoneyStoreError as error:
            self.end_request(request.request_id, ok=False, text=str(error))
            return
        stage = Stage.VERIFY if done else Stage.FIRST  # done before a restart: what is left is to show it
        self._accepting = Acceptances(request, self.next_round, stage)
        self.compare_soon(whole=True, deep=True)

    # --- the rounds ------------------------------------------------------------------------------------

    def round_failed(self, number: int, error: str) -> None:
        run = self._accepting
        if run is not None and number >= run.number and run.stage in (Stage.FIRST, Stage.SECOND, Stage.VERIFY):
            what = "accepted, but the comparison after it" if run.stage is Stage.VERIFY else "the comparison"
            self._end(run, ok=False, text=f"{what} is incomplete: {error}")

    def round_finished(self, finished: Finished) -> None:
        run = self._accepting
        if run is None or finished.number < run.number:
            return
        if run.stage is Stage.VERIFY:
            self._verify(run, finished)
        elif run.stage in (Stage.FIRST, Stage.SECOND):
            self._look(run, finished)

    def _look(self, run: Acceptances, finished: Finished) -> None:
        found = (*finished.judged.counting, *finished.judged.pending)
        venue = self.settings.venue
        late_ns = round((venue.jwt_life_s + venue.visibility_delay_s) * NS_PER_S)
        said = acceptance.objections(finished.ledger, finished.view, finished.egress, found, self.me, late_ns=late_ns)
        if said:
            details = tuple((f"objection {n}", text) for n, text in enumerate(said, 1))
            self._end(run, ok=False, text="refused: not everything is settled", details=details)
        elif run.first is None:
            run.first, run.stage = finished.reading, Stage.WAIT
            self.say_progress(run.request.request_id, "read once; a second reading has to agree")
            self.after("second-look", self.settle_ns / NS_PER_S, lambda: self._look_again(run))
        elif run.first.held != finished.reading.held:
            text = "refused: the balances moved between two readings; `run.py halt`, then ask again"
            self._end(run, ok=False, text=text)
        else:
            run.second, run.stage = finished, Stage.LEDGER
            run.adoption = acceptance.adoption(finished.ledger, finished.view, finished.egress, found, self.me)
            self.after("tracker-patience", TRACKER_PATIENCE_S, lambda: self._no_tracker(run))
            self._ask_tracker(run)

    def _look_again(self, run: Acceptances) -> None:
        if run is self._accepting and run.stage is Stage.WAIT:
            run.stage, run.number = Stage.SECOND, self.next_round
            self.compare_soon(whole=True, deep=True)

    # --- the ledger ------------------------------------------------------------------------------------

    def _ask_tracker(self, run: Acceptances) -> None:
        if run is not self._accepting or run.stage is not Stage.LEDGER:
            return
        assert run.second is not None and run.adoption is not None
        request, taken = run.request, run.adoption
        command = AdoptVenue(
            request.request_id,
            request.operator,
            request.reason,
            taken.orders,
            taken.fills,
            run.second.view.balances,
            taken.highest_n,
            self.stamp,
        )
        self.tell("tracker", command)
        self.after("tracker-again", TRACKER_AGAIN_S, lambda: self._ask_tracker(run))

    def _no_tracker(self, run: Acceptances) -> None:
        if run is self._accepting and run.stage is Stage.LEDGER:
            self._end(run, ok=False, text="the tracker does not answer; ask again, nothing is done twice")

    def on_venue_adopted(self, message: VenueAdopted, sender: object) -> None:
        run = self._accepting
        if run is None or run.stage is not Stage.LEDGER or message.request_id != run.request.request_id:
            return
        if message.refusal:
            self._end(run, ok=False, text=f"refused: {message.refusal}")
            return
        run.said = [("head of the ledger", str(message.head))]
        for name, texts in (
            ("adopted", message.adopted),
            ("booked", message.booked),
            ("written off", message.written_off),
        ):
            run.said += [(f"{name} {n}", text) for n, text in enumerate(texts, 1)]
        self._keep(run)

    # --- the wallets -----------------------------------------------------------------------------------

    def _keep(self, run: Acceptances) -> None:
        assert self.store is not None and run.second is not None and run.adoption is not None
        request, closed = run.request, self.flows
        baseline = money.begin(run.second.reading)
        record = Acceptance(
            request.request_id, self.clock.utc_ns(), str(request.verb), request.operator, request.reason
        )
        body = "; ".join(f"{name}: {text}" for name, text in run.said)
        try:
            if run.adoption.highest_epoch > self.epoch:
                raise_epoch(self.settings.store_dir / "epoch", run.adoption.highest_epoch)
                run.said.append(("next epoch", f"above {run.adoption.highest_epoch}"))
            self.store.accept_baseline(record, baseline, run.adoption.keys, body)
            self.begin_from(baseline)
        except (MoneyStoreError, OSError) as error:
            self._end(run, ok=False, text=f"not kept: {error}; ask again, nothing is done twice")
            return
        run.said += [(f"balance {name}", str(total)) for name, total in baseline.totals.items()]
        run.said += [(f"closed {flow.flow_id}", flow.text) for flow in closed]
        run.said += [(f"history {n}", key) for n, key in enumerate(run.adoption.keys, 1)]
        text = f"{request.operator} accepted what the venue shows: {request.reason}"
        self.log.warning("baseline_accepted", operator=request.operator, reason=request.reason, body=body)
        self.tell("alerts", Alert(Severity.CRITICAL, f"baseline:{request.request_id}", text, self.name))
        self.forget_first_looks()
        self.report_again()
        run.stage, run.number = Stage.VERIFY, self.next_round
        self.compare_soon(whole=True, deep=True)

    def _verify(self, run: Acceptances, finished: Finished) -> None:
        differ = [*finished.judged.counting, *finished.judged.pending]
        run.looks += 1
        if (differ or self.doubt) and run.looks < LOOKS_AGAIN:
            return  # what was adopted may still be on its way to its end
        left = ", ".join(f"{one.kind.value} {one.key}" for one in differ) or ", ".join(self.doubt)
        text = "accepted; ledger and venue agree; `run.py resume` when it may trade"
        self._end(run, ok=not left, text=f"accepted, yet they still differ: {left}" if left else text)

    def _end(self, run: Acceptances, *, ok: bool, text: str, details: tuple[tuple[str, str], ...] = ()) -> None:
        self._accepting = None
        for timer in ("second-look", "tracker-again", "tracker-patience"):
            self.cancel_timer(timer)
        self.end_request(run.request.request_id, ok=ok, text=text, details=(*details, *run.said))


def raise_epoch(path: Path, at_least: int) -> None:
    """The next start's epoch becomes larger than ``at_least``. ``run.py`` alone writes this file otherwise, and
    only while no daemon runs. Raises OSError."""
    try:
        known = int(path.read_text().strip() or 0)
    except (FileNotFoundError, ValueError):
        known = 0
    if known < at_least:
        durable.replace(path, f"{at_least}\n".encode())
