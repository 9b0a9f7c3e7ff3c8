"""The metrics actor: one registry, fed by everybody's reports, shown on 127.0.0.1."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from actors.actor import TradingActor
from actors.messages.books import PortfolioSnapshot, RiskReport
from actors.messages.control import ControlReport
from actors.messages.health import Heartbeat, Lease, MetricsAt, MetricsReport, TreeReport
from actors.messages.market import FeedHealth
from actors.messages.orders import PipelineTiming
from actors.messages.venue import GatewayReport
from actors.metrics.book import MetricsBook
from actors.metrics.page import PageServer, open_page, url_of
from actors.metrics.state import StateCollector
from actors.ports import start_thread

PORT_MEMORY = "metrics.port"
OPEN_DEADLINE_S = 5.0


class MetricsActor(TradingActor):
    """Takes reports, answers scrapes; nothing of trading waits for it."""

    def restore(self) -> bool:
        self._registry = CollectorRegistry()
        self._book = MetricsBook(self._registry)
        self._state = StateCollector(self.settings, self.clock)
        self._registry.register(self._state)
        self._server: PageServer | None = None
        self._reports = 0
        return True

    def started(self) -> None:
        self._pages = self.worker("page")
        self._open()
        self.every("announce", 5.0, self._announce)

    def progress(self) -> dict[str, int]:
        return {"reports_count": self._reports, "page_count": int(self._server is not None)}

    def peers_changed(self) -> None:
        self._announce()

    def on_stop(self, reason: str, deadline_s: float) -> None:
        self.leave(0)  # the socket closes with the process

    def _open(self) -> None:
        memory = self.settings.store_dir / PORT_MEMORY
        port, registry = self.settings.metrics.port, self._registry
        self._pages.submit(lambda: open_page(registry, port, memory), self._opened, OPEN_DEADLINE_S)

    def _opened(self, result: object, error: BaseException | None) -> None:
        if not isinstance(result, PageServer):
            # A fixed port may still be held by the one before us.
            self.log.error("metrics_page_not_open", error=str(error))
            self.after("open again", 1.0, self._open)
            return
        self._server = result
        start_thread(f"{self.name}:page", result.serve_forever)
        self.log.info("metrics_page", url=url_of(result))
        self._announce()

    def _announce(self) -> None:
        if self._server is not None and "admin" in self.peers:
            self.tell("admin", MetricsAt(url_of(self._server)))

    def on_metrics_report(self, message: MetricsReport, sender: object) -> None:
        self._reports += 1
        for complaint in self._book.take(message):
            self.log.warning("metric_not_counted", of=message.name, why=complaint)

    def on_pipeline_timing(self, message: PipelineTiming, sender: object) -> None:
        self._book.observe_pipeline(message)

    def on_heartbeat(self, message: Heartbeat, sender: object) -> None:
        """Beats come inside the tree's reports; a direct one adds nothing."""

    def on_tree_report(self, message: TreeReport, sender: object) -> None:
        self._state.trees[message.supervisor] = message
        self._took(message)

    def on_feed_health(self, message: FeedHealth, sender: object) -> None:
        self._state.feed = message
        self._took(message)

    def on_control_report(self, message: ControlReport, sender: object) -> None:
        self._state.control = message
        self._take_lease(message.lease)
        self._took(message)

    def on_lease(self, message: Lease, sender: object) -> None:
        self._take_lease(message)
        self._took(message)

    def _take_lease(self, lease: Lease) -> None:
        known = self._state.lease
        if known is None or lease.issued_boot_ns >= known.issued_boot_ns:
            self._state.lease = lease

    def on_portfolio_snapshot(self, message: PortfolioSnapshot, sender: object) -> None:
        self._state.portfolio = message
        self._took(message)

    def on_risk_report(self, message: RiskReport, sender: object) -> None:
        self._state.risk = message
        self._took(message)

    def on_gateway_report(self, message: GatewayReport, sender: object) -> None:
        self._state.gateway = message
        self._took(message)

    def _took(self, message: object) -> None:
        self._state.taken_boot_ns[type(message).__name__] = self.clock.boot_ns()
