"""The alerts actor: one log line per alert, a durable outbox, a webhook that never holds anything up."""

from __future__ import annotations

from pathlib import Path

from actors.actor import TradingActor
from actors.alerts.dedupe import Deduper, rank
from actors.alerts.outbox import Outbox
from actors.alerts.webhook import body_of, deliver
from actors.messages.health import Alert, Severity

STORE_NAME = "alerts.db"


class AlertsActor(TradingActor):
    """An alert is stored before anything is tried with it; a failed delivery is tried again for ever."""

    def restore(self) -> bool:
        options = self.settings.alerts
        self._outbox = Outbox(self.settings.store_dir / STORE_NAME, options.keep)
        self._outbox.open(self.clock.utc_ns())
        self._deduper = Deduper(options.dedupe_s)
        for key, severity, at_utc_ns in self._outbox.recent():
            self._deduper.remember(key, severity, at_utc_ns)
        self._in_flight = ""
        self._retry_s = options.retry_first_s
        self._waits_to_retry = False
        self._delivered = 0
        self._last_delivery_boot_ns = 0
        self._complain()
        return True

    def started(self) -> None:
        self._posts = self.worker("webhook")
        self.every("gauge", 1.0, self._gauge)
        self._deliver_next()

    def progress(self) -> dict[str, int]:
        return {
            "delivered_count": self._delivered,
            "undelivered_count": self._outbox.waiting(),
            "last_delivery": self._last_delivery_boot_ns,
        }

    def on_stop(self, reason: str, deadline_s: float) -> None:
        """What is not delivered by now is after the next start."""
        self._outbox.close()
        self.leave(0)

    def on_alert(self, alert: Alert, sender: object) -> None:
        now = self.clock.utc_ns()
        repeated = self._deduper.admit(alert.key, alert.severity, now)
        if repeated is None:
            self.log.debug("alert_repeated", key=alert.key, severity=alert.severity)
            return
        options = self.settings.alerts
        urgent = rank(alert.severity) >= rank(Severity(options.webhook_min_severity))
        self._outbox.add(alert, at_utc_ns=now, repeated=repeated, deliver=bool(options.webhook_file) and urgent)
        self._write_line(alert, repeated)
        self.meter.count("alerts_total", severity=alert.severity)
        self._complain()
        self._deliver_next()

    def _write_line(self, alert: Alert, repeated: int) -> None:
        write = {
            Severity.INFO: self.log.info,
            Severity.WARNING: self.log.warning,
            Severity.CRITICAL: self.log.error,
            Severity.PAGE: self.log.critical,
        }[alert.severity]
        write(
            "ALERT",
            severity=alert.severity.upper(),
            text=alert.text,
            key=alert.key,
            by=alert.by,
            correlation_id=alert.correlation_id,
            repeated=repeated or "",
        )

    def _complain(self) -> None:
        if self._outbox.trouble:
            self.log.error("alert_outbox", trouble=self._outbox.trouble)

    def _gauge(self) -> None:
        self.meter.gauge("alerts_undelivered", self._outbox.waiting())

    def _deliver_next(self) -> None:
        webhook_file = self.settings.alerts.webhook_file
        if self._in_flight or self._waits_to_retry or not webhook_file:
            return
        entry = self._outbox.next()
        if entry is None:
            return
        self._in_flight = uid = entry.uid
        timeout_s = self.settings.alerts.webhook_timeout_s
        body = body_of(entry, mode=self.settings.mode, build=self.settings.build)
        self._posts.submit(
            lambda: deliver(Path(webhook_file), entry, body, timeout_s),
            lambda _, error: self._answered(uid, error),
            3 * timeout_s + 1,
        )

    def _answered(self, uid: str, error: BaseException | None) -> None:
        self._in_flight = ""
        self.meter.count("alert_deliveries_total", result="failed" if error else "delivered")
        if error is None:
            self._outbox.delivered(uid)
            self._delivered += 1
            self._last_delivery_boot_ns = self.clock.boot_ns()
            self._retry_s = self.settings.alerts.retry_first_s
            self._deliver_next()
            return
        self._outbox.failed(uid)
        text = f"{type(error).__name__}: {error}"
        self.log.error("alert_not_delivered", error=text, waiting=self._outbox.waiting(), again_in_s=self._retry_s)
        self._waits_to_retry = True
        self.after("retry", self._retry_s, self._retry)
        self._retry_s = min(self._retry_s * 2, self.settings.alerts.retry_max_s)

    def _retry(self) -> None:
        self._waits_to_retry = False
        self._deliver_next()
