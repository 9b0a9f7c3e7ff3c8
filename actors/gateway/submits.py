"""New orders: each is sent at most once, whatever is asked and however often."""

from __future__ import annotations

from coinbase.rest import RESTClient

from actors.egress import Verb
from actors.gateway import classify, last_check, orders
from actors.gateway.budget import ENTER, PROTECT
from actors.gateway.dispatch import Job, LaneKind
from actors.gateway.health import Finding
from actors.gateway.room import GatewayRoom, answer_from
from actors.gateway.wire import Recorded, WireCall, WireResult
from actors.messages.base import Command
from actors.messages.health import BreakerName
from actors.messages.market import Side
from actors.messages.orders import OrderIntent, OutcomeKind, OutcomeTaken, SubmitOrder, SubmitOutcome


class SubmitDesk(GatewayRoom):
    """Takes ``SubmitOrder``, answers ``SubmitOutcome``."""

    def on_submit_order(self, message: SubmitOrder, sender: object) -> None:
        intent = message.intent
        name = intent.client_order_id
        if name in self._in_flight:
            return  # its outcome will come
        known = self._outcomes.answered(name)
        if known is not None:
            self._tell_outcome(known)
            return
        if name in self._sent_before:
            self._end_submit(intent, OutcomeKind.UNKNOWN, "an earlier gateway was about to send this order")
            return
        if self._dry_run:
            self._would_send(message)
            return
        refusal = last_check.refusal(message, self._grounds(intent.symbol))
        if refusal is not None:
            self._end_submit(intent, OutcomeKind.NOT_SENT, refusal)
            return
        try:
            configuration = orders.configuration(intent, self.clock.utc_ns())
        except ValueError as error:
            self._end_submit(intent, OutcomeKind.NOT_SENT, f"bad_intent: {error}")
            return
        self._in_flight.add(name)
        self._submits += 1
        self._dispatcher.put(self._submit_job(message, configuration))

    def _submit_job(self, message: SubmitOrder, configuration: orders.Configuration) -> Job:
        intent = message.intent

        def request(client: RESTClient) -> object:
            return client.create_order(
                client_order_id=intent.client_order_id,
                product_id=intent.symbol,
                side=intent.side.value,
                order_configuration=configuration,
            )

        call = WireCall(
            self.clock,
            gate=lambda: last_check.refusal(message, self._grounds(intent.symbol)),
            recorded=Recorded(Verb.CREATE, intent.client_order_id),
            egress=self._egress,
        )
        return Job(
            lane=LaneKind.ORDER,
            priority=ENTER if intent.side is Side.BUY else PROTECT,
            endpoint="create_order",
            request=request,
            call=call,
            done=lambda result: self._submitted(intent, result),
            queued_boot_ns=self.clock.boot_ns(),
            expires_boot_ns=message.expires_boot_ns or None,
            commander_incarnation=message.stamp.incarnation,
        )

    def _submitted(self, intent: OrderIntent, result: WireResult) -> None:
        self._in_flight.discard(intent.client_order_id)
        verdict = classify.create(answer_from(result), intent.client_order_id, intent.symbol, intent.side.value)
        self._end_submit(intent, verdict.kind, verdict.reason, verdict.order_id, result)
        if verdict.kind in (OutcomeKind.DONE, OutcomeKind.REFUSED):
            refused = verdict.kind is OutcomeKind.REFUSED
            self._signal(self._health.note_submit(self.clock.boot_ns(), refused=refused, reason=verdict.reason))
        self._note_reason(verdict)
        if result.egress_failed:
            self._signal([Finding(BreakerName.EGRESS, True, result.error)])

    def _end_submit(
        self,
        intent: OrderIntent,
        kind: OutcomeKind,
        reason: str,
        order_id: str | None = None,
        result: WireResult | None = None,
    ) -> None:
        log = self.log.info if kind is OutcomeKind.DONE else self.log.warning
        log(
            "submit_outcome",
            client_order_id=intent.client_order_id,
            symbol=intent.symbol,
            side=intent.side.value,
            role=intent.role.value,
            outcome=kind.value,
            order_id=order_id,
            reason=reason,
            correlation_id=intent.correlation_id,
        )
        self._tell_outcome(
            SubmitOutcome(
                client_order_id=intent.client_order_id,
                kind=kind,
                order_id=order_id,
                reason=reason,
                wire_boot_ns=result.wire_boot_ns if result is not None else None,
                wire_utc_ns=result.wire_utc_ns if result is not None else None,
                answered_boot_ns=result.answered_boot_ns if result is not None else self.clock.boot_ns(),
                gateway_incarnation=self.incarnation,
            )
        )

    def _would_send(self, message: SubmitOrder) -> None:
        intent = message.intent
        self.meter.count("would_send_total")
        try:
            configuration: object = orders.configuration(intent, self.clock.utc_ns())
        except ValueError as error:
            configuration = f"none: {error}"
        self.log.info(
            "would_send",
            client_order_id=intent.client_order_id,
            product_id=intent.symbol,
            side=intent.side.value,
            role=intent.role.value,
            order_configuration=configuration,
            last_check=last_check.refusal(message, self._grounds(intent.symbol)) or "passed",
            correlation_id=intent.correlation_id,
        )
        self._end_submit(intent, OutcomeKind.REFUSED, "dry_run")

    def on_outcome_taken(self, message: OutcomeTaken, sender: object) -> None:
        self._outcomes.taken(message.what, message.client_order_id)

    def on_stale_command(self, message: Command) -> None:
        """Commands of a tracker that is gone are answered, so that the new one need not guess."""
        super().on_stale_command(message)
        if isinstance(message, SubmitOrder):
            name = message.intent.client_order_id
            known = self._outcomes.answered(name)
            if known is not None:
                self._tell_outcome(known)
            elif name in self._sent_before:
                self._end_submit(message.intent, OutcomeKind.UNKNOWN, "an earlier gateway was about to send this order")
            elif name not in self._in_flight:
                self._end_submit(message.intent, OutcomeKind.NOT_SENT, "tracker_restarted")
