"""The strategist's mailbox: keeps the newest inputs, asks the strategy on a jittered clock, sends proposals."""

from __future__ import annotations

import random
from collections import deque

from actors.actor import TradingActor
from actors.clock import NS_PER_S
from actors.messages.books import PortfolioSnapshot, RoundTripClosed
from actors.messages.health import Alert, Lease, Severity
from actors.messages.market import Bar, GuardedQuote, Side
from actors.messages.orders import Proposal, Refusal, Role
from actors.strategist.api import Idea
from actors.strategist.cycle import NoTradeReason, next_interval, why_not
from actors.strategist.process import Decision, FaultKind, StrategyFaultError, StrategyProcess
from actors.strategist.view import make_view

DEADLINE_MARGIN_S = 3.0
"""The worker's own deadline lies behind the process's: starting, deciding, killing."""
QUOTE_MAX_AGE_S = 10.0
"""An older quote is not shown to the strategy; the risk manager's own limit is stricter."""


class StrategistActor(TradingActor):
    """Asks the user's strategy and passes its ideas on to the risk manager, to nobody else."""

    def restore(self) -> bool:
        self.lease: Lease | None = None
        self.snapshot: PortfolioSnapshot | None = None
        self.quotes: dict[str, GuardedQuote] = {}
        self.quote_seen_boot_ns: dict[str, int] = {}
        self.bars: dict[str, deque[Bar]] = {}
        self.refusals: dict[str, str] = {}
        self.cycle = 0
        self.busy = False
        self.last_decision_boot_ns = 0
        self.last_cycle_boot_ns = 0
        self.random = random.Random(f"{self.epoch}:{self.incarnation}:{self.clock.boot_ns()}")
        self.strategy = self.make_process()
        self.thread = self.worker("strategy")
        return True

    def make_process(self) -> StrategyProcess:
        """The process that the strategy lives in."""
        return StrategyProcess(
            self.settings.strategist,
            self.settings.store_dir / "strategy.log",
            live=self.settings.mode == "live",
        )

    def started(self) -> None:
        self._schedule()

    def progress(self) -> dict[str, int]:
        return {"cycle_count": self.cycle, "cycle": self.last_cycle_boot_ns, "decision": self.last_decision_boot_ns}

    def on_stop(self, reason: str, deadline_s: float) -> None:
        self.strategy.strike()
        self.leave(0)

    # --- inputs ----------------------------------------------------------------------------------------

    def on_guarded_quote(self, message: GuardedQuote, sender: object) -> None:
        known = self.quotes.get(message.symbol)
        if known is not None and message.guard_incarnation < known.guard_incarnation:
            return
        self.quotes[message.symbol] = message
        self.quote_seen_boot_ns[message.symbol] = self.clock.boot_ns()

    def on_bar(self, message: Bar, sender: object) -> None:
        history = self.bars.setdefault(message.symbol, deque(maxlen=self.settings.strategist.history_bars))
        if not history or message.start_utc_ns > history[-1].start_utc_ns:
            history.append(message)

    def on_lease(self, message: Lease, sender: object) -> None:
        if message.epoch != self.epoch:
            return
        if self.lease is None or message.issued_boot_ns > self.lease.issued_boot_ns:
            self.lease = message

    def on_portfolio_snapshot(self, message: PortfolioSnapshot, sender: object) -> None:
        known = self.snapshot
        if message.epoch != self.epoch:
            return
        if known is None or (message.tracker_incarnation, message.sequence) > (
            known.tracker_incarnation,
            known.sequence,
        ):
            self.snapshot = message

    def on_refusal(self, message: Refusal, sender: object) -> None:
        self.refusals[message.symbol] = message.code

    def on_round_trip_closed(self, message: RoundTripClosed, sender: object) -> None:
        self.log.info(
            "round_trip",
            symbol=message.symbol,
            realized=str(message.realized),
            reason=message.exit_reason,
            correlation_id=message.correlation_id,
        )

    # --- the decision cycle ----------------------------------------------------------------------------

    def _schedule(self) -> None:
        settings = self.settings.strategist
        self.after("cycle", next_interval(settings.cycle_s, settings.jitter, self.random), self._decide)

    def _decide(self) -> None:
        self._schedule()
        now = self.clock.boot_ns()
        if self.last_cycle_boot_ns:
            self.meter.observe("decision_interval_s", (now - self.last_cycle_boot_ns) / NS_PER_S)
        self.cycle, self.last_cycle_boot_ns = self.cycle + 1, now
        reason = NoTradeReason.BUSY if self.busy else self._why_not(now)
        if reason is not None or self.lease is None or self.snapshot is None:
            self._no_trade(reason or NoTradeReason.NO_SNAPSHOT)
            return
        quotes = self._recent_quotes(now)
        view = make_view(
            now_utc_ns=self.clock.utc_ns(),
            cycle=self.cycle,
            lease=self.lease,
            snapshot=self.snapshot,
            instruments=self.settings.instruments,
            quotes=quotes,
            bars=self.bars,
            refusals=self.refusals,
            capital=self.settings.capital,
        )
        self.refusals = {}
        self.busy = True
        limits = self.settings.strategist
        cycle = self.cycle
        self.thread.submit(
            lambda: self.strategy.decide(view),
            lambda result, error: self._decided(cycle, quotes, result, error),
            limits.start_timeout_s + limits.decide_timeout_s + DEADLINE_MARGIN_S,
        )

    def _why_not(self, now: int) -> NoTradeReason | None:
        if "risk" not in self.peers:
            return NoTradeReason.NO_RISK
        age_s = (now - self.lease.issued_boot_ns) / NS_PER_S if self.lease else 0.0
        limit_s = self.settings.risk.lease_max_age_s
        return why_not(self.lease, age_s, limit_s, self.snapshot, len(self._recent_quotes(now)))

    def _recent_quotes(self, now: int) -> dict[str, GuardedQuote]:
        oldest = now - round(QUOTE_MAX_AGE_S * NS_PER_S)
        return {
            symbol: guarded
            for symbol, guarded in self.quotes.items()
            if guarded.quote is not None and guarded.quote.as_of_boot_ns >= oldest
        }

    def _no_trade(self, reason: NoTradeReason) -> None:
        self.meter.count("no_trade_total", reason=reason.value)
        self.log.debug("no_trade", reason=reason.value, cycle=self.cycle)

    def _decided(
        self, cycle: int, quotes: dict[str, GuardedQuote], result: object, error: BaseException | None
    ) -> None:
        self.busy = False
        if error is not None:
            self._failed(error)
            return
        assert isinstance(result, Decision)
        self.last_decision_boot_ns = self.clock.boot_ns()
        self.meter.count("decisions_total")
        self.meter.observe("decision_cycle_ms", result.took_s * 1000)
        if not result.ideas:
            self._no_trade(NoTradeReason.NO_IDEAS)
            return
        self._propose(cycle, quotes, result.ideas)

    def _failed(self, error: BaseException) -> None:
        """The strategy failed: no proposal in this cycle, a fresh process in the next."""
        if isinstance(error, StrategyFaultError):
            kind, detail = error.kind, error.detail
        elif isinstance(error, TimeoutError):
            kind, detail = FaultKind.OVERRUN, str(error)
            self.strategy.strike()
            self.strategy = self.make_process()
        else:
            raise error  # a fault of our own, not of the strategy
        self.meter.count("strategy_errors_total", kind=kind.value)
        self._no_trade(NoTradeReason(f"strategy_{kind.value}"))
        self.log.warning("strategy_failed", kind=kind.value, detail=detail)
        text = f"The strategy {self.settings.strategist.strategy} failed ({kind.value}): {detail}"
        self.tell("alerts", Alert(Severity.WARNING, f"strategy:{kind.value}", text, self.name))

    # --- proposals -------------------------------------------------------------------------------------

    def _propose(self, cycle: int, quotes: dict[str, GuardedQuote], ideas: tuple[Idea, ...]) -> None:
        limit = self.settings.strategist.max_proposals
        if len(ideas) > limit:
            self.log.warning("ideas_dropped", count=len(ideas) - limit, limit=limit)
        told = 0
        for number, idea in enumerate(ideas[:limit]):
            proposal = self._proposal(f"p-{self.epoch}-{self.incarnation}-{cycle}-{number}", quotes, idea)
            if proposal is None:
                self.log.warning("idea_without_quote", symbol=idea.symbol)
            elif self.tell("risk", proposal):
                told += 1
                self.meter.count("proposals_total", symbol=idea.symbol, side=idea.side.value)
        if not told:
            self._no_trade(NoTradeReason.STALE_IDEAS)

    def _proposal(self, proposal_id: str, quotes: dict[str, GuardedQuote], idea: Idea) -> Proposal | None:
        data_product = next((i.data_product for i in self.settings.instruments if i.symbol == idea.symbol), None)
        guarded = quotes.get(data_product) if data_product else None
        if guarded is None or guarded.quote is None or data_product is None:
            return None
        correlation = f"{guarded.correlation_id}.{proposal_id}" if guarded.correlation_id else proposal_id
        return Proposal(
            proposal_id=proposal_id,
            correlation_id=correlation,
            strategy=self.settings.strategist.strategy,
            symbol=idea.symbol,
            side=idea.side,
            role=Role.ENTRY if idea.side is Side.BUY else Role.EXIT,
            notional=idea.notional,
            base_size=idea.base_size,
            limit_price=idea.limit,
            stop_price=idea.stop,
            target_price=idea.target,
            max_hold_s=idea.max_hold_s,
            expected_edge_bps=idea.expected_edge_bps,
            reason=idea.reason,
            quote=guarded.quote,
            decided_boot_ns=self.clock.boot_ns(),
            tick_boot_ns=guarded.quote.as_of_boot_ns,
            stamp=self.stamp,
        )
