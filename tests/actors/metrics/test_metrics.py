"""The page: what is reported is what is scraped."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request
from decimal import Decimal
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from actors.instruments import Meter
from actors.messages.books import ExposureLine, PnlBooks, PortfolioSnapshot, Position, RiskReport
from actors.messages.control import ControlReport
from actors.messages.health import (
    BreakerName,
    BreakerState,
    BreakerStatus,
    ChildState,
    ChildStatus,
    HandlerTimes,
    Heartbeat,
    Lease,
    MetricsAt,
    MetricsReport,
    TradingState,
    TreeReport,
)
from actors.messages.market import ConnectionHealth, FeedHealth, SymbolHealth
from actors.messages.orders import PipelineTiming, Protection, Role
from actors.messages.venue import GatewayReport
from actors.metrics.actor import MetricsActor
from actors.metrics.book import MetricsBook
from actors.metrics.catalogue import CATALOGUE
from tests.actors.harness import ActorHarness, test_settings

D = Decimal
MS = 1_000_000


class Page:
    def __init__(self, folder: Path, **sections: object) -> None:
        self.harness = ActorHarness(
            MetricsActor, settings=test_settings(folder, **sections), peers=("admin",), name="metrics"
        ).start()
        self.harness.run_workers()

    @property
    def url(self) -> str:
        return [one for one in self.harness.sent["admin"] if isinstance(one, MetricsAt)][-1].url

    def read(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        with urllib.request.urlopen(self.url, timeout=5) as answer:
            text = answer.read().decode()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.read().get((name, frozenset(labels.items())))

    def close(self) -> None:
        server = self.harness.actor._server
        if server is not None:
            server.shutdown()
            server.server_close()


@pytest.fixture
def page(tmp_path: Path):  # type: ignore[no-untyped-def]
    made = Page(tmp_path)
    yield made
    made.close()


def report(fill, name: str = "guard.BTC-USD", incarnation: int = 1) -> MetricsReport:  # type: ignore[no-untyped-def]
    meter = Meter()
    fill(meter)
    made = meter.take(name, incarnation)
    assert made is not None
    return made


def test_deltas_add_up_over_restarts_of_the_actor(page: Page) -> None:
    for incarnation in (1, 2, 3):
        page.harness.deliver(
            report(
                lambda m: m.count("ticks_refused_total", 2, symbol="BTC-USD", reason="stale"), incarnation=incarnation
            )
        )
    assert page.value("td_ticks_refused_total", symbol="BTC-USD", reason="stale") == 6


def test_milliseconds_are_shown_as_seconds_in_a_histogram(page: Page) -> None:
    page.harness.deliver(report(lambda m: m.observe("rest_latency_ms", 30.0, endpoint="orders")))
    assert page.value("td_rest_latency_seconds_sum", endpoint="orders") == pytest.approx(0.03)
    assert page.value("td_rest_latency_seconds_bucket", endpoint="orders", le="0.02") == 0
    assert page.value("td_rest_latency_seconds_bucket", endpoint="orders", le="0.05") == 1


@pytest.mark.parametrize(
    "fill",
    [
        lambda m: m.count("made_up_total"),
        lambda m: m.count("bars_total"),
        lambda m: m.count("bars_total", symbol="BTC-USD", colour="red"),
        lambda m: m.observe("bars_total", 1.0, symbol="BTC-USD"),
        lambda m: m.count("bars_total", -1.0, symbol="BTC-USD"),
        lambda m: m.observe("risk_latency_ms", float("nan")),
    ],
)
def test_what_the_catalogue_does_not_hold_is_counted_and_complained_of_once(fill) -> None:  # type: ignore[no-untyped-def]
    registry = CollectorRegistry()
    book = MetricsBook(registry)
    bad = report(fill)
    assert len(book.take(bad)) == 1
    assert book.take(bad) == ()
    name = next(key[0] for entries in (bad.counters, bad.gauges, bad.observations) for key in entries)
    assert registry.get_sample_value("td_unknown_metrics_total", {"name": name}) == 2


def test_labels_without_end_do_not_grow_the_process() -> None:
    registry = CollectorRegistry()
    book = MetricsBook(registry)
    book.take(report(lambda m: [m.count("refusals_total", code=f"code-{n}") for n in range(2100)]))
    assert registry.get_sample_value("td_unknown_metrics_total", {"name": "refusals_total"}) == 100


def test_a_stray_metric_spoils_nothing_beside_it(page: Page) -> None:
    page.harness.deliver(report(lambda m: [m.count("made_up_total"), m.count("bars_total", symbol="BTC-USD")]))
    assert page.value("td_bars_total", symbol="BTC-USD") == 1


def test_every_station_of_an_order_counts_once_and_unreached_ones_not_at_all(page: Page) -> None:
    first = PipelineTiming("td-a-1-e-1", Role.ENTRY, 10 * MS, 12 * MS, 17 * MS, 20 * MS, 50 * MS)
    page.harness.deliver(first)
    page.harness.deliver(PipelineTiming("td-a-1-e-1", Role.ENTRY, 10 * MS, 12 * MS, 17 * MS, 20 * MS, 50 * MS, 90 * MS))
    page.harness.deliver(PipelineTiming("td-a-1-p-2", Role.PROTECTION, 0, 0, 5 * MS, 9 * MS))
    found = page.read()

    def of(part: str, stage: str) -> float | None:
        return found.get((f"td_pipeline_seconds_{part}", frozenset({("stage", stage)})))

    assert [of("count", stage) for stage in ("approval", "persisted", "wire", "ack", "fill")] == [1, 1, 2, 1, 1]
    assert of("sum", "fill") == pytest.approx(0.04)
    assert of("sum", "wire") == pytest.approx(0.003 + 0.004)


def lease(page: Page, state: TradingState, per_symbol: tuple = ()) -> Lease:  # type: ignore[type-arg]
    return Lease(1, 1, 1, page.harness.clock.boot_ns(), state, ("why",), per_symbol)


def test_the_trading_state_is_one_hot_and_the_lease_ages_at_the_scrape(page: Page) -> None:
    page.harness.deliver(lease(page, TradingState.RUN, (("ETH-USD", TradingState.HALTED, "guard lost"),)))
    page.harness.clock.advance(1.5)
    found = page.read()
    states = {state: found["td_trading_state", frozenset({("state", state)})] for state in TradingState}
    assert states == {"RUN": 1, "REDUCE_ONLY": 0, "HALTED": 0, "KILLED": 0}
    assert found["td_symbol_trading_state", frozenset({("symbol", "ETH-USD"), ("state", "HALTED")})] == 1
    assert found["td_lease_age_seconds", frozenset()] == pytest.approx(1.5)


def test_an_older_lease_does_not_replace_a_newer_one(page: Page) -> None:
    old = lease(page, TradingState.RUN)
    page.harness.clock.advance(1)
    page.harness.deliver(lease(page, TradingState.KILLED))
    page.harness.deliver(ControlReport(old, (), TradingState.RUN, "", False))
    assert page.value("td_trading_state", state="KILLED") == 1


def test_breakers_actors_feed_and_gateway_are_shown(page: Page) -> None:
    status = BreakerStatus(BreakerName.CLOCK, "*", BreakerState.HALF_OPEN, "off", 0, 3, False)
    page.harness.deliver(ControlReport(lease(page, TradingState.RUN), (status,), TradingState.RUN, "", True, ("risk",)))
    now = page.harness.clock.boot_ns()
    handlers = (HandlerTimes("Approval", 4, 1.0, 2.0, 3.0),)
    beat = Heartbeat("risk", 2, 77, 1, now, 0.25, 0, 250.0, 0.5, 4.0, 0.1, 7, 8, 1 << 20, 9, "running", (), handlers)
    child = ChildStatus("risk", "trading", "worker", 77, 2, 1, ChildState.RUNNING, "", 0, beat)
    page.harness.deliver(TreeReport("trading", 1, (child,)))
    connection = ConnectionHealth("market", 1, "live", 55, 0, 0, "", now, 0)
    page.harness.deliver(FeedHealth((connection,), (SymbolHealth("BTC-USD", True, now, 1, 1, 0),), 1))
    page.harness.deliver(GatewayReport(1, 2, 3, 4, 12.0, None, 20.0, 9000, True, True))
    page.harness.clock.advance(2)
    for name, labels, value in (
        ("td_breaker_state", {"breaker": "clock", "scope": "*", "state": "half_open"}, 1),
        ("td_breaker_state", {"breaker": "clock", "scope": "*", "state": "open"}, 0),
        ("td_kill_latched", {}, 1),
        ("td_waiting_parts", {}, 1),
        ("td_actor_restarts_total", {"actor": "risk"}, 1),
        ("td_actor_mailbox_lag_seconds", {"actor": "risk"}, 0.25),
        ("td_actor_handler_seconds", {"actor": "risk", "quantile": "0.99"}, 0.004),
        ("td_actor_message_handler_seconds", {"actor": "risk", "message": "Approval", "quantile": "0.99"}, 0.002),
        ("td_actor_queue_depth", {"actor": "risk", "direction": "in"}, 7),
        ("td_actor_memory_bytes", {"actor": "risk"}, 1 << 20),
        ("td_actor_beat_age_seconds", {"actor": "risk"}, 2),
        ("td_feed_frame_age_seconds", {"connection": "market"}, 2),
        ("td_feed_heartbeat_age_seconds", {"connection": "market"}, None),
        ("td_symbol_fresh", {"symbol": "BTC-USD"}, 1),
        ("td_clock_offset_seconds", {}, 0.012),
        ("td_clock_error_seconds", {}, None),
        ("td_gateway_abandoned_total", {}, 3),
        ("td_report_age_seconds", {"report": "TreeReport"}, 2),
    ):
        assert page.value(name, **labels) == (pytest.approx(value) if value is not None else None), name


def test_money_is_shown_and_what_is_unknown_has_no_sample(page: Page) -> None:
    position = Position("BTC-USD", "BTC", D("0.5"), D(100), D(0), D(0), Protection.NAKED, 0, None, None, None)
    states = (("FILLED", "entry", 3), ("CANCELLED", "entry", 1), ("OPEN", "entry", 7))
    books = PnlBooks(D("-1.25"), D(2), D(3), D("0.5"), 0, 0)
    page.harness.deliver(PortfolioSnapshot(1, 1, True, (), (position,), books, (), states, (), 0, 1))
    line = ExposureLine("BTC-USD", D(50), D(10))
    page.harness.deliver(
        RiskReport((line,), (line,), None, D(0), None, D(1000), None, None, D(1), None, (), None, ("fees",))
    )
    for name, labels, value in (
        ("td_orders", {"state": "OPEN", "role": "entry"}, 7),
        ("td_order_fill_ratio", {"role": "entry"}, 0.75),
        ("td_realized_pnl", {"period": "total"}, -1.25),
        ("td_position_protection", {"symbol": "BTC-USD", "state": "NAKED"}, 1),
        ("td_symbol_exposure", {"symbol": "BTC-USD", "part": "pending"}, 10),
        ("td_total_exposure", {}, None),
        ("td_equity", {}, 1000),
        ("td_loss", {"period": "week"}, None),
        ("td_risk_input_unavailable", {"input": "fees"}, 1),
    ):
        assert page.value(name, **labels) == value, name


def test_the_build_says_simulated_outside_live(page: Page) -> None:
    labels = next(dict(key[1]) for key in page.read() if key[0] == "td_build_info")
    assert (labels["mode"], labels["simulated"]) == ("demo", "true")
    assert labels["config_hash"]


def test_names_follow_the_conventions_of_prometheus(page: Page) -> None:
    for name, _ in page.read():
        assert re.fullmatch(r"td_[a-z0-9_]+", name), name
        assert not re.search(r"_(ms|s|milliseconds)(_|$)", name), name
    assert all(metric.text.endswith(".") for metric in CATALOGUE.values())


def test_only_metrics_is_served_and_only_here(page: Page) -> None:
    assert page.url.startswith("http://127.0.0.1:")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(page.url.replace("/metrics", "/"), timeout=5)
    assert caught.value.code == 404


def test_a_restarted_actor_takes_the_same_port_again_and_another_when_it_is_taken(tmp_path: Path) -> None:
    first = Page(tmp_path)
    url = first.url
    first.close()
    second = Page(tmp_path)
    assert second.url == url
    third = Page(tmp_path)
    assert third.url != url
    second.close()
    third.close()


def test_a_fixed_port_that_is_taken_is_tried_again(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        page = Page(tmp_path, metrics={"port": port})
        assert not page.harness.sent["admin"]
    page.harness.advance(1.0)
    page.harness.run_workers()
    assert page.url == f"http://127.0.0.1:{port}/metrics"
    page.close()


def test_the_address_is_repeated_for_a_new_admin(page: Page) -> None:
    page.harness.take("admin")
    page.harness.restart_peer("admin")
    assert page.harness.take("admin", MetricsAt)
    page.harness.advance(5.0)
    assert page.harness.take("admin", MetricsAt)
