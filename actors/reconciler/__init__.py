"""Compares ledger and exchange, reports, hands over evidence; never overwrites."""
