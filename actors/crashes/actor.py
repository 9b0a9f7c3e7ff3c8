"""The crash reporter: sends what dying actors left on disk, in its own time."""

from __future__ import annotations

from actors.actor import TradingActor
from actors.crashes.folder import CrashFolder, Round
from actors.messages.health import CrashFiled

SOON_S = 0.2
"""After a death its record is looked for at once; several deaths together share the look."""


class CrashReporterActor(TradingActor):
    """Records wait on disk through every failure and restart; without a DSN they stay there and are named."""

    def restore(self) -> bool:
        self._folder = CrashFolder(self.settings, self.clock.boot_ns)
        self._busy = False
        self._asked_again = False
        self._failures = 0
        self._uploaded = 0
        self._waiting = -1
        self._last_round_boot_ns = 0
        return True

    def started(self) -> None:
        self._uploads = self.worker("upload")
        self.after("look", SOON_S, self._look)

    def progress(self) -> dict[str, int]:
        return {
            "uploaded_count": self._uploaded,
            "waiting_count": max(0, self._waiting),
            "last_look": self._last_round_boot_ns,
        }

    def on_crash_filed(self, message: CrashFiled, sender: object) -> None:
        if self._busy:
            self._asked_again = True
        elif self._failures == 0:
            self.after("look", SOON_S, self._look)
        # While the server fails, the back-off decides when to look again.

    def _look(self) -> None:
        if self._busy:
            return
        self._busy = True
        folder = self._folder
        self._uploads.submit(folder.run, self._looked, 4 * self.settings.sentry.timeout_s + 30)

    def _looked(self, result: object, error: BaseException | None) -> None:
        self._busy = False
        self._last_round_boot_ns = self.clock.boot_ns()
        if not isinstance(result, Round):
            # The worker may still be inside: what it uses is its own, the next look starts afresh.
            self._folder = CrashFolder(self.settings, self.clock.boot_ns)
            result = Round(error=f"{type(error).__name__}: {error}", waiting=max(0, self._waiting))
        self._count(result)
        options = self.settings.sentry
        if result.error:
            self._failures += 1
            pause_s = min(options.upload_interval_s * 2 ** min(self._failures, 30), options.retry_max_s)
            pause_s = max(pause_s, min(result.retry_after_s or 0.0, options.retry_max_s))
            self.log.warning("crash_upload_failed", error=result.error, waiting=result.waiting, again_in_s=pause_s)
        else:
            self._failures = 0
            pause_s = SOON_S if self._asked_again else options.upload_interval_s
        self._asked_again = False
        self.after("look", pause_s, self._look)

    def _count(self, result: Round) -> None:
        for name in ("uploaded", "rejected", "dropped"):
            number = getattr(result, name)
            if number:
                self.meter.count("crash_reports_total", number, result=name)
        if result.error:
            self.meter.count("crash_reports_total", result="failed")
        self.meter.gauge("crash_records_waiting", result.waiting)
        self._uploaded += result.uploaded
        if result.dropped:
            self.log.error("crash_records_dropped", number=result.dropped, keep=self.settings.sentry.keep)
        if result.uploaded or result.rejected:
            self.log.info("crash_records", uploaded=result.uploaded, rejected=result.rejected, waiting=result.waiting)
        if not result.configured and result.waiting > max(0, self._waiting):
            self.log.warning(
                "crash_records_kept", waiting=result.waiting, folder=str(self.settings.crash_dir), why="no Sentry DSN"
            )
        self._waiting = result.waiting
