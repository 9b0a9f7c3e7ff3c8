"""The admin actor: takes operators' messages from the private socket, and answers with effect and proof."""

from __future__ import annotations

from dataclasses import dataclass

from actors.admin.asking import AdminAsking
from actors.admin.door import Door, Visit
from actors.admin.status import Identity, Known, TreeRestarts, make_status
from actors.messages.books import PortfolioSnapshot, RiskReport
from actors.messages.control import (
    CancelProof,
    ControlReport,
    OperatorCommand,
    OperatorVerb,
    RequestVerb,
    StateChanged,
)
from actors.messages.delivery import Undelivered
from actors.messages.health import Lease, MetricsAt, TradingState, TreeReport
from actors.messages.market import FeedHealth, GuardedQuote
from actors.messages.reconcile import ReconcileReport
from actors.messages.venue import GatewayReport
from config.paths import admin_socket

STATE_S = 5.0
PROOF_S = 60.0
"""How long proof is waited for before the operator hears how much is unproven; the sweep goes on after it."""
RELEASED_S = 10.0
"""How long a release waits for the word on what it left unsold; it holds without it."""
AGAIN_S = 1.0
"""A command is said this often until it is answered: its part may be restarting, and does it once all the same."""
WITH_PROOF = frozenset({OperatorVerb.KILL, OperatorVerb.STOP, OperatorVerb.HALT, OperatorVerb.REDUCE})
"""Told to the tracker at once, besides the watchdog: each works while the other is dead."""
LATCHED = frozenset({OperatorVerb.KILL, OperatorVerb.STOP})
"""Hold without the watchdog's word: the latch file and the tracker suffice; a stop ends the daemon."""
PERMITS = frozenset({OperatorVerb.RESUME, OperatorVerb.RELEASE})
"""Refused when they cannot be audited; whatever reduces risk is done with the log alone as its trace."""


@dataclass(slots=True)
class _Pending:
    """One operator command under way."""

    command: OperatorCommand
    visit: Visit
    state: StateChanged | None = None
    proof: CancelProof | None = None
    alone: bool = False
    """The watchdog does not answer."""


