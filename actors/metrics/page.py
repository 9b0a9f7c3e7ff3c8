"""The page: an HTTP server on 127.0.0.1 that shows one registry. Runs in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

HOST = "127.0.0.1"
PATH = "/metrics"


class PageServer(ThreadingMixIn, WSGIServer):
    """One thread per scrape, so that a scraper that hangs holds up nobody."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = 10  # a client that says nothing is dropped

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Scrapes are not worth a line."""


def open_page(registry: CollectorRegistry, port: int, memory: Path) -> PageServer:
    """Bind and return the server; raises OSError when a fixed port is taken.

    ``port`` 0: the port of last time (remembered in ``memory``) if it is free, else any, so that a restarted
    actor is found where it was.
    """
    candidates = [port] if port else [remembered for remembered in [_read_port(memory)] if remembered] + [0]
    app = _only_metrics(make_wsgi_app(registry))
    for candidate in candidates[:-1]:
        try:
            return _listen(candidate, app)
        except OSError:
            continue  # taken meanwhile: another one is told to admin
    server = _listen(candidates[-1], app)
    if not port:
        try:
            memory.parent.mkdir(parents=True, exist_ok=True)
            memory.write_text(str(server.server_port))
        except OSError:
            pass  # only means another port next time
    return server


def _listen(port: int, app: Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]) -> PageServer:
    return make_server(HOST, port, app, server_class=PageServer, handler_class=_Quiet)


def _read_port(memory: Path) -> int:
    try:
        port = int(memory.read_text())
    except (OSError, ValueError):
        return 0
    return port if 1024 <= port <= 65535 else 0


def _only_metrics(
    app: Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]],
) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != PATH:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [f"only {PATH} is here\n".encode()]
        return app(environ, start_response)

    return serve


def url_of(server: PageServer) -> str:
    return f"http://{HOST}:{server.server_port}{PATH}"
