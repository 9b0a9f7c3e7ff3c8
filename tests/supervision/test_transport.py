"""Two or more transports talk over real sockets, inside this process unless the point is another process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from thespian.actors import ThespianWatch, WakeupMessage, WatchMessage
from thespian.system.transport import ReceiveEnvelope, TransmitOnly

from actors.messages.delivery import Undelivered
from supervision.system import start_system
from supervision.transport import UnixAddress, UnixTransport, WrongThread, current_transport
from supervision.transport_process import listen_at
from supervision.transport_wire import MAX_PACKET
from tests.supervision.transport_probe import (
    Acked,
    Plain,
    Probe,
    Quote,
    Run,
    Trade,
    Urgent,
    add_child,
    pid,
    stop_self,
    until,
)

Make = Callable[..., UnixTransport]


class Impatient(UnixTransport):
    ACK_TIMEOUT_S = 0.02


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="link-") as path:
        os.chmod(path, 0o700)
        yield Path(path)


@pytest.fixture
def make(directory: Path) -> Iterator[Make]:
    made: list[UnixTransport] = []

    def build(name: str, kind: type[UnixTransport] = UnixTransport) -> UnixTransport:
        made.append(kind(directory, name, listen_at(directory / name)))
        return made[-1]

    yield build
    for one in made:
        one.close()


def receive(transport: UnixTransport, timeout_s: float = 0.0) -> object | None:
    envelope = transport.run(None, timeout_s)
    return envelope.message if isinstance(envelope, ReceiveEnvelope) else None


def receive_all(transport: UnixTransport) -> list[object]:
    """Everything that can be had without waiting."""
    taken = []
    empty = 0
    while empty < 4:  # a transport reads few packets at a time while little comes
        message = receive(transport)
        empty = empty + 1 if message is None else 0
        if message is not None:
            taken.append(message)
    return taken


# --- delivery ---


def test_a_message_arrives_with_its_sender_and_its_send_time(make: Make) -> None:
    a, b = make("a"), make("b")
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    a.send(b.myAddress, Plain(7))
    sent = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    envelope = b.run(None, 1)
    assert (envelope.message, envelope.sender) == (Plain(7), a.myAddress)
    assert before <= b.last_sent_boot_ns <= sent
    assert b.last_envelope.received_boot_ns >= sent
    assert b.last_envelope.queue_depth == 0


def test_an_acknowledgement_goes_out_when_the_message_is_taken_not_when_it_is_read(make: Make) -> None:
    a, b = make("a"), make("b")
    for number in range(3):
        a.send(b.myAddress, Acked(number))
    assert receive(b, 1) == Acked(0)
    assert until(lambda: (receive(b) or True) and b.stats().queued_in <= 1, 1)
    receive_all(a)
    assert a.stats().unacknowledged == 3 - b.stats().handled
    receive_all(b)
    receive_all(a)
    assert a.stats().unacknowledged == 0
    assert a.stats().undelivered == 0


def test_a_missing_acknowledgement_becomes_undelivered_by_timeout_and_a_late_one_is_ignored(make: Make) -> None:
    a, b = make("a", Impatient), make("b")
    a.send(b.myAddress, Acked(1))
    assert receive(a, 1) == Undelivered(b.myAddress, Acked(1), "timeout")
    assert receive_all(b) == [Acked(1)]  # maybe means maybe
    assert receive_all(a) == []
    assert a.stats().undelivered == 1


def test_a_sender_that_was_busy_reads_all_acknowledgements_before_it_calls_anything_overdue(make: Make) -> None:
    a, b = make("a", Impatient), make("b")
    for number in range(20):
        a.send(b.myAddress, Acked(number))
    assert len(receive_all(b)) == 20
    time.sleep(2 * Impatient.ACK_TIMEOUT_S)
    assert receive_all(a) == []
    assert a.stats().unacknowledged == 0


def test_a_receiver_that_dies_with_a_message_unread_gives_undelivered_closed(make: Make) -> None:
    a, b = make("a"), make("b")
    a.send(b.myAddress, Acked(1))
    a.send(b.myAddress, Acked(2))
    assert receive(b, 1) == Acked(1)
    b.close()
    assert receive_all(a) == [Undelivered(b.myAddress, Acked(2), "closed")]


def test_an_address_where_nobody_listens_refuses(make: Make) -> None:
    a = make("a")
    nobody = UnixAddress("nobody")
    assert a.send(nobody, Acked(1)) is True
    assert receive(a) == Undelivered(nobody, Acked(1), "refused")
    assert a.send(nobody, Plain(1)) is False
    a.send(nobody, Quote("BTC", 1))
    assert receive_all(a) == []  # market data to a dead guard is counted, not told one by one
    assert a.stats().dropped == 3


def test_the_last_messages_of_a_sender_that_died_with_unread_acknowledgements_still_arrive(make: Make) -> None:
    a, b = make("a"), make("b")
    for number in range(5):
        a.send(b.myAddress, Acked(number))
    assert receive(b, 1) == Acked(0)  # its acknowledgement stays unread in a's buffer: the kernel reports a reset
    a.close()
    assert receive_all(b) == [Acked(number) for number in range(1, 5)]


def test_messages_larger_than_a_packet_arrive_whole_and_in_order(make: Make) -> None:
    a, b = make("a"), make("b")
    large = [os.urandom(size) for size in (MAX_PACKET - 200, MAX_PACKET, 3 * MAX_PACKET + 17, 2_000_000)]
    for number, payload in enumerate(large):
        a.send(b.myAddress, Acked(number, payload))
        a.send(b.myAddress, Acked(number))
    taken: list[object] = []

    def all_in() -> bool:
        taken.extend(receive_all(b))
        taken.extend(one for one in receive_all(a))
        return len(taken) == 2 * len(large)

    assert until(all_in)
    assert taken == [one for number, data in enumerate(large) for one in (Acked(number, data), Acked(number))]


def test_a_message_that_cannot_be_unpickled_is_counted_and_the_next_one_arrives(make: Make, capsys) -> None:
    a, b = make("a"), make("b")
    a.send(b.myAddress, Plain(1, _Unreadable()))
    a.send(b.myAddress, Plain(2))
    assert receive(b, 1) == Plain(2)
    assert b.stats().bad_packets == 1
    assert "cannot be unpickled" in capsys.readouterr().err


class _Unreadable:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return int, ("not a number",)


# --- credit and back-pressure ---


def test_market_data_beyond_the_credit_waits_and_the_newest_wins(make: Make) -> None:
    a, b = make("a"), make("b")
    for number in range(UnixTransport.CREDIT + 100):
        a.send(b.myAddress, Quote("BTC", number))
    stats = a.stats()
    assert (stats.unacknowledged, stats.queued_out, stats.merged) == (UnixTransport.CREDIT, 1, 99)
    taken = receive_all(b)
    receive_all(a)  # takes the credit back, the last one leaves
    taken += receive_all(b)
    assert [quote.number for quote in taken] == [*range(UnixTransport.CREDIT), UnixTransport.CREDIT + 99]
    assert taken[-1].merged == 99


def test_market_data_that_was_taken_gives_its_credit_back_before_anything_waits(make: Make) -> None:
    a, b = make("a"), make("b")
    for number in range(10 * UnixTransport.CREDIT):
        a.send(b.myAddress, Quote("BTC", number))
        assert receive(b, 1) == Quote("BTC", number)
        if number % 8 == 7:
            receive_all(b)  # sends the acknowledgements that are owed
    assert a.stats().merged == 0


def test_a_message_that_knows_how_to_merge_keeps_what_it_replaced(make: Make) -> None:
    a, b = make("a"), make("b")
    for number in range(UnixTransport.CREDIT + 3):
        a.send(b.myAddress, Trade("BTC", (number,)))
    receive_all(b)
    receive_all(a)
    assert receive_all(b) == [Trade("BTC", (32, 33, 34))]


def test_a_receiver_that_never_reads_delays_neither_the_sender_nor_another_receiver(make: Make) -> None:
    a, deaf, alert = make("a"), make("deaf"), make("alert")
    began = time.monotonic()
    for number in range(5000):
        a.send(deaf.myAddress, Plain(number, b"x" * 500))
        a.send(deaf.myAddress, Quote(f"S{number % 7}", number))
    a.send(alert.myAddress, Plain(1))
    assert receive(alert, 1) == Plain(1)
    assert time.monotonic() - began < 2.0
    stats = a.stats()
    assert stats.queued_out <= UnixTransport.PLAIN_WAITING + UnixTransport.CREDIT + 7 + 1
    assert stats.dropped > 0


def test_a_stopped_process_does_not_hold_up_others(directory: Path) -> None:
    with start_system(directory) as system:
        root = system.create_root(Probe)
        stopped, stopped_pid = system.ask(root, Run(add_child), 5)
        alert, _ = system.ask(root, Run(add_child), 5)
        system.ask(stopped, Run(pid), 5)
        system.tell(stopped, Run(stop_self))
        assert until(lambda: Path(f"/proc/{stopped_pid}/stat").read_text().split()[2] == "T")
        system.tell(root, Run(_flood, (stopped,)))
        assert system.ask(root, Run(_relay, (alert,)), 2) is True
        assert until(lambda: system.ask(alert, Run(_seen), 2) == 1, 2)
        reasons = system.ask(root, Run(_reasons_after_half_a_second), 3)
        assert reasons == [("timeout", 0)]


def _flood(actor: Probe, target: object) -> None:
    actor.send(target, Acked(0))
    for number in range(3000):
        actor.send(target, Plain(number, b"x" * 1000))


def _relay(actor: Probe, target: object) -> bool:
    actor.send(target, Plain(1))
    return True


def _seen(actor: Probe) -> int:
    return len(actor.seen)


def _reasons_after_half_a_second(actor: Probe) -> list[tuple[str, int]]:
    transport = current_transport()
    end = time.monotonic() + 2
    while not actor.undelivered and time.monotonic() < end:
        envelope = transport.run(None, 0.1)
        if isinstance(envelope, ReceiveEnvelope):
            actor.seen.append(envelope.message)
    return [(one.reason, one.message.number) for one in actor.undelivered]


def test_when_the_waiting_queue_overflows_the_sender_learns_of_the_hole(make: Make) -> None:
    class Narrow(UnixTransport):
        WAITING = 10

    a, b = make("a", Narrow), make("b")
    for number in range(Narrow.CREDIT + 11):
        a.send(b.myAddress, Quote(None, number))
    assert receive_all(a) == [Undelivered(b.myAddress, Quote(None, Narrow.CREDIT + 10), "overflow")]
    assert a.stats().dropped == 11


# --- order and fairness ---


def test_urgent_messages_overtake_those_that_wait_in_the_mailbox(make: Make) -> None:
    a, b = make("a"), make("b")
    for number in range(40):
        a.send(b.myAddress, Plain(number))
    a.send(b.myAddress, Urgent(1))
    taken = [receive(b, 1)]
    taken += receive_all(b)
    assert taken.index(Urgent(1)) < 40
    assert [one for one in taken if isinstance(one, Plain)] == [Plain(number) for number in range(40)]


def test_urgent_messages_overtake_those_that_wait_for_a_full_kernel_buffer(make: Make) -> None:
    a, b = make("a"), make("b")
    for number in range(1500):
        a.send(b.myAddress, Plain(number, b"x" * 300))
    waiting = a.stats().queued_out
    assert waiting > 100
    a.send(b.myAddress, Urgent(1))
    taken: list[object] = []

    def urgent_came() -> bool:
        taken.extend(receive_all(b))
        receive_all(a)
        return Urgent(1) in taken

    assert until(urgent_came)
    assert taken.index(Urgent(1)) <= 1500 - waiting  # right behind what the kernel held


def test_an_actor_that_keeps_sending_to_itself_still_hears_others_and_its_timers(make: Make) -> None:
    a, b = make("a"), make("b")
    handled: list[object] = []
    b.addWakeup(0.0, "timer")
    b.send(b.myAddress, Plain(0))
    a.send(b.myAddress, Acked(9))

    def handler(envelope: ReceiveEnvelope) -> bool:
        handled.append(envelope.message)
        if isinstance(envelope.message, Plain):
            b.send(b.myAddress, Plain(0))
        return len(handled) < 60

    b.run(handler, 5)
    assert Acked(9) in handled[:40]
    assert any(isinstance(one, WakeupMessage) for one in handled[:40])


# --- timers ---


def test_timers_are_never_early_and_expired_ones_come_oldest_first(make: Make) -> None:
    a = make("a")
    began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    for delay_ms in (9, 3, 6):
        a.addWakeup(timedelta(milliseconds=delay_ms), delay_ms)
    first = receive(a, 1)
    assert first.payload == 3
    assert time.clock_gettime_ns(time.CLOCK_BOOTTIME) - began >= 3_000_000
    time.sleep(0.02)
    assert [receive(a).payload, receive(a).payload] == [6, 9]
    assert first.delayPeriod == timedelta(milliseconds=3)


def test_five_thousand_timers_are_cheap(make: Make) -> None:
    a = make("a")
    began = time.process_time()
    for number in range(5000):
        a.addWakeup(timedelta(microseconds=(number * 7919) % 5000), number)
    time.sleep(0.006)
    assert sorted(one.payload for one in receive_all(a)) == list(range(5000))
    assert time.process_time() - began < 0.5  # stock takes 4 s


# --- descriptors and threads ---


def test_a_watched_descriptor_stays_watched_whatever_the_handler_returns(make: Make) -> None:
    a = make("a")
    event = os.eventfd(0, os.EFD_NONBLOCK)
    a.watch(event)
    for _ in range(3):
        os.eventfd_write(event, 1)
        assert receive(a, 1).ready == [event]
        os.eventfd_read(event)
        a.send(a.myAddress, Plain(1))
        assert Plain(1) in receive_all(a)
    a.unwatch(event)
    os.eventfd_write(event, 1)
    assert receive_all(a) == []
    os.close(event)


def _watch_pipe(actor: Probe) -> bool:
    actor.pipe = os.pipe()
    return True


class Watcher(Probe):
    """Returns ThespianWatch once, then other things."""

    def receiveMessage(self, message: object, sender: object) -> object:  # noqa: N802 - Thespian's name
        if message == "watch":
            self.pipe = os.pipe()
            return ThespianWatch([self.pipe[0]])
        if message == "write":
            os.write(self.pipe[1], b"x")
            return None
        if isinstance(message, WatchMessage):
            os.read(message.ready[0], 100)
        return super().receiveMessage(message, sender)


def _watches(actor: Probe) -> int:
    return sum(isinstance(one, WatchMessage) for one in actor.seen)


def test_thespian_watch_survives_other_return_values(directory: Path) -> None:
    with start_system(directory) as system:
        root = system.create_root(Watcher)
        system.tell(root, "watch")
        for times in (1, 2, 3):
            system.tell(root, "write")
            assert until(lambda times=times: system.ask(root, Run(_watches), 2) == times, 2)


def test_only_the_owning_thread_may_send(make: Make) -> None:
    a, b = make("a"), make("b")
    errors: list[BaseException] = []

    def from_thread() -> None:
        try:
            a.send(b.myAddress, Plain(1))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=from_thread)
    thread.start()
    thread.join()
    assert [type(error) for error in errors] == [WrongThread]
    assert "EventPort" in str(errors[0])


# --- strangers ---


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can pose as another user")
def test_a_process_of_another_user_is_refused(make: Make, directory: Path) -> None:
    a, b = make("a"), make("b")
    os.chmod(directory, 0o777)  # as if the directory had not protected the socket
    os.chmod(directory / "b", 0o777)
    stranger = (
        "import os, socket, sys\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.settimeout(3)\n"
        "s.connect(sys.argv[1])\n"
        "try: left = s.recv(1)\n"
        "except OSError: left = b''\n"
        "sys.exit(0 if left == b'' else 1)\n"
    )
    process = subprocess.Popen([sys.executable, "-S", "-c", stranger, str(directory / "b")])
    assert until(lambda: (receive(b) or True) and b.stats().refused_peers == 1)
    assert process.wait(5) == 0
    a.send(b.myAddress, Plain(1))
    assert receive(b, 1) == Plain(1)


def test_garbage_closes_that_connection_only(make: Make, directory: Path, capsys) -> None:
    a, b = make("a"), make("b")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as rude:
        rude.settimeout(3)
        rude.connect(str(directory / "b"))
        rude.send(b"GET / HTTP/1.1\r\n\r\n")
        assert until(lambda: (receive(b) or True) and b.stats().bad_packets == 1)
        assert rude.recv(1) == b""
    a.send(b.myAddress, Plain(1))
    assert receive(b, 1) == Plain(1)
    assert "unknown packet kind" in capsys.readouterr().err


def test_draining_ends_at_its_deadline_when_a_receiver_never_reads(make: Make) -> None:
    a, _deaf = make("a"), make("deaf")
    for number in range(1500):
        a.send(UnixAddress("deaf"), Plain(number, b"x" * 500))
    began = time.monotonic()
    assert a.run(TransmitOnly, 0.05) == 1
    assert 0.04 < time.monotonic() - began < 1.0


def test_a_killed_process_leaves_its_unacknowledged_messages_with_the_sender(directory: Path) -> None:
    with start_system(directory) as system:
        root = system.create_root(Probe)
        child, child_pid = system.ask(root, Run(add_child), 5)
        system.ask(child, Run(pid), 5)
        os.kill(child_pid, signal.SIGSTOP)
        assert system.ask(root, Run(_send_three, (child,)), 5)  # sent to a stopped process, before it dies
        os.kill(child_pid, signal.SIGKILL)
        assert until(lambda: system.ask(root, Run(_reasons), 2) == ["closed"] * 3, 2)


def _send_three(actor: Probe, target: object) -> bool:
    for number in range(3):
        actor.send(target, Acked(number))
    return True


def _reasons(actor: Probe) -> list[str]:
    return [one.reason for one in actor.undelivered]
