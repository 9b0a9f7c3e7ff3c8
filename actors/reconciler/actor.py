"""ReconcilerActor: compares ledger and venue on its own clock, reports, hands evidence to the tracker.

It never corrects anything. A comparison that could not be made says so (``complete`` False): a failed query
is not an empty account, and an order that is not found is not a cancelled one.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from actors.actor import TradingActor
from actors.clock import NS_PER_S
from actors.egress import Verb, boot_id, read_records
from actors.messages.health import Alert, BreakerName, BreakerSignal, Severity
from actors.messages.market import ProductRules
from actors.messages.trading import (
    FeeTier,
    LedgerFacts,
    PortfolioSnapshot,
    QueryKind,
    ReadLedger,
    ReconcileNow,
    ReconcileReport,
    VenueAnswer,
    VenueQuery,
)
from actors.reconciler import money
from actors.reconciler.compare import Comparison, Egress, Found, Identity, VenueView, compare, compare_terms
from actors.reconciler.grace import Grace, Judged
from actors.reconciler.kinds import EGRESS, UNKNOWN_TO_LEDGER, DifferenceKind
from actors.reconciler.round import ALWAYS, MARGIN_NS, TERMS, Round

BASELINE_FILE = "reconciler.json"
EGRESS_FILE = "egress.log"
_OLDEST_NS = 30 * 86_400 * NS_PER_S
_SECOND_LOOK_S = 0.5
_RETRY_S = 1.0


class ReconcilerActor(TradingActor):
    """One comparison at a time: at start, every ``interval_s``, when asked, and soon again after a difference."""

    def __init__(self) -> None:
        super().__init__()
        self._round: Round | None = None
        self._rounds = 0
        self._asked_again = False
        self._grace: Grace
        self._baseline: money.Baseline | None = None
        self._rules: dict[str, ProductRules] = {}
        self._fees: FeeTier | None = None
        self._last_complete_utc_ns: int | None = None
        self._last_complete_boot_ns = 0
        self._ever_ok = False
        self._tripped: dict[BreakerName, bool] = {}
        self._watchdog = 0

    # --- starting --------------------------------------------------------------------------------------

    def restore(self) -> bool:
        self._grace = Grace(round(self.settings.reconciler.grace_s * NS_PER_S))
        self._baseline = self._read_baseline()
        return True

    def started(self) -> None:
        self._disk = self.worker("disk")
        self._watchdog = self._incarnation_of("watchdog")
        self.every("compare", self.settings.reconciler.interval_s, self._begin, first_s=0.0)

    def progress(self) -> dict[str, int]:
        return {"last_comparison": self._last_complete_boot_ns}

    def peers_changed(self) -> None:
        now = self._incarnation_of("watchdog")
        if now != self._watchdog:
            self._watchdog = now
            self._tripped.clear()  # a new watchdog is told again by the next comparison

    def _incarnation_of(self, name: str) -> int:
        peer = self.peers.get(name)
        return peer.incarnation if peer is not None else 0

    # --- one round -------------------------------------------------------------------------------------

    def on_reconcile_now(self, message: ReconcileNow, sender: object) -> None:
        if self._round is not None:
            self._asked_again = True  # what is under way may have read the venue before the question
        else:
            self._begin()

    def on_portfolio_snapshot(self, message: PortfolioSnapshot, sender: object) -> None:
        """The ledger is read for each comparison, in one transaction; a snapshot of another moment is not used."""

    def _begin(self) -> None:
        if self.settings.mode == "dry_run":
            self._report(ReconcileReport(True, True, (), "", self.clock.boot_ns(), 0, 0))
            return
        if self._round is not None:
            return
        self._rounds += 1
        kinds = ALWAYS + (TERMS if self._rounds % self.settings.reconciler.rules_every == 1 else ())
        self._round = Round(self._rounds, self._since_utc_ns(), self.clock.boot_ns(), kinds)
        self.after("deadline", self.settings.reconciler.deadline_s, self._late)
        ask = ReadLedger(self._round.request_id("ledger"), self._round.since_utc_ns, self.stamp)
        if not self.tell("tracker", ask):
            self._fail("no tracker")

    def _since_utc_ns(self) -> int:
        settings, now = self.settings.reconciler, self.clock.utc_ns()
        if self._last_complete_utc_ns is None:
            since = now - round(settings.first_window_s * NS_PER_S)
        else:
            since = min(now, self._last_complete_utc_ns) - round(settings.window_s * NS_PER_S)
        if self._baseline is not None:
            since = min(since, self._baseline.read_utc_ns - money.OVERLAP_NS)
        return max(since, now - _OLDEST_NS)

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
                self.settings.reconciler.deadline_s,
            )

    def _late(self) -> None:
        if self._round is not None:
            self._fail(
                f"no answer within {self.settings.reconciler.deadline_s:g} s: {', '.join(self._round.missing())}"
            )

    def _fail(self, error: str) -> None:
        self._end_round()
        self.log.warning("comparison_incomplete", error=error)
        self.meter.count("reconcile_total", result="incomplete")
        self._report(ReconcileReport(False, False, (), error, self.clock.boot_ns(), 0, 0))
        if not self._ever_ok:
            self.after("again", _RETRY_S, self._begin)

    def _end_round(self) -> None:
        self._round = None
        self.cancel_timer("deadline")
        if self._asked_again:
            self._asked_again = False
            self.after("again", 0.0, self._begin)

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
        settings = self.settings
        view = current.view()
        settle_s = max(settings.venue.visibility_delay_s, settings.reconciler.grace_s)
        me = Identity(settings.orders.family, settings.orders.instance, self.epoch)
        compared = compare(
            current.ledger,
            view,
            current.egress,
            me,
            settle_ns=round(settle_s * NS_PER_S),
            tolerance=settings.reconciler.balance_tolerance,
            after=current.after,
        )
        if current.after is None and any(found.kind in UNKNOWN_TO_LEDGER for found in compared.found):
            # Placed while the venue was read, most likely: only a ledger read after the venue can deny it.
            ask = ReadLedger(current.request_id("ledger-after"), current.since_utc_ns, self.stamp)
            if not self.tell("tracker", ask):
                self._fail("no tracker")
            return
        checked = self._check_money(current.ledger, view)
        found = (*compared.found, *checked.found, *self._compare_terms(current))
        judged = self._grace.judge(found, self.clock.boot_ns())
        self._conclude(current, compared, judged, checked)

    def _check_money(self, ledger: LedgerFacts, view: VenueView) -> money.MoneyCheck:
        instruments = self.settings.instruments
        prices = {position.base: position.average_cost for position in ledger.positions if position.average_cost > 0}
        prices.update({item.quote: Decimal(1) for item in instruments})
        currencies = dict.fromkeys(name for item in instruments for name in (item.base, item.quote))
        now = money.totals(view.balances, currencies)
        tolerance = self.settings.reconciler.balance_tolerance
        return money.check(self._baseline, now, view.fills, prices, view.asked_utc_ns, tolerance)

    def _compare_terms(self, current: Round) -> tuple[Found, ...]:
        if QueryKind.PRODUCTS not in current.answers:
            return ()
        rules, fees = current.answers[QueryKind.PRODUCTS].rules, current.answers[QueryKind.FEES].fees
        found = compare_terms(self._rules, rules, self._fees, fees)
        self._rules.update({rule.product_id: rule for rule in rules})
        self._fees = fees if fees is not None else self._fees
        return found

    def _conclude(self, current: Round, compared: Comparison, judged: Judged, checked: money.MoneyCheck) -> None:
        # The first verdict of a process clears nobody to trade while a difference is only too young to count.
        ok = not judged.counting and (self._ever_ok or not judged.pending)
        self._ever_ok = self._ever_ok or ok
        self._last_complete_utc_ns = self.clock.utc_ns()
        self._last_complete_boot_ns = self.clock.boot_ns()
        self._keep_baseline(checked, judged)
        self._end_round()
        if compared.evidence.orders or compared.evidence.fills:
            asked = min(answer.asked_boot_ns for answer in current.answers.values())
            self.tell(
                "tracker",
                type(compared.evidence)(compared.evidence.orders, compared.evidence.fills, asked),
            )
        self._announce(judged)
        self.meter.count("reconcile_total", result="ok" if ok else "different")
        self._report(
            ReconcileReport(
                True,
                ok,
                judged.differences(),
                "",
                self.clock.boot_ns(),
                compared.compared_orders,
                compared.compared_fills,
            )
        )
        if judged.pending or checked.baseline.rests or not self._ever_ok:
            self.after("again", self.settings.reconciler.grace_s + _SECOND_LOOK_S, self._begin)

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
                self.tell("alerts", Alert(Severity.PAGE, "reconciler.foreign_host", text, self.name))

    def _signal(self, breaker: BreakerName, counting: list[Found]) -> None:
        tripped = bool(counting)
        if self._tripped.get(breaker) is tripped and not tripped:
            return
        reason = "; ".join(f"{found.kind.value} {found.key}" for found in counting[:5]) or "ledger and venue agree"
        # An open cause is told at every comparison: a signal that was lost is made good by the next one.
        if self.tell("watchdog", BreakerSignal(breaker, "*", tripped, reason, self.name)):
            self._tripped[breaker] = tripped

    def _report(self, report: ReconcileReport) -> None:
        for name in ("watchdog", "tracker", "admin"):
            self.tell(name, report)

    # --- the baseline of balances ----------------------------------------------------------------------

    def _keep_baseline(self, checked: money.MoneyCheck, judged: Judged) -> None:
        changed = any(found.kind is DifferenceKind.BALANCE_CHANGE for found in judged.counting)
        if changed and "watchdog" in self.peers:
            # It is reported and latched there until an operator resumes; from here on the new amounts count.
            self._baseline = None
            return
        self._baseline = checked.baseline
        if not checked.baseline.rests:
            body, path = money.to_json(checked.baseline), self._baseline_file
            self._disk.submit(lambda: _replace(path, body), self._baseline_kept, self.settings.reconciler.deadline_s)

    def _baseline_kept(self, result: object, error: BaseException | None) -> None:
        if error is not None:
            self.log.warning("baseline_not_kept", error=str(error))

    @property
    def _baseline_file(self) -> Path:
        return self.settings.store_dir / BASELINE_FILE

    def _read_baseline(self) -> money.Baseline | None:
        try:
            return money.from_json(self._baseline_file.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            self.log.error("baseline_unreadable", error=str(error))
            return None


def _read_egress(path: Path) -> Egress:
    here = boot_id()
    created = [r for r in read_records(path).records if r.verb is Verb.CREATE and r.boot_id == here]
    return Egress(frozenset(r.client_order_id for r in created), {r.client_order_id: r.utc_ns for r in created})


def _replace(path: Path, body: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_bytes(body)
    fresh.replace(path)
