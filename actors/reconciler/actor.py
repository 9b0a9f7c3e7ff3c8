"""ReconcilerActor: compares ledger and venue on its own clock and when an operator asks; takes an operator's
acceptances of what it found."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from actors.messages.books import PortfolioSnapshot
from actors.messages.control import OperatorAnswer, OperatorRequest, RequestVerb
from actors.messages.health import Alert, Severity
from actors.messages.reconcile import OpenFlow, ReconcileNow, ReconcileReport
from actors.reconciler.accepting import ReconcilerAccepting
from actors.reconciler.grace import Judged
from actors.reconciler.kinds import PLAIN, DifferenceKind
from actors.reconciler.rounds import Finished
from actors.reconciler.store import Acceptance, MoneyStoreError

ANSWERS_KEPT = 32

Details = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Waiting:
    """Somebody asked for a comparison. ``looks``: complete rounds so far; ``number``: the first that counts."""

    request: OperatorRequest
    number: int
    looks: int = 0


class ReconcilerActor(ReconcilerAccepting):
    """Operators' requests; each is carried out once, however often it comes."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: dict[str, _Waiting] = {}
        self._answers: OrderedDict[str, OperatorAnswer] = OrderedDict()

    def on_reconcile_now(self, message: ReconcileNow, sender: object) -> None:
        self.compare_soon()

    def on_portfolio_snapshot(self, message: PortfolioSnapshot, sender: object) -> None:
        """The ledger is read for each comparison, in one transaction; a snapshot of another moment is not used."""

    def on_operator_request(self, message: OperatorRequest, sender: object) -> None:
        known = self._answers.get(message.request_id)
        if known is not None:
            self.tell("admin", known)
        elif message.request_id in self._waiting or self.is_accepting(message.request_id):
            return  # under way
        elif self.settings.mode == "dry_run":
            self.end_request(message.request_id, ok=False, text="dry_run sends nothing: there is nothing to compare")
        else:
            self._handler(message.verb)(message)

    def _handler(self, verb: RequestVerb) -> Callable[[OperatorRequest], None]:
        handlers: Mapping[RequestVerb, Callable[[OperatorRequest], None]] = {
            RequestVerb.RECONCILE: self._compare_for,
            RequestVerb.FLOWS_ACCEPT: self._accept_flows,
            RequestVerb.BASELINE_ACCEPT: self.accept_baseline,
        }
        return handlers.get(verb, self._refuse)

    def _refuse(self, request: OperatorRequest) -> None:
        self.end_request(request.request_id, ok=False, text=f"{request.verb} is not known to {self.name}")

    def say_progress(self, request_id: str, text: str, details: Details = ()) -> None:
        self.tell("admin", OperatorAnswer(request_id, done=False, ok=False, text=text, details=details))

    def end_request(self, request_id: str, *, ok: bool, text: str, details: Details = ()) -> None:
        """The final answer, remembered: the question may have been repeated meanwhile."""
        answer = OperatorAnswer(request_id, done=True, ok=ok, text=text, details=details)
        self._answers[request_id] = answer
        while len(self._answers) > ANSWERS_KEPT:
            self._answers.popitem(last=False)
        self.tell("admin", answer)

    # --- reconcile -------------------------------------------------------------------------------------

    def _compare_for(self, request: OperatorRequest) -> None:
        self._waiting[request.request_id] = _Waiting(request, self.next_round)
        self.compare_soon(whole=True)

    def round_failed(self, number: int, error: str) -> None:
        super().round_failed(number, error)
        for request_id in [key for key, one in self._waiting.items() if number >= one.number]:
            del self._waiting[request_id]
            self.end_request(request_id, ok=False, text=f"incomplete: {error}", details=(("result", "incomplete"),))

    def round_finished(self, finished: Finished) -> None:
        super().round_finished(finished)
        for request_id, one in list(self._waiting.items()):
            if finished.number < one.number:
                continue
            one.looks += 1
            first = finished.judged.pending or self.doubt
            if first and one.looks == 1:  # an order on its way looks like this, too: the second look tells
                what = ", ".join((*(found.kind.value for found in finished.judged.pending), *self.doubt))
                self.say_progress(request_id, f"a first look found {what}; looking once more")
                continue
            del self._waiting[request_id]
            ok, text, details = describe(finished.report, finished.judged)
            self.end_request(request_id, ok=ok, text=text, details=details)

    # --- flows -----------------------------------------------------------------------------------------

    def _accept_flows(self, request: OperatorRequest) -> None:
        """From here on they are deposits and withdrawals: no loss, no gain, nothing that stops entries.

        Only those that the operator was shown: one that came since may be a theft.
        """
        if self.open_store():
            self.end_request(request.request_id, ok=False, text=self.store_error)
            return
        assert self.store is not None
        acceptance = Acceptance(
            request.request_id, self.clock.utc_ns(), str(request.verb), request.operator, request.reason
        )
        names = request.argument("flows").split()
        try:
            if self.store.acceptance(request.request_id) is None:
                unseen = _not_as_shown(names, self.store.open_flows())
                if unseen:
                    self.end_request(request.request_id, ok=False, text=unseen, details=_flows(self.store.open_flows()))
                    return
            accepted = self.store.accept_flows(acceptance, names)
            self.flows = self.store.open_flows()
        except MoneyStoreError as error:
            self.end_request(request.request_id, ok=False, text=str(error))
            return
        self.report_again()
        for flow in accepted:
            self.log.warning("flow_accepted", flow=flow.flow_id, operator=request.operator, reason=request.reason)
        said = "; ".join(flow.text for flow in accepted)
        if accepted:
            text = f"{request.operator} accepted {said}: {request.reason}"
            self.tell("alerts", Alert(Severity.INFO, f"flows:{request.request_id}", text, self.name))
        text = f"{len(accepted)} accepted; loss limits that they reached wait for run.py resume"
        if self.flows:
            text += f"; still open: {'; '.join(flow.text for flow in self.flows)}"
        self.end_request(
            request.request_id, ok=True, text=text if accepted else "no flow is open", details=_flows(accepted)
        )


