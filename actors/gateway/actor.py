"""GatewayActor: the mailbox of the one door to the exchange.

It sends each order at most once, says what is known about it until the tracker took it, and reads the venue
for everybody. Decisions are in the modules beside it; threads only run ``Door.call``.
"""

from __future__ import annotations

from actors.gateway.changes import ChangeDesk
from actors.gateway.reading import ReadDesk
from actors.gateway.submits import SubmitDesk
from actors.messages.health import Lease
from actors.messages.venue import GatewayReport


class GatewayActor(SubmitDesk, ChangeDesk, ReadDesk):
    """Cancels, orders and reads on threads of their own; one request budget; outcomes repeated until taken."""

    def started(self) -> None:
        settings = self.settings.gateway
        self.every("report", 1.0, self._tick)
        self.every("repeat", settings.outcome_repeat_s, self._repeat_outcomes)
        self.every("clock", settings.clock_interval_s, self._check_clock, first_s=0.0)
        if not self._dry_run:
            self.every("warm", settings.idle_max_s / 2, self._dispatcher.warm, first_s=0.0)
        if self._with_key:
            self.after("key", 0.0, self._check_key)
        else:
            self._key_checked = True

    def progress(self) -> dict[str, int]:
        return {"last_answer": self._last_answer_ns, "submits_count": self._submits}

    def peers_changed(self) -> None:
        for name, peer in self.peers.items():
            known = self._known_peers.get(name)
            if known is not None and peer.incarnation > known:
                if name == "tracker":
                    self._on_new_tracker(peer.incarnation)
                elif name == "watchdog":
                    self._signal(self._health.standing())
                    self._signal_key()
        self._known_peers.update({name: peer.incarnation for name, peer in self.peers.items()})

    def _on_new_tracker(self, incarnation: int) -> None:
        """Commands of the old one that are not on the wire end here; what it did not take is told again."""
        self._dispatcher.drop(
            lambda job: job.commander_incarnation is not None and job.commander_incarnation < incarnation,
            "tracker_restarted",
        )
        self._repeat_outcomes()

    def on_lease(self, message: Lease, sender: object) -> None:
        if self._lease is None or message.issued_boot_ns >= self._lease.issued_boot_ns:
            self._lease = message

    def _tick(self) -> None:
        now = self.clock.boot_ns()
        self._dispatcher.sweep()
        self._dispatcher.pump()
        self._signal(self._health.tick(now))
        second, hour = self._budget.left(now)
        report = GatewayReport(
            queued=self._dispatcher.queued(),
            in_flight=self._dispatcher.in_flight(),
            abandoned=self._dispatcher.abandoned,
            egress_count=self._egress.count,
            clock_offset_ms=self._clock.offset_ms if self._clock is not None else None,
            clock_error_ms=self._clock.error_ms if self._clock is not None else None,
            budget_second=second,
            budget_hour=hour,
            key_checked=self._key_checked,
            can_trade=self._can_trade,
        )
        for name in ("admin", "watchdog", "metrics"):
            self.tell(name, report)
