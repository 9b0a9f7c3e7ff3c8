"""REST answers about accounts, fees, portfolios and the key."""

from __future__ import annotations

from decimal import Decimal

from simulator import queries
from simulator.accounts import Wallet
from simulator.queries import Query
from simulator.rest_orders import HttpError, bad_argument, not_found
from simulator.values import ZERO, Json, text
from simulator.venue import Venue

FIAT = frozenset({"USD", "EUR", "GBP"})
CREATED = "2023-01-01T00:00:00Z"
THIRTY_DAYS_NS = 30 * 86_400 * 1_000_000_000


class AccountDesk:
    """Answers from the wallets and the fee rules."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def _render(self, wallet: Wallet, zero: bool) -> Json:
        fiat = wallet.currency in FIAT
        name = "Cash (USD)" if wallet.currency == "USD" else f"{wallet.currency} Wallet"
        return {
            "uuid": self._venue.engine.wallets.account_id(wallet.currency),
            "name": name,
            "currency": wallet.currency,
            "available_balance": {"value": "0" if zero else text(wallet.available), "currency": wallet.currency},
            "default": True, "active": True, "created_at": CREATED, "updated_at": CREATED, "deleted_at": None,
            "type": "ACCOUNT_TYPE_FIAT" if fiat else "ACCOUNT_TYPE_CRYPTO",
            "ready": True,
            "hold": {"value": "0" if zero else text(wallet.hold), "currency": wallet.currency},
            "retail_portfolio_id": self._venue.engine.portfolio_id,
            "platform": "ACCOUNT_PLATFORM_CONSUMER",
        }

    def _zero(self) -> bool:
        return self._venue.faults.strike("zero_balances") is not None

    def _wallets(self) -> list[Wallet]:
        """List the wallets that were ever used, or one of every currency that a product has."""
        engine = self._venue.engine
        if engine.rules.empty_wallets_listed:
            for product in engine.products.values():
                engine.wallets.open(product.base, product.quote)
        return engine.wallets.rows()

    def accounts(self, query: Query) -> Json:
        """Answer get_accounts."""
        rows, cursor = queries.page(self._wallets(), query, 49, lambda w: w.currency, 250)
        zero = self._zero()
        return {"accounts": [self._render(wallet, zero) for wallet in rows], "has_next": bool(cursor),
                "cursor": cursor, "size": len(rows)}

    def account(self, account_id: str) -> Json:
        """Answer get_account."""
        wallets = self._venue.engine.wallets
        for wallet in wallets.rows():
            if wallets.account_id(wallet.currency) == account_id:
                return {"account": self._render(wallet, self._zero())}
        raise not_found("account not found")

    def transaction_summary(self) -> Json:
        """Answer get_transaction_summary: the tier and what was traded in thirty days."""
        engine = self._venue.engine
        fault = self._venue.faults.strike("fee_tier")
        if fault is not None and fault.word("reading", "") == "unreadable":
            raise HttpError(500, {"error": "INTERNAL", "error_details": "", "message": "fee tier unavailable"})
        since = self._venue.now_ns() - THIRTY_DAYS_NS
        recent = [fill for fill in engine.fills if fill.time_ns >= since]
        volume = float(sum((fill.price * fill.size for fill in recent), ZERO))
        fees = float(sum((fill.commission for fill in recent), ZERO))
        tier: Json = {
            "pricing_tier": "Intro 1", "usd_from": "0", "usd_to": "1000",
            "taker_fee_rate": str(engine.rules.taker_rate), "maker_fee_rate": str(engine.rules.maker_rate),
            "aop_from": "", "aop_to": "",
            "volume_types_and_range": [{"volume_types": ["VOLUME_TYPE_SPOT"], "vol_from": "0", "vol_to": "1000"}],
        }
        return {
            "total_volume": volume, "total_fees": fees, "fee_tier": tier, "margin_rate": None,
            "goods_and_services_tax": None, "advanced_trade_only_volume": volume,
            "advanced_trade_only_fees": fees, "coinbase_pro_volume": 0, "coinbase_pro_fees": 0,
            "total_balance": text(self._worth().quantize(Decimal("0.01"))),
            "volume_breakdown": [{"volume_type": "VOLUME_TYPE_SPOT", "volume": volume}],
            "has_cost_plus_commission": False, "fee_tier_without_promotion": tier,
        }

    def _price(self, currency: str) -> Decimal:
        if currency in {"USD", "USDC"}:
            return Decimal(1)
        book = self._venue.engine.books.get(f"{currency}-USD")
        return ZERO if book is None or book.last_price is None else book.last_price

    def _worth(self) -> Decimal:
        rows = self._venue.engine.wallets.rows()
        return sum(((w.available + w.hold) * self._price(w.currency) for w in rows), ZERO)

    def _portfolio(self) -> Json:
        return {"name": "Default", "uuid": self._venue.engine.portfolio_id, "type": "DEFAULT", "deleted": False}

    def portfolios(self, query: Query) -> Json:
        """Answer get_portfolios."""
        kind = queries.first(query, "portfolio_type")
        return {"portfolios": [self._portfolio()] if kind in {"", "UNDEFINED", "DEFAULT"} else []}

    def breakdown(self, portfolio_id: str) -> Json:
        """Answer get_portfolio_breakdown; its numbers are floats, as the venue has them."""
        if portfolio_id != self._venue.engine.portfolio_id:
            raise bad_argument("portfolio not found")
        positions: list[Json] = []
        cash = ZERO
        for wallet in self._venue.engine.wallets.rows():
            total, price = wallet.available + wallet.hold, self._price(wallet.currency)
            is_cash = wallet.currency in FIAT
            cash += total if is_cash else ZERO
            positions.append({
                "asset": wallet.currency, "account_uuid": self._venue.engine.wallets.account_id(wallet.currency),
                "total_balance_fiat": float(total * price), "total_balance_crypto": float(total),
                "available_to_trade_fiat": float(wallet.available * price),
                "available_to_trade_crypto": float(wallet.available), "allocation": 0.0,
                "cost_basis": {"value": "0", "currency": "USD"}, "asset_img_url": "", "is_cash": is_cash,
                "average_entry_price": {"value": "0", "currency": "USD"},
            })
        worth = self._worth()

        def usd(amount: Decimal) -> Json:
            return {"value": text(amount.quantize(Decimal("0.01"))), "currency": "USD"}

        return {"breakdown": {
            "portfolio": self._portfolio(),
            "portfolio_balances": {
                "total_balance": usd(worth), "total_futures_balance": usd(ZERO),
                "total_cash_equivalent_balance": usd(cash), "total_crypto_balance": usd(worth - cash),
                "futures_unrealized_pnl": usd(ZERO), "perp_unrealized_pnl": usd(ZERO),
            },
            "spot_positions": positions, "perp_positions": [], "futures_positions": [],
        }}

    def key_permissions(self) -> Json:
        """Answer get_api_key_permissions."""
        return {"can_view": True, "can_trade": True,
                "can_transfer": self._venue.faults.strike("can_transfer") is not None,
                "portfolio_uuid": self._venue.engine.portfolio_id, "portfolio_type": "DEFAULT"}
