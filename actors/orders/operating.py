"""What operators ask of the tracker by name: resolve an order, protect a symbol, flatten it; each with proof.

Done once per request: a final answer is an event of the ledger, written together with what it tells, and a
repeated request hears it again, also from a tracker that was started anew in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import orjson

from actors.clock import NS_PER_S
from actors.messages.control import OperatorAnswer, OperatorRequest, RequestVerb
from actors.messages.health import Severity, TradingState
from actors.messages.orders import OrderState, Protection
from actors.messages.venue import QueryKind, VenueAnswer, VenueOrder
from actors.orders import booking, protection, resolving
from actors.orders.booking import Booked
from actors.orders.killing import StopKind, StopRun, Verdict
from actors.orders.ledger import Ledger
from actors.orders.missing import TrackerMissing
from actors.orders.records import OrderRecord
from actors.orders.resolving import ResolveError
from actors.orders.stopping import MARGIN_NS
from actors.orders.unknowns import Search
from actors.orders.wire import PRIORITY_PROTECT, Question

Work = Callable[[Ledger], None]
Details = tuple[tuple[str, str], ...]
ANSWER = "operator_answer"
PROTECT_S = 20.0
"""How long arming is tried before the operator hears that the position is NAKED; the tracker tries on after it."""
LOOK_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True)
class _Arming:
    """One ``protect`` under way."""

    request: OperatorRequest
    since_boot_ns: int


class TrackerOperating(TrackerMissing):
    """Requests in, answers out."""

    def __init__(self) -> None:
        super().__init__()
        self._armings: dict[str, _Arming] = {}
        self._flattens: dict[str, OperatorRequest] = {}

    def on_operator_request(self, request: OperatorRequest, sender: object) -> None:
        known = self.ledger.last_event(ANSWER, request.request_id)
        if known is not None:
            self.tell("admin", _read_answer(request.request_id, known))
            return
        if request.request_id not in self._armings and request.request_id not in self._flattens:
            text = {"verb": request.verb.value, "target": request.target, "operator": request.operator}
            self.log.warning("operator_request", request=request.request_id, reason=request.reason, **text)
        if self.unusable:
            self._say(request, f"the ledger cannot be used: {self.unusable}", done=True)
        elif request.verb is RequestVerb.RESOLVE:
            self._resolve(request)
        elif request.verb is RequestVerb.PROTECT:
            self._protect(request)
        elif request.verb is RequestVerb.FLATTEN:
            self._begin_flatten(request)
        else:
            super().on_operator_request(request, sender)

    def _say(
        self, request: OperatorRequest, text: str, *, done: bool = False, ok: bool = False, details: Details = ()
    ) -> None:
        self.tell("admin", OperatorAnswer(request.request_id, done, ok, text, details))

    def _end(self, request: OperatorRequest, text: str, details: Details = (), *, ok: bool = True) -> bool:
        """The final answer, on the disk before it is told; False when the disk refuses, and nothing is told."""
        if not self.write(lambda ledger: self._keep_answer(ledger, request, text, details, ok=ok)):
            return False
        self._say(request, text, done=True, ok=ok, details=details)
        return True

    @staticmethod
    def _keep_answer(ledger: Ledger, request: OperatorRequest, text: str, details: Details, *, ok: bool) -> None:
        ledger.event(
            ANSWER, request.request_id, verb=request.verb.value, target=request.target, operator=request.operator,
            reason=request.reason, ok=ok, text=text, details=orjson.dumps(details).decode(),
        )  # fmt: skip

    # --- resolve ---------------------------------------------------------------------------------------

    def _resolve(self, request: OperatorRequest) -> None:
        missing = frozenset(self.wire.vanishing)
        open_fates = [one for one in self.ledger.working() if one.state is OrderState.UNKNOWN or one.id in missing]
        try:
            record = resolving.find(request, self.ledger.order(request.target), open_fates)
            if record.state is not OrderState.UNKNOWN:
                self._resolve_missing(request, record)
            elif request.argument("as") == resolving.ABSENT:
                self._resolve_absent(request, record)
            elif request.argument("as") == resolving.FILLED:
                self._resolve_filled(request, record)
            else:
                self._say(request, "an order is resolved as absent or as filled", done=True)
        except ResolveError as error:
            self._say(request, str(error), done=True)

    def _resolve_absent(self, request: OperatorRequest, record: OrderRecord) -> None:
        venue, now = self.settings.venue, self.clock.boot_ns()
        search = self.wire.searches.get(record.id) or Search(record.id, now, now)
        resolving.check_absent(record, now, search.proof_begins_boot_ns(venue.jwt_life_s, venue.visibility_delay_s))
        text = f"{record.id} is taken for absent; if the venue ever shows it, it is booked and you are paged"

        def work(ledger: Ledger) -> None:
            booking.take_absence(ledger, record, "resolved_absent", "operator:absent", self.clock.utc_ns())
            self._keep_answer(ledger, request, text, (), ok=True)

        self._resolved(request, record, work, text, ())

    def _resolve_missing(self, request: OperatorRequest, record: OrderRecord) -> None:
        """One that the venue had: taken once it was asked since the request and finds it by neither of its ids."""
        resolving.check_missing(record)
        name, since = record.id, record.intent.created_utc_ns - MARGIN_NS

        def is_shown(answer: VenueAnswer) -> bool:
            """Whether this ends the request; the answer is told then."""
            if self.ledger.last_event(ANSWER, request.request_id) is not None:
                return True  # it was repeated, and is done
            if answer.ok and not answer.orders:
                return False
            shown = f"the venue shows {name}: {answer.orders[0].status}" if answer.ok else ""
            self.take(answer.orders)
            self._say(request, shown or f"the venue does not answer ({answer.error}); nothing was changed", done=True)
            return True

        def by_client_id(answer: VenueAnswer) -> None:
            if not is_shown(answer):
                self._take_for_gone(request, name)

        def by_order_id(answer: VenueAnswer) -> None:
            if not is_shown(answer):
                key = f"resolve:client:{request.request_id}"
                self.ask(Question(key, QueryKind.ORDER, by_client_id, client_order_id=name, since_utc_ns=since))

        self._say(request, f"asking the venue for {name}")
        key, order_id = f"resolve:{request.request_id}", record.facts.order_id
        self.ask(Question(key, QueryKind.ORDER, by_order_id, client_order_id=name, order_id=order_id))

    def _take_for_gone(self, request: OperatorRequest, name: str) -> None:
        record = self.ledger.order(name)
        if record is None or not record.working:
            self._say(request, f"{name} is over meanwhile: {record.state.value if record else 'nothing'}", done=True)
            return
        text = f"{name} is taken for gone; if the venue ever shows it, it counts again and you are paged"

        def work(ledger: Ledger) -> None:
            booking.take_vanishing(ledger, record, "resolved_absent", "operator:absent", self.clock.utc_ns())
            self._keep_answer(ledger, request, text, (), ok=True)

        self._resolved(request, record, work, text, ())

    def _resolve_filled(self, request: OperatorRequest, record: OrderRecord) -> None:
        owned = self.ledger.book(record.symbol).quantity
        rate = self.settings.gateway.assumed_taker_rate
        claim = resolving.read_claim(request, record, self.rules.get(record.symbol), owned, rate)
        given = {name for name, _ in request.arguments}
        price = f"{claim.price:f}" + ("" if "price" in given else " (its limit: none was given)")
        fee = f"{claim.fee:f}" + ("" if "fee" in given else f" (assumed at {rate:f}: none was given)")
        details = (("size", f"{claim.size:f} of {record.facts.size:f}"), ("price", price), ("fee", fee))
        text = f"{record.id} is booked as filled on your word; what the venue ever shows of it replaces that"
        booked = Booked()

        def work(ledger: Ledger) -> None:
            booking.take_claim(ledger, record, claim, self.clock.utc_ns(), booked)
            self._keep_answer(ledger, request, text, details, ok=True)

        self._resolved(request, record, work, text, details)

    def _resolved(self, request: OperatorRequest, record: OrderRecord, work: Work, text: str, details: Details) -> None:
        before = self.ledger.book(record.symbol).quantity
        if not self.write(work):
            self._say(request, "the ledger cannot be written; nothing was changed", done=True)
            return
        self.forget_missing(record)
        how = request.argument("as")
        self.log.warning("operator_resolved", order=record.id, outcome=how, evidence=request.reason)
        told = f"{record.id} was resolved as {how} by {request.operator}: {request.reason}"
        self.alert(Severity.WARNING, f"resolved:{record.id}", told, record.intent.correlation_id)
        self.report_timing(record, 0)
        self._say(request, text, done=True, ok=True, details=details)
        book = self.ledger.book(record.symbol)
        if before > 0 >= book.quantity:
            self.close_trip(record.symbol, book.realized - book.trip_start, "resolved")
        self.settle(record.symbol)

    # --- protect ---------------------------------------------------------------------------------------

    def _protect(self, request: OperatorRequest) -> None:
        """Forget what held arming back, then look at the venue until it shows what protects, or time is over."""
        if request.request_id in self._armings:
            return
        symbol = request.target
        if not self._is_traded(request):
            return
        if not self.rearm(symbol):
            self._say(request, "the ledger cannot be written; protection stays suspended", done=True)
            return
        watch = self.watch(symbol)
        watch.place_after = watch.refusals = 0
        watch.refused_kinds.clear()
        watch.priced_out = False
        self._armings[request.request_id] = _Arming(request, self.clock.boot_ns())
        self._say(request, f"arming {symbol}, looking at the venue")
        self.ask_rules()
        self._look_at_protection(request.request_id)

    def _is_traded(self, request: OperatorRequest) -> bool:
        if self.traded(request.target):
            return True
        known = ", ".join(self.settings.symbols)
        self._say(request, f"{request.target} is not in universe.yaml; known are: {known}", done=True)
        return False

    def _look_at_protection(self, key: str) -> None:
        arming = self._armings.get(key)
        if arming is None:
            return
        symbol = arming.request.target
        self.tend(symbol)
        late = self.clock.boot_ns() - arming.since_boot_ns >= PROTECT_S * NS_PER_S
        if late:
            judgement = self.judge(symbol)
            # Whatever the ledger believes: within the time no listing showed it.
            text = f"{symbol} is not proven to be protected after {PROTECT_S:g} s: {self._why_naked(symbol)}"
            details = self._protection_details(symbol, judgement.status.value, ())
            if self._end(arming.request, text, details, ok=False):
                del self._armings[key]
            return

        def listed(answer: VenueAnswer) -> None:
            if answer.ok and self.take(answer.orders):
                self._judge_listing(key, answer.orders)

        self.ask(Question(f"protect:{key}", QueryKind.OPEN_ORDERS, listed, PRIORITY_PROTECT))
        self.after(f"protect-{key}", LOOK_AGAIN_S, lambda: self._look_at_protection(key))

    def _judge_listing(self, key: str, listing: tuple[VenueOrder, ...]) -> None:
        """Proof is a listing asked for after the request that shows every order that the position counts on."""
        arming = self._armings.get(key)
        if arming is None:
            return
        request, symbol = arming.request, arming.request.target
        listed = {view.client_order_id for view in listing}
        relied = [one for one in self.ledger.working(symbol) if protection.covers(one, frozenset())]
        for one in relied:
            if one.id not in listed:
                self.ask_order(one, renew=True)
        judgement = self.judge(symbol)
        status = judgement.status
        handover = self.handover(symbol)
        held_up = not self.proven or handover is not None or any(one.id not in listed for one in relied)
        if held_up or status is Protection.NAKED:
            exiting = f"an exit is under way ({handover.reason})" if handover else ""
            self._say(request, exiting or f"{symbol} is {status.value}: {self._why_naked(symbol)}")
            return
        words = {
            Protection.FLAT: f"no position in {symbol}: there is nothing to protect",
            Protection.DUST: f"{symbol} is DUST: too small to be stopped or sold; it waits for the next entry",
            Protection.PROTECTED: f"{symbol} is PROTECTED, as the venue shows it",
        }
        names = tuple(one.facts.order_id or "" for one in relied)
        if self._end(request, words[status], self._protection_details(symbol, status.value, names)):
            del self._armings[key]
            self.cancel_timer(f"protect-{key}")

    def _why_naked(self, symbol: str) -> str:
        judgement = self.judge(symbol)
        reasons = {"naked": "being placed", "on_its_way": "on its way", "product_mode": "the product's mode takes none"}
        refused = [
            one for one in self.ledger.orders_since(self.clock.utc_ns() - 60 * NS_PER_S)
            if one.symbol == symbol and protection.is_protective(one) and one.state is OrderState.REJECTED
        ]  # fmt: skip
        last = f"; last refused: {refused[-1].reason}" if refused else ""
        if not self.proven:
            return "the venue has not been read yet"
        why = reasons.get(judgement.why, judgement.why or "the venue has not shown it yet")
        return why + self.what_is_done(symbol) + last

    def _protection_details(self, symbol: str, status: str, order_ids: tuple[str, ...]) -> Details:
        book, at = self.ledger.book(symbol), self.levels_of(symbol)
        found = [("protection", status), ("quantity", f"{book.quantity:f}")]
        if book.quantity > 0:
            found.append(("covered", f"{self.judge(symbol).covered:f}"))
        stop = self.resting_stop(symbol)
        if stop is not None:
            found.append(("stop_price", f"{stop:f}" + _of_several(len(self.judge(symbol).covering))))
        if at is not None and status not in (Protection.FLAT.value, Protection.DUST.value):
            found += [("target_price", f"{at.target:f}")] if at.target is not None else []
        found += [("orders", " ".join(order_ids))] if order_ids else []
        return tuple(found)

    # --- flatten ---------------------------------------------------------------------------------------

    def _begin_flatten(self, request: OperatorRequest) -> None:
        symbol = request.target
        if not self._is_traded(request):
            return
        known = {run.request_id: run for run in self.stop_runs()}.get(request.request_id)
        if known is None and not self.proven:
            self._say(request, "the venue has not been read yet")
            return
        if known is None and symbol in self.behind:
            text = f"the venue has orders of {symbol} that the ledger lacks, so nobody knows what is owned;"
            text += f" `run.py baseline accept` reads them in, `run.py protect {symbol}` says that the books are right"
            self._end(request, text, ok=False)
            return
        idle = self.ledger.book(symbol).quantity <= 0 and not self.ledger.working(symbol)
        if known is None and idle:
            self._end(request, f"no position in {symbol}: there is nothing to sell", (("protection", "FLAT"),))
            return
        self._flattens[request.request_id] = request
        self.begin_stop(request.request_id, StopKind.FLATTEN, flatten=True, symbol=symbol)

    def keep_finished(self, run: StopRun) -> bool:
        """A finished flatten is its answer, told from now on; its symbol is free again."""
        if run.kind is not StopKind.FLATTEN:
            return super().keep_finished(run)
        request = self._flatten_request(run)
        text, details = self._sold(run)

        def work(ledger: Ledger) -> None:
            ledger.put_document("stops", run.request_id, None)
            self._keep_answer(ledger, request, text, details, ok=True)

        return self.write(work)

    def tell_flatten(self, run: StopRun, verdict: Verdict) -> None:
        request = self._flatten_request(run)
        if run.complete:
            self._flattens.pop(run.request_id, None)
            text, details = self._sold(run)
            self._say(request, text, done=True, ok=True, details=details)
            return
        left = self.ledger.book(run.symbol).quantity
        rules = self.rules.get(run.symbol)
        text = f"{left:f} of {run.owned} not sold yet" if left > 0 else "sold; being proven at the venue"
        if verdict.still_open:
            text += f", {len(verdict.still_open)} orders open"
        if self.handover(run.symbol) is None and left > 0 and rules is not None and not self.sellable(run.symbol):
            text += "; the product's mode takes no sale, its stop stays"
        self._say(request, text)

    def _flatten_request(self, run: StopRun) -> OperatorRequest:
        """As it was asked; after a restart only what the run has kept of it, until it is repeated."""
        known = self._flattens.get(run.request_id)
        return known or OperatorRequest(run.request_id, RequestVerb.FLATTEN, run.symbol, (), "", "")

    def _sold(self, run: StopRun) -> tuple[str, Details]:
        left = self.ledger.book(run.symbol).quantity
        sold = Decimal(run.owned or 0) - left
        text = f"{sold:f} of {run.symbol} sold, nothing of ours is open on it"
        if left > 0:
            text += f"; {left:f} is DUST, too small to sell"
        if self.trading_state(run.symbol) is TradingState.RUN:
            text += "; entries stay allowed: halt or reduce to keep it flat"
        details = (
            ("owned", run.owned),
            ("sold", f"{sold:f}"),
            ("left", f"{left:f}"),
            ("cancelled", str(run.cancelled)),
        )
        return text, details


def _read_answer(request_id: str, body: dict[str, object]) -> OperatorAnswer:
    details = tuple((str(name), str(text)) for name, text in orjson.loads(str(body["details"])))
    return OperatorAnswer(request_id, True, body["ok"] is True, str(body["text"]), details)


def _of_several(stops: int) -> str:
    return f" (the lowest of {stops} stops)" if stops > 1 else ""
