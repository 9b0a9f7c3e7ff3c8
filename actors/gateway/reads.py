"""Runs the venue's reads: one request after another until a query is answered or its time is up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from actors.clock import Clock
from actors.gateway.dispatch import Dispatcher, Job, LaneKind
from actors.gateway.queries import Findings, ReadError, Reading
from actors.gateway.wire import WireCall, WireResult


@dataclass(slots=True, eq=False)
class ReadRun:
    """One query under way. ``deliver`` gets the findings, or None and why not, exactly once."""

    clock: Clock
    dispatcher: Dispatcher
    priority: int
    expires_boot_ns: int
    deliver: Callable[[ReadRun, Findings | None, str], None]
    asked_boot_ns: int
    asked_utc_ns: int
    _touched: bool = False

    def begin(self, reading: Reading) -> None:
        self._advance(reading, None)

    def _advance(self, reading: Reading, result: WireResult | None) -> None:
        try:
            step = next(reading) if result is None else reading.send(result)
        except StopIteration as ended:
            self.deliver(self, ended.value, "")
            return
        except ReadError as error:
            self.deliver(self, None, str(error))
            return
        now = self.clock.boot_ns()
        if now > self.expires_boot_ns:
            reading.close()
            self.deliver(self, None, f"{step.endpoint}: out of time")
            return
        self.dispatcher.put(
            Job(
                lane=LaneKind.READ,
                priority=self.priority,
                endpoint=step.endpoint,
                request=step.request,
                call=WireCall(self.clock),
                done=lambda result: self._take(reading, result),
                queued_boot_ns=now,
                expires_boot_ns=self.expires_boot_ns,
            )
        )

    def _take(self, reading: Reading, result: WireResult) -> None:
        if not self._touched and result.wire_boot_ns is not None and result.wire_utc_ns is not None:
            self._touched = True
            self.asked_boot_ns, self.asked_utc_ns = result.wire_boot_ns, result.wire_utc_ns
        self._advance(reading, result)
