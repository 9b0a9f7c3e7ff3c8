"""Crash records reach a Sentry server, once, without secrets, whatever the server does."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import crash
from actors.clock import NS_PER_S, MovedClock
from actors.crashes.actor import CrashReporterActor
from actors.crashes.event import BadRecordError, make_event, parse
from actors.crashes.folder import FingerprintLimit
from actors.messages.health import CrashFiled, Heartbeat
from tests.actors.harness import ActorHarness, test_settings

SECRET = "MHcCAQEEIPlantedPrivateKeyMaterial0123456789"
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJwbGFudGVkIn0.c2lnbmF0dXJl"


class Server:
    """Speaks the envelope endpoint; ``status`` is its answer."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.events: list[dict] = []  # type: ignore[type-arg]
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.auth: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                server.bodies.append(body)
                server.paths.append(self.path)
                server.auth.append(self.headers["X-Sentry-Auth"])
                if server.status == 200:
                    server.events.append(orjson.loads(body.split(b"\n")[2]))
                self.send_response(server.status)
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.dsn = f"http://publickey0@127.0.0.1:{self.server.server_port}/1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    monkeypatch.setenv("SENTRY_DSN", made.dsn)
    yield made
    made.close()


class Reporter:
    def __init__(self, folder: Path, clock: MovedClock | None = None, **sections: object) -> None:
        sentry: dict[str, object] = {"timeout_s": 0.3, **sections.pop("sentry", {})}  # type: ignore[dict-item]
        self.settings = test_settings(folder, sentry=sentry, **sections)
        self.harness = ActorHarness(
            CrashReporterActor, settings=self.settings, name="crash_reporter", clock=clock
        ).start()
        self.serial = 0

    def file(self, error: BaseException, name: str = "risk", **fields: object) -> Path:
        self.serial += 1
        utc_ns = self.harness.clock.utc_ns() + self.serial
        return crash.write_record(
            self.settings.crash_dir, utc_ns=utc_ns, name=name, incarnation=1, pid=7,
            cause=crash.describe(error), **{"message_type": "Proposal", "mode": "demo", "build": "abc", **fields},
        )  # fmt: skip

    def look(self, seconds: float = 5.0) -> None:
        self.harness.advance(seconds)
        self.harness.run_workers()

    @property
    def waiting(self) -> int:
        return len(list(self.settings.crash_dir.glob("*.json")))

    @property
    def sent(self) -> int:
        return len(list((self.settings.crash_dir / "sent").glob("*.json")))


def raised(text: str = "boom", kind: type[Exception] = ValueError) -> Exception:
    try:
        raise kind(text)
    except Exception as error:
        return error


