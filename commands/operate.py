"""Operators' verbs: say them to the daemon and show what came of it."""

from __future__ import annotations

import argparse
import sys
from functools import partial

import orjson

from actors.clock import SystemClock
from actors.latch import create_latch
from commands.answering import within
from commands.ask import Json, NotRunningError, ask, operator

ANSWER_S = 90.0
"""Longer than the admin waits for proof."""
STATUS_S = 5.0
LATCH_S = 5.0
"""A disk that hangs must not keep the kill from the daemon."""
PANIC = "`run.py panic` cancels at the exchange without the daemon."
DONE, REFUSED, NOT_RUNNING = 0, 1, 2


def operate(options: argparse.Namespace) -> int:
    """0: done and proven; 1: refused or not proven yet; 2: no daemon runs (a kill is latched all the same)."""
    request = _request(options)
    unlatched = False
    if options.command == "kill":
        if options.cancel_all and not options.yes:
            return _confirm_all(options)
        unlatched = _latch(options)
        request |= {"flatten": options.flatten, "cancel_all": options.cancel_all}
    try:
        if request["verb"] == "flows_accept":
            request["arguments"] = {"flows": " ".join(_flows_shown(options))}
        last: Json = {}
        for answer in ask(options.data_dir, request, ANSWER_S):
            last = answer
            if not options.json:
                _show(answer, options.command)
    except NotRunningError as error:
        print(f"{error}. {_without_a_daemon(options.command, latched=not unlatched)}".rstrip(), file=sys.stderr)
        return NOT_RUNNING
    except (OSError, ValueError) as error:
        print(f"no whole answer: {error}. {PANIC if unlatched else ''}".rstrip(), file=sys.stderr)
        return REFUSED
    if "ok" not in last:  # the part that answers died or was replaced in the middle of it
        word = "the daemon hung up; what it began goes on: see `status`, and say it again"
        print(f"no whole answer: {word}", file=sys.stderr)
    if options.json:
        sys.stdout.buffer.write(orjson.dumps(last) + b"\n")
    return DONE if last.get("ok") is True and not unlatched else REFUSED


def _request(options: argparse.Namespace) -> Json:
    """The words for the admin's socket; only what was given is said."""
    action = getattr(options, "action", None)
    verb = f"{options.command}_{action}" if action else options.command
    request: Json = {"verb": verb, "reason": options.reason}
    if hasattr(options, "target"):
        request["target"] = options.target
    if options.command == "resolve":
        given = {"as": options.outcome, "size": options.size, "price": options.price, "fee": options.fee}
        request["arguments"] = {name: text for name, text in given.items() if text is not None}
    return request


def _flows_shown(options: argparse.Namespace) -> list[str]:
    """Name what is going to be accepted; a flow that comes after this listing stays open."""
    flows: list[object] = []
    for answer in ask(options.data_dir, {"verb": "status"}, STATUS_S):
        status = answer.get("status")
        reconcile = status.get("reconcile") if isinstance(status, dict) else None
        flows = _list(reconcile.get("flows")) if isinstance(reconcile, dict) else []
    shown = [one for one in flows if isinstance(one, dict) and (not options.ids or one["flow"] in options.ids)]
    if not options.json:
        for one in shown:
            print(f"accepting {one['flow']}: {one['amount']} {one['currency']} since {one['found']}")
    return options.ids or [str(one["flow"]) for one in shown]


def _latch(options: argparse.Namespace) -> bool:
    """Latch the kill on disk; True when the disk refuses. The daemon is told to kill in any case."""
    try:
        make = partial(create_latch, options.data_dir / "KILL", options.reason, operator(), SystemClock().utc_ns())
        within(LATCH_S, make)
    except OSError as error:
        print(f"warning: the kill is NOT latched for the next start: {error}", file=sys.stderr)
        return True
    return False


def _without_a_daemon(command: str, *, latched: bool) -> str:
    """What an operator can do when nobody listens."""
    if command == "kill":
        told = "The kill is latched: the next start is KILLED. " if latched else ""
        return f"{told}Nothing was cancelled: {PANIC}"
    if command in ("halt", "reduce"):
        return f"Nothing was cancelled: {PANIC}"
    if command in ("resume", "release"):
        return f"Start it first (a latched kill starts KILLED, a halt HALTED), then {command}."
    return ""


def _confirm_all(options: argparse.Namespace) -> int:
    """Name what would be left naked; do nothing."""
    print("kill --all cancels protection too and leaves these positions naked:", file=sys.stderr)
    try:
        for answer in ask(options.data_dir, {"verb": "status"}, 5.0):
            status = answer.get("status")
            positions = status.get("positions", []) if isinstance(status, dict) else []
            for position in positions:
                print(f"  {position['symbol']}: {position['quantity']}, now {position['protection']}", file=sys.stderr)
            if not positions:
                print("  (none)", file=sys.stderr)
    except (NotRunningError, OSError) as error:
        print(f"  unknown: {error}", file=sys.stderr)
    print("Add --yes to do it. Nothing was done.", file=sys.stderr)
    return REFUSED


def _show(answer: Json, command: str) -> None:
    event = answer.get("event", "")
    verb = str(answer.get("verb") or command).replace("_", " ")  # as it is typed: flows accept
    if event == "state":
        print(f"state {answer.get('state')}: {'; '.join(map(str, _list(answer.get('reasons')))) or 'no reasons'}")
    elif event == "progress" and "cancelled" in answer:
        print(f"{verb}: being proven at the exchange, cancelled {answer['cancelled']}, unproven {answer['unproven']}")
    elif event == "progress":
        print(f"{verb}: {answer.get('text')}")
    elif event == "warning":
        print(f"warning: {answer.get('text')}")
    else:
        _show_end(answer, verb)


def _show_end(answer: Json, verb: str) -> None:
    state, error = answer.get("state"), answer.get("error")
    if answer.get("ok") is not True:
        print(f"NOT DONE: {verb}: {error or answer.get('text') or ''}" + (f" (trading is {state})" if state else ""))
    elif state:
        print(f"done: {verb} -> {state}")
    else:
        print(f"done: {verb}: {answer.get('text') or ''}")
    if answer.get("ok") is True and verb == "resume" and state != "RUN":
        for reason in _list(answer.get("reasons")):
            print(f"  still stopped by: {reason}")
    details = answer.get("details")
    for name, text in details.items() if isinstance(details, dict) else ():
        print(f"  {name}: {text}")
    if "cancelled" in answer:
        print(f"  cancelled {answer['cancelled']}, unproven {answer['unproven']}")
    if state and answer.get("text") not in (None, "", "proven"):
        print(f"  {answer['text']}")
    for position in _list(answer.get("positions")):
        if isinstance(position, dict):
            print(f"  {position['symbol']}: {position['quantity']} {position['protection']}{_stop(position)}")


def _stop(position: Json) -> str:
    """The stop that rests at the venue, and how much of the position it covers when that is not all of it."""
    if not position.get("stop_price"):
        return ""
    covered, stops = position.get("open_protection_size"), position.get("stops", 1)
    part = f" for {covered}" if covered != position["quantity"] else ""
    several = f" (the lowest of {stops})" if isinstance(stops, int) and stops > 1 else ""
    return f", stop at {position['stop_price']}{part}{several}"


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
