"""How each point of an order's way is reached: by a request held at the venue, or by a process that stands still.

A point is held, not hoped for: ``reach`` returns when the venue's books, the ledger and the log show that the
order is there, and says what showed it. A point that is not reached raises ``NotReachedError``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from tests.drills.daemon import Json
from tests.drills.matrix.blows import poison
from tests.drills.matrix.cases import Case
from tests.drills.matrix.lane import Lane

HOLD_S = 1.2
"""How long a request is held at the venue, a queued cancel too."""
ASK_AGAIN_S = 0.3
MOST_REFUSALS = 5


class NotReachedError(Exception):
    """The order was not where the blow was to strike it."""


@dataclass(slots=True)
class Stage:
    """A case on its way to its point, over a lane."""

    lane: Lane
    case: Case
    orders_from: int
    fills_from: int
    requests_from: int
    log_from: int
    evidence: str = ""
    poisoned: bool = False
    """The message that makes the victim raise waits in its mailbox already."""
    held: list[int] = field(default_factory=list)
    """Processes that stand still for the hold and go on after the blow."""
    refusals: list[str] = field(default_factory=list)
    """Why proposals of the strategy were refused on the way: after the case before, not everything is calm at once."""
    _asked: tuple[str, str, int] | None = None
    """Side and price of the newest proposal, and the log's length before it."""
    _look_for_refusal: float = 0.0

    # --- looking ---

    def truth(self) -> Json:
        return self.lane.venue.truth(self.orders_from, self.fills_from)

    def orders(self, role: str) -> list[Json]:
        """Own orders of the case at the venue: ``e`` entries, ``x`` exits, ``p`` protection."""
        return [order for order in self.truth()["orders"] if f"-{role}-" in order["client_order_id"]]

    def request(self, role: str, skip: int = 0) -> Json | None:
        """The create of this role that the venue has received and not answered, after ``skip`` answered ones."""
        rows = self.lane.venue.requests(self.requests_from)["requests"]
        creates = [
            row
            for row in rows
            if row["method"] == "POST" and row["path"].endswith("/orders") and f"-{role}-" in row["client_order_id"]
        ]
        return creates[skip] if len(creates) > skip and creates[skip]["status"] == 0 else None

    def state_of(self, role: str) -> list[str]:
        sql = "SELECT state FROM orders WHERE created_utc_ns > ? AND role = ? AND symbol = ? ORDER BY n"
        long = {"e": "entry", "x": "exit", "p": "protection"}[role]
        return [state for (state,) in self.lane.rows(sql, self.began_utc_ns, long, self.case.symbol)]

    began_utc_ns: int = field(default_factory=time.time_ns)

    def until(self, condition: Callable[[], Any], what: str, seconds: float = 5.0) -> Any:
        end = time.monotonic() + seconds
        while True:
            found = condition()
            if found:
                return found
            now = time.monotonic()
            if now > end:
                said = f", refused: {'; '.join(self.refusals)}" if self.refusals else ""
                raise NotReachedError(f"{what}: not within {seconds:g} s{said}")
            if now >= self._look_for_refusal:
                self._look_for_refusal = now + ASK_AGAIN_S
                self._ask_again_if_refused()
            time.sleep(0.01)

    # --- doing ---

    def command(self, side: str, price: str = "take") -> None:
        """Let the strategy propose; while something is waited for it proposes again what was refused."""
        if side == "SELL":
            self.lane.wait_for_exit_pause()
        self._asked = (side, price, self.lane.log_size())
        path = self.lane.command(self.case.symbol, side, price)
        self.until(lambda: not path.exists(), f"the strategy to propose a {side}", 6)

    def _ask_again_if_refused(self) -> None:
        if self._asked is None or len(self.refusals) >= MOST_REFUSALS:
            return
        side, price, offset = self._asked
        refusal = next(filter(None, map(self._refusal, self.lane.log_since(offset).splitlines())), None)
        if refusal is not None:
            self.refusals.append(refusal)
            self._asked = (side, price, self.lane.log_size())
            self.lane.command(self.case.symbol, side, price)

    def _refusal(self, line: str) -> str:
        """Why the newest proposal came to nothing, if the line of the log says so: the venue has nothing of it."""
        if not any(f'"event":"{event}"' in line for event in ("refused", "approval_refused", "submit_outcome")):
            return ""
        said = json.loads(line)
        if said["event"] == "approval_refused":
            return str(said["code"])
        if f"-{self.case.symbol}-" not in said["correlation_id"]:
            return ""
        if said["event"] == "refused":
            return f"{said['code']} {said['detail']}"
        unsent = said["outcome"] in ("not_sent", "refused") and said["role"] in ("entry", "exit")
        return str(said["reason"]) if unsent else ""

    def hold(self, side: str, when: str, count: int = 1, seconds: float = HOLD_S) -> None:
        """Let the venue keep creates of this side waiting, before or after it handles them."""
        match = {"method": "POST", "symbol": self.case.symbol, "side": side}
        self.lane.venue.fault("slow", delay_s=seconds, when=when, count=count, match=match)

    def spoil(self, side: str) -> None:
        """The request that is held ends as the case wants."""
        match = {"method": "POST", "symbol": self.case.symbol, "side": side}
        point = self.case.point
        late = point.endswith(("booked", "sold"))
        if self.case.ending == "cut":
            self.lane.venue.fault("cut_after_booking" if late else "cut_before_booking", count=1, match=match)
        elif self.case.ending == "failed":
            self.lane.venue.fault("status", status=500, count=1, match=match)

    def stand_still(self, actor: str) -> int:
        """Stop a process for the hold; poison it now when it is the one to raise, so that it raises first."""
        pid = self.lane.pid_of(actor)
        self.lane.stopped(pid)
        if self.case.actor == actor:
            if self.case.way == "exception":
                poison(pid, actor)
                self.poisoned = True
        else:
            self.held.append(pid)
        return pid

    def enter(self) -> None:
        """A position with its bracket, as every exit finds it."""
        self.command("BUY")
        self.until(lambda: any(o["status"] == "FILLED" for o in self.orders("e")), "the entry to fill")
        self.until(lambda: any(o["status"] == "OPEN" for o in self.orders("p")), "the protection to rest", 8)
        self.until(lambda: "OPEN" in self.state_of("p"), "the protection in the ledger", 8)

    def rest_partly_filled(self) -> None:
        """An entry that rests at the bid, two fifths of it filled by a trade of others."""
        self.command("BUY", "rest")
        order = self.until(
            lambda: next((o for o in self.orders("e") if o["status"] == "OPEN"), None), "the entry to rest"
        )
        terms = next(iter(order["order_configuration"].values()))
        self.print_through(terms, Decimal("0.4"))
        self.until(
            lambda: any(o["status"] == "OPEN" and Decimal(o["filled_size"]) > 0 for o in self.orders("e")),
            "the entry to be partly filled",
        )

    def print_through(self, terms: Json, share: Decimal) -> None:
        """A trade of others a hair below the entry's price: it fills ``share`` of its size."""
        size, price = Decimal(terms["base_size"]), Decimal(terms["limit_price"])
        part = (size * share).quantize(Decimal(1).scaleb(size.as_tuple().exponent))  # type: ignore[arg-type]
        self.lane.venue.trade(self.case.symbol, price - Decimal("0.01"), part, "BUY")

    def release(self) -> None:
        """What stood still for the hold goes on."""
        for pid in self.held:
            self.lane.go_on(pid)
        self.held.clear()