def test_a_record_arrives_as_an_event_with_its_stack_and_moves_to_sent(tmp_path: Path, server: Server) -> None:
    reporter = Reporter(tmp_path)
    reporter.file(raised("price is None"), correlation_id="c-9", breadcrumbs=("one", "two"), config_hash="cafe")
    reporter.harness.deliver(CrashFiled("risk"))
    reporter.look(0.3)
    (event,) = server.events
    (exception,) = event["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("ValueError", "price is None")
    assert exception["stacktrace"]["frames"][-1]["function"] == "raised"
    assert event["level"] == "fatal"
    assert event["release"] == "abc"
    assert event["tags"]["actor"] == "risk"
    assert event["tags"]["simulated"] == "true"
    assert event["tags"]["message_type"] == "Proposal"
    assert event["extra"]["correlation_id"] == "c-9"
    assert [crumb["message"] for crumb in event["breadcrumbs"]["values"]] == ["one", "two"]
    assert server.paths == ["/api/1/envelope/"]
    assert "sentry_key=publickey0" in server.auth[0]
    assert (reporter.waiting, reporter.sent) == (0, 1)
    reporter.look(60)
    assert len(server.events) == 1


def test_a_death_without_an_exception_is_reported_too(tmp_path: Path, server: Server) -> None:
    reporter = Reporter(tmp_path)
    for number, text in enumerate(("signal 11", "signal 9")):
        crash.write_record(
            reporter.settings.crash_dir, utc_ns=5 + number, name="guard.BTC-USD", incarnation=3, pid=9,
            cause={"type": "Died", "text": text, "frames": []}, extra={"last_beat": "tick 5"},
        )  # fmt: skip
    reporter.look()
    assert [event["exception"]["values"][0]["value"] for event in server.events] == ["signal 11", "signal 9"]
    assert server.events[0]["fingerprint"] != server.events[1]["fingerprint"]
    assert server.events[0]["extra"]["last_beat"] == "tick 5"


def test_a_record_stays_small_whatever_the_exception_says_and_no_half_of_a_secret_stands_at_its_end(
    tmp_path: Path,
) -> None:
    token = "Bearer " + "t" * 400
    try:
        raise ValueError("x" * (crash.MAX_TEXT - 200) + token + "y" * 20_000_000)
    except ValueError as error:
        cause = crash.describe(error)
    path = crash.write_record(
        tmp_path, utc_ns=1, name="risk", incarnation=1, pid=2, cause=cause, breadcrumbs=["z" * 1_000_000] * 30
    )
    assert path.stat().st_size < 1_000_000
    assert "tttt" not in path.read_text()


def test_the_last_heartbeat_and_every_breadcrumb_arrive_whole(tmp_path: Path, server: Server) -> None:
    reporter = Reporter(tmp_path)
    reporter.harness.advance(1.0)
    beat = next(one for one in reporter.harness.background if isinstance(one, Heartbeat))
    told = crash.describe_beat(beat, beat.sent_boot_ns + 2 * NS_PER_S)
    assert told["age_s"] == 2.0
    crumbs = [f"line {n}" for n in range(30)]
    reporter.file(raised(), breadcrumbs=crumbs, extra={"last_beat": told, "recorded_by": "root"})
    reporter.look()
    (event,) = server.events
    assert set(event["extra"]["last_beat"]) == set(told)
    assert event["extra"]["last_beat"]["progress"] == told["progress"]
    assert [one["message"] for one in event["breadcrumbs"]["values"]] == crumbs


def test_planted_secrets_do_not_leave(tmp_path: Path, server: Server) -> None:
    pem = f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}\n-----END EC PRIVATE KEY-----\n"
    (tmp_path / "key.json").write_bytes(orjson.dumps({"name": "planted-key-name", "privateKey": pem}))
    (tmp_path / "hook.url").write_text("https://hooks.example/T0/planted-hook-path")
    reporter = Reporter(
        tmp_path,
        venue={"key_file": str(tmp_path / "key.json")},
        alerts={"webhook_file": str(tmp_path / "hook.url")},
    )
    text = f"cannot sign {SECRET} as planted-key-name with {JWT} for https://hooks.example/T0/planted-hook-path"
    path = reporter.file(raised(text), breadcrumbs=(f"Bearer {JWT}", pem), extra={"api_key": "planted-api-key"})
    # A record written by a version that scrubbed less must not leak either.
    record = orjson.loads(path.read_bytes())
    record["extra"] = {"api_key": "planted-api-key", "note": SECRET}
    record["breadcrumbs"].append(server.dsn)
    path.write_bytes(orjson.dumps(record))
    reporter.look()
    assert len(server.events) == 1
    for planted in (SECRET, "planted", JWT, "publickey0", "BEGIN EC"):
        assert planted.encode() not in server.bodies[0], planted
    assert b"cannot sign" in server.bodies[0]


