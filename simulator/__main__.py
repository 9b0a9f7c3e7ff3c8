"""`python -m simulator`: start the venue, say where it is, and run until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import os
import signal
import ssl
import sys
import tempfile
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import orjson
from aiohttp import web

from simulator import feed as feeds
from simulator import market_replay
from simulator.auth import Key, make_certificate, write_private
from simulator.control import Control
from simulator.engine import Engine
from simulator.faults import Faults
from simulator.products import listing
from simulator.rest import PREFIX, Rest
from simulator.rules import Rules
from simulator.store import Store
from simulator.values import Json
from simulator.venue import Clock, Venue, portfolio_of
from simulator.websocket import IDLE_CLOSE_S, Hub

PR_SET_PDEATHSIG = 1
DEFAULT_SYMBOLS = "BTC-USD,ETH-USD,SOL-USD"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the market comes from; `speed` None is as fast as clients read."""

    kind: str
    seed: int = 1
    path: Path = Path()
    speed: float | None = 1.0


def parse_source(value: str) -> Source:
    """Read `synthetic[:SEED]` or `replay:FILE[@SPEED]`; raises ArgumentTypeError."""
    kind, _, rest = value.partition(":")
    try:
        if kind == "synthetic":
            return Source(kind, seed=int(rest) if rest else 1)
        if kind == "replay" and rest:
            name, at, speed = rest.rpartition("@")
            if not at:
                return Source(kind, path=Path(rest))
            return Source(kind, path=Path(name), speed=None if speed == "max" else float(speed))
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"expected synthetic[:SEED] or replay:FILE[@SPEED], got {value!r}")


def parse_balance(value: str) -> tuple[str, Decimal]:
    """Read `CURRENCY=AMOUNT`; raises ArgumentTypeError."""
    currency, _, amount = value.partition("=")
    try:
        number = Decimal(amount)
    except ArithmeticError:
        number = Decimal("NaN")
    if not currency or not number.is_finite() or number < 0:
        raise argparse.ArgumentTypeError(f"expected CURRENCY=AMOUNT, got {value!r}")
    return currency, number


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser("python -m simulator", description="A stand-in Coinbase Advanced Trade.")
    parser.add_argument("--listen", default="127.0.0.1:0", help="host:port of REST and websocket; 0 picks one")
    parser.add_argument("--control-port", type=int, default=0, help="port of the control API; 0 picks one")
    parser.add_argument("--control-token", default="", help="bearer token the control API asks for")
    parser.add_argument("--source", type=parse_source, default=Source("synthetic"))
    parser.add_argument("--symbols", default=DEFAULT_SYMBOLS, help="synthetic markets, comma separated")
    parser.add_argument("--data-dir", type=Path, help="keep orders, key and certificate here")
    parser.add_argument("--ca", type=Path, help="also write the CA's certificate here")
    parser.add_argument("--key-file", type=Path, help="the API key; made if absent")
    parser.add_argument("--ready-file", type=Path)
    parser.add_argument("--ready-fd", type=int)
    parser.add_argument("--balance", type=parse_balance, action="append", help="e.g. USD=10000; first start only")
    parser.add_argument("--maker-fee", type=Decimal, default=Decimal("0.005"))
    parser.add_argument("--taker-fee", type=Decimal, default=Decimal("0.009"))
    parser.add_argument("--private-rate", type=int, default=30, help="requests a second; 0 is no limit")
    parser.add_argument("--public-rate", type=int, default=10, help="requests a second; 0 is no limit")
    parser.add_argument("--ws-symbol-rate", type=int, default=feeds.TICKS_PER_S,
                        help="book updates a second and symbol of the synthetic feed, 20 or a multiple")
    parser.add_argument("--accept-delay-ms", type=int, default=5)
    parser.add_argument("--cancel-delay-ms", type=int, default=20)
    parser.add_argument("--idle-close-s", type=float, default=IDLE_CLOSE_S)
    parser.add_argument("--replay-time", choices=("recorded", "wall"), default="recorded",
                        help="the venue's clock in a replay")
    parser.add_argument("--frozen", action="store_true", help="start with every synthetic market frozen")
    parser.add_argument("--die-with-parent", type=int, metavar="PID",
                        help="end when this parent does, dead already or not")
    return parser


