from __future__ import annotations

import gzip
import json
from pathlib import Path

import orjson
import pytest

from commands.replay import RecordingError, main, replay
from tests.actors.feed import frames
from tests.actors.feed.frames import EXPECTED, RECORDING

T = "2026-08-09T21:05:{:02d}Z"


def write(path: Path, *raw: bytes, products: tuple[str, ...] = ("BTC-USD",)) -> Path:
    header = {"replay": 1, "products": list(products)}
    lines = [orjson.dumps(header)]
    lines += [orjson.dumps({"dt": n / 10, "f": text.decode(errors="replace")}) for n, text in enumerate(raw)]
    path.write_bytes(b"\n".join(lines))
    return path


@pytest.mark.skipif(not RECORDING.exists(), reason=f"{RECORDING} is not here")
def test_the_recorded_market_ends_as_it_was_computed_apart() -> None:
    report = replay(RECORDING)
    assert report.state == json.loads(EXPECTED.read_text())["expected"]
    assert (report.gaps, report.garbled, report.trade_holes) == (0, (), 0)
    assert {reason for reasons in report.refused.values() for reason in reasons} == {"no_book"}


def test_a_gap_drops_the_book_until_the_next_snapshot(tmp_path: Path) -> None:
    book = frames.book_snapshot(0)
    gap = frames.level2(2, "update", "BTC-USD", ("bid", "99", "1"))
    report = replay(write(tmp_path / "r.jsonl", book, gap))
    assert (report.gaps, report.lost_frames) == (1, 1)
    assert report.state["book"]["BTC-USD"]["bid_levels"] == 0  # type: ignore[index]
    healed = replay(write(tmp_path / "r.jsonl", book, gap, frames.book_snapshot(3)))
    assert healed.state["book"]["BTC-USD"]["bid_levels"] == 1  # type: ignore[index]


def test_a_frame_that_comes_twice_counts_once(tmp_path: Path) -> None:
    trade = frames.trades(1, "update", "BTC-USD", (1, "100", "1", T.format(1)))
    report = replay(write(tmp_path / "r.jsonl", frames.book_snapshot(0), trade, trade))
    assert report.duplicates == 1
    assert report.state["trades"]["BTC-USD"]["update"] == 1  # type: ignore[index]


def test_a_garbled_frame_is_named_and_drops_the_book(tmp_path: Path) -> None:
    path = write(tmp_path / "r.jsonl", frames.book_snapshot(0), b'{"channel":"l2_d')
    report = replay(path)
    assert len(report.garbled) == 1 and report.garbled[0].startswith("frame 2")
    assert report.state["book"]["BTC-USD"]["bid_levels"] == 0  # type: ignore[index]
    assert main(str(path)) == 1


def test_a_print_far_from_the_book_is_refused_with_its_reason(tmp_path: Path) -> None:
    odd = frames.trades(1, "update", "BTC-USD", (1, "0.06", "1", T.format(1)))
    beats = [frames.heartbeat(n) for n in range(2, 40)]
    report = replay(write(tmp_path / "r.jsonl", frames.book_snapshot(0), odd, *beats))
    assert report.refused["BTC-USD"]["out_of_band"] == 1


def test_the_report_is_json_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "r.jsonl", frames.book_snapshot(0))
    assert main(str(path), as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["state"]["frames"] == 1
    assert main(str(path)) == 0
    assert "1 frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", [b"", b"not json", b'{"no": "header"}', b'{"replay": 1}\n{"dt": "x"}', b'{"replay": 1}\n[1]']
)
def test_a_file_that_is_no_recording_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=r"r\.jsonl"):
        replay(path)
    assert main(str(path)) == 2
    assert main(str(tmp_path / "none.jsonl")) == 2


def test_a_cut_compressed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl.gz"
    path.write_bytes(gzip.compress(write(tmp_path / "r.jsonl", frames.book_snapshot(0)).read_bytes())[:-9])
    with pytest.raises(RecordingError):
        replay(path)
