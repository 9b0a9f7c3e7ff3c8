"""The watchdog: heartbeats in, breakers and the lease out.

Permission to trade is a lease that it renews every 250 ms; when it dies, trading stops by itself. It judges and
trips, it never kills: only a parent may.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from actors.actor import TradingActor
from actors.clock import NS_PER_S
from actors.messages.books import PortfolioSnapshot
from actors.messages.control import ControlReport, OperatorCommand, OperatorVerb, StateChanged
from actors.messages.health import (
    Alert,
    BreakerName,
    BreakerSignal,
    BreakerState,
    HangSuspected,
    Heartbeat,
    Lease,
    PartLost,
    Severity,
    TradingState,
    TreeReport,
)
from actors.messages.market import FeedHealth, ProductsRead
from actors.messages.reconcile import OpenFlow, ReconcileNow, ReconcileReport
from actors.messages.venue import GatewayReport, QueryKind, VenueAnswer, VenueQuery
from supervision.breakers import EVERYTHING, BreakerBoard, Moment, Timing, Transition
from supervision.disk_watch import DiskWatch, look_at_disk
from supervision.heartbeat import HeartbeatJudge, Level, Verdict, lateness_ms
from supervision.lease import (
    RESTORING_PARTS,
    Finding,
    Permission,
    breaker_findings,
    decide,
    lateness_scopes,
)
from supervision.operator_desk import OperatorDesk, RefusedError
from supervision.parts import PartsBook
from supervision.venue_watch import Cause, VenueWatch

SAVE_S = 0.02
"""A venue that loses its feed trips two breakers per symbol at once: one commit for all of them."""
RENEW_S = 0.005
START_S = 15.0
CONNECTING = frozenset({BreakerName.BOOK_GAP, BreakerName.QUOTE_STALE, BreakerName.USER_CHANNEL})
"""At a start of the daemon these are open until the feed has connected: no fault, so no hold and no alert."""
LEASED = ("risk", "tracker", "gateway", "strategist", "admin", "metrics")
GO_BY_RULES = ("risk", "tracker")
_URGENCY = {
    TradingState.RUN: Severity.INFO,
    TradingState.REDUCE_ONLY: Severity.WARNING,
    TradingState.HALTED: Severity.CRITICAL,
    TradingState.KILLED: Severity.PAGE,
}


class WatchdogActor(TradingActor):
    """Args: ``halt_reason`` (text, optional): why this start of the daemon must not trade until a resume.
    ``restart_reason`` (text, optional): why the outer ring had to start the whole tree anew."""

    def restore(self) -> bool:
        watchdog = self.settings.watchdog
        self._now = Moment(self.clock.boot_ns(), self.clock.utc_ns())
        self._started_boot_ns = self._now.boot_ns
        self._judge = HeartbeatJudge(watchdog)
        self._board = BreakerBoard(Timing(watchdog.half_open_s, watchdog.hold_max_s, watchdog.probe_s))
        self._parts = PartsBook(self.settings)
        self._venue = VenueWatch(self.settings)
        look = partial(look_at_disk, self.settings.store_dir, watchdog.disk_free_bytes)
        self._disk = DiskWatch(self.worker("disk"), look, watchdog.disk_deadline_s, self._take_disk)
        self._desk = OperatorDesk(self.settings, self.epoch, self._board)
        self._levels: dict[str, Level] = {}
        self._alerts_seen_boot_ns = self._now.boot_ns
        self._snapshot_ready = False
        self._held: tuple[str, ...] = ()
        self._reconciled_boot_ns: int | None = None
        self._flows: tuple[OpenFlow, ...] | None = ()
        self._recheck_boot_ns: int | None = None
        self._recheck_for = ""
        self._asked: dict[str, tuple[str, ...]] = {}
        self._sequence = 0
        self._released = False
        self._due_boot_ns = self._now.boot_ns
        self._unsaved: tuple[Transition, ...] = ()
        self._permission = Permission(TradingState.HALTED, ("starting",), ())
        self._desk.open(self._now, str(self.args.get("halt_reason", "")))
        if self._desk.corrupt:
            self._alert(Severity.PAGE, "control_store", f"control store: {self._desk.corrupt}; HALTED until a resume")
        return True

    def started(self) -> None:
        interval_s = self.settings.watchdog.lease_interval_s
        self._due_boot_ns = self.clock.boot_ns()
        why = str(self.args.get("restart_reason", ""))
        if why and self.incarnation == 1:
            self._alert(Severity.PAGE, "tree_restarted", f"the whole tree was started anew: {why}")
        self.every("lease", interval_s, self._tick, first_s=0.0)
        self.every("report", 1.0, self._report)
        self.every("modes", self.settings.watchdog.product_mode_s, self._ask_modes, first_s=0.2)
        self.every("disk", self.settings.watchdog.disk_interval_s, self._disk.start, first_s=0.0)
        self.every("recheck", 5.0, self._ask_reconcile, first_s=1.0)

    def progress(self) -> dict[str, int]:
        return {"lease": self._now.boot_ns}

    def on_stop(self, reason: str, deadline_s: float) -> None:
        self._desk.stopping = reason or "stop"
        self._save()
        self._renew(force=True)
        self._desk.close()
        self.leave(0)

    # --- the tick ----------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self._at()
        late = lateness_ms(now.boot_ns, self._due_boot_ns)
        self._due_boot_ns = now.boot_ns + round(self.settings.watchdog.lease_interval_s * NS_PER_S)
        if late > self.settings.watchdog.own_lateness_ms:
            # The host stalled or was suspended: whoever looks late now may have been late for our reason.
            self._judge.pause(now.boot_ns)
            self._alerts_seen_boot_ns = now.boot_ns
            self.log.warning("own_tick_late", late_ms=round(late))
        else:
            for verdict in self._judge.judge(now.boot_ns):
                self._apply_verdict(verdict)
        self._desk.look_at_latch(now)
        self._apply_causes((*self._venue.judge_feed(now.boot_ns), *self._venue.judge_unread(now.boot_ns)))
        self._moved(self._board.tick(now))
        self._settle_start()
        self._renew(force=True)

    def _is_starting(self) -> bool:
        """The daemon started just now (a restarted watchdog is no start: it finds a market that flows)."""
        return self.incarnation == 1 and self._now.boot_ns - self._started_boot_ns < START_S * NS_PER_S

    def _settle_start(self) -> None:
        if self._is_starting():
            self._moved(self._board.settle(CONNECTING, self._now))

    def _at(self) -> Moment:
        self._now = Moment(self.clock.boot_ns(), self.clock.utc_ns())
        return self._now

    def _apply_verdict(self, verdict: Verdict) -> None:
        if self._desk.stopping:
            return  # parts leave on purpose
        before = self._levels.get(verdict.name, Level.FINE)
        self._levels[verdict.name] = verdict.level
        if verdict.level > before:
            self.log.warning("actor_late", actor=verdict.name, level=verdict.level.name, reason=verdict.reason)
        scopes = lateness_scopes(verdict.name, self._parts.guarded)
        if not scopes and verdict.level is Level.TRIP and before is not Level.TRIP:
            self._alert(Severity.WARNING, f"late:{verdict.name}", f"{verdict.name} is late: {verdict.reason}")
        source = f"watchdog:{verdict.name}"
        for scope in scopes:
            reason = f"{verdict.name}: {verdict.reason}" if verdict.tripped else ""
            self._apply_causes([Cause(BreakerName.ACTOR_LATENCY, scope, reason)], source)

    def _apply_causes(self, causes: Iterable[Cause], by: str = "watchdog") -> None:
        for one in causes:
            if one.reason:
                self._moved(
                    self._board.trip(one.breaker, one.scope, reason=one.reason, by=by, now=self._now, effect=one.effect)
                )
            else:
                self._board.clear(one.breaker, one.scope, by=by, now=self._now)

    def _moved(self, moved: tuple[Transition, ...]) -> None:
        """Make transitions durable: latched ones now, a storm of self-healing ones in one commit."""
        self._unsaved += moved
        if any(one.latched for one in moved) or not moved:
            self._save()
        elif "save" not in self._timers:
            self.after("save", SAVE_S, self._save)

    def _save(self) -> None:
        """Persist first; then the log, the count, the alert."""
        moved, self._unsaved = self._unsaved, ()
        had_error = bool(self._desk.error)
        self._desk.save(moved, self._now)
        if self._desk.error and not had_error:
            self._alert(Severity.PAGE, "control_store", f"control store: {self._desk.error}; HALTED")
            self._renew_soon()
        for one in moved:
            opened = one.after is BreakerState.OPEN
            if one.breaker in CONNECTING and self._is_starting():
                self.log.debug("breaker", breaker=one.breaker, scope=one.scope, state=one.after, reason=one.reason)
                continue
            text = f"breaker {one.breaker} [{one.scope}] {one.before} -> {one.after}: {one.reason} (by {one.by})"
            self.log.warning("breaker", breaker=one.breaker, scope=one.scope, state=one.after, reason=one.reason)
            if opened:
                self.meter.count("breaker_trips_total", breaker=one.breaker)
            if opened or one.after is BreakerState.CLOSED:
                severity = Severity.INFO if not opened else Severity.PAGE if one.latched else Severity.WARNING
                self._alert(severity, f"breaker:{one.breaker}:{one.scope}:{one.after}", text)

    # --- permission --------------------------------------------------------------------------------------

    def _waiting(self) -> tuple[str, ...]:
        waiting = list(self._parts.waiting())
        if not self._snapshot_ready:
            waiting.append("tracker snapshot")
        if self._reconciled_boot_ns is None:
            waiting.append("reconciliation")
        if self._venue.modes_read_boot_ns is None:
            waiting.append("product modes")
        return tuple(waiting)

    def _findings(self) -> list[Finding]:
        found = self._desk.findings() + self._parts.findings() + breaker_findings(self._board.active())
        waiting = self._waiting()
        if waiting:
            found.append(Finding(EVERYTHING, TradingState.HALTED, f"waiting for {', '.join(waiting)}"))
        if self._recheck_boot_ns is not None:
            text = f"reconciliation after the restart of {self._recheck_for}"
            found.append(Finding(EVERYTHING, TradingState.REDUCE_ONLY, text))
        if self._flows is None:
            text = "the reconciler cannot read which balance changes are unexplained"
            found.append(Finding(EVERYTHING, TradingState.REDUCE_ONLY, text))
        elif self._flows:
            text = f"unexplained flow {'; '.join(flow.text for flow in self._flows)}: run.py flows accept --reason"
            found.append(Finding(EVERYTHING, TradingState.REDUCE_ONLY, text))
        limits, boot_ns = self.settings.watchdog, self._now.boot_ns
        if self._reconciled_boot_ns is not None:
            age_s = (boot_ns - self._reconciled_boot_ns) / NS_PER_S
            if age_s > limits.reconcile_overdue_s:
                text = f"no complete reconciliation for {age_s:.0f} s"
                found.append(Finding(EVERYTHING, TradingState.REDUCE_ONLY, text))
        if (boot_ns - self._alerts_seen_boot_ns) / NS_PER_S > limits.alerts_down_s:
            found.append(Finding(EVERYTHING, TradingState.REDUCE_ONLY, "alerts are down: nobody would be told"))
        return found

    def _renew(self, *, force: bool = False) -> None:
        """Decide anew; send the lease when it is due (``force``) or says something else now."""
        self._at()
        permission = decide(self._findings())
        before = self._permission
        if not force and permission == before:
            return
        self._permission = permission
        self._sequence += 1
        lease = self._lease()
        for name in LEASED:
            if name in self.peers:
                self.tell(name, lease)
        if (permission.state, permission.per_symbol) != (before.state, before.per_symbol):
            self._report()
            self._announce(before, permission)

    def _renew_soon(self) -> None:
        """One lease for a storm of signals."""
        if "renew" not in self._timers:
            self.after("renew", RENEW_S, self._renew)

    def _lease(self) -> Lease:
        now = self._permission
        return Lease(
            epoch=self.epoch,
            watchdog_incarnation=self.incarnation,
            sequence=self._sequence,
            issued_boot_ns=self._now.boot_ns,
            state=now.state,
            reasons=now.reasons,
            per_symbol=now.per_symbol,
            released_by=self._desk.released_by,
        )

    def _announce(self, before: Permission, after: Permission) -> None:
        symbols = "; ".join(f"{symbol} {state}: {why}" for symbol, state, why in after.per_symbol)
        told = {"reasons": "; ".join(after.reasons), "symbols": symbols}
        self.log.info("trading_state", state=after.state, before=before.state, **{k: v for k, v in told.items() if v})
        if before.state is after.state:
            return
        starting = not self._released and after.state in (TradingState.RUN, TradingState.HALTED)
        self._released = self._released or after.state is TradingState.RUN
        if not starting:
            text = f"trading {before.state} -> {after.state}: {'; '.join(after.reasons) or 'nothing stops it'}"
            self._alert(_URGENCY[after.state], f"trading_state:{after.state}", text)

    def _report(self) -> None:
        report = ControlReport(
            lease=self._lease(),
            breakers=tuple(row.status for row in self._board.rows.values()),
            operator_state=self._desk.standing.state,
            operator_reason=self._desk.standing.reason,
            latched=self._desk.latched,
            waiting_for=self._waiting(),
            missing_parts=self._parts.waiting(),
        )
        for name in ("admin", "metrics"):
            if name in self.peers:
                self.tell(name, report)

    def _alert(self, severity: Severity, key: str, text: str) -> None:
        self.log.warning("alert", severity=severity, text=text)
        self.tell("alerts", Alert(severity=severity, key=key, text=text, by=self.name))

    # --- life of the parts -------------------------------------------------------------------------------

    def on_heartbeat(self, beat: Heartbeat, sender: object) -> None:
        if beat.name == self.name:
            return
        now = self._at()
        known = self._judge.beats().get(beat.name)
        back = self._parts.beat(beat)
        if beat.name in self._parts.lost or not self._judge.note(beat, now.boot_ns):
            return  # a dead incarnation's last word
        if beat.name == "alerts":
            self._alerts_seen_boot_ns = now.boot_ns
        replaced = known is not None and (known.incarnation, known.pid) != (beat.incarnation, beat.pid)
        if replaced:
            self._forget_part(beat.name)
        if (back or replaced) and beat.name in RESTORING_PARTS:
            self._recheck_boot_ns, self._recheck_for = now.boot_ns, beat.name
            self._ask_reconcile()
        if back or replaced:
            self._renew()

    def on_part_lost(self, lost: PartLost, sender: object) -> None:
        now = self._at()
        known = self._judge.beats().get(lost.name)
        if known is not None and known.incarnation > lost.incarnation and not lost.gave_up:
            return  # its successor beats already
        self._parts.lose(lost.name, lost.reason, gave_up=lost.gave_up, now_boot_ns=now.boot_ns)
        self._judge.forget(lost.name)
        self._levels.pop(lost.name, None)
        self._forget_part(lost.name)
        self._renew()
        if not self._desk.stopping:
            self._tell_of_loss(lost.name, lost.reason, gave_up=lost.gave_up)

    def _forget_part(self, name: str) -> None:
        """What a dead part said about itself and others no longer holds."""
        for source in (name, f"watchdog:{name}"):
            self._board.source_restarted(source, self._now)
        if name == "tracker":
            self._snapshot_ready = False
        if name == "feed":
            self._venue.forget_feed()

    def _tell_of_loss(self, name: str, reason: str, *, gave_up: bool) -> None:
        if gave_up:
            self._alert(Severity.PAGE, f"gave_up:{name}", f"{name} was given up: {reason}")
        else:
            self._alert(Severity.WARNING, f"lost:{name}", f"{name} died and is restarted: {reason}")

    def on_hang_suspected(self, hang: HangSuspected, sender: object) -> None:
        self._parts.suspect(hang.name, self._at().boot_ns)
        self._renew()
        self.log.warning("hang_suspected", actor=hang.name, silent_s=hang.silent_s, kill_in_s=hang.kill_in_s)

    def on_tree_report(self, report: TreeReport, sender: object) -> None:
        for name in self._parts.take_tree(report, self._at().boot_ns):
            self._judge.forget(name)
            self._forget_part(name)
            self._tell_of_loss(name, "reported by its supervisor", gave_up=True)
        self._renew()

    # --- breakers ----------------------------------------------------------------------------------------

    def on_breaker_signal(self, signal: BreakerSignal, sender: object) -> None:
        self._at()
        cause = Cause(signal.breaker, signal.scope, (signal.reason or "tripped") if signal.tripped else "")
        self._apply_causes([cause], signal.by)
        self._renew_soon()

    def on_feed_health(self, health: FeedHealth, sender: object) -> None:
        now = self._at()
        self._venue.take_feed(health, now.boot_ns)
        self._apply_causes(self._venue.judge_feed(now.boot_ns))
        self._renew_soon()

    def on_gateway_report(self, report: GatewayReport, sender: object) -> None:
        self._at()
        self._apply_causes(self._venue.judge_gateway(report))
        self._renew()

    def on_portfolio_snapshot(self, snapshot: PortfolioSnapshot, sender: object) -> None:
        if snapshot.epoch != self.epoch:
            return
        self._snapshot_ready = snapshot.ready and "tracker" not in self._parts.lost
        self._held = tuple(position.symbol for position in snapshot.positions if position.quantity)
        self._renew()

    def on_reconcile_report(self, report: ReconcileReport, sender: object) -> None:
        self._at()
        self._flows = report.flows
        if not report.complete:
            self.log.warning("reconcile_incomplete", error=report.error)
            self._renew()
            return
        if report.ok:
            self._reconciled_boot_ns = report.finished_boot_ns
            if self._recheck_boot_ns is not None and report.finished_boot_ns > self._recheck_boot_ns:
                self._recheck_boot_ns = None
        else:
            # What is only young yet proves nothing; it clears nobody either.
            grave = [one for one in report.differences if one.beyond_tolerance]
            if grave:
                text = ", ".join(f"{one.kind} {one.key}" for one in grave[:5])
                self._apply_causes([Cause(BreakerName.RECONCILE, EVERYTHING, text)], "reconciler")
        self._renew()

    def _ask_reconcile(self) -> None:
        if (self._reconciled_boot_ns is None or self._recheck_boot_ns is not None) and "reconciler" in self.peers:
            self.tell("reconciler", ReconcileNow(f"watchdog-{self.incarnation}-{self._now.boot_ns}"))

    def _ask_modes(self) -> None:
        if self._venue.modes_read_boot_ns is None:
            self.after("first modes", 1.0, self._ask_modes)
        if "gateway" not in self.peers:
            return
        symbols = tuple(dict.fromkeys((*self.settings.symbols, *self._held)))
        request_id = f"modes-{self.incarnation}-{self._at().boot_ns}"
        self._asked[request_id] = symbols
        while len(self._asked) > 10:
            del self._asked[next(iter(self._asked))]
        self.tell("gateway", VenueQuery(request_id, QueryKind.PRODUCTS, self.stamp, products=symbols))

    def on_venue_answer(self, answer: VenueAnswer, sender: object) -> None:
        asked = self._asked.pop(answer.request_id, None)
        if asked is None or answer.kind is not QueryKind.PRODUCTS:
            return
        now = self._at()
        if not answer.ok:
            self.log.warning("product_modes_not_read", error=answer.error)
            return
        for name in GO_BY_RULES:  # before the lease that may follow from it
            if name in self.peers:
                self.tell(name, ProductsRead(answer.rules, answer.asked_boot_ns))
        self._apply_causes(self._venue.judge_modes(asked, answer.rules, now.boot_ns))
        self._renew()

    def _take_disk(self, reason: str) -> None:
        self._at()
        self._apply_causes([Cause(BreakerName.DISK, EVERYTHING, reason)])
        self._renew()

    # --- operators ---------------------------------------------------------------------------------------

    def on_operator_command(self, command: OperatorCommand, sender: object) -> None:
        """Durable first, then the lease, then the answer."""
        now = self._at()
        refusal = ""
        moved: tuple[Transition, ...] = ()
        again = self._desk.has_done(command)
        try:
            moved = () if again else self._desk.carry_out(command, now)
        except RefusedError as error:
            refusal = str(error)
        self._renew(force=True)
        lease = self._permission
        answer = StateChanged(command.request_id, not refusal, lease.state, lease.reasons, refusal)
        if not self.tell("admin", answer):
            self.reply(sender, answer)
        if again:
            return
        self._moved(moved)
        self.log.warning("operator", verb=command.verb, by=command.operator, reason=command.reason, refusal=refusal)
        if not refusal and command.verb in (OperatorVerb.KILL, OperatorVerb.RELEASE, OperatorVerb.RESUME):
            text = f"{command.verb} by {command.operator}: {command.reason}; trading is {lease.state}"
            self._alert(Severity.CRITICAL, f"operator:{command.request_id}", text)
