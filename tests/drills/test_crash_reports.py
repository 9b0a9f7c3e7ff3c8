"""Crash records reach a Sentry-compatible server, whole and without secrets, also after it was mute and a restart."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.drills.daemon import Daemon, Json, config_folder, wait_for
from tests.drills.sentry_servers import BUGSINK, KENT, Bugsink, Kent, MuteServer, Server

PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIPlantedPemBody0123456789abcdef\n-----END EC PRIVATE KEY-----"
JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJwbGFudGVkIn0.cGxhbnRlZHNpZ25hdHVyZQ"
KEY_NAME = "organizations/11111111-aaaa-bbbb-cccc-222222222222/apiKeys/33333333-dddd-eeee-ffff-444444444444"
HOOK_PATH = "/services/T0PLANTED/B0PLANTED/plantedhookpath"
VARIABLE = "planted-value-of-a-variable"
PLANTED = ("PlantedPemBody", JWT, "apiKeys/33333333", "T0PLANTED", VARIABLE, "BEGIN EC")
BUG = """
import importlib.abc, importlib.util, os, sys

class Planter(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "actors.risk.actor":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            plant(module.RiskActor)
        spec.loader.exec_module = exec_module
        return spec

def plant(actor):
    handle = actor.on_guarded_quote
    def on_guarded_quote(self, message, sender):
        if os.path.exists({trigger!r}):
            os.unlink({trigger!r})
            fail_with_secrets(self, {secrets!r})
        handle(self, message, sender)
    actor.on_guarded_quote = on_guarded_quote

def fail_with_secrets(self, secrets):
    private_key = secrets[0]
    self.log.warning("about to fail with " + secrets[1], note=private_key, api_key=secrets[2], hook=secrets[3])
    raise RuntimeError("cannot sign: " + " ".join(secrets) + " " + repr(dict(os.environ)))

sys.meta_path.insert(0, Planter())
"""
"""A bug in the running daemon: the risk manager raises once the trigger file is there, with secrets in its text,
its locals, its log lines and its environment."""


@pytest.fixture
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    made: Server = request.param(tmp_path / "server")
    yield made
    made.stop()


def plant_a_bug(folder: Path, trigger: Path) -> dict[str, str]:
    """The environment that makes the daemon's Python plant it."""
    folder.mkdir()
    secrets = [PEM, JWT, KEY_NAME, f"https://hooks.example{HOOK_PATH}", f"HTTPSConnectionPool: with url: {HOOK_PATH}"]
    (folder / "sitecustomize.py").write_text(BUG.format(trigger=str(trigger), secrets=secrets))
    return {"PYTHONPATH": str(folder), "PLANTED_TOKEN": VARIABLE}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "server",
    [
        pytest.param(Kent, marks=pytest.mark.skipif(not KENT.exists(), reason="kent is not installed: make install")),
        pytest.param(
            Bugsink,
            marks=pytest.mark.skipif(
                not (BUGSINK / "bugsink-manage").exists(), reason="Bugsink is not prepared: make bugsink"
            ),
        ),
    ],
    indirect=True,
)
def test_every_death_is_reported_after_a_mute_server_and_a_restart_and_no_secret_goes_along(
    daemon: Callable[..., Daemon], server: Server, tmp_path: Path
) -> None:
    trigger, hook = tmp_path / "fail-now", tmp_path / "hook.url"
    hook.write_text(f"http://127.0.0.1:9{HOOK_PATH}\n")
    config = config_folder(
        tmp_path / "config",
        sentry={"upload_interval_s": 0.5, "timeout_s": 1.0, "retry_max_s": 2.0},
        alerts={"webhook_file": str(hook)},
    )
    environment = {"SENTRY_DSN": server.dsn, **plant_a_bug(tmp_path / "bug", trigger)}
    mute = MuteServer(server.port)
    try:
        one = daemon(config=config, environment=environment)
        one.wait_run()
        trigger.touch()
        waiting = record_of(one, "risk")
        killed = one.actor("feed")["pid"]
        os.kill(killed, signal.SIGKILL)
        record_of(one, "feed")
        hung = one.actor("strategist")["pid"]
        os.kill(hung, signal.SIGSTOP)
        record_of(one, "strategist")
        wait_for(lambda: mute.taken, "an upload to the mute server", 20)
        one.wait_run()  # a server that never answers holds up nothing
        assert waiting.exists()
        assert one.terminate() == 0
    finally:
        mute.close()
    server.start()
    one.start()
    events = wait_for(lambda: whole(server.events()), "three events at the server", 60, 0.5)
    check_exception(events["risk"])
    check_death(events["feed"], "signal 9")
    check_death(events["strategist"], "hung: no beat")
    crash = one.data / "crash"
    wait_for(lambda: len(list((crash / "sent").glob("*.json"))) >= 3, "the records to be filed as sent", 20)
    text = json.dumps(server.events()) + "".join(path.read_text() for path in crash.rglob("*.json"))
    for planted in ("PlantedPemBody", JWT, "apiKeys/33333333", "BEGIN EC"):
        assert planted not in text, f"{planted} is in a record or at the server"
    for planted in PLANTED:
        assert planted not in json.dumps(server.events()), f"{planted} reached the server"
    if isinstance(server, Bugsink):
        check_grouping(one, server, trigger)


