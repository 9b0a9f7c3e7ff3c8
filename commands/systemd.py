"""Tells systemd how we are (``Type=notify``): ready, alive, stopping. Silent where systemd did not ask."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class Notifier:
    """Datagrams to ``NOTIFY_SOCKET``. ``ping_interval_s``: half of what WATCHDOG_USEC asks for, None without one."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        asked_us = environment.get("WATCHDOG_USEC", "")
        meant_for = environment.get("WATCHDOG_PID", "")
        ours = not meant_for or meant_for == str(os.getpid())
        self._asked_us = int(asked_us) if asked_us.isdigit() and ours and self._address else None
        self.ping_interval_s = None if self._asked_us is None else self._asked_us / 2e6

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        self._send(f"STATUS={status}")

    def restarting(self, status: str, allowed_s: float) -> None:
        """The tree is started anew: no ping is earned meanwhile, and that may take ``allowed_s`` since the last one.

        WATCHDOG_USEC resets the limit at run time (sd_notify(3)); EXTEND_TIMEOUT_USEC would not move the watchdog.
        Without it systemd would end this process in the middle of the last-resort cancel.
        """
        longer = "" if self._asked_us is None else f"\nWATCHDOG_USEC={max(self._asked_us, round(allowed_s * 1e6))}"
        self._send(f"STATUS={status}{longer}")

    def restarted(self, status: str) -> None:
        """The new tree is ready: the configured limit holds again."""
        back = "" if self._asked_us is None else f"\nWATCHDOG=1\nWATCHDOG_USEC={self._asked_us}"
        self._send(f"STATUS={status}{back}")

    def ping(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self, status: str) -> None:
        self._send(f"STOPPING=1\nSTATUS={status}")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            try:
                channel.sendto(text.encode(), address)
            except OSError:
                pass  # systemd is away; it will restart us if it minds