def reach(stage: Stage) -> None:
    """Bring the case's order to its point; raises NotReachedError."""
    _WAYS[stage.case.point](stage)


def _before_send(stage: Stage) -> None:
    stage.stand_still("gateway")
    stage.command("BUY")
    stage.until(lambda: stage.state_of("e") == ["SUBMITTING"], "the intent in the ledger", 2)
    if stage.request("e") is not None or stage.orders("e"):
        raise NotReachedError("the entry has left")
    stage.evidence = "SUBMITTING in the ledger, no request at the venue, the gateway stands still"


def _price(stage: Stage) -> str:
    return "rest" if stage.case.resting else "take"


def _entry_on_wire(stage: Stage) -> None:
    stage.hold("BUY", "before")
    stage.spoil("BUY")
    stage.command("BUY", _price(stage))
    row = stage.until(lambda: stage.request("e"), "the entry at the venue")
    if stage.orders("e"):
        raise NotReachedError("the entry was booked at once")
    stage.evidence = f"{row['client_order_id']} received, not booked"


def _entry_booked(stage: Stage) -> None:
    stage.hold("BUY", "after")
    stage.spoil("BUY")
    stage.command("BUY", _price(stage))
    order = stage.until(lambda: next(iter(stage.orders("e")), None), "the entry to be booked")
    if stage.request("e") is None:
        raise NotReachedError("the entry was answered")
    stage.evidence = f"{order['client_order_id']} is {order['status']} at the venue, not answered"


