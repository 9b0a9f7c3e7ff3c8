"""Small real actors for supervisor tests: each can be asked who it is, and told to misbehave."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from actors.actor import TradingActor
from actors.messages.base import Message
from actors.messages.control import ControlReport
from actors.messages.health import (
    Alert,
    CrashFiled,
    HangSuspected,
    Heartbeat,
    MetricsReport,
    PartLost,
    TreeReport,
)


@dataclass(frozen=True, slots=True)
class WhoAreYou(Message):
    pass


@dataclass(frozen=True, slots=True)
class IAm(Message):
    name: str
    incarnation: int
    pid: int
    peers: dict[str, tuple[int, int]]
    """name -> (incarnation, pid)"""
    heard: tuple[str, ...]
    restored: int


@dataclass(frozen=True, slots=True)
class Misbehave(Message):
    how: str


@dataclass(frozen=True, slots=True)
class Say(Message):
    to: str
    text: str


@dataclass(frozen=True, slots=True)
class Said(Message):
    text: str


@dataclass(frozen=True, slots=True)
class Tick(Message):
    delivery: ClassVar[str] = "plain"
    number: int


class Part(TradingActor):
    """Keeps a counter file as its state; writes its address to ``<data>/address-<name>`` when up."""

    def restore(self) -> bool:
        self.heard: list[str] = []
        path = self.settings.data_dir / f"state-{self.name}"
        self.restored = int(path.read_text()) if path.exists() else 0
        path.write_text(str(self.restored + 1))
        if (self.settings.data_dir / f"fail-start-{self.name}").exists():
            raise RuntimeError("planted start failure")
        if (self.settings.data_dir / f"hang-start-{self.name}").exists():
            signal.pause()
        return True

    def started(self) -> None:
        path = self.settings.data_dir / f"address-{self.name}"
        partial = path.with_suffix(".partial")
        partial.write_text(str(self.myAddress.addressDetails))
        partial.rename(path)

    def on_who_are_you(self, message: WhoAreYou, sender: object) -> None:
        peers = {peer.name: (peer.incarnation, peer.pid) for peer in self.peers.values()}
        self.reply(sender, IAm(self.name, self.incarnation, os.getpid(), peers, tuple(self.heard), self.restored))

    def on_misbehave(self, message: Misbehave, sender: object) -> None:
        if message.how == "raise":
            raise RuntimeError("planted exception")
        if message.how == "segfault":
            ctypes.string_at(0)
        if message.how == "spin":
            while True:
                pass
        if message.how == "leave":
            self.leave(0)
        if message.how == "flood":
            for number in range(3_000):
                self.send(self.myAddress, Tick(number))

    def on_tick(self, message: Tick, sender: object) -> None:
        until = time.perf_counter() + 0.001
        while time.perf_counter() < until:
            pass

    def on_say(self, message: Say, sender: object) -> None:
        if not self.tell(message.to, Said(message.text)):
            self.heard.append(f"nobody:{message.to}")

    def on_said(self, message: Said, sender: object) -> None:
        self.heard.append(message.text)


class Stubborn(Part):
    """Does not stop when asked."""

    def on_stop(self, reason: str, deadline_s: float) -> None:
        self.heard.append("asked to stop")


class Notebook(Part):
    """Takes the watchdog's place: notes what supervisors report, in a file per kind."""

    def _note(self, kind: str, text: str) -> None:
        with Path(self.settings.data_dir / f"notes-{kind}").open("a") as file:
            file.write(text + "\n")

    def on_heartbeat(self, message: Heartbeat, sender: object) -> None:
        if message.lag_ms > 300:
            self._note("lag", f"{message.name} {message.lag_ms:.0f}")

    def on_tree_report(self, message: TreeReport, sender: object) -> None:
        for child in message.children:
            self._note("tree", f"{child.name} {child.state} {child.restarts} {child.last_exit}")

    def on_part_lost(self, message: PartLost, sender: object) -> None:
        self._note("lost", f"{message.name} {message.reason} {'gave up' if message.gave_up else ''}".strip())

    def on_hang_suspected(self, message: HangSuspected, sender: object) -> None:
        self._note("hang", message.name)

    def on_alert(self, message: Alert, sender: object) -> None:
        self._note("alert", message.key)

    def on_crash_filed(self, message: CrashFiled, sender: object) -> None:
        self._note("crash", message.name)

    def on_metrics_report(self, message: MetricsReport, sender: object) -> None:
        pass

    def on_control_report(self, message: ControlReport, sender: object) -> None:
        pass
