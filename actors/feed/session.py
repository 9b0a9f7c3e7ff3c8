"""One websocket connection as a state machine: what to ask, what to believe, when to give the connection up.

Pure: time comes in as an argument (boot clock, ns), sockets are elsewhere (client.py). Life of a connection:
``connecting`` -> ``subscribing`` (until every product's snapshot came) -> ``live`` -> ``waiting`` (back-off).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from actors.clock import NS_PER_S
from actors.feed.decode import BookEvent, ErrorEvent, Frame, HeartbeatEvent, SubscriptionsEvent, UserEvent
from actors.feed.sequence import SequenceCheck, SequenceVerdict
from actors.messages.market import ConnectionHealth
from config.sections.feed import FeedSettings

CONNECTING, SUBSCRIBING, LIVE, WAITING, STOPPED = "connecting", "subscribing", "live", "waiting", "stopped"
MARKET_CHANNELS = ("heartbeats", "ticker", "market_trades", "level2")
USER_CHANNELS = ("heartbeats", "user")
SETTLED_S = 10.0
"""A connection that was live this long starts the back-off anew."""
USER_BATCH = 50
"""The user channel's snapshot comes in batches of 50; a shorter one is the last (Coinbase docs)."""


class Acceptance(StrEnum):
    """APPLY the frame's events; IGNORE them (a duplicate); GIVE_UP the connection."""

    APPLY = "apply"
    IGNORE = "ignore"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True)
class Subscription:
    """One message to send: a channel, its products (none for heartbeats and user), and whether it needs a JWT."""

    action: str
    channel: str
    products: tuple[str, ...]
    signed: bool


