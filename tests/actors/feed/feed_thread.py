"""The feed's thread against a simulator process, without actors."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from actors.clock import SystemClock
from actors.feed.client import FeedClient
from actors.feed.outbox import Batch, ConnectionNote, Outbox
from actors.messages.market import MarketUpdate, PublicTrade, UserOrderEvent
from actors.ports import start_thread
from config.settings import Settings, make_settings
from simulator.testing import SimulatorProcess


class FeedThread:
    """Runs a FeedClient and collects what it hands over. ``feed`` keys overrule the defaults."""

    def __init__(self, simulator: SimulatorProcess, data_dir: Path, user: bool = False, **feed: object) -> None:
        venue = {"ws": simulator.ws, "ws_user": simulator.ws_user, "ca_file": simulator.ca_file}
        if user:
            venue["key_file"] = simulator.key_file
        sections: dict[str, object] = {
            "instruments": [{"symbol": "BTC-USD"}, {"symbol": "ETH-USD"}],
            "venue": venue,
            "feed": {"backoff_first_s": 0.05, "silence_s": 1.5, "snapshot_timeout_s": 3.0, **feed},
        }
        self.start(make_settings(sections, source="test", data_dir=data_dir))

    def start(self, settings: Settings) -> None:
        self.settings = settings
        self.outbox = Outbox(lambda: None)
        self.client = FeedClient(self.settings, SystemClock(), self.outbox, 1_000_000)
        self.latest: dict[str, MarketUpdate] = {}
        self.trades: dict[str, list[PublicTrade]] = {"BTC-USD": [], "ETH-USD": []}
        self.fresh_changes: list[tuple[str, bool]] = []
        self.notes: list[ConnectionNote] = []
        self.orders: list[UserOrderEvent] = []
        self.error: BaseException | None = None
        self._done = threading.Event()
        start_thread("feed-under-test", self._run)

    def _run(self) -> None:
        try:
            self.client.run()
        except BaseException as error:
            self.error = error

    def __enter__(self) -> FeedThread:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop()

    def collect(self) -> Batch:
        batch = self.outbox.take()
        for update in batch.updates.values():
            before = self.latest.get(update.symbol)
            if before is None or before.fresh != update.fresh:
                self.fresh_changes.append((update.symbol, update.fresh))
            self.latest[update.symbol] = update
            self.trades.setdefault(update.symbol, []).extend(update.trades)
        self.notes.extend(batch.notes)
        for item in batch.user:
            if isinstance(item, ConnectionNote):
                self.notes.append(item)
            else:
                self.orders.append(item)
        return batch

    def until(self, condition: Callable[[], bool], seconds: float = 15.0) -> None:
        """Collect until the condition holds; fails with what is known."""
        deadline = time.monotonic() + seconds
        while True:
            self.collect()
            if condition():
                return
            if self.error is not None:
                raise AssertionError(f"the thread ended: {self.error!r}") from self.error
            if time.monotonic() > deadline:
                raise AssertionError(f"not in {seconds} s: {self.outbox.connections} {self.notes[-5:]}")
            time.sleep(0.005)

    def all_fresh(self) -> bool:
        return len(self.latest) == 2 and all(update.fresh for update in self.latest.values())

    def reasons(self, connection: str = "market") -> list[str]:
        return [note.reason for note in self.notes if note.connection == connection and note.state == "waiting"]
