"""Unclean starts are counted on disk; too many, or a damaged book, start HALTED."""

from __future__ import annotations

from pathlib import Path

from actors.clock import NS_PER_S
from commands.starts import StartBook

NOW = 1_786_309_548 * NS_PER_S
MINUTE = 60 * NS_PER_S


def begin(folder: Path, at: int, epoch: int) -> str:
    return StartBook(folder).begin(at, epoch, limit=3, window_s=1800)


def test_three_unclean_starts_within_the_window_halt_the_next(tmp_path: Path) -> None:
    assert [begin(tmp_path, NOW + n * MINUTE, n) for n in range(3)] == ["", "", ""]
    assert "3 starts within 30 minutes" in begin(tmp_path, NOW + 4 * MINUTE, 4)


def test_orderly_stops_do_not_count(tmp_path: Path) -> None:
    for n in range(5):
        book = StartBook(tmp_path)
        assert book.begin(NOW + n * MINUTE, n, 3, 1800) == ""
        book.end(n)


def test_old_unclean_starts_are_forgotten(tmp_path: Path) -> None:
    for n in range(3):
        begin(tmp_path, NOW + n * MINUTE, n)
    assert begin(tmp_path, NOW + 40 * MINUTE, 9) == ""


def test_starts_that_an_operator_acknowledged_do_not_count_while_later_ones_do(tmp_path: Path) -> None:
    for n in (1, 2, 3):
        begin(tmp_path, NOW + n * MINUTE, n)
    book = StartBook(tmp_path)
    assert "3 starts" in book.begin(NOW + 4 * MINUTE, 4, 3, 1800)  # an operator resumes in this one
    for n in (5, 6):
        assert StartBook(tmp_path).begin(NOW + n * MINUTE, n, 3, 1800, acknowledged=4) == ""
    assert "3 starts" in StartBook(tmp_path).begin(NOW + 7 * MINUTE, 7, 3, 1800, acknowledged=4), "4, 5, 6 died"


def test_a_damaged_book_cannot_prove_safety(tmp_path: Path) -> None:
    (tmp_path / "starts.json").write_text("{")
    assert "damaged" in begin(tmp_path, NOW, 1)
    assert begin(tmp_path, NOW + MINUTE, 2) == "", "the book was written anew"
