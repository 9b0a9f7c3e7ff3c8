"""The reconciler's rounds: read ledger and venue, judge what disagrees, report, hand evidence to the tracker.

It never corrects anything. A comparison that could not be made says so (``complete`` False): a failed query
is not an empty account, and an order that is not found is not a cancelled one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from actors.clock import NS_PER_S
from actors.egress import Verb, boot_id, read_records
from actors.messages.health import Alert, BreakerName, BreakerSignal, Severity
from actors.messages.market import ProductRules
from actors.messages.reconcile import LedgerFacts, ReadLedger, ReconcileReport, VenueEvidence
from actors.messages.venue import FeeTier, QueryKind, VenueAnswer, VenueQuery
from actors.reconciler import money
from actors.reconciler.compare import Comparison, Egress, Found, Identity, VenueView, compare, compare_terms
from actors.reconciler.grace import Grace, Judged
from actors.reconciler.holds import compare_holds
from actors.reconciler.kinds import EGRESS, UNKNOWN_TO_LEDGER, WALLETS, DifferenceKind
from actors.reconciler.round import ALWAYS, MARGIN_NS, TERMS, Round
from actors.reconciler.wallets import ReconcilerWallets

EGRESS_FILE = "egress.log"
OLDEST_NS = 30 * 86_400 * NS_PER_S
DEEP_DEADLINE_S = 30.0
_SECOND_LOOK_S = 0.5
_RETRY_S = 1.0
REPORT_PEERS = ("watchdog", "tracker", "admin", "risk")


@dataclass(frozen=True, slots=True)
class Finished:
    """One complete round, for whoever waits for it."""

    number: int
    report: ReconcileReport
    ledger: LedgerFacts
    view: VenueView
    egress: Egress
    judged: Judged
    reading: money.Reading


class ReconcilerRounds(ReconcilerWallets):
    """One comparison at a time: at start, every ``interval_s``, when asked, and soon again after a difference."""

    def __init__(self) -> None:
        super().__init__()
        self._round: Round | None = None
        self._rounds = 0
        self._asked_again = False
        self._whole_next = False
        self._deep_next = False
        self._grace: Grace
        self._rules: dict[str, ProductRules] = {}
        self._fees: FeeTier | None = None
        self._last_complete_utc_ns: int | None = None
        self._last_complete_boot_ns = 0
        self._last_report: ReconcileReport | None = None
        self._ever_ok = False
        self._tripped: dict[BreakerName, bool] = {}
        self._incarnations: dict[str, int] = {}

    # --- starting --------------------------------------------------------------------------------------

    def restore(self) -> bool:
        self._grace = Grace(round(self.settings.reconciler.grace_s * NS_PER_S))
        self.open_store()
        return True

    def started(self) -> None:
        self._disk = self.worker("disk")
        self._note_incarnations()
        self.say_flows(self.flows)
        self.every("compare", self.settings.reconciler.interval_s, self._begin, first_s=0.0)

    def progress(self) -> dict[str, int]:
        return {"last_comparison": self._last_complete_boot_ns}

    def peers_changed(self) -> None:
        before = dict(self._incarnations)
        self._note_incarnations()
        if self._incarnations["watchdog"] != before["watchdog"]:
            self._tripped.clear()  # a new watchdog is told again by the next comparison
        for name in ("risk", "admin"):  # of flows and doubts a new one hears at once; a verdict only from a new round
            if self._incarnations[name] != before[name] and self._last_report is not None:
                self.tell(name, self._last_report)
        replaced = any(self._incarnations[name] != before[name] for name in ("tracker", "gateway"))
        if replaced and self._round is not None:
            self._asked_again = True
            self._fail("tracker or gateway was restarted")  # what was asked of the dead is not answered any more

    def _note_incarnations(self) -> None:
        for name in ("watchdog", "risk", "admin", "tracker", "gateway"):
            peer = self.peers.get(name)
            self._incarnations[name] = peer.incarnation if peer is not None else 0

    @property
    def me(self) -> Identity:
        return Identity(self.settings.orders.family, self.settings.orders.instance, self.epoch)

    @property
    def settle_ns(self) -> int:
        """How long an order, or a fill beside its money, may be in motion."""
        settings = self.settings
        return round(max(settings.venue.visibility_delay_s, settings.reconciler.grace_s) * NS_PER_S)

    # --- one round -------------------------------------------------------------------------------------

    @property
    def next_round(self) -> int:
        """The number of the first round that begins after this moment."""
        return self._rounds + 1

    def compare_soon(self, *, whole: bool = False, deep: bool = False) -> None:
        """See to it that a round begins after this moment.

        ``whole``: product rules and fee tier too. ``deep``: listings as far back as they are ever read.
        """
        self._whole_next, self._deep_next = self._whole_next or whole, self._deep_next or deep
        if self._round is not None:
            self._asked_again = True  # what is under way may have read the venue before the question
        else:
            self._begin()

    def _begin(self) -> None:
        if self.settings.mode == "dry_run":
            self._report(ReconcileReport(True, True, (), "", self.clock.boot_ns(), 0, 0))
            return
        if self._round is not None:
            return
        self._rounds += 1
        terms = self._whole_next or self._rounds % self.settings.reconciler.rules_every == 1
        deep, self._whole_next, self._deep_next = self._deep_next, False, False
        since = self.clock.utc_ns() - OLDEST_NS if deep else self._since_utc_ns()
        deadline_s = DEEP_DEADLINE_S if deep else self.settings.reconciler.deadline_s
        kinds = ALWAYS + (TERMS if terms else ())
        self._round = Round(self._rounds, since, self.clock.boot_ns(), kinds, deadline_s)
        self.after("deadline", deadline_s, self._late)
        if self.open_store():
            self._fail(self.store_error)
            return
        ask = ReadLedger(self._round.request_id("ledger"), self._round.since_utc_ns, self.stamp)
        if not self.tell("tracker", ask):
            self._fail("no tracker")

    def _since_utc_ns(self) -> int:
        settings, now = self.settings.reconciler, self.clock.utc_ns()
        if self._last_complete_utc_ns is None:
            since = now - round(settings.first_window_s * NS_PER_S)
        else:
            since = min(now, self._last_complete_utc_ns) - round(settings.window_s * NS_PER_S)
        if self.baseline is not None:
            since = min(since, self.baseline.read_utc_ns - money.OVERLAP_NS)
        return max(since, now - OLDEST_NS)

    def on_ledger_facts(self, message: LedgerFacts, sender: object) -> None:
        current = self._round
        if current is not None and current.take_after(message):
            self._judge_round(current)
            return
        if current is None or not current.take_ledger(message):
            return
        if current.failure():
            self._fail(current.failure())
            return
        for kind in current.kinds:
            query = VenueQuery(
                request_id=current.request_id(kind.value),
                kind=kind,
                stamp=self.stamp,
                since_utc_ns=self._listing_since(kind, current),
                products=self.settings.symbols if kind is QueryKind.PRODUCTS else (),
            )
            if not self.tell("gateway", query):
                self._fail("no gateway")
                return

    def _listing_since(self, kind: QueryKind, current: Round) -> int | None:
        if kind is QueryKind.ORDERS_SINCE:
            return current.listing_since_utc_ns()
        return current.since_utc_ns - MARGIN_NS if kind is QueryKind.FILLS_SINCE else None

    def on_venue_answer(self, message: VenueAnswer, sender: object) -> None:
        current = self._round
        if current is None or not current.take_answer(message):
            return
        if current.failure():
            self._fail(current.failure())
        elif not current.missing():
            path = self.settings.store_dir / EGRESS_FILE
            self._disk.submit(
                lambda: _read_egress(path),
                lambda egress, error: self._finish(current, egress, error),
                current.deadline_s,
            )

    def _late(self) -> None:
        if self._round is not None:
            self._fail(f"no answer within {self._round.deadline_s:g} s: {', '.join(self._round.missing())}")

    def _fail(self, error: str) -> None:
        number = self._rounds
        self._end_round()
        self.log.warning("comparison_incomplete", error=error)
        self.meter.count("reconcile_total", result="incomplete")
        self._report(ReconcileReport(False, False, (), error, self.clock.boot_ns(), 0, 0))
        if not self._ever_ok:
            self.after("again", _RETRY_S, self._begin)
        self.round_failed(number, error)

    def _end_round(self) -> None:
        self._round = None
        self.cancel_timer("deadline")
        if self._asked_again:
            self._asked_again = False
            self.after("asked", 0.0, self._begin)

    def round_failed(self, number: int, error: str) -> None:
        """A round was not complete."""

    def round_finished(self, finished: Finished) -> None:
        """A round was complete."""

    # --- the verdict -----------------------------------------------------------------------------------

    def _finish(self, current: Round, egress: object, error: BaseException | None) -> None:
        if current is not self._round:
            return  # its deadline was faster
        if error is not None or current.ledger is None:
            self._fail(f"egress log: {error}")
            return
        assert isinstance(egress, Egress)
        current.egress = egress
        self._judge_round(current)

    def _judge_round(self, current: Round) -> None:
        assert current.ledger is not None and current.egress is not None
        view = current.view()
        compared = compare(
            current.ledger,
            view,
            current.egress,
            self.me,
            settle_ns=self.settle_ns,
            tolerance=self.settings.reconciler.balance_tolerance,
            after=current.after,
        )
        if current.after is None and any(found.kind in UNKNOWN_TO_LEDGER for found in compared.found):
            # Placed while the venue was read, most likely: only a ledger read after the venue can deny it.
            ask = ReadLedger(current.request_id("ledger-after"), current.since_utc_ns, self.stamp)
            if not self.tell("tracker", ask):
                self._fail("no tracker")
            return
        reading = self._read_wallets(view, current.asked_boot_ns())
        blank, error = self.take_money(reading, current.ledger, self.settle_ns)
        if error:
            self._fail(error)
            return
        found = [*compared.found, *compare_holds(current.ledger, view, settle_ns=self.settle_ns)]
        if blank:
            found = [one for one in found if one.kind not in WALLETS]
        found += [*blank, *self._compare_terms(current)]
        found = [one for one in found if f"{one.kind.value}:{one.key}" not in self.acknowledged]
        judged = self._grace.judge(found, self.clock.boot_ns())
        self._conclude(current, compared, judged, reading)

    def _read_wallets(self, view: VenueView, asked_boot_ns: int) -> money.Reading:
        currencies = dict.fromkeys(name for item in self.settings.instruments for name in (item.base, item.quote))
        return money.take_reading(view.balances, currencies, view.fills, view.asked_utc_ns, asked_boot_ns)

    def _compare_terms(self, current: Round) -> tuple[Found, ...]:
        if QueryKind.PRODUCTS not in current.answers:
            return ()
        rules, fees = current.answers[QueryKind.PRODUCTS].rules, current.answers[QueryKind.FEES].fees
        found = compare_terms(self._rules, rules, self._fees, fees)
        self._rules.update({rule.product_id: rule for rule in rules})
        self._fees = fees if fees is not None else self._fees
        return found

    def _conclude(self, current: Round, compared: Comparison, judged: Judged, reading: money.Reading) -> None:
        assert current.ledger is not None and current.egress is not None
        # The first verdict of a process clears nobody to trade while a difference is only too young to count.
        ok = not judged.counting and (self._ever_ok or not judged.pending)
        self._ever_ok = self._ever_ok or ok
        self._last_complete_utc_ns = self.clock.utc_ns()
        self._last_complete_boot_ns = self.clock.boot_ns()
        self._end_round()
        if compared.evidence.orders or compared.evidence.fills:
            evidence = compared.evidence
            self.tell("tracker", VenueEvidence(evidence.orders, evidence.fills, current.asked_boot_ns()))
        self._announce(judged)
        self.meter.count("reconcile_total", result="ok" if ok else "different")
        compared_orders, compared_fills = compared.compared_orders, compared.compared_fills
        report = ReconcileReport(
            True, ok, judged.differences(), "", self.clock.boot_ns(), compared_orders, compared_fills
        )
        report = self._report(report)
        if judged.pending or self.doubt or not self._ever_ok:
            self.after("again", self.settings.reconciler.grace_s + _SECOND_LOOK_S, self._begin)
        self.round_finished(
            Finished(current.number, report, current.ledger, current.view(), current.egress, judged, reading)
        )

    def _announce(self, judged: Judged) -> None:
        for found in (*judged.counting, *judged.pending, *judged.news):
            counts = found in judged.counting
            self.meter.count("reconcile_differences_total", kind=found.kind.value)
            log = self.log.error if counts else self.log.warning
            log("difference", kind=found.kind.value, key=found.key, ledger=found.ledger, venue=found.venue)
        self._signal(BreakerName.RECONCILE, [found for found in judged.counting if found.kind not in EGRESS])
        self._signal(BreakerName.EGRESS, [found for found in judged.counting if found.kind in EGRESS])
        for found in judged.counting:
            if found.kind is DifferenceKind.FOREIGN_HOST:
                text = f"a second host trades this account: {found.key}, {found.venue}"
                self.tell("alerts", Alert(Severity.PAGE, "foreign_host", text, self.name))

    def _signal(self, breaker: BreakerName, counting: list[Found]) -> None:
        tripped = bool(counting)
        if self._tripped.get(breaker) is tripped and not tripped:
            return
        reason = "; ".join(_reason(found) for found in counting[:5]) or "ledger and venue agree"
        # An open cause is told at every comparison: a signal that was lost is made good by the next one.
        if self.tell("watchdog", BreakerSignal(breaker, "*", tripped, reason, self.name)):
            self._tripped[breaker] = tripped

    def _report(self, report: ReconcileReport) -> ReconcileReport:
        """Tell everybody, with the flows and doubts as they are now."""
        report = replace(report, flows=None if self.store is None else self.flows, doubt=self.doubt)
        self._last_report = report
        for name in REPORT_PEERS:
            if name in self.peers:
                self.tell(name, report)
        return report

    def report_again(self) -> None:
        """Flows changed: what was said of the comparison stands."""
        if self._last_report is not None:
            self._report(self._last_report)

    def forget_first_looks(self) -> None:
        """What was different before an acceptance is judged anew."""
        self._grace = Grace(round(self.settings.reconciler.grace_s * NS_PER_S))


def _reason(found: Found) -> str:
    if found.kind in (DifferenceKind.ZERO_BALANCES, DifferenceKind.BASELINE_LOST):
        return f"{found.kind.value}: {found.venue}; {found.ledger}"
    return f"{found.kind.value} {found.key}"


def _read_egress(path: Path) -> Egress:
    here = boot_id()
    created = [r for r in read_records(path).records if r.verb is Verb.CREATE and r.boot_id == here]
    return Egress(frozenset(r.client_order_id for r in created), {r.client_order_id: r.utc_ns for r in created})
