"""One link's state without sockets: chunks, acknowledgements, credit, conflation, loss."""

from __future__ import annotations

import pickle
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervision import transport_link
from supervision.transport_link import LinkLimits, Lost, OutboundLink, Reassembly
from supervision.transport_wire import (
    CHUNK,
    DATA,
    LAST,
    MAX_PACKET,
    MessageTooLarge,
    Packet,
    WireError,
    decode,
    decode_acks,
    encode_acks,
    encode_hello,
    encode_message,
)
from tests.supervision.transport_probe import Acked, Plain, Quote, Trade, Urgent

LIMITS = LinkLimits(credit=4, waiting=6, plain=5, acknowledged=8, ack_timeout_ns=500)


def _send_all(link: OutboundLink) -> list[tuple[int, object]]:
    """Let everything leave: sequence number and message."""
    left = []
    reassembly = Reassembly()
    while (raw := link.head()) is not None:
        link.advance()
        packet = decode(raw)
        payload = packet.body if packet.kind == DATA else reassembly.add(packet)
        if payload is not None:
            left.append((packet.sequence, pickle.loads(payload)))
    return left


def test_a_header_survives_the_wire() -> None:
    (raw,) = encode_message(b"body", 5, 77, 1_234_567)
    packet = decode(raw)
    assert packet[:4] == (DATA, 5, 77, 1_234_567)
    assert bytes(packet.body) == b"body"
    assert bytes(decode(encode_hello("1f.2.ab")).body) == b"1f.2.ab"


@given(st.lists(st.integers(0, 2**63), min_size=1, max_size=40))
def test_acknowledgements_survive_the_wire(sequences: list[int]) -> None:
    assert [one for raw in encode_acks(sequences) for one in decode_acks(decode(raw))] == sequences


@given(st.integers(0, 3 * MAX_PACKET))
def test_every_length_is_reassembled_from_packets_that_fit(size: int) -> None:
    payload = bytes(size)
    packets = encode_message(payload, 0, 9, 1)
    assert all(len(one) <= MAX_PACKET for one in packets)
    if len(packets) == 1:
        assert bytes(decode(packets[0]).body) == payload
        return
    reassembly = Reassembly()
    whole = [reassembly.add(decode(one)) for one in packets]
    assert whole[:-1] == [None] * (len(packets) - 1)
    assert bytes(whole[-1]) == payload


def test_a_chunk_of_another_message_is_an_error() -> None:
    reassembly = Reassembly()
    reassembly.add(Packet(CHUNK, 0, 1, 0, memoryview(b"a")))
    with pytest.raises(WireError, match="message 2 inside message 1"):
        reassembly.add(Packet(CHUNK, LAST, 2, 0, memoryview(b"b")))


def test_a_reassembled_message_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_link, "MAX_MESSAGE", 10)
    reassembly = Reassembly()
    reassembly.add(Packet(CHUNK, 0, 1, 0, memoryview(b"123456")))
    with pytest.raises(WireError, match="exceeds 10 bytes"):
        reassembly.add(Packet(CHUNK, LAST, 1, 0, memoryview(b"123456")))


def test_a_message_beyond_the_maximum_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervision.transport_wire.MAX_MESSAGE", MAX_PACKET)
    link = OutboundLink(LIMITS)
    with pytest.raises(MessageTooLarge):
        link.submit(Acked(1, bytes(MAX_PACKET + 1)), 0)
    assert link.unacknowledged == link.queued == 0


@pytest.mark.parametrize("raw", [b"", b"short", b"\x09" + bytes(17)])
def test_foreign_packets_are_refused(raw: bytes) -> None:
    with pytest.raises(WireError):
        decode(raw)


def test_an_unknown_delivery_class_is_an_error() -> None:
    class Odd:
        delivery = "sometimes"

    with pytest.raises(ValueError, match="sometimes"):
        OutboundLink(LIMITS).submit(Odd(), 0)


def test_overdue_messages_are_lost_in_order_and_do_not_leave_any_more() -> None:
    link = OutboundLink(LIMITS)
    for number, sent_ns in enumerate((0, 100, 200)):
        link.submit(Acked(number), sent_ns)
    assert link.next_deadline_ns() == 500
    assert link.expire(499) == []
    assert link.expire(600) == [Lost(Acked(0), "timeout"), Lost(Acked(1), "timeout")]
    assert _send_all(link) == [(3, Acked(2))]
    link.acknowledge([1, 2])  # late: ignored
    assert link.unacknowledged == 1
    assert link.next_deadline_ns() == 700


def test_a_large_message_that_has_begun_to_leave_leaves_whole_even_when_overdue() -> None:
    link = OutboundLink(LIMITS)
    link.submit(Acked(1, bytes(2 * MAX_PACKET)), 0)
    link.head()
    link.advance()
    link.submit(Urgent(2), 400)
    assert link.expire(500) == [Lost(Acked(1, bytes(2 * MAX_PACKET)), "timeout")]
    kinds = []
    while (raw := link.head()) is not None:
        link.advance()
        kinds.append((decode(raw).kind, decode(raw).sequence))
    assert kinds == [(CHUNK, 1), (CHUNK, 1), (DATA, 2)]


def test_unacknowledged_messages_are_bounded() -> None:
    link = OutboundLink(LIMITS)
    for number in range(LIMITS.acknowledged):
        assert link.submit(Acked(number), 0) == []
    assert link.submit(Acked(99), 0) == [Lost(Acked(99), "refused")]


