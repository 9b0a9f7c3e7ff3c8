"""The tracker's product rules: what the watchdog reads and tells, what is asked for here, and the copy on the disk."""

from __future__ import annotations

from actors.clock import NS_PER_S
from actors.messages.market import ProductRules, ProductsRead
from actors.messages.venue import QueryKind, VenueAnswer
from actors.orders.ledger import Ledger
from actors.orders.reporting import TrackerReporting
from actors.orders.wire import Question


class TrackerRules(TrackerReporting):
    """Keeps the newest rules of every traded symbol."""

    def ask_rules(self) -> None:
        self.ask(Question("rules", QueryKind.PRODUCTS, self._take_rules, products=self.settings.symbols))

    def ask_old_rules(self) -> None:
        """The watchdog tells what it reads; only what it has not told for ``rules_s`` is asked for."""
        oldest_ns = self.clock.boot_ns() - round(self.settings.orders.rules_s * NS_PER_S)
        known = [self.rules.get(symbol) for symbol in self.settings.symbols]
        if any(rules is None or not oldest_ns < rules.read_boot_ns <= self.clock.boot_ns() for rules in known):
            self.ask_rules()

    def on_products_read(self, message: ProductsRead, sender: object) -> None:
        self._keep_rules(message.rules)

    def _take_rules(self, answer: VenueAnswer) -> None:
        if answer.ok:
            self._keep_rules(answer.rules)

    def _keep_rules(self, read: tuple[ProductRules, ...]) -> None:
        """Keep the newest rules; on the disk when they differ, so that a restart can protect without asking."""
        found = [rules for rules in read if self._is_news(rules)]
        changed = [rules for rules in found if not _same_rules(self.rules.get(rules.product_id), rules)]
        if changed and not self.unusable:

            def work(ledger: Ledger) -> None:
                for rules in changed:
                    ledger.put_rules(rules)

            self.write(work)
        self.rules.update({rules.product_id: rules for rules in found})
        for symbol in self.held_symbols() if changed else ():
            self.tend(symbol)

    def _is_news(self, rules: ProductRules) -> bool:
        """Not older than what is known; what was read in another boot says nothing about that."""
        known = self.rules.get(rules.product_id)
        return known is None or not rules.read_boot_ns < known.read_boot_ns <= self.clock.boot_ns()


def _same_rules(known: ProductRules | None, new: ProductRules) -> bool:
    if known is None:
        return False
    names = [name for name in ProductRules.__dataclass_fields__ if name != "read_boot_ns"]
    return all(getattr(known, name) == getattr(new, name) for name in names)
