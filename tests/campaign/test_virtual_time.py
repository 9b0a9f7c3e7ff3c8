"""The base in virtual time keeps the promises of the Unix transport."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from thespian.actors import Actor, ActorAddress, ActorSystem, ChildActorExited, WakeupMessage

from actors.messages.base import Message
from actors.messages.delivery import Undelivered
from supervision.virtual_time import OUTSIDE, VirtualProcess, VirtualSystem
from supervision.virtual_time_weather import FairWeather


@dataclass(frozen=True, slots=True)
class Say(Message):
    text: str
    notes: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Murmur(Message):
    delivery: ClassVar[str] = "plain"
    text: str
    to: ActorAddress | None = None


class Echo(Actor):  # type: ignore[misc]
    """Says back what it heard; does as told."""

    def receiveMessage(self, message: object, sender: ActorAddress) -> None:  # noqa: N802
        if isinstance(message, Say) and message.text == "leave":
            raise SystemExit(71)
        if isinstance(message, Say):
            if message.notes is not None:
                message.notes.append("changed")
            self.send(sender, message)


class Parent(Actor):  # type: ignore[misc]
    """Has one child, tells the outside what it hears."""

    def receiveMessage(self, message: object, sender: ActorAddress) -> None:  # noqa: N802
        if isinstance(message, Say) and message.text == "begin":
            self.child = self.createActor(Echo)
        elif isinstance(message, Say) and sender == OUTSIDE:
            self.send(self.child, message)
        elif isinstance(message, ChildActorExited | Undelivered | Say):
            self.send(OUTSIDE, message)
        elif isinstance(message, WakeupMessage):
            self.send(OUTSIDE, Say("woken"))


class FatalWeather(FairWeather):
    """Ends whoever is named at the boundary that is named."""

    def __init__(self, boundary: str = "", message: str = "") -> None:
        super().__init__(1)
        self.doom = (boundary, message)
        self.lossy = False

    def loses(self, sender: VirtualProcess | None, target: VirtualProcess, message: object) -> bool:
        return self.lossy

    def strikes(self, process: VirtualProcess, boundary: str, message: object) -> bool:
        return process.parent is not None and self.doom == (boundary, type(message).__name__)


def parent_and_child(weather: FairWeather) -> tuple[VirtualSystem, ActorAddress]:
    system = VirtualSystem(weather)
    parent = system.newPrimaryActor(Parent)
    system.tell(parent, Say("begin"))
    system.run(1.0)
    return system, parent


def heard(system: VirtualSystem) -> list[str]:
    system.run(2.0)
    names = [one.text if isinstance(one, Say) else type(one).__name__ for one in system.received]
    system.received.clear()
    return names


def test_it_is_a_system_base_for_thespian() -> None:
    system = ActorSystem(VirtualSystem(FairWeather(1)))
    echo = system.createActor(Echo)
    answer = system.ask(echo, Say("hello"), 1)
    assert isinstance(answer, Say)
    assert answer.text == "hello"


def test_messages_arrive_as_copies_and_in_the_order_of_their_link() -> None:
    system = VirtualSystem(FairWeather(1))
    echo = system.newPrimaryActor(Echo)
    notes: list[str] = []
    for number in range(20):
        system.tell(echo, Say(str(number), notes))
    assert heard(system) == [str(number) for number in range(20)]
    assert notes == []


def test_a_death_before_the_handler_gives_the_message_back_and_is_told_once() -> None:
    system, parent = parent_and_child(FatalWeather("before", "Say"))
    system.tell(parent, Say("hello"))
    assert sorted(heard(system)) == ["ChildActorExited", "Undelivered"]


def test_a_death_after_the_handler_leaves_the_sender_in_doubt() -> None:
    system, parent = parent_and_child(FatalWeather("after", "Say"))
    system.tell(parent, Say("hello"))
    assert sorted(heard(system)) == ["ChildActorExited", "Undelivered", "hello"]


def test_an_exit_code_reaches_the_parents_list_of_children() -> None:
    system, parent = parent_and_child(FairWeather(1))
    system.tell(parent, Say("leave"))
    assert "ChildActorExited" in heard(system)
    process = next(one for one in system.processes() if one.address == parent)
    assert [child.status for child in process.transport.children.listed()] == [71]


def test_a_death_takes_the_subtree_along() -> None:
    system, parent = parent_and_child(FairWeather(1))
    assert len(system.processes()) == 2
    system.kill(parent)
    assert system.processes() == []


def test_a_stopped_process_handles_nothing_until_it_goes_on() -> None:
    system, parent = parent_and_child(FairWeather(1))
    child = next(one for one in system.processes() if one.parent is not None)
    system.hang(child)
    system.tell(parent, Say("hello"))
    assert heard(system) == ["Undelivered"]  # nobody took it in 500 ms; it may still be handled
    system.wake(child)
    assert heard(system) == ["hello"]


def test_the_threads_of_a_stopped_process_stop_too() -> None:
    system, _ = parent_and_child(FairWeather(1))
    child = next(one for one in system.processes() if one.parent is not None)
    done: list[str] = []
    child.later(0.1, lambda: done.append("call"))
    system.hang(child)
    system.run(1.0)
    assert done == []
    system.wake(child)
    system.run(0.1)
    assert done == ["call"]
    child.later(0.1, lambda: done.append("late"))
    system.hang(child)
    system.run(0.2)
    system.kill(child.address)
    system.run(1.0)
    assert done == ["call"]


def test_only_plain_messages_are_lost() -> None:
    weather = FatalWeather()
    weather.lossy = True
    system, parent = parent_and_child(weather)
    system.tell(parent, Say("kept"))
    system.tell(parent, Murmur("lost"))
    assert heard(system) == ["kept"]
    assert system.lost == 1
