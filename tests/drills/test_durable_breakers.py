"""Every breaker that can be tripped for real stays open over kill -9: of the whole daemon, and of its owner.

The venue, the disk and the strategy trip them. Each is still open afterwards, with the time at which it opened (one
that was forgotten and tripped again has another), and the venue saw no further order that adds risk.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

from tests.drills.daemon import Daemon, Json, SimulatorApart, Venue, against, config_folder, wait_for
from tests.drills.test_durable_locks import CALM, STRATEGY, bought, owner_killed, restarted

Rows = dict[tuple[str, str], Json]


def open_breakers(daemon: Daemon) -> Rows:
    return {(b["name"], b["scope"]): b for b in (daemon.status() or {"breakers": []})["breakers"] if b["is_open"]}


def tripped(daemon: Daemon, name: str, seconds: float = 60) -> None:
    daemon.wait_status(
        lambda s: any(b["name"] == name and b["is_open"] for b in s["breakers"]), f"the breaker {name}", seconds
    )


def trip_by_trading(one: Daemon, venue: Venue, go: Path) -> None:
    """unknown_age, repeated_execution, rejections, the losses: in this order, each stops a part of the next."""
    one.wait_status(lambda s: [o["symbol"] for o in s["orders"]["unknown"]] == ["ETH-USD"], "an UNKNOWN order", 60)
    # A venue that shows no order proves no absence, so this one needs an operator.
    venue.fault("status", status=503, seconds=120, match={"path": "/orders/historical", "method": "GET"})
    tripped(one, "unknown_age", 90)
    (lost,) = (one.status() or {})["orders"]["unknown"]
    assert lost["age_s"] >= 28, "an order that can still be proven needs no operator"
    venue.clear_faults()
    tripped(one, "repeated_execution")
    one.wait_status(
        lambda s: [p["protection"] for p in s["positions"] if p["symbol"] == "SOL-USD"] == ["PROTECTED"], "SOL held"
    )
    for symbol in ("XRP-USD", "LTC-USD"):
        venue.fault("status", status=400, seconds=600, match={"symbol": symbol, "method": "POST"})
    go.touch()
    tripped(one, "rejections")
    venue.price("SOL-USD", Decimal(venue.truth()["prices"]["SOL-USD"]) * Decimal("0.7"))
    for name in ("daily_loss", "weekly_loss", "drawdown"):
        tripped(one, name)


def trip_by_the_world(one: Daemon, venue: Venue) -> None:
    """auth and reconcile by a venue that refuses and hides, egress and ledger_write by a file that is gone a while."""
    venue.fault("status", status=401, seconds=60)
    tripped(one, "auth")
    venue.clear_faults()
    venue.fault("orders_invisible_for", visible_after_s=3600)
    tripped(one, "reconcile", 90)
    venue.clear_faults()
    store = one.data / "demo"
    for name, file in (("egress", "egress.log"), ("ledger_write", "ledger.db")):
        (store / file).rename(store / f"{file}.away")
        tripped(one, name, 90)
        (store / f"{file}.away").rename(store / file)


def test_every_breaker_tripped_for_real_outlives_the_daemon_and_its_owner(
    daemon: Callable[..., Daemon], simulator: Callable[..., SimulatorApart], tmp_path: Path
) -> None:
    symbols = ("BTC-USD", "ETH-USD", "SOL-USD", "XRP-USD", "LTC-USD")
    process = simulator("--symbols", ",".join(symbols), "--frozen")
    venue = Venue(process.control_url)
    go = tmp_path / "go"
    config = config_folder(
        tmp_path / "config",
        instruments=[{"symbol": symbol} for symbol in symbols],
        strategist={
            "strategy": STRATEGY,
            "cycle_s": 1,
            "params": {"churned": "BTC-USD", "later": "XRP-USD,LTC-USD", "go": str(go)},
        },
        risk={
            "cooldown_symbol_s": 0,
            "repeat_limit": 1,
            "max_positions": 10,
            "daily_loss_pct": "0.3",
            "weekly_loss_pct": "0.3",
            "max_drawdown_pct": "0.3",
        },
        gateway={"rejections_trip": 2, "rejections_quiet_s": 600, "auth_trip_s": 1},
        venue={"jwt_life_s": 5},
        orders={"unknown_page_s": 2, "unknown_latch_s": 28},
        **CALM,
    )
    venue.fault("cut_before_booking", count=1, match={"symbol": "ETH-USD", "method": "POST"})
    one = daemon(*against(process), config=config)
    trip_by_trading(one, venue, go)
    trip_by_the_world(one, venue)
    venue.clear_faults()

    status = one.status() or {}
    before, buys = open_breakers(one), bought(venue)
    left, epoch = status["gateway"]["budget_hour"], status["epoch"]
    latched = {key for key, row in before.items() if row["latched"]}
    assert {name for name, _ in latched} == {
        "repeated_execution", "unknown_age", "daily_loss", "weekly_loss", "drawdown", "auth", "egress", "reconcile",
        "ledger_write",
    }  # fmt: skip
    kept = latched | {("rejections", "*")}

    def still_locked(when: str) -> None:
        now = open_breakers(one)
        assert kept <= set(now), f"{when}: {sorted(kept - set(now))} is not open any more"
        changed = {key for key in latched if now[key]["since"] != before[key]["since"]}
        assert not changed, f"{when}: {changed} was lost and tripped again"
        assert bought(venue) == buys, f"{when}: something was bought"
        assert (one.status() or {})["trading_state"] == "HALTED"

    status = restarted(one)
    still_locked("after kill -9 of the daemon")
    assert status["epoch"] > epoch
    assert status["gateway"]["budget_hour"] <= left, "the hour's requests were forgotten"
    for name in ("watchdog", "risk", "tracker", "gateway", "reconciler"):
        owner_killed(one, name)
        spent = (one.status() or {})["gateway"]["budget_hour"]
        assert spent <= left, f"{name} died and the hour's requests were forgotten"
    still_locked("after kill -9 of every owner")
    assert one.run("resume", "--reason", "drill: looked into it").returncode == 0
    wait_for(lambda: ("daily_loss", "*") not in open_breakers(one), "the losses to be resumed", 20)
