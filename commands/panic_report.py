"""What a panic tells: counts, what rests, what stays open, what is not known."""

from __future__ import annotations

from decimal import Decimal

from actors.clock import to_rfc3339
from commands.exchange import Exchange
from commands.sweep import Seen, Tally

JWT_LIFE_S = 120


def as_json(tally: Tally, exchange: Exchange, unlatched: str, since_utc_ns: int) -> dict[str, object]:
    """Everything, for programs."""
    own = tally.own()
    return {
        "proven": tally.proven,
        "unlatched": unlatched,
        "venue": exchange.place.rest,
        "family": tally.rule.family,
        "since": to_rfc3339(since_utc_ns),
        "cancelled": _ended(tally),
        "instances": _instances([one for one in own if one.order_id in tally.asked or one.open]),
        "still_open": [_order(tally, one) for one in tally.still_open()],
        "resting": [_order(tally, one) for one in tally.resting()],
        "maybe_naked": {
            symbol: {"bought_less_sold": _text(net), "covered": _text(covered)}
            for symbol, (net, covered) in tally.uncovered().items()
        },
        "manual_orders_left": len(tally.manual),
        "other_families_left": tally.other_families(),
        "appeared_meanwhile": tally.late,
        "looks": tally.looks,
        "requests": exchange.requests,
        "hindrance": exchange.hindrance,
    }


def show(tally: Tally, exchange: Exchange, since_utc_ns: int) -> None:
    """The same, for people."""
    if tally.proven:
        print(f"PROVEN: nothing of {tally.rule.family}-* that should be gone is open ({tally.looks} looks)")
    else:
        print("NOT PROVEN: " + (exchange.hindrance or _why(tally)))
    print(f"cancelled {_ended(tally)}, still open {len(tally.still_open())}")
    for name, number in _instances([one for one in tally.own() if one.order_id in tally.asked or one.open]).items():
        print(f"  instance {name}: {number} order{'s' if number > 1 else ''}")
    for one in tally.still_open():
        refusal = tally.refusals.get(one.order_id, "")
        print(f"  OPEN  {one.symbol} {one.side} {one.made} {one.status} {refusal}".rstrip())
    for one in tally.resting():
        print(f"  rests {one.symbol} {one.side} {one.made} size {_text(one.size)}, stop {one.stop or 'unknown'}")
    _show_doubts(tally, since_utc_ns)


def _show_doubts(tally: Tally, since_utc_ns: int) -> None:
    for symbol, (net, covered) in tally.uncovered().items():
        print(
            f"  MAYBE NAKED {symbol}: own orders since {to_rfc3339(since_utc_ns)} bought {_text(net)} more than they "
            f"sold, protection rests for {_text(covered)}"
        )
    if tally.manual:
        print(f"  left alone: {len(tally.manual)} open orders that no daemon made")
    for family, number in tally.other_families().items():
        print(f"  left alone: {number} open orders of family {family!r} (if they are yours: --family {family})")
    if tally.late:
        print(f"  {tally.late} orders appeared meanwhile: a daemon with this key still sends; stop it there")
    print(
        f"Positions are not known without the ledger. A request already on its way can arrive for {JWT_LIFE_S} s: "
        "run panic again after that to have this proven too."
    )


def naming_of_all(tally: Tally, since: str) -> str:
    """What ``--all`` would leave naked."""
    lines = ["panic --all cancels protection too and leaves naked what these orders protect:"]
    protecting = [one for one in tally.own() if one.open and one.protects]
    lines += [
        f"  {one.symbol}: size {_text(one.size)}, stop {one.stop or 'unknown'} ({one.made})" for one in protecting
    ]
    lines += [] if protecting else ["  (none was seen)"]
    lines += [f"Fills since {since} are not the whole position. Add --yes to do it. Nothing was done."]
    return "\n".join(lines)


def _ended(tally: Tally) -> int:
    """Orders whose cancel was asked for and that ended; some may have filled before it."""
    return sum(1 for one in tally.own() if one.order_id in tally.asked and not one.open)


def _why(tally: Tally) -> str:
    if tally.still_open():
        return f"{len(tally.still_open())} orders are still open"
    return "orders kept appearing" if tally.late else "the time was up before two looks far enough apart"


def _instances(orders: list[Seen]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in orders:
        found[one.made.instance] = found.get(one.made.instance, 0) + 1
    return found


def _order(tally: Tally, one: Seen) -> dict[str, object]:
    return {
        "client_order_id": str(one.made),
        "order_id": one.order_id,
        "symbol": one.symbol,
        "side": one.side,
        "status": one.status,
        "instance": one.made.instance,
        "epoch": one.made.epoch,
        "size": _text(one.size),
        "filled": _text(one.filled),
        "stop": one.stop,
        "refusal": tally.refusals.get(one.order_id, ""),
    }


def _text(size: Decimal | None) -> str:
    return "unknown" if size is None else format(size, "f")
