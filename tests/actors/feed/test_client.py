"""The feed's thread against the simulator as a process: real TLS, real frames, real faults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.feed.book import plain
from actors.feed.client import KeyFileError, make_jwt, tls_context
from actors.messages.market import Level
from simulator.testing import SimulatorProcess
from tests.actors.feed.feed_thread import FeedThread
from tests.actors.feed.frames import EXPECTED, RECORDING

needs_recording = pytest.mark.skipif(not RECORDING.exists(), reason=f"{RECORDING} is not here")


@pytest.fixture(scope="module")
def running() -> Iterator[SimulatorProcess]:
    with SimulatorProcess("synthetic:7") as process:
        yield process


@pytest.fixture
def simulator(running: SimulatorProcess) -> Iterator[SimulatorProcess]:
    yield running
    running.clear_faults()


def _texts(levels: tuple[Level, ...]) -> list[list[str]]:
    return [[plain(price), plain(size)] for price, size in levels]


@needs_recording
@pytest.mark.parametrize("speed", ["@max", "@8", pytest.param("@1", marks=pytest.mark.drill)])
def test_a_recorded_market_ends_in_the_books_trades_and_tickers_it_had(speed: str, tmp_path: Path) -> None:
    expected = json.loads(EXPECTED.read_text())["expected"]
    with SimulatorProcess(f"replay:{RECORDING}{speed}") as simulator, FeedThread(simulator, tmp_path) as feed:
        states = feed.client.assembly.states
        wanted = {product: book["messages"] for product, book in expected["book"].items()}
        feed.until(lambda: {p: state.book_messages for p, state in states.items()} == wanted, 60)
        last = {product: int(sums["last_trade_id"]) for product, sums in expected["trades"].items()}
        feed.until(lambda: all(feed.trades[p] and feed.trades[p][-1].trade_id == n for p, n in last.items()))
        feed.until(feed.all_fresh)
        for product, state in states.items():
            book, sums = expected["book"][product], expected["trades"][product]
            assert state.book.sha256() == book["sha256"]
            assert state.book.sizes() == (book["bid_levels"], book["offer_levels"])
            assert len(feed.trades[product]) == sums["snapshot"] + sums["update"]
            assert state.trade_holes == 0
            assert state.ticker is not None and plain(state.ticker.price) == expected["last_ticker"][product]["price"]
            feed.until(lambda p=product, b=book: _texts(feed.latest[p].bids[:5]) == b["top5_bids"])
            feed.until(lambda p=product, b=book: _texts(feed.latest[p].asks[:5]) == b["top5_offers"])
        assert feed.client.market.gaps == 0 and feed.client.market.reconnects == 0


@pytest.mark.parametrize(
    ("fault", "params", "reason"),
    [
        ("drop_frame", {"match": {"channel": "l2_data"}}, "gap"),
        ("swap_frames", {"match": {"channel": "l2_data"}}, "gap"),
        ("garble_frame", {"match": {"channel": "l2_data"}}, "garbled"),
        ("stall", {"seconds": 2.5}, ("silence", "no_heartbeat")),  # the last heartbeat may be a second older
        ("close", {"code": 1000}, "closed"),
        ("close", {"code": 1006}, "closed"),
    ],
)
def test_a_fault_leaves_no_book_until_a_new_snapshot_came(
    fault: str, params: dict[str, object], reason: str | tuple[str, str], simulator: SimulatorProcess, tmp_path: Path
) -> None:
    with FeedThread(simulator, tmp_path) as feed:
        feed.until(feed.all_fresh)
        feed.fresh_changes.clear()
        first_epoch = feed.latest["BTC-USD"].connection_epoch
        simulator.fault(fault, **params)
        feed.until(lambda: len(feed.fresh_changes) >= 2)
        assert set(feed.fresh_changes[:2]) == {("BTC-USD", False), ("ETH-USD", False)}
        feed.until(feed.all_fresh)
        assert feed.reasons()[0].startswith(reason)
        assert feed.latest["BTC-USD"].connection_epoch > first_epoch
        for trades in feed.trades.values():  # nothing lost, nothing twice: the snapshot filled the hole
            ids = [trade.trade_id for trade in trades]
            assert ids == list(range(ids[0], ids[0] + len(ids)))


def test_a_duplicated_frame_is_ignored_without_a_new_connection(simulator: SimulatorProcess, tmp_path: Path) -> None:
    with FeedThread(simulator, tmp_path) as feed:
        feed.until(feed.all_fresh)
        simulator.fault("duplicate_frame", match={"channel": "l2_data"})
        feed.until(lambda: feed.client.market.duplicates == 1)
        assert feed.client.market.reconnects == 0


def test_a_snapshot_of_eleven_megabytes_fits(simulator: SimulatorProcess, tmp_path: Path) -> None:
    simulator.fault("huge_snapshot", match={"symbol": "BTC-USD"})
    with FeedThread(simulator, tmp_path) as feed:
        feed.until(feed.all_fresh)
        assert feed.client.market.reconnects == 0


def test_a_snapshot_above_the_limit_backs_off_and_does_not_spin(simulator: SimulatorProcess, tmp_path: Path) -> None:
    simulator.fault("huge_snapshot", match={"symbol": "BTC-USD"})
    with FeedThread(simulator, tmp_path, max_frame_bytes=6 * 1024 * 1024, backoff_first_s=0.5) as feed:
        feed.until(lambda: len(feed.reasons()) >= 2)
        assert all("1009" in reason or "too big" in reason for reason in feed.reasons()), feed.reasons()
        assert len(feed.reasons()) <= 3
        assert not any(update.fresh for update in feed.latest.values() if update.symbol == "BTC-USD")


def test_an_authentication_failure_keeps_the_market_going(simulator: SimulatorProcess, tmp_path: Path) -> None:
    simulator.fault("error_on_subscribe", message="authentication failure", match={"channel": "user"})
    with FeedThread(simulator, tmp_path, user=True) as feed:
        feed.until(lambda: any("authentication failure" in reason for reason in feed.reasons("user")))
        feed.until(feed.all_fresh)
        feed.until(lambda: feed.client.user.state == "live")  # the fault strikes once
        assert feed.client.market.reconnects == 0


def test_a_server_with_another_authority_is_never_talked_to(simulator: SimulatorProcess, tmp_path: Path) -> None:
    with FeedThread(simulator, tmp_path) as feed:
        pass
    settings = feed.settings
    stranger = settings.model_copy(update={"venue": settings.venue.model_copy(update={"ca_file": None})})
    feed = FeedThread.__new__(FeedThread)
    FeedThread.start(feed, stranger)
    with feed:
        feed.until(lambda: bool(feed.reasons()))
        assert "CERTIFICATE_VERIFY_FAILED" in feed.reasons()[0]
        assert not any(update.fresh for update in feed.latest.values())


def test_only_this_host_is_spoken_to_without_tls() -> None:
    assert tls_context("ws://127.0.0.1:1", None) is None
    with pytest.raises(ValueError, match="must be wss"):
        tls_context("ws://advanced-trade-ws.coinbase.com", None)


def test_a_key_that_cannot_be_used_is_named_and_never_quoted(tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    with pytest.raises(KeyFileError, match="no key can be read"):
        make_jwt(file)
    file.write_text('{"name": "n", "privateKey": "SECRETSECRET"}')
    with pytest.raises(KeyFileError) as caught:
        make_jwt(file)
    assert "SECRET" not in str(caught.value)


def test_without_a_product_that_the_venue_does_not_have_the_others_come_up(
    simulator: SimulatorProcess, tmp_path: Path
) -> None:
    with FeedThread(simulator, tmp_path, snapshot_timeout_s=0.5) as known:
        pass
    wrong = known.settings.instruments[0].model_copy(update={"symbol": "NOPE-USD", "data": None})
    feed = FeedThread.__new__(FeedThread)
    FeedThread.start(feed, known.settings.model_copy(update={"instruments": (*known.settings.instruments, wrong)}))
    with feed:
        feed.until(lambda: any("venue_error" in note.reason for note in feed.notes))
        feed.until(lambda: bool(feed.reasons()))
        assert not any(update.fresh for update in feed.latest.values())
        feed.client.leave_out(frozenset({"NOPE-USD"}))
        feed.until(lambda: all(s in feed.latest and feed.latest[s].fresh for s in ("BTC-USD", "ETH-USD")))
        assert not feed.latest["NOPE-USD"].fresh
