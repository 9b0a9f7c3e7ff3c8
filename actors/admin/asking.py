"""Carries an operator's request to the part it concerns, until that part has answered for good."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

from actors.actor import TradingActor
from actors.admin.audit import Audit
from actors.admin.door import Visit
from actors.admin.requests import RequestError, Terms, read_request, terms_of
from actors.messages.control import OperatorAnswer, OperatorRequest, request_id

ASK_AGAIN_S = 1.0
LATE_KEPT = 64
"""Requests whose operator has left and whose end is still to be audited."""


@dataclass(slots=True)
class _Asked:
    """One request under way."""

    request: OperatorRequest
    terms: Terms
    visit: Visit
    last: OperatorAnswer | None = None
    missing: bool = False


class AdminAsking(TradingActor):
    """Requests to single parts, and the audit file that all operators' words go to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[str, _Asked] = {}
        self._late: OrderedDict[str, OperatorRequest] = OrderedDict()
        self._numbers = count(1)
        self._book: Audit | None = None

    def open_audit(self) -> None:
        self._book = Audit(self.settings.store_dir / "audit.jsonl")

    def next_request_id(self) -> str:
        """Never given out twice: the epoch grows with every start of the daemon."""
        return request_id(self.epoch, self.incarnation, next(self._numbers))

    def ask_part(self, visit: Visit) -> None:
        """Audit the request, then send it until it is answered or its deadline has passed."""
        try:
            request = read_request(visit.request, self.next_request_id())
        except RequestError as error:
            visit.end({"ok": False, "event": "done", "verb": str(visit.request["verb"]), "error": str(error)})
            return
        terms, key = terms_of(request.verb), request.request_id
        if not self._audit_request(request, "asked", {}) and terms.permits:
            full = "the audit file cannot be written, see the log"
            visit.end({"ok": False, "event": "done", "verb": str(request.verb), "error": full})
            return
        self.asked[key] = _Asked(request, terms, visit)
        self.after(f"deadline-{key}", terms.deadline_s, lambda: self._give_up_waiting(key))
        self._ask(key)

    def _ask(self, key: str) -> None:
        """Again and again: the part may be restarting, an answer may be lost; it is done once all the same."""
        asked = self.asked.get(key)
        if asked is None:
            return
        there = self.tell(asked.terms.part, asked.request)
        if not there and not asked.missing:
            asked.visit.say({"event": "warning", "text": f"{asked.terms.part} does not run; asking until it does"})
        asked.missing = not there
        self.after(f"request-{key}", ASK_AGAIN_S, lambda: self._ask(key))

    def on_operator_answer(self, message: OperatorAnswer, sender: object) -> None:
        asked = self.asked.get(message.request_id)
        if asked is None:
            late = self._late.pop(message.request_id, None) if message.done else None
            if late is not None:
                self._audit_request(late, "done_late" if message.ok else "failed_late", _shown(message))
            return
        if message.done:
            self._end_request(asked, ok=message.ok, error="" if message.ok else message.text, answer=message)
        elif message != asked.last:
            asked.visit.say({"event": "progress", "verb": str(asked.request.verb), **_shown(message)})
        asked.last = message

    def _give_up_waiting(self, key: str) -> None:
        asked = self.asked.get(key)
        if asked is None:
            return
        part = asked.terms.part
        told = "has not answered" if asked.last is None else f"is not done yet ({asked.last.text})"
        error = f"{part} {told} after {asked.terms.deadline_s:g} s; what it began goes on"
        self._late[key] = asked.request
        while len(self._late) > LATE_KEPT:
            self._late.popitem(last=False)
        self._end_request(asked, ok=False, error=error, answer=asked.last)

    def _end_request(self, asked: _Asked, *, ok: bool, error: str, answer: OperatorAnswer | None) -> None:
        key = asked.request.request_id
        del self.asked[key]
        for timer in ("deadline", "request"):
            self.cancel_timer(f"{timer}-{key}")
        shown = {} if answer is None else _shown(answer)
        end: dict[str, object] = {"ok": ok, "event": "done", "verb": str(asked.request.verb), **shown}
        if error:
            end["error"] = error
        self._audit_request(asked.request, "done" if ok else "failed", end)
        asked.visit.end(end)

    def _audit_request(self, request: OperatorRequest, what: str, answer: Mapping[str, object]) -> bool:
        entry = {
            "request_id": request.request_id,
            "verb": str(request.verb),
            "what": what,
            "operator": request.operator,
            "target": request.target,
            "arguments": dict(request.arguments),
            "reason": request.reason,
            "answer": dict(answer),
        }
        return self.write_audit(entry)

    def write_audit(self, entry: Mapping[str, object]) -> bool:
        """One fsynced line, and one in the log; False when the disk refuses."""
        shown = {name: entry[name] for name in ("verb", "what", "operator", "reason")}
        self.log.info("operator_command", **shown)
        try:
            assert self._book is not None
            self._book.write(self.clock.utc_ns(), entry)
        except OSError as problem:
            self.log.error("audit_not_written", error=str(problem))
            return False
        return True


def _shown(answer: OperatorAnswer) -> dict[str, object]:
    return {"text": answer.text, "details": dict(answer.details)}