def _die_with_parent(parent: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


class Process:
    """The venue's parts in one process."""

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        self._options, self._directory = options, directory
        self._where: Json = {}
        directory.mkdir(parents=True, exist_ok=True)
        self._ca = options.ca or directory / "ca.pem"
        self._server_certificate = make_certificate(directory, self._ca)
        self._key = Key(options.key_file or directory / "key.json")
        source: Source = options.source
        recording = market_replay.load(source.path) if source.kind == "replay" else None
        symbols = recording.products if recording else [s for s in options.symbols.split(",") if s]
        rules = Rules(maker_rate=options.maker_fee, taker_rate=options.taker_fee,
                      accept_delay_ms=options.accept_delay_ms, cancel_delay_ms=options.cancel_delay_ms,
                      private_rate=options.private_rate, public_rate=options.public_rate)
        engine = Engine(listing(symbols), portfolio_of("user"), portfolio_of("portfolio"), rules)
        recorded = recording.start_ns if recording and options.replay_time == "recorded" else None
        store = Store(directory / "venue.db") if options.data_dir else None
        self.venue = Venue(engine, feeds.tapes_for(engine.books), Clock(recorded, source.speed or 1.0), Faults(),
                           store, publishes_own_trades=recording is None)
        self.hub = Hub(self.venue, self._key, options.idle_close_s)
        self.feed: feeds.SyntheticFeed | feeds.ReplayFeed
        if recording is not None:
            self.feed = feeds.ReplayFeed(self.venue, self.hub, recording, source.speed)
            self._open_books(None)
        else:
            saved = store.meta("market") if store else None
            self.feed = feeds.SyntheticFeed(self.venue, self.hub, source.seed, saved, options.ws_symbol_rate)
            self._open_books(saved)
            if options.frozen:
                for book_id in engine.books:
                    self.feed.freeze(book_id, True)
        self._rest = Rest(self.venue, self._key)

    def _open_books(self, saved: Json | None) -> None:
        """Put back what was stored, or the starting balances; then live through the time in between."""
        venue, options = self.venue, self._options
        stored = venue.store is not None and venue.store.load_into(venue.engine, venue.now_ns())
        if not stored:
            for currency, amount in options.balance or [("USD", Decimal(10_000)), ("USDC", Decimal(10_000))]:
                venue.engine.wallets.set_available(currency, amount)
        venue.commit()
        if saved is not None and isinstance(self.feed, feeds.SyntheticFeed):
            self.feed.catch_up(int(str(saved["time_ns"])))
        venue.save_market()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        host, _, port = self._options.listen.rpartition(":")
        app = web.Application()
        app.router.add_get("/control/info", self._info)
        app.router.add_get("/ws", self.hub.handle)
        app.router.add_get("/ws-user", self.hub.handle)
        app.router.add_route("*", PREFIX + "/{tail:.*}", self._rest.handle)
        app.router.add_route("*", "/{tail:.*}", self._unknown)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self._server_certificate)
        main = await _serve(app, host or "127.0.0.1", int(port), tls)
        control = Control(self.venue, self.hub, self.feed, self._options.control_token)
        beside = control.application()
        beside.router.add_get("/control/info", self._info)
        aside = await _serve(beside, "127.0.0.1", self._options.control_port, None)
        moving = asyncio.create_task(self.feed.run())
        self._announce(main.addresses[0][1], aside.addresses[0][1])
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait({moving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        failed = moving.done() and not waiting.done()
        for task in (moving, waiting):
            task.cancel()
        results = await asyncio.gather(moving, waiting, return_exceptions=True)
        await self.hub.stop()
        await main.cleanup()
        await aside.cleanup()
        self.venue.commit()
        self.venue.save_market()
        if self.venue.store is not None:
            self.venue.store.close()
        if failed and isinstance(results[0], BaseException):
            raise results[0]

    async def _info(self, _request: web.Request) -> web.StreamResponse:
        """Where everything is: the ready line again, for clients that know one address only."""
        return web.json_response(self._where)

    @staticmethod
    async def _unknown(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": "unknown", "error_details": "Not Found", "message": "Not Found"},
                                 status=404)

    def _announce(self, port: int, control_port: int) -> None:
        where = {
            "rest": f"localhost:{port}", "ws": f"wss://localhost:{port}/ws",
            "ws_user": f"wss://localhost:{port}/ws-user", "control_url": f"http://127.0.0.1:{control_port}",
            "ca_file": str(Path(self._ca).absolute()), "key_file": str(self._key.path.absolute()),
            "pid": os.getpid(),
        }
        self._where.update(where)
        line = orjson.dumps(where).decode() + "\n"
        sys.stdout.write(line)
        sys.stdout.flush()
        if self._options.ready_file is not None:
            write_private(self._options.ready_file, line)
        if self._options.ready_fd is not None:
            with os.fdopen(self._options.ready_fd, "w") as ready:
                ready.write(line)


async def _serve(app: web.Application, host: str, port: int, tls: ssl.SSLContext | None) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, host, port, ssl_context=tls).start()
    return runner


def main() -> None:
    """Run the venue; without --data-dir everything is gone when it ends."""
    options = arguments().parse_args()
    if options.die_with_parent is not None:
        _die_with_parent(options.die_with_parent)
    try:
        listing(symbol for symbol in options.symbols.split(",") if symbol)
    except KeyError as error:
        sys.exit(f"python -m simulator: {error.args[0]}")
    with contextlib.ExitStack() as stack:
        directory = options.data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="simulator-")))
        process = Process(options, directory)
        asyncio.run(process.run())


if __name__ == "__main__":
    main()
