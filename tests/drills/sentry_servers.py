"""Servers that speak Sentry's protocol, started for a drill: kent, Bugsink, and one that never answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

from tests.drills.daemon import PROJECT, wait_for

KENT = Path(sys.executable).parent / "kent-server"
BUGSINK = Path(os.environ.get("BUGSINK_VENV", PROJECT / ".bugsink")) / "bin"
"""``make bugsink`` puts it there: a program of its own, no part of the daemon and of its lock."""
Json = dict[str, Any]
_SETTINGS = """
BUGSINK["PHONEHOME"] = False
BUGSINK["DIGEST_IMMEDIATELY"] = True
for _name, _database in DATABASES.items():
    _database["NAME"] = r"{folder}/" + _name + ".sqlite3"
"""
_PROJECT = """
from projects.models import Project
print("DSN", Project.objects.create(name="drill").dsn)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def read_json(url: str, token: str = "") -> Any:
    """What a server answers; None when it does not."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except OSError:
        return None


class MuteServer:
    """Takes every connection on ``port`` and whatever is sent, and never answers."""

    def __init__(self, port: int) -> None:
        self.taken: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                self.taken.append(self._listener.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.taken:
            connection.close()


class Server:
    """A program on a port of its own; ``events`` are the stored ones, as the server gives them back."""

    command: list[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.dsn = f"http://public@127.0.0.1:{self.port}/1"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, cwd=self.folder)
        wait_for(self.answers, f"{self.command[0]} to answer", 40)

    def answers(self) -> bool:
        raise NotImplementedError

    def events(self) -> list[Json]:
        raise NotImplementedError

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)


class Kent(Server):
    """Keeps what it is sent and shows it."""

    def start(self) -> None:
        self.command = [str(KENT), "run", "-h", "127.0.0.1", "-p", str(self.port)]
        super().start()

    def answers(self) -> bool:
        return read_json(f"http://127.0.0.1:{self.port}/api/eventlist/") is not None

    def events(self) -> list[Json]:
        listed = read_json(f"http://127.0.0.1:{self.port}/api/eventlist/") or {"events": []}
        ids = [event["event_id"] if isinstance(event, dict) else event for event in listed["events"]]
        found = [read_json(f"http://127.0.0.1:{self.port}/api/event/{one}") for one in ids]
        return [event_in(one) for one in found if one is not None]


class Bugsink(Server):
    """A server that checks the key, validates and groups events into issues."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._run("bugsink-create-conf", "--template", "local", "--host", "127.0.0.1", "--port", str(self.port),
                  "-o", "bugsink_conf.py")  # fmt: skip
        with (folder / "bugsink_conf.py").open("a") as config:
            config.write(_SETTINGS.format(folder=folder))
        self._run("bugsink-manage", "migrate")
        self._run("bugsink-manage", "migrate", "snappea", "--database=snappea")
        shown = self._run("bugsink-manage", "shell", text=_PROJECT)
        self.dsn = next(line.split()[1] for line in shown.splitlines() if line.startswith("DSN "))
        self._token = self._run("bugsink-manage", "create_auth_token").split()[-1]
        self.command = [str(BUGSINK / "gunicorn"), "--bind", f"127.0.0.1:{self.port}", "--workers", "1",
                        "--threads", "2", "bugsink.wsgi"]  # fmt: skip

    def _run(self, program: str, *arguments: str, text: str = "") -> str:
        done = subprocess.run(
            [str(BUGSINK / program), *arguments], cwd=self.folder, input=text, text=True, capture_output=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{program} {arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def read(self, path: str) -> Any:
        return read_json(f"http://127.0.0.1:{self.port}/api/canonical/0/{path}", self._token)

    def issues(self) -> list[Json]:
        return list((self.read("issues/?project=1") or {"results": []})["results"])

    def events(self) -> list[Json]:
        found = []
        for issue in self.issues():
            for one in (self.read(f"events/?issue={issue['id']}") or {"results": []})["results"]:
                found.append(self.read(f"events/{one['id']}/"))
        return [event_in(one) for one in found if one is not None]


def event_in(answer: Json) -> Json:
    """The event as it was sent, wherever the server keeps it."""
    for key in ("data", "event", "payload", "body"):
        inner = answer.get(key)
        if isinstance(inner, dict):
            return event_in(inner)
    return answer
