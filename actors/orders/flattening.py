"""Sells what a stop is to sell, until an operator's newer word ends it; says how every position stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from actors.messages.control import CancelProof, PositionProof, is_overruled
from actors.messages.health import Severity
from actors.messages.market import Side
from actors.messages.orders import Protection
from actors.messages.venue import VenueOrder
from actors.orders import exits, grid
from actors.orders.arming import TrackerArming
from actors.orders.exits import Handover
from actors.orders.killing import StopKind, StopRun
from actors.orders.ledger import Ledger
from actors.orders.positions import Book
from actors.orders.records import OrderRecord

ZERO = Decimal(0)
STOPS_KEPT = 256
Unsold = list[tuple[str, Decimal]]


class TrackerFlattening(TrackerArming):
    """A release ends the flatten of every kill that came before it: what is at the venue is awaited and booked,
    nothing more is sold, and what is left is protected again."""

    def __init__(self) -> None:
        super().__init__()
        self._released_by = ""
        """The newest release heard of: from the admin, or from any lease of the watchdog, which keeps it."""
        self._alerted: set[str] = set()
        self._shown_stops: dict[str, Decimal] = {}
        """Stop prices as the venue showed them last, by client order id."""

    def stop_runs(self) -> list[StopRun]:
        return [StopRun.from_json(body) for body in self.ledger.documents("stops").values()]

    # --- what ends a flatten -----------------------------------------------------------------------------

    def hear_release(self, request_id: str) -> None:
        """An operator released the kill. Said again and again, and late; only a newer one is news."""
        if not request_id or request_id == self._released_by or is_overruled(request_id, self._released_by):
            return
        self._released_by = request_id
        self._withdraw_overruled()

    def _withdraw_overruled(self) -> None:
        ended = [run for run in self.stop_runs() if not run.released_by and self.overruled_by(run)]
        self.withdraw(ended, self._released_by)

    def overruled_by(self, run: StopRun) -> str:
        """The release that ended the flatten of this stop; empty while it goes on.

        By the ids and not by what the ledger holds alone: a disk that refuses the release must not go on selling.
        The flatten of one symbol is a verb of its own and ends with its position.
        """
        if run.released_by or run.kind is not StopKind.KILL or not run.flatten or run.complete:
            return run.released_by
        return self._released_by if is_overruled(run.request_id, self._released_by) else ""

    def withdraw(self, runs: Sequence[StopRun], by: str) -> None:
        """Nothing more is sold for these stops, over restarts too."""

        def work(ledger: Ledger) -> None:
            for run in runs:
                ledger.put_document("stops", run.request_id, replace(run, released_by=by).to_json())

        if runs and self.write(work):
            for run in runs:
                self.log.warning("flatten_withdrawn", request=run.request_id, by=by)
            for symbol in self.held_symbols():
                self.tend(symbol)
            self.conclude_released()

    def exit_allowed(self, handover: Handover) -> bool:
        if handover.reason != exits.FLATTEN:
            return super().exit_allowed(handover)
        run = self._run_of(handover)
        return run is not None and not self.overruled_by(run)

    def _run_of(self, handover: Handover) -> StopRun | None:
        return next((run for run in self.stop_runs() if _correlation(run) == handover.correlation_id), None)

    def _drive(self, handover: Handover) -> None:
        run = self._run_of(handover) if handover.reason == exits.FLATTEN else None
        if run is not None and not self._may_go_on(run):
            return
        super()._drive(handover)

    def _may_go_on(self, run: StopRun) -> bool:
        """A new incarnation sells for a kill only when a lease has told it that no release came meanwhile."""
        return run.kind is not StopKind.KILL or self.lease is not None or bool(run.released_by)

    # --- selling -------------------------------------------------------------------------------------------

    def flatten(self, run: StopRun) -> Unsold:
        """Sell what the stop is to sell by the hand-over; returns what is not sold yet."""
        unsold = self.unsold(run)
        for symbol, left in unsold:
            handover = self.handover(symbol)
            whole = left == self.ledger.book(symbol).quantity
            wanted = Handover(symbol, exits.FLATTEN, _correlation(run), quantity=None if whole else left)
            if handover is None:
                if self.proven and self._may_go_on(run) and self.sellable(symbol):
                    self.start_exit(wanted)
            elif handover.reason in (exits.STRATEGY, exits.MAX_HOLD):
                body = replace(wanted, sell_id=handover.sell_id).to_json()
                self.write(lambda ledger, s=symbol, b=body: ledger.put_document("handovers", s, b))  # type: ignore[misc]
                self.tend(symbol)
        return unsold

    def unsold(self, run: StopRun) -> Unsold:
        """What the stop is to sell and has not: by symbol, base units."""
        found = []
        for book in self.ledger.books():
            if book.quantity <= 0 or not self.traded(book.symbol) or not run.concerns(book.symbol):
                continue
            left = self._left_to_sell(run, book)
            handover = self.handover(book.symbol)
            dust = self.judge(book.symbol).status is Protection.DUST or not self._orderable(book, left)
            if left > 0 and (handover is not None or not dust):
                found.append((book.symbol, left))
        return found

    def _left_to_sell(self, run: StopRun, book: Book) -> Decimal:
        """A kill sells what was owned when it was asked, and what orders sent before it bring; not what an operator
        takes in from the venue afterwards."""
        if run.kind is StopKind.FLATTEN:
            return book.quantity
        taken_in = ZERO
        for order in self.ledger.adopted_after(run.watermark, book.symbol):
            taken_in += order.facts.filled if order.side is Side.BUY else -order.facts.filled
        return max(ZERO, book.quantity - max(ZERO, taken_in))

    def _orderable(self, book: Book, size: Decimal) -> bool:
        """Whether the venue takes a sale of this part of the position; one that it refuses would only cost its stop."""
        rules, at = self.rules.get(book.symbol), self.levels_of(book.symbol)
        if size == book.quantity or rules is None or at is None:
            return True  # DUST or not, the whole is judged elsewhere
        return grid.orderable(grid.floor_size(size, rules), at.stop_limit, rules)

    def sellable(self, symbol: str) -> bool:
        """Whether the product's mode takes an exit at all: its stop is not cancelled for a sale that cannot be."""
        rules = self.rules.get(symbol)
        if rules is None or grid.takes_exits(rules):
            return True  # without rules the hand-over itself waits for them
        self.ask_rules()
        return False

    # --- what a release left unsold ----------------------------------------------------------------------------

    def _under_way(self, run: StopRun) -> list[str]:
        """Symbols on which the stop's own sale is not over: a hand-over goes on, or a sale may yet be filled."""
        open_exits = [Handover.from_json(body) for body in self.ledger.documents("handovers").values()]
        symbols = {one.symbol for one in open_exits if one.correlation_id == _correlation(run)}
        symbols |= {one.symbol for one in self.ledger.working() if one.intent.correlation_id == _correlation(run)}
        return sorted(symbols)

    def conclude_released(self) -> None:
        """Alert what a release left unsold, once its last sale is over; after a crash rather twice than never."""
        self._withdraw_overruled()  # the disk may have refused it
        for run in self.stop_runs():
            if not run.released_by or run.concluded or self._under_way(run):
                continue
            left = _listed(self.unsold(run)) or "nothing"
            text = f"{run.released_by} ended the flatten of {run.request_id}; left unsold: {left}"
            if run.request_id not in self._alerted:
                self.alert(Severity.WARNING, f"unsold:{run.request_id}", text)
                self._alerted.add(run.request_id)
            body = replace(run, concluded=True).to_json()
            self.write(lambda ledger, key=run.request_id, b=body: ledger.put_document("stops", key, b))  # type: ignore[misc]

    def left_by_release(self, run: StopRun) -> str:
        """Why the stop is over although it has not sold everything; empty while that is not so."""
        if not run.released_by or self._under_way(run):
            return ""
        left = _listed(self.unsold(run))
        return f"{run.released_by} ended its flatten; left unsold: {left}" if left else ""

    def release_proof(self, request_id: str) -> CancelProof:
        """What comes of the flattens that this release has ended; complete when no sale of theirs is under way."""
        runs = [run for run in self.stop_runs() if self.overruled_by(run) == request_id]
        selling = sorted({symbol for run in runs for symbol in self._under_way(run)})
        left = _listed([line for run in runs for line in self.unsold(run)])
        text = ""
        if runs:
            text = f"ended the flatten of {', '.join(run.request_id for run in runs)}; left unsold: {left or 'nothing'}"
        if selling:
            text += f"; a sale is under way: {', '.join(selling)}"
        return CancelProof(request_id, not selling, 0, len(selling), (), self.position_proofs() if runs else (), text)

    # --- how the positions stand ---------------------------------------------------------------------------------

    def note_stops(self, shown: Sequence[VenueOrder]) -> None:
        """Remember the stops that the venue shows: whoever owns the account may have moved one there."""
        self._shown_stops.update({one.client_order_id: one.stop_price for one in shown if one.stop_price is not None})
        if len(self._shown_stops) > STOPS_KEPT:
            working = {one.id for one in self.ledger.working()}
            self._shown_stops = {name: stop for name, stop in self._shown_stops.items() if name in working}

    def resting_stop(self, symbol: str) -> Decimal | None:
        """The lowest stop of the orders that cover the position now; None when nothing covers it."""
        return min(self.stops_of(self.judge(symbol).covering), default=None)

    def stops_of(self, covering: Sequence[OrderRecord]) -> tuple[Decimal, ...]:
        """As the venue shows them, each once, lowest first."""
        prices = {self._shown_stops.get(one.id, one.intent.stop_price) for one in covering}
        return tuple(sorted(price for price in prices if price is not None))

    def position_proofs(self) -> tuple[PositionProof, ...]:
        """How every own position stands, from the venue's orders."""
        proofs = []
        for book in self.ledger.books():
            if book.quantity <= 0:
                continue
            judgement, stop = self.judge(book.symbol), self.resting_stop(book.symbol)
            proofs.append(
                PositionProof(
                    symbol=book.symbol,
                    quantity=str(book.quantity),
                    protection=judgement.status.value,
                    stop_price=None if stop is None else str(stop),
                    open_protection_size=str(judgement.covered),
                    stops=len(judgement.covering),
                )
            )
        return tuple(proofs)


def _correlation(run: StopRun) -> str:
    return f"flatten:{run.request_id}"


def _listed(unsold: Unsold) -> str:
    total: dict[str, Decimal] = {}
    for symbol, left in unsold:
        total[symbol] = max(left, total.get(symbol, ZERO))
    return ", ".join(f"{left:f} {symbol}" for symbol, left in sorted(total.items()))