def record_of(one: Daemon, name: str) -> Path:
    """The record that a death of ``name`` leaves."""
    found: list[Path] = wait_for(lambda: list((one.data / "crash").glob(f"*-{name}-*.json")), f"{name}'s record", 30)
    return found[0]


def whole(events: list[Json]) -> dict[str, Json]:
    """Events by actor once all three are there; tags may be a mapping or a list of pairs."""
    found = {tags_of(event).get("actor", ""): event for event in events}
    return found if {"risk", "feed", "strategist"} <= set(found) else {}


def tags_of(event: Json) -> dict[str, str]:
    tags = event.get("tags") or {}
    return dict(tags) if isinstance(tags, dict) else {pair[0]: pair[1] for pair in tags}


def exception_of(event: Json) -> Json:
    values = event["exception"]
    values = values["values"] if isinstance(values, dict) else values
    return dict(values[0])


def check_exception(event: Json) -> None:
    exception, tags = exception_of(event), tags_of(event)
    assert exception["type"] == "RuntimeError"
    assert exception["value"].startswith("cannot sign: ***")
    frames = exception["stacktrace"]["frames"]
    assert frames[-1]["function"] == "fail_with_secrets"
    assert frames[-1]["context_line"].startswith("raise RuntimeError(")
    assert any(frame["function"] == "receiveMessage" and frame["filename"] == "actor.py" for frame in frames)
    assert (tags["message_type"], tags["mode"], tags["simulated"]) == ("GuardedQuote", "demo", "true")
    assert int(tags["incarnation"]) > 0
    assert tags["config_hash"] not in ("", "none")
    assert event["release"]
    assert event["extra"]["correlation_id"]
    crumbs = event["breadcrumbs"]
    crumbs = crumbs["values"] if isinstance(crumbs, dict) else crumbs
    assert any("about to fail with ***" in crumb["message"] for crumb in crumbs)


def check_death(event: Json, why: str) -> None:
    exception, beat = exception_of(event), event["extra"]["last_beat"]
    assert exception["type"] == "Died"
    assert why in exception["value"]
    assert beat["pid"] > 0
    assert beat["sequence"] > 0
    assert beat["memory_bytes"] > 0
    assert beat["age_s"] < 30


def check_grouping(one: Daemon, server: Bugsink, trigger: Path) -> None:
    """The same crash again is one more event of the same issue."""
    before = {issue["id"]: issue for issue in server.issues()}
    assert len(before) >= 3
    trigger.touch()

    def grouped() -> list[Json]:
        return [
            issue for issue in server.issues()
            if issue["calculated_type"] == "RuntimeError" and issue["digested_event_count"] == 2
        ]  # fmt: skip

    wait_for(grouped, "two events in one issue", 60, 0.5)
    assert len([issue for issue in server.issues() if issue["calculated_type"] == "RuntimeError"]) == 1