class Session:
    """``kind`` is ``market`` or ``user``. ``draw()`` gives a number in [0, 1) for the jitter."""

    def __init__(
        self,
        kind: str,
        products: tuple[str, ...],
        settings: FeedSettings,
        draw: Callable[[], float],
        first_epoch: int = 0,
    ) -> None:
        self.kind = kind
        self.products = products
        self.state = CONNECTING
        self.epoch = first_epoch
        self.frames = 0
        self.gaps = 0
        self.duplicates = 0
        self.reconnects = 0
        self.last_reason = ""
        self.last_frame_boot_ns = 0
        self.exchange_moved_boot_ns = 0
        """When the newest exchange time last grew: frames that repeat an old time are no progress."""
        self._exchange_utc_ns = 0
        self.last_heartbeat_boot_ns = 0
        self.retry_boot_ns = 0
        self._settings = settings
        self._draw = draw
        self._attempt = 0
        self._since_boot_ns = 0
        self._sequence = SequenceCheck()
        self._odd_start = False
        self._missing: dict[str, int] = {}
        self._asked: dict[str, int] = {}

    # --- what happens ----------------------------------------------------------------------------------

    def connecting(self, now: int) -> int:
        """A connection attempt starts; returns its epoch."""
        self.epoch += 1
        self._enter(CONNECTING, now)
        self._sequence = SequenceCheck()
        self._exchange_utc_ns = 0
        self.last_heartbeat_boot_ns = 0
        return self.epoch

    def opened(self, now: int) -> tuple[Subscription, ...]:
        """The socket is open: what to subscribe to, at once (the server closes after 5 s of silence)."""
        self._enter(SUBSCRIBING, now)
        self.last_frame_boot_ns = now
        self._missing = {product: self._snapshot_deadline(now, 0) for product in self.products}
        self._asked = dict.fromkeys(self.products, 1)
        channels = MARKET_CHANNELS if self.kind == "market" else USER_CHANNELS
        signed = self.kind == "user"
        return tuple(
            Subscription("subscribe", channel, () if channel in ("heartbeats", "user") else self.products, signed)
            for channel in channels
        )

    def received(self, frame: Frame, now: int) -> Acceptance:
        """Judge one decoded frame. After GIVE_UP call ``lost``; ``last_reason`` already says why."""
        self.frames += 1
        if frame.sequence is None:
            message = "; ".join(event.message for event in frame.events if isinstance(event, ErrorEvent))
            self.last_reason = f"venue_error: {message}"
            return Acceptance.GIVE_UP if self.kind == "user" else Acceptance.IGNORE
        before = self._sequence.last
        if before is None and self._starts_late(frame.sequence):
            self.gaps += 1
            self.last_reason = f"gap: the first frame is {frame.sequence}"
            return Acceptance.GIVE_UP
        verdict = self._sequence.note(frame.sequence)
        if verdict is SequenceVerdict.GAP:
            self.gaps += 1
            self.last_reason = f"gap: frame {frame.sequence} after {before}"
            return Acceptance.GIVE_UP
        if verdict is not SequenceVerdict.IN_ORDER:
            # Its content was applied already, or belongs before what was: absolute sizes must not go back.
            self.duplicates += 1
            return Acceptance.IGNORE
        self.last_frame_boot_ns = now
        if frame.sent_utc_ns > self._exchange_utc_ns:
            self._exchange_utc_ns, self.exchange_moved_boot_ns = frame.sent_utc_ns, now
        for event in frame.events:
            self._note_event(event, now)
        return Acceptance.APPLY

    def lost(self, reason: str, now: int) -> None:
        """The connection ended or was given up: wait (full jitter), then connect again."""
        if self.state == LIVE and now - self._since_boot_ns >= SETTLED_S * NS_PER_S:
            self._attempt = 0
        ceiling_s = min(self._settings.backoff_max_s, self._settings.backoff_first_s * 2.0 ** min(self._attempt, 30))
        self._attempt += 1
        self.reconnects += 1
        self.last_reason = reason
        self.retry_boot_ns = now + round(self._draw() * ceiling_s * NS_PER_S)
        self._enter(WAITING, now)
        self._missing.clear()

    def doubt(self, product: str, now: int) -> None:
        """The product's book is wrong: ask for a new snapshot at the next ``ask_again``."""
        self._missing[product] = now

    def stopped(self, now: int) -> None:
        self._enter(STOPPED, now)

    # --- what follows from time ------------------------------------------------------------------------

    def overdue(self, now: int) -> str | None:
        """Why the connection must be given up now, or None."""
        silence_ns = round(self._settings.silence_s * NS_PER_S)
        snapshot_ns = round(self._settings.snapshot_timeout_s * NS_PER_S)
        if self.state == CONNECTING and now - self._since_boot_ns > self._settings.connect_timeout_s * NS_PER_S:
            return "connect_timeout"
        if self.state not in (SUBSCRIBING, LIVE):
            return None
        begun = self._sequence.last is not None
        if now - self.last_frame_boot_ns > (silence_ns if begun else max(silence_ns, snapshot_ns)):
            return "silence"
        heard = self.last_heartbeat_boot_ns
        if now - (heard or self._since_boot_ns) > (silence_ns if heard else max(silence_ns, snapshot_ns)):
            return "no_heartbeat"
        # Some products' snapshots are asked for again one by one; none at all is the connection's fault.
        if self.state == SUBSCRIBING and now - self._since_boot_ns > snapshot_ns and self._nothing_came():
            return "no_snapshot"
        return None

    def ask_again(self, now: int) -> tuple[Subscription, ...]:
        """Messages that ask for the snapshots that did not come in time, ever more rarely; mostly none."""
        if self.state not in (SUBSCRIBING, LIVE) or self.kind != "market":
            return ()
        late = tuple(product for product, due in self._missing.items() if now >= due)
        if not late:
            return ()
        if self.state == SUBSCRIBING and not self._nothing_came():
            self._go_live(now)  # a product that never answers must not keep the others from counting
        for product in late:
            self._missing[product] = self._snapshot_deadline(now, self._asked[product])
            self._asked[product] += 1
        return (Subscription("unsubscribe", "level2", late, False), Subscription("subscribe", "level2", late, False))

    @property
    def missing(self) -> tuple[str, ...]:
        """Products whose snapshot has not come (or is asked for anew)."""
        return tuple(self._missing)

    def health(self) -> ConnectionHealth:
        return ConnectionHealth(
            connection=self.kind,
            epoch=self.epoch,
            state=self.state,
            frames=self.frames,
            gaps=self.gaps,
            reconnects=self.reconnects,
            last_reason=self.last_reason,
            last_frame_boot_ns=self.last_frame_boot_ns,
            last_heartbeat_boot_ns=self.last_heartbeat_boot_ns,
            exchange_moved_boot_ns=self.exchange_moved_boot_ns,
        )

    def _starts_late(self, first: int) -> bool:
        """Numbers begin at 0 (measured): a later one means that the beginning, a snapshot perhaps, was lost.
        Two connections in a row that begin so mean that the venue counts otherwise, and that is accepted."""
        late = first != 0 and not self._odd_start
        self._odd_start = first != 0
        return late

    def _note_event(self, event: object, now: int) -> None:
        if isinstance(event, HeartbeatEvent):
            self.last_heartbeat_boot_ns = now
        elif isinstance(event, BookEvent) and event.snapshot and event.product in self._missing:
            del self._missing[event.product]
            self._asked[event.product] = 1
        elif self.kind == "user" and self.state == SUBSCRIBING and _ends_user_snapshot(event):
            self._go_live(now)
        if self.kind == "market" and self.state == SUBSCRIBING and not self._missing:
            self._go_live(now)

    def _go_live(self, now: int) -> None:
        self._enter(LIVE, now)
        # The first heartbeat of a connection may be a second away.
        self.last_heartbeat_boot_ns = max(self.last_heartbeat_boot_ns, now)

    def _nothing_came(self) -> bool:
        return self.kind == "user" or len(self._missing) == len(self.products)

    def _snapshot_deadline(self, now: int, asked: int) -> int:
        return now + round(self._settings.snapshot_timeout_s * NS_PER_S * 2.0 ** min(asked, 6))

    def _enter(self, state: str, now: int) -> None:
        self.state = state
        self._since_boot_ns = now


def _ends_user_snapshot(event: object) -> bool:
    """The list of subscriptions follows the snapshots of its channels (measured); a short batch is the last."""
    if isinstance(event, SubscriptionsEvent):
        return any(channel == "user" for channel, _ in event.channels)
    return isinstance(event, UserEvent) and event.snapshot and len(event.orders) < USER_BATCH