def describe(report: ReconcileReport, judged: Judged) -> tuple[bool, str, Details]:
    """(agree, in one line, in detail) of a complete comparison."""
    flows = report.flows or ()
    differ = bool(judged.counting or judged.pending or flows or report.doubt)
    details = [
        ("result", "differ" if differ else "agree"),
        ("orders compared", str(report.compared_orders)),
        ("fills compared", str(report.compared_fills)),
    ]
    for one in report.differences:
        kind = DifferenceKind(one.kind)
        young = "" if one.beyond_tolerance or kind not in _SERIOUS else "; seen for the first time"
        details.append((f"{one.kind} {one.key}", f"{PLAIN[kind]}: ledger {one.ledger}, venue {one.venue}{young}"))
    details += _flows(flows)
    details += [(f"doubt {name}", "the newest reading does not add up; a second one decides") for name in report.doubt]
    number = len(judged.counting) + len(judged.pending) + len(flows) + len(report.doubt)
    text = f"ledger and venue differ in {number} points" if differ else "ledger and venue agree"
    return not differ, text, tuple(details)


_SERIOUS = frozenset(DifferenceKind) - {DifferenceKind.RULES, DifferenceKind.FEES}


def _not_as_shown(names: list[str], flows: tuple[OpenFlow, ...]) -> str:
    """Why these names cannot be accepted; empty when all of them are open, or nothing is."""
    there = {flow.flow_id for flow in flows}
    gone = [name for name in names if name not in there]
    if gone:
        return f"not open: {', '.join(gone)}; nothing was accepted"
    return "which flows? Name those that are yours; nothing was accepted" if flows and not names else ""


def _flows(flows: tuple[OpenFlow, ...]) -> Details:
    return tuple((f"{flow.flow_id} {flow.currency}", f"{flow.text}, no fill explains it") for flow in flows)
