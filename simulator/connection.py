"""One websocket connection: its sequence, its queue, and the faults that befall its frames."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass, field

from aiohttp import web

from simulator.faults import Fault, Faults
from simulator.values import Json

QUEUE_LIMIT = 20_000  # frames; a client this far behind is closed
ROOM = 8  # frames waiting, above which a replay at full speed waits

_numbers = itertools.count(1)


@dataclass(slots=True)
class Subscriptions:
    """What a connection has subscribed: channel -> product ids, in the order they came."""

    channels: dict[str, list[str]] = field(default_factory=dict)

    def add(self, channel: str, products: list[str]) -> None:
        """Add products to a channel."""
        known = self.channels.setdefault(channel, [])
        known.extend(product for product in products if product not in known)

    def drop(self, channel: str, products: list[str]) -> None:
        """Drop products from a channel, or the channel when none are named or left."""
        left = [product for product in self.channels.get(channel, []) if products and product not in products]
        if left:
            self.channels[channel] = left
        else:
            self.channels.pop(channel, None)

    def has(self, channel: str, product: str) -> bool:
        """Tell whether a channel's product is subscribed."""
        return product in self.channels.get(channel, ())


class Connection:
    """A client's socket. Frames are numbered when they are made and sent by one writer task."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, faults: Faults, user_only: bool) -> None:
        self.number = next(_numbers)
        self.user_only = user_only
        self.retry_counter = request.headers.get("x-cb-retry-counter", "")
        self.subscriptions = Subscriptions()
        self.opened_s = time.monotonic()
        self.last_data_s = self.opened_s
        self.subscribed = False
        self.sequence = 0
        self.sent = 0
        self.closing = False
        self._socket, self._request, self._faults = socket, request, faults
        self._queue: asyncio.Queue[str | tuple[int, bytes]] = asyncio.Queue()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._held_back: str | None = None
        self._suppressed = 0

    @property
    def name(self) -> str:
        """Name the connection for faults and the control API."""
        return str(self.number)

    def render(self) -> Json:
        """Write the connection for the control API."""
        return {"id": self.name, "path": self._request.path, "subscriptions": self.subscriptions.channels,
                "next_sequence_num": self.sequence, "frames_sent": self.sent, "queued": self._queue.qsize(),
                "retry_counter": self.retry_counter,
                "age_s": round(time.monotonic() - self.opened_s, 3)}

    # -- sending

    def event(self, channel: str, stamp: str, events: str, product: str = "") -> None:
        """Send an enveloped frame; `events` is the JSON list."""
        if not self._flows(channel, product):
            return
        client = '"client_id":"",' if self._faults.strike("client_id", connection=self.name) else ""
        frame = (f'{{"channel":"{channel}",{client}"timestamp":"{stamp}",'
                 f'"sequence_num":{self.sequence},"events":{events}}}')
        self.sequence += 1
        self._emit(frame, channel, product)

    def recorded(self, text: str, channel: str, product: str) -> None:
        """Send a recorded frame that has this connection's next number already."""
        self.sequence += 1
        self._emit(text, channel, product)

    def flows(self, channel: str, product: str) -> bool:
        """Tell whether a recorded frame may go out, that is, no stall is on."""
        return self._flows(channel, product)

    def error(self, message: str) -> None:
        """Send an error frame; it has no envelope and no number."""
        self._put('{"type":"error","message":"' + message.replace('"', "'") + '"}')

    def _flows(self, channel: str, product: str) -> bool:
        stall = self._faults.find("stall", connection=self.name, channel=channel, symbol=product)
        if stall is not None and not (channel == "heartbeats" and stall.flag("heartbeats", False)):
            self._faults.count(stall)
            self._suppressed += 1 if stall.flag("gap_after", True) else 0
            return False
        if stall is None and self._suppressed:
            self.sequence += self._suppressed
            self._suppressed = 0
        return True

    def _emit(self, frame: str, channel: str, product: str) -> None:
        self.last_data_s = time.monotonic()
        if not self._faults.active():
            self._put(frame)
            return
        where = {"connection": self.name, "channel": channel, "symbol": product}
        if self._faults.strike("drop_frame", **where):
            return
        if self._faults.strike("garble_frame", **where):
            frame = frame[: max(1, len(frame) // 2)]
        if self._held_back is None and self._faults.strike("swap_frames", **where):
            self._held_back = frame
            return
        self._put(frame)
        if self._faults.strike("duplicate_frame", **where):
            self._put(frame)

    def _put(self, frame: str) -> None:
        if self.closing:
            return
        self._queue.put_nowait(frame)
        if self._held_back is not None:
            held, self._held_back = self._held_back, None
            self._queue.put_nowait(held)
        if self._queue.qsize() > ROOM:
            self._has_room.clear()
        if self._queue.qsize() > QUEUE_LIMIT:
            self.abort()

    async def room(self) -> None:
        """Wait until the client has read most of what was sent: back-pressure for a replay."""
        await self._has_room.wait()

    # -- closing

    def close(self, code: int, message: bytes = b"") -> None:
        """Close after what is queued; 1006 cuts the transport at once."""
        if code == 1006:
            self.abort()
        elif not self.closing:
            self._queue.put_nowait((code, message))
            self.closing = True

    def abort(self) -> None:
        """Cut the connection without a close frame."""
        self.closing = True
        transport = self._request.transport
        if transport is not None:
            transport.abort()
        self._has_room.set()

    async def write(self) -> None:
        """Send what is queued until the connection is over."""
        try:
            while True:
                item = await self._queue.get()
                if self._queue.qsize() <= ROOM:
                    self._has_room.set()
                if isinstance(item, tuple):
                    await self._socket.close(code=item[0], message=item[1], drain=True)
                    return
                await self._socket.send_str(item)
                self.sent += 1
        except (ConnectionError, RuntimeError):
            self.closing = True  # the client is gone; the reader notices as well
        finally:
            self._has_room.set()

    def closes_by(self, fault: Fault) -> bool:
        """Close by a close fault if it is meant for this connection."""
        wanted = fault.match.get("connection")
        path = fault.match.get("path")
        if (wanted is not None and wanted != self.name) or (path is not None and path != self._request.path):
            return False
        self.close(int(fault.number("code", 1006)))
        return True
