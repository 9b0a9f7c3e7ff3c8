"""How an actor is made to fail: killed, stopped, or a handler of its own raises.

The exception needs no door in the daemon: an actor crashes, by its design, when a message comes that it has no
handler for. Such a message is put into its private socket by a process of the same user, as a faulty actor would.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import time
from decimal import Decimal
from pathlib import Path

from actors.messages.books import RoundTripClosed
from actors.messages.orders import OutcomeTaken
from supervision.transport_wire import encode_hello, encode_message

UNHANDLED = RoundTripClosed("BTC-USD", Decimal(0), "nobody asked", 0, "matrix")
"""Handled by risk and strategist alone."""
UNHANDLED_BY_RISK = OutcomeTaken("td-none", "submit")


def listener_of(pid: int) -> str:
    """The path of the socket on which the process listens; raises LookupError."""
    own = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith("socket:["):
            own.add(target[8:-1])
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        parts = line.split()
        # flags 00010000: it accepts connections
        if len(parts) >= 8 and parts[3] == "00010000" and parts[6] in own and not parts[7].endswith("admin.sock"):
            return parts[7]
    raise LookupError(f"process {pid} listens nowhere")


def poison(pid: int, actor: str) -> None:
    """Put a message without a handler into the actor's mailbox; a stopped actor takes it when it goes on."""
    message = UNHANDLED_BY_RISK if actor == "risk" else UNHANDLED
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(2)
        connection.connect(listener_of(pid))
        connection.send(encode_hello("matrix"))
        for packet in encode_message(pickle.dumps(message, 5), 0, 1, time.clock_gettime_ns(time.CLOCK_BOOTTIME)):
            connection.send(packet)


def strike(pid: int, actor: str, way: str) -> None:
    """Make the process fail in this way."""
    if way == "exception":
        poison(pid, actor)
    else:
        os.kill(pid, signal.Signals[way])
