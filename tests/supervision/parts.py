"""Small real actors for supervisor tests: each can be asked who it is, and told to misbehave."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from thespian.actors import Actor

from actors.actor import IgnoreStart, TradingActor
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
from supervision.administration import AdminRequest, ChildAnswer
from supervision.restart import Intensity, SupervisorSpec
from supervision.supervisor import SupervisorActor


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
class UseVerb(Message):
    """Send this to your supervisor, as if you were above it."""

    request: AdminRequest


@dataclass(frozen=True, slots=True)
class Tick(Message):
    delivery: ClassVar[str] = "plain"
    number: int


@dataclass(frozen=True, slots=True)
class Marker:
    """An argument that can be counted in a process."""

    number: int


@dataclass(frozen=True, slots=True)
class HowManyMarkers(Message):
    pass


@dataclass(frozen=True, slots=True)
class SoManyMarkers(Message):
    number: int


class Part(TradingActor):
    """Keeps a counter file as its state, notes starts and stops in ``<data>/order``, and writes its address to
    ``<data>/address-<name>`` when up. Files in the data folder plant failures of its start; ``args["on_stop"]`` is
    how it stops: ``slow`` (after ``args["stop_s"]``), ``raise``, ``exit`` (with 3), ``kill`` or ``never``."""

    def restore(self) -> bool:
        self.heard: list[str] = []
        folder = self.settings.data_dir
        path = folder / f"state-{self.name}"
        self.restored = int(path.read_text()) if path.exists() else 0
        path.write_text(str(self.restored + 1))
        self.note_order("start")
        if (folder / f"fail-start-{self.name}").exists():
            raise RuntimeError("planted start failure")
        countdown = folder / f"fail-times-{self.name}"
        if countdown.exists() and (left := int(countdown.read_text())) > 0:
            countdown.write_text(str(left - 1))
            raise RuntimeError("planted start failure")
        if (folder / f"ignore-start-{self.name}").exists():
            raise IgnoreStart("nothing to do today")
        if (folder / f"hang-start-{self.name}").exists():
            signal.pause()
        return True

    def note_order(self, what: str) -> None:
        with Path(self.settings.data_dir / "order").open("a") as file:
            file.write(f"{what} {self.name}\n")

    def on_stop(self, reason: str, deadline_s: float) -> None:
        self.note_order("stop")
        how = self.args.get("on_stop")
        if how == "never":
            return
        if how == "raise":
            raise RuntimeError("planted exception while stopping")
        if how == "exit":
            self.leave(3)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "slow":
            self.after("leave", float(str(self.args["stop_s"])), self._leave_late)
            return
        self.leave(0)

    def _leave_late(self) -> None:
        self.note_order("left")
        self.leave(0)

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
        if message.how == "exit":
            os._exit(9)  # as a library that ends the process itself
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

    def on_use_verb(self, message: UseVerb, sender: object) -> None:
        self.send(self.parent, message.request)

    def on_child_answer(self, message: ChildAnswer, sender: object) -> None:
        self.heard.append(str(message.refusal))

    def on_said(self, message: Said, sender: object) -> None:
        self.heard.append(message.text)


class Unlinked(Part):
    """Takes its own socket away, so that nobody reaches it by name, and does not stop when asked."""

    def started(self) -> None:
        super().started()
        for path in Path(self.settings.data_dir / "run").glob(f"*{self.myAddress.addressDetails}*"):
            path.unlink()
            self.note_order("cut")

    def on_stop(self, reason: str, deadline_s: float) -> None:
        self.note_order("stop")


class Deaf(Actor):  # type: ignore[misc]  # Thespian is untyped
    """Knows nothing of the protocol."""

    def receiveMessage(self, message: object, sender: object) -> None:  # noqa: N802 - Thespian's name
        pass


class CountingSupervisor(SupervisorActor):
    """Says how many markers its process holds, wherever they are."""

    def on_how_many_markers(self, message: HowManyMarkers, sender: object) -> None:
        gc.collect()
        found = sum(1 for thing in gc.get_objects() if isinstance(thing, Marker))
        self.send(sender, SoManyMarkers(found))


class IgnoringSupervisor(SupervisorActor):
    def specification(self) -> SupervisorSpec:
        raise IgnoreStart("no children today")


class CrashingSupervisor(SupervisorActor):
    def specification(self) -> SupervisorSpec:
        raise RuntimeError(self.args.get("say", "planted failure of the specification"))


class FaultySupervisor(SupervisorActor):
    def specification(self) -> SupervisorSpec:
        return "not a specification"  # type: ignore[return-value]


class NegativeSupervisor(SupervisorActor):
    def specification(self) -> SupervisorSpec:
        return SupervisorSpec(self.name, (), intensity=Intensity(max_restarts=-1))


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
