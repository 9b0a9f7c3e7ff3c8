"""Run a recording of the websocket through the daemon's own decoder, sequence check, books and guards.

A recording is ``*.jsonl`` or ``*.jsonl.gz``: a header line, then ``{"dt": seconds, "f": "<frame text>"}``. No
daemon, no waiting: time is the recording's own. What comes out is the state a client must hold at the end.
"""

from __future__ import annotations

import gzip
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import orjson

from actors.clock import NS_PER_S
from actors.feed.book import Book, plain
from actors.feed.conflation import MarketAssembly
from actors.feed.decode import CandlesEvent, FeedError, Frame, TradesEvent, decode
from actors.feed.sequence import SequenceCheck, SequenceVerdict
from actors.guard.symbol import SymbolGuard
from actors.messages.market import PublicTrade, Side
from config.sections.guard import GuardSettings

START_BOOT_NS = 1_000 * NS_PER_S
VWAP_STEP = Decimal("0.00000001")


class RecordingError(Exception):
    """The file is not a recording; the text names file, line and what is wrong."""


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """``at_s``: seconds since the recording began."""

    at_s: float
    raw: bytes


@dataclass(slots=True)
class TradeSums:
    """Trades of one product: those of snapshots apart from those of updates."""

    snapshot: int = 0
    update: int = 0
    volume: Decimal = Decimal(0)
    notional: Decimal = Decimal(0)
    high: Decimal | None = None
    low: Decimal | None = None
    maker_buy: int = 0
    maker_sell: int = 0
    last: PublicTrade | None = None

    def take(self, event: TradesEvent) -> None:
        for trade in event.trades:
            if self.last is None or trade.trade_id > self.last.trade_id:
                self.last = trade
        if event.snapshot:
            self.snapshot += len(event.trades)
            return
        for trade in event.trades:
            self.update += 1
            self.volume += trade.size
            self.notional += trade.price * trade.size
            self.high = trade.price if self.high is None else max(self.high, trade.price)
            self.low = trade.price if self.low is None else min(self.low, trade.price)
            self.maker_buy += trade.maker_side is Side.BUY
            self.maker_sell += trade.maker_side is Side.SELL

    def as_dict(self) -> dict[str, object]:
        vwap = (self.notional / self.volume).quantize(VWAP_STEP) if self.volume else None
        return {
            "snapshot": self.snapshot,
            "update": self.update,
            "update_base_volume": plain(self.volume),
            "update_vwap": None if vwap is None else plain(vwap),
            "update_high": None if self.high is None else plain(self.high),
            "update_low": None if self.low is None else plain(self.low),
            "maker_buy": self.maker_buy,
            "maker_sell": self.maker_sell,
            "last_trade_id": None if self.last is None else str(self.last.trade_id),
            "last_price": None if self.last is None else plain(self.last.price),
        }


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """``state`` has the form of the recordings' ``*.expected.json`` (its ``expected``)."""

    state: dict[str, object]
    gaps: int
    lost_frames: int
    duplicates: int
    garbled: tuple[str, ...]
    accepted: dict[str, int]
    refused: dict[str, dict[str, int]]
    bars: int
    incomplete_bars: int
    trade_holes: int
    seconds_recorded: float
    seconds_taken: float
    frames_per_s: float

    def as_dict(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class _Run:
    assembly: MarketAssembly
    guards: dict[str, SymbolGuard]
    sequence: SequenceCheck = field(default_factory=SequenceCheck)
    epoch: int = 1
    frames: int = 0
    garbled: list[str] = field(default_factory=list)
    trades: dict[str, TradeSums] = field(default_factory=dict)
    candle_rows: int = 0
    accepted: Counter[str] = field(default_factory=Counter)
    refused: dict[str, Counter[str]] = field(default_factory=dict)
    bars: int = 0
    incomplete_bars: int = 0

    def take(self, raw: bytes, now: int) -> None:
        self.frames += 1
        try:
            frame = decode(raw)
        except FeedError as error:
            self.garbled.append(f"frame {self.frames}: {error}")
            self._distrust(now)
            return
        if frame.sequence is None:
            self.garbled.append(f"frame {self.frames}: an error of the venue: {frame.events}")
            return
        verdict = self.sequence.note(frame.sequence)
        if verdict is SequenceVerdict.GAP:
            self._distrust(now)  # the live feed connects anew here; a recording goes on with what comes
        elif verdict is not SequenceVerdict.IN_ORDER:
            return
        self._sum_up(frame)
        for product in self.assembly.apply(frame, now):
            self._guard(product, now)

    def _distrust(self, now: int) -> None:
        self.epoch += 1
        self.assembly.connected(self.epoch)
        for product in self.guards:
            self._guard(product, now)

    def _guard(self, product: str, now: int) -> None:
        verdict = self.guards[product].apply(self.assembly.update(product), now)
        self.accepted[product] += verdict.accepted
        for reason, amount in verdict.refused.items():
            self.refused.setdefault(product, Counter())[reason.value] += amount
        self.bars += len(verdict.bars)
        self.incomplete_bars += sum(not bar.complete for bar in verdict.bars)

    def _sum_up(self, frame: Frame) -> None:
        for event in frame.events:
            if isinstance(event, TradesEvent):
                self.trades.setdefault(event.product, TradeSums()).take(event)
            elif isinstance(event, CandlesEvent) and event.snapshot:
                self.candle_rows += len(event.candles)


def read_recording(path: Path) -> tuple[dict[str, object], Iterator[RecordedFrame]]:
    """(header, frames); raises RecordingError."""
    lines = _lines(path)
    try:
        header = orjson.loads(next(lines)[1])
    except StopIteration:
        raise RecordingError(f"{path}: empty") from None
    except orjson.JSONDecodeError as error:
        raise RecordingError(f"{path}: line 1 is no JSON header: {error}") from None
    if not isinstance(header, dict) or "replay" not in header:
        raise RecordingError(f'{path}: line 1 must be a header with "replay", found {str(header)[:80]}')
    return header, _frames(path, lines)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            yield from enumerate((line for line in file if line.strip()), start=1)
    except (OSError, EOFError) as error:
        raise RecordingError(f"{path}: cannot be read: {error}") from None


def _frames(path: Path, lines: Iterator[tuple[int, bytes]]) -> Iterator[RecordedFrame]:
    for number, line in lines:
        try:
            item = orjson.loads(line)
            frame = RecordedFrame(float(item["dt"]), item["f"].encode())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise RecordingError(f"{path}: line {number} is no recorded frame: {error!r}") from None
        yield frame


def products_of(path: Path) -> tuple[str, ...]:
    """The recording's products: from its header, else from every frame that names some."""
    header, frames = read_recording(path)
    named = header.get("products")
    if isinstance(named, list) and named and all(isinstance(item, str) for item in named):
        return tuple(named)
    found: dict[str, None] = {}
    for item in frames:
        try:
            frame = decode(item.raw)
        except FeedError:
            continue
        found.update((event.product, None) for event in frame.events if hasattr(event, "product"))
    return tuple(found)


def replay(path: Path, settings: GuardSettings | None = None, depth_levels: int = 20) -> ReplayReport:
    """Run the whole recording; raises RecordingError. A frame that cannot be decoded counts as a lost one."""
    products = products_of(path)
    guard_settings = settings or GuardSettings()
    run = _Run(
        MarketAssembly(products, depth_levels),
        {product: SymbolGuard(product, guard_settings) for product in products},
    )
    run.assembly.connected(run.epoch)
    recorded_s = taken_s = 0.0
    for item in read_recording(path)[1]:
        recorded_s = item.at_s
        started = time.perf_counter()
        run.take(item.raw, START_BOOT_NS + round(item.at_s * NS_PER_S))
        taken_s += time.perf_counter() - started
    return ReplayReport(
        state=_state(run),
        gaps=run.sequence.gaps,
        lost_frames=run.sequence.lost,
        duplicates=run.sequence.duplicates + run.sequence.late,
        garbled=tuple(run.garbled),
        accepted=dict(run.accepted),
        refused={product: dict(reasons) for product, reasons in run.refused.items()},
        bars=run.bars,
        incomplete_bars=run.incomplete_bars,
        trade_holes=sum(guard.trades.holes for guard in run.guards.values()),
        seconds_recorded=recorded_s,
        seconds_taken=taken_s,
        frames_per_s=run.frames / taken_s if taken_s else 0.0,
    )


def _state(run: _Run) -> dict[str, object]:
    states = run.assembly.states
    return {
        "frames": run.frames,
        "heartbeats": run.assembly.heartbeats,
        "trades": {product: run.trades[product].as_dict() for product in states if product in run.trades},
        "book": {product: _book(state.book, state.book_messages) for product, state in states.items()},
        "last_ticker": {
            product: {
                "price": plain(state.ticker.price),
                "best_bid": None if state.ticker.best_bid is None else plain(state.ticker.best_bid),
                "best_ask": None if state.ticker.best_ask is None else plain(state.ticker.best_ask),
            }
            for product, state in states.items()
            if state.ticker is not None
        },
        "candles": {
            "rows": run.candle_rows,
            "last": {
                product: {
                    "start": str(state.candle.start_s),
                    "high": state.candle.high,
                    "low": state.candle.low,
                    "open": state.candle.open,
                    "close": state.candle.close,
                    "volume": state.candle.volume,
                    "product_id": product,
                }
                for product, state in states.items()
                if state.candle is not None
            },
        },
    }


def _book(book: Book, messages: int) -> dict[str, object]:
    bids, asks = book.sizes()
    return {
        "messages": messages,
        "bid_levels": bids,
        "offer_levels": asks,
        "top5_bids": [[plain(price), plain(size)] for price, size in book.top_bids(5)],
        "top5_offers": [[plain(price), plain(size)] for price, size in book.top_asks(5)],
        "sha256": book.sha256(),
    }


def main(file: str, as_json: bool = False) -> int:
    """Print the report of one recording; 0, 1 when frames were lost or garbled, 2 when the file is none."""
    try:
        report = replay(Path(file))
    except RecordingError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if as_json:
        sys.stdout.write(orjson.dumps(report.as_dict(), option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        sys.stdout.write(_as_text(report))
    return 1 if report.gaps or report.garbled else 0


def _as_text(report: ReplayReport) -> str:
    head = (
        f"{report.state['frames']} frames of {report.seconds_recorded:.1f} s in {report.seconds_taken:.2f} s "
        f"({report.frames_per_s:.0f} frames/s)\n"
        f"gaps {report.gaps} (lost {report.lost_frames}), duplicates {report.duplicates}, "
        f"garbled {len(report.garbled)}, holes in trade ids {report.trade_holes}\n"
        f"bars {report.bars} ({report.incomplete_bars} incomplete)\n"
    )
    ticks = "".join(
        f"{product}: {accepted} ticks accepted, refused {report.refused.get(product, {})}\n"
        for product, accepted in report.accepted.items()
    )
    garbled = "".join(f"garbled: {line}\n" for line in report.garbled[:10])
    state = orjson.dumps({"expected": report.state}, option=orjson.OPT_INDENT_2).decode()
    return f"{head}{ticks}{garbled}{state}\n"
