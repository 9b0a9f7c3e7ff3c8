"""The ledger's tables. Events are only ever appended; everything else is a projection of them."""

from __future__ import annotations

VERSION = 3
OPERATOR_FILL = "OPERATOR"
"""``trade_type`` of a fill that an operator vouched for; the venue's own are FILL and its adjustments."""
ADJUSTMENT = "ADJUSTMENT"
"""``trade_type`` of a venue's reversal or correction as it was booked; the venue's own row stays beside it."""
WRITE_OFF = "WRITE_OFF"
"""``trade_type`` of what an operator accepted as gone: a sale at no proceeds."""
OWN_TYPES = (OPERATOR_FILL, ADJUSTMENT, WRITE_OFF)
"""Types that the venue does not list."""

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
    n INTEGER PRIMARY KEY AUTOINCREMENT, at_utc_ns INTEGER NOT NULL, epoch INTEGER NOT NULL,
    incarnation INTEGER NOT NULL, config_hash TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL,
    chain BLOB
);
CREATE INDEX events_key ON events (key);
CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_last BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TABLE orders (
    client_order_id TEXT PRIMARY KEY, n INTEGER NOT NULL UNIQUE, epoch INTEGER NOT NULL, proposal_id TEXT UNIQUE,
    symbol TEXT NOT NULL, side TEXT NOT NULL, role TEXT NOT NULL, kind TEXT NOT NULL, base_size TEXT NOT NULL,
    limit_price TEXT NOT NULL, stop_price TEXT, end_utc_ns INTEGER, correlation_id TEXT NOT NULL,
    created_utc_ns INTEGER NOT NULL, plan_stop TEXT, plan_target TEXT, plan_max_hold_s REAL,
    boot_id TEXT NOT NULL, gateway_incarnation INTEGER NOT NULL, submitted INTEGER NOT NULL, outcome TEXT,
    lost INTEGER NOT NULL, absent INTEGER NOT NULL, order_id TEXT UNIQUE, venue_status TEXT,
    venue_filled TEXT NOT NULL, filled TEXT NOT NULL, cancel_requested INTEGER NOT NULL, triggered INTEGER NOT NULL,
    reason TEXT NOT NULL, state TEXT NOT NULL, working INTEGER NOT NULL, changed_utc_ns INTEGER NOT NULL,
    egress_id TEXT NOT NULL DEFAULT '', vanished INTEGER NOT NULL DEFAULT 0, returned INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX orders_working ON orders (working, symbol);
CREATE INDEX orders_changed ON orders (changed_utc_ns);
CREATE INDEX orders_state ON orders (state, role);
CREATE TABLE fills (
    entry_id TEXT PRIMARY KEY, trade_id TEXT NOT NULL, order_id TEXT NOT NULL, client_order_id TEXT NOT NULL,
    symbol TEXT NOT NULL, side TEXT NOT NULL, price TEXT NOT NULL, size TEXT NOT NULL, fee TEXT NOT NULL,
    trade_utc_ns INTEGER NOT NULL, trade_type TEXT NOT NULL, booked INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX fills_symbol ON fills (symbol, trade_utc_ns, entry_id);
CREATE INDEX fills_order ON fills (client_order_id);
CREATE INDEX fills_time ON fills (trade_utc_ns);
CREATE TABLE positions (
    symbol TEXT PRIMARY KEY, quantity TEXT NOT NULL, cost TEXT NOT NULL, realized TEXT NOT NULL, fees TEXT NOT NULL,
    trip_start TEXT NOT NULL, opened_utc_ns INTEGER NOT NULL, last_time INTEGER NOT NULL, last_entry TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE plans (
    symbol TEXT PRIMARY KEY, stop_price TEXT, target_price TEXT, exit_due_utc_ns INTEGER,
    client_order_id TEXT NOT NULL, correlation_id TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE pnl (
    symbol TEXT NOT NULL, day_utc_ns INTEGER NOT NULL, realized TEXT NOT NULL, fees TEXT NOT NULL,
    PRIMARY KEY (symbol, day_utc_ns)
) WITHOUT ROWID;
CREATE TABLE proposals (seq INTEGER PRIMARY KEY AUTOINCREMENT, proposal_id TEXT NOT NULL UNIQUE, result TEXT NOT NULL);
CREATE TABLE rules (symbol TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE handovers (symbol TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE stops (request_id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
"""
SNAPSHOTS = """
CREATE TABLE snapshots (
    n INTEGER PRIMARY KEY, at_utc_ns INTEGER NOT NULL, chain BLOB NOT NULL, digest BLOB NOT NULL, body BLOB NOT NULL
);
"""
FROM_1 = (
    "ALTER TABLE events ADD COLUMN chain BLOB",
    "ALTER TABLE orders ADD COLUMN egress_id TEXT NOT NULL DEFAULT ''",
    SNAPSHOTS,
)
"""What schema 2 has more than schema 1."""
FROM_2 = (
    "ALTER TABLE orders ADD COLUMN vanished INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE orders ADD COLUMN returned INTEGER NOT NULL DEFAULT 0",
)
"""What schema 3 has more than schema 2."""

ORDER_COLUMNS = (
    "client_order_id", "n", "epoch", "proposal_id", "symbol", "side", "role", "kind", "base_size", "limit_price",
    "stop_price", "end_utc_ns", "correlation_id", "created_utc_ns", "plan_stop", "plan_target", "plan_max_hold_s",
    "boot_id", "gateway_incarnation", "submitted", "outcome", "lost", "absent", "order_id", "venue_status",
    "venue_filled", "filled", "cancel_requested", "triggered", "reason", "state", "working", "changed_utc_ns",
    "egress_id", "vanished", "returned",
)  # fmt: skip
ADDED_TO_ORDERS: dict[str, int | str] = {"egress_id": "", "vanished": 0, "returned": 0}
"""Columns that older schemas lack, with what is true of their orders."""
FILL_COLUMNS = (
    "entry_id", "trade_id", "order_id", "client_order_id", "symbol", "side", "price", "size", "fee", "trade_utc_ns",
)  # fmt: skip
PLAN_COLUMNS = ("stop_price", "target_price", "exit_due_utc_ns", "client_order_id", "correlation_id")
"""Of a plan, behind its symbol."""
