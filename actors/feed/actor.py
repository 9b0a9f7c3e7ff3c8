"""The feed's mailbox: market updates to guards, the user's orders to the tracker, health and breakers.

The websockets live in one thread (client.py). A thread that ended or hangs is this actor's death: it raises,
leaves with a crash record, and its supervisor starts a new one.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace

from actors.actor import TradingActor
from actors.clock import NS_PER_S
from actors.feed.client import FeedClient, tune_process
from actors.feed.listing import Listing
from actors.feed.outbox import Batch, ConnectionNote, Outbox
from actors.feed.session import LIVE, STOPPED
from actors.messages.base import Message
from actors.messages.delivery import Undelivered
from actors.messages.health import Alert, BreakerName, BreakerSignal, Severity
from actors.messages.market import FeedHealth, MarketUpdate, PublicTrade, UserChannelReset, UserOrderEvent
from actors.messages.venue import QueryKind, VenueAnswer, VenueQuery
from actors.ports import start_thread

LOOK_S = 0.5
PULSE_DEADLINE_S = 5.0
"""A loop that did not turn for this long hangs (the largest frame takes 0.2 s)."""
EPOCHS_PER_INCARNATION = 1_000_000
RECENT_TRADES = 100
LISTING_S, LISTING_QUICK, LISTING_MAX_S = 2.0, 5, 30.0
"""The venue's listing is read this often while a book is missing; after so many times ever more seldom, since an
outage of an hour must not use up the account's requests."""
LISTING_CALM_S = 60.0
"""... and this often while everything else flows without a product that is not listed."""
HEALTH_RECEIVERS = ("watchdog", "admin", "metrics")


class FeedThreadError(RuntimeError):
    """The thread that holds the websockets ended or hangs."""


