"""REST answers about products, books, trades and bars."""

from __future__ import annotations

from decimal import Decimal

from simulator import queries
from simulator.book import BUY, SELL, Book
from simulator.products import Product, render_product
from simulator.queries import Query
from simulator.rest_orders import HttpError, bad_argument
from simulator.tape import GRANULARITIES_S
from simulator.values import NS_PER_S, Json, rfc3339, text
from simulator.venue import Venue

BOOK_LIMIT = 1000
TRADES_LIMIT = 100
CANDLES_LIMIT = 350


class MarketDesk:
    """Answers from the books and tapes; the public paths give the same."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def _product(self, product_id: str) -> Product:
        product = self._venue.engine.products.get(product_id)
        if product is None:
            raise HttpError(404, {"error": "NOT_FOUND", "error_details": f"Product {product_id} not supported",
                                  "message": f"Product {product_id} not supported"})
        return product

    def _render(self, product: Product) -> Json:
        engine = self._venue.engine
        book, tape = engine.books[product.book_id], self._venue.tapes[product.book_id]
        last = book.last_price or product.start_price
        day = tape.day(self._venue.now_ns() // NS_PER_S, last)
        return render_product(product, engine.mode_of(product.product_id), day)

    def product(self, product_id: str) -> Json:
        """Answer get_product."""
        return self._render(self._product(product_id))

    def products(self, query: Query) -> Json:
        """Answer get_products."""
        wanted, kind = set(queries.values(query, "product_ids")), queries.first(query, "product_type")
        found = [p for p in self._venue.engine.products.values()
                 if (not wanted or p.product_id in wanted) and kind in {"", "SPOT", "UNKNOWN_PRODUCT_TYPE"}]
        offset, limit = queries.whole(query, "offset", 0), queries.whole(query, "limit", 0)
        rows = found[offset: offset + limit] if limit > 0 else found[offset:]
        more = offset + len(rows) < len(found)
        return {
            "products": [self._render(p) for p in rows], "num_products": len(rows),
            "pagination": {"prev_cursor": "", "next_cursor": "", "has_next": more, "has_prev": offset > 0},
        }

    def _sides(self, book: Book, limit: int) -> Json:
        sides: Json = {}
        for side, name in ((BUY, "bids"), (SELL, "asks")):
            own = self._venue.engine.resting_orders(book.book_id, side)
            prices: list[Decimal] = []
            for level in book.levels(side):
                prices.append(level.price)
                if len(prices) >= limit:
                    break
            prices = sorted({*prices, *(o.resting_price for o in own)}, reverse=side == BUY)[:limit]
            sides[name] = [
                {"price": text(price), "size": text(self._venue.engine.displayed(book.book_id, side, price))}
                for price in prices
            ]
        return sides

    def product_book(self, query: Query) -> Json:
        """Answer get_product_book."""
        product = self._product(queries.first(query, "product_id"))
        book = self._venue.engine.books[product.book_id]
        limit = min(BOOK_LIMIT, queries.whole(query, "limit", BOOK_LIMIT) or BOOK_LIMIT)
        bid, ask, mid = book.best(BUY), book.best(SELL), book.mid()
        spread = ask.price - bid.price if bid and ask else None
        return {
            "pricebook": {"product_id": product.product_id, **self._sides(book, limit),
                          "time": rfc3339(self._venue.shown_ns())},
            "last": text(book.last_price) if book.last_price is not None else "",
            "mid_market": text(mid) if mid is not None else "",
            "spread_bps": text((spread / mid * 10_000).quantize(Decimal("0.001"))) if spread and mid else "",
            "spread_absolute": text(spread) if spread is not None else "",
        }

    def best_bid_ask(self, query: Query) -> Json:
        """Answer get_best_bid_ask."""
        wanted = queries.values(query, "product_ids") or list(self._venue.engine.products)
        rows: list[Json] = []
        for product_id in wanted:
            product = self._product(product_id)
            book = self._venue.engine.books[product.book_id]
            rows.append({"product_id": product_id, **self._sides(book, 1),
                         "time": rfc3339(self._venue.shown_ns())})
        return {"pricebooks": rows}

    def trades(self, product_id: str, query: Query) -> Json:
        """Answer get_market_trades: newest first, a hundred at most."""
        product = self._product(product_id)
        tape, book = self._venue.tapes[product.book_id], self._venue.engine.books[product.book_id]
        limit = queries.whole(query, "limit", 0)
        if limit <= 0:
            raise bad_argument("limit is required")
        begin, end = queries.whole(query, "start", 0), queries.whole(query, "end", 1 << 40)
        rows = [t for t in reversed(tape.trades) if begin <= t.time_ns / NS_PER_S <= end]
        bid, ask = book.best(BUY), book.best(SELL)
        return {
            "trades": [
                {"trade_id": str(t.trade_id), "product_id": product_id, "price": text(t.price),
                 "size": text(t.size), "time": rfc3339(t.time_ns), "side": t.side, "bid": "", "ask": "",
                 "exchange": "coinbase"}
                for t in rows[: min(limit, TRADES_LIMIT)]
            ],
            "best_bid": text(bid.price) if bid else "",
            "best_ask": text(ask.price) if ask else "",
        }

    def candles(self, product_id: str, query: Query) -> Json:
        """Answer get_candles: newest first, 350 at most."""
        product = self._product(product_id)
        granularity = GRANULARITIES_S.get(queries.first(query, "granularity"))
        if granularity is None:
            raise bad_argument("granularity is not known")
        begin, end = queries.whole(query, "start", -1), queries.whole(query, "end", -1)
        limit = queries.whole(query, "limit", CANDLES_LIMIT)
        if begin < 0 or end < begin:
            raise bad_argument("start and end are required, start first")
        if (end - begin) // granularity > CANDLES_LIMIT or limit > CANDLES_LIMIT:
            raise bad_argument("number of candles requested should be less than 350")
        bars = self._venue.tapes[product.book_id].bars(granularity, begin, end)
        bars.reverse()
        return {"candles": [bar.render() for bar in bars[:limit]]}

    def time(self) -> Json:
        """Answer get_unix_time."""
        now = self._venue.shown_ns()
        return {"iso": rfc3339(now), "epochSeconds": str(now // NS_PER_S), "epochMillis": str(now // 1_000_000)}
