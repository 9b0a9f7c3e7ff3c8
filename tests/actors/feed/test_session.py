from __future__ import annotations

import pytest

from actors.clock import NS_PER_S
from actors.feed.decode import decode
from actors.feed.session import Acceptance, Session
from config.sections.feed import FeedSettings
from tests.actors.feed import frames

S = NS_PER_S
START = 1_000 * S


def make_session(kind: str = "market", *products: str, draw: float = 1.0, **changed: object) -> Session:
    settings = FeedSettings.model_validate({"silence_s": 4, "snapshot_timeout_s": 10, **changed})
    return Session(kind, products or ("A-B", "C-D"), settings, lambda: draw)


def opened(session: Session, now: int = START) -> Session:
    session.connecting(now)
    session.opened(now)
    return session


def live(session: Session, now: int = START) -> Session:
    opened(session, now)
    for number, product in enumerate(session.products):
        session.received(decode(frames.book_snapshot(number, product)), now)
    session.received(decode(frames.heartbeat(len(session.products))), now)
    assert session.state == "live"
    return session


def test_opening_subscribes_to_every_channel_at_once() -> None:
    session = make_session()
    session.connecting(START)
    asked = session.opened(START)
    assert [item.channel for item in asked] == ["heartbeats", "ticker", "market_trades", "level2"]
    assert asked[0].products == ()
    assert all(item.products == ("A-B", "C-D") and not item.signed for item in asked[1:])


def test_the_user_connection_signs_every_message_and_names_no_products() -> None:
    session = make_session("user")
    session.connecting(START)
    asked = session.opened(START)
    assert [(item.channel, item.products, item.signed) for item in asked] == [
        ("heartbeats", (), True),
        ("user", (), True),
    ]


def test_it_is_live_when_the_last_snapshot_is_in() -> None:
    session = opened(make_session())
    session.received(decode(frames.book_snapshot(0, "A-B")), START)
    assert (session.state, session.missing) == ("subscribing", ("C-D",))
    session.received(decode(frames.book_snapshot(1, "C-D")), START)
    assert (session.state, session.missing) == ("live", ())


def test_a_gap_gives_the_connection_up() -> None:
    session = live(make_session())
    assert session.received(decode(frames.heartbeat(5)), START) is Acceptance.GIVE_UP
    assert session.gaps == 1
    assert session.last_reason == "gap: frame 5 after 2"


def test_a_duplicate_is_not_applied_and_keeps_the_connection() -> None:
    session = live(make_session())
    assert session.received(decode(frames.heartbeat(2)), START) is Acceptance.IGNORE
    assert session.received(decode(frames.heartbeat(1)), START) is Acceptance.IGNORE
    assert session.received(decode(frames.heartbeat(3)), START) is Acceptance.APPLY


def test_frames_that_only_repeat_are_silence() -> None:
    """A venue whose counter is stuck says nothing new."""
    session = live(make_session())
    for second in range(1, 6):
        session.received(decode(frames.heartbeat(2)), START + second * S)
    assert session.overdue(START + 5 * S) == "silence"


def test_silence_is_noticed_after_the_limit_and_not_before() -> None:
    session = live(make_session())
    assert session.overdue(START + 4 * S) is None
    assert session.overdue(START + 4 * S + 1) == "silence"


def test_data_without_heartbeats_is_not_enough() -> None:
    session = live(make_session())
    for second in range(1, 5):
        session.received(decode(frames.level2(2 + second, "update", "A-B")), START + second * S)
    assert session.overdue(START + 4 * S + 1) == "no_heartbeat"


def test_no_snapshot_at_all_in_time_gives_the_connection_up() -> None:
    session = opened(make_session())
    for second in range(11):
        session.received(decode(frames.heartbeat(second)), START + second * S)
        assert session.overdue(START + second * S) is None
    assert session.overdue(START + 10 * S + 1) == "no_snapshot"


def test_one_missing_snapshot_is_asked_for_alone_ever_more_rarely() -> None:
    session = opened(make_session())
    session.received(decode(frames.book_snapshot(0, "A-B")), START)
    asked_at = []
    for second in range(1, 80):
        session.received(decode(frames.heartbeat(second)), START + second * S)
        assert session.overdue(START + second * S) is None
        again = session.ask_again(START + second * S)
        if again:
            asked_at.append(second)
            assert [(item.action, item.channel, item.products) for item in again] == [
                ("unsubscribe", "level2", ("C-D",)),
                ("subscribe", "level2", ("C-D",)),
            ]
    assert asked_at == [10, 30, 70]
    assert session.state == "live"  # the other product counts