class AdminActor(AdminAsking):
    """Operators' messages in, answers out; keeps the newest word of every part for the status."""

    def restore(self) -> bool:
        self.known = Known()
        self._pending: dict[str, _Pending] = {}
        self.open_audit()
        self._identity = Identity(
            mode=self.settings.mode,
            build=self.settings.build,
            config_hash=self.settings.config_hash,
            epoch=self.epoch,
            data_dir=str(self.settings.data_dir),
            simulator_control_url=str(self.settings.venue.control_url or ""),
            started_utc_ns=self.clock.utc_ns(),
            tree_restarts=self._tree_restarts(),
        )
        return True

    def started(self) -> None:
        events = self.events
        door = Door(
            admin_socket(self.settings.data_dir),
            lambda visit: events.put(lambda: self._receive_visit(visit)),
        )
        door.open()

    def _tree_restarts(self) -> TreeRestarts:
        limits, times = self.settings.supervision, self.args.get("restarts", ())
        return TreeRestarts(
            at_boot_ns=tuple(int(at) for at in times) if isinstance(times, tuple) else (),
            limit=limits.root_restarts,
            window_s=limits.root_restart_window_s,
            reason=str(self.args.get("restart_reason", "")),
        )

    def progress(self) -> dict[str, int]:
        return {"pending_count": len(self._pending) + len(self.asked)}

    # --- what the parts say ----------------------------------------------------------------------------

    def on_tree_report(self, message: TreeReport, sender: object) -> None:
        self.known.trees[message.supervisor] = (message, self.clock.boot_ns())

    def on_lease(self, message: Lease, sender: object) -> None:
        self.known.lease = message

    def on_control_report(self, message: ControlReport, sender: object) -> None:
        self.known.control = message

    def on_feed_health(self, message: FeedHealth, sender: object) -> None:
        self.known.feed = (message, self.clock.boot_ns())

    def on_portfolio_snapshot(self, message: PortfolioSnapshot, sender: object) -> None:
        self.known.portfolio = (message, self.clock.boot_ns())

    def on_risk_report(self, message: RiskReport, sender: object) -> None:
        self.known.risk = (message, self.clock.boot_ns())

    def on_gateway_report(self, message: GatewayReport, sender: object) -> None:
        self.known.gateway = (message, self.clock.boot_ns())

    def on_reconcile_report(self, message: ReconcileReport, sender: object) -> None:
        self.known.reconcile = (message, self.clock.boot_ns())

    def on_guarded_quote(self, message: GuardedQuote, sender: object) -> None:
        for instrument in self.settings.instruments:
            if instrument.data_product == message.symbol:
                self.known.quotes[instrument.symbol] = message

    def on_metrics_at(self, message: MetricsAt, sender: object) -> None:
        self.known.metrics_url = message.url

    # --- what operators say ----------------------------------------------------------------------------

    def _receive_visit(self, visit: Visit) -> None:
        verb = str(visit.request["verb"])
        if verb == "status":
            now, utc = self.clock.boot_ns(), self.clock.utc_ns()
            visit.end({"ok": True, "status": make_status(self.known, self._identity, now, utc)})
        elif verb in set(OperatorVerb):
            self._order(OperatorVerb(verb), visit)
        elif verb in set(RequestVerb):
            self.ask_part(visit)
        else:
            known = ", ".join(["status", *OperatorVerb, *RequestVerb])
            visit.end({"ok": False, "error": f"unknown verb {verb!r}; known: {known}"})

    def _order(self, verb: OperatorVerb, visit: Visit) -> None:
        reason = str(visit.request.get("reason") or "").strip()
        if not reason:
            visit.end({"ok": False, "event": "done", "verb": str(verb), "error": f"{verb} needs a reason"})
            return
        command = OperatorCommand(
            request_id=self.next_request_id(),
            verb=verb,
            reason=reason,
            operator=str(visit.request.get("operator") or "unknown"),
            flatten=visit.request.get("flatten") is True,
            cancel_all=visit.request.get("cancel_all") is True,
        )
        if not self._write_audit(command, "asked", "") and verb in PERMITS:
            full = "the audit file cannot be written, see the log"
            visit.end({"ok": False, "event": "done", "verb": str(verb), "error": full})
            return
        pending = _Pending(command, visit)
        self._pending[command.request_id] = pending
        key = command.request_id
        self.after(f"state-{key}", STATE_S, lambda: self._no_state(key))
        self._tell_watchdog(key)
        if verb in WITH_PROOF:
            self.after(f"proof-{key}", PROOF_S, lambda: self._unproven(key))
            self._tell_tracker(key)

    def _tell_watchdog(self, key: str) -> None:
        pending = self._pending.get(key)
        if pending is None or pending.state is not None:
            return
        there = self.tell("watchdog", pending.command)
        pending.alone = pending.alone or not there
        self.after(f"tell-{key}", AGAIN_S, lambda: self._tell_watchdog(key))

    def _tell_tracker(self, key: str) -> None:
        pending = self._pending.get(key)
        if pending is None or (pending.proof is not None and pending.command.verb in WITH_PROOF):
            return  # a stop goes on telling by itself
        self.tell("tracker", pending.command)
        self.after(f"ask-{key}", AGAIN_S, lambda: self._tell_tracker(key))

    def on_state_changed(self, message: StateChanged, sender: object) -> None:
        pending = self._pending.get(message.request_id)
        if pending is None or pending.state is not None:
            return
        pending.state = message
        pending.alone = False
        self.cancel_timer(f"state-{message.request_id}")
        if not message.accepted:
            self._finish(message.request_id, ok=False, error=message.refusal)
        elif pending.command.verb in WITH_PROOF:
            pending.visit.say({"event": "state", "state": str(message.state), "reasons": list(message.reasons)})
            self._finish_if_proven(pending)
        elif pending.command.verb is OperatorVerb.RELEASE:
            key = message.request_id
            self.after(f"proof-{key}", RELEASED_S, lambda: self._finish(key, ok=True))
            self._tell_tracker(key)
        else:
            self._finish(message.request_id, ok=True)

    def _no_state(self, request_id: str) -> None:
        """The watchdog does not answer. A kill goes on without it: the latch file and the tracker suffice."""
        pending = self._pending.get(request_id)
        if pending is None or pending.state is not None:
            return
        if pending.command.verb in WITH_PROOF:
            pending.alone = True
            pending.visit.say({"event": "warning", "text": "the watchdog does not answer; its lease has ended"})
            self._finish_if_proven(pending)
        else:
            self._finish(request_id, ok=False, error="the watchdog does not answer; trading is stopped meanwhile")

    def on_cancel_proof(self, message: CancelProof, sender: object) -> None:
        pending = self._pending.get(message.request_id)
        if pending is None:
            return
        pending.proof = message
        if message.ended:
            self._finish(message.request_id, ok=False, error=message.ended)
        elif message.complete:
            self._finish_if_proven(pending)
        else:
            pending.visit.say({"event": "progress", "verb": str(pending.command.verb), **_proof(message)})

    def _finish_if_proven(self, pending: _Pending) -> None:
        """Both are needed: what is forbidden is persisted, and gone at the venue."""
        proven = pending.proof is not None and pending.proof.complete
        held = pending.state is not None or (pending.alone and pending.command.verb in LATCHED)
        if proven and held:
            self._finish(pending.command.request_id, ok=True)

    def _unproven(self, request_id: str) -> None:
        pending = self._pending.get(request_id)
        if pending is None:
            return
        if pending.proof is None:
            what = "nothing was heard from the tracker"
        elif pending.proof.complete:
            what = "cancelled and proven, but the watchdog did not say that the state is kept"
        else:
            what = "not everything is proven yet"
        self._finish(request_id, ok=False, error=f"{what} after {PROOF_S:g} s; the sweep goes on")

    def _finish(self, request_id: str, *, ok: bool, error: str = "") -> None:
        pending = self._pending.pop(request_id)
        for timer in ("state", "proof", "ask", "tell"):
            self.cancel_timer(f"{timer}-{request_id}")
        state = str(pending.state.state) if pending.state else str(TradingState.HALTED)
        answer: dict[str, object] = {"ok": ok, "event": "done", "verb": str(pending.command.verb), "state": state}
        if pending.state:
            answer["reasons"] = list(pending.state.reasons)
        if error:
            answer["error"] = error
        if pending.command.verb is OperatorVerb.RELEASE and ok:
            answer |= _left_unsold(pending.proof)
        elif pending.proof is not None:
            answer |= _proof(pending.proof)
        self._write_audit(pending.command, "done" if ok else "failed", error, proof=answer)
        pending.visit.end(answer)

    def _write_audit(
        self, command: OperatorCommand, what: str, error: str, proof: dict[str, object] | None = None
    ) -> bool:
        entry = {
            "request_id": command.request_id,
            "verb": str(command.verb),
            "what": what,
            "operator": command.operator,
            "reason": command.reason,
            "flatten": command.flatten,
            "cancel_all": command.cancel_all,
            "error": error,
            "answer": proof or {},
        }
        return self.write_audit(entry)

    def on_undelivered(self, message: Undelivered, sender: object) -> None:
        """The operator's own timers repeat or give up; nothing is assumed here."""
        self.meter.count("undelivered", message=type(message.message).__name__, reason=message.reason)


def _left_unsold(proof: CancelProof | None) -> dict[str, object]:
    """What comes of a flatten that a release has ended."""
    if proof is None:
        return {"text": "the tracker has not answered: a flatten under way ends when it is back"}
    return {name: value for name, value in _proof(proof).items() if name in ("positions", "text")}


def _proof(proof: CancelProof) -> dict[str, object]:
    return {
        "complete": proof.complete,
        "cancelled": proof.cancelled,
        "unproven": proof.unproven,
        "still_open": list(proof.still_open),
        "positions": [
            {
                "symbol": p.symbol,
                "quantity": p.quantity,
                "protection": p.protection,
                "stop_price": p.stop_price,
                "open_protection_size": p.open_protection_size,
                "stops": p.stops,
            }
            for p in proof.positions
        ],
        "text": proof.text,
    }
