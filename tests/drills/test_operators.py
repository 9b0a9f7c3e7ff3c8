"""Operators' verbs on the running daemon: each is proven at the venue, whoever of the others is dead.

One daemon lives through all of them in turn, at a simulator apart; the account also holds coins and an order of its
owner's, which nobody may touch.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.drills.daemon import (
    RUN,
    Daemon,
    Json,
    SimulatorApart,
    Venue,
    against,
    assert_books_agree,
    clean_environment,
    config_folder,
    wait_for,
)

SYMBOLS = ("BTC-USD", "ETH-USD", "SOL-USD")
ENDED = {"FILLED", "CANCELLED", "EXPIRED", "FAILED"}
POLICY: Json = {
    "strategist": {
        "strategy": "tests.drills.strategies:HoldSomeBidForTheRest",
        "cycle_s": 1,
        "params": {"held": "BTC-USD,ETH-USD"},
    },
    "risk": {"cooldown_symbol_s": 0, "max_orders_per_minute": 500, "repeat_limit": 1000, "losing_streak": 1000},
    "capital": {"allotted": "5000", "max_order": "100"},
    "orders": {"entry_life_s": 60},
    "venue": {"visibility_delay_s": 1.0, "jwt_life_s": 2.0},
    "watchdog": {"half_open_s": 1, "probe_s": 1, "hold_max_s": 2},
    # A drill kills more often than a bad hour does.
    "supervision": {"max_restarts": 100},
}


class Trading:
    """The daemon, its venue, and the owner's own order."""

    def __init__(self, folder: Path) -> None:
        owned = ("--balance", "USD=10000", "--balance", "BTC=0.5")
        self.simulator = SimulatorApart(folder / "venue", "--symbols", ",".join(SYMBOLS), "--frozen", *owned)
        self.venue = Venue(self.simulator.control_url)
        manual = {
            "client_order_id": "by-hand-1",
            "product_id": "BTC-USD",
            "side": "SELL",
            "order_configuration": {"limit_limit_gtc": {"base_size": "0.1", "limit_price": "900000"}},
        }
        self.venue.call("/control/order", manual)
        arguments = (*against(self.simulator), "--symbols", ",".join(SYMBOLS))
        self.daemon = Daemon(folder / "daemon", *arguments, config=config_folder(folder / "config", **POLICY))

    def close(self) -> None:
        self.daemon.close()
        self.simulator.stop()

    def open(self, side: str, symbol: str = "") -> list[Json]:
        return [
            order
            for order in self.venue.truth()["orders"]
            if order["side"] == side
            and order["status"] not in ENDED
            and order["client_order_id"].startswith("td-a-")
            and symbol in ("", order["product_id"])
        ]

    def owned(self, symbol: str) -> Decimal:
        """What the daemon's own fills at the venue add up to."""
        truth = self.venue.truth()
        ours = {one["order_id"] for one in truth["orders"] if one["client_order_id"].startswith("td-a-")}
        fills = [one for one in truth["fills"] if one["order_id"] in ours and one["product_id"] == symbol]
        return sum((Decimal(one["size"]) * (1 if one["side"] == "BUY" else -1) for one in fills), Decimal(0))

    def busy(self) -> None:
        """RUN, both positions protected, a bid resting: every verb has something to do."""
        if (self.daemon.status() or {}).get("operator", {}).get("latched"):
            assert self.daemon.run("release", "--reason", "drill").returncode == 0
        self.say("resume", "--reason", "drill")
        self.daemon.wait_status(
            lambda s: (
                s["trading_state"] == "RUN"
                and {p["symbol"] for p in s["positions"] if p["protection"] == "PROTECTED"} == {"BTC-USD", "ETH-USD"}
            ),
            "both positions to be protected",
            90,
        )
        wait_for(lambda: self.open("BUY", "SOL-USD"), "a resting bid", 60)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Say a verb and do not wait for it."""
        command = [*RUN, words[0], "--data-dir", str(self.daemon.data), *words[1:], "--json"]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment()
        )

    def end(self, verb: subprocess.Popen[str]) -> Json:
        """Its last answer; it must have been done and proven."""
        out, error = verb.communicate(timeout=120)
        assert verb.returncode == 0, out + error + self.daemon.tail()
        answer: Json = json.loads(out)
        return answer

    def say(self, *words: str) -> Json:
        return self.end(self.begin(*words))

    def check(self, words: tuple[str, ...]) -> None:
        """What the verb promised is so at the venue."""
        if words[0] in ("halt", "reduce", "kill"):
            assert self.open("BUY") == [], words
        if words[0] == "flatten":
            assert self.owned(words[1]) == 0
        if words[0] == "kill":
            assert {order["product_id"] for order in self.open("SELL")} == {"BTC-USD", "ETH-USD"}
        (manual,) = [one for one in self.venue.truth()["orders"] if one["client_order_id"] == "by-hand-1"]
        assert (manual["status"], manual["filled_size"]) == ("OPEN", "0")
        assert self.balance("BTC") - self.owned("BTC-USD") == Decimal("0.5"), "the owner's coins"

    def balance(self, currency: str) -> Decimal:
        found = self.venue.truth()["balances"][currency]
        return Decimal(found["available"]) + Decimal(found["hold"])


@pytest.fixture(scope="module")
def trading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trading]:
    one = Trading(tmp_path_factory.mktemp("operators"))
    yield one
    one.close()


HALT = ("halt", "--reason", "drill")
REDUCE = ("reduce", "--reason", "drill")
KILL = ("kill", "--reason", "drill")
FLATTEN = ("flatten", "BTC-USD", "--reason", "drill")


def test_protect_arms_and_proves_and_flatten_sells_in_every_state(trading: Trading) -> None:
    for words in ((), REDUCE, HALT, KILL):
        trading.busy()
        said = trading.say(*words) if words else {"positions": []}
        if words:
            assert said["complete"] is True
            trading.check(words)
        proof = trading.say("protect", "BTC-USD")["details"]
        (stop,) = trading.open("SELL", "BTC-USD")
        (terms,) = stop["order_configuration"].values()
        for told in [one for one in said["positions"] if one["symbol"] == "BTC-USD"]:
            assert (told["stop_price"], told["open_protection_size"], told["stops"]) == (
                terms["stop_trigger_price"], terms["base_size"], 1,
            )  # fmt: skip
        assert proof["protection"] == "PROTECTED"
        assert Decimal(proof["quantity"]) == Decimal(proof["covered"]) == trading.owned("BTC-USD")
        assert (proof["stop_price"], proof["orders"]) == (terms["stop_trigger_price"], stop["order_id"])
        sold = trading.say("flatten", "ETH-USD")
        assert Decimal(sold["details"]["left"]) == 0
        assert ("entries stay allowed" in sold["text"]) is (not words)
        if words:
            trading.check(("flatten", "ETH-USD"))
            assert "no position" in trading.say("flatten", "ETH-USD")["text"]
            assert trading.say("protect", "ETH-USD")["details"]["protection"] == "FLAT"
    trading.busy()  # a flatten forbids no later entry


@pytest.mark.parametrize("words", [HALT, REDUCE, KILL, FLATTEN], ids=lambda words: str(words[0]))
def test_a_verb_goes_on_when_the_tracker_is_killed_in_its_middle(trading: Trading, words: tuple[str, ...]) -> None:
    trading.busy()
    pid = trading.daemon.actor("tracker")["pid"]
    trading.venue.fault("slow", delay_s=2, when="before", count=1, match={"path": "batch_cancel"})
    verb = trading.begin(*words)
    wait_for(lambda: _cancelling(trading.daemon), "a cancel under way", 20, 0.01)
    os.kill(pid, signal.SIGKILL)
    trading.end(verb)
    trading.check(words)
    trading.venue.clear_faults()


def _cancelling(daemon: Daemon) -> bool:
    return any(order["state"] == "PENDING_CANCEL" for order in daemon.export()["orders"])


@pytest.mark.parametrize(
    ("dead", "words"),
    [
        ("watchdog", HALT),
        ("watchdog", KILL),
        ("gateway", KILL),
        ("gateway", FLATTEN),
        ("feed", FLATTEN),
        ("risk", REDUCE),
        ("reconciler", KILL),
        ("strategist", HALT),
        ("guard.BTC-USD", FLATTEN),
        ("alerts", REDUCE),
        ("metrics", HALT),
    ],
    ids=lambda one: one if isinstance(one, str) else str(one[0]),
)
def test_a_verb_is_proven_while_another_part_hangs(trading: Trading, dead: str, words: tuple[str, ...]) -> None:
    trading.busy()
    os.kill(trading.daemon.actor(dead)["pid"], signal.SIGSTOP)
    trading.say(*words)
    trading.check(words)


def test_an_order_resolved_as_absent_frees_its_symbol(trading: Trading) -> None:
    trading.busy()
    name = _lose(trading, "cut_before_booking", "SOL-USD")
    said = [trading.daemon.run("resolve", "td-a-1-e-1", "--as", "absent", "--evidence", "drill", "--json")]
    assert said[0].returncode == 1
    assert name in said[0].stdout, "the orders that are UNKNOWN are named"

    def absent() -> bool:
        said.append(trading.daemon.run("resolve", name, "--as", "absent", "--evidence", "drill", "--json"))
        return said[-1].returncode == 0

    wait_for(absent, "the resolve to be taken", 20, 0.5)
    assert "may still arrive" in said[1].stdout or len(said) == 2
    trading.venue.clear_faults()
    trading.busy()
    (entry,) = [one for one in trading.daemon.export()["orders"] if one["client_order_id"] == name]
    assert (entry["state"], entry["reason"]) == ("REJECTED", "resolved_absent")
    assert_books_agree(trading.daemon, trading.venue)


def test_the_venues_fills_replace_those_an_operator_vouched_for(trading: Trading) -> None:
    trading.busy()
    name = _lose(trading, "cut_after_booking", "ETH-USD")
    vouched = trading.say("resolve", name, "--as", "filled", "--evidence", "drill")
    assert "its limit" in vouched["details"]["price"]
    (position,) = [p for p in trading.daemon.export()["positions"] if p["symbol"] == "ETH-USD"]
    assert Decimal(position["quantity"]) > 0
    assert trading.daemon.run("resolve", name, "--as", "absent", "--evidence", "drill").returncode == 1
    trading.venue.clear_faults()
    trading.daemon.wait_status(
        lambda s: any(b["name"] == "reconcile" and b["is_open"] for b in s["breakers"]),
        "the contradiction to stop trading",
        60,
    )
    ledger, _ = assert_books_agree(trading.daemon, trading.venue)
    (withdrawn,) = [one for one in ledger["fills"] if one["entry_id"] == f"operator:{name}"]
    assert not withdrawn["booked"]
    trading.busy()
    lines = [json.loads(line) for line in (trading.daemon.data / "demo" / "audit.jsonl").read_text().splitlines()]
    told = [(line["verb"], line["what"], line["reason"]) for line in lines if line.get("target") == name]
    assert told[:2] == [("resolve", "asked", "drill"), ("resolve", "done", "drill")]


def _lose(trading: Trading, how: str, symbol: str) -> str:
    """An entry on ``symbol`` whose answer is cut off, at a venue whose listings cannot be read; its id."""
    trading.say(*REDUCE)
    trading.say("flatten", symbol)
    trading.venue.fault("status", status=503, seconds=120, match={"path": "/orders/historical", "method": "GET"})
    trading.venue.fault(how, count=1, match={"path": "/orders", "method": "POST", "symbol": symbol})
    trading.say("resume", "--reason", "drill")

    def unknown() -> str:
        found = [one for one in trading.daemon.export()["orders"] if one["state"] == "UNKNOWN"]
        return str(found[0]["client_order_id"]) if found else ""

    return str(wait_for(unknown, f"an UNKNOWN order\n{trading.daemon.tail(15)}", 60, 0.2))


def test_a_fill_that_the_venue_rewrites_moves_no_position_and_halts(trading: Trading) -> None:
    trading.busy()
    before = {p["symbol"]: p["quantity"] for p in trading.daemon.export()["positions"]}
    trading.venue.fault("fill_rewritten", field="commission", add="0.000001", match={"symbol": "BTC-USD"})
    trading.daemon.run("reconcile")

    def halted(status: Json) -> bool:
        reasons = [b["reason"] for b in status["breakers"] if b["is_open"] and b["name"] == "reconcile"]
        return any("fill_changed" in reason for reason in reasons)

    trading.daemon.wait_status(halted, "the rewritten fill to stop trading", 60)
    assert {p["symbol"]: p["quantity"] for p in trading.daemon.export()["positions"]} == before
    trading.venue.clear_faults()
    assert_books_agree(trading.daemon, trading.venue)
    trading.busy()


def test_a_release_ends_a_flatten_that_could_not_sell_whoever_dies_before_it_is_heard(trading: Trading) -> None:
    """The operator's newest word wins: what the product's mode kept from being sold stays, with its stop."""
    trading.busy()
    trading.venue.fault("product_mode", symbol="BTC-USD", mode="cancel_only")
    trading.daemon.wait_status(
        lambda s: any(b["name"] == "product_mode" and b["is_open"] for b in s["breakers"]), "the mode to be known", 40
    )
    owned = trading.owned("BTC-USD")
    killing = trading.begin(*KILL, "--flatten")
    wait_for(lambda: trading.owned("ETH-USD") == 0, "ETH to be sold", 40)
    tracker = trading.daemon.actor("tracker")["pid"]
    os.kill(tracker, signal.SIGSTOP)
    releasing = trading.begin("release", "--reason", "drill")
    trading.daemon.wait_status(lambda s: not s["operator"]["latched"], "the release to be kept", 20)
    os.kill(tracker, signal.SIGKILL)
    released = trading.end(releasing)
    assert released["state"] == "HALTED"
    assert f"left unsold: {owned.normalize():f} BTC-USD" in released["text"]
    out, _ = killing.communicate(timeout=60)
    assert killing.returncode == 1, out
    assert "left unsold" in json.loads(out)["error"]

    trading.daemon.kill()
    trading.venue.clear_faults()
    trading.daemon.start()
    trading.daemon.wait_status(
        lambda s: s["ready"] and not any(b["name"] == "product_mode" and b["is_open"] for b in s["breakers"]),
        "the product to be traded again",
        60,
    )
    proof = trading.say("protect", "BTC-USD")["details"]
    assert (proof["protection"], Decimal(proof["quantity"])) == ("PROTECTED", owned)
    assert trading.owned("BTC-USD") == owned, "sold although it was released"
    assert_books_agree(trading.daemon, trading.venue)


def test_an_order_of_our_family_by_another_host_halts_and_is_left_alone(trading: Trading) -> None:
    trading.busy()
    order = {
        "client_order_id": "td-b-1-e-1",
        "product_id": "SOL-USD",
        "side": "BUY",
        "order_configuration": {"limit_limit_gtc": {"base_size": "1", "limit_price": "1"}},
    }
    trading.venue.call("/control/order", order)
    trading.daemon.wait_status(lambda s: s["trading_state"] == "HALTED", "HALTED", 60)
    assert trading.say(*KILL)["complete"] is True
    trading.check(KILL)
    (theirs,) = [one for one in trading.venue.truth()["orders"] if one["client_order_id"] == "td-b-1-e-1"]
    assert theirs["status"] == "OPEN"


def test_a_kill_is_proven_while_the_feed_is_saturated(
    daemon: Callable[..., Daemon], simulator: Callable[..., SimulatorApart], tmp_path: Path
) -> None:
    """The venue comes back with far more market data than the feed can take, and orders of ours resting there."""
    symbols = ",".join((*SYMBOLS, *(f"X{n:02d}-USD" for n in range(1, 8))))
    apart = simulator("--symbols", symbols, "--frozen")
    venue = Venue(apart.control_url)
    policy = {**POLICY, "risk": {**POLICY["risk"], "max_positions": 100}}
    one = daemon(*against(apart), "--symbols", symbols, config=config_folder(tmp_path / "config", **policy))

    def resting(side: str) -> list[Json]:
        return [o for o in venue.truth()["orders"] if o["side"] == side and o["status"] not in ENDED]

    wait_for(lambda: len(resting("SELL")) >= 2 and len(resting("BUY")) >= 5, "positions and bids", 90, 0.2)
    apart.come_back("--ws-symbol-rate", "400")
    for symbol in symbols.split(","):
        venue.freeze(symbol, False)
    one.wait_status(
        lambda s: any(b["name"] in ("book_gap", "quote_stale") and b["is_open"] for b in s["breakers"]),
        "the feed to be behind",
        60,
    )
    done = one.run(*KILL, "--json")
    assert done.returncode == 0, done.stdout + done.stderr + one.tail()
    assert resting("BUY") == []
    assert len(resting("SELL")) >= 2