def test_a_doubted_book_is_asked_for_at_once() -> None:
    session = live(make_session())
    session.doubt("A-B", START + S)
    assert session.ask_again(START + S)[1].products == ("A-B",)
    assert session.ask_again(START + 2 * S) == ()
    session.received(decode(frames.book_snapshot(3, "A-B")), START + 2 * S)
    assert session.missing == ()


def test_the_wait_doubles_up_to_its_limit_with_full_jitter() -> None:
    session = make_session(draw=1.0, backoff_first_s=0.25, backoff_max_s=2)
    waits = []
    now = START
    for _ in range(6):
        session.connecting(now)
        session.lost("closed", now)
        waits.append((session.retry_boot_ns - now) / S)
        now = session.retry_boot_ns
    assert waits == [0.25, 0.5, 1.0, 2.0, 2.0, 2.0]
    none = make_session(draw=0.0)
    none.connecting(START)
    none.lost("closed", START)
    assert none.retry_boot_ns == START


@pytest.mark.parametrize(("lived_s", "wait_s"), [(9, 1.0), (10, 0.25)])
def test_only_a_connection_that_lasted_starts_the_waits_anew(lived_s: int, wait_s: float) -> None:
    session = make_session(backoff_first_s=0.25)
    for _ in range(2):
        session.connecting(START)
        session.lost("closed", START)
    live(session)
    session.lost("closed", START + lived_s * S)
    assert (session.retry_boot_ns - START) / S - lived_s == wait_s


def test_a_new_connection_counts_its_frames_anew() -> None:
    session = live(make_session())
    session.lost("closed", START)
    first = session.epoch
    opened(session, START + S)
    assert session.epoch == first + 1
    assert session.received(decode(frames.heartbeat(0)), START + S) is Acceptance.APPLY
    assert session.missing == ("A-B", "C-D")


def test_a_refused_subscription_ends_the_user_connection_but_not_the_markets() -> None:
    error = decode(b'{"type":"error","message":"authentication failure"}')
    user = opened(make_session("user"))
    assert user.received(error, START) is Acceptance.GIVE_UP
    assert user.last_reason == "venue_error: authentication failure"
    assert opened(make_session()).received(error, START) is Acceptance.IGNORE


def test_the_user_connection_is_live_after_the_last_batch_of_its_snapshot() -> None:
    session = opened(make_session("user"))
    full = [frames.user_order(order_id=str(n)) for n in range(50)]
    session.received(decode(frames.user(0, "snapshot", *full)), START)
    assert session.state == "subscribing"  # exactly 50 may not be the end
    session.received(decode(frames.user(1, "snapshot", frames.user_order())), START)
    assert session.state == "live"


def test_the_acknowledgement_ends_a_user_snapshot_too() -> None:
    session = opened(make_session("user"))
    session.received(decode(frames.subscriptions(0, heartbeats=[])), START)
    assert session.state == "subscribing"
    session.received(decode(frames.subscriptions(1, user=["u"])), START)
    assert session.state == "live"


def test_a_connection_that_begins_late_has_lost_its_beginning() -> None:
    session = opened(make_session())
    assert session.received(decode(frames.heartbeat(3)), START) is Acceptance.GIVE_UP
    assert session.last_reason == "gap: the first frame is 3"


def test_a_venue_that_always_begins_elsewhere_is_accepted() -> None:
    session = opened(make_session())
    session.received(decode(frames.heartbeat(3)), START)
    session.lost("gap", START)
    opened(session)
    assert session.received(decode(frames.heartbeat(3)), START) is Acceptance.APPLY


def test_frames_that_repeat_an_old_exchange_time_are_no_progress() -> None:
    session = live(make_session())
    began = session.exchange_moved_boot_ns
    sequence = len(session.products) + 1
    session.received(decode(frames.heartbeat(sequence)), START + 5 * S)
    assert session.last_frame_boot_ns == START + 5 * S
    assert session.exchange_moved_boot_ns == began
    later = frames.frame("heartbeats", sequence + 1, time="2099-01-01T00:00:00.000000000Z")
    session.received(decode(later), START + 6 * S)
    assert session.exchange_moved_boot_ns == START + 6 * S
    session.lost("test", START + 7 * S)
    opened(session, START + 8 * S)
    session.received(decode(frames.book_snapshot(0, "A-B")), START + 9 * S)
    assert session.exchange_moved_boot_ns == START + 9 * S, "a time from the future must not hold for the next one"