def test_the_oldest_plain_message_is_dropped_when_too_many_wait() -> None:
    link = OutboundLink(LIMITS)
    link.submit(Acked(100), 0)
    for number in range(LIMITS.plain + 2):
        link.submit(Plain(number), 0)
    assert [one for _, one in _send_all(link)] == [Acked(100), *(Plain(number) for number in range(2, 7))]
    assert link.counters.dropped == 2


def test_a_waiting_message_is_replaced_in_place_by_a_newer_one_of_its_key() -> None:
    link = OutboundLink(LIMITS)
    for number in range(LIMITS.credit):
        link.submit(Quote("spent", number), 0)
    for key, number in (("A", 1), ("B", 2), ("A", 3), ("A", 4)):
        link.submit(Quote(key, number), 0)
    _send_all(link)
    link.acknowledge([1, 2])
    assert [one for _, one in _send_all(link)] == [Quote("A", 4, merged=2), Quote("B", 2)]


def test_without_waiting_messages_nothing_is_merged() -> None:
    link = OutboundLink(LIMITS)
    for number in range(LIMITS.credit):
        link.submit(Quote("A", number), 0)
    assert [one.number for _, one in _send_all(link)] == list(range(LIMITS.credit))
    assert link.counters.merged == 0


def test_a_waiting_message_does_not_get_overtaken_when_credit_returns() -> None:
    link = OutboundLink(LIMITS)
    for number in range(LIMITS.credit + 1):
        link.submit(Quote(f"K{number}", number), 0)
    _send_all(link)
    link.acknowledge([1])
    link.submit(Quote("late", 9), 0)
    assert [one.number for _, one in _send_all(link)] == [4]


def test_an_overflow_drops_the_queue_and_says_so_once_per_overflow() -> None:
    link = OutboundLink(LIMITS)
    lost = [
        loss for number in range(LIMITS.credit + LIMITS.waiting + 3) for loss in link.submit(Quote(None, number), 0)
    ]
    assert lost == [Lost(Quote(None, LIMITS.credit + LIMITS.waiting), "overflow")]
    _send_all(link)
    link.acknowledge(range(1, 5))
    assert [one.number for _, one in _send_all(link)] == [11, 12]


def test_closing_names_every_acknowledged_message_and_one_for_a_hole_in_market_data() -> None:
    link = OutboundLink(LIMITS)
    link.submit(Acked(1), 0)
    link.submit(Acked(2), 0)
    _send_all(link)
    link.acknowledge([1])
    link.submit(Acked(3), 0)
    link.submit(Quote("key", 1), 0)
    link.submit(Quote(None, 2), 0)
    link.submit(Quote(None, 3), 0)
    assert link.close("closed") == [
        Lost(Acked(2), "closed"),
        Lost(Acked(3), "closed"),
        Lost(Quote(None, 2), "closed"),
    ]
    assert (link.head(), link.queued, link.unacknowledged) == (None, 0, 0)


_STEP = st.one_of(
    st.tuples(st.just("acked"), st.integers(0, 5)),
    st.tuples(st.just("trade"), st.sampled_from("AB")),
    st.tuples(st.just("leave"), st.integers(1, 4)),
    st.tuples(st.just("acknowledge"), st.integers(1, 4)),
    st.tuples(st.just("expire"), st.integers(0, 300)),
)


@given(st.lists(_STEP, max_size=80))
def test_every_message_is_either_acknowledged_or_reported_lost_and_credit_is_never_exceeded(
    steps: list[tuple[str, object]],
) -> None:
    link = OutboundLink(LIMITS)
    now = 0
    sent, acknowledged, lost = [], Counter(), Counter()
    in_flight: list[tuple[int, object]] = []
    trades: set[int] = set()
    delivered_trades: list[int] = []

    def leave(count: int) -> None:
        for _ in range(count):
            if (raw := link.head()) is None:
                return
            link.advance()
            packet = decode(raw)
            in_flight.append((packet.sequence, pickle.loads(packet.body)))

    def acknowledge(count: int) -> None:
        taken, in_flight[:] = in_flight[:count], in_flight[count:]
        for _, message in taken:
            if isinstance(message, Trade):
                delivered_trades.extend(message.numbers)
            else:
                acknowledged[message.number] += 1
        link.acknowledge([sequence for sequence, _ in taken])

    for number, (what, value) in enumerate(steps):
        if what == "acked":
            sent.append(number)
            lost.update(one.message.number for one in link.submit(Acked(number), now))
        elif what == "trade":
            trades.add(number)
            assert link.submit(Trade(str(value), (number,)), now) == []
        elif what == "leave":
            leave(int(value))
        elif what == "acknowledge":
            acknowledge(int(value))
        else:
            now += int(value)
            lost.update(one.message.number for one in link.expire(now))
        assert sum(isinstance(one, Trade) for _, one in in_flight) <= LIMITS.credit

    while link.head() is not None or in_flight:
        leave(100)
        acknowledge(100)
    assert set(sent) == set(acknowledged) | set(lost)
    assert max([0, *acknowledged.values()]) <= 1
    assert max([0, *lost.values()]) <= 1
    assert sorted(delivered_trades) == sorted(trades)  # merged, never dropped, never twice
    assert link.unacknowledged == 0
