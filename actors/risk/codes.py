"""Why the gate refuses: a closed list of stable codes, each with its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class RefusalCode(StrEnum):
    """Stable reason codes of the risk manager; metrics, logs and strategies rely on the texts."""

    MALFORMED = "malformed"
    DUPLICATE = "duplicate"
    UNKNOWN_SYMBOL = "unknown_symbol"
    QUOTE_CURRENCY = "quote_currency"
    DECISION_OLD = "decision_old"
    STATE_STORE = "state_store"
    NO_LEASE = "no_lease"
    LEASE_OLD = "lease_old"
    STATE = "state"
    NO_SNAPSHOT = "no_snapshot"
    UNKNOWN_ORDER = "unknown_order"
    NAKED = "naked"
    OPEN_ENTRY = "open_entry"
    COOLDOWN = "cooldown"
    LOSING_STREAK = "losing_streak"
    DAILY_LOSS = "daily_loss"
    WEEKLY_LOSS = "weekly_loss"
    DRAWDOWN = "drawdown"
    MARK_UNAVAILABLE = "mark_unavailable"
    RATE = "rate"
    REPEATED = "repeated"
    QUOTE_UNAVAILABLE = "quote_unavailable"
    QUOTE_STALE = "quote_stale"
    GUARD_BLOCKS = "guard_blocks"
    RULES_UNAVAILABLE = "rules_unavailable"
    PRODUCT_MODE = "product_mode"
    FEES_UNAVAILABLE = "fees_unavailable"
    BALANCE_UNAVAILABLE = "balance_unavailable"
    FLOWS_UNKNOWN = "flows_unknown"
    UNEXPLAINED_FLOW = "unexplained_flow"
    BALANCE_DOUBT = "balance_doubt"
    STOP_MISSING = "stop_missing"
    STOP_WRONG = "stop_wrong"
    TARGET_WRONG = "target_wrong"
    COLLAR = "collar"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    PROTECTION_TOO_SMALL = "protection_too_small"
    NO_EDGE = "no_edge"
    DEPTH = "depth"
    MAX_ORDER = "max_order"
    CAPITAL = "capital"
    BALANCE = "balance"
    MAX_POSITIONS = "max_positions"
    POSITION_LIMIT = "position_limit"
    ASSET_LIMIT = "asset_limit"
    TOTAL_LIMIT = "total_limit"
    SELF_CROSS = "self_cross"
    NOT_OWNED = "not_owned"


MEANING: Mapping[RefusalCode, str] = {
    RefusalCode.MALFORMED: "The proposal contradicts itself: side, role, size or a price that is no positive number.",
    RefusalCode.DUPLICATE: "This proposal id was judged before.",
    RefusalCode.UNKNOWN_SYMBOL: "The symbol is not among the configured instruments.",
    RefusalCode.QUOTE_CURRENCY: "The instrument's quote currency is not in `risk.cash`.",
    RefusalCode.DECISION_OLD: "Decided longer ago than `risk.decision_max_age_s`, or by a strategist since replaced.",
    RefusalCode.STATE_STORE: "The risk manager's durable state cannot be read or written, so locks may be unknown.",
    RefusalCode.NO_LEASE: "No permission to trade was received from the watchdog in this epoch.",
    RefusalCode.LEASE_OLD: "The permission to trade is older than `risk.lease_max_age_s`.",
    RefusalCode.STATE: "The trading state (global or of the symbol) does not allow this.",
    RefusalCode.NO_SNAPSHOT: "The tracker's books are missing, not ready, or older than `risk.snapshot_max_age_s`.",
    RefusalCode.UNKNOWN_ORDER: "An order on this asset is UNKNOWN; no new risk until it is proven.",
    RefusalCode.NAKED: "A position in this asset has no working protection.",
    RefusalCode.OPEN_ENTRY: "An entry on this symbol is working or approved already.",
    RefusalCode.COOLDOWN: "The symbol's last position closed less than `risk.cooldown_symbol_s` ago.",
    RefusalCode.LOSING_STREAK: "`risk.losing_streak` losses in a row; locked for `risk.cooldown_streak_s`.",
    RefusalCode.DAILY_LOSS: "The loss of this UTC day reached `risk.daily_loss_pct`; latched.",
    RefusalCode.WEEKLY_LOSS: "The loss of this UTC week reached `risk.weekly_loss_pct`; latched.",
    RefusalCode.DRAWDOWN: "Equity fell `risk.max_drawdown_pct` below its high; latched.",
    RefusalCode.MARK_UNAVAILABLE: "A held position cannot be valued: no quote within `risk.mark_max_age_s`.",
    RefusalCode.RATE: "`risk.max_orders_per_minute` approvals were given in the last minute.",
    RefusalCode.REPEATED: "`risk.repeat_limit` approvals of this symbol and side within `risk.repeat_window_s`.",
    RefusalCode.QUOTE_UNAVAILABLE: "The guard has no accepted quote for this symbol.",
    RefusalCode.QUOTE_STALE: "The quote is older than `risk.quote_max_age_s`.",
    RefusalCode.GUARD_BLOCKS: "The symbol's guard blocks entries (stale, spread, volatility, warming up).",
    RefusalCode.RULES_UNAVAILABLE: "The product's rules could not be read within `risk.rules_max_age_s`.",
    RefusalCode.PRODUCT_MODE: "The venue does not take new orders of this kind on the product now.",
    RefusalCode.FEES_UNAVAILABLE: "The fee tier could not be read within `risk.fee_max_age_s`.",
    RefusalCode.BALANCE_UNAVAILABLE: "No balance that two reads agree on within `risk.balance_max_age_s`.",
    RefusalCode.FLOWS_UNKNOWN: "The reconciler has not said yet whether every balance change is explained.",
    RefusalCode.UNEXPLAINED_FLOW: "A balance changed without a fill; nothing new until `run.py flows accept`.",
    RefusalCode.BALANCE_DOUBT: "The newest reading of the balances does not add up; a second one decides.",
    RefusalCode.STOP_MISSING: "An entry must say where its stop is.",
    RefusalCode.STOP_WRONG: "The stop is not below the bid and the entry's price.",
    RefusalCode.TARGET_WRONG: "The target is not above the ask and the entry's price.",
    RefusalCode.COLLAR: "The limit price is outside `risk.collar_bps` around the mid.",
    RefusalCode.TOO_SMALL: "Rounded down to the grid, the order is below the venue's minimum.",
    RefusalCode.TOO_LARGE: "The order is above the venue's maximum.",
    RefusalCode.PROTECTION_TOO_SMALL: "Sold at its stop, the position could fall below the venue's minimum.",
    RefusalCode.NO_EDGE: "After round-trip fees and half the spread less than `risk.min_net_edge_bps` remains.",
    RefusalCode.DEPTH: "Less than `risk.min_depth_multiple` of the size stands in the book within reach.",
    RefusalCode.MAX_ORDER: "The order is above `capital.max_order`.",
    RefusalCode.CAPITAL: "`capital.allotted` minus everything used does not cover the order and its fee.",
    RefusalCode.BALANCE: "The wallet does not cover the order and its fee.",
    RefusalCode.MAX_POSITIONS: "`risk.max_positions` positions are held or pending.",
    RefusalCode.POSITION_LIMIT: "Held plus pending on the symbol would exceed `risk.max_position_pct`.",
    RefusalCode.ASSET_LIMIT: "Held plus pending in the base asset would exceed `risk.max_asset_pct`.",
    RefusalCode.TOTAL_LIMIT: "Held plus pending overall would exceed `risk.max_total_pct`.",
    RefusalCode.SELF_CROSS: "The buy could meet an own resting or approved sell of the same asset.",
    RefusalCode.NOT_OWNED: "An exit may sell only what is owned and not being sold already.",
}


class RefusedError(Exception):
    """A check says no; caught in the gate and nowhere else."""

    def __init__(self, code: RefusalCode, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


def table() -> str:
    """The codes and their meanings as a Markdown table."""
    lines = ["| code | meaning |", "|---|---|"]
    lines += [f"| `{code.value}` | {MEANING[code]} |" for code in RefusalCode]
    return "\n".join(lines)