def _entry_answered(stage: Stage) -> None:
    stage.hold("BUY", "before", seconds=0.4)
    stage.command("BUY", _price(stage))
    row = stage.until(lambda: stage.request("e"), "the entry at the venue", 3)
    name = row["client_order_id"]
    stage.stand_still("tracker")
    if stage.request("e") is None:
        raise NotReachedError("the answer came before the tracker stood still")
    told = f'"client_order_id":"{name}"'

    def heard() -> bool:
        log = stage.lane.log_since(stage.log_from)
        return any("submit_outcome" in line and told in line.replace(" ", "") for line in log.splitlines())

    stage.until(heard, "the gateway to have the answer", 3)
    if stage.state_of("e") != ["SUBMITTING"]:
        raise NotReachedError(f"the ledger has {stage.state_of('e')}")
    stage.evidence = f"{name}: answer in the gateway's log, SUBMITTING in the ledger, the tracker stands still"


def _entry_partial(stage: Stage) -> None:
    stage.rest_partly_filled()
    if stage.case.settled:
        stage.until(lambda: "PARTIALLY_FILLED" in stage.state_of("e"), "the part in the ledger")
    order = next(iter(stage.orders("e")))
    if order["status"] != "OPEN":
        raise NotReachedError(f"the entry is {order['status']}")
    stage.evidence = f"{order['filled_size']} filled, the rest works; ledger {stage.state_of('e')}"


def _entry_cancelling(stage: Stage) -> None:
    stage.rest_partly_filled()
    stage.until(lambda: any(o["status"] == "OPEN" for o in stage.orders("p")), "the protection to rest", 4)
    stage.lane.venue.rules(cancel_delay_ms=round(HOLD_S * 1000))
    if stage.case.ending == "filled":
        stage.lane.venue.fault("cancel_but_filled", count=1, match={"symbol": stage.case.symbol})
    stage.command("SELL")
    order = stage.until(
        lambda: next((o for o in stage.orders("e") if o["status"] == "CANCEL_QUEUED"), None), "the cancel to be queued"
    )
    stage.evidence = f"{order['client_order_id']} is CANCEL_QUEUED, {order['filled_size']} filled"


def _protect_on_wire(stage: Stage) -> None:
    stage.hold("SELL", "before")
    stage.spoil("SELL")
    stage.command("BUY")
    row = stage.until(lambda: stage.request("p"), "the bracket at the venue")
    if stage.orders("p"):
        raise NotReachedError("the bracket was booked at once")
    stage.evidence = f"{row['client_order_id']} received, not booked; the position is held"


