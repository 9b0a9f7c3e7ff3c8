"""The outer ring's own page: for what nobody in the tree can tell, since alerts are down or the tree is gone.

It goes into the outbox that the alerts actor delivers from, and to the webhook at once, in a process of its own: a
page that the webhook does not take now is delivered by the next alerts actor. One taken by both has one id.
"""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

from actors.alerts.actor import STORE_NAME
from actors.alerts.outbox import Outbox
from actors.alerts.webhook import DeliveryError, body_of, deliver
from actors.clock import NS_PER_S, SystemClock
from actors.log import Log
from actors.messages.health import Alert, Heartbeat, Severity
from config.settings import Settings
from supervision.transport_actors import fork_process

TRY_S = 15.0
"""How long one page is tried at the webhook before it is left to the outbox."""


class Pager:
    """Main thread only. ``pids``: the processes that deliver; they are children of this process."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._pidfds: dict[int, int] = {}
        self._alerts_are_down = False

    def page(self, settings: Settings, key: str, text: str) -> None:
        """Write it to the log and deliver it. Never raises and never waits."""
        self._log.critical("PAGE", key=key, text=text)
        alert = Alert(Severity.PAGE, key, text, "run")
        try:
            pid = fork_process(lambda: _deliver(settings, self._log, alert), lambda: None)
            self._pidfds[pid] = os.pidfd_open(pid)
        except OSError as error:
            self._log.error("page_not_sent", key=key, error=str(error))

    def hear(self, settings: Settings, beat: Heartbeat) -> None:
        """A beat of the root: it says when the alerts actor was last in its place. Pages once per outage."""
        seen = dict(beat.progress).get("alerts")
        if seen is None:
            return
        down_s = (beat.sent_boot_ns - seen) / NS_PER_S
        was_down, self._alerts_are_down = self._alerts_are_down, down_s > settings.watchdog.alerts_down_s
        if self._alerts_are_down and not was_down:
            text = f"alerts are down for {down_s:.0f} s: no new entries until they are back"
            self.page(settings, "alerts_down", text)

    @property
    def pids(self) -> set[int]:
        """Those that still run."""
        for pid, pidfd in list(self._pidfds.items()):
            if select.select([pidfd], [], [], 0)[0]:
                os.close(pidfd)
                del self._pidfds[pid]
        return set(self._pidfds)

    def finish(self) -> None:
        """The process ends: let what is under way be delivered, TRY_S at most."""
        deadline = time.monotonic() + TRY_S + 1
        while self.pids and (left := deadline - time.monotonic()) > 0:
            select.select(list(self._pidfds.values()), [], [], left)


def _deliver(settings: Settings, log: Log, alert: Alert) -> int:
    options, clock = settings.alerts, SystemClock()
    outbox = Outbox(settings.store_dir / STORE_NAME, options.keep)
    outbox.open(clock.utc_ns())
    outbox.add(alert, at_utc_ns=clock.utc_ns(), repeated=0, deliver=bool(options.webhook_file))
    if outbox.trouble:
        log.error("page_outbox", trouble=outbox.trouble)
    deadline, pause_s = time.monotonic() + TRY_S, options.retry_first_s
    while options.webhook_file and (entry := outbox.next()) is not None and time.monotonic() < deadline:
        try:
            body = body_of(entry, mode=settings.mode, build=settings.build)
            deliver(Path(options.webhook_file), entry, body, options.webhook_timeout_s)
            outbox.delivered(entry.uid)
        except DeliveryError as error:
            outbox.failed(entry.uid)
            log.error("page_not_delivered", key=entry.alert.key, error=str(error), again_in_s=pause_s)
            time.sleep(min(pause_s, max(0.0, deadline - time.monotonic())))
            pause_s *= 2
    outbox.close()
    return 0
