"""The thread that holds the websockets: asyncio and ``websockets``, TLS always verified.

It decodes, checks the sequence, keeps the books and hands the newest state to the mailbox through the outbox.
It never sends a message and never raises into nowhere: whatever escapes ends the thread, and the actor notices.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import orjson
from coinbase import jwt_generator
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from actors.clock import NS_PER_MS, NS_PER_S, Clock
from actors.feed.conflation import MarketAssembly
from actors.feed.decode import FeedError, Frame, UserEvent, decode
from actors.feed.outbox import ConnectionNote, Outbox
from actors.feed.session import Acceptance, Session, Subscription
from actors.messages.market import UserOrderEvent
from config.settings import Settings

WATCH_S = 0.1
SEND_DEADLINE_S = 4.0
"""The venue closes a connection that did not subscribe within 5 s (Coinbase docs)."""
QUEUED_FRAMES = 64
LARGE_FRAME_BYTES = 200_000
SWITCH_INTERVAL_S = 0.001
"""How long decoding may keep the interpreter from the mailbox (measured: 12 ms worst at the 5 MB snapshot)."""
GC_THRESHOLD = 200_000
"""Above the objects of the largest snapshot: collecting amid it doubled its time (measured)."""


class KeyFileError(Exception):
    """The API key cannot be read or used; the text never holds any part of it."""


class FeedClient:
    """Everything the thread owns. ``run`` is the thread's body; only ``outbox`` is shared with the mailbox."""

    def __init__(self, settings: Settings, clock: Clock, outbox: Outbox, first_epoch: int) -> None:
        self.settings = settings
        self.clock = clock
        self.outbox = outbox
        self.assembly = MarketAssembly(settings.data_products, settings.feed.depth_levels)
        self.market = self._session("market", settings.data_products, first_epoch)
        self.user = self._session("user", (), first_epoch)
        self._sockets: dict[str, ClientConnection] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped = asyncio.Event()
        self._wanted = settings.data_products
        self._condemned: dict[str, str] = {}
        self._due: set[str] = set()
        self._shown_boot_ns: dict[str, int] = {}
        self._crossed_since: dict[str, int] = {}

    def run(self) -> None:
        """Hold the connections until ``stop``; raises when something is badly wrong."""
        asyncio.run(self._main())

    def stop(self) -> None:
        """Let ``run`` return; may be called from any thread."""
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self._stopped.set)

    def leave_out(self, products: frozenset[str]) -> None:
        """Subscribe to everything but ``products`` from now on, over a new connection; from any thread."""
        self._wanted = tuple(one for one in self.settings.data_products if one not in products)
        loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(self._connect_anew)

    def _connect_anew(self) -> None:
        socket = self._sockets.get(self.market.kind)
        if socket is not None:
            self._condemned[self.market.kind] = "listing: other products are wanted"
            socket.transport.abort()  # the reader wakes with ConnectionClosed

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(self._hold(self.market, self.settings.venue.ws, self._on_market_frame))]
        if self.settings.venue.key_file is not None:
            tasks.append(asyncio.create_task(self._hold(self.user, self.settings.venue.ws_user, self._on_user_frame)))
        else:
            self.user.stopped(self.clock.boot_ns())
        tasks.append(asyncio.create_task(self._watch()))
        stop = asyncio.create_task(self._stopped.wait())
        done, _ = await asyncio.wait([stop, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stop}:
            task.result()
            raise RuntimeError("a part of the feed's loop ended")

    # --- one connection after another ------------------------------------------------------------------

    async def _hold(self, session: Session, url: str, on_frame: Callable[[Frame, int], None]) -> None:
        while True:
            reason = await self._converse(session, url, on_frame)
            now = self.clock.boot_ns()
            session.lost(reason, now)
            if session is self.market:
                self._market_lost()
            self.outbox.count("feed_reconnects_total", connection=session.kind, reason=reason.split(":")[0])
            self._note(session, reason)
            await asyncio.sleep(max(0.0, (session.retry_boot_ns - now) / NS_PER_S))

    async def _converse(self, session: Session, url: str, on_frame: Callable[[Frame, int], None]) -> str:
        """One connection from beginning to end; returns why it ended."""
        epoch = session.connecting(self.clock.boot_ns())
        if session is self.market:
            self.assembly.connected(epoch)
        self._note(session, "")
        try:
            feed = self.settings.feed
            socket = await asyncio.wait_for(
                connect(
                    url,
                    ssl=tls_context(url, self.settings.venue.ca_file),
                    max_size=feed.max_frame_bytes,
                    max_queue=QUEUED_FRAMES,
                    open_timeout=feed.connect_timeout_s,
                    close_timeout=1.0,
                    ping_interval=20,
                    ping_timeout=20,
                ),
                feed.connect_timeout_s,
            )
        except (OSError, TimeoutError, WebSocketException, ValueError, EOFError) as error:
            return f"connect: {type(error).__name__}: {error}"
        self._sockets[session.kind] = socket
        try:
            if session is self.market:
                session.products = self._wanted
            await self._send(socket, session.opened(self.clock.boot_ns()))
            self._note(session, "")
            return await self._read(session, socket, on_frame)
        except ConnectionClosed as error:
            return self._condemned.pop(session.kind, f"closed: {error}")
        except FeedError as error:
            return f"garbled: {error}"
        except KeyFileError as error:
            return f"key_file: {error}"
        except (OSError, TimeoutError) as error:
            return f"socket: {type(error).__name__}: {error}"
        finally:
            del self._sockets[session.kind]
            self._condemned.pop(session.kind, None)
            # No closing handshake: whoever does not answer must not keep us from connecting again.
            socket.transport.abort()

    async def _read(self, session: Session, socket: ClientConnection, on_frame: Callable[[Frame, int], None]) -> str:
        while True:
            raw = await socket.recv(decode=False)
            received = self.clock.boot_ns()
            frame = decode(raw)
            state = session.state
            verdict = session.received(frame, self.clock.boot_ns())
            self.outbox.pulse_boot_ns = self.clock.boot_ns()
            self.outbox.count("feed_messages_total", channel=frame.channel)
            if verdict is Acceptance.GIVE_UP:
                if session.last_reason.startswith("gap"):
                    self.outbox.count("feed_gaps_total", connection=session.kind)
                return session.last_reason
            if verdict is Acceptance.APPLY:
                on_frame(frame, received)
            if session.state != state:
                self._note(session, "")
            elif frame.sequence is None:
                self._note(session, session.last_reason)
            if len(raw) > LARGE_FRAME_BYTES:
                await asyncio.sleep(0)  # the other connection's turn

    async def _send(self, socket: ClientConnection, subscriptions: tuple[Subscription, ...]) -> None:
        for item in subscriptions:
            message: dict[str, object] = {"type": item.action, "channel": item.channel}
            if item.products:
                message["product_ids"] = list(item.products)
            if item.signed:
                # A fresh one for each message: a JWT lives two minutes and is checked at subscribe only.
                message["jwt"] = make_jwt(self.settings.venue.key_file)
            await asyncio.wait_for(socket.send(orjson.dumps(message).decode()), SEND_DEADLINE_S)

    # --- frames ----------------------------------------------------------------------------------------

    def _on_market_frame(self, frame: Frame, received_boot_ns: int) -> None:
        for product in self.assembly.apply(frame, received_boot_ns):
            self._show(product)

    def _on_user_frame(self, frame: Frame, received_boot_ns: int) -> None:
        for event in frame.events:
            if isinstance(event, UserEvent):
                for order in event.orders:
                    self.outbox.offer_order(
                        UserOrderEvent(
                            order_id=order.order_id,
                            client_order_id=order.client_order_id,
                            product_id=order.product_id,
                            side=order.side,
                            status=order.status,
                            cumulative_quantity=order.cumulative_quantity,
                            filled_value=order.filled_value,
                            total_fees=order.total_fees,
                            cancel_reason=order.cancel_reason,
                            reject_reason=order.reject_reason,
                            trigger_status=order.trigger_status,
                            received_boot_ns=received_boot_ns,
                            snapshot=event.snapshot,
                        )
                    )

    def _show(self, product: str) -> None:
        """Hand the product's newest state over: at once after a quiet time, else when the time is full."""
        if product in self._due:
            return
        now = self.clock.boot_ns()
        wait_ns = self._shown_boot_ns.get(product, 0) + round(self.settings.feed.conflate_ms * NS_PER_MS) - now
        if wait_ns <= 0:
            self._hand_over(product)
        else:
            self._due.add(product)
            asyncio.get_running_loop().call_later(wait_ns / NS_PER_S, self._hand_over, product)

    def _hand_over(self, product: str) -> None:
        self._due.discard(product)
        self._shown_boot_ns[product] = self.clock.boot_ns()
        self.outbox.offer_update(self.assembly.update(product))

    def _market_lost(self) -> None:
        self.assembly.lost()
        self._crossed_since.clear()
        for product in self.settings.data_products:
            self._hand_over(product)

    # --- watching --------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            now = self.clock.boot_ns()
            self.outbox.pulse_boot_ns = now
            for session in (self.market, self.user):
                socket = self._sockets.get(session.kind)
                reason = session.overdue(now)
                if reason is not None and socket is not None:
                    self._condemned[session.kind] = reason
                    socket.transport.abort()  # the reader wakes with ConnectionClosed
            self._doubt_crossed_books(now)
            socket = self._sockets.get("market")
            again = self.market.ask_again(now)
            if socket is not None and again:
                for product in again[0].products:
                    self.assembly.drop_book(product)
                    self._hand_over(product)
                with contextlib.suppress(ConnectionClosed, TimeoutError, OSError):  # the reader says why
                    await self._send(socket, again)
            self._publish_health()
            await asyncio.sleep(WATCH_S)

    def _doubt_crossed_books(self, now: int) -> None:
        """A book that stays crossed is asked for anew: it is corrupt, or the venue is in an auction."""
        limit_ns = round(self.settings.feed.snapshot_timeout_s * NS_PER_S)
        for product, state in self.assembly.states.items():
            if not state.book.crossed:
                self._crossed_since.pop(product, None)
            elif now - self._crossed_since.setdefault(product, now) > limit_ns:
                del self._crossed_since[product]
                self.market.doubt(product, now)

    def _note(self, session: Session, reason: str) -> None:
        self._publish_health()
        self.outbox.offer_note(ConnectionNote(session.kind, session.state, session.epoch, reason, self.clock.boot_ns()))

    def _publish_health(self) -> None:
        self.outbox.connections = (self.market.health(), self.user.health())
        self.outbox.symbols = self.assembly.health()

    def _session(self, kind: str, products: tuple[str, ...], first_epoch: int) -> Session:
        return Session(kind, products, self.settings.feed, random.random, first_epoch)


def tune_process() -> None:
    """Set the interpreter for a process whose thread decodes megabytes while its mailbox must answer."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(GC_THRESHOLD, 10, 10)


def tls_context(url: str, ca_file: Path | None) -> ssl.SSLContext | None:
    """A context that verifies certificate and host; None only for ``ws://`` to this very host.

    Raises ValueError for any other unencrypted URL, OSError for a CA file that cannot be read.
    """
    parts = urlsplit(url)
    if parts.scheme == "wss":
        context = ssl.create_default_context()
        if ca_file is not None:
            context.load_verify_locations(cafile=ca_file)
        return context
    if parts.scheme == "ws" and parts.hostname in ("127.0.0.1", "localhost", "::1"):
        return None
    raise ValueError(f"a websocket URL must be wss://, found {parts.scheme}://{parts.hostname}")


def make_jwt(key_file: Path | None) -> str:
    """A JWT for one websocket message; raises KeyFileError. The key is read anew, so that it can be rotated."""
    if key_file is None:
        raise KeyFileError("venue.key_file is not set")
    try:
        content = orjson.loads(key_file.read_bytes())
        name, secret = content["name"], content["privateKey"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KeyFileError(f"{key_file}: no key can be read ({type(error).__name__})") from None
    try:
        return str(jwt_generator.build_ws_jwt(name, secret))
    except Exception as error:  # the SDK raises plain Exception; its text could quote the key
        raise KeyFileError(f"{key_file}: the key cannot sign ({type(error).__name__})") from None
