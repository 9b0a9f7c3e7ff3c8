"""The one door to the exchange: official SDK, request budget, last checks, outcome classification."""
