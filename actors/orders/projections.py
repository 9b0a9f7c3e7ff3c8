"""The ledger's tables computed from its events, by nothing but them. Pure: what is stored is compared with this.

Orders, fills, positions, plans, pnl, proposals, rules, hand-overs, stops and the head. An event of any other kind
(an anomaly, a late fill, an operator's note) is a record that no table follows from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import orjson

from actors.messages.market import Side
from actors.orders import positions, rows, schema
from actors.orders.events import Event, Row
from actors.orders.positions import Book
from actors.orders.records import FillRecord

ADOPTED = "projections_adopted"
"""Holds every table as it was: before it, events did not suffice to make them all (schema 1)."""
_INDEX = {name: at for at, name in enumerate(schema.ORDER_COLUMNS)}
NOT_IN_V1 = {"orders": ("changed_utc_ns", *schema.ADDED_TO_ORDERS), "positions": ("trip_start",)}
"""What events of schema 1 do not tell; plans, proposals and rules they do not tell at all."""
TOLD_BY_V1 = ("orders", "fills", "positions", "pnl", "handovers", "stops", "head")
Tables = dict[str, dict[Any, Row]]


class ProjectionError(ValueError):
    """An event cannot have happened after those before it."""


class Projections:
    """Apply every event in turn, then ask for ``tables``."""

    def __init__(self) -> None:
        self.head = 0
        self._orders: dict[str, list[Any]] = {}
        self._books: dict[str, Book] = {}
        self._fills_of: dict[str, list[Row]] = {}
        self._days: dict[tuple[str, int], tuple[Decimal, Decimal]] = {}
        self._plain: Tables = {name: {} for name in ("fills", "plans", "proposals", "rules", "handovers", "stops")}
        self._sequence = 0
        self._appliers: dict[str, Callable[[str, dict[str, Any]], None]] = {
            "order_intent": self._intend,
            "order_changed": self._change,
            "head_raised": self._raise_head,
            "fill": self._fill,
            "fill_adjustment": self._adjust,
            "fill_withdrawn": self._withdraw,
            "trip_closed": self._close_trip,
            "plan": self._plan,
            "proposal": self._propose,
            "rules": lambda key, body: self._put("rules", key, body),
            "handovers": lambda key, body: self._put("handovers", key, body),
            "stops": lambda key, body: self._put("stops", key, body),
            ADOPTED: self._adopt,
        }

    def apply(self, event: Event) -> None:
        """What ``event`` does to the tables; raises ProjectionError."""
        applier = self._appliers.get(event.kind)
        if applier is None:
            return
        try:
            applier(event.key, orjson.loads(event.body))
        except (KeyError, ValueError, TypeError, ArithmeticError) as error:
            text = f"event {event.n} ({event.kind} {event.key}) cannot be applied: {type(error).__name__}: {error}"
            raise ProjectionError(text) from error

    # --- one event -------------------------------------------------------------------------------------

    def _intend(self, key: str, body: dict[str, Any]) -> None:
        if key in self._orders or body["n"] <= self.head:
            raise ValueError(f"n={body['n']} or the id was used before (head {self.head})")
        body = {**schema.ADDED_TO_ORDERS, **body}
        self._orders[key] = [body[name] for name in schema.ORDER_COLUMNS]
        self.head = body["n"]

    def _raise_head(self, key: str, body: dict[str, Any]) -> None:
        if body["head"] <= self.head:
            raise ValueError(f"the head is {self.head} already, {body['head']} raises nothing")
        self.head = body["head"]

    def _change(self, key: str, body: dict[str, Any]) -> None:
        row = self._orders[key]
        del body["cause"]
        for name, value in body.items():
            row[_INDEX[name]] = value

    def _fill(self, key: str, body: dict[str, Any]) -> None:
        row = self._keep(body, booked=1)
        fill = fill_of(row)
        before = self._books.get(fill.symbol, Book(fill.symbol))
        known = self._fills_of.setdefault(fill.symbol, [])
        known.append(row)
        day = self._days.get((fill.symbol, positions.day_start(fill.trade_utc_ns)))
        after, days, anew = positions.book_fill(before, fill, day, lambda: map(fill_of, known))
        if anew:
            self._forget_days(fill.symbol)
        self._books[fill.symbol] = after
        self._days |= {(fill.symbol, start): sums for start, sums in days.items()}

    def _withdraw(self, key: str, body: dict[str, Any]) -> None:
        row = self._plain["fills"][body["entry_id"]]
        symbol = row[4]
        self._fills_of[symbol].remove(row)
        self._plain["fills"][body["entry_id"]] = (*row[:-1], 0)
        book, days = positions.fold(symbol, map(fill_of, self._fills_of[symbol]))
        self._forget_days(symbol)
        self._books[symbol] = book
        self._days |= {(symbol, start): sums for start, sums in days.items()}

    def _forget_days(self, symbol: str) -> None:
        for day in [one for one in self._days if one[0] == symbol]:
            del self._days[day]

    def _adjust(self, key: str, body: dict[str, Any]) -> None:
        self._keep(body, booked=0)

    def _keep(self, body: dict[str, Any], booked: int) -> Row:
        row = (*(body[name] for name in schema.FILL_COLUMNS), body["trade_type"], booked)
        if row[0] in self._plain["fills"]:
            raise ValueError(f"fill {row[0]} was taken before")
        self._plain["fills"][row[0]] = row
        return row

    def _close_trip(self, key: str, body: dict[str, Any]) -> None:
        self._books[key] = positions.close_trip(self._books[key])

    def _plan(self, key: str, body: dict[str, Any]) -> None:
        self._plain["plans"][key] = (key, *(body[name] for name in schema.PLAN_COLUMNS))

    def _propose(self, key: str, body: dict[str, Any]) -> None:
        if key in self._plain["proposals"]:
            raise ValueError("the proposal was handled before")
        self._sequence += 1
        self._plain["proposals"][key] = (self._sequence, key, body["result"])

    def _put(self, table: str, key: str, body: dict[str, Any]) -> None:
        if body["body"] is None:
            self._plain[table].pop(key, None)
        else:
            self._plain[table][key] = (key, body["body"])

    def _adopt(self, key: str, body: dict[str, Any]) -> None:
        found = list(differences_v1(tables_of(body), self.tables()))
        if found:
            raise ValueError("; ".join(found[:3]))
        self._load(tables_of(body))

    # --- whole tables ----------------------------------------------------------------------------------

    def tables(self) -> Tables:
        """Every table by its key, rows in the order of their columns; ``head`` is a table of one row."""
        return {
            "orders": {key: tuple(row) for key, row in self._orders.items()},
            "positions": {key: rows.book_to_row(book) for key, book in self._books.items()},
            "pnl": {key: (*key, rows.text(day[0]), rows.text(day[1])) for key, day in self._days.items()},
            "head": {"head": ("head", str(self.head))},
            **self._plain,
        }

    @classmethod
    def of(cls, tables: Tables) -> Projections:
        """Begin at tables that are proven already."""
        made = cls()
        made._load(tables)
        return made

    def _load(self, tables: Tables) -> None:
        self.head = int(tables["head"]["head"][1])
        self._orders = {key: list(row) for key, row in tables["orders"].items()}
        self._books = {key: _book_of(row) for key, row in tables["positions"].items()}
        self._days = {(row[0], row[1]): (Decimal(row[2]), Decimal(row[3])) for row in tables["pnl"].values()}
        self._plain = {name: dict(tables[name]) for name in self._plain}
        self._sequence = max((row[0] for row in self._plain["proposals"].values()), default=0)
        self._fills_of = {}
        for row in self._plain["fills"].values():
            if row[11]:
                self._fills_of.setdefault(row[4], []).append(row)


def fill_of(row: Row) -> FillRecord:
    """The fill of one row."""
    price, size, fee = (Decimal(value) for value in row[6:9])
    return FillRecord(row[0], row[1], row[2], row[3], row[4], Side(row[5]), price, size, fee, row[9])


def _book_of(row: Row) -> Book:
    quantity, cost, realized, fees, trip_start = (Decimal(value) for value in row[1:6])
    return Book(row[0], quantity, cost, realized, fees, trip_start, row[6], (row[7], row[8]))


_KEYS: Mapping[str, Callable[[Row], Any]] = {
    "pnl": lambda row: (row[0], row[1]),
    "proposals": lambda row: row[1],
}
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "orders": schema.ORDER_COLUMNS,
    "fills": (*schema.FILL_COLUMNS, "trade_type", "booked"),
    "positions": (
        "symbol", "quantity", "cost", "realized", "fees", "trip_start", "opened_utc_ns", "last_time", "last_entry",
    ),
    "plans": ("symbol", *schema.PLAN_COLUMNS),
    "pnl": ("symbol", "day_utc_ns", "realized", "fees"),
    "proposals": ("seq", "proposal_id", "result"),
    "rules": ("symbol", "body"),
    "handovers": ("symbol", "body"),
    "stops": ("request_id", "body"),
    "head": ("key", "value"),
}  # fmt: skip
"""Every table that follows from events, with its columns in their order."""


def tables_of(listed: Mapping[str, Iterable[Iterable[Any]]]) -> Tables:
    """Tables from lists of rows; raises KeyError when one is missing. Rows of an older schema get what it lacked."""
    made: Tables = {}
    for name in COLUMNS:
        key = _KEYS.get(name, _first)
        made[name] = {key(row): row for row in map(tuple, listed[name])}
    added = tuple(schema.ADDED_TO_ORDERS.values())
    for key, row in made["orders"].items():
        lacking = len(schema.ORDER_COLUMNS) - len(row)
        if 0 < lacking <= len(added):
            made["orders"][key] = (*row, *added[-lacking:])
    return made


def _first(row: Row) -> Any:
    return row[0]


def differences(stored: Tables, made: Tables) -> Iterator[str]:
    """What is stored and does not follow from the events, one text per row."""
    for name in COLUMNS:
        yield from _differences_of(name, stored[name], made[name], ())


def differences_v1(stored: Tables, made: Tables) -> Iterator[str]:
    """As ``differences``, as far as the events of schema 1 tell."""
    for name in TOLD_BY_V1:
        yield from _differences_of(name, stored[name], made[name], NOT_IN_V1.get(name, ()))


def _differences_of(name: str, stored: dict[Any, Row], made: dict[Any, Row], untold: tuple[str, ...]) -> Iterator[str]:
    if stored == made:
        return
    for key in stored.keys() | made.keys():
        is_stored, is_made = stored.get(key), made.get(key)
        if is_stored == is_made:
            continue
        if is_stored is None:
            yield f"{name} {_name(key)} is missing"
        elif is_made is None:
            yield f"{name} {_name(key)} follows from no event"
        else:
            for column, one, other in zip(COLUMNS[name], is_stored, is_made, strict=True):
                if one != other and column not in untold:
                    yield f"{name} {_name(key)}: {column} is {one!r}, its events make it {other!r}"
                    break


def _name(key: Any) -> str:
    return " ".join(map(str, key)) if isinstance(key, tuple) else str(key)