class FeedActor(TradingActor):
    """Holds the market connection and, with a key, the user connection."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox: Outbox
        self._client: FeedClient | None = None
        self._thread: threading.Thread | None = None
        self._death: BaseException | None = None
        self._guard_of: dict[str, str] = {}
        self._incarnations: dict[str, int] = {}
        self._latest: dict[str, MarketUpdate] = {}
        self._recent: dict[str, deque[PublicTrade]] = {}
        self._signals: dict[tuple[BreakerName, str], BreakerSignal] = {}
        self._unsent: set[tuple[BreakerName, str]] = set()
        self._user_epoch = 0
        self._user_live = False
        self._lost_for_tracker = ""
        self._exchange_utc_ns = 0
        self._listing = Listing(())
        self._listing_asked = ("", 0)
        self._listings_in_a_row = 0

    # --- life ------------------------------------------------------------------------------------------

    def restore(self) -> bool:
        for guard, products in self.settings.guard_groups().items():
            for product in products:
                self._guard_of[product] = guard
                self._recent[product] = deque(maxlen=RECENT_TRADES)
        self.outbox = Outbox(lambda: self.events.put(self._take))
        self._listing = Listing(self.settings.data_products)
        return True

    def started(self) -> None:
        self._incarnations = {name: peer.incarnation for name, peer in self.peers.items()}
        for product in self.settings.data_products:
            self._signal_book(product, True, "no book yet")
        if self.settings.venue.key_file is not None:
            self._signal(BreakerName.USER_CHANNEL, "*", True, "not connected yet")
        self.outbox.pulse_boot_ns = self._looked_boot_ns = self._excused_boot_ns = self.clock.boot_ns()
        self._open()
        self.every("health", 1.0, self._send_health)
        self.every("thread", LOOK_S, self._check_thread)
        self.every("listing", LISTING_S, self._ask_listing)

    def _open(self) -> None:
        """Start the thread that holds the connections."""
        tune_process()
        first_epoch = self.incarnation * EPOCHS_PER_INCARNATION
        client = self._client = FeedClient(self.settings, self.clock, self.outbox, first_epoch)
        _ = self.events  # made here: the mailbox watches it before the thread can use it

        def body() -> None:
            try:
                client.run()
            except BaseException as error:
                self._death = error

        self._thread = start_thread(f"{self.name}:websockets", body)

    def progress(self) -> dict[str, int]:
        frames = sum(connection.frames for connection in self.outbox.connections)
        connections = self.outbox.connections
        return {
            "last_frame": max((one.last_frame_boot_ns for one in connections), default=0),
            "exchange_time": max((one.exchange_moved_boot_ns for one in connections), default=0),
            "frames_count": frames,
            "exchange_utc_ns": self._exchange_utc_ns,
        }

    def peers_changed(self) -> None:
        """A part that is new knows nothing: tell it what it needs."""
        before, self._incarnations = self._incarnations, {n: p.incarnation for n, p in self.peers.items()}
        new = {name for name, incarnation in self._incarnations.items() if before.get(name) != incarnation}
        for product, guard in self._guard_of.items():
            if guard in new:
                self._repeat(product)
        if "watchdog" in new:
            self._unsent.update(self._signals)
            self._send_signals()
        if "tracker" in new and self._lost_for_tracker:
            self._reset_user_channel(self._lost_for_tracker)

    def _check_thread(self) -> None:
        if self._death is not None:
            raise FeedThreadError(f"the websocket thread ended: {self._death!r}") from self._death
        if self._thread is not None and not self._thread.is_alive():
            raise FeedThreadError("the websocket thread is gone")
        now = self.clock.boot_ns()
        if now - self._looked_boot_ns > 2 * LOOK_S * NS_PER_S:
            self._excused_boot_ns = now  # the host stalled: the thread did not turn because nobody did
        self._looked_boot_ns = now
        age_s = (now - max(self.outbox.pulse_boot_ns, self._excused_boot_ns)) / NS_PER_S
        if self._thread is not None and age_s > PULSE_DEADLINE_S:
            raise FeedThreadError(f"the websocket thread's loop did not turn for {age_s:.1f} s")
        self._send_signals()

    # --- what the thread hands over --------------------------------------------------------------------

    def _take(self) -> None:
        batch = self.outbox.take()
        for update in batch.updates.values():
            self._on_update(update)
        self._on_user(batch)
        for note in batch.notes:
            self._log_note(note)
        for (name, labels), amount in batch.counts.items():
            self.meter.count(name, amount, **dict(labels))
        if batch.notes or any(isinstance(item, ConnectionNote) for item in batch.user):
            self._send_health()

    def _on_update(self, update: MarketUpdate) -> None:
        before = self._latest.get(update.symbol)
        self._latest[update.symbol] = update
        self._recent[update.symbol].extend(update.trades)
        self._exchange_utc_ns = max(self._exchange_utc_ns, update.exchange_utc_ns)
        if update.merged:
            self.meter.count("feed_merged_total", update.merged, symbol=update.symbol)
        self.tell(self._guard_of[update.symbol], update)
        if before is None or before.fresh != update.fresh:
            self._signal_book(update.symbol, not update.fresh, "" if update.fresh else "no verified book")

    def _repeat(self, product: str) -> None:
        """The newest state again, with the recent trades: the guard knows by their ids which are new to it."""
        latest = self._latest.get(product)
        if latest is not None:
            self.tell(self._guard_of[product], replace(latest, trades=tuple(self._recent[product]), merged=0))

    def _on_user(self, batch: Batch) -> None:
        for item in batch.user:
            if isinstance(item, UserOrderEvent):
                if not self.tell("tracker", item):
                    self._lost_for_tracker = "events came while the tracker was away"
                continue
            self._log_note(item)
            live = item.state == LIVE
            if live or self._user_live:
                self._user_live, self._user_epoch = live, item.epoch
                self._reset_user_channel("connected" if live else item.reason or item.state)
            if item.state != STOPPED:
                reason = "" if live else (item.reason or f"{item.state}, not live")
                self._signal(BreakerName.USER_CHANNEL, "*", not live, reason)

    def _reset_user_channel(self, reason: str) -> None:
        known = self.tell("tracker", UserChannelReset(self._user_epoch, reason, self.clock.boot_ns()))
        self._lost_for_tracker = "" if known else reason

    def _log_note(self, note: ConnectionNote) -> None:
        write = self.log.warning if note.reason else self.log.info
        write("connection", connection=note.connection, state=note.state, epoch=note.epoch, reason=note.reason)

    def on_undelivered(self, message: Undelivered, sender: object) -> None:
        """Make good what matters: signals are sent again, a guard gets the state anew, the tracker a reset."""
        super().on_undelivered(message, sender)
        lost = message.message
        if isinstance(lost, BreakerSignal):
            self._unsent.add((lost.breaker, lost.scope))
        elif isinstance(lost, MarketUpdate):
            self.after(f"repeat.{lost.symbol}", 0.1, lambda: self._repeat(lost.symbol))
        elif isinstance(lost, UserOrderEvent | UserChannelReset):
            self._lost_for_tracker = f"{type(lost).__name__} was not delivered"
            self.after("tracker-reset", 0.2, lambda: self._reset_user_channel(self._lost_for_tracker))

    # --- breakers and health ---------------------------------------------------------------------------

    def _signal_book(self, product: str, tripped: bool, reason: str) -> None:
        for instrument in self.settings.instruments:
            if instrument.data_product == product:
                self._signal(BreakerName.BOOK_GAP, instrument.symbol, tripped, reason)

    def _signal(self, breaker: BreakerName, scope: str, tripped: bool, reason: str) -> None:
        key = (breaker, scope)
        known = self._signals.get(key)
        if known is None or known.tripped != tripped:
            self._signals[key] = BreakerSignal(breaker, scope, tripped, reason, self.name)
            self._unsent.add(key)
            self._send_signals()

    def _send_signals(self) -> None:
        """Every signal reaches the watchdog: what could not be told yet is tried again."""
        for key in sorted(self._unsent):
            if self.tell("watchdog", self._signals[key]):
                self._unsent.discard(key)

    # --- what the venue lists --------------------------------------------------------------------------

    def _ask_listing(self) -> None:
        """A book that does not come may be one that the venue does not have."""
        left_out, now = self._listing.left_out, self.clock.boot_ns()
        shown = (self._latest.get(product) for product in self._listing.products if product not in left_out)
        calm = all(update is not None and update.fresh for update in shown)
        self._listings_in_a_row = 0 if calm else self._listings_in_a_row
        more = self._listings_in_a_row - LISTING_QUICK
        wait_s = LISTING_CALM_S if calm else min(LISTING_MAX_S, LISTING_S * 2.0**more) if more > 0 else 0.0
        if (calm and not left_out) or now - self._listing_asked[1] < wait_s * NS_PER_S:
            return
        request_id = f"{self.name}-{self.incarnation}-listing-{now}"
        query = VenueQuery(request_id, QueryKind.PRODUCTS, self.stamp, products=self._listing.products)
        if self.tell("gateway", query):
            self._listing_asked = (request_id, now)
            self._listings_in_a_row = min(self._listings_in_a_row + 1, 10)

    def on_venue_answer(self, answer: VenueAnswer, sender: object) -> None:
        if answer.request_id != self._listing_asked[0] or not answer.ok:
            return  # what cannot be read changes nothing
        before = self._listing.left_out
        if not self._listing.hear({rules.product_id for rules in answer.rules}):
            return
        left_out = self._listing.left_out
        self.log.warning("listing", left_out=sorted(left_out))
        if self._client is not None:
            self._client.leave_out(left_out)
        for product in sorted(left_out - before):
            text = f"{product} is in universe.yaml, the venue does not list it: no quotes, its symbols stay halted"
            self.tell("alerts", Alert(Severity.PAGE, f"unlisted:{product}", text, self.name))
            self._signal_book(product, True, "the venue does not list it")
        for product in sorted(before - left_out):
            self.tell("alerts", Alert(Severity.INFO, f"listed:{product}", f"{product} is listed again", self.name))

    def _send_health(self) -> None:
        health: Message = FeedHealth(self.outbox.connections, self.outbox.symbols, self.incarnation)
        for name in HEALTH_RECEIVERS:
            self.tell(name, health)
