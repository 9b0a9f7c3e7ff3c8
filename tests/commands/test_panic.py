"""``run.py panic`` at a venue that does not cooperate: own orders go, protection and others' orders stay, proven."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from actors.clock import SystemClock
from commands import exchange as exchange_module
from commands.exchange import Exchange, Place
from commands.panic import NO_FLATTEN
from commands.sweep import Rule, Tally
from simulator.testing import SimulatorProcess
from simulator.values import Json

ENDED = {"FILLED", "CANCELLED", "EXPIRED", "FAILED"}
RUN = str(Path(__file__).resolve().parents[2] / "run.py")
VISIBILITY_S = 0.5


@pytest.fixture(scope="module")
def running() -> Iterator[SimulatorProcess]:
    with SimulatorProcess(frozen=True, balances={"USD": "100000", "BTC": "10"}) as venue:
        venue.price("BTC-USD", "60000")
        yield venue


@pytest.fixture
def venue(running: SimulatorProcess) -> Iterator[SimulatorProcess]:
    """The venue without faults and without open orders, and afterwards again."""
    yield running
    running.clear_faults()
    everything = Exchange(place(running), 20, print)
    ids = [str(order["order_id"]) for order in running.truth()["orders"] if order["status"] not in ENDED]
    for at in range(0, len(ids), 100):
        everything.ask(lambda client, at=at: client.cancel_orders(order_ids=ids[at : at + 100]))  # type: ignore[misc]


def place(venue: SimulatorProcess) -> Place:
    return Place(venue.rest, Path(venue.key_file), Path(venue.ca_file), VISIBILITY_S)


serial = iter(range(1, 100_000))


def entry(venue: SimulatorProcess, instance: str = "a", family: str = "td") -> str:
    name = f"{family}-{instance}-1-e-{next(serial)}"
    terms = {"limit_limit_gtc": {"base_size": "0.001", "limit_price": "20000", "post_only": False}}
    venue.order(client_order_id=name, product_id="BTC-USD", side="BUY", order_configuration=terms)
    return name


def protection(venue: SimulatorProcess) -> str:
    name = f"td-a-1-p-{next(serial)}"
    terms = {"trigger_bracket_gtc": {"base_size": "0.01", "limit_price": "90000", "stop_trigger_price": "30000"}}
    venue.order(client_order_id=name, product_id="BTC-USD", side="SELL", order_configuration=terms)
    return name


def by_hand(venue: SimulatorProcess) -> str:
    terms = {"limit_limit_gtc": {"base_size": "0.002", "limit_price": "95000", "post_only": False}}
    made = venue.order(product_id="BTC-USD", side="SELL", order_configuration=terms)
    return str(made["client_order_id"])


def open_names(venue: SimulatorProcess) -> set[str]:
    return {str(order["client_order_id"]) for order in venue.truth()["orders"] if order["status"] not in ENDED}


def sweep(venue: SimulatorProcess, for_s: float = 30, **rule: bool) -> tuple[Tally, Exchange]:
    exchange = Exchange(place(venue), for_s, print)
    tally = Tally(Rule("td", **rule), VISIBILITY_S)  # type: ignore[arg-type]
    exchange.clear(tally, SystemClock().utc_ns() - 3600 * 10**9)
    return tally, exchange


def panic(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    dropped = ("COINBASE_", "TRADING_DAEMON_")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    return subprocess.run(
        [sys.executable, RUN, "panic", *arguments],
        capture_output=True, text=True, timeout=120, cwd=folder, env=clean | {"HOME": str(folder)} | environment,
    )  # fmt: skip


def keyed(venue: SimulatorProcess, folder: Path) -> tuple[str, ...]:
    """As at the real exchange: a key file and a configuration that says where it is."""
    config = folder / "config"
    config.mkdir(exist_ok=True)
    (config / "app.yaml").write_text(f"venue:\n  rest: {venue.rest}\n  ca_file: {venue.ca_file}\n")
    (config / "policy.yaml").write_text("{}\n")
    return ("--config-dir", str(config), "--key-file", venue.key_file)


def test_with_the_key_alone_entries_of_every_instance_go_and_the_rest_stays(
    venue: SimulatorProcess, tmp_path: Path
) -> None:
    entry(venue), entry(venue, "b")
    stays = {protection(venue), by_hand(venue), entry(venue, family="other")}
    done = panic(tmp_path, *keyed(venue, tmp_path), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert open_names(venue) == stays
    assert (told["proven"], told["cancelled"], told["still_open"]) == (True, 2, [])
    assert told["instances"] == {"a": 2, "b": 1}
    assert [order["stop"] for order in told["resting"]] == ["30000"]
    assert (told["manual_orders_left"], told["other_families_left"]) == (1, {"other": 1})
    assert not (tmp_path / "data").exists()
    text = panic(tmp_path, *keyed(venue, tmp_path))
    assert text.returncode == 0 and "PROVEN" in text.stdout and "--family other" in text.stdout


def test_all_names_what_it_leaves_naked_and_needs_yes(venue: SimulatorProcess, tmp_path: Path) -> None:
    resting, mine = protection(venue), by_hand(venue)
    asked = panic(tmp_path, *keyed(venue, tmp_path), "--all", "--data-dir", str(tmp_path))
    assert asked.returncode == 1
    assert resting in asked.stderr and "0.01" in asked.stderr
    assert open_names(venue) == {resting, mine} and not (tmp_path / "KILL").exists()
    done = panic(tmp_path, *keyed(venue, tmp_path), "--all", "--yes", "--data-dir", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert open_names(venue) == {mine} and (tmp_path / "KILL").exists()


def test_a_latch_that_should_be_there_and_is_not_is_never_told_as_done(venue: SimulatorProcess, tmp_path: Path) -> None:
    entry(venue)
    done = panic(tmp_path, *keyed(venue, tmp_path), "--data-dir", str(tmp_path / "gone"), "--json")
    assert done.returncode == 1 and "NOT latched" in done.stderr
    assert json.loads(done.stdout)["proven"] and open_names(venue) == set()


def test_flatten_is_refused_with_its_reason_and_so_is_a_panic_without_a_key(tmp_path: Path) -> None:
    refused = panic(tmp_path, "--flatten")
    assert (refused.returncode, refused.stderr) == (2, f"refused: {NO_FLATTEN}\n")
    keyless = panic(tmp_path)
    assert keyless.returncode == 2 and "--key-file" in keyless.stderr


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("status", {"status": 429, "count": 4}),
        ("status", {"status": 500, "count": 4}),
        ("status", {"status": 401, "count": 4}),
        ("html_200", {"count": 3}),
        ("cut_before_booking", {"count": 3}),
        ("cut_after_booking", {"count": 3}),
        ("cut_after_booking", {"count": 2, "match": {"path": "batch_cancel"}}),
        ("status", {"status": 500, "count": 3, "match": {"path": "batch_cancel"}}),
        ("status", {"status": 400, "count": 1, "match": {"path": "batch_cancel"}}),
        ("slow", {"delay_s": 2, "count": 3}),
        ("slow", {"delay_s": 2, "count": 2, "when": "after", "match": {"path": "batch_cancel"}}),
    ],
)
def test_what_is_no_answer_is_asked_again(
    venue: SimulatorProcess, monkeypatch: pytest.MonkeyPatch, kind: str, more: Json
) -> None:
    monkeypatch.setattr(exchange_module, "READ_S", 0.5)
    entry(venue), entry(venue)
    stays = {protection(venue)}
    before = venue.struck(kind)
    venue.fault(kind, **more)
    tally, _ = sweep(venue)
    assert tally.proven and open_names(venue) == stays
    assert venue.struck(kind) > before


def test_an_order_that_listings_leave_out_at_first_is_found_by_the_second_look(venue: SimulatorProcess) -> None:
    venue.fault("orders_invisible_for", visible_after_s=VISIBILITY_S * 0.8)
    entry(venue)
    tally, _ = sweep(venue)
    assert tally.proven and open_names(venue) == set()


def test_an_order_that_fills_in_spite_of_its_cancel_is_named_as_maybe_naked(venue: SimulatorProcess) -> None:
    before = sweep(venue)[0].uncovered().get("BTC-USD")
    venue.fault("cancel_but_filled")
    entry(venue)
    tally, _ = sweep(venue)
    assert tally.proven and open_names(venue) == set()
    after = tally.uncovered()["BTC-USD"]
    assert after[0] is not None and after[0] > ((before[0] or 0) if before else 0)


def test_a_venue_that_never_answers_is_told_as_unproven_with_what_it_said(
    venue: SimulatorProcess, tmp_path: Path
) -> None:
    name = entry(venue)
    venue.fault("status", status=500, seconds=60, match={"path": "batch_cancel"})
    done = panic(tmp_path, *keyed(venue, tmp_path), "--for", "4", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 1 and not told["proven"]
    assert [order["client_order_id"] for order in told["still_open"]] == [name]
    assert "500" in told["hindrance"]


def test_an_interrupted_panic_says_what_is_unproven(venue: SimulatorProcess, tmp_path: Path) -> None:
    name = entry(venue)
    before = venue.struck("status")
    venue.fault("status", status=500, seconds=60, match={"path": "batch_cancel"})
    running = subprocess.Popen(
        [sys.executable, RUN, "panic", *keyed(venue, tmp_path), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path,
        # Whoever runs in the background ignores SIGINT, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while venue.struck("status") == before and time.monotonic() < deadline:
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        told = json.loads(running.communicate(timeout=30)[0])
    finally:
        running.kill()  # one that goes on would cancel the next test's orders
    assert running.returncode == 1 and not told["proven"] and told["hindrance"] == "interrupted"
    assert [order["client_order_id"] for order in told["still_open"]] == [name]


def test_all_at_a_venue_that_cannot_be_read_says_so_and_does_nothing(venue: SimulatorProcess, tmp_path: Path) -> None:
    venue.fault("status", status=400, seconds=60, match={"path": "historical"})
    asked = panic(tmp_path, *keyed(venue, tmp_path), "--all", "--for", "3")
    assert asked.returncode == 1 and "cannot be read" in asked.stderr


def test_a_venue_that_cannot_be_reached_is_told_as_unproven(venue: SimulatorProcess) -> None:
    exchange = Exchange(Place("localhost:9", Path(venue.key_file), Path(venue.ca_file)), 1.0, print)
    tally = Tally(Rule("td"), VISIBILITY_S)
    exchange.clear(tally, 0)
    assert not tally.proven and exchange.hindrance


def test_a_daemon_elsewhere_that_goes_on_sending_keeps_it_from_being_proven(venue: SimulatorProcess) -> None:
    with ThreadPoolExecutor(1) as pool:
        stop: list[bool] = []

        def send() -> None:
            while not stop:
                entry(venue)
                time.sleep(0.05)

        sending = pool.submit(send)
        tally, _ = sweep(venue, for_s=3)
        stop.append(True)
        sending.result()
    assert not tally.proven
    assert sweep(venue)[0].proven and open_names(venue) == set()


def test_two_at_the_same_time_both_prove_it(venue: SimulatorProcess) -> None:
    for _ in range(20):
        entry(venue)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: sweep(venue)[0].proven, range(2)))
    assert both == [True, True] and open_names(venue) == set()


def test_three_hundred_and_fifty_orders_on_several_pages(venue: SimulatorProcess) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: entry(venue), range(350)))
    stays = {protection(venue)}
    begun = time.monotonic()
    tally, _ = sweep(venue)
    print(f"350 orders proven cancelled in {time.monotonic() - begun:.2f} s")
    assert tally.proven and open_names(venue) == stays
    assert sum(1 for order in tally.own() if order.order_id in tally.asked and not order.open) == 350