@pytest.mark.parametrize(
    "text",
    [
        "HTTPSConnectionPool(host='hooks.example', port=443): retries exceeded with url: /T0/planted-hook?k=planted-q",
        "POST /T0/planted-hook failed",
        "query k=planted-q refused",
        "sentry_key=planted-dsn-key in a header",
        "environment {'SOME_API_KEY': 'planted-variable'}",
        "https://planted-user:planted-word@host.example/1",
    ],
)
def test_a_secret_shown_in_parts_does_not_leave(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("SENTRY_DSN", server.dsn.replace("publickey0", "planted-dsn-key"))
    monkeypatch.setenv("SOME_API_KEY", "planted-variable")
    (tmp_path / "hook.url").write_text("https://hooks.example/T0/planted-hook?k=planted-q\n")
    reporter = Reporter(tmp_path, alerts={"webhook_file": str(tmp_path / "hook.url")})
    reporter.file(raised(text), breadcrumbs=(text,), correlation_id=text, message_type=text, extra={"note": [text]})
    reporter.look()
    assert len(server.bodies) == 1
    header, _, event = server.bodies[0].partition(b"\n")
    assert b"planted" not in event
    assert b"planted" not in header.replace(b"planted-dsn-key", b"")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("actor", "cause", "utc_ns", "incarnation", "message_type", "breadcrumbs", "extra", "mode", "build", "pid")
RECORDS = st.dictionaries(st.sampled_from(FIELDS), JSON) | st.fixed_dictionaries(
    {
        "actor": st.text(min_size=1),
        "cause": st.dictionaries(st.sampled_from(("type", "text", "frames", "module")), JSON),
    },
    optional=dict.fromkeys(FIELDS[2:], JSON),
)


@given(RECORDS)
def test_any_file_is_an_event_or_no_record_and_never_holds_up_the_others(record: dict[str, object]) -> None:
    try:
        raw = orjson.dumps(record)
    except TypeError:  # a number beyond 64 bits, which no record holds
        return
    try:
        event = make_event("f", parse(raw), environment="t", secrets=("secret",)).event
    except BadRecordError:
        return
    assert orjson.dumps(event)


def test_a_file_that_cannot_be_read_is_put_aside(tmp_path: Path, server: Server) -> None:
    reporter = Reporter(tmp_path)
    good = reporter.file(raised())
    (good.parent / "000-folder.json").mkdir()
    reporter.look()
    assert (len(server.events), reporter.waiting) == (1, 0)


def test_a_record_is_found_wherever_it_was_moved_and_not_that_of_an_earlier_start(tmp_path: Path) -> None:
    path = crash.write_record(tmp_path, utc_ns=1000, name="risk", incarnation=7, pid=1, cause={"type": "T"})
    (tmp_path / "sent").mkdir()
    assert crash.left_record(tmp_path, "risk", 7, 900)
    path.rename(tmp_path / "sent" / path.name)
    assert crash.left_record(tmp_path, "risk", 7, 900)
    assert not crash.left_record(tmp_path, "risk", 7, 1001)
    assert not crash.left_record(tmp_path, "risk", 8, 900)
    assert not crash.left_record(tmp_path, "ris", 7, 900)


@pytest.mark.parametrize("status", [500, 429, 403])
def test_a_server_that_refuses_is_asked_again_later_and_nothing_is_lost(
    tmp_path: Path, server: Server, status: int
) -> None:
    server.status = status
    reporter = Reporter(tmp_path, sentry={"upload_interval_s": 1, "retry_max_s": 8})
    for _ in range(3):
        reporter.file(raised())
    reporter.look(1)
    assert len(server.bodies) == 1  # stops at the first refusal
    for expected, seconds in ((1, 1.9), (2, 0.2), (2, 3.8), (3, 0.3)):
        reporter.harness.deliver(CrashFiled("risk"))  # more deaths do not shorten the pause
        reporter.look(seconds)
        assert len(server.bodies) == expected
    server.status = 200
    reporter.look(9)
    assert (reporter.waiting, reporter.sent, len(server.events)) == (0, 3, 3)


def test_the_server_says_how_long_to_wait(tmp_path: Path, server: Server) -> None:
    server.status, server.headers = 429, {"Retry-After": "100"}
    reporter = Reporter(tmp_path, sentry={"upload_interval_s": 1})
    reporter.file(raised())
    reporter.look(1)
    reporter.look(99)
    assert len(server.bodies) == 1
    reporter.look(2)
    assert len(server.bodies) == 2


def test_records_that_failed_are_sent_by_the_next_incarnation_as_the_same_event(tmp_path: Path, server: Server) -> None:
    server.status = 503
    first = Reporter(tmp_path)
    first.file(raised())
    first.look()
    server.status = 200
    Reporter(tmp_path).look()
    ids = {orjson.loads(body.split(b"\n")[0])["event_id"] for body in server.bodies}
    assert len(server.bodies) == 2
    assert len(ids) == 1
    assert len(server.events) == 1


def test_a_server_that_is_down_or_mute_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes the connection, never answers
        for folder, port in (("mute", mute.getsockname()[1]), ("down", 1)):
            monkeypatch.setenv("SENTRY_DSN", f"http://key@127.0.0.1:{port}/1")
            (tmp_path / folder).mkdir()
            reporter = Reporter(tmp_path / folder)
            reporter.file(raised())
            reporter.look()
            assert (reporter.waiting, reporter.sent) == (1, 0)
            report = reporter.harness.actor.meter.take("crash_reporter", 1)
            assert report is not None
            assert report.counters["crash_reports_total", (("result", "failed"),)] == 1


@pytest.mark.parametrize("dsn", ["", "not a dsn", "http://nokey/1"])
def test_without_a_usable_dsn_records_stay_and_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd, dsn: str
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("SENTRY_DSN", dsn)
    reporter = Reporter(tmp_path)
    reporter.file(raised())
    reporter.look()
    assert (reporter.waiting, reporter.sent) == (1, 0)
    assert ("crash_records_kept" if not dsn else "crash_upload_failed") in capfd.readouterr().err


def test_the_dsn_may_come_from_a_file(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENTRY_DSN")
    (tmp_path / "dsn").write_text(server.dsn + "\n")
    reporter = Reporter(tmp_path, sentry={"dsn_file": str(tmp_path / "dsn")})
    reporter.file(raised())
    reporter.look()
    assert len(server.events) == 1


def test_one_crash_loop_does_not_flood_and_others_still_pass(tmp_path: Path, server: Server) -> None:
    reporter = Reporter(tmp_path, sentry={"max_per_minute": 3})
    for n in range(80):
        reporter.file(raised(f"attempt {n}"))
    reporter.file(raised("another", KeyError))
    reporter.look()
    kinds = [event["exception"]["values"][0]["type"] for event in server.events]
    assert sorted(kinds) == ["KeyError", "ValueError", "ValueError", "ValueError"]
    reporter.look(54)
    assert len(server.events) == 4
    reporter.look(7)
    assert len(server.events) == 7


def test_the_fingerprint_ignores_lines_and_texts_but_not_places() -> None:
    def fingerprint(actor: str = "guard.BTC-USD", line: int = 5, function: str = "judge", text: str = "a") -> str:
        frames = [{"file": "/x/guard.py", "line": line, "function": function, "code": "raise"}]
        record = {"actor": actor, "cause": {"type": "ValueError", "text": text, "frames": frames}}
        return make_event("f", record, environment="t", secrets=()).fingerprint

    assert fingerprint() == fingerprint("guard.ETH-USD", 9, "judge", "b")
    assert fingerprint() != fingerprint(function="other")
    assert fingerprint() != fingerprint("risk")


def test_the_limit_is_per_minute_of_the_boot_clock() -> None:
    limit = FingerprintLimit(2)
    for second in (0, 1):
        assert limit.allows("f", second * NS_PER_S)
        limit.note("f", second * NS_PER_S)
    assert not limit.allows("f", 59 * NS_PER_S)
    assert limit.allows("f", 60 * NS_PER_S)


def test_what_is_no_record_is_put_aside_and_the_rest_goes_on(tmp_path: Path, server: Server) -> None:
    reporter = Reporter(tmp_path)
    good = reporter.file(raised())
    (good.parent / "000-bad.json").write_text("{")
    (good.parent / "001-odd.json").write_text("[1]")
    reporter.look()
    assert len(server.events) == 1
    assert len(list((good.parent / "rejected").glob("*.json"))) == 2


def test_an_event_the_server_calls_bad_is_put_aside(tmp_path: Path, server: Server) -> None:
    server.status = 400
    reporter = Reporter(tmp_path)
    reporter.file(raised())
    reporter.look()
    assert reporter.waiting == 0
    assert len(list((reporter.settings.crash_dir / "rejected").glob("*.json"))) == 1


def test_the_folder_is_bounded_and_keeps_the_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENTRY_DSN", raising=False)
    reporter = Reporter(tmp_path, sentry={"keep": 5})
    newest = [reporter.file(raised(str(n))).name for n in range(9)][-5:]
    reporter.look()
    assert sorted(path.name for path in reporter.settings.crash_dir.glob("*.json")) == newest


def test_a_look_that_hangs_past_its_deadline_is_a_failure_and_the_next_one_works(
    tmp_path: Path, server: Server
) -> None:
    reporter = Reporter(tmp_path)
    reporter.file(raised())
    reporter.harness.advance(1)
    reporter.harness.workers["upload"].time_out()
    reporter.look(11)
    assert len(server.events) == 1
