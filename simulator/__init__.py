"""A stand-in Coinbase Advanced Trade: REST over TLS, websocket feed, matching, faults on demand."""
