"""What the tracker tells others: snapshots of orders, positions and PnL, and the ledger to the reconciler."""

from __future__ import annotations

from actors.clock import NS_PER_S
from actors.messages.books import PnlBooks, PortfolioSnapshot, Position
from actors.messages.health import Severity
from actors.messages.market import Side
from actors.messages.orders import OrderState
from actors.messages.reconcile import LedgerFacts, ReadLedger
from actors.orders import positions
from actors.orders.accepting import TrackerAccepting
from actors.orders.records import OrderRecord

SNAPSHOT_PEERS = ("risk", "strategist", "admin", "metrics", "reconciler", "watchdog")
HANDLED_SHOWN = 64


class TrackerReporting(TrackerAccepting):
    """Everything here is read from the ledger at the moment of telling."""

    def __init__(self) -> None:
        super().__init__()
        self._unlisted: set[str] = set()
        """Orders whose fills the venue does not list, paged once."""

    def publish(self) -> None:
        super().publish()
        snapshot = self.snapshot()
        for name in SNAPSHOT_PEERS:
            if name in self.peers:
                self.tell(name, snapshot)

    @property
    def sequence(self) -> int:
        """Grows over restarts within one epoch, since incarnations do."""
        return (self.incarnation << 32) | self._snapshot_count

    def snapshot(self) -> PortfolioSnapshot:
        working = self.ledger.working()
        return PortfolioSnapshot(
            epoch=self.epoch,
            sequence=self.sequence,
            ready=self.proven and not self.unusable,
            open_orders=tuple(record.as_open_order() for record in working),
            positions=self.positions(),
            pnl=self.pnl(),
            unknown_symbols=tuple(sorted({one.symbol for one in working if one.state is OrderState.UNKNOWN})),
            orders_by_state=self.ledger.counts(),
            handled_proposals=self.ledger.newest_proposals(HANDLED_SHOWN),
            at_boot_ns=self.clock.boot_ns(),
            tracker_incarnation=self.incarnation,
        )

    def positions(self) -> tuple[Position, ...]:
        found = []
        for book in self.ledger.books():
            if book.quantity <= 0:
                continue  # one that is not configured any more is shown like the others: it counts against limits
            plan = self.ledger.plan(book.symbol)
            at = self.levels_of(book.symbol)
            known = self.watch(book.symbol).judgement if self.traded(book.symbol) else None
            judgement = known or self.judge(book.symbol)
            found.append(
                Position(
                    symbol=book.symbol,
                    base=book.symbol.split("-")[0],
                    quantity=book.quantity,
                    average_cost=book.average_cost,
                    realized=book.realized,
                    fees=book.fees,
                    protection=judgement.status,
                    opened_utc_ns=book.opened_utc_ns,
                    stop_price=at.stop if at else None,
                    target_price=at.target if at else None,
                    exit_due_utc_ns=plan.exit_due_utc_ns if plan else None,
                    resting_stops=self.stops_of(judgement.covering),
                )
            )
        return tuple(found)

    def pnl(self) -> PnlBooks:
        now = self.clock.utc_ns()
        return positions.pnl_books(self.ledger.books(), self.ledger.pnl_days(), now)

    def on_read_ledger(self, message: ReadLedger, sender: object) -> None:
        facts = LedgerFacts(
            request_id=message.request_id,
            ready=self.proven and not self.unusable,
            epoch=self.epoch,
            sequence=self.sequence,
            head=self.ledger.head,
            orders=tuple(one.as_ledger_order() for one in self.ledger.orders_since(message.since_utc_ns)),
            fills=self.ledger.fill_ids_since(message.since_utc_ns),
            positions=self.positions(),
            unbooked=tuple(f"{kind} {fill.entry_id}" for kind, fill in self.ledger.unbooked()),
            at_boot_ns=self.clock.boot_ns(),
            tracker_incarnation=self.incarnation,
        )
        self.answer(message.stamp.name, sender, facts)

    def page_unlisted_fills(self, record: OrderRecord, now_utc_ns: int) -> None:
        """What is bought is protected when its fills are booked: one that the venue speaks of and does not list is
        in no position, so nothing else calls it naked."""
        facts = record.facts
        late = now_utc_ns - record.changed_utc_ns >= self.settings.orders.naked_page_s * NS_PER_S
        if late and record.id not in self._unlisted:
            self._unlisted.add(record.id)
            what = "bought and not protected" if record.side is Side.BUY else "sold and still in the books"
            text = f"{record.id}: {facts.venue_filled - facts.filled} of {record.symbol} are {what}: "
            text += "the venue says that they were filled and lists no fills"
            self.alert(Severity.PAGE, f"fills:{record.id}", text, record.intent.correlation_id)
