"""The outer ring's own page: once per outage, at the webhook at once, else in the outbox for the next alerts actor."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from actors.alerts.outbox import Outbox
from actors.clock import NS_PER_S
from actors.log import Log
from actors.messages.health import Heartbeat
from commands.pager import Pager
from config.sections.alerts import AlertSettings
from config.settings import InstrumentSettings, Settings
from tests.supervision.factories import beat


def settings(folder: Path, webhook: Path | None = None) -> Settings:
    alerts = AlertSettings(webhook_file=str(webhook) if webhook else None, retry_first_s=60.0)
    return Settings(data_dir=folder, instruments=(InstrumentSettings(symbol="BTC-USD"),), alerts=alerts)


def root_beat(at_s: float, alerts_s: float) -> Heartbeat:
    return beat("root", round(at_s * NS_PER_S), progress=(("alerts", round(alerts_s * NS_PER_S)),))


def test_one_page_per_outage_of_the_alerts(tmp_path: Path) -> None:
    paged: list[str] = []
    pager = Pager(Log("run", "demo"))
    pager.page = lambda _settings, key, _text: paged.append(key)  # type: ignore[method-assign]
    for at_s, alerts_s in ((10, 10), (69, 10), (71, 10), (80, 10), (81, 81), (150, 81)):
        pager.hear(settings(tmp_path), root_beat(at_s, alerts_s))
    assert paged == ["alerts_down", "alerts_down"], "at 71 and, after it was back, at 150"


def test_a_page_that_nobody_takes_now_waits_in_the_outbox_for_the_next_alerts_actor(tmp_path: Path) -> None:
    made = settings(tmp_path, tmp_path / "no such file")
    outbox = Outbox(made.store_dir / "alerts.db", 10)
    outbox.open(1)
    outbox.close()  # as the alerts actor left it; no connection may be open across the fork
    pager = Pager(Log("run", "demo"))
    pager.page(made, "daemon_ended", "it ends")
    deadline = time.monotonic() + 10
    while not outbox.waiting() and time.monotonic() < deadline:
        outbox = Outbox(made.store_dir / "alerts.db", 10)
        outbox.open(1)
        outbox.close()
    (pid,) = pager.pids
    entry = outbox.next()
    assert entry is not None and entry.alert.key == "daemon_ended" and entry.alert.by == "run"
    os.kill(pid, signal.SIGKILL)
    pager.finish()
    os.waitpid(pid, 0)
    assert not pager.pids
