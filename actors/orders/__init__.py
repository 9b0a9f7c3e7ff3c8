"""The tracker: how an order lives, what was filled, what is owned, and what protects it."""
