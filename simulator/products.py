"""The products the venue lists: increments, bounds, aliases, and the modes they can be in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from simulator.values import Json, text

MODES = (
    "online", "cancel_only", "limit_only", "post_only", "auction_mode", "trading_disabled", "view_only",
)


@dataclass(frozen=True, slots=True)
class Product:
    """One listed pair.

    `book_id` names the order book it trades on: an order on BTC-USDC spends the USDC wallet and meets
    BTC-USD's book. Bounds and increments are those of the live listing of 2026-08-09.
    """

    product_id: str
    base: str
    quote: str
    base_name: str
    base_increment: Decimal
    price_increment: Decimal
    base_min_size: Decimal
    base_max_size: Decimal
    quote_min_size: Decimal
    quote_max_size: Decimal
    start_price: Decimal
    protection: Decimal
    book_id: str
    alias_to: tuple[str, ...] = ()

    @property
    def is_alias(self) -> bool:
        """Tell whether the product trades on another product's book."""
        return self.book_id != self.product_id


# product, name, base increment, price increment, base minimum, base maximum, quote maximum, price
_TABLE = (
    ("BTC-USD", "Bitcoin", "0.00000001", "0.01", "0.00000001", "3400", "150000000", "65086.18"),
    ("ETH-USD", "Ethereum", "0.00000001", "0.01", "0.00000001", "42000", "150000000", "1919.41"),
    ("SOL-USD", "Solana", "0.00000001", "0.01", "0.00000001", "1274000", "25000000", "77.12"),
    ("XRP-USD", "XRP", "0.000001", "0.0001", "0.000001", "11996772.8407292192545075", "10000000", "1.0411"),
    ("LTC-USD", "Litecoin", "0.00000001", "0.01", "0.00000001", "122300", "10000000", "46.09"),
    ("DOGE-USD", "Dogecoin", "0.1", "0.00001", "0.1", "141834300", "10000000", "0.0704"),
    ("ADA-USD", "Cardano", "0.00000001", "0.00001", "0.00000001", "30176000", "10000000", "0.19782"),
    ("AVAX-USD", "Avalanche", "0.00000001", "0.001", "0.00000001", "631600", "10000000", "6.552"),
    ("LINK-USD", "Chainlink", "0.01", "0.001", "0.01", "1503100", "10000000", "8.326"),
    ("DOT-USD", "Polkadot", "0.00000001", "0.0001", "0.00000001", "1732900", "10000000", "0.808"),
    ("BCH-USD", "Bitcoin Cash", "0.00000001", "0.01", "0.00000001", "84200", "10000000", "215.65"),
    ("UNI-USD", "Uniswap", "0.000001", "0.0001", "0.000001", "1726300", "10000000", "4.053"),
    ("AAVE-USD", "Aave", "0.001", "0.01", "0.001", "141000", "10000000", "91.4"),
    ("NEAR-USD", "NEAR Protocol", "0.001", "0.0001", "0.001", "5280000", "10000000", "1.627"),
    ("ATOM-USD", "Cosmos", "0.01", "0.001", "0.01", "896400", "10000000", "1.39"),
    ("FIL-USD", "Filecoin", "0.001", "0.001", "0.001", "1796400", "10000000", "0.713"),
    ("ICP-USD", "Internet Computer", "0.0001", "0.0001", "0.0001", "2021600", "10000000", "2.1949"),
    ("APT-USD", "Aptos", "0.001", "0.0001", "0.001", "1000000", "10000000", "0.5997"),
    ("ARB-USD", "Arbitrum", "0.01", "0.0001", "0.01", "10000000", "10000000", "0.0796"),
    ("SUI-USD", "SUI", "0.1", "0.0001", "0.1", "8632925.2247136092006656", "10000000", "0.6989"),
)


