"""What a product's mode allows: missing or unknown is closed. Pure."""

from __future__ import annotations

from actors.messages.health import TradingState
from actors.messages.market import ProductRules

ONLINE = "online"


def judge_mode(rules: ProductRules | None) -> tuple[TradingState, str]:
    """(what trading may do, why) for one product as last read; RUN and "" when it trades normally.

    Coinbase docs: cancel_only takes cancels alone; trading_disabled and is_disabled take nothing; in an auction
    nothing matches; post_only, limit_only and view_only refuse part of what an entry or an exit needs.
    """
    if rules is None:
        return TradingState.HALTED, "the venue does not list it"
    if rules.status != ONLINE:
        return TradingState.HALTED, f"status {rules.status or 'missing'!r}"
    for flag in ("is_disabled", "trading_disabled", "cancel_only"):
        if getattr(rules, flag):
            return TradingState.HALTED, flag
    for flag in ("auction_mode", "post_only", "limit_only", "view_only"):
        if getattr(rules, flag):
            return TradingState.REDUCE_ONLY, flag
    return TradingState.RUN, ""
