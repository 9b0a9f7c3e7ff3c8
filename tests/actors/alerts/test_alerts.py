"""Alerts: stored, told once, delivered in the end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest

from actors.alerts.actor import AlertsActor
from actors.alerts.outbox import MAX_WAITING, Outbox
from actors.clock import MovedClock
from actors.messages.health import Alert, Severity
from tests.actors.harness import ActorHarness, test_settings


class Receiver:
    """A webhook that answers with ``status`` and keeps what it got."""

    def __init__(self) -> None:
        self.status = 200
        self.got: list[dict[str, object]] = []
        self.keys: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.got.append(orjson.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                receiver.keys.append(self.headers["Idempotency-Key"])
                self.send_response(receiver.status)
                if receiver.status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?key=s3cret"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def texts(self) -> list[object]:
        return [one["text"] for one in self.got]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def alerts_actor(folder: Path, url: str = "", clock: MovedClock | None = None, **options: object) -> ActorHarness:
    section: dict[str, object] = {"webhook_timeout_s": 0.3, **options}
    if url:
        (folder / "hook.url").write_text(url + "\n")
        section["webhook_file"] = str(folder / "hook.url")
    settings = test_settings(folder, alerts=section)
    return ActorHarness(AlertsActor, settings=settings, name="alerts", clock=clock).start()


def alert(key: str = "k", severity: Severity = Severity.WARNING, text: str = "something") -> Alert:
    return Alert(severity=severity, key=key, text=text, by="watchdog", correlation_id="c-1")


def test_an_alert_is_logged_and_posted_marked_simulated(tmp_path: Path, receiver: Receiver, capfd) -> None:  # type: ignore[no-untyped-def]
    actor = alerts_actor(tmp_path, receiver.url)
    actor.deliver(alert(severity=Severity.PAGE, text="position naked"))
    actor.run_workers()
    (body,) = receiver.got
    assert body["severity"] == "page"
    assert body["text"] == "SIMULATED: position naked"
    assert body["simulated"] is True
    line = capfd.readouterr().err
    assert "CRITICAL" in line
    assert "SIMULATED" in line
    assert "position naked" in line
    assert actor.actor.progress()["undelivered_count"] == 0


def test_nothing_is_sent_from_the_mailbox_itself(tmp_path: Path, receiver: Receiver) -> None:
    actor = alerts_actor(tmp_path, receiver.url)
    actor.deliver(alert())
    assert receiver.got == []


def test_repetitions_are_held_back_and_counted_and_a_more_urgent_one_passes(tmp_path: Path, receiver: Receiver) -> None:
    actor = alerts_actor(tmp_path, receiver.url, dedupe_s=60)
    for _ in range(5):
        actor.deliver(alert())
    actor.deliver(alert(severity=Severity.PAGE))
    actor.deliver(alert(severity=Severity.PAGE))
    actor.clock.advance(61)
    actor.deliver(alert())
    actor.run_workers()
    assert [(one["severity"], one["repeated"]) for one in receiver.got] == [("warning", 0), ("page", 4), ("warning", 1)]


def test_dedupe_survives_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    first = alerts_actor(tmp_path, receiver.url)
    first.deliver(alert())
    first.run_workers()
    second = alerts_actor(tmp_path, receiver.url, clock=first.clock)
    second.deliver(alert())
    second.run_workers()
    assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [500, 404, 302])
def test_a_refused_delivery_is_tried_again_with_growing_pauses_and_the_same_id(
    tmp_path: Path, receiver: Receiver, status: int
) -> None:
    receiver.status = status
    actor = alerts_actor(tmp_path, receiver.url, retry_first_s=1, retry_max_s=4)
    actor.deliver(alert())
    actor.run_workers()
    pauses = []
    for _ in range(4):
        waited, before = 0.0, len(receiver.got)
        while len(receiver.got) == before:
            actor.advance(0.5)
            actor.run_workers()
            waited += 0.5
        pauses.append(waited)
    assert pauses == [1, 2, 4, 4]
    assert len(set(receiver.keys)) == 1
    receiver.status = 204
    actor.advance(4)
    actor.run_workers()
    assert actor.actor.progress()["undelivered_count"] == 0


def test_undelivered_alerts_survive_a_restart(tmp_path: Path, receiver: Receiver) -> None:
    receiver.status = 503
    first = alerts_actor(tmp_path, receiver.url)
    first.deliver(alert("a", text="one"))
    first.deliver(alert("b", text="two"))
    first.run_workers()
    receiver.status = 200
    receiver.got.clear()
    second = alerts_actor(tmp_path, receiver.url)  # the first one was killed: nothing was closed
    second.run_workers()
    assert sorted(str(text) for text in receiver.texts) == ["SIMULATED: one", "SIMULATED: two"]
    third = alerts_actor(tmp_path, receiver.url)
    third.run_workers()
    assert len(receiver.got) == 2


def dead_url() -> tuple[str, Callable[[], None]]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    return f"http://127.0.0.1:{port}/x", lambda: None


def mute_url() -> tuple[str, Callable[[], None]]:
    listener = socket.create_server(("127.0.0.1", 0))  # takes the connection, never answers
    return f"http://127.0.0.1:{listener.getsockname()[1]}/x", listener.close


@pytest.mark.parametrize("make", [dead_url, mute_url])
def test_a_server_that_is_down_or_mute_is_visible_and_loses_nothing(tmp_path: Path, make, capfd) -> None:  # type: ignore[no-untyped-def]
    url, close = make()
    actor = alerts_actor(tmp_path, url)
    actor.deliver(alert())
    actor.run_workers()
    assert actor.actor.progress()["undelivered_count"] == 1
    assert "alert_not_delivered" in capfd.readouterr().err
    report = actor.actor.meter.take("alerts", 1)
    assert report is not None
    assert report.counters["alert_deliveries_total", (("result", "failed"),)] == 1
    close()


def test_a_worker_past_its_deadline_is_a_failure_like_any_other(tmp_path: Path, receiver: Receiver) -> None:
    actor = alerts_actor(tmp_path, receiver.url)
    actor.deliver(alert())
    actor.workers["webhook"].time_out()
    assert actor.actor.progress()["undelivered_count"] == 1
    actor.advance(1)
    actor.run_workers()
    assert actor.actor.progress()["undelivered_count"] == 0


def test_the_webhooks_url_is_never_logged(tmp_path: Path, receiver: Receiver, capfd) -> None:  # type: ignore[no-untyped-def]
    receiver.status = 500
    for url in (receiver.url, "http://127.0.0.1:1/s3cret", "ftp://s3cret", "http://[s3cret/"):
        folder = tmp_path / str(abs(hash(url)))
        folder.mkdir()
        actor = alerts_actor(folder, url)
        actor.deliver(alert())
        actor.run_workers()
        assert actor.actor.progress()["undelivered_count"] == 1
    assert "s3cret" not in capfd.readouterr().err


def test_one_entry_that_is_always_refused_does_not_hold_up_the_rest(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "alerts.db", 10)
    box.open(0)
    box.add(alert("bad", Severity.PAGE), at_utc_ns=1, repeated=0, deliver=True)
    box.add(alert("good", Severity.WARNING), at_utc_ns=2, repeated=0, deliver=True)
    first = box.next()
    assert first is not None
    assert first.alert.key == "bad"  # the most urgent
    box.failed(first.uid)
    second = box.next()
    assert second is not None
    assert second.alert.key == "good"


def test_less_urgent_alerts_and_those_without_a_webhook_are_logged_and_stored_only(tmp_path: Path) -> None:
    actor = alerts_actor(tmp_path)
    actor.deliver(alert(severity=Severity.PAGE))
    assert actor.run_workers() == 0
    assert actor.actor.progress()["undelivered_count"] == 0
    assert (tmp_path / "demo" / "alerts.db").exists()


def test_a_damaged_outbox_is_put_aside_and_alerts_go_on(tmp_path: Path, receiver: Receiver) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "alerts.db").write_bytes(b"garbage" * 1000)
    actor = alerts_actor(tmp_path, receiver.url)
    actor.deliver(alert())
    actor.run_workers()
    assert len(receiver.got) == 1
    assert list((tmp_path / "demo").glob("alerts.db.corrupt-*"))


def test_a_disk_that_refuses_does_not_stop_delivery(tmp_path: Path, receiver: Receiver) -> None:
    actor = alerts_actor(tmp_path, receiver.url)
    actor.actor._outbox._db.close()
    actor.deliver(alert())
    actor.run_workers()
    assert len(receiver.got) == 1


def test_the_outbox_is_bounded_and_keeps_the_urgent(tmp_path: Path) -> None:
    box = Outbox(tmp_path / "alerts.db", 10)
    box._db = None  # in memory alone: the bound is what is tested
    box.add(alert("page", Severity.PAGE), at_utc_ns=0, repeated=0, deliver=True)
    for n in range(MAX_WAITING + 5):
        box.add(alert(f"k{n}"), at_utc_ns=n, repeated=0, deliver=True)
    assert box.waiting() == MAX_WAITING
    assert box.given_up == 6
    newest = box.next()
    assert newest is not None
    assert newest.alert.key == "page"
