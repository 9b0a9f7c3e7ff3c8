"""The tracker takes in what an operator accepts of the venue's state, when nothing is on its way."""

from __future__ import annotations

from actors.messages.orders import OrderState
from actors.messages.reconcile import AdoptVenue, VenueAdopted
from actors.orders import adopting
from actors.orders.adopting import AdoptionError
from actors.orders.booking import Booked
from actors.orders.ledger import Ledger
from actors.orders.operating import TrackerOperating

_ON_ITS_WAY = frozenset({OrderState.INTENT, OrderState.SUBMITTING, OrderState.UNKNOWN})


class TrackerAccepting(TrackerOperating):
    """One commit, then whatever follows: positions that came with it are protected at once."""

    def on_adopt_venue(self, message: AdoptVenue, sender: object) -> None:
        self.answer(message.stamp.name, sender, self._adopt(message))

    def _adopt(self, command: AdoptVenue) -> VenueAdopted:
        objection = self._adoption_objection()
        if objection:
            return VenueAdopted(command.request_id, objection)
        booked = Booked()
        made: list[VenueAdopted] = []
        before = {book.symbol: book.quantity for book in self.ledger.books()}

        def work(ledger: Ledger) -> None:
            made.append(adopting.adopt(ledger, command, self.identity, self.clock.utc_ns(), booked))
            for symbol in sorted(self.behind):  # the books are the venue's again
                ledger.event("trusted", symbol, operator=command.operator)

        try:
            if not self.write(work):
                return VenueAdopted(command.request_id, f"the ledger cannot be written: {self.write_failing}")
        except AdoptionError as error:
            return VenueAdopted(command.request_id, str(error))
        self.log.warning("baseline_accepted", operator=command.operator, reason=command.reason, head=made[0].head)
        booked.rejected.clear()  # refusals of another time say nothing about orders of now
        booked.symbols |= self.behind
        self.behind.clear()
        self.follow(booked, before)
        return made[0]

    def _adoption_objection(self) -> str:
        if self.unusable:
            return f"the ledger cannot be used: {self.unusable}"
        moving = [one.id for one in self.ledger.working() if one.state in _ON_ITS_WAY]
        return f"on their way: {', '.join(moving)}" if moving else ""
