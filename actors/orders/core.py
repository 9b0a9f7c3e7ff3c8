"""What all parts of the tracker share: the ledger, the clocks, the newest quotes, lease and rules, alarms."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from decimal import Decimal

from actors.actor import TradingActor
from actors.clock import NS_PER_S
from actors.messages.health import Alert, BreakerName, BreakerSignal, Lease, Severity, TradingState
from actors.messages.market import ProductRules, Quote
from actors.orders import booking
from actors.orders.booking import Anomaly, Identity
from actors.orders.ledger import Ledger, LedgerError, LedgerLockedError, LedgerWriteError

SNAPSHOT_GAP_NS = 50_000_000
UNSAID_KEPT = 200
"""Alarms that wait for their receiver; beyond it the oldest are dropped (each is in the log)."""


class TrackerCore(TradingActor):
    """State and services. Everything that must survive is in the ledger; what is here may be lost."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger.in_memory()
        self.unusable = ""
        """Why the ledger could not be opened; then nothing is ever ordered, cancels and queries go on."""
        self.write_failing = ""
        self.lease: Lease | None = None
        self.rules: dict[str, ProductRules] = {}
        self.quotes: dict[str, Quote] = {}
        self.accepted_mids: dict[str, Decimal] = {}
        """The last mid that the guard accepted, by data product; ``quotes`` may be newer, read over REST."""
        self.proven = False
        """The venue was read once since the start: arming may begin."""
        self.behind: set[str] = set()
        """Symbols of which the venue knows own orders that the ledger lacks: on such books nothing is ordered."""
        self.last_event_boot_ns = 0
        self._snapshot_count = 0
        self._snapshot_boot_ns = 0
        self._snapshot_due = False
        self._tripped: dict[tuple[BreakerName, str], str] = {}
        self._anomalies: set[tuple[str, str]] = set()
        self.unsaid: deque[tuple[str, BreakerSignal | Alert]] = deque(maxlen=UNSAID_KEPT)

    # --- the ledger ------------------------------------------------------------------------------------

    def open_ledger(self) -> None:
        """Open the books of this mode, or come up unusable and say so; a lock still held is a crash."""
        path = self.settings.store_dir / "ledger.db"
        try:
            self.ledger = Ledger.open(path, self.clock.utc_ns())
        except LedgerLockedError:
            raise  # the former incarnation is not gone yet: the supervisor starts us again
        except LedgerError as error:
            self.unusable = str(error)
            self.log.critical("ledger_unusable", error=self.unusable)
            return
        for note in self.ledger.notes:
            self.log.warning("ledger_note", note=note)
        self.rules = self.ledger.rules()
        self.behind = self.ledger.behind(booking.BEYOND)

    def write(self, work: Callable[[Ledger], None]) -> bool:
        """Run ``work`` in one durable transaction. False: nothing of it happened, and entries are stopped."""
        try:
            with self.ledger.transaction(
                self.clock.utc_ns(), self.epoch, self.incarnation, self.settings.config_hash
            ) as ledger:
                work(ledger)
        except LedgerWriteError as error:
            self.write_failing = str(error)
            self.log.critical("ledger_write_failed", error=str(error))
            self.trip(BreakerName.LEDGER_WRITE, "*", str(error))
            self.alert(Severity.PAGE, "ledger_write", f"The ledger cannot be written: {error}. Entries are stopped.")
            return False
        if self.write_failing:
            self.log.warning("ledger_written_again")
            self.write_failing = ""
        return True

    def look_at_ledger_file(self) -> None:
        """Stop entries when the ledger's file vanishes; what protects goes on as long as this process lives."""
        gone = self.ledger.gone()
        if gone:
            text = f"{gone} was deleted or replaced while in use. Entries are stopped; do not restart: its contents"
            text += " live in this process alone (copy them from /proc/PID/fd)."
            self.trip(BreakerName.LEDGER_WRITE, "*", text)
            self.alert(Severity.PAGE, "ledger_gone", text)

    @property
    def identity(self) -> Identity:
        orders = self.settings.orders
        return Identity(orders.family, orders.instance, self.epoch)

    # --- alarms ----------------------------------------------------------------------------------------

    def trip(self, breaker: BreakerName, scope: str, reason: str) -> None:
        """Ask the watchdog to open a breaker; the same reason is said once, so that a resume is not undone."""
        if self._tripped.get((breaker, scope)) != reason:
            self._tripped[breaker, scope] = reason
            self.say("watchdog", BreakerSignal(breaker, scope, True, reason, self.name))

    def untrip(self, breaker: BreakerName, scope: str, reason: str) -> None:
        """The cause of a breaker asked for earlier is gone."""
        if self._tripped.pop((breaker, scope), None) is not None:
            self.say("watchdog", BreakerSignal(breaker, scope, False, reason, self.name))

    def alert(self, severity: Severity, key: str, text: str, correlation_id: str = "") -> None:
        self.log.warning("alert", severity=severity.value, key=key, text=text)
        self.say("alerts", Alert(severity, key, text, self.name, correlation_id))

    def say(self, name: str, message: BreakerSignal | Alert) -> None:
        """Tell an alarm, or keep it until there is somebody to tell."""
        if not self.tell(name, message):
            self.unsaid.append((name, message))

    def say_unsaid(self) -> None:
        """What could not be told before, oldest first."""
        for _ in range(len(self.unsaid)):
            self.say(*self.unsaid.popleft())

    def report_anomaly(self, anomaly: Anomaly) -> None:
        """Once per fact: an event, the reconcile breaker, a page."""
        if (anomaly.kind, anomaly.key) in self._anomalies:
            return
        self._anomalies.add((anomaly.kind, anomaly.key))
        if anomaly.kind == booking.BEYOND:
            self.behind.add(anomaly.symbol)
        body = {"kind": anomaly.kind, "symbol": anomaly.symbol, "text": anomaly.text}
        self.write(lambda ledger: ledger.event("anomaly", anomaly.key, **body))
        self.trip(BreakerName.RECONCILE, "*", f"{anomaly.kind}: {anomaly.text}")
        self.alert(Severity.PAGE, f"anomaly:{anomaly.kind}:{anomaly.key}", anomaly.text)

    # --- state, quotes ---------------------------------------------------------------------------------

    def trading_state(self, symbol: str) -> TradingState:
        """What the lease allows; HALTED without one, or with one that is too old."""
        lease = self.lease
        limit_ns = self.settings.gateway.lease_max_age_s * NS_PER_S
        if lease is None or self.clock.boot_ns() - lease.issued_boot_ns > limit_ns:
            return TradingState.HALTED
        return lease.state_of(symbol)

    @property
    def killed(self) -> bool:
        return self.lease is not None and self.lease.state is TradingState.KILLED

    def fresh_quote(self, symbol: str) -> Quote | None:
        """The newest accepted quote of the symbol's book, None when it is too old to price anything."""
        quote = self.quotes.get(self.settings.instrument(symbol).data_product) if self.traded(symbol) else None
        if quote is None:
            return None
        age_ns = self.clock.boot_ns() - quote.as_of_boot_ns
        return quote if age_ns <= self.settings.gateway.quote_max_age_s * NS_PER_S else None

    def traded(self, symbol: str) -> bool:
        return symbol in self.settings.symbols

    def changed(self) -> None:
        """Something that a snapshot shows is different: one goes out, at most every 50 ms."""
        self.last_event_boot_ns = self.clock.boot_ns()
        if self._snapshot_due:
            return
        self._snapshot_due = True
        wait_ns = self._snapshot_boot_ns + SNAPSHOT_GAP_NS - self.clock.boot_ns()
        self.after("snapshot-now", max(0.0, wait_ns / NS_PER_S), self.publish)

    def publish(self) -> None:
        """Send the snapshot; the tracker's last layer says to whom."""
        self._snapshot_due = False
        self._snapshot_count += 1
        self._snapshot_boot_ns = self.clock.boot_ns()
