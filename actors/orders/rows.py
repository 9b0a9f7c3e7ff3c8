"""Records to rows of the ledger and back: the one place where Decimal meets SQLite's text."""

from __future__ import annotations

import sqlite3
from dataclasses import fields
from decimal import Decimal
from typing import Any

import orjson

from actors.messages.market import ProductRules, Side
from actors.messages.orders import OrderIntent, OrderKind, OutcomeKind, Role
from actors.orders.machine import OrderFacts
from actors.orders.positions import Book
from actors.orders.records import FillRecord, OrderRecord


def text(value: Decimal | None) -> str | None:
    return None if value is None else format(value, "f")


def decimal(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def order_to_row(record: OrderRecord) -> tuple[object, ...]:
    """In the order of ``schema.ORDER_COLUMNS``."""
    intent, facts, state = record.intent, record.facts, record.state
    return (
        record.id, record.n, record.epoch, record.proposal_id or None, intent.symbol, intent.side.value,
        intent.role.value, intent.kind.value, text(facts.size), text(intent.limit_price), text(intent.stop_price),
        intent.end_utc_ns, intent.correlation_id, intent.created_utc_ns, text(record.plan_stop),
        text(record.plan_target), record.plan_max_hold_s, record.boot_id, record.gateway_incarnation,
        int(facts.submitted), facts.outcome.value if facts.outcome else None, int(facts.lost), int(facts.absent),
        facts.order_id, facts.venue_status, text(facts.venue_filled), text(facts.filled),
        int(facts.cancel_requested), int(facts.triggered), record.reason, state.value, int(not state.terminal),
        record.changed_utc_ns, record.egress_id, facts.vanished, facts.returned,
    )  # fmt: skip


def order_from_row(row: sqlite3.Row) -> OrderRecord:
    intent = OrderIntent(
        client_order_id=row["client_order_id"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        role=Role(row["role"]),
        kind=OrderKind(row["kind"]),
        base_size=Decimal(row["base_size"]),
        limit_price=Decimal(row["limit_price"]),
        stop_price=decimal(row["stop_price"]),
        end_utc_ns=row["end_utc_ns"],
        correlation_id=row["correlation_id"],
        created_utc_ns=row["created_utc_ns"],
    )
    facts = OrderFacts(
        size=intent.base_size,
        submitted=bool(row["submitted"]),
        outcome=OutcomeKind(row["outcome"]) if row["outcome"] else None,
        lost=bool(row["lost"]),
        absent=bool(row["absent"]),
        order_id=row["order_id"],
        venue_status=row["venue_status"],
        venue_filled=Decimal(row["venue_filled"]),
        filled=Decimal(row["filled"]),
        cancel_requested=bool(row["cancel_requested"]),
        triggered=bool(row["triggered"]),
        vanished=row["vanished"],
        returned=row["returned"],
    )
    return OrderRecord(
        intent=intent,
        n=row["n"],
        epoch=row["epoch"],
        facts=facts,
        changed_utc_ns=row["changed_utc_ns"],
        proposal_id=row["proposal_id"] or "",
        boot_id=row["boot_id"],
        gateway_incarnation=row["gateway_incarnation"],
        plan_stop=decimal(row["plan_stop"]),
        plan_target=decimal(row["plan_target"]),
        plan_max_hold_s=row["plan_max_hold_s"],
        reason=row["reason"],
        egress_id=row["egress_id"],
    )


def fill_to_row(fill: FillRecord) -> tuple[object, ...]:
    """In the order of ``schema.FILL_COLUMNS``."""
    return (
        fill.entry_id, fill.trade_id, fill.order_id, fill.client_order_id, fill.symbol, fill.side.value,
        text(fill.price), text(fill.size), text(fill.fee), fill.trade_utc_ns,
    )  # fmt: skip


def fill_from_row(row: sqlite3.Row) -> FillRecord:
    return FillRecord(
        row["entry_id"], row["trade_id"], row["order_id"], row["client_order_id"], row["symbol"], Side(row["side"]),
        Decimal(row["price"]), Decimal(row["size"]), Decimal(row["fee"]), row["trade_utc_ns"],
    )  # fmt: skip


def book_to_row(book: Book) -> tuple[object, ...]:
    return (
        book.symbol, text(book.quantity), text(book.cost), text(book.realized), text(book.fees),
        text(book.trip_start), book.opened_utc_ns, *book.last_key,
    )  # fmt: skip


def book_from_row(row: sqlite3.Row) -> Book:
    return Book(
        row["symbol"], Decimal(row["quantity"]), Decimal(row["cost"]), Decimal(row["realized"]),
        Decimal(row["fees"]), Decimal(row["trip_start"]), row["opened_utc_ns"], (row["last_time"], row["last_entry"]),
    )  # fmt: skip


def rules_to_json(rules: ProductRules) -> str:
    values = {item.name: getattr(rules, item.name) for item in fields(rules)}
    return orjson.dumps({k: text(v) if isinstance(v, Decimal) else v for k, v in values.items()}).decode()


def rules_from_json(body: str) -> ProductRules:
    values: dict[str, Any] = orjson.loads(body)
    exact = {item.name for item in fields(ProductRules) if item.type == "Decimal"}
    typed: dict[str, Any] = {key: Decimal(value) if key in exact else value for key, value in values.items()}
    return ProductRules(**typed)
