"""The order in which one actor's messages, events and timers come out."""

from __future__ import annotations

from datetime import timedelta

from supervision.transport_mailbox import EVENTS_IN_A_ROW, Delivery, Mailbox, Timers


def _delivery(message: object) -> Delivery:
    return Delivery(None, message, 0)


def _take_all(mailbox: Mailbox) -> list[object]:
    taken = []
    while (one := mailbox.take()) is not None:
        taken.append(one.message)
    return taken


def test_urgent_comes_before_events_and_events_before_ordinary_messages() -> None:
    mailbox = Mailbox()
    mailbox.put(_delivery("ordinary"))
    mailbox.put_event(_delivery("event"))
    mailbox.put(_delivery("urgent"), urgent=True)
    assert len(mailbox) == 3
    assert _take_all(mailbox) == ["urgent", "event", "ordinary"]
    assert not mailbox


def test_events_without_end_do_not_starve_ordinary_messages() -> None:
    mailbox = Mailbox()
    mailbox.put(_delivery("ordinary"))
    taken = []
    for number in range(3 * EVENTS_IN_A_ROW):
        mailbox.put_event(_delivery(number))
        mailbox.put_event(_delivery(number))
        taken.append(mailbox.take().message)
    assert taken.index("ordinary") == EVENTS_IN_A_ROW


def test_timers_expire_by_due_time_and_equal_ones_in_the_order_they_were_set() -> None:
    timers = Timers()
    order = [(number * 7919) % 5000 for number in range(5000)]
    for due_us in order:
        timers.add(0, timedelta(microseconds=due_us), due_us)
    timers.add(0, timedelta(microseconds=4999), "set last")
    assert timers.pop_due(-1) == []
    assert timers.next_due_ns() == 0
    expired = [payload for _, _, payload in timers.pop_due(4_999_000)]
    assert expired == [*range(5000), "set last"]
    assert len(timers) == 0


def test_a_timer_is_not_due_one_nanosecond_early() -> None:
    timers = Timers()
    timers.add(100, 0.001, "payload")
    assert timers.pop_due(1_000_099) == []
    assert timers.pop_due(1_000_100) == [(1_000_100, timedelta(milliseconds=1), "payload")]