def _row(row: tuple[str, ...]) -> Product:
    product_id, name, base_inc, price_inc, base_min, base_max, quote_max, price = row
    base, quote = product_id.split("-")
    # Market orders stop 2 % off the mid on BTC and ETH, 3 % on most others: adapter notes, not confirmed.
    protection = Decimal("0.02") if base in {"BTC", "ETH"} else Decimal("0.03")
    return Product(
        product_id, base, quote, name, Decimal(base_inc), Decimal(price_inc), Decimal(base_min),
        Decimal(base_max), Decimal(1), Decimal(quote_max), Decimal(price), protection, product_id,
        (f"{base}-USDC",),
    )


KNOWN: dict[str, Product] = {row[0]: _row(row) for row in _TABLE}


_INVENTED = re.compile(r"X\d{2}-USD")


def known(symbol: str) -> Product:
    """One product: of the table, or X01-USD to X99-USD, which exist nowhere and serve drills with many symbols.

    Raises KeyError with the known names.
    """
    if symbol in KNOWN:
        return KNOWN[symbol]
    if _INVENTED.fullmatch(symbol):
        price = str(10 + int(symbol[1:3]))
        return _row((symbol, f"Invented {symbol[1:3]}", "0.0001", "0.001", "0.0001", "10000000", "10000000", price))
    raise KeyError(f"unknown symbol {symbol!r}; known: {', '.join(KNOWN)}, and X01-USD to X99-USD")


def listing(symbols: Iterable[str]) -> dict[str, Product]:
    """List the products with a market of their own, each followed by its USDC alias.

    Raises KeyError with the known names for any other symbol.
    """
    products: dict[str, Product] = {}
    for symbol in symbols:
        own = known(symbol)
        products[symbol] = own
        alias = f"{own.base}-USDC"
        products[alias] = replace(own, product_id=alias, quote="USDC", alias_to=())
    return products


@dataclass(frozen=True, slots=True)
class DayStats:
    """What the product listing and the ticker tell of the last 24 hours."""

    price: Decimal
    volume: Decimal
    high: Decimal
    low: Decimal
    change_percent: Decimal


def render_product(product: Product, mode: str, day: DayStats) -> Json:
    """Write a product in the 49 fields of the live listing."""
    is_usdc = product.quote == "USDC"
    return {
        "product_id": product.product_id,
        "price": text(day.price),
        "price_percentage_change_24h": text(day.change_percent),
        "volume_24h": text(day.volume),
        "volume_percentage_change_24h": "0",
        "base_increment": text(product.base_increment),
        "quote_increment": text(product.price_increment),
        "quote_min_size": text(product.quote_min_size),
        "quote_max_size": text(product.quote_max_size),
        "base_min_size": text(product.base_min_size),
        "base_max_size": text(product.base_max_size),
        "base_name": product.base_name,
        "quote_name": "USDC" if is_usdc else "US Dollar",
        "watched": False,
        "is_disabled": mode == "trading_disabled",
        "new": False,
        "status": "delisted" if mode == "trading_disabled" else "online",
        "cancel_only": mode == "cancel_only",
        "limit_only": mode == "limit_only",
        "post_only": mode == "post_only",
        "trading_disabled": mode == "trading_disabled",
        "auction_mode": mode == "auction_mode",
        "product_type": "SPOT",
        "quote_currency_id": product.quote,
        "base_currency_id": product.base,
        "fcm_trading_session_details": None,
        "mid_market_price": "",
        "alias": product.book_id if product.is_alias else "",
        "alias_to": list(product.alias_to),
        "base_display_symbol": product.base,
        "quote_display_symbol": "USD",
        "view_only": mode == "view_only",
        "price_increment": text(product.price_increment),
        "display_name": product.product_id,
        "product_venue": "CBE",
        "approximate_quote_24h_volume": text((day.volume * day.price).quantize(Decimal("0.01"))),
        "new_at": "2023-01-01T00:00:00Z",
        "market_cap": "", "base_cbrn": "", "quote_cbrn": "", "product_cbrn": "", "icon_color": "",
        "icon_url": "", "display_name_overwrite": "", "is_alpha_testing": False, "about_description": "",
        "best_bid_price": "", "best_ask_price": "",
        "high_24h": text(day.high),
        "low_24h": text(day.low),
    }
