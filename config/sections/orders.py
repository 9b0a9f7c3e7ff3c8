"""The order tracker: ids, time-outs, protection, exits."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field

from config.sections.base import Money, Section


class OrderSettings(Section):
    """family, instance: first parts of every client order id; orders of the family with another instance or
    epoch mean a second host. *_timeout_s: how long a working state may last before it is queried.

    exit_ladder_bps: prices below the bid that a triggered, unfilled stop is sold at, one after another.
    stop_limit_gap_bps: limit below the trigger of a stop-limit. exit_floor_bps: an exit never goes further
    below the last accepted mid than this, but an operator's flatten below the book of now. stop_trigger_grace_s: for a
    stop that triggered and did not fill, and for one that did not trigger with the whole market below it. poll_s: open
    orders and fills are read this often while anything works. rules_s: product rules are read when the watchdog
    has told none for so long.

    unknown_page_s: an order whose fate is not known is paged from this age on, counted from its intent.
    unknown_latch_s: from this age on it latches the breaker ``unknown_age``; later than a lost order can be proven
    absent (``venue.jwt_life_s``, ``venue.visibility_delay_s`` and 20 s), so that the usual one needs nobody.
    """

    family: str = Field(default="td", pattern=r"^[a-z][a-z0-9]{0,7}$")
    instance: str = Field(default="a", pattern=r"^[a-z][a-z0-9]{0,7}$")
    entry_life_s: float = Field(default=10.0, gt=0, le=60)
    submit_timeout_s: float = Field(default=5.0, gt=0, le=60)
    cancel_timeout_s: float = Field(default=5.0, gt=0, le=60)
    unknown_query_s: float = Field(default=1.0, gt=0, le=60)
    unknown_page_s: float = Field(default=60.0, gt=0)
    unknown_latch_s: float = Field(default=300.0, gt=0, le=3600)
    stop_trigger_grace_s: float = Field(default=3.0, gt=0, le=60)
    stop_limit_gap_bps: Money = Field(default=Decimal(200), gt=0, le=5000)
    exit_ladder_bps: tuple[Money, ...] = (Decimal(100), Decimal(300), Decimal(1000))
    exit_floor_bps: Money = Field(default=Decimal(1500), gt=0, le=10_000)
    protection_sweep_s: float = Field(default=15.0, gt=0, le=600)
    naked_page_s: float = Field(default=5.0, gt=0, le=600)
    default_stop_bps: Money = Field(default=Decimal(200), gt=0, le=9000)
    sweep_s: float = Field(default=1.0, gt=0, le=60)
    poll_s: float = Field(default=3.0, gt=0, le=60)
    rules_s: float = Field(default=60.0, gt=0, le=600)
