"""Cancels and edits of orders that the venue has."""

from __future__ import annotations

from coinbase.rest import RESTClient

from actors.egress import Verb
from actors.gateway import classify
from actors.gateway.budget import CANCEL, PROTECT
from actors.gateway.decimals import plain
from actors.gateway.dispatch import Job, LaneKind
from actors.gateway.room import GatewayRoom, answer_from
from actors.gateway.wire import Recorded, WireCall, WireResult
from actors.latch import latch_exists
from actors.messages.health import TradingState
from actors.messages.orders import CancelOrder, CancelOutcome, EditOrder, EditOutcome, OutcomeKind

CANCELS_PER_REQUEST = 100


class ChangeDesk(GatewayRoom):
    """Takes ``CancelOrder`` and ``EditOrder``. Cancels are never held back."""

    def on_cancel_order(self, message: CancelOrder, sender: object) -> None:
        """Cancels that wait for the one lane go out together: a hundred orders are two requests, not a hundred."""
        if message.client_order_id in self._cancels_under_way:
            return
        if self._dry_run:
            self._end_cancel(message, OutcomeKind.REFUSED, "dry_run")
            return
        self._cancels_under_way.add(message.client_order_id)
        self._cancels_waiting.append(message)
        if len(self._cancels_waiting) == 1:
            self._queue_cancels()

    def _queue_cancels(self) -> None:
        batch: list[CancelOrder] = []

        def starting() -> None:
            batch.extend(self._cancels_waiting[:CANCELS_PER_REQUEST])
            self._cancels_waiting = self._cancels_waiting[CANCELS_PER_REQUEST:]
            if self._cancels_waiting:
                self._queue_cancels()

        def ended(result: WireResult) -> None:
            for message in batch:
                self._cancels_under_way.discard(message.client_order_id)
                verdict = classify.cancel(answer_from(result), message.order_id)
                self._end_cancel(message, verdict.kind, verdict.reason)
                self._note_reason(verdict)

        self._dispatcher.put(
            Job(
                lane=LaneKind.CANCEL,
                priority=CANCEL,
                endpoint="cancel_orders",
                request=lambda client: client.cancel_orders(order_ids=[message.order_id for message in batch]),
                call=WireCall(self.clock),
                done=ended,
                queued_boot_ns=self.clock.boot_ns(),
                starting=starting,
            )
        )

    def _end_cancel(self, message: CancelOrder, kind: OutcomeKind, reason: str) -> None:
        self.log.info(
            "cancel_outcome",
            client_order_id=message.client_order_id,
            outcome=kind.value,
            reason=reason,
            by=message.reason,
        )
        self._tell_outcome(CancelOutcome(message.client_order_id, message.order_id, kind, reason, self.incarnation))

    def on_edit_order(self, message: EditOrder, sender: object) -> None:
        key = f"edit {message.client_order_id}"
        if key in self._in_flight:
            return
        refusal = "dry_run" if self._dry_run else self._refuse_edit(message)
        if refusal is not None:
            kind = OutcomeKind.REFUSED if self._dry_run else OutcomeKind.NOT_SENT
            self._end_edit(message, kind, refusal)
            return
        extra = {"stop_price": plain(message.stop_price)} if message.stop_price is not None else {}

        def request(client: RESTClient) -> object:
            size, price = plain(message.base_size), plain(message.limit_price)
            return client.edit_order(message.order_id, size=size, price=price, **extra)

        def ended(result: WireResult) -> None:
            self._in_flight.discard(key)
            verdict = classify.edit(answer_from(result), message.order_id)
            self._end_edit(message, verdict.kind, verdict.reason)
            self._note_reason(verdict)

        self._in_flight.add(key)
        self._dispatcher.put(
            Job(
                lane=LaneKind.ORDER,
                priority=PROTECT,
                endpoint="edit_order",
                request=request,
                call=WireCall(
                    self.clock,
                    gate=lambda: self._refuse_edit(message),
                    recorded=Recorded(Verb.EDIT, message.client_order_id),
                    egress=self._egress,
                ),
                done=ended,
                queued_boot_ns=self.clock.boot_ns(),
                commander_incarnation=message.stamp.incarnation,
            )
        )

    def _refuse_edit(self, message: EditOrder) -> str | None:
        """Entries are never edited; other exits only while they may be placed; protection always."""
        parts = message.client_order_id.split("-")
        role = parts[-2] if len(parts) >= 2 else ""
        if role not in ("x", "p"):
            return "only exits and protection are edited"
        if not self._lock.held():
            return "lock_lost"
        if min(message.base_size, message.limit_price) <= 0:
            return "bad_intent: size and price must be positive"
        if role == "p":
            return None
        lease = self._lease
        state = lease.state_of(message.symbol) if lease is not None else TradingState.HALTED
        if latch_exists(self.settings.kill_file) or state.rank >= TradingState.HALTED.rank:
            return "state_halted"
        return None

    def _end_edit(self, message: EditOrder, kind: OutcomeKind, reason: str) -> None:
        self.log.info("edit_outcome", client_order_id=message.client_order_id, outcome=kind.value, reason=reason)
        self._tell_outcome(EditOutcome(message.client_order_id, message.order_id, kind, reason, self.incarnation))