def _protect_booked(stage: Stage) -> None:
    stage.hold("SELL", "after")
    stage.spoil("SELL")
    stage.command("BUY")
    order = stage.until(lambda: next(iter(stage.orders("p")), None), "the bracket to be booked")
    if stage.request("p") is None:
        raise NotReachedError("the bracket was answered")
    stage.evidence = f"{order['client_order_id']} is {order['status']} at the venue, not answered"


def _exit_cancelling(stage: Stage) -> None:
    stage.enter()
    stage.lane.venue.rules(cancel_delay_ms=round(HOLD_S * 1000))
    if stage.case.ending == "filled":
        stage.lane.venue.fault("cancel_but_filled", count=1, match={"symbol": stage.case.symbol})
    stage.command("SELL")
    order = stage.until(
        lambda: next((o for o in stage.orders("p") if o["status"] == "CANCEL_QUEUED"), None), "the cancel to be queued"
    )
    stage.evidence = f"{order['client_order_id']} is CANCEL_QUEUED"


def _exit_proven(stage: Stage) -> None:
    stage.enter()
    stage.lane.venue.fault("slow", delay_s=HOLD_S, when="before", seconds=4, match={"path": "/accounts"})
    stage.command("SELL")
    stage.until(lambda: stage.state_of("p") == ["CANCELLED"], "the bracket proven cancelled")
    found = stage.lane.rows("SELECT body FROM handovers WHERE symbol = ?", stage.case.symbol)
    if not found or json.loads(found[0][0])["sell_id"] or stage.orders("x"):
        raise NotReachedError("the hand-over was faster")
    stage.evidence = "the bracket is CANCELLED in the ledger, the hand-over waits for the balance"


def _exit_selling(stage: Stage) -> None:
    stage.enter()
    stage.hold("SELL", "before")
    stage.spoil("SELL")
    stage.command("SELL")
    row = stage.until(lambda: stage.request("x"), "the sell at the venue", 6)
    if stage.orders("x"):
        raise NotReachedError("the sell was booked at once")
    stage.evidence = f"{row['client_order_id']} received, not booked; nothing protects"


def _exit_sold(stage: Stage) -> None:
    stage.enter()
    stage.hold("SELL", "after")
    stage.spoil("SELL")
    stage.command("SELL")
    order = stage.until(
        lambda: next((o for o in stage.orders("x") if o["status"] == "FILLED"), None), "the sell to be filled", 6
    )
    if stage.request("x") is None:
        raise NotReachedError("the sell was answered")
    stage.evidence = f"{order['client_order_id']} is FILLED at the venue, not answered"


def _exit_rearming(stage: Stage) -> None:
    stage.enter()
    unsold = {"failed": "order_fails_async", "nothing": "order_gets_nothing"}[stage.case.unsold]
    stage.lane.venue.fault(unsold, count=1, match={"symbol": stage.case.symbol})
    stage.hold("SELL", "before", count=2, seconds=0.7)  # twice: what the venue holds up is naked time, too
    stage.command("SELL")
    stage.until(lambda: stage.request("x"), "the sell at the venue", 6)
    stage.until(lambda: any(o["status"] in ("FAILED", "CANCELLED") for o in stage.orders("x")), "the sell to fail")
    stage.spoil("SELL")
    row = stage.until(lambda: stage.request("p", skip=1), "the new bracket at the venue", 6)
    stage.evidence = f"{row['client_order_id']} received, not booked, after the sell {stage.case.unsold}"


_WAYS: dict[str, Callable[[Stage], None]] = {
    "entry.before_send": _before_send,
    "entry.on_wire": _entry_on_wire,
    "entry.booked": _entry_booked,
    "entry.answered": _entry_answered,
    "entry.partial": _entry_partial,
    "entry.cancelling": _entry_cancelling,
    "protect.on_wire": _protect_on_wire,
    "protect.booked": _protect_booked,
    "exit.cancelling": _exit_cancelling,
    "exit.proven": _exit_proven,
    "exit.selling": _exit_selling,
    "exit.sold": _exit_sold,
    "exit.rearming": _exit_rearming,
}
