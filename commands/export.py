"""The books as one JSON-ready document, read while the daemon runs or after it died; nothing is written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from decimal import Decimal, localcontext
from pathlib import Path

import orjson


class NoLedgerError(Exception):
    """There is no readable ledger in the folder."""


def export(store_dir: Path) -> dict[str, object]:
    """Orders with their history, fills, positions and PnL of the ledger in ``store_dir``; decimals are text.

    All of it from one read transaction, so the parts agree with each other. Raises NoLedgerError.
    """
    path = store_dir / "ledger.db"
    if not path.is_file():
        raise NoLedgerError(f"{path}: there is no ledger; was the daemon ever started in this mode?")
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=5.0)) as db:
            db.row_factory = sqlite3.Row
            db.execute("BEGIN")
            return {
                "orders": _orders(db),
                "fills": _fills(db),
                "positions": _positions(db),
                "pnl": _pnl(db),
            }
    except sqlite3.Error as error:
        raise NoLedgerError(f"{path}: cannot be read: {error}") from error


def _orders(db: sqlite3.Connection) -> list[dict[str, object]]:
    history: dict[str, list[dict[str, object]]] = {}
    kinds = "('order_intent', 'order_changed', 'late_fill')"
    sql = f"SELECT at_utc_ns, kind, key, body FROM events WHERE kind IN {kinds} ORDER BY n"  # noqa: S608 - constant
    for row in db.execute(sql):
        body = orjson.loads(row["body"])
        entry: dict[str, object] = {"at_utc_ns": row["at_utc_ns"], "event": row["kind"]}
        if row["kind"] == "order_intent":
            entry["state"] = body.get("state")
        else:
            entry.update(body)
        history.setdefault(row["key"], []).append(entry)
    return [
        {
            "client_order_id": row["client_order_id"],
            "order_id": row["order_id"],
            "symbol": row["symbol"],
            "side": row["side"],
            "role": row["role"],
            "state": row["state"],
            "size": row["base_size"],
            "filled_size": row["filled"],
            "limit_price": row["limit_price"],
            "stop_price": row["stop_price"],
            "kind": row["kind"],
            "created": row["created_utc_ns"],
            "reason": row["reason"],
            "history": history.get(row["client_order_id"], []),
        }
        for row in db.execute("SELECT * FROM orders ORDER BY n")
    ]


def _fills(db: sqlite3.Connection) -> list[dict[str, object]]:
    return [dict(row) for row in db.execute("SELECT * FROM fills ORDER BY trade_utc_ns, entry_id")]


def _positions(db: sqlite3.Connection) -> list[dict[str, object]]:
    sql = """SELECT p.symbol, p.quantity, p.cost, p.realized, p.fees, p.opened_utc_ns,
        l.stop_price, l.target_price, l.exit_due_utc_ns
        FROM positions p LEFT JOIN plans l ON l.symbol = p.symbol ORDER BY p.symbol"""
    return [dict(row) for row in db.execute(sql)]


def _pnl(db: sqlite3.Connection) -> dict[str, object]:
    days: dict[int, tuple[Decimal, Decimal]] = {}
    with localcontext() as context:
        context.prec = 60
        realized, fees = Decimal(0), Decimal(0)
        for row in db.execute("SELECT day_utc_ns, realized, fees FROM pnl ORDER BY day_utc_ns"):
            gain, cost = Decimal(row["realized"]), Decimal(row["fees"])
            known = days.get(row["day_utc_ns"], (Decimal(0), Decimal(0)))
            days[row["day_utc_ns"]] = (known[0] + gain, known[1] + cost)
            realized, fees = realized + gain, fees + cost
    listed = [{"day_utc_ns": day, "realized": str(gain), "fees": str(cost)} for day, (gain, cost) in days.items()]
    return {"realized_total": str(realized), "fees_total": str(fees), "days": listed}
